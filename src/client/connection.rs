//! The control connection: found among a host's addresses, lines out, replies in, a deadline on each wait.

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
use super::trust::handshake_failed;
use super::wire::{Secrecy, Wire};
use super::{ClientError, Interrupt, Kind, Options};

/// How long one address has the field to itself before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Maximum number of preliminary replies (1xx) before a final one, besides those to restart markers.
const PRELIMINARY_MAX: u64 = 16;

/// How often a wait looks whether the user wants it to end.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Which addresses of a host are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Both, side by side.
    Any,
    /// `-4`.
    Ipv4,
    /// `-6`.
    Ipv6,
}

/// A control connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    peer: SocketAddr,
    local: SocketAddr,
    lines: LineBuffer,
    reader: ReplyReader,
    interrupt: Interrupt,
    timeout: Duration,
    trace: bool,
    /// Final replies that the server still owes: a command that was interrupted, or failed half way, left them.
    owed: u32,
    /// Lines that were sent before their time, in their order, and have no reply yet.
    ahead: VecDeque<Vec<u8>>,
    /// The preliminary replies that have come since the last final one, and how many may.
    preliminary: u64,
    preliminary_max: u64,
    /// Lost: nothing that comes may be taken for an answer any more.
    dead: bool,
}

impl Connection {
    /// Connects to whichever address of the host answers first.
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
                wire: Wire::new(stream.try_clone()?),
                lines: LineBuffer::default(),
                reader: ReplyReader::default(),
                interrupt: options.interrupt.clone(),
                timeout: options.timeout,
                trace: options.trace,
                // The greeting.
                owed: 1,
                ahead: VecDeque::new(),
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

    /// By TLS from now on.
    ///
    /// SECURITY: what came in plain behind the last reply could be anybody's words; a server says nothing there.
    pub(super) fn secure(&mut self, place: &str, secrecy: &Secrecy) -> Result<(), ClientError> {
        if !self.lines.is_empty() {
            self.dead = true;
            let what = format!("{place}: somebody spoke in plain before the TLS handshake");
            return Err(ClientError::new(Kind::Tls, what));
        }
        self.wire.secure(secrecy).map_err(|error| {
            self.dead = true;
            handshake_failed(place, &error)
        })
    }

    /// The version of TLS, if it is by TLS.
    pub(super) fn tls_version(&self) -> Option<String> {
        self.wire.version()
    }

    /// Sends one line, unless it was sent ahead; nothing else may be ahead. Replies that are still owed are read first: they
    /// must not be taken for this one's.
    pub(super) fn send(&mut self, line: &[u8]) -> Result<(), ClientError> {
        while self.owed > 0 {
            self.reply()?;
        }
        if self.ahead.pop_front().is_none() {
            return self.send_at_once(line);
        }
        self.owed += 1;
        Ok(())
    }

    /// Sends one line although a reply is owed: ABOR in the middle of a transfer.
    pub(super) fn send_at_once(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.write(&[line])?;
        self.owed += 1;
        Ok(())
    }

    /// Sends lines before their time: [`Self::send`] will find them said.
    pub(super) fn send_ahead(&mut self, lines: Vec<Vec<u8>>) -> Result<(), ClientError> {
        self.write(&lines)?;
        self.ahead.extend(lines);
        Ok(())
    }

    /// How many lines were sent ahead, and how many bytes that is.
    pub(super) fn ahead(&self) -> (usize, usize) {
        (self.ahead.len(), self.ahead.iter().map(Vec::len).sum())
    }

    pub(super) fn is_ahead(&self, line: &[u8]) -> bool {
        self.ahead.iter().any(|said| said == line)
    }

    /// Counts what was sent ahead of a line as owed, as far as it may be left; `false` when something that may not is in
    /// front of it.
    pub(super) fn skip_ahead(&mut self, line: &[u8], may_be_left: fn(&[u8]) -> bool) -> bool {
        while let Some(said) = self.ahead.front().filter(|said| *said != line) {
            if !may_be_left(said) {
                return false;
            }
            self.ahead.pop_front();
            self.owed += 1;
        }
        true
    }

    /// Counts all that was sent ahead as owed, and says how many replies that is.
    pub(super) fn disown_ahead(&mut self) -> u32 {
        let count = u32::try_from(std::mem::take(&mut self.ahead).len()).unwrap_or(u32::MAX);
        self.owed += count;
        count
    }

    fn write(&mut self, lines: &[impl AsRef<[u8]>]) -> Result<(), ClientError> {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
        let lines = lines.iter().map(AsRef::as_ref);
        if let Some(line) = lines.clone().find(|line| line.iter().any(is_end)) {
            return Err(ClientError::usage(format!(
                "FTP has no way to say a name with a line end in it: {}",
                Escaped(line)
            )));
        }
        if self.dead {
            return Err(lost("it was given up"));
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
        self.wire.write_all(&whole).map_err(|error| {
            self.dead = true;
            lost(&reason(&error))
        })
    }

    /// Whether it can still be used.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Forgets what was owed, once a reply has shown that all that is left has come.
    pub(super) fn forget_owed(&mut self) {
        self.owed = 0;
    }

    /// Gives it up: what the server still says can no longer be told apart.
    pub(super) fn give_up(&mut self) {
        self.dead = true;
    }

    /// Reads the next reply, preliminary ones included.
    pub(super) fn reply(&mut self) -> Result<Reply, ClientError> {
        if self.dead {
            return Err(lost("it was given up"));
        }
        let reply = self.read_reply();
        match &reply {
            Ok(reply) if !reply.code.is_preliminary() => {
                self.owed = self.owed.saturating_sub(1);
                (self.preliminary, self.preliminary_max) = (0, PRELIMINARY_MAX);
            }
            Ok(_) if self.preliminary >= self.preliminary_max => {
                self.dead = true;
                return Err(lost("the server sends preliminary replies without end"));
            }
            Ok(_) => self.preliminary += 1,
            Err(error) if error.is_connection_lost() => self.dead = true,
            _ => {}
        }
        reply
    }

    /// Takes more preliminary replies before the next final one: one to each restart marker that was sent.
    pub(super) fn expect_preliminary(&mut self, count: u64) {
        self.preliminary_max = PRELIMINARY_MAX.saturating_add(count);
    }

    /// The same, for what may take so much longer than usual.
    pub(super) fn reply_later(&mut self, patience: Duration) -> Result<Reply, ClientError> {
        if patience.is_zero() {
            return self.reply();
        }
        let usual = self.timeout;
        let bounded =
            |timeout| bound(self.wire.socket(), timeout).map_err(|error| lost(&reason(&error)));
        bounded(usual + patience)?;
        self.timeout = usual + patience;
        let reply = self.reply();
        self.timeout = usual;
        bound(self.wire.socket(), usual).map_err(|error| lost(&reason(&error)))?;
        reply
    }

    fn read_reply(&mut self) -> Result<Reply, ClientError> {
        // The first line has its deadline, and all others together have one, however slowly their bytes come.
        let mut until = now() + self.timeout;
        let mut is_first = true;
        loop {
            while let Some(line) = self.lines.next_line() {
                if std::mem::take(&mut is_first) {
                    until = now() + self.timeout;
                }
                let Line::Complete(line) = line else {
                    return Err(lost("the server sent a line without end"));
                };
                if self.trace {
                    trace('<', &line);
                }
                match self.reader.line(&line) {
                    Ok(Some(reply)) if reply.code == Code::SERVICE_NOT_AVAILABLE => {
                        return Err(ClientError::refused(
                            Kind::NoConnection,
                            "the server hung up",
                            reply,
                        ));
                    }
                    Ok(Some(reply)) => return Ok(reply),
                    Ok(None) => {}
                    Err(_) => {
                        let line = Escaped(&line).to_string();
                        return Err(lost(&format!("this is no FTP server: it said \"{line}\"")));
                    }
                }
            }
            self.receive(until)?;
        }
    }

    fn receive(&mut self, until: Instant) -> Result<(), ClientError> {
        let late = || lost(&format!("no answer within {} s", self.timeout.as_secs()));
        let mut bytes = [0; 4096];
        loop {
            self.interrupt.check()?;
            if now() > until {
                return Err(late());
            }
            match self.wire.read(&mut bytes) {
                Ok(0) => return Err(lost("the server closed it")),
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

/// Bounds every wait on a socket.
pub(super) fn bound(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

fn lost(why: &str) -> ClientError {
    ClientError::new(Kind::NoConnection, format!("connection lost: {why}"))
}

fn trace(direction: char, line: &[u8]) {
    // Nobody is left to be told that standard error is gone.
    let _written = writeln!(io::stderr(), "{direction} {}", Escaped(line));
}

fn resolve(host: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, ClientError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().map_err(|_| {
        ClientError::new(Kind::NoConnection, format!("{host}: no such host. Is the name right?"))
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
            Kind::NoConnection,
            format!("{host} has no {wanted} address"),
        ));
    }
    Ok(addresses)
}

enum Race {
    Interrupted,
    Lost(io::Error),
}

/// Tries the addresses side by side, each a little later than the one before; the first to answer wins.
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
            // A connection that comes after the race is dropped with the channel.
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

/// `localhost:2121: connection refused (::1, 127.0.0.1). Is ftpserver running there?`
fn no_connection(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    error: &io::Error,
) -> ClientError {
    let tried: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Is ftpserver running there?",
        _ => "Is the host up, and the port right?",
    };
    let message = format!("{host}:{port}: {} ({}). {hint}", reason(error), tried.join(", "));
    ClientError::new(Kind::NoConnection, message)
}
