//! The tails of appends that this process writes now. They replace locks where the file system has none.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use parking_lot::{Condvar, Mutex};

use crate::storage::quota::FileId;

/// One tail for each append in its last step, and for each that is carried out after a crash.
static TAILS: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

/// Notified when a tail is removed from [`TAILS`].
static REMOVED: Condvar = Condvar::new();

/// A tail that nobody else in this process writes until this value is dropped.
#[derive(Debug)]
pub(super) struct Claim(FileId);

/// Waits until nobody else in this process writes a tail.
pub(super) fn claim(tail: &File) -> io::Result<Claim> {
    let found = tail.metadata()?;
    let tail = (found.dev(), found.ino());
    let mut tails = TAILS.lock();
    while tails.contains(&tail) {
        REMOVED.wait(&mut tails);
    }
    tails.push(tail);
    Ok(Claim(tail))
}

impl Drop for Claim {
    fn drop(&mut self) {
        TAILS.lock().retain(|tail| *tail != self.0);
        REMOVED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_waits_for_the_end_of_the_one_before_and_for_no_other() {
        let (tail, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let first = claim(&tail).unwrap();
        drop(claim(&other).unwrap());
        let again = tail.try_clone().unwrap();
        let waiting = std::thread::spawn(move || drop(claim(&again).unwrap()));
        assert!(!waiting.is_finished());
        drop(first);
        waiting.join().unwrap();
    }
}
