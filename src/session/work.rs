//! What a transfer moves, and how a slice of it is moved.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::ftp::ascii::ToWire;
use crate::net::copy::{self, Fault, Moved};
use crate::pool::{Class, Watch};

use super::incoming::Incoming;
use super::listing::Lister;

/// How much text is read from a file or a directory before it is sent.
const TEXT_BYTES: usize = 32 * 1024;

/// Which way data goes.
#[derive(Debug)]
pub(super) enum Work {
    Send(Outgoing),
    Receive(Box<Incoming>),
    List { lister: Box<Lister>, unsent: Vec<u8>, ended: bool },
}

impl Work {
    /// Moves data, `budget` bytes at most.
    pub(super) fn advance(&mut self, stream: &TcpStream, budget: usize) -> Result<Moved, Fault> {
        match self {
            Self::Send(outgoing) => outgoing.advance(stream, budget),
            Self::Receive(incoming) => incoming.advance(stream, budget),
            Self::List { lister, unsent, ended } => {
                while !*ended && unsent.len() < TEXT_BYTES {
                    let before = unsent.len();
                    *ended = lister.fill(unsent).map_err(Fault::Storage)?;
                    if unsent.len() == before && !*ended {
                        // Entries are still gathered; others may have a turn.
                        return Ok(Moved::Bytes(0));
                    }
                }
                if unsent.is_empty() { Ok(Moved::End) } else { copy::send_bytes(unsent, stream) }
            }
        }
    }

    /// The data connection goes with the control connection (RFC 959 §3.2), but for an upload: what has been sent is
    /// received, be it only to be kept.
    pub(super) fn ends_with_the_control_connection(&self) -> bool {
        !matches!(self, Self::Receive(_))
    }

    /// What wakes the session when it can go on.
    pub(super) fn watch<'a>(&'a self, stream: &'a TcpStream, class: Class, watch: &mut Watch<'a>) {
        match self {
            Self::Receive(incoming) => match incoming.flushing() {
                Some(flushing) => watch.readable(flushing.descriptor(), class),
                None => watch.readable(stream.as_fd(), class),
            },
            Self::Send(_) | Self::List { .. } => watch.writable(stream.as_fd(), class),
        }
    }
}

/// A file on its way to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) file: File,
    pub(super) offset: u64,
    /// The size when it was opened: so much was promised, so much is sent, even if the file grows.
    pub(super) end: u64,
    /// TYPE A: the converter, and what it has made that is not sent yet.
    pub(super) ascii: Option<(ToWire, Vec<u8>)>,
}

impl Outgoing {
    fn advance(&mut self, stream: &TcpStream, budget: usize) -> Result<Moved, Fault> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let Some((converter, unsent)) = &mut self.ascii else {
            if left == 0 {
                return Ok(Moved::End);
            }
            return match copy::send_file(&self.file, &mut self.offset, stream, left.min(budget))? {
                Moved::End => Err(shrunk()),
                moved => Ok(moved),
            };
        };
        if unsent.is_empty() && left > 0 {
            let mut chunk = vec![0; left.min(TEXT_BYTES)];
            let count = self.file.read_at(&mut chunk, self.offset).map_err(Fault::Storage)?;
            if count == 0 {
                return Err(shrunk());
            }
            self.offset += count as u64;
            converter.convert(chunk.get(..count).unwrap_or_default(), unsent);
        }
        if unsent.is_empty() { Ok(Moved::End) } else { copy::send_bytes(unsent, stream) }
    }
}

/// The file became shorter than what was promised.
fn shrunk() -> Fault {
    Fault::Storage(io::ErrorKind::UnexpectedEof.into())
}
