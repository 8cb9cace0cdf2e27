//! Text being sent, generated while it is sent: a file in TYPE A, or a listing.

use std::io;
use std::os::fd::BorrowedFd;

use crate::ftp::ascii::ToWire;
use crate::ftp::block;
use crate::ftp::command::Mode;
use crate::net::copy::{self, Fault, Flush, Moved};
use crate::net::data::DataConnection;
use crate::storage::{Chunk, Progress, Reader};

use super::listing::Lister;

/// Number of bytes of text that are read from a file or a directory before they are sent.
const TEXT_BYTES: usize = 32 * 1024;

/// Maximum number of reads of text in one step. In a tree of small directories, each read opens one and yields little.
const FILLS_PER_STEP_MAX: usize = 16;

/// Text that is generated while it is sent: a file in TYPE A, or a listing.
#[derive(Debug)]
pub(in crate::session) struct Text {
    source: TextSource,
    mode: Mode,
    unsent: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
enum TextSource {
    File { file: Reader, offset: u64, end: u64, converter: ToWire },
    List(Box<Lister>),
}

impl Text {
    pub(in crate::session) fn of_file(file: Reader, end: u64, mode: Mode) -> Self {
        Self::new(TextSource::File { file, offset: 0, end, converter: ToWire::default() }, mode)
    }

    pub(in crate::session) fn of_list(lister: Lister, mode: Mode) -> Self {
        Self::new(TextSource::List(Box::new(lister)), mode)
    }

    /// Returns a remark on missing entries of a listing, for the final reply.
    pub(in crate::session) fn remark(&self) -> Option<String> {
        match &self.source {
            TextSource::List(lister) => lister.remark(),
            TextSource::File { .. } => None,
        }
    }

    fn new(source: TextSource, mode: Mode) -> Self {
        Self { source, mode, unsent: Vec::new(), ended: false }
    }

    /// Generates text, and sends what the connection takes.
    pub(in crate::session) fn advance(
        &mut self,
        connection: &mut DataConnection,
    ) -> Result<Moved, Fault> {
        let mut waits = false;
        for _ in 0..FILLS_PER_STEP_MAX {
            if self.ended || waits || self.unsent.len() >= TEXT_BYTES {
                break;
            }
            let before = self.unsent.len();
            let progress = self.fill()?;
            (self.ended, waits) = (progress == Progress::End, progress == Progress::Wait);
            if self.unsent.len() == before && progress == Progress::More {
                // Entries are still being gathered; other sessions may have a turn.
                return Ok(Moved::Bytes(0));
            }
        }
        if waits && self.unsent.is_empty() {
            return Ok(Moved::WouldBlock);
        }
        if self.unsent.is_empty() {
            Ok(Moved::End)
        } else {
            let last = self.ended && self.mode == Mode::Stream;
            let then = if last { Flush::Coalesce } else { Flush::Now };
            copy::send_bytes(&mut self.unsent, connection, then)
        }
    }
}

impl Text {
    /// Generates more text.
    fn fill(&mut self) -> Result<Progress, Fault> {
        if self.mode == Mode::Stream {
            return self.source.fill(&mut self.unsent);
        }
        let mut text = Vec::new();
        let progress = self.source.fill(&mut text)?;
        block::encode(&text, &mut self.unsent);
        if progress == Progress::End {
            block::encode_end(&mut self.unsent);
        }
        Ok(progress)
    }

    /// Returns the descriptor to wait for, if there is no text yet.
    pub(in crate::session) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            _ if !self.unsent.is_empty() => None,
            TextSource::List(lister) => lister.awaited(),
            TextSource::File { file, .. } => file.awaited(),
        }
    }
}

impl TextSource {
    /// Appends more text.
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<Progress, Fault> {
        let (file, offset, end, converter) = match self {
            Self::List(lister) => return lister.fill(out).map_err(Fault::Storage),
            Self::File { file, offset, end, converter } => (file, offset, *end, converter),
        };
        let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        if left > 0 {
            match file.bytes(*offset, left.min(TEXT_BYTES)).map_err(Fault::Storage)? {
                Chunk::Bytes(bytes) => {
                    *offset += bytes.len() as u64;
                    converter.convert(bytes, out);
                }
                Chunk::Wait => return Ok(Progress::Wait),
                Chunk::File(_) | Chunk::End => return Err(shrunk()),
            }
        }
        Ok(if *offset == end { Progress::End } else { Progress::More })
    }
}

/// Returns the error for a file that became shorter than announced.
pub(super) fn shrunk() -> Fault {
    Fault::Storage(io::ErrorKind::UnexpectedEof.into())
}
