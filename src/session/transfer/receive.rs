//! A file being received: written, flushed from time to time, and judged at its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::ascii::FromWire;
use crate::ftp::block::{Decoder, Item};
use crate::ftp::command::{Mode, Type};
use crate::ftp::{Code, Reply};
use crate::net::copy::{self, Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, DiskPool, Job, Watch};
use crate::storage::{
    CancelOnDrop, ClientState, Committed, Completeness, DataEnd, Durability, Go, Signs, Upload,
    judge,
};

use crate::session::parameters::Parameters;
use crate::session::service::Service;

/// Number of received bytes from which on a file is large enough for splice.
const SPLICE_FROM_BYTES: u64 = 64 * 1024;

/// Number of unflushed bytes at which a flush begins while more data arrives. The final flush then has little left to
/// do, and the page cache does not fill with data that the disk has yet to write.
const FLUSH_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// Maximum time between flushes while data arrives: a client that resumes after a power failure has lost no more.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// A file being received.
#[derive(Debug)]
pub(in crate::session) struct FileReceiver {
    /// None while the upload is prepared, and after it was handed over to be stored or kept.
    upload: Option<Upload>,
    /// The copy of the bytes before the client's first byte, while it runs.
    preparing: Option<(Job<Upload>, Option<CancelOnDrop>)>,
    /// Offset in the file of the client's first byte.
    offset: u64,
    /// TYPE A: the converter, and a buffer for its output.
    ascii: Option<(FromWire, Vec<u8>)>,
    /// Block mode: the decoder.
    blocks: Option<Decoder>,
    /// The client's restart marker that is answered once all bytes before it are flushed.
    marker: Option<Marker>,
    /// The marker whose flush is running.
    flushing_marker: Option<Marker>,
    /// The marker that may be answered now.
    safe_marker: Option<Marker>,
    /// Size in bytes that ALLO announced.
    announced: Option<u64>,
    /// TLS: whether the client has sent `close_notify`; set when the data has ended.
    close_notify: Option<bool>,
    /// Number of bytes of the file received over the data connection.
    received: u64,
    disks: Arc<DiskPool>,
    /// True if an earlier upload of this file in the session ended at the same length.
    pub(in crate::session) repeated: bool,
    /// Device number of the disk that stores the file.
    device: u64,
    durability: Durability,
    unflushed: u64,
    /// Time at which the last flush began.
    flushed_at: Instant,
    flushing: Option<Job<()>>,
}

/// A restart marker: the client's own name for a position in the file, and ours, the number of bytes before it.
#[derive(Debug)]
pub(in crate::session) struct Marker {
    theirs: Vec<u8>,
    ours: u64,
}

impl Marker {
    /// Returns the MARK reply, whose text RFC 959 §4.2 defines exactly.
    pub(in crate::session) fn reply(&self) -> Reply {
        let ours = format!(" = {}", self.ours);
        Reply::new(Code::MARKER, [b"MARK ", self.theirs.as_slice(), ours.as_bytes()].concat())
    }
}

impl FileReceiver {
    pub(in crate::session) fn new(
        upload: Upload,
        parameters: &Parameters,
        announced: Option<u64>,
        service: &Service,
        now: Instant,
    ) -> Self {
        let ascii = parameters.representation == Type::Ascii;
        Self {
            offset: upload.position(),
            repeated: false,
            device: upload.device(),
            upload: Some(upload),
            preparing: None,
            ascii: ascii.then(Default::default),
            blocks: (parameters.mode == Mode::Block).then(Decoder::default),
            marker: None,
            flushing_marker: None,
            safe_marker: None,
            // In TYPE A the announced size is not that of the stored file.
            announced: announced.filter(|_| !ascii),
            close_notify: None,
            received: 0,
            disks: service.disks(),
            durability: service.durability,
            unflushed: 0,
            flushed_at: now,
            flushing: None,
        }
    }

    /// Receives available data, at most `budget` bytes.
    pub(in crate::session) fn advance(
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

    /// Prepares the upload on another thread, if that may take long; returns `true` once it is prepared.
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

    /// Returns whether to splice from the connection to the file: the file is large, and its bytes need no conversion
    /// or decryption. A small file would take more system calls with splice.
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
            self.close_notify = connection.is_ended();
            self.store_rest().map_err(Fault::Storage)?;
            return Ok(Moved::End);
        }
        Ok(moved)
    }

    /// Stores the data in blocks; returns `false` if the blocks are malformed.
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

    /// Stores what the converter has held back, at the end of the data.
    fn store_rest(&mut self) -> io::Result<()> {
        let Some((converter, text)) = &mut self.ascii else { return Ok(()) };
        text.clear();
        converter.finish(text);
        let upload = self.upload.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        upload.write(text)
    }

    /// Begins a flush when one is due. Returns `false` if the previous flush is still running and no more data may be
    /// received until it ends.
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

    /// Returns when received data must be flushed.
    pub(in crate::session) fn flush_due(&self) -> Option<Instant> {
        let waits =
            self.unflushed > 0 && self.flushing.is_none() && self.durability == Durability::Flushed;
        waits.then(|| self.flushed_at + FLUSH_EVERY)
    }

    /// Watches for more data, and for the end of a copy or flush that something waits for.
    pub(in crate::session) fn watch<'a>(
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

    /// Returns whether no more data is received until a copy or flush has ended.
    pub(in crate::session) fn waits_for_storage(&self) -> bool {
        self.preparing.is_some() || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.flushing.is_some() && self.unflushed >= FLUSH_EVERY_BYTES
    }

    /// Returns whether the flush for a marker is running; the client may wait for its answer.
    pub(in crate::session) fn owes_a_marker(&self) -> bool {
        self.flushing_marker.is_some()
    }

    /// Takes the markers that are answered only when the whole file is stored.
    pub(in crate::session) fn unanswered_markers(&mut self) -> Vec<Marker> {
        [self.flushing_marker.take(), self.marker.take()].into_iter().flatten().collect()
    }

    /// Takes the marker that may be answered.
    pub(in crate::session) fn take_safe_marker(&mut self) -> Option<Marker> {
        self.safe_marker.take()
    }

    /// Returns the number of bytes of the file received.
    pub(in crate::session) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the offset in the file after the last byte.
    pub(in crate::session) fn position(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::position)
    }

    /// Judges from all signs whether the upload is complete, once the data has ended in order.
    pub(in crate::session) fn judge(&self, client: ClientState) -> Completeness {
        let end = match (&self.blocks, self.close_notify) {
            (Some(blocks), _) => DataEnd::Block { marked: blocks.has_ended() },
            (None, Some(notified)) => DataEnd::Tls { notified },
            (None, None) => DataEnd::Plain,
        };
        let (offset, received, announced) = (self.offset, self.received, self.announced);
        let repeated = self.repeated;
        judge(&Signs { offset, received, announced, end, client, repeated })
    }

    /// Returns whether nothing is flushed at the end of the upload (`--no-fsync`).
    pub(in crate::session) fn flushes_nothing(&self) -> bool {
        self.durability == Durability::Cached
    }

    /// Ends an upload early of which nothing is flushed: keeps what has arrived, and returns the number of bytes kept.
    pub(in crate::session) fn settle(self) -> u64 {
        // A running preparation ends by itself.
        self.upload.map_or(0, Upload::settle)
    }

    /// Ends an upload early on another thread: flushes and keeps what has arrived. The result is the number of bytes
    /// kept; `None` if there is no upload to keep, or no thread for it: dropping an upload keeps what has arrived.
    pub(in crate::session) fn start_settle(self) -> Option<Job<u64>> {
        let Self { upload, disks, device, flushing, .. } = self;
        let upload = upload?;
        let settle = move || {
            // The record of this flush must be written before the final record.
            let _flushed = flushing.map(Job::wait);
            Ok(upload.settle())
        };
        disks.run(device, settle).ok()
    }

    /// Gives a file of which nothing is flushed its final name, if `go` agrees.
    pub(in crate::session) fn commit(&mut self, go: impl FnOnce() -> Go) -> io::Result<Committed> {
        self.upload.take().ok_or(io::ErrorKind::BrokenPipe)?.commit(go)
    }

    /// Flushes the file on another thread, and gives it its final name if `go` agrees then.
    pub(in crate::session) fn start_commit(
        &mut self,
        go: impl FnOnce() -> Go + Send + 'static,
    ) -> io::Result<Job<Committed>> {
        let upload = self.upload.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let flushing = self.flushing.take();
        let commit = move || {
            // A disk error is reported only once, perhaps to the running flush.
            flushing.map_or(Ok(()), Job::wait)?;
            upload.commit(go)
        };
        self.disks.run(self.device, commit)
    }

    /// Takes back an upload that did not get its final name.
    pub(in crate::session) fn take_back(&mut self, upload: Upload) {
        self.upload = Some(upload);
    }
}
