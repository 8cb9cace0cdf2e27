//! A directory in memory that is listed, in pages that another thread delivers.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;

use super::nodes::{DEVICE, Nodes};
use crate::ftp::listing::Entry;
use crate::pool::{DiskPool, Job};
use crate::storage::permissions::Permissions;
use crate::storage::rights::Surroundings;

/// Some entries of a directory.
#[derive(Debug)]
struct Page {
    entries: Vec<Entry>,
    /// The key of the last entry; none at the end of the directory.
    last: Option<Vec<u8>>,
}

/// A directory in memory that is listed.
#[derive(Debug)]
pub(in crate::storage) struct MemoryListing {
    nodes: Arc<Mutex<Nodes>>,
    directory: Vec<u8>,
    surroundings: Surroundings,
    /// The permissions of the client, in the whole tree.
    may: Permissions,
    disks: Arc<DiskPool>,
    entries_max: usize,
    /// The key of the last entry that was listed.
    after: Vec<u8>,
    /// The first page, until it is listed.
    first: Option<Page>,
    /// The page that is to come.
    coming: Option<Job<Page>>,
}

impl MemoryListing {
    pub(super) fn new(
        nodes: Arc<Mutex<Nodes>>,
        directory: Vec<u8>,
        (surroundings, may): (Surroundings, Permissions),
        disks: Arc<DiskPool>,
        entries_max: usize,
    ) -> Self {
        let after = Vec::new();
        let first = Some(page(&nodes.lock(), &directory, &after, entries_max));
        Self { nodes, directory, surroundings, may, disks, entries_max, after, first, coming: None }
    }

    pub(in crate::storage) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }

    pub(in crate::storage) fn permissions(&self) -> Permissions {
        self.may
    }

    /// Passes on the entries of the next page. Returns true at the end.
    pub(in crate::storage) fn next(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        take: impl FnMut(&Entry),
    ) -> io::Result<Poll<bool>> {
        if let Some(first) = self.first.take() {
            return Ok(Poll::Ready(self.pass_on(first, wanted, take)));
        }
        let Some(job) = &self.coming else {
            let (nodes, directory) = (Arc::clone(&self.nodes), self.directory.clone());
            let (after, most) = (self.after.clone(), self.entries_max);
            let read = move || Ok(page(&nodes.lock(), &directory, &after, most));
            self.coming = Some(self.disks.run(DEVICE, read)?);
            return Ok(Poll::Pending);
        };
        let Poll::Ready(page) = job.outcome() else { return Ok(Poll::Pending) };
        self.coming = None;
        Ok(Poll::Ready(self.pass_on(page?, wanted, take)))
    }

    /// Passes on the entries of a page; returns true at the end of the directory.
    fn pass_on(
        &mut self,
        page: Page,
        wanted: impl Fn(&[u8]) -> bool,
        take: impl FnMut(&Entry),
    ) -> bool {
        let Page { entries, last } = page;
        entries.iter().filter(|entry| wanted(&entry.name)).for_each(take);
        let has_ended = last.is_none();
        self.after = last.unwrap_or_default();
        has_ended
    }

    pub(in crate::storage) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.coming.as_ref().map(Job::descriptor)
    }
}

fn page(nodes: &Nodes, directory: &[u8], after: &[u8], most: usize) -> Page {
    let keys = nodes.keys_in(directory, after, most);
    let entries = keys.iter().filter_map(|key| nodes.entry(key).ok()).collect();
    let last = if keys.len() < most { None } else { keys.into_iter().next_back() };
    Page { entries, last }
}
