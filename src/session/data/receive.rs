//! A file being received: written, flushed from time to time, and judged at its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::ftp::ascii::FromWire;
use crate::ftp::block::{Decoder, Item};
use crate::ftp::command::{Mode, Type};
use crate::ftp::{Code, Reply};
use crate::net::copy::{self, Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::storage::{
    ClientState, Committed, Completeness, Content, DataEnd, Go, Pending, Signs, Writer, judge,
};

use crate::session::parameters::Parameters;

/// Number of received bytes from which on a file is large enough for splice.
const SPLICE_FROM_BYTES: u64 = 64 * 1024;

/// Number of unflushed bytes at which a flush begins while more data arrives, so that the final flush has little left to
/// do. With 64 MiB, an upload of that size was written to the disk only after its end, and took 1.3 times as long on XFS.
const FLUSH_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// Number of unflushed bytes at which no more data is received until the flush under way has ended. The page cache does
/// not fill with data that the disk has yet to write.
const UNFLUSHED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Maximum time between flushes while data arrives: a client that resumes after a power failure has lost no more.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// A file being received.
#[derive(Debug)]
pub(in crate::session) struct FileReceiver {
    /// None after it was handed over to be stored or kept.
    writer: Option<Writer>,
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
    /// True if an earlier upload of this file in the session ended at the same length.
    pub(in crate::session) repeated: bool,
    /// True once the scanner has found nothing in the whole content.
    pub(in crate::session) scanned: bool,
    unflushed: u64,
    /// Time at which the last flush began.
    flushed_at: Instant,
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
        writer: Writer,
        parameters: &Parameters,
        announced: Option<u64>,
        now: Instant,
    ) -> Self {
        let ascii = parameters.representation == Type::Ascii;
        Self {
            offset: writer.position(),
            repeated: false,
            scanned: false,
            writer: Some(writer),
            ascii: ascii.then(Default::default),
            blocks: (parameters.mode == Mode::Block).then(Decoder::default),
            marker: None,
            flushing_marker: None,
            safe_marker: None,
            // In TYPE A the announced size is not that of the stored file.
            announced: announced.filter(|_| !ascii),
            close_notify: None,
            received: 0,
            unflushed: 0,
            flushed_at: now,
        }
    }

    /// Receives available data, at most `budget` bytes.
    pub(in crate::session) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
        now: Instant,
    ) -> Result<Moved, Fault> {
        if self.writer().and_then(Writer::prepare).map_err(Fault::Storage)?.is_pending()
            || self.keep_flushed(now).map_err(Fault::Storage)?.is_pending()
        {
            return Ok(Moved::WouldBlock);
        }
        self.receive(connection, budget)
    }

    fn receive(&mut self, connection: &mut DataConnection, budget: usize) -> Result<Moved, Fault> {
        if self.is_to_splice(connection) {
            let moved = copy::receive_spliced(connection, budget, |pipe, count| {
                self.received += count as u64;
                self.writer()?.write_from(pipe, count)
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

    fn writer(&mut self) -> io::Result<&mut Writer> {
        self.writer.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns whether to splice from the connection to the file: the file is large, and its bytes need no conversion
    /// or decryption. A small file would take more system calls with splice.
    fn is_to_splice(&self, connection: &DataConnection) -> bool {
        let looks = self.ascii.is_some() || self.blocks.is_some() || connection.is_secure();
        let splices = self.writer.as_ref().is_some_and(Writer::splices);
        !looks && splices && self.received >= SPLICE_FROM_BYTES
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
                    let ours = self.writer()?.position();
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
            None => self.writer()?.write(bytes),
            Some((converter, text)) => {
                text.clear();
                converter.convert(bytes, text);
                self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(text)
            }
        }
    }

    /// Stores what the converter has held back, at the end of the data.
    fn store_rest(&mut self) -> io::Result<()> {
        let Some((converter, text)) = &mut self.ascii else { return Ok(()) };
        text.clear();
        converter.finish(text);
        self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(text)
    }

    /// Begins a flush when one is due. Pending while no more data may be received until the previous flush ends.
    fn keep_flushed(&mut self, now: Instant) -> io::Result<Poll<()>> {
        if !self.is_flushed() {
            self.safe_marker = self.marker.take();
            return Ok(Poll::Ready(()));
        }
        if self.is_flushing() {
            let Poll::Ready(flushed) = self.writer()?.take_flushed() else {
                let has_room = self.unflushed < UNFLUSHED_BYTES_MAX;
                return Ok(if has_room { Poll::Ready(()) } else { Poll::Pending });
            };
            flushed?;
            self.safe_marker = self.flushing_marker.take();
        }
        let is_due = self.flush_due().is_some_and(|due| due <= now);
        if is_due || self.unflushed >= FLUSH_EVERY_BYTES || self.marker.is_some() {
            self.writer()?.flush()?;
            self.flushing_marker = self.marker.take();
            (self.unflushed, self.flushed_at) = (0, now);
        }
        Ok(Poll::Ready(()))
    }

    /// Returns whether data counts as stored only when it is flushed.
    fn is_flushed(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_flushed)
    }

    fn is_flushing(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.flushing().is_some())
    }

    /// Returns when received data must be flushed.
    pub(in crate::session) fn flush_due(&self) -> Option<Instant> {
        let waits = self.unflushed > 0 && !self.is_flushing() && self.is_flushed();
        waits.then(|| self.flushed_at + FLUSH_EVERY)
    }

    /// Watches for more data, and for the end of a copy or flush that something waits for.
    pub(in crate::session) fn watch<'a>(
        &'a self,
        connection: &'a DataConnection,
        class: Class,
        watch: &mut Watch<'a>,
    ) {
        if let Some(storage) = self.writer.as_ref().and_then(Writer::awaited) {
            return watch.readable(storage, class);
        }
        let full = self.is_full();
        if let Some(flushing) = self.writer.as_ref().and_then(Writer::flushing)
            && (full || self.owes_a_marker())
        {
            watch.readable(flushing, class);
        }
        if !full {
            watch.readable(connection.descriptor(), class);
        }
    }

    /// Returns whether no more data is received until the storage is ready.
    pub(in crate::session) fn waits_for_storage(&self) -> bool {
        self.is_full() || self.writer.as_ref().is_some_and(|writer| writer.awaited().is_some())
    }

    fn is_full(&self) -> bool {
        self.is_flushing() && self.unflushed >= UNFLUSHED_BYTES_MAX
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
        self.writer.as_ref().map_or(0, Writer::position)
    }

    /// Returns whether the upload is complete, by all signs, once the data has ended in order.
    pub(in crate::session) fn completeness(&self, client: ClientState) -> Completeness {
        let end = match (&self.blocks, self.close_notify) {
            (Some(blocks), _) => DataEnd::Block { marked: blocks.has_ended() },
            (None, Some(notified)) => DataEnd::Tls { notified },
            (None, None) => DataEnd::Plain,
        };
        let (offset, received, announced) = (self.offset, self.received, self.announced);
        let repeated = self.repeated;
        judge(&Signs { offset, received, announced, end, client, repeated })
    }

    /// Returns whether [`FileReceiver::commit`] does its work itself, and so may hang.
    pub(in crate::session) fn commits_at_once(&self) -> bool {
        self.writer.as_ref().is_none_or(Writer::commits_at_once)
    }

    /// Returns the number of steps that [`FileReceiver::commit`] has done; it grows while a long one makes progress.
    pub(in crate::session) fn steps(&self) -> Arc<AtomicU64> {
        self.writer.as_ref().map(Writer::steps).unwrap_or_default()
    }

    /// Ends an upload early: keeps what has arrived, and returns the number of bytes kept.
    pub(in crate::session) fn settle(self) -> Pending<u64> {
        self.writer.map_or(Pending::Done(Ok(0)), Writer::settle)
    }

    /// Ends an upload early; its result is not needed.
    pub(in crate::session) fn abandon(self) {
        if let Some(writer) = self.writer {
            writer.abandon();
        }
    }

    /// Gives the file its final name, if `go` agrees once everything is flushed.
    pub(in crate::session) fn commit(
        &mut self,
        go: impl FnOnce() -> Go + Send + 'static,
    ) -> Pending<Committed<Writer>> {
        match self.writer.take() {
            Some(writer) => writer.commit(go),
            None => Pending::Done(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Returns the content that the file will have.
    pub(in crate::session) fn content(&mut self) -> io::Result<Content> {
        self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.content()
    }

    /// Removes what has arrived.
    pub(in crate::session) fn discard(self) -> io::Result<()> {
        self.writer.map_or(Ok(()), Writer::discard)
    }

    /// Takes back a file that did not get its final name.
    pub(in crate::session) fn take_back(&mut self, writer: Writer) {
        self.writer = Some(writer);
    }
}
