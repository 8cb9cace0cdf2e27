//! Errors of the system as people read them.

use std::io;

/// Returns the text of a system error, without its number, as the end of a sentence.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
