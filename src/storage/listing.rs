//! A directory that is listed, some entries at a time.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Poll;

use super::memory::MemoryListing;
use super::permissions::Permissions;
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
pub struct Grants(GrantSource);

#[derive(Debug)]
enum GrantSource {
    /// The rules for the directory.
    Rules { root: Arc<Root>, directory: VirtualPath },
    /// The permissions of the account in its whole tree.
    WholeTree(Permissions),
}

impl Grants {
    /// Returns the permissions to an entry, and to its name.
    #[must_use]
    pub fn of(&self, entry: &Entry) -> EntryPermissions {
        match &self.0 {
            GrantSource::Rules { root, directory } => root.permissions_in(directory, entry),
            GrantSource::WholeTree(may) => EntryPermissions::whole(*may),
        }
    }
}

/// A directory that is listed. It holds at most a few hundred entries at a time.
#[derive(Debug)]
pub struct Listing(DirectorySource);

#[derive(Debug)]
enum DirectorySource {
    Local { root: Arc<Root>, directory: Directory },
    Memory(MemoryListing),
}

impl Listing {
    pub(super) fn local(root: Arc<Root>, directory: Directory) -> Self {
        Self(DirectorySource::Local { root, directory })
    }

    pub(super) fn memory(listing: MemoryListing) -> Self {
        Self(DirectorySource::Memory(listing))
    }

    /// Returns the rights to the names in the directory.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        match &self.0 {
            DirectorySource::Local { directory, .. } => directory.surroundings(),
            DirectorySource::Memory(listing) => listing.surroundings(),
        }
    }

    /// Returns the permissions to the entries of the directory.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants(match &self.0 {
            DirectorySource::Local { root, directory } => GrantSource::Rules {
                root: Arc::clone(root),
                directory: directory.resolved().clone(),
            },
            DirectorySource::Memory(listing) => GrantSource::WholeTree(listing.permissions()),
        })
    }

    /// Examines more names, at most a few hundred, and passes the entries of those that are `wanted` to `take`.
    pub fn next(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        take: impl FnMut(&Entry),
    ) -> io::Result<Progress> {
        let ended = match &mut self.0 {
            DirectorySource::Local { root, directory } => {
                Poll::Ready(directory.read_some(root, wanted, take)?)
            }
            DirectorySource::Memory(listing) => listing.next(wanted, take)?,
        };
        Ok(match ended {
            Poll::Ready(true) => Progress::End,
            Poll::Ready(false) => Progress::More,
            Poll::Pending => Progress::Wait,
        })
    }

    /// Returns the descriptor that becomes readable when there are more entries.
    #[must_use]
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            DirectorySource::Local { .. } => None,
            DirectorySource::Memory(listing) => listing.awaited(),
        }
    }
}
