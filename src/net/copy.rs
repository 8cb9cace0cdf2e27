//! Copying between files and data connections, one slice at a time.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, pread};
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::data::DataConnection;
use super::tls::{PLAINTEXT_BYTES_MAX, Received, Tls};
use crate::sys::{self, Interest, Pipe, is_ready};

/// The size of each worker thread's buffer, for bytes that must pass through the process.
pub const BUFFER_BYTES: usize = 128 * 1024;

/// The intended size of a worker's pipe: as much as a turn moves, and as much as a user may request by default.
const PIPE_BYTES: usize = 1024 * 1024;

/// The outcome of one step of copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// A number of bytes was moved, and there may be more.
    Bytes(u64),
    /// The other end takes or gives nothing now.
    WouldBlock,
    /// The source has ended.
    End,
}

/// The end that failed; it decides the reply.
#[derive(Debug)]
pub enum Fault {
    /// The data connection broke.
    Connection(io::Error),
    /// The file could not be read or written.
    Storage(io::Error),
}

/// The data that follows the bytes being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Perhaps nothing for a while: the bytes are sent at once.
    Now,
    /// A little more, or the end of the connection: both share a packet.
    Coalesce,
    /// Much more of the file, and then the end of the connection.
    Cork,
}

impl Flush {
    fn flags(self) -> SendFlags {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if self == Self::Now { flags } else { flags | sys::MORE }
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The pipe through which the kernel moves received pages to a file.
    static PIPE: RefCell<Option<Pipe>> = const { RefCell::new(None) };
}

/// The maximum size of a slice that is sent through the worker's buffer, which is cheaper for it than the calls around
/// sendfile.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Sends a slice of a file, from `offset` on, without waiting. Large slices in plain use sendfile, so the bytes do not
/// pass through the process.
pub fn send_file(
    file: BorrowedFd<'_>,
    offset: &mut u64,
    connection: &mut DataConnection,
    bytes_max: usize,
    then: Flush,
) -> Result<Moved, Fault> {
    match &mut connection.tls {
        None if bytes_max <= COPIED_BYTES_MAX => {
            send_file_copied(file, offset, &connection.stream, bytes_max, then)
        }
        None => {
            connection.limit_waits().map_err(Fault::Connection)?;
            if then == Flush::Cork {
                connection.cork().map_err(Fault::Connection)?;
            }
            send_file_plain(file, offset, &connection.stream, bytes_max)
        }
        Some(tls) => send_file_secure(file, offset, tls, &connection.stream, bytes_max),
    }
}

fn send_file_copied(
    file: BorrowedFd<'_>,
    offset: &mut u64,
    stream: &TcpStream,
    bytes_max: usize,
    then: Flush,
) -> Result<Moved, Fault> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        let room = buffer.get_mut(..bytes_max).unwrap_or_default();
        let count =
            pread(file, &mut *room, *offset).map_err(|error| Fault::Storage(error.into()))?;
        if count == 0 {
            return Ok(Moved::End);
        }
        let bytes = room.get(..count).unwrap_or_default();
        match rustix::net::send(stream, bytes, then.flags()) {
            Ok(sent) => {
                *offset += sent as u64;
                Ok(Moved::Bytes(sent as u64))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
            Err(error) => Err(Fault::Connection(error.into())),
        }
    })
}

/// Sends by sendfile, which has no `MSG_DONTWAIT`. Linux reports a socket as writable when a third of its send buffer
/// is free, so this function polls first and sends at most a third. Without this, each time that a slow reader's buffer
/// filled up, a worker lost 4 to 8 ms.
fn send_file_plain(
    file: BorrowedFd<'_>,
    offset: &mut u64,
    stream: &TcpStream,
    bytes_max: usize,
) -> Result<Moved, Fault> {
    if !is_ready(stream.as_fd(), Interest::Writable).map_err(Fault::Connection)? {
        return Ok(Moved::WouldBlock);
    }
    let buffer = sockopt::socket_send_buffer_size(stream)
        .map_err(|error| Fault::Connection(error.into()))?;
    let slice = bytes_max.min(buffer / 3);
    match sys::send_file(stream.as_fd(), file, offset, slice) {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count as u64)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::WouldBlock),
        // One call, two ends: the disk has few errors, and all others are the connection's.
        Err(error @ (Errno::IO | Errno::NOMEM | Errno::OVERFLOW | Errno::INVAL)) => {
            Err(Fault::Storage(error.into()))
        }
        Err(error) => Err(Fault::Connection(error.into())),
    }
}

/// Sends over TLS. Encrypted bytes that are not sent yet wait in `tls`, and nothing more is read before they are sent.
fn send_file_secure(
    file: BorrowedFd<'_>,
    offset: &mut u64,
    tls: &mut Tls,
    stream: &TcpStream,
    bytes_max: usize,
) -> Result<Moved, Fault> {
    if tls.flush(stream).map_err(Fault::Connection)?.is_pending() {
        return Ok(Moved::WouldBlock);
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        let room = buffer.get_mut(..bytes_max.min(PLAINTEXT_BYTES_MAX)).unwrap_or_default();
        let count =
            pread(file, &mut *room, *offset).map_err(|error| Fault::Storage(error.into()))?;
        if count == 0 {
            return Ok(Moved::End);
        }
        let bytes = room.get(..count).unwrap_or_default();
        match tls.send(stream, bytes).map_err(Fault::Connection)? {
            0 => Ok(Moved::WouldBlock),
            sent => {
                *offset += sent as u64;
                Ok(Moved::Bytes(sent as u64))
            }
        }
    })
}

/// Sends bytes from the front of a slice; returns their number.
pub fn send_slice(
    bytes: &[u8],
    connection: &mut DataConnection,
    then: Flush,
) -> Result<Moved, Fault> {
    let sent = match &mut connection.tls {
        None => match rustix::net::send(&connection.stream, bytes, then.flags()) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            sent => sent.map_err(io::Error::from),
        },
        Some(tls) if then == Flush::Coalesce => tls.queue(&connection.stream, bytes),
        Some(tls) => tls.send(&connection.stream, bytes),
    };
    Ok(match sent.map_err(Fault::Connection)? {
        0 => Moved::WouldBlock,
        count => Moved::Bytes(count as u64),
    })
}

/// Sends bytes from the front of `unsent` and removes them.
pub fn send_bytes(
    unsent: &mut Vec<u8>,
    connection: &mut DataConnection,
    then: Flush,
) -> Result<Moved, Fault> {
    let moved = send_slice(unsent, connection, then)?;
    if let Moved::Bytes(count) = moved {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        unsent.drain(..count.min(unsent.len()));
    }
    Ok(moved)
}

/// Sends a few bytes that more data follows at once, so that they share a packet; `WouldBlock` until all are sent.
pub fn send_ahead(unsent: &mut Vec<u8>, connection: &mut DataConnection) -> Result<Moved, Fault> {
    match send_bytes(unsent, connection, Flush::Coalesce)? {
        Moved::Bytes(_) if unsent.is_empty() => Ok(Moved::End),
        _ => Ok(Moved::WouldBlock),
    }
}

/// Receives available bytes, at most `bytes_max`, by splice, so that they do not pass through the process. `keep` is
/// given the read end of a pipe and the number of bytes in it, and takes these out. In plain only.
pub fn receive_spliced(
    connection: &mut DataConnection,
    bytes_max: usize,
    keep: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<()>,
) -> Result<Moved, Fault> {
    connection.limit_waits().map_err(Fault::Connection)?;
    // splice has no `MSG_DONTWAIT`, so poll first, as before sendfile. It takes the available bytes and does not wait
    // for more.
    if !is_ready(connection.stream.as_fd(), Interest::Readable).map_err(Fault::Connection)? {
        return Ok(Moved::WouldBlock);
    }
    PIPE.with_borrow_mut(|slot| {
        // Taken out of the slot, so that a pipe in which an error has left bytes is not used again.
        let pipe = match slot.take() {
            Some(pipe) => pipe,
            None => Pipe::new(PIPE_BYTES).map_err(Fault::Storage)?,
        };
        let moved = match pipe.fill(&connection.stream, bytes_max) {
            Ok(0) => Moved::End,
            Ok(count) => {
                keep(pipe.out(), count).map_err(Fault::Storage)?;
                Moved::Bytes(count as u64)
            }
            Err(Errno::AGAIN | Errno::INTR) => Moved::WouldBlock,
            Err(error) => return Err(Fault::Connection(error.into())),
        };
        *slot = Some(pipe);
        Ok(moved)
    })
}

/// Receives available bytes, at most `bytes_max` and the size of the worker's buffer, and passes them to `keep`.
pub fn receive(
    connection: &mut DataConnection,
    bytes_max: usize,
    keep: impl FnOnce(&[u8]) -> io::Result<()>,
) -> Result<Moved, Fault> {
    let bytes_max = bytes_max.min(BUFFER_BYTES);
    if let Some(tls) = &mut connection.tls {
        let (received, kept) =
            tls.receive(&connection.stream, bytes_max, keep).map_err(Fault::Connection)?;
        kept.unwrap_or(Ok(())).map_err(Fault::Storage)?;
        return Ok(match received {
            Received::Bytes(count) => Moved::Bytes(count as u64),
            Received::Nothing => Moved::WouldBlock,
            // The check for `close_notify` happens later, when the upload is judged.
            Received::End | Received::Truncated => Moved::End,
        });
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        let room = buffer.get_mut(..bytes_max).unwrap_or_default();
        match rustix::net::recv(&connection.stream, room, RecvFlags::DONTWAIT) {
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
