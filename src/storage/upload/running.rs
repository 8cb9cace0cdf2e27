//! The uploads that run in this process, and their clients. A partial has no record of its owner until its first flush.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::LazyLock;

use parking_lot::Mutex;

use super::record::Owner;
use crate::storage::quota::FileId;

/// The owner of each file that an upload writes now.
static RUNNING: LazyLock<Mutex<HashMap<FileId, Owner>>> = LazyLock::new(Mutex::default);

/// A file that is listed as written by a client until this value is dropped.
#[derive(Debug)]
pub(super) struct Running(FileId);

impl Running {
    /// Lists the file of an upload. The upload keeps the file open longer than the result: a free inode is used again.
    pub(super) fn list(found: &Metadata, owner: Owner) -> Self {
        let file = (found.dev(), found.ino());
        RUNNING.lock().insert(file, owner);
        Self(file)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().remove(&self.0);
    }
}

/// Returns the client whose upload writes this file now; `None` if no upload of this process does.
pub(super) fn sender(file: &File) -> Option<Owner> {
    let found = file.metadata().ok()?;
    RUNNING.lock().get(&(found.dev(), found.ino())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_sender_while_it_is_listed_and_no_longer() {
        let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let running = Running::list(&file.metadata().unwrap(), Owner(7));
        assert_eq!((sender(&file), sender(&other)), (Some(Owner(7)), None));
        drop(running);
        assert_eq!(sender(&file), None);
    }
}
