//! The data connections of a client, which do not block.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::ftp::block::{Decoder, Item};
use crate::sys;

use super::failure::Failure;

/// Maximum number of receives or sends in a row on one data connection, before others have their turn.
const ROUNDS_MAX: u32 = 8;

/// A data connection.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) socket: Option<OwnedFd>,
    /// Number of bytes of the current transfer moved so far.
    moved: u64,
    /// Size in bytes of each transfer whose last byte has passed.
    pub(super) whole: VecDeque<u64>,
    /// The decoder, in block mode.
    pub(super) blocks: Option<Decoder>,
    pub(super) watched: bool,
}

impl Data {
    /// Takes a socket that is connecting; `block` selects block mode.
    pub(super) fn new(socket: OwnedFd, block: bool) -> Self {
        Self {
            socket: Some(socket),
            moved: 0,
            whole: VecDeque::new(),
            blocks: block.then(Decoder::default),
            watched: false,
        }
    }

    /// Receives the data that has arrived, and returns the number of bytes.
    pub(super) fn receive(&mut self, buffer: &mut [u8], bytes_max: usize) -> Result<u64, Failure> {
        let mut bytes = 0;
        for _ in 0..ROUNDS_MAX {
            let moved = match &mut self.blocks {
                Some(_) => self.receive_blocks(buffer)?,
                None => self.discard(buffer, bytes_max)?,
            };
            bytes += moved;
            if !self.whole.is_empty() || moved == 0 || bytes_max < usize::MAX {
                break;
            }
        }
        Ok(bytes)
    }

    fn discard(&mut self, buffer: &mut [u8], bytes_max: usize) -> Result<u64, Failure> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let room = buffer.len().min(bytes_max);
        let room = buffer.get_mut(..room).unwrap_or_default();
        match sys::discard(socket, room) {
            Ok(0) => self.whole.push_back(self.moved),
            Ok(count) => {
                self.moved += count as u64;
                return Ok(count as u64);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(0)
    }

    /// Receives blocks, which may contain several files requested ahead.
    fn receive_blocks(&mut self, buffer: &mut [u8]) -> Result<u64, Failure> {
        let (Some(socket), Some(blocks)) = (&self.socket, &mut self.blocks) else { return Ok(0) };
        let count = match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                return Err(Failure::Nonsense("the data connection was closed within a block"));
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let (mut bytes, mut of_files) = (buffer.get(..count).unwrap_or_default(), 0);
        loop {
            match blocks.next(&mut bytes) {
                Ok(Some(Item::Data(part))) => {
                    self.moved += part.len() as u64;
                    of_files += part.len() as u64;
                }
                Ok(Some(Item::Marker(_))) => {}
                Ok(Some(Item::End)) => {
                    self.whole.push_back(std::mem::take(&mut self.moved));
                    *blocks = Decoder::default();
                }
                Ok(None) => return Ok(of_files),
                Err(_) => return Err(Failure::Nonsense("the server sent an invalid block")),
            }
        }
    }

    /// Sends as much as the socket takes now, and returns the number of bytes.
    pub(super) fn send(&mut self, source: BorrowedFd<'_>, size: u64) -> Result<u64, Failure> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let before = self.moved;
        for _ in 0..ROUNDS_MAX {
            let left = usize::try_from(size - self.moved).unwrap_or(usize::MAX);
            if left == 0 {
                self.whole.push_back(self.moved);
                break;
            }
            let mut offset = self.moved;
            match sys::send_file(socket.as_fd(), source, &mut offset, left) {
                Ok(count) => self.moved += count as u64,
                // The socket is still connecting, or its buffer is full.
                Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.moved - before)
    }
}
