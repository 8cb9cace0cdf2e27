//! The control connection: sends lines and reads replies, with a deadline on each wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::ftp::line::{Line, LineBuffer};
use crate::ftp::path::Escaped;
use crate::ftp::reply::ReplyReader;
use crate::ftp::{Code, Reply};

use super::charset::Charset;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind, reason};
use super::interrupt::Interrupt;
use super::options::Options;
use super::rejection::handshake_failed;
use super::stream::{Stream, TlsContext};

/// Maximum number of preliminary replies (1xx) before a final one, not counting those to restart markers.
const PRELIMINARY_MAX: u64 = 16;

/// Maximum number of reads for replies that belong to no command.
const UNREAD_READS_MAX: u32 = 64;

/// A control connection.
#[derive(Debug)]
pub(super) struct Control {
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    lines: LineBuffer,
    reader: ReplyReader,
    interrupt: Interrupt,
    pub(super) charset: Option<Charset>,
    timeout: Duration,
    trace: bool,
    preliminary: Preliminary,
    /// The connection is lost: no further input may be taken for a reply.
    dead: bool,
}

/// Preliminary replies since the last final one, and their maximum.
#[derive(Debug)]
struct Preliminary {
    count: u64,
    max: u64,
}

impl Default for Preliminary {
    fn default() -> Self {
        Self { count: 0, max: PRELIMINARY_MAX }
    }
}

impl Control {
    /// Prepares a connected socket.
    pub(super) fn new(stream: TcpStream, options: &Options) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        bound(&stream, options.timeout)?;
        Ok(Self {
            peer: stream.peer_addr()?,
            local: stream.local_addr()?,
            stream: Stream::new(stream),
            lines: LineBuffer::default(),
            reader: ReplyReader::default(),
            interrupt: options.interrupt.clone(),
            charset: options.charset,
            timeout: options.timeout,
            trace: options.trace,
            preliminary: Preliminary::default(),
            dead: false,
        })
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
        server: &Endpoint,
        tls_context: &TlsContext,
    ) -> Result<(), ClientError> {
        if !self.lines.is_empty() {
            self.dead = true;
            let what = format!("{server}: plain text before the TLS handshake");
            return Err(ClientError::new(ErrorKind::Tls, what));
        }
        self.stream.secure(tls_context).map_err(|error| {
            self.dead = true;
            handshake_failed(server, &error)
        })
    }

    /// Returns the TLS version; `None` without TLS.
    pub(super) fn tls_version(&self) -> Option<String> {
        self.stream.version()
    }

    /// Sends lines in one write.
    pub(super) fn send(&mut self, lines: &[impl AsRef<[u8]>]) -> Result<(), ClientError> {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
        let lines = lines.iter().map(AsRef::as_ref);
        if let Some(line) = lines.clone().find(|line| line.iter().any(is_end)) {
            return Err(ClientError::usage(format!(
                "a name must not contain line ends or NUL: {}",
                Escaped(line)
            )));
        }
        if self.dead {
            return Err(ClientError::lost("closed after an earlier error"));
        }
        let mut whole = Vec::new();
        for line in lines {
            if self.trace {
                let secret = line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"PASS "));
                trace('>', if secret { b"PASS ***" } else { line });
            }
            let encoded = self.charset.map(|charset| (charset, charset.encode(line)));
            match encoded {
                None => whole.extend_from_slice(line),
                Some((_, Some(line))) => whole.extend(line),
                Some((charset, None)) => {
                    let (line, charset) = (Escaped(line), charset.name());
                    let what = format!("{line}: the character set {charset} lacks a letter of it");
                    return Err(ClientError::usage(what));
                }
            }
            whole.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&whole).map_err(|error| {
            self.dead = true;
            ClientError::lost(&reason(&error)).unsent()
        })
    }

    /// Reads and returns the replies that have come although no command waits for one. Does not wait for more.
    ///
    /// # Errors
    /// The server has closed the connection while it was idle.
    pub(super) fn discard_unread(&mut self) -> Result<Vec<Reply>, ClientError> {
        if self.dead {
            return Err(ClientError::lost("closed after an earlier error").unsent());
        }
        let discarded = self.read_unread();
        self.dead |= discarded.is_err();
        discarded.map_err(ClientError::unsent)
    }

    fn read_unread(&mut self) -> Result<Vec<Reply>, ClientError> {
        let mut unread = Vec::new();
        for _ in 0..UNREAD_READS_MAX {
            while let Some(reply) = self.buffered_reply(&mut false)? {
                unread.push(reply);
                if self.trace {
                    trace('*', b"this reply belongs to no command and is ignored");
                }
            }
            if self.reader.is_inside() || !self.lines.is_empty() {
                self.receive(now() + self.timeout)?;
            } else if self.stream.is_readable(Duration::ZERO) {
                self.receive_some()?;
            } else {
                return Ok(unread);
            }
        }
        Err(ClientError::lost("the server sends replies without end"))
    }

    /// Reads another reply, if one comes within this time.
    pub(super) fn reply_within(
        &mut self,
        patience: Duration,
    ) -> Result<Option<Reply>, ClientError> {
        let until = now() + patience;
        let found = loop {
            match self.buffered_reply(&mut false) {
                Ok(None) => {}
                found => break found,
            }
            if !self.stream.is_readable(until.saturating_duration_since(now())) {
                break Ok(None);
            }
            if let Err(error) = self.receive_some() {
                break Err(error);
            }
        };
        self.dead |= found.is_err();
        found
    }

    /// Returns true if the connection can no longer be used.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Gives up the connection, for example when further replies can no longer be matched to commands.
    pub(super) fn give_up(&mut self) {
        self.dead = true;
    }

    /// Reads the next reply, which may be a preliminary one.
    pub(super) fn reply(&mut self) -> Result<Reply, ClientError> {
        if self.dead {
            return Err(ClientError::lost("closed after an earlier error"));
        }
        let reply = self.read_reply();
        match &reply {
            Ok(reply) if !reply.code.is_preliminary() => self.preliminary = Preliminary::default(),
            Ok(_) if self.preliminary.count >= self.preliminary.max => {
                self.dead = true;
                return Err(ClientError::lost("the server sends too many preliminary replies"));
            }
            Ok(_) => self.preliminary.count += 1,
            Err(error) if error.is_connection_lost() => self.dead = true,
            _ => {}
        }
        reply
    }

    /// Changes the flag that interrupts waits.
    #[cfg(feature = "cli")]
    pub(super) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// Allows `count` more preliminary replies before the next final one: one for each restart marker sent.
    pub(super) fn expect_preliminary(&mut self, count: u64) {
        self.preliminary.max = PRELIMINARY_MAX.saturating_add(count);
    }

    /// Sets the timeout of the next replies.
    pub(super) fn set_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.timeout = timeout;
        bound(self.stream.socket(), timeout).map_err(|error| ClientError::lost(&reason(&error)))
    }

    fn read_reply(&mut self) -> Result<Reply, ClientError> {
        // The first line has a deadline, and all further lines together have another one, however slowly their bytes
        // arrive.
        let mut until = now() + self.timeout;
        let mut has_begun = false;
        loop {
            let is_later = has_begun;
            if let Some(reply) = self.buffered_reply(&mut has_begun)? {
                return Ok(reply);
            }
            if has_begun && !is_later {
                until = now() + self.timeout;
            }
            self.receive(until)?;
        }
    }

    /// Returns the next reply if all its lines have come. Sets `has_begun` if any of them has.
    fn buffered_reply(&mut self, has_begun: &mut bool) -> Result<Option<Reply>, ClientError> {
        while let Some(line) = self.lines.next_line() {
            *has_begun = true;
            let Line::Complete(line) = line else {
                return Err(ClientError::lost("the server sent a line that is too long"));
            };
            let line = self.charset.map_or_else(|| line.clone(), |charset| charset.decode(&line));
            if self.trace {
                trace('<', &line);
            }
            match self.reader.line(&line) {
                Ok(Some(reply)) if reply.code == Code::SERVICE_NOT_AVAILABLE => {
                    let what = "the server closed the connection";
                    return Err(ClientError::refused(ErrorKind::NoConnection, what, reply).unsent());
                }
                Ok(Some(reply)) => return Ok(Some(reply)),
                Ok(None) => {}
                Err(_) => return Err(ClientError::foreign(&line)),
            }
        }
        Ok(None)
    }

    fn receive(&mut self, until: Instant) -> Result<(), ClientError> {
        let late = || ClientError::lost(&format!("no reply within {} s", self.timeout.as_secs()));
        let mut bytes = [0; 4096];
        loop {
            self.interrupt.check()?;
            if now() > until {
                return Err(late());
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::lost("closed by the server")),
                Ok(count) => {
                    self.lines.extend(bytes.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(error) => return Err(ClientError::lost(&reason(&error))),
            }
        }
    }

    /// Reads once what has come. A record of TLS may hold no bytes.
    fn receive_some(&mut self) -> Result<(), ClientError> {
        self.interrupt.check()?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ClientError::lost("closed by the server")),
            Ok(count) => {
                self.lines.extend(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(ClientError::lost(&reason(&error))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a person waits here: the clock is theirs")]
fn now() -> Instant {
    Instant::now()
}

/// Sets the read and the write timeout of a socket.
pub(super) fn bound(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

fn trace(direction: char, line: &[u8]) {
    // A failed write to standard error cannot be reported anywhere.
    let _written = writeln!(io::stderr(), "{direction} {}", Escaped(line));
}
