//! A file that a transfer writes, and the waits for its disk: a copy before the first byte, flushes while data arrives,
//! and the end.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;

use super::durability::Durability;
use super::memory::{MemoryUpload, MemoryWriter};
use super::pending::Pending;
use super::upload::{CancelOnDrop, Committed, Content, Go, Upload};
use crate::pool::{DiskPool, Job};

/// A file that is being written. Dropping it keeps the data that has arrived.
#[derive(Debug)]
pub struct Writer(Sink);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Sink {
    Local(LocalWriter),
    Memory(Box<MemoryWriter>),
}

/// A file of this machine that is being written.
#[derive(Debug)]
struct LocalWriter {
    /// None while it is prepared.
    upload: Option<Upload>,
    disks: Arc<DiskPool>,
    /// The number of the device that stores the file.
    device: u64,
    durability: Durability,
    /// The copy of the bytes before the first byte, while it runs.
    preparing: Option<(Job<Upload>, Option<CancelOnDrop>)>,
    /// The flush that is running.
    flushing: Option<Job<()>>,
}

impl Writer {
    pub(super) fn local(upload: Upload, disks: Arc<DiskPool>, durability: Durability) -> Self {
        Self(Sink::Local(LocalWriter::new(upload, disks, durability)))
    }

    pub(super) fn memory(upload: MemoryUpload, disks: Arc<DiskPool>) -> Self {
        Self(Sink::Memory(Box::new(MemoryWriter::new(upload, disks))))
    }

    /// Returns the length of the final file so far, in bytes; 0 while the file is prepared.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.0 {
            Sink::Local(writer) => writer.position(),
            Sink::Memory(writer) => writer.position(),
        }
    }

    /// Returns true if data counts as stored only when it is flushed.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        match &self.0 {
            Sink::Local(writer) => writer.durability == Durability::Flushed,
            Sink::Memory(_) => false,
        }
    }

    /// Returns true if [`Writer::commit`] does its work itself, and so may hang.
    #[must_use]
    pub fn commits_at_once(&self) -> bool {
        match &self.0 {
            Sink::Local(writer) => writer.durability == Durability::Cached,
            Sink::Memory(_) => false,
        }
    }

    /// Returns the number of steps that [`Writer::commit`] has done; it grows while a long one makes progress.
    #[must_use]
    pub fn steps(&self) -> Arc<AtomicU64> {
        match &self.0 {
            Sink::Local(writer) => writer.upload.as_ref().map(Upload::steps).unwrap_or_default(),
            Sink::Memory(_) => Arc::default(),
        }
    }

    /// Returns true if the kernel can move bytes from a socket to the file.
    #[must_use]
    pub fn splices(&self) -> bool {
        matches!(self.0, Sink::Local(_))
    }

    /// Gets ready for bytes. While that is pending, [`Writer::awaited`] becomes readable when the file takes them.
    pub fn prepare(&mut self) -> io::Result<Poll<()>> {
        match &mut self.0 {
            Sink::Local(writer) => writer.prepare(),
            Sink::Memory(writer) => writer.prepare(),
        }
    }

    /// Returns the descriptor that becomes readable when the file takes bytes again; `None` if it takes them now.
    #[must_use]
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Sink::Local(writer) => writer.awaited(),
            Sink::Memory(writer) => writer.awaited(),
        }
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When the storage fails or the quota is used up.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Sink::Local(writer) => writer.upload()?.write(bytes),
            Sink::Memory(writer) => writer.write(bytes),
        }
    }

    /// Writes the next `count` bytes from a pipe that holds them.
    ///
    /// # Errors
    /// When the storage fails, the quota is used up, or [`Writer::splices`] is false.
    pub fn write_from(&mut self, pipe: BorrowedFd<'_>, count: usize) -> io::Result<()> {
        match &mut self.0 {
            Sink::Local(writer) => writer.upload()?.write_from(pipe, count),
            Sink::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Begins to flush the data that has arrived.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::Local(writer) => writer.flush(),
            Sink::Memory(_) => Ok(()),
        }
    }

    /// Returns the result of the flush, once it has ended.
    pub fn take_flushed(&mut self) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Sink::Local(writer) => writer.take_flushed(),
            Sink::Memory(_) => Poll::Pending,
        }
    }

    /// Returns the descriptor that becomes readable when the running flush has ended.
    #[must_use]
    pub fn flushing(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Sink::Local(writer) => writer.flushing.as_ref().map(Job::descriptor),
            Sink::Memory(_) => None,
        }
    }

    /// Returns the content that the file will have.
    ///
    /// # Errors
    /// When the file is not one of this machine, or no more descriptors are available.
    pub fn content(&mut self) -> io::Result<Content> {
        match &mut self.0 {
            Sink::Local(writer) => writer.upload()?.content(),
            Sink::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Removes the file.
    pub fn discard(self) -> io::Result<()> {
        match self.0 {
            // A running flush needs no name.
            Sink::Local(writer) => writer.upload.map_or(Ok(()), Upload::discard),
            Sink::Memory(writer) => writer.discard(),
        }
    }

    /// Ends an incomplete upload, and returns the number of bytes that are kept to resume from.
    #[must_use]
    pub fn settle(self) -> Pending<u64> {
        match self.0 {
            Sink::Local(writer) => writer.settle(),
            Sink::Memory(writer) => writer.settle(),
        }
    }

    /// Ends an incomplete upload on another thread, whose result nothing waits for.
    pub fn abandon(self) {
        match self.0 {
            Sink::Local(writer) => drop(writer.settle_later()),
            Sink::Memory(writer) => drop(writer.settle()),
        }
    }

    /// Gives the file its final name, if `go` agrees once everything is flushed.
    pub fn commit(self, go: impl FnOnce() -> Go + Send + 'static) -> Pending<Committed<Self>> {
        match self.0 {
            Sink::Local(writer) => writer.commit(go),
            Sink::Memory(writer) => {
                writer.commit(go, |writer| Self(Sink::Memory(Box::new(writer))))
            }
        }
    }
}

impl LocalWriter {
    fn new(upload: Upload, disks: Arc<DiskPool>, durability: Durability) -> Self {
        let device = upload.device();
        let upload = Some(upload);
        Self { upload, disks, device, durability, preparing: None, flushing: None }
    }

    fn position(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::position)
    }

    /// Begins the preparation of the file, if there is one.
    fn prepare(&mut self) -> io::Result<Poll<()>> {
        if let Some((job, _)) = &self.preparing {
            let Poll::Ready(prepared) = job.outcome() else { return Ok(Poll::Pending) };
            self.preparing = None;
            self.upload = Some(prepared?);
        }
        match self.upload.take() {
            Some(upload) if upload.needs_preparation() => {
                let cancel = upload.cancel_on_drop();
                let job = self.disks.run(self.device, move || upload.prepare())?;
                self.preparing = Some((job, cancel));
                Ok(Poll::Pending)
            }
            upload => {
                self.upload = upload;
                Ok(Poll::Ready(()))
            }
        }
    }

    fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.preparing.as_ref().map(|(job, _)| job.descriptor())
    }

    fn upload(&mut self) -> io::Result<&mut Upload> {
        self.upload.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flush = self.upload()?.flush()?;
        self.flushing = Some(self.disks.run(self.device, move || flush.run())?);
        Ok(())
    }

    fn take_flushed(&mut self) -> Poll<io::Result<()>> {
        let outcome = self.flushing.as_ref().map_or(Poll::Pending, Job::outcome);
        if outcome.is_ready() {
            self.flushing = None;
        }
        outcome
    }

    fn settle(self) -> Pending<u64> {
        match (self.durability, self.upload) {
            (Durability::Cached, Some(upload)) => Pending::Done(Ok(upload.settle())),
            (_, upload) => Self { upload, ..self }.settle_later(),
        }
    }

    fn settle_later(self) -> Pending<u64> {
        let Self { upload, disks, device, flushing, .. } = self;
        // A running preparation ends by itself.
        let Some(upload) = upload else { return Pending::Done(Ok(0)) };
        let settle = move || {
            // The record of this flush must be written before the final record.
            let _flushed = flushing.map(Job::wait);
            Ok(upload.settle())
        };
        // Without a thread the upload is dropped, which keeps what has arrived.
        disks.run(device, settle).into()
    }

    fn commit(self, go: impl FnOnce() -> Go + Send + 'static) -> Pending<Committed<Writer>> {
        let Self { upload, disks, device, durability, flushing, .. } = self;
        let Some(upload) = upload else {
            return Pending::Done(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let threads = Arc::clone(&disks);
        let commit = move || {
            // A disk error is reported only once, perhaps to the running flush.
            flushing.map_or(Ok(()), Job::wait)?;
            Ok(upload.commit(go)?.map(|upload| Writer::local(upload, threads, durability)))
        };
        match durability {
            Durability::Cached => Pending::Done(commit()),
            Durability::Flushed => disks.run(device, commit).into(),
        }
    }
}
