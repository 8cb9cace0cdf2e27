//! Text for a terminal.

use std::io;

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
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col));
    columns.ok().filter(|columns| *columns > 0).unwrap_or(80)
}
