//! A file in memory that a transfer writes. Another thread adds the bytes, and ends the upload.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;

use super::nodes::DEVICE;
use super::upload::MemoryUpload;
use crate::pool::{DiskPool, Job};
use crate::storage::pending::Pending;
use crate::storage::upload::{Committed, Go};

/// A file in memory that is being written.
#[derive(Debug)]
pub(in crate::storage) struct MemoryWriter {
    /// Locked by the threads that write, one after the other.
    upload: Arc<Mutex<Option<MemoryUpload>>>,
    disks: Arc<DiskPool>,
    position: u64,
    /// Bytes that no thread has yet; at most those of one turn.
    queued: Vec<u8>,
    /// The job that adds bytes.
    writing: Option<Job<()>>,
}

impl MemoryWriter {
    pub(in crate::storage) fn new(upload: MemoryUpload, disks: Arc<DiskPool>) -> Self {
        let position = upload.start();
        let upload = Arc::new(Mutex::new(Some(upload)));
        Self { upload, disks, position, queued: Vec::new(), writing: None }
    }

    pub(in crate::storage) fn position(&self) -> u64 {
        self.position
    }

    /// Gets ready for bytes: adds all earlier ones.
    pub(in crate::storage) fn prepare(&mut self) -> io::Result<Poll<()>> {
        if let Some(job) = &self.writing {
            let Poll::Ready(written) = job.outcome() else { return Ok(Poll::Pending) };
            self.writing = None;
            written?;
        }
        self.begin_to_write()?;
        Ok(if self.writing.is_none() { Poll::Ready(()) } else { Poll::Pending })
    }

    fn begin_to_write(&mut self) -> io::Result<()> {
        if self.writing.is_some() || self.queued.is_empty() {
            return Ok(());
        }
        let (upload, bytes) = (Arc::clone(&self.upload), std::mem::take(&mut self.queued));
        let write = move || {
            upload.lock().as_mut().ok_or(io::ErrorKind::BrokenPipe)?.append(&bytes);
            Ok(())
        };
        self.writing = Some(self.disks.run(DEVICE, write)?);
        Ok(())
    }

    pub(in crate::storage) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.writing.as_ref().map(Job::descriptor)
    }

    pub(in crate::storage) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.queued.extend_from_slice(bytes);
        self.begin_to_write()
    }

    /// Ends an incomplete upload; the answer is the number of bytes that are kept to resume from.
    pub(in crate::storage) fn settle(self) -> Pending<u64> {
        let disks = Arc::clone(&self.disks);
        disks.run(DEVICE, move || Ok(self.written()?.settle())).into()
    }

    /// Removes the file on another thread.
    pub(in crate::storage) fn discard(self) -> io::Result<()> {
        let disks = Arc::clone(&self.disks);
        drop(disks.run(DEVICE, move || {
            self.written()?.discard();
            Ok(())
        })?);
        Ok(())
    }

    /// Gives the file its final name, if `go` agrees. `wrap` converts a file that did not get it.
    pub(in crate::storage) fn commit<W: Send + 'static>(
        self,
        go: impl FnOnce() -> Go + Send + 'static,
        wrap: impl FnOnce(Self) -> W + Send + 'static,
    ) -> Pending<Committed<W>> {
        let (disks, threads) = (Arc::clone(&self.disks), Arc::clone(&self.disks));
        let commit = move || {
            let committed = self.written()?.commit(go)?;
            Ok(committed.map(|upload| {
                let position = upload.length();
                wrap(Self { position, ..Self::new(upload, threads) })
            }))
        };
        disks.run(DEVICE, commit).into()
    }

    /// Waits until all bytes are added. An earlier job adds them, so this ends.
    fn written(self) -> io::Result<MemoryUpload> {
        self.writing.map_or(Ok(()), Job::wait)?;
        let mut upload = self.upload.lock().take().ok_or(io::ErrorKind::BrokenPipe)?;
        if !self.queued.is_empty() {
            upload.append(&self.queued);
        }
        Ok(upload)
    }
}
