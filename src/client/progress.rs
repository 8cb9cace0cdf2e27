//! The observer of a transfer.

/// An observer of a transfer. It receives the number of bytes so far, the total where that is known, and notes for the
/// user.
pub trait Progress {
    /// Called at the beginning and after each chunk.
    fn progress(&mut self, bytes: u64, total: Option<u64>);

    /// Receives a note for the user, such as a retry after a lost connection, or a file that is fetched again.
    fn note(&mut self, text: &str) {
        let _ = text;
    }
}

impl Progress for () {
    fn progress(&mut self, _: u64, _: Option<u64>) {}
}
