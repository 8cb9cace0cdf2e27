//! Durability: when stored data counts, and how the names in a directory reach the disk.

use std::fs::File;
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The moment from which data counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the data and the name have reached the disk (fsync).
    Flushed,
    /// At once: the data survives the death of the server, but not a power failure.
    Cached,
}

/// Opens a directory to flush or lock it; `None` if it may be written but not read, as drop boxes are.
pub(super) fn open_directory(directory: &Dir) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, ".", flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory.into())),
        Err(Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Flushes a directory, if it could be opened. Some file systems refuse that, because they have nothing to flush.
pub(super) fn flush_directory(directory: Option<&File>) -> io::Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    match rustix::fs::fsync(directory) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::ROFS) => Ok(()),
        flushed => Ok(flushed?),
    }
}
