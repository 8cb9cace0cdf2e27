//! The control connection: connects to an address of a host, sends lines and reads replies, with a deadline on each
//! wait.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::ftp::line::{Line, LineBuffer};
use crate::ftp::path::Escaped;
use crate::ftp::reply::ReplyReader;
use crate::ftp::{Code, Reply};

use super::error::reason;
use super::stream::{Stream, TlsContext};
use super::trust::handshake_failed;
use super::{ClientError, ErrorKind, Interrupt, Options};

/// Delay before the next address of a host is tried in parallel (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Maximum number of preliminary replies (1xx) before a final one, not counting those to restart markers.
const PRELIMINARY_MAX: u64 = 16;

/// Interval at which a wait checks for an interrupt by the user.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Address families of a host to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6, in parallel.
    Any,
    /// IPv4 only (`-4`).
    Ipv4,
    /// IPv6 only (`-6`).
    Ipv6,
}

/// A control connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    lines: LineBuffer,
    reader: ReplyReader,
    interrupt: Interrupt,
    timeout: Duration,
    trace: bool,
    /// Number of final replies that the server still has to send. A command that was interrupted, or failed half way,
    /// leaves its replies here.
    pending_replies: u32,
    /// Lines sent ahead, in order, that no command has claimed yet.
    pipelined: VecDeque<Vec<u8>>,
    /// Number of preliminary replies since the last final one, and its maximum.
    preliminary: u64,
    preliminary_max: u64,
    /// The connection is lost: no further input may be taken for a reply.
    dead: bool,
}

impl Connection {
    /// Connects to the address of the host that answers first.
    pub(super) fn open(host: &str, port: u16, options: &Options) -> Result<Self, ClientError> {
        let addresses = resolve(host, port, options.family)?;
        let stream = race(&addresses, options).map_err(|error| match error {
            Race::Interrupted => ClientError::interrupted(),
            Race::Lost(error) => no_connection(host, port, &addresses, &error),
        })?;
        let set_up = || -> io::Result<Self> {
            stream.set_nodelay(true)?;
            bound(&stream, options.timeout)?;
            Ok(Self {
                peer: stream.peer_addr()?,
                local: stream.local_addr()?,
                stream: Stream::new(stream.try_clone()?),
                lines: LineBuffer::default(),
                reader: ReplyReader::default(),
                interrupt: options.interrupt.clone(),
                timeout: options.timeout,
                trace: options.trace,
                // The greeting.
                pending_replies: 1,
                pipelined: VecDeque::new(),
                preliminary: 0,
                preliminary_max: PRELIMINARY_MAX,
                dead: false,
            })
        };
        set_up().map_err(|error| no_connection(host, port, &addresses, &error))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Switches to TLS.
    ///
    /// SECURITY: plain text after the last reply may come from an attacker and is rejected; a server sends nothing
    /// there.
    pub(super) fn secure(
        &mut self,
        place: &str,
        tls_context: &TlsContext,
    ) -> Result<(), ClientError> {
        if !self.lines.is_empty() {
            self.dead = true;
            let what = format!("{place}: plain text before the TLS handshake");
            return Err(ClientError::new(ErrorKind::Tls, what));
        }
        self.stream.secure(tls_context).map_err(|error| {
            self.dead = true;
            handshake_failed(place, &error)
        })
    }

    /// Returns the TLS version; `None` without TLS.
    pub(super) fn tls_version(&self) -> Option<String> {
        self.stream.version()
    }

    /// Sends one line, unless it was sent ahead; no other line may be ahead of it. Reads outstanding replies first, so
    /// that none is taken for the reply to this line.
    pub(super) fn send(&mut self, line: &[u8]) -> Result<(), ClientError> {
        while self.pending_replies > 0 {
            self.reply()?;
        }
        if self.pipelined.pop_front().is_none() {
            return self.send_at_once(line);
        }
        self.pending_replies += 1;
        Ok(())
    }

    /// Sends one line while replies are outstanding, such as ABOR during a transfer.
    pub(super) fn send_at_once(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.write(&[line])?;
        self.pending_replies += 1;
        Ok(())
    }

    /// Sends lines ahead; [`Self::send`] does not send them again.
    pub(super) fn send_pipelined(&mut self, lines: Vec<Vec<u8>>) -> Result<(), ClientError> {
        self.write(&lines)?;
        self.pipelined.extend(lines);
        Ok(())
    }

    /// Returns the number of lines sent ahead, and their total length in bytes.
    pub(super) fn pipelined(&self) -> (usize, usize) {
        (self.pipelined.len(), self.pipelined.iter().map(Vec::len).sum())
    }

    pub(super) fn is_pipelined(&self, line: &[u8]) -> bool {
        self.pipelined.iter().any(|line_sent| line_sent == line)
    }

    /// Gives up the lines sent ahead in front of `line`, and counts their replies as owed. Returns `false` at the first
    /// line that `may_be_left` rejects.
    pub(super) fn skip_pipelined(&mut self, line: &[u8], may_be_left: fn(&[u8]) -> bool) -> bool {
        while let Some(line_sent) = self.pipelined.front().filter(|line_sent| *line_sent != line) {
            if !may_be_left(line_sent) {
                return false;
            }
            self.pipelined.pop_front();
            self.pending_replies += 1;
        }
        true
    }

    /// Gives up all lines sent ahead, counts their replies as owed, and returns their number.
    pub(super) fn abandon_pipeline(&mut self) -> u32 {
        let count = u32::try_from(std::mem::take(&mut self.pipelined).len()).unwrap_or(u32::MAX);
        self.pending_replies += count;
        count
    }

    fn write(&mut self, lines: &[impl AsRef<[u8]>]) -> Result<(), ClientError> {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
        let lines = lines.iter().map(AsRef::as_ref);
        if let Some(line) = lines.clone().find(|line| line.iter().any(is_end)) {
            return Err(ClientError::usage(format!(
                "a name must not contain line ends or NUL: {}",
                Escaped(line)
            )));
        }
        if self.dead {
            return Err(lost("closed after an earlier error"));
        }
        let mut whole = Vec::new();
        for line in lines {
            if self.trace {
                let secret = line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"PASS "));
                trace('>', if secret { b"PASS ***" } else { line });
            }
            whole.extend_from_slice(line);
            whole.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&whole).map_err(|error| {
            self.dead = true;
            lost(&reason(&error))
        })
    }

    /// Returns true if the connection can no longer be used.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Resets the number of outstanding replies, once a reply has shown that all of them have come.
    pub(super) fn forget_pending(&mut self) {
        self.pending_replies = 0;
    }

    /// Gives up the connection, for example when further replies can no longer be matched to commands.
    pub(super) fn give_up(&mut self) {
        self.dead = true;
    }

    /// Reads the next reply, which may be a preliminary one.
    pub(super) fn reply(&mut self) -> Result<Reply, ClientError> {
        if self.dead {
            return Err(lost("closed after an earlier error"));
        }
        let reply = self.read_reply();
        match &reply {
            Ok(reply) if !reply.code.is_preliminary() => {
                self.pending_replies = self.pending_replies.saturating_sub(1);
                (self.preliminary, self.preliminary_max) = (0, PRELIMINARY_MAX);
            }
            Ok(_) if self.preliminary >= self.preliminary_max => {
                self.dead = true;
                return Err(lost("the server sends too many preliminary replies"));
            }
            Ok(_) => self.preliminary += 1,
            Err(error) if error.is_connection_lost() => self.dead = true,
            _ => {}
        }
        reply
    }

    /// Allows `count` more preliminary replies before the next final one: one for each restart marker sent.
    pub(super) fn expect_preliminary(&mut self, count: u64) {
        self.preliminary_max = PRELIMINARY_MAX.saturating_add(count);
    }

    /// Reads the next reply as [`Self::reply`] does, with `patience` added to the timeout.
    pub(super) fn reply_later(&mut self, patience: Duration) -> Result<Reply, ClientError> {
        if patience.is_zero() {
            return self.reply();
        }
        let usual = self.timeout;
        let bounded =
            |timeout| bound(self.stream.socket(), timeout).map_err(|error| lost(&reason(&error)));
        bounded(usual + patience)?;
        self.timeout = usual + patience;
        let reply = self.reply();
        self.timeout = usual;
        bound(self.stream.socket(), usual).map_err(|error| lost(&reason(&error)))?;
        reply
    }

    fn read_reply(&mut self) -> Result<Reply, ClientError> {
        // The first line has a deadline, and all further lines together have another one, however slowly their bytes
        // arrive.
        let mut until = now() + self.timeout;
        let mut is_first = true;
        loop {
            while let Some(line) = self.lines.next_line() {
                if std::mem::take(&mut is_first) {
                    until = now() + self.timeout;
                }
                let Line::Complete(line) = line else {
                    return Err(lost("the server sent a line that is too long"));
                };
                if self.trace {
                    trace('<', &line);
                }
                match self.reader.line(&line) {
                    Ok(Some(reply)) if reply.code == Code::SERVICE_NOT_AVAILABLE => {
                        return Err(ClientError::refused(
                            ErrorKind::NoConnection,
                            "the server closed the connection",
                            reply,
                        ));
                    }
                    Ok(Some(reply)) => return Ok(reply),
                    Ok(None) => {}
                    Err(_) => {
                        let line = Escaped(&line).to_string();
                        return Err(lost(&format!("not an FTP server: received \"{line}\"")));
                    }
                }
            }
            self.receive(until)?;
        }
    }

    fn receive(&mut self, until: Instant) -> Result<(), ClientError> {
        let late = || lost(&format!("no reply within {} s", self.timeout.as_secs()));
        let mut bytes = [0; 4096];
        loop {
            self.interrupt.check()?;
            if now() > until {
                return Err(late());
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(lost("closed by the server")),
                Ok(count) => {
                    self.lines.extend(bytes.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(error) => return Err(lost(&reason(&error))),
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a person waits here: the clock is theirs")]
fn now() -> Instant {
    Instant::now()
}

/// Sets the read and the write timeout of a socket.
pub(super) fn bound(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

fn lost(why: &str) -> ClientError {
    ClientError::new(ErrorKind::NoConnection, format!("connection lost: {why}"))
}

fn trace(direction: char, line: &[u8]) {
    // A failed write to standard error cannot be reported anywhere.
    let _written = writeln!(io::stderr(), "{direction} {}", Escaped(line));
}

fn resolve(host: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, ClientError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().map_err(|_| {
        ClientError::new(ErrorKind::NoConnection, format!("{host}: no such host. Check the name."))
    })?;
    let mut addresses: Vec<SocketAddr> = found
        .filter(|address| match family {
            Family::Any => true,
            Family::Ipv4 => address.is_ipv4(),
            Family::Ipv6 => address.is_ipv6(),
        })
        .collect();
    addresses.dedup();
    if addresses.is_empty() {
        let wanted = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        return Err(ClientError::new(
            ErrorKind::NoConnection,
            format!("{host} has no {wanted} address"),
        ));
    }
    Ok(addresses)
}

enum Race {
    Interrupted,
    Lost(io::Error),
}

/// Tries the addresses in parallel, each a little later than the one before, and returns the first connection.
fn race(addresses: &[SocketAddr], options: &Options) -> Result<TcpStream, Race> {
    let (sender, results) = bounded(addresses.len());
    let timeout = options.timeout;
    let mut waiting = addresses.iter();
    let mut running = 0;
    let mut last_error = io::ErrorKind::NotFound.into();
    let mut next_start = now();
    loop {
        let now = now();
        if (now >= next_start || running == 0)
            && let Some(&address) = waiting.next()
        {
            let sender = sender.clone();
            // A connection made after the end of the race is dropped with the channel.
            thread::spawn(move || sender.send(TcpStream::connect_timeout(&address, timeout)));
            running += 1;
            next_start = now + HEAD_START;
        }
        match results.recv_timeout(INTERRUPT_CHECK) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                last_error = error;
                running -= 1;
                if running == 0 && waiting.len() == 0 {
                    return Err(Race::Lost(last_error));
                }
            }
            Err(RecvTimeoutError::Timeout) if options.interrupt.is_set() => {
                return Err(Race::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Race::Lost(last_error)),
        }
    }
}

/// Builds a message such as `localhost:2121: connection refused (::1, 127.0.0.1). Is ftpserver running there?`
fn no_connection(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    error: &io::Error,
) -> ClientError {
    let tried: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Is ftpserver running there?",
        _ => "Check the host and the port.",
    };
    let message = format!("{host}:{port}: {} ({}). {hint}", reason(error), tried.join(", "));
    ClientError::new(ErrorKind::NoConnection, message)
}
