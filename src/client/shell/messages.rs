//! Messages to the user, on standard error.

use std::io::{self, IsTerminal, Write};

/// Receiver of messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages;

impl Messages {
    /// Prints one line.
    #[expect(clippy::unused_self, reason = "the receiver of a command decides")]
    pub(super) fn print(&self, text: &str) {
        // A failed write to standard error cannot be reported anywhere.
        let _written = writeln!(io::stderr(), "{text}");
    }

    /// Prints an error, with the name of the program.
    pub(super) fn complain(&self, text: &str) {
        self.print(&format!("ftpclient: {text}"));
    }

    /// Returns true if a line that moves may be drawn.
    #[expect(clippy::unused_self, reason = "the receiver of a command decides")]
    pub(super) fn may_draw(&self) -> bool {
        io::stderr().is_terminal()
    }
}
