//! The control connection of a client, which does not block.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::ftp::Reply;
use crate::ftp::line::{Line, LineBuffer};
use crate::ftp::reply::ReplyReader;

use super::failure::Failure;

/// A control connection.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    lines: LineBuffer,
    replies: ReplyReader,
}

/// Result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Bytes,
    Nothing,
    /// The server closed the connection.
    End,
}

impl Control {
    /// Takes a socket that is connecting.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, lines: LineBuffer::default(), replies: ReplyReader::default() }
    }

    /// Sends text, which ends with a line end; all of it fits into the socket's buffer.
    pub(super) fn send(&self, text: &[u8]) -> Result<(), Failure> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.socket, text, flags)? {
            sent if sent == text.len() => Ok(()),
            _ => Err(Failure::Nonsense("the server does not read its commands")),
        }
    }

    /// Reads what has arrived.
    pub(super) fn receive(&mut self) -> Result<Received, Failure> {
        let mut bytes = [0; 4096];
        match rustix::net::recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => {
                self.lines.extend(bytes.get(..count).unwrap_or_default());
                Ok(Received::Bytes)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the next complete reply.
    pub(super) fn next_reply(&mut self) -> Result<Option<Reply>, Failure> {
        while let Some(line) = self.lines.next_line() {
            let Line::Complete(line) = line else {
                return Err(Failure::Nonsense("the server sent a line that is too long"));
            };
            let reply = self.replies.line(&line);
            let reply = reply.map_err(|_| Failure::Nonsense("the server sent an invalid reply"))?;
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }
}
