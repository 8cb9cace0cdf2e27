//! Text for a terminal.

use std::io;

use rustix::termios::tcgetwinsize;

/// Makes text safe for a terminal: line ends and tabs stay, other control characters become visible.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible = |letter: char| {
        if letter.is_control() && !matches!(letter, '\n' | '\t') { '\u{FFFD}' } else { letter }
    };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

/// Returns the width of the terminal.
pub(super) fn terminal_columns() -> usize {
    // Messages go to standard error, which may be a terminal when data goes elsewhere.
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stderr()));
    let columns = size.map(|size| usize::from(size.ws_col));
    columns.ok().filter(|columns| *columns > 0).unwrap_or(80)
}
