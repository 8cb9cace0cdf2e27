//! The control connection: reads command lines and sends replies, without ever waiting.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Poll;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use zeroize::Zeroize;

use super::address::canonical;
use super::tls::{Received, Tls};
use crate::ftp::Reply;
use crate::ftp::line::{ABOR, Line, LineBuffer, Unfinished};
use crate::sys::{Interest, is_ready};

/// The maximum number of reply bytes that wait for a client which does not read them; beyond it, its commands wait.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

/// The number of bytes that are read at most behind a line that is held, to find ABOR among them: a few hundred commands.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The maximum number of bytes of one read.
const READ_BYTES: usize = 4 * 1024;

/// The maximum number of reads of input that is discarded: at the close, and behind AUTH.
const READS_AWAY_MAX: u32 = 16;

/// The reason why a control connection ended without a final reply. It is for the log only: the client is gone.
#[derive(Debug)]
pub enum Disconnect {
    /// The client closed it.
    Closed,
    /// The network or the client broke it.
    Broken(io::Error),
    /// The client did not read its replies in time.
    Stalled,
    /// The TLS handshake took too long.
    Handshake,
    /// An administrator closed it.
    Kicked,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed by the client"),
            Self::Broken(error) => write!(formatter, "connection error: {error}"),
            Self::Handshake => formatter.write_str("TLS handshake timeout"),
            Self::Kicked => formatter.write_str("closed by an administrator"),
            Self::Stalled => formatter.write_str("the client does not read its replies"),
        }
    }
}

impl From<Errno> for Disconnect {
    fn from(error: Errno) -> Self {
        Self::Broken(error.into())
    }
}

/// A line that was taken but must wait for the transfer to end.
#[derive(Debug)]
struct Held {
    line: Line,
    behind: Behind,
}

/// The lines behind a line that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Lines have arrived that were not searched for ABOR.
    Unsearched,
    /// None of them is ABOR.
    Other,
    /// ABOR waits for its turn.
    Abort,
}

/// A client's control connection.
#[derive(Debug)]
pub struct ControlConnection {
    stream: TcpStream,
    /// The TLS connection, once there is one; `handshaking_since` is the start of a handshake that is under way.
    tls: Option<Box<Tls>>,
    handshaking_since: Option<Instant>,
    peer: SocketAddr,
    local: SocketAddr,
    received: LineBuffer,
    held: Option<Held>,
    unsent: Vec<u8>,
    /// The time at which the client last took some of the unsent bytes, or at which they began to wait.
    unsent_since: Option<Instant>,
    /// True once the client has closed its side; lines received before still count.
    ended: bool,
    /// True once everything available has been read in this turn.
    drained: bool,
}

impl ControlConnection {
    /// Creates the control connection for a socket that `listener` has accepted, and thereby prepared.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        let local = canonical(stream.local_addr()?);
        Ok(Self {
            stream,
            tls: None,
            handshaking_since: None,
            peer,
            local,
            received: LineBuffer::default(),
            held: None,
            unsent: Vec::new(),
            unsent_since: None,
            ended: false,
            drained: false,
        })
    }

    /// Returns the client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the server's address, as the client knows it.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Begins a turn: more input may have arrived since the last turn.
    pub fn begin_turn(&mut self) {
        self.drained = false;
    }

    /// Returns the next line. Reads at most once, and not again in a turn that has read
    /// everything: later input wakes the session again.
    ///
    /// # Errors
    /// [`Disconnect::Closed`] when the client has closed its side and all its lines are taken.
    pub fn next_line(&mut self) -> Result<Poll<Line>, Disconnect> {
        let held = self.held.take().map(|held| held.line);
        if let Some(line) = held.or_else(|| self.received.next_line()) {
            return Ok(Poll::Ready(line));
        }
        if !self.ended && (self.drained || self.receive()?.is_pending()) {
            self.drained = true;
            return Ok(Poll::Pending);
        }
        match self.received.next_line() {
            None if self.ended => Err(Disconnect::Closed),
            line => Ok(line.map_or(Poll::Pending, Poll::Ready)),
        }
    }

    /// Reads available input.
    fn receive(&mut self) -> Result<Poll<()>, Disconnect> {
        let Some(tls) = &mut self.tls else { return self.receive_plain() };
        let received = &mut self.received;
        let (came, _) = tls
            .receive(&self.stream, usize::MAX, |bytes| received.extend(bytes))
            .map_err(Disconnect::Broken)?;
        if !tls.is_handshaking() {
            self.handshaking_since = None;
        }
        self.ended = matches!(came, Received::End | Received::Truncated);
        Ok(if came == Received::Nothing { Poll::Pending } else { Poll::Ready(()) })
    }

    fn receive_plain(&mut self) -> Result<Poll<()>, Disconnect> {
        // Clearing the buffer first took a fifth of all instructions for a small file.
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        match rustix::net::recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((([], _), _)) => self.ended = true,
            Ok(((received, rest), _)) => {
                self.drained = !rest.is_empty();
                self.received.extend(received);
                received.zeroize();
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Poll::Pending),
            Err(error) => return Err(error.into()),
        }
        Ok(Poll::Ready(()))
    }

    /// Keeps a line until the transfer has ended; no other line is served before it.
    pub fn hold(&mut self, line: Line) {
        self.held = Some(Held { line, behind: Behind::Unsearched });
    }

    /// Returns `true` if a line waits for the transfer to end.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Reads ahead of the line that is held, and returns `true` if ABOR has arrived behind it. The client's lines are
    /// still served in their order.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finds_abort(&mut self) -> Result<bool, Disconnect> {
        while self.is_open() && !self.drained {
            if self.receive()?.is_pending() {
                self.drained = true;
            } else {
                self.search_again();
            }
        }
        if let Some(held) = &mut self.held
            && held.behind == Behind::Unsearched
        {
            let finds = self.received.contains(ABOR);
            held.behind = if finds { Behind::Abort } else { Behind::Other };
        }
        Ok(self.abort_waits())
    }

    /// Returns `true` if ABOR was found behind the line that is held, and waits for its turn.
    #[must_use]
    pub fn abort_waits(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.behind == Behind::Abort)
    }

    fn search_again(&mut self) {
        if let Some(held) = &mut self.held {
            held.behind = Behind::Unsearched;
        }
    }

    /// Returns `true` if input may be read: the client has not closed its side, and behind a line that is held there
    /// is room.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.ended && (self.held.is_none() || self.received.len() < AHEAD_BYTES_MAX)
    }

    /// Returns `true` if bytes of the client wait to be read, and nothing keeps them from being read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.is_open() && has_unread(self.stream.as_fd())
    }

    /// Returns whether a line is arriving that may be an ABOR: its beginning is here, or the urgent mark that clients
    /// send with it.
    #[must_use]
    pub fn unfinished(&self) -> Unfinished {
        if !self.is_open() {
            return Unfinished::Other;
        }
        match self.received.unfinished() {
            Unfinished::Other
                if is_ready(self.stream.as_fd(), Interest::Urgent).unwrap_or(false) =>
            {
                Unfinished::Interrupt
            }
            unfinished => unfinished,
        }
    }

    /// Returns `true` if the client has closed its side, even if its last input is not read yet.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended || has_ended(self.stream.as_fd())
    }

    /// Returns a duplicate of the socket's descriptor, for [`has_ended`] elsewhere.
    pub fn watched(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Returns `true` if too many replies wait for a client that is slow to read them, so that its next command must
    /// wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.unsent.len() > UNSENT_BYTES_MAX
    }

    /// Returns `true` if every reply is sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && !self.tls.as_ref().is_some_and(|tls| tls.wants_to_send())
    }

    /// Returns the time since which the client has taken none of the replies that wait for it.
    #[must_use]
    pub fn unsent_since(&self) -> Option<Instant> {
        self.unsent_since
    }

    /// Queues a reply.
    pub fn reply(&mut self, reply: &Reply) {
        reply.encode(&mut self.unsent);
    }

    /// Queues bytes that are encoded reply lines already.
    pub fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends as much as the client takes now.
    pub fn flush(&mut self, now: Instant) -> Result<(), Disconnect> {
        while !self.is_flushed() {
            let before = self.unsent.len();
            if self.send().map_err(Disconnect::Broken)?.is_pending() {
                self.unsent_since.get_or_insert(now);
                return Ok(());
            }
            if self.unsent.len() < before {
                self.unsent_since = Some(now);
            }
        }
        self.unsent_since = None;
        // An idle session keeps no buffer.
        self.unsent = Vec::new();
        Ok(())
    }

    /// Sends some of the queued bytes.
    fn send(&mut self) -> io::Result<Poll<()>> {
        let sent = if let Some(tls) = &mut self.tls {
            if tls.flush(&self.stream)?.is_pending() {
                return Ok(Poll::Pending);
            }
            tls.send(&self.stream, &self.unsent)?
        } else {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.stream, &self.unsent, flags) {
                Err(Errno::INTR) => return Ok(Poll::Ready(())),
                Err(Errno::AGAIN) => return Ok(Poll::Pending),
                sent => sent?,
            }
        };
        self.unsent.drain(..sent.min(self.unsent.len()));
        let has_sent = sent > 0 || self.is_flushed();
        Ok(if has_sent { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Switches to TLS; the client begins the handshake.
    ///
    /// SECURITY: discards all plaintext that arrived behind AUTH, wherever it is stored. So an attacker on the path
    /// cannot insert commands that appear to come from the client (STARTTLS injection).
    ///
    /// # Errors
    /// Returns an error when earlier replies cannot be sent.
    pub fn secure(&mut self, tls: Tls, now: Instant) -> Result<(), Disconnect> {
        self.received = LineBuffer::default();
        self.held = None;
        self.read_away();
        self.flush(now)?;
        if !self.is_flushed() {
            return Err(Disconnect::Stalled);
        }
        self.begin_tls(tls, now);
        Ok(())
    }

    /// Begins TLS at once; called directly when nothing was sent before (implicit TLS).
    pub fn begin_tls(&mut self, tls: Tls, now: Instant) {
        self.tls = Some(Box::new(tls));
        self.handshaking_since = Some(now);
    }

    /// Returns the time at which the TLS handshake began, while it is under way.
    #[must_use]
    pub fn handshaking_since(&self) -> Option<Instant> {
        self.handshaking_since
    }

    /// Returns the TLS connection, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Discards unread input and closes our side. A close with unread bytes would cause a reset, which could lose the
    /// last reply.
    pub fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _sent = tls.flush(&self.stream);
        }
        self.read_away();
        // Fails when the client has closed already.
        let _closed = self.stream.shutdown(Shutdown::Write);
    }

    fn read_away(&self) {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..READS_AWAY_MAX {
            if !matches!(
                rustix::net::recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT),
                Ok((1.., _))
            ) {
                break;
            }
        }
    }

    /// Returns the descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Returns `true` if bytes, or the end, wait to be read from a socket.
#[must_use]
pub fn has_unread(socket: BorrowedFd<'_>) -> bool {
    is_ready(socket, Interest::Readable).unwrap_or(true)
}

/// Returns `true` if the other end of a socket has closed its side.
#[must_use]
pub fn has_ended(socket: BorrowedFd<'_>) -> bool {
    is_ready(socket, Interest::HangUp).unwrap_or(true)
}
