//! The control connection: lines in, replies out, neither ever waited for.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use zeroize::Zeroize;

use super::canonical;
use super::socket::is_ready;
use crate::ftp::Reply;
use crate::ftp::line::{Line, LineBuffer};

/// How many bytes of replies may wait for a client that does not read them; beyond, its commands wait.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;

/// How often is read at the end what nobody will answer any more.
const READS_AT_CLOSE_MAX: u32 = 16;

/// Why a control connection is over without a farewell. Nobody is left to be told: it is for the log.
#[derive(Debug)]
pub enum Gone {
    /// The client closed it.
    Closed,
    /// The network or the client broke it.
    Broken(io::Error),
    /// The client did not read its replies in time.
    Stalled,
}

impl fmt::Display for Gone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed by the client"),
            Self::Broken(error) => write!(formatter, "broken: {error}"),
            Self::Stalled => formatter.write_str("the client does not read its replies"),
        }
    }
}

impl From<Errno> for Gone {
    fn from(error: Errno) -> Self {
        Self::Broken(error.into())
    }
}

/// A client's control connection.
#[derive(Debug)]
pub struct ControlConnection {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    received: LineBuffer,
    /// A line that was taken but must wait for the transfer to end.
    held: Option<Line>,
    unsent: Vec<u8>,
    /// When the client last took bytes of what is unsent, or since when it has not.
    unsent_since: Option<Instant>,
    /// The client has closed its side; what it said before still counts.
    ended: bool,
}

impl ControlConnection {
    /// Makes the socket fit: small replies leave at once, urgent data (a Telnet Synch) stays in the stream.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        let local = canonical(stream.local_addr()?);
        stream.set_nodelay(true)?;
        sockopt::set_socket_oobinline(&stream, true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        Ok(Self {
            stream,
            peer,
            local,
            received: LineBuffer::default(),
            held: None,
            unsent: Vec::new(),
            unsent_since: None,
            ended: false,
        })
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address, as the client knows it.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next line, if one is here. Reads once at most.
    ///
    /// # Errors
    /// [`Gone::Closed`] when the client has closed and all its lines are taken.
    pub fn next_line(&mut self) -> Result<Option<Line>, Gone> {
        if let Some(line) = self.held.take().or_else(|| self.received.next_line()) {
            return Ok(Some(line));
        }
        if !self.ended {
            let mut bytes = [0; READ_BYTES];
            match rustix::net::recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.ended = true,
                Ok((count, _)) => {
                    let received = bytes.get_mut(..count).unwrap_or_default();
                    self.received.extend(received);
                    received.zeroize();
                }
                Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        match self.received.next_line() {
            None if self.ended => Err(Gone::Closed),
            line => Ok(line),
        }
    }

    /// Puts a line aside until the transfer has ended; no other is read before it.
    pub fn hold(&mut self, line: Line) {
        self.held = Some(line);
    }

    /// Whether lines that come now may be read: none is put aside, and the client has not closed its side.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.held.is_none() && !self.ended
    }

    /// Whether the client has closed its side, whether or not all that it said before has been read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended || has_ended(self.stream.as_fd())
    }

    /// The socket once more, for [`has_ended`] elsewhere.
    pub fn watched(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Whether replies wait for a client that is slow to read them, so that its next command has to wait, too.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.unsent.len() > UNSENT_BYTES_MAX
    }

    /// Whether every reply has left.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Since when the client has not taken any of the replies that wait for it.
    #[must_use]
    pub fn unsent_since(&self) -> Option<Instant> {
        self.unsent_since
    }

    /// Queues a reply.
    pub fn reply(&mut self, reply: &Reply) {
        reply.encode(&mut self.unsent);
    }

    /// Queues bytes that are lines of a reply already.
    pub fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends what the client takes now.
    pub fn flush(&mut self, now: Instant) -> Result<(), Gone> {
        while !self.unsent.is_empty() {
            match rustix::net::send(
                &self.stream,
                &self.unsent,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => {
                    self.unsent.drain(..count.min(self.unsent.len()));
                    self.unsent_since = Some(now);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.unsent_since.get_or_insert(now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent_since = None;
        // An idle session keeps no buffer.
        self.unsent = Vec::new();
        Ok(())
    }

    /// Reads away what the client still sent, and closes our side: a close over unread bytes would be a reset, and could
    /// take the last reply with it.
    pub fn close(&mut self) {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..READS_AT_CLOSE_MAX {
            if !matches!(
                rustix::net::recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT),
                Ok((1.., _))
            ) {
                break;
            }
        }
        // Fails when the client has closed already.
        let _closed = self.stream.shutdown(Shutdown::Write);
    }

    /// The descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether the other end of a socket has closed its side.
#[must_use]
pub fn has_ended(socket: BorrowedFd<'_>) -> bool {
    is_ready(socket, PollFlags::RDHUP).unwrap_or(true)
}
