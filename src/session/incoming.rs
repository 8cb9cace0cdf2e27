//! A file on its way from the client: received, flushed now and then, and judged at its end.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use crate::ftp::ascii::FromWire;
use crate::net::copy::{self, Fault, Moved};
use crate::storage::{Durability, Flusher, Flushing, Upload};

/// After so many bytes what has arrived is flushed while more comes: the flush at the end has little left to do, and the
/// system's memory does not fill with what the disk has yet to take.
const FLUSH_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// A file on its way from the client.
#[derive(Debug)]
pub(super) struct Incoming {
    upload: Upload,
    /// TYPE A: the converter, and room for what it makes.
    ascii: Option<(FromWire, Vec<u8>)>,
    /// How many bytes ALLO said the file would have.
    announced: Option<u64>,
    /// How many bytes came over the data connection.
    received: u64,
    flusher: Option<Arc<Flusher>>,
    unflushed: u64,
    flushing: Option<Flushing>,
}

/// Whether an upload in stream mode, whose end is the end of the data connection, came whole (RFC 959 §3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something says so: it has the size that ALLO announced.
    Complete,
    /// Nothing says otherwise.
    AssumedComplete,
    /// Something says that it did not.
    CutOff(&'static str),
}

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
        announced: Option<u64>,
        flusher: Option<Arc<Flusher>>,
    ) -> Self {
        Self {
            upload,
            ascii: ascii.then(Default::default),
            // The size in TYPE A is not that of what is stored.
            announced: announced.filter(|_| !ascii),
            received: 0,
            flusher,
            unflushed: 0,
            flushing: None,
        }
    }

    /// Receives what is here, `budget` bytes at most.
    pub(super) fn advance(&mut self, stream: &TcpStream, budget: usize) -> Result<Moved, Fault> {
        if !self.upload.prepare(budget).map_err(Fault::Storage)? {
            // What goes before the client's bytes is still copied.
            return Ok(Moved::Bytes(0));
        }
        if !self.keep_flushed().map_err(Fault::Storage)? {
            return Ok(Moved::WouldBlock);
        }
        let Self { upload, ascii, .. } = self;
        let moved = copy::receive(stream, |bytes| match ascii {
            None => upload.write(bytes),
            Some((converter, text)) => {
                text.clear();
                converter.convert(bytes, text);
                upload.write(text)
            }
        })?;
        match (moved, ascii) {
            (Moved::Bytes(count), _) => {
                self.received += count;
                self.unflushed += count;
            }
            (Moved::End, Some((converter, text))) => {
                text.clear();
                converter.finish(text);
                upload.write(text).map_err(Fault::Storage)?;
            }
            _ => {}
        }
        Ok(moved)
    }

    /// Begins a flush when one is due; `false` when the one before is not done and nothing more may come meanwhile.
    fn keep_flushed(&mut self) -> io::Result<bool> {
        let Some(flusher) = &self.flusher else { return Ok(true) };
        if self.unflushed < FLUSH_EVERY_BYTES {
            return Ok(true);
        }
        if let Some(flushing) = &self.flushing {
            match flushing.outcome() {
                Some(outcome) => outcome?,
                None => return Ok(false),
            }
        }
        let file = self.upload.file()?;
        self.flushing = Some(flusher.run(move || file.sync_data())?);
        self.unflushed = 0;
        Ok(true)
    }

    /// The flush that it waits for, if it does.
    pub(super) fn flushing(&self) -> Option<&Flushing> {
        self.flushing.as_ref().filter(|_| self.unflushed >= FLUSH_EVERY_BYTES)
    }

    /// How many bytes are there to resume from.
    pub(super) fn kept(&self) -> u64 {
        self.upload.position()
    }

    /// Judges by every sign there is, now that the data connection has ended in order.
    pub(super) fn judge(&self, client: Client) -> Verdict {
        let stored = self.upload.position();
        match (self.announced, client) {
            // Of a resumed upload some clients announce the rest, some the whole.
            (Some(size), _) if size == stored || size == self.received => Verdict::Complete,
            (Some(size), _) if stored < size => Verdict::CutOff("fewer bytes than ALLO announced"),
            (_, Client::Vanished) => {
                Verdict::CutOff("the control connection had ended, and nothing tells the size")
            }
            (_, Client::Present) => Verdict::AssumedComplete,
        }
    }

    /// Gives the file its name. `None` when that is done already: nobody asked for a flush.
    pub(super) fn commit(self) -> io::Result<Option<Flushing>> {
        let Self { upload, flusher, .. } = self;
        match flusher {
            Some(flusher) => flusher.run(move || upload.commit(Durability::Flushed)).map(Some),
            None => upload.commit(Durability::Cached).map(|()| None),
        }
    }
}
