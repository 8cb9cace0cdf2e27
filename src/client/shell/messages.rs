//! Messages to the user: on standard error, or kept while a job is in the background.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Maximum size of the messages that one job keeps, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Receiver of messages, shared by all that belongs to one command.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages(Arc<MessageState>);

#[derive(Debug, Default)]
struct MessageState {
    /// Set while the command is in the background.
    is_kept: AtomicBool,
    kept: Mutex<String>,
    /// Number of bytes moved so far, and in all; 0 if it is not known.
    bytes: AtomicU64,
    total: AtomicU64,
}

impl Messages {
    /// Creates a receiver that keeps all messages.
    pub(super) fn kept() -> Self {
        let messages = Self::default();
        messages.keep();
        messages
    }

    /// Prints one line.
    pub(super) fn print(&self, text: &str) {
        let mut kept = self.0.kept.lock();
        if !self.is_kept() {
            // A failed write to standard error cannot be reported anywhere.
            let _written = writeln!(io::stderr(), "{text}");
        } else if kept.len() + text.len() < KEPT_BYTES_MAX {
            kept.push_str(text);
            kept.push('\n');
        } else if !kept.ends_with("…\n") {
            kept.push_str("…\n");
        }
    }

    /// Prints an error, with the name of the program.
    pub(super) fn complain(&self, text: &str) {
        self.print(&format!("ftpclient: {text}"));
    }

    /// Keeps all messages from now on: the terminal belongs to another command.
    pub(super) fn keep(&self) {
        let _lock = self.0.kept.lock();
        self.0.is_kept.store(true, Ordering::Relaxed);
    }

    /// Returns true if messages are kept.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_kept.load(Ordering::Relaxed)
    }

    /// Returns the messages that were kept, and forgets them.
    pub(super) fn take(&self) -> String {
        std::mem::take(&mut *self.0.kept.lock())
    }

    /// Returns true if a line that moves may be drawn.
    pub(super) fn may_draw(&self) -> bool {
        !self.is_kept() && io::stderr().is_terminal()
    }

    /// Records the number of bytes so far, and in all.
    pub(super) fn moved(&self, bytes: u64, total: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Returns the number of bytes so far, and in all; 0 if it is not known.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.0.bytes.load(Ordering::Relaxed), self.0.total.load(Ordering::Relaxed))
    }
}
