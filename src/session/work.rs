//! The data of a transfer, and how one slice of it moves.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::ascii::ToWire;
use crate::ftp::block::{self, BLOCK_BYTES_MAX, Last};
use crate::ftp::command::Mode;
use crate::net::copy::{self, Fault, Flush, Moved};
use crate::net::data::DataConnection;
use crate::net::tls::Direction;
use crate::pool::{Class, Watch};
use crate::storage::{Account, RateLimit};

use super::incoming::Incoming;
use super::listing::Lister;

/// Number of bytes of text that are read from a file or a directory before they are sent.
const TEXT_BYTES: usize = 32 * 1024;

/// Maximum number of reads of text in one step. In a tree of small directories, each read opens one and yields little.
const FILLS_PER_STEP_MAX: usize = 16;

/// In block mode, maximum number of bytes of a file that are copied together with their headers: the copy costs less
/// than the system calls it saves.
const COMPOSED_BYTES_MAX: usize = 64 * 1024;

/// In block mode, number of bytes of a file between two restart markers.
const MARKER_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// The data of a transfer, by direction.
#[derive(Debug)]
pub(super) enum Work {
    Send(Outgoing),
    SendText(Text),
    Receive(Box<Incoming>),
}

impl Work {
    /// Moves data: at most `budget` bytes, or one batch of text.
    pub(super) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
        now: Instant,
    ) -> Result<Moved, Fault> {
        match self {
            Self::Send(outgoing) => outgoing.advance(connection, budget),
            Self::SendText(text) => text.advance(connection),
            Self::Receive(incoming) => incoming.advance(connection, budget, now),
        }
    }

    /// Returns whether the data is known to fit into `bytes` bytes; text counts as small.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        match self {
            Self::Send(outgoing) => outgoing.end - outgoing.offset <= bytes,
            Self::SendText(_) => true,
            Self::Receive(_) => false,
        }
    }

    /// Returns the number of bytes of a file received; `None` if the transfer sends.
    pub(super) fn received(&self) -> Option<u64> {
        match self {
            Self::Receive(incoming) => Some(incoming.received()),
            Self::Send(_) | Self::SendText(_) => None,
        }
    }

    /// Returns whether all of a file has been sent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Send(outgoing) if outgoing.is_over())
    }

    /// Returns a remark on missing entries of a listing, for the final reply.
    pub(super) fn remark(&self) -> Option<String> {
        match self {
            Self::SendText(Text { source: Source::List(lister), .. }) => lister.remark(),
            Self::Send(_) | Self::SendText(_) | Self::Receive(_) => None,
        }
    }

    /// Returns the direction of the data.
    pub(super) fn direction(&self) -> Direction {
        match self {
            Self::Send(_) | Self::SendText(_) => Direction::ToClient,
            Self::Receive(_) => Direction::FromClient,
        }
    }

    /// Returns the user's rate limit for this direction.
    pub(super) fn rate_limit(&self, account: &Account) -> Option<Arc<RateLimit>> {
        match self.direction() {
            Direction::ToClient => account.down(),
            Direction::FromClient => account.up(),
        }
        .cloned()
    }

    /// Returns whether the transfer ends with the control connection (RFC 959 §3.2). An upload does not: what the
    /// client has sent is received, even if only to be kept.
    pub(super) fn ends_with_the_control_connection(&self) -> bool {
        !matches!(self, Self::Receive(_))
    }

    /// Watches the descriptor that becomes ready when the transfer can continue.
    pub(super) fn watch<'a>(
        &'a self,
        connection: &'a DataConnection,
        class: Class,
        watch: &mut Watch<'a>,
    ) {
        match self {
            Self::Receive(incoming) => incoming.watch(connection, class, watch),
            Self::Send(_) | Self::SendText(_) => watch.writable(connection.descriptor(), class),
        }
    }
}

/// A file being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    file: File,
    offset: u64,
    /// End offset in bytes, fixed when the file was opened: exactly the announced bytes are sent, even if the file
    /// grows.
    end: u64,
    blocks: Option<Blocks>,
}

/// Block mode: unsent headers and small blocks, and the number of bytes left of a larger block.
#[derive(Debug)]
struct Blocks {
    unsent: Vec<u8>,
    /// Number of bytes of the file in `unsent` whose progress is not reported yet.
    carried: u64,
    left: usize,
    next_marker: u64,
    ended: bool,
}

impl Outgoing {
    pub(super) fn new(file: File, offset: u64, end: u64, mode: Mode) -> Self {
        let next_marker = offset + MARKER_EVERY_BYTES;
        let blocks = Blocks { unsent: Vec::new(), carried: 0, left: 0, next_marker, ended: false };
        Self { file, offset, end, blocks: (mode == Mode::Block).then_some(blocks) }
    }

    fn is_over(&self) -> bool {
        self.offset == self.end
            && self.blocks.as_ref().is_none_or(|blocks| blocks.ended && blocks.unsent.is_empty())
    }

    fn advance(&mut self, connection: &mut DataConnection, budget: usize) -> Result<Moved, Fault> {
        let left = match &mut self.blocks {
            None => usize::try_from(self.end - self.offset).unwrap_or(usize::MAX),
            Some(blocks) => {
                blocks.compose(&self.file, &mut self.offset, self.end, budget)?;
                match blocks.send(connection)? {
                    Moved::End => blocks.left,
                    moved => return Ok(moved),
                }
            }
        };
        if left == 0 {
            return Ok(Moved::End);
        }
        // A small file and the end of its connection share a packet.
        let then = match self.blocks {
            Some(_) => Flush::Now,
            None if left <= budget => Flush::Coalesce,
            None => Flush::Cork,
        };
        let slice = left.min(budget);
        match copy::send_file(&self.file, &mut self.offset, connection, slice, then)? {
            Moved::End => Err(shrunk()),
            Moved::Bytes(count) => {
                if let Some(blocks) = &mut self.blocks {
                    blocks.left -= usize::try_from(count).unwrap_or(blocks.left);
                }
                Ok(Moved::Bytes(count))
            }
            Moved::WouldBlock => Ok(Moved::WouldBlock),
        }
    }
}

impl Blocks {
    /// Begins the next block, if the previous one is sent: composes its header, after which the data goes from the file
    /// to the connection. If little is left of the file, composes all of it, to leave in one send.
    fn compose(
        &mut self,
        file: &File,
        offset: &mut u64,
        end: u64,
        budget: usize,
    ) -> Result<(), Fault> {
        if self.left > 0 || self.ended || !self.unsent.is_empty() {
            return Ok(());
        }
        if *offset >= self.next_marker {
            block::encode_marker(*offset, &mut self.unsent);
            self.next_marker = *offset + MARKER_EVERY_BYTES;
        }
        let mut rest = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        let composed = rest <= budget.min(COMPOSED_BYTES_MAX);
        loop {
            let count = rest.min(BLOCK_BYTES_MAX);
            rest -= count;
            self.ended = rest == 0;
            let last = if self.ended { Last::Yes } else { Last::No };
            self.unsent.extend_from_slice(&block::header(count, last));
            if !composed {
                self.left = count;
                return Ok(());
            }
            read_exactly(file, *offset, count, &mut self.unsent)?;
            *offset += count as u64;
            self.carried += count as u64;
            if self.ended {
                return Ok(());
            }
        }
    }

    /// Sends what was composed. Returns `End` if only data remains to be sent now, or nothing.
    fn send(&mut self, connection: &mut DataConnection) -> Result<Moved, Fault> {
        if self.unsent.is_empty() {
            return Ok(Moved::End);
        }
        if self.left > 0 {
            return copy::send_ahead(&mut self.unsent, connection);
        }
        Ok(match copy::send_bytes(&mut self.unsent, connection, Flush::Now)? {
            // Reports progress in bytes of the file; the last report completes its size.
            Moved::Bytes(count) => {
                let reported =
                    if self.unsent.is_empty() { self.carried } else { count.min(self.carried) };
                self.carried -= reported;
                match reported {
                    0 if self.unsent.is_empty() => Moved::End,
                    0 => Moved::WouldBlock,
                    reported => Moved::Bytes(reported),
                }
            }
            moved => moved,
        })
    }
}

/// Appends `count` bytes of a file.
fn read_exactly(file: &File, offset: u64, count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let begin = out.len();
    out.resize(begin + count, 0);
    let room = out.get_mut(begin..).unwrap_or_default();
    file.read_exact_at(room, offset).map_err(Fault::Storage)
}

/// Text that is generated while it is sent: a file in TYPE A, or a listing.
#[derive(Debug)]
pub(super) struct Text {
    source: Source,
    mode: Mode,
    unsent: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    File { file: File, offset: u64, end: u64, converter: ToWire },
    List(Box<Lister>),
}

impl Text {
    pub(super) fn of_file(file: File, end: u64, mode: Mode) -> Self {
        Self::new(Source::File { file, offset: 0, end, converter: ToWire::default() }, mode)
    }

    pub(super) fn of_list(lister: Lister, mode: Mode) -> Self {
        Self::new(Source::List(Box::new(lister)), mode)
    }

    fn new(source: Source, mode: Mode) -> Self {
        Self { source, mode, unsent: Vec::new(), ended: false }
    }

    fn advance(&mut self, connection: &mut DataConnection) -> Result<Moved, Fault> {
        for _ in 0..FILLS_PER_STEP_MAX {
            if self.ended || self.unsent.len() >= TEXT_BYTES {
                break;
            }
            let before = self.unsent.len();
            match self.mode {
                Mode::Stream => self.ended = self.source.fill(&mut self.unsent)?,
                Mode::Block => {
                    let mut text = Vec::new();
                    self.ended = self.source.fill(&mut text)?;
                    block::encode(&text, &mut self.unsent);
                    if self.ended {
                        block::encode_end(&mut self.unsent);
                    }
                }
            }
            if self.unsent.len() == before && !self.ended {
                // Entries are still being gathered; other sessions may have a turn.
                return Ok(Moved::Bytes(0));
            }
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

impl Source {
    /// Appends more text; returns `true` at the end.
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let (file, offset, end, converter) = match self {
            Self::List(lister) => return lister.fill(out).map_err(Fault::Storage),
            Self::File { file, offset, end, converter } => (file, offset, *end, converter),
        };
        let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(TEXT_BYTES)];
        let count = file.read_at(&mut chunk, *offset).map_err(Fault::Storage)?;
        if count == 0 && left > 0 {
            return Err(shrunk());
        }
        *offset += count as u64;
        converter.convert(chunk.get(..count).unwrap_or_default(), out);
        Ok(*offset == end)
    }
}

/// Returns the error for a file that became shorter than announced.
fn shrunk() -> Fault {
    Fault::Storage(io::ErrorKind::UnexpectedEof.into())
}
