//! A file on its way from the client: received, flushed now and then, and judged at its end.

use std::io;
use std::sync::Arc;

use crate::ftp::ascii::FromWire;
use crate::ftp::block::{Decoder, Item};
use crate::ftp::command::Mode;
use crate::ftp::{Code, Reply};
use crate::net::copy::{self, Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::storage::{Committed, Crew, Durability, Errand, Upload};

/// How much of what goes before the client's bytes is copied in a step, at least.
const PREPARE_BYTES: usize = 256 * 1024;

/// After so many bytes a file is large.
const SPLICE_FROM_BYTES: u64 = 64 * 1024;

/// After so many bytes what has arrived is flushed while more comes: the flush at the end has little left to do, and the
/// system's memory does not fill with what the disk has yet to take.
const FLUSH_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// A file on its way from the client.
#[derive(Debug)]
pub(super) struct Incoming {
    upload: Upload,
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
    flusher: Option<Arc<Crew>>,
    unflushed: u64,
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

/// How far a commit is.
#[derive(Debug)]
pub(super) enum Commit {
    Done(Committed),
    UnderWay(Errand<Committed>),
}

/// Whether an upload in stream mode, whose end is the end of the data connection, came whole (RFC 959 §3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something says so: it has the size that ALLO announced, or the block that ends a file.
    Complete,
    /// Nothing says otherwise.
    AssumedComplete,
    /// Something says that it did not.
    CutOff(&'static str),
}

/// Why an upload counts as cut off whose client has gone.
pub(super) const VANISHED: &str = "the control connection had ended, and nothing tells the size";

/// What there is to judge by, besides the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// It waits for the reply, or has said QUIT.
    Present,
    /// It has closed its control connection without QUIT: most probably it was killed.
    Vanished,
}

impl Incoming {
    pub(super) fn new(
        upload: Upload,
        ascii: bool,
        mode: Mode,
        announced: Option<u64>,
        flusher: Option<Arc<Crew>>,
    ) -> Self {
        Self {
            upload,
            ascii: ascii.then(Default::default),
            blocks: (mode == Mode::Block).then(Decoder::default),
            marker: None,
            flushing_marker: None,
            safe_marker: None,
            // The size in TYPE A is not that of what is stored.
            announced: announced.filter(|_| !ascii),
            said_end: None,
            received: 0,
            flusher,
            unflushed: 0,
            flushing: None,
        }
    }

    /// Receives what is here, `budget` bytes at most.
    pub(super) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
    ) -> Result<Moved, Fault> {
        // Not by the rate of the client, whose bytes these are not.
        if !self.upload.prepare(budget.max(PREPARE_BYTES)).map_err(Fault::Storage)? {
            // What goes before the client's bytes is still copied.
            return Ok(Moved::Bytes(0));
        }
        if !self.keep_flushed().map_err(Fault::Storage)? {
            return Ok(Moved::WouldBlock);
        }
        if self.is_to_splice(connection) {
            let moved = copy::receive_spliced(connection, budget, |pipe, count| {
                self.received += count as u64;
                self.upload.write_from(pipe, count)
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
                    let ours = self.upload.position();
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
            None => self.upload.write(bytes),
            Some((converter, text)) => {
                text.clear();
                converter.convert(bytes, text);
                self.upload.write(text)
            }
        }
    }

    /// At the end: what the converter has held back.
    fn store_rest(&mut self) -> io::Result<()> {
        let Some((converter, text)) = &mut self.ascii else { return Ok(()) };
        text.clear();
        converter.finish(text);
        self.upload.write(text)
    }

    /// Begins a flush when one is due; `false` when the one before is not done and nothing more may come meanwhile.
    fn keep_flushed(&mut self) -> io::Result<bool> {
        let Some(flusher) = &self.flusher else {
            self.safe_marker = self.marker.take();
            return Ok(true);
        };
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
        if self.unflushed >= FLUSH_EVERY_BYTES || self.marker.is_some() {
            let file = self.upload.file()?;
            self.flushing = Some(flusher.run(move || file.sync_data())?);
            self.flushing_marker = self.marker.take();
            self.unflushed = 0;
        }
        Ok(true)
    }

    /// More of the file wakes it, and the end of a flush that something waits for.
    pub(super) fn watch<'a>(
        &'a self,
        connection: &'a DataConnection,
        class: Class,
        watch: &mut Watch<'a>,
    ) {
        let full = self.waits_for_a_flush();
        if let Some(flushing) = &self.flushing
            && (full || self.owes_a_marker())
        {
            watch.readable(flushing.descriptor(), class);
        }
        if !full {
            watch.readable(connection.descriptor(), class);
        }
    }

    /// Whether nothing more is taken until what came before is flushed.
    pub(super) fn waits_for_a_flush(&self) -> bool {
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

    /// Ends it early; returns how many bytes are kept to resume from.
    pub(super) fn settle(self) -> u64 {
        self.upload.settle()
    }

    /// Judges by every sign there is, now that the data has ended in order.
    pub(super) fn judge(&self, client: Client) -> Verdict {
        let stored = self.upload.position();
        match &self.blocks {
            Some(blocks) if blocks.has_ended() => return Verdict::Complete,
            Some(_) => return Verdict::CutOff("the block that ends a file did not come"),
            None => {}
        }
        match (self.announced, client) {
            // Of a resumed upload some clients announce the rest, some the whole.
            (Some(size), _) if size == stored || size == self.received => Verdict::Complete,
            (Some(size), _) if self.received < size => {
                Verdict::CutOff("fewer bytes than ALLO announced")
            }
            _ if self.said_end == Some(true) => Verdict::Complete,
            _ if self.said_end == Some(false) => {
                Verdict::CutOff("TLS ended without close_notify, and nothing tells the size")
            }
            (_, Client::Vanished) => Verdict::CutOff(VANISHED),
            (_, Client::Present) => Verdict::AssumedComplete,
        }
    }

    /// Gives the file its name, if `go_on` still says so when it is flushed. Done at once where nobody asked for a flush.
    pub(super) fn commit(
        self,
        go_on: impl FnOnce() -> bool + Send + 'static,
    ) -> io::Result<Commit> {
        let Self { upload, flusher, flushing, .. } = self;
        let Some(flusher) = flusher else {
            return upload.commit(Durability::Cached, go_on).map(Commit::Done);
        };
        let commit = move || {
            // An error of the disk is told once: to the flush that was under way, maybe.
            flushing.map_or(Ok(()), Errand::wait)?;
            upload.commit(Durability::Flushed, go_on)
        };
        flusher.run(commit).map(Commit::UnderWay)
    }
}
