//! A file on its way from the client: received, flushed now and then, and judged at its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::ascii::FromWire;
use crate::ftp::block::{Decoder, Item};
use crate::ftp::command::Mode;
use crate::ftp::{Code, Reply};
use crate::net::copy::{self, Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::storage::{
    CancelOnDrop, ClientState, Committed, Completeness, DataEnd, Disks, Durability, Errand, Go,
    Signs, Upload, judge,
};

/// After so many bytes a file is large.
const SPLICE_FROM_BYTES: u64 = 64 * 1024;

/// After so many bytes what has arrived is flushed while more comes: the flush at the end has little left to do, and the
/// system's memory does not fill with what the disk has yet to take.
const FLUSH_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// The same after this time: what a client that comes back after a power failure has lost is no more.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// A file on its way from the client.
#[derive(Debug)]
pub(super) struct Incoming {
    /// None while it is prepared, and when it has been handed over to be stored or kept.
    upload: Option<Upload>,
    /// The copy of the bytes before the client's first byte, while it runs.
    preparing: Option<(Errand<Upload>, Option<CancelOnDrop>)>,
    /// The offset in the file of the client's first byte.
    offset: u64,
    /// TYPE A: the converter, and room for what it makes.
    ascii: Option<(FromWire, Vec<u8>)>,
    /// Block mode.
    blocks: Option<Decoder>,
    /// A restart marker of the client's that is to be answered when what came before it is flushed.
    marker: Option<Marker>,
    /// One whose flush is under way.
    flushing_marker: Option<Marker>,
    /// One that may be answered.
    safe_marker: Option<Marker>,
    /// How many bytes ALLO said the file would have.
    announced: Option<u64>,
    /// TLS: whether the client has said that this was all, once the data has ended.
    said_end: Option<bool>,
    /// How many bytes of the file came over the data connection.
    received: u64,
    disks: Arc<Disks>,
    /// True if the session sent it before, and it ended at the same length.
    pub(super) repeated: bool,
    /// The disk that it is stored on.
    device: u64,
    durability: Durability,
    unflushed: u64,
    /// When the last flush began.
    flushed_at: Instant,
    flushing: Option<Errand<()>>,
}

/// A restart marker: the client's own name for a place in the file, and ours, the number of bytes before it.
#[derive(Debug)]
pub(super) struct Marker {
    theirs: Vec<u8>,
    ours: u64,
}

impl Marker {
    /// The text is exact (RFC 959 §4.2).
    pub(super) fn reply(&self) -> Reply {
        let ours = format!(" = {}", self.ours);
        Reply::new(Code::MARKER, [b"MARK ", self.theirs.as_slice(), ours.as_bytes()].concat())
    }
}

impl Incoming {
    pub(super) fn new(
        upload: Upload,
        ascii: bool,
        mode: Mode,
        announced: Option<u64>,
        disks: Arc<Disks>,
        durability: Durability,
        now: Instant,
    ) -> Self {
        Self {
            offset: upload.position(),
            repeated: false,
            device: upload.device(),
            upload: Some(upload),
            preparing: None,
            ascii: ascii.then(Default::default),
            blocks: (mode == Mode::Block).then(Decoder::default),
            marker: None,
            flushing_marker: None,
            safe_marker: None,
            // The size in TYPE A is not that of what is stored.
            announced: announced.filter(|_| !ascii),
            said_end: None,
            received: 0,
            disks,
            durability,
            unflushed: 0,
            flushed_at: now,
            flushing: None,
        }
    }

    /// Receives what is here, `budget` bytes at most.
    pub(super) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
        now: Instant,
    ) -> Result<Moved, Fault> {
        if !self.prepare().map_err(Fault::Storage)?
            || !self.keep_flushed(now).map_err(Fault::Storage)?
        {
            return Ok(Moved::WouldBlock);
        }
        self.receive(connection, budget)
    }

    fn receive(&mut self, connection: &mut DataConnection, budget: usize) -> Result<Moved, Fault> {
        if self.is_to_splice(connection) {
            let moved = copy::receive_spliced(connection, budget, |pipe, count| {
                self.received += count as u64;
                self.upload_mut()?.write_from(pipe, count)
            })?;
            return self.received_some(moved, connection);
        }
        let bytes_max = self.blocks.as_ref().map_or(budget, |blocks| budget.min(blocks.wanted()));
        let mut malformed = false;
        let moved = copy::receive(connection, bytes_max, |bytes| match self.blocks.take() {
            None => self.store(bytes),
            Some(mut blocks) => {
                let outcome = self.store_blocks(&mut blocks, bytes);
                malformed = matches!(outcome, Ok(false));
                self.blocks = Some(blocks);
                outcome.map(drop)
            }
        })?;
        if malformed {
            return Err(Fault::Connection(io::ErrorKind::InvalidData.into()));
        }
        self.received_some(moved, connection)
    }

    /// Has done elsewhere what must be done before the first byte, and may take long; `true` when it is.
    fn prepare(&mut self) -> io::Result<bool> {
        if let Some((job, _)) = &self.preparing {
            let Some(prepared) = job.outcome() else { return Ok(false) };
            self.preparing = None;
            self.upload = Some(prepared?);
        }
        match self.upload.take() {
            Some(upload) if upload.needs_preparation() => {
                let cancel = upload.cancel_on_drop();
                let job = self.disks.run(self.device, move || upload.prepare())?;
                self.preparing = Some((job, cancel));
                Ok(false)
            }
            upload => {
                self.upload = upload;
                Ok(true)
            }
        }
    }

    fn upload_mut(&mut self) -> io::Result<&mut Upload> {
        self.upload.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// The bytes of a large file that nobody has to look at go from the connection to the file by themselves. For a small
    /// one that would be more calls.
    fn is_to_splice(&self, connection: &DataConnection) -> bool {
        let looks = self.ascii.is_some() || self.blocks.is_some() || connection.is_secure();
        !looks && self.received >= SPLICE_FROM_BYTES
    }

    fn received_some(&mut self, moved: Moved, connection: &DataConnection) -> Result<Moved, Fault> {
        if let Moved::Bytes(count) = moved {
            self.unflushed += count;
        }
        let ended = self.blocks.as_ref().is_some_and(Decoder::has_ended);
        if ended || moved == Moved::End {
            self.said_end = connection.is_ended();
            self.store_rest().map_err(Fault::Storage)?;
            return Ok(Moved::End);
        }
        Ok(moved)
    }

    /// Stores what stands in blocks; `false` when they are none.
    fn store_blocks(&mut self, blocks: &mut Decoder, mut bytes: &[u8]) -> io::Result<bool> {
        loop {
            match blocks.next(&mut bytes) {
                Ok(Some(Item::Data(data))) => self.store(data)?,
                Ok(Some(Item::Marker(theirs))) => {
                    let ours = self.upload_mut()?.position();
                    self.marker = Some(Marker { theirs, ours });
                }
                Ok(Some(Item::End) | None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.received += bytes.len() as u64;
        match &mut self.ascii {
            None => self.upload_mut()?.write(bytes),
            Some((converter, text)) => {
                text.clear();
                converter.convert(bytes, text);
                let upload = self.upload.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
                upload.write(text)
            }
        }
    }

    /// At the end: what the converter has held back.
    fn store_rest(&mut self) -> io::Result<()> {
        let Some((converter, text)) = &mut self.ascii else { return Ok(()) };
        text.clear();
        converter.finish(text);
        let upload = self.upload.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        upload.write(text)
    }

    /// Begins a flush when one is due; `false` when the one before is not done and nothing more may come meanwhile.
    fn keep_flushed(&mut self, now: Instant) -> io::Result<bool> {
        if self.durability == Durability::Cached {
            self.safe_marker = self.marker.take();
            return Ok(true);
        }
        if let Some(flushing) = &self.flushing {
            match flushing.outcome() {
                Some(outcome) => {
                    outcome?;
                    self.flushing = None;
                    self.safe_marker = self.flushing_marker.take();
                }
                None => return Ok(self.unflushed < FLUSH_EVERY_BYTES),
            }
        }
        let is_due = self.flush_due().is_some_and(|due| due <= now);
        if is_due || self.unflushed >= FLUSH_EVERY_BYTES || self.marker.is_some() {
            let flush = self.upload_mut()?.flush()?;
            self.flushing = Some(self.disks.run(self.device, move || flush.run())?);
            self.flushing_marker = self.marker.take();
            (self.unflushed, self.flushed_at) = (0, now);
        }
        Ok(true)
    }

    /// When it must be looked at to flush what has arrived.
    pub(super) fn flush_due(&self) -> Option<Instant> {
        let waits =
            self.unflushed > 0 && self.flushing.is_none() && self.durability == Durability::Flushed;
        waits.then(|| self.flushed_at + FLUSH_EVERY)
    }

    /// More of the file wakes it, and the end of a flush that something waits for.
    pub(super) fn watch<'a>(
        &'a self,
        connection: &'a DataConnection,
        class: Class,
        watch: &mut Watch<'a>,
    ) {
        if let Some((preparing, _)) = &self.preparing {
            return watch.readable(preparing.descriptor(), class);
        }
        let full = self.is_full();
        if let Some(flushing) = &self.flushing
            && (full || self.owes_a_marker())
        {
            watch.readable(flushing.descriptor(), class);
        }
        if !full {
            watch.readable(connection.descriptor(), class);
        }
    }

    /// Returns whether nothing more is taken until what came before is flushed, or copied.
    pub(super) fn waits_for_storage(&self) -> bool {
        self.preparing.is_some() || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.flushing.is_some() && self.unflushed >= FLUSH_EVERY_BYTES
    }

    /// Whether an answer to a marker is on its way, for which a client may wait.
    pub(super) fn owes_a_marker(&self) -> bool {
        self.flushing_marker.is_some()
    }

    /// The markers that are answered only when everything is safe.
    pub(super) fn unanswered_markers(&mut self) -> Vec<Marker> {
        [self.flushing_marker.take(), self.marker.take()].into_iter().flatten().collect()
    }

    /// A marker whose bytes are safe.
    pub(super) fn take_safe_marker(&mut self) -> Option<Marker> {
        self.safe_marker.take()
    }

    /// How many bytes of the file have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The offset in the file behind the last byte.
    pub(super) fn position(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::position)
    }

    /// Judges by every sign there is, now that the data has ended in order.
    pub(super) fn judge(&self, client: ClientState) -> Completeness {
        let end = match (&self.blocks, self.said_end) {
            (Some(blocks), _) => DataEnd::Block { marked: blocks.has_ended() },
            (None, Some(notified)) => DataEnd::Tls { notified },
            (None, None) => DataEnd::Plain,
        };
        let (offset, received, announced) = (self.offset, self.received, self.announced);
        let repeated = self.repeated;
        judge(&Signs { offset, received, announced, end, client, repeated })
    }

    /// Ends it early: what has arrived is flushed and kept to be resumed; how many bytes. Done at once where nothing is to
    /// be flushed.
    pub(super) fn settle(self) -> Result<u64, Errand<u64>> {
        let Self { upload, disks, device, durability, flushing, preparing, .. } = self;
        // What is only being prepared ends by itself.
        drop(preparing);
        let Some(upload) = upload else { return Ok(0) };
        if durability == Durability::Cached {
            return Ok(upload.settle());
        }
        let settle = move || {
            // Its record is written before the one of the end.
            let _flushed = flushing.map(Errand::wait);
            Ok(upload.settle())
        };
        match disks.run(device, settle) {
            Ok(job) => Err(job),
            // Dropped, it was kept.
            Err(_) => Ok(0),
        }
    }

    /// Gives the file its name, if `go` still says so when it is flushed. Done at once where nothing is to be flushed.
    pub(super) fn commit(
        &mut self,
        go: impl FnOnce() -> Go + Send + 'static,
    ) -> io::Result<Result<Committed, Errand<Committed>>> {
        let upload = self.upload.take().ok_or(io::ErrorKind::BrokenPipe)?;
        if self.durability == Durability::Cached {
            return upload.commit(go).map(Ok);
        }
        let flushing = self.flushing.take();
        let commit = move || {
            // An error of the disk is told once: to the flush that was under way, maybe.
            flushing.map_or(Ok(()), Errand::wait)?;
            upload.commit(go)
        };
        self.disks.run(self.device, commit).map(Err)
    }

    /// The upload was not given its name yet.
    pub(super) fn take_back(&mut self, upload: Upload) {
        self.upload = Some(upload);
    }
}
