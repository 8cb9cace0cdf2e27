//! Copying between files and data connections, a slice at a time.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::socket::is_ready;

/// The size of the buffer that each worker thread has for bytes it must see itself.
pub const BUFFER_BYTES: usize = 128 * 1024;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, and there may be more.
    Bytes(u64),
    /// The other end takes or gives nothing now.
    WouldBlock,
    /// The source has ended.
    End,
}

/// Which end failed: it decides the reply.
#[derive(Debug)]
pub enum Fault {
    /// The data connection broke.
    Connection(io::Error),
    /// The file could not be read or written.
    Storage(io::Error),
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends a slice of a file, from `offset` on, without the bytes passing through us, and without waiting.
///
/// sendfile has no `MSG_DONTWAIT`. But Linux calls a socket writable when a third of its send buffer is free: so we look,
/// and send a third at most. Without this, each time a slow reader's buffer filled up cost a worker 4 to 8 ms.
pub fn send_file(
    file: &File,
    offset: &mut u64,
    stream: &TcpStream,
    bytes_max: usize,
) -> Result<Moved, Fault> {
    if !is_ready(stream.as_fd(), PollFlags::OUT).map_err(Fault::Connection)? {
        return Ok(Moved::WouldBlock);
    }
    let buffer = sockopt::socket_send_buffer_size(stream)
        .map_err(|error| Fault::Connection(error.into()))?;
    let slice = bytes_max.min(buffer / 3);
    match rustix::fs::sendfile(stream.as_fd(), file.as_fd(), Some(offset), slice) {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count as u64)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
        // One call, two ends: the disk's errors are few, all others are the connection's.
        Err(error @ (Errno::IO | Errno::NOMEM | Errno::OVERFLOW | Errno::INVAL)) => {
            Err(Fault::Storage(error.into()))
        }
        Err(error) => Err(Fault::Connection(error.into())),
    }
}

/// Sends bytes from the front of `unsent` and takes them out.
pub fn send_bytes(unsent: &mut Vec<u8>, stream: &TcpStream) -> Result<Moved, Fault> {
    match rustix::net::send(stream, unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => {
            unsent.drain(..count.min(unsent.len()));
            Ok(Moved::Bytes(count as u64))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
        Err(error) => Err(Fault::Connection(error.into())),
    }
}

/// Sends a few bytes that more will follow at once, so that they share a packet; `WouldBlock` until all have left.
pub fn send_ahead(unsent: &mut Vec<u8>, stream: &TcpStream) -> Result<Moved, Fault> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
    match rustix::net::send(stream, unsent, flags) {
        Ok(count) => {
            unsent.drain(..count.min(unsent.len()));
            Ok(if unsent.is_empty() { Moved::End } else { Moved::WouldBlock })
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
        Err(error) => Err(Fault::Connection(error.into())),
    }
}

/// Receives what is here, up to the worker's buffer or `bytes_max`, and gives it to `keep`.
pub fn receive(
    stream: &TcpStream,
    bytes_max: usize,
    keep: impl FnOnce(&[u8]) -> io::Result<()>,
) -> Result<Moved, Fault> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        let room = buffer.get_mut(..bytes_max.min(BUFFER_BYTES)).unwrap_or_default();
        match rustix::net::recv(stream, room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Moved::End),
            Ok((count, _)) => {
                keep(buffer.get(..count).unwrap_or_default()).map_err(Fault::Storage)?;
                Ok(Moved::Bytes(count as u64))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
            Err(error) => Err(Fault::Connection(error.into())),
        }
    })
}
