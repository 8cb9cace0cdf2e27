//! A file in memory that is read, in pieces that another thread delivers.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Poll;

use super::nodes::DEVICE;
use crate::pool::{DiskPool, Job};

/// A file in memory, open for reading.
#[derive(Debug)]
pub(in crate::storage) struct MemoryReader {
    content: Arc<Vec<u8>>,
    disks: Arc<DiskPool>,
    piece_max: usize,
    /// The piece that came last, and its offset.
    piece: (u64, Vec<u8>),
    /// The piece that is to come.
    coming: Option<Job<(u64, Vec<u8>)>>,
}

impl MemoryReader {
    pub(super) fn new(content: Arc<Vec<u8>>, disks: Arc<DiskPool>, piece_max: usize) -> Self {
        Self { content, disks, piece_max, piece: (0, Vec::new()), coming: None }
    }

    pub(in crate::storage) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Returns the next bytes from an offset on, and no bytes at the end.
    pub(in crate::storage) fn next(
        &mut self,
        offset: u64,
        bytes_max: usize,
    ) -> io::Result<Poll<&[u8]>> {
        if let Some(job) = &self.coming {
            let Poll::Ready(piece) = job.outcome() else { return Ok(Poll::Pending) };
            (self.piece, self.coming) = (piece?, None);
        }
        let passed =
            offset.checked_sub(self.piece.0).and_then(|passed| usize::try_from(passed).ok());
        let has_more = passed.is_some_and(|passed| passed < self.piece.1.len());
        if offset >= self.size() {
            return Ok(Poll::Ready(&[]));
        }
        if !has_more {
            let (content, count) = (Arc::clone(&self.content), self.piece_max);
            let read = move || {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = content.iter().skip(start).take(count).copied().collect();
                Ok((offset, bytes))
            };
            self.coming = Some(self.disks.run(DEVICE, read)?);
            return Ok(Poll::Pending);
        }
        let bytes = self.piece.1.get(passed.unwrap_or_default()..).unwrap_or_default();
        Ok(Poll::Ready(bytes.get(..bytes_max).unwrap_or(bytes)))
    }

    pub(in crate::storage) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.coming.as_ref().map(Job::descriptor)
    }
}
