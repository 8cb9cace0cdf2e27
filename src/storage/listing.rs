//! A directory that is listed, some entries at a time.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::permit::EntryPermissions;
use super::rights::Surroundings;
use super::root::{Directory, Root};
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;

/// The progress of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more entries.
    More,
    /// No entries yet: [`Listing::awaited`] becomes readable when there are.
    Wait,
    /// There are no more entries.
    End,
}

/// The permissions to the entries of a directory.
#[derive(Debug)]
pub struct Grants {
    root: Arc<Root>,
    directory: VirtualPath,
}

impl Grants {
    /// Returns the permissions to an entry, and to its name.
    #[must_use]
    pub fn of(&self, entry: &Entry) -> EntryPermissions {
        self.root.permissions_in(&self.directory, entry)
    }
}

/// A directory that is listed. It holds at most a few hundred entries at a time.
#[derive(Debug)]
pub struct Listing {
    root: Arc<Root>,
    directory: Directory,
}

impl Listing {
    pub(super) fn local(root: Arc<Root>, directory: Directory) -> Self {
        Self { root, directory }
    }

    /// Returns the rights to the names in the directory.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        self.directory.surroundings()
    }

    /// Returns the permissions to the entries of the directory.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants { root: Arc::clone(&self.root), directory: self.directory.resolved().clone() }
    }

    /// Examines more names, at most a few hundred, and passes the entries of those that are `wanted` to `take`.
    pub fn next(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        take: impl FnMut(&Entry),
    ) -> io::Result<Progress> {
        let ended = self.directory.read_some(&self.root, wanted, take)?;
        Ok(if ended { Progress::End } else { Progress::More })
    }

    /// Returns the descriptor that becomes readable when there are more entries.
    #[must_use]
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
