//! A file being sent in TYPE I: from the file to the connection, in block mode with headers between.

use std::os::fd::BorrowedFd;

use crate::ftp::block::{self, BLOCK_BYTES_MAX, Last};
use crate::ftp::command::Mode;
use crate::net::copy::{self, Fault, Flush, Moved};
use crate::net::data::DataConnection;
use crate::storage::{Chunk, Reader};

use super::text::shrunk;

/// In block mode, maximum number of bytes of a file that are copied together with their headers: the copy costs less
/// than the system calls it saves.
const COMPOSED_BYTES_MAX: usize = 64 * 1024;

/// In block mode, number of bytes of a file between two restart markers.
const MARKER_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// A file being sent.
#[derive(Debug)]
pub(in crate::session) struct FileSender {
    file: Reader,
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

impl FileSender {
    pub(in crate::session) fn new(file: Reader, offset: u64, end: u64, mode: Mode) -> Self {
        let next_marker = offset + MARKER_EVERY_BYTES;
        let blocks = Blocks { unsent: Vec::new(), carried: 0, left: 0, next_marker, ended: false };
        Self { file, offset, end, blocks: (mode == Mode::Block).then_some(blocks) }
    }

    /// Returns the number of bytes of the file that are still to be sent.
    pub(in crate::session) fn remaining(&self) -> u64 {
        self.end - self.offset
    }

    /// Returns whether all of the file has been sent.
    pub(in crate::session) fn is_over(&self) -> bool {
        self.offset == self.end
            && self.blocks.as_ref().is_none_or(|blocks| blocks.ended && blocks.unsent.is_empty())
    }

    /// Sends at most `budget` bytes.
    pub(in crate::session) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
    ) -> Result<Moved, Fault> {
        let left = match &mut self.blocks {
            None => usize::try_from(self.end - self.offset).unwrap_or(usize::MAX),
            Some(blocks) => {
                blocks.compose(&mut self.file, &mut self.offset, self.end, budget)?;
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
        match self.send(connection, left.min(budget), then)? {
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

impl FileSender {
    /// Sends at most `bytes_max` bytes of the file itself.
    fn send(
        &mut self,
        connection: &mut DataConnection,
        bytes_max: usize,
        then: Flush,
    ) -> Result<Moved, Fault> {
        match self.file.next(self.offset, bytes_max).map_err(Fault::Storage)? {
            Chunk::File(file) => {
                copy::send_file(file, &mut self.offset, connection, bytes_max, then)
            }
            Chunk::Bytes(bytes) => {
                // More bytes may have to be waited for.
                let then = if bytes.len() < bytes_max { Flush::Now } else { then };
                let moved = copy::send_slice(bytes, connection, then)?;
                if let Moved::Bytes(count) = moved {
                    self.offset += count;
                }
                Ok(moved)
            }
            Chunk::Wait => Ok(Moved::WouldBlock),
            Chunk::End => Ok(Moved::End),
        }
    }

    /// Returns the descriptor to wait for, if the file has no bytes yet.
    pub(in crate::session) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.file.awaited()
    }
}

impl Blocks {
    /// Begins the next block, if the previous one is sent: composes its header, after which the data goes from the file
    /// to the connection. If little is left of the file, composes all of it, to leave in one send.
    fn compose(
        &mut self,
        file: &mut Reader,
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
        let composed = file.is_at_hand() && rest <= budget.min(COMPOSED_BYTES_MAX);
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
            append_exactly(file, offset, count, &mut self.unsent)?;
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

/// Appends the next `count` bytes of a file that are at hand.
fn append_exactly(
    file: &mut Reader,
    offset: &mut u64,
    count: usize,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let end = *offset + count as u64;
    while *offset < end {
        let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        match file.bytes(*offset, left).map_err(Fault::Storage)? {
            Chunk::Bytes(bytes) => {
                *offset += bytes.len() as u64;
                out.extend_from_slice(bytes);
            }
            Chunk::File(_) | Chunk::Wait | Chunk::End => return Err(shrunk()),
        }
    }
    Ok(())
}
