//! The client's data connections, and the transfers over them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::ftp::address::{parse_extended_passive, parse_passive_port};
use crate::ftp::block::{self, Decoder, Item};
use crate::ftp::command::{Command, ExtendedPassive, Mode, Type};
use crate::ftp::{Code, Reply};

use super::checks::SLOWEST_BYTES_PER_SECOND;
use super::connection::bound;
use super::error::reason;
use super::rate_limit::RateLimit;
use super::stream::Stream;
use super::{Client, ClientError, ErrorKind};

/// Maximum number of bytes to read or write at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Distance between two restart markers in block mode, in bytes of the file.
const MARKER_EVERY_BYTES: u64 = 256 * 1024 * 1024;

/// Maximum number of replies to one transfer and its ABOR.
const ABORT_REPLIES_MAX: u32 = 8;

/// Method of making data connections that works with this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataMode {
    /// EPSV; where it fails, PASV, which is remembered for later transfers.
    ExtendedPassive,
    Passive,
    Active,
}

/// A prepared data connection, which carries no data before the server replies 150.
#[derive(Debug)]
enum PreparedConnection {
    Connected(Stream),
    Listening(TcpListener),
}

impl Client {
    /// Receives the data of a command from an offset on, and passes each chunk to `keep`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the server does not begin, [`ErrorKind::Incomplete`] when it does not finish, and any error
    /// that `keep` returns.
    pub(super) fn receive(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
        mut keep: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut stream = self.begin(command, offset, what)?;
        let outcome = match self.framing() {
            Mode::Stream => self.receive_all(&mut stream, &mut keep).inspect(|()| {
                // Over TLS the server waits for our `close_notify`, too. A failure here does not affect the data
                // received.
                let _sent = stream.finish();
            }),
            Mode::Block => self.receive_blocks(&mut stream, &mut keep),
        };
        // The data connection is closed before the wait for the reply, because the server may wait for that close.
        let kept = Some(stream).filter(|_| outcome.is_ok() && self.framing() == Mode::Block);
        self.conclude_and_keep(outcome, kept, Duration::ZERO, what)
    }

    fn receive_all(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.options.limit);
        let mut chunk = vec![0; rate_limit.chunk(CHUNK_BYTES)];
        loop {
            let count = self.receive_some(stream, &mut chunk, &mut rate_limit)?;
            if count == 0 {
                return Ok(());
            }
            keep(chunk.get(..count).unwrap_or_default())?;
        }
    }

    /// Receives one file in block mode, up to its end and not a byte further.
    fn receive_blocks(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.options.limit);
        let mut chunk = vec![0; rate_limit.chunk(CHUNK_BYTES)];
        let mut blocks = Decoder::default();
        while !blocks.has_ended() {
            let room = chunk.len().min(blocks.wanted());
            let room = chunk.get_mut(..room).unwrap_or_default();
            let count = self.receive_some(stream, room, &mut rate_limit)?;
            if count == 0 {
                return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
            }
            let mut bytes = chunk.get(..count).unwrap_or_default();
            while let Some(item) = blocks.next(&mut bytes).map_err(|_| no_blocks())? {
                if let Item::Data(data) = item {
                    keep(data)?;
                }
            }
        }
        Ok(())
    }

    fn receive_some(
        &self,
        stream: &mut Stream,
        room: &mut [u8],
        rate_limit: &mut RateLimit,
    ) -> Result<usize, ClientError> {
        loop {
            self.options.interrupt.check()?;
            match stream.read(room) {
                Ok(count) => {
                    rate_limit.moved(count, &self.options.interrupt)?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Sends the chunks that `next` appends to its first argument, until a chunk is empty. The second argument of
    /// `next` is the maximum size of a chunk in bytes.
    pub(super) fn transmit(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
        mut next: impl FnMut(&mut Vec<u8>, usize) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut stream = self.begin(command, offset, what)?;
        let mut sent = 0;
        let outcome = self.transmit_all(&mut stream, offset, &mut |chunk, room| {
            next(chunk, room).inspect(|()| sent += chunk.len() as u64)
        });
        // Ends the connection after complete data, and resets it after incomplete data: after an orderly close the
        // server would take half a file for a whole one. Either call fails only when the server has closed the
        // connection, and then its reply gives the reason.
        let _sent = match &outcome {
            Ok(()) if self.framing() == Mode::Block => Ok(()),
            Ok(()) => stream.finish(),
            Err(_) => sockopt::set_socket_linger(stream.socket(), Some(Duration::ZERO))
                .map_err(io::Error::from),
        };
        let kept = Some(stream).filter(|_| outcome.is_ok() && self.framing() == Mode::Block);
        self.connection.expect_preliminary(sent / MARKER_EVERY_BYTES);
        // The server may need this time to write the data to its disk.
        let patience = Duration::from_secs(sent / SLOWEST_BYTES_PER_SECOND);
        self.conclude_and_keep(outcome, kept, patience, what)
    }

    fn transmit_all(
        &self,
        stream: &mut Stream,
        offset: u64,
        next: &mut impl FnMut(&mut Vec<u8>, usize) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.options.limit);
        let (mut chunk, mut framed) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        let framing = self.framing();
        let (mut sent, mut next_marker) = (offset, offset + MARKER_EVERY_BYTES);
        loop {
            chunk.clear();
            next(&mut chunk, rate_limit.chunk(CHUNK_BYTES))?;
            let bytes = match framing {
                Mode::Stream => &chunk,
                Mode::Block => {
                    framed.clear();
                    block::encode(&chunk, &mut framed);
                    if chunk.is_empty() {
                        block::encode_end(&mut framed);
                    }
                    sent += chunk.len() as u64;
                    if sent >= next_marker && self.representation == Some(Type::Image) {
                        block::encode_marker(sent, &mut framed);
                        next_marker = sent + MARKER_EVERY_BYTES;
                    }
                    &framed
                }
            };
            self.send_all(stream, bytes)?;
            rate_limit.moved(bytes.len(), &self.options.interrupt)?;
            if chunk.is_empty() {
                return Ok(());
            }
        }
    }

    fn send_all(&self, stream: &mut Stream, mut unsent: &[u8]) -> Result<(), ClientError> {
        while !unsent.is_empty() {
            self.options.interrupt.check()?;
            match stream.write(unsent) {
                Ok(count) => unsent = unsent.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(())
    }

    /// Returns the transmission mode. It is block mode where the server supports it, so that each file has its own end
    /// and the data connection serves the next file, too.
    pub(super) fn framing(&self) -> Mode {
        self.framing.unwrap_or_default()
    }

    /// Asks for block mode, once. FEAT cannot list it; a server without block mode replies 504.
    pub(super) fn choose_framing(&mut self) -> Result<(), ClientError> {
        if self.framing.is_none() {
            let wanted = if self.options.stream { Mode::Stream } else { Mode::Block };
            let accepted = self.ask(&Command::Mode(wanted))?.code.is_completion();
            self.framing = Some(if accepted { wanted } else { Mode::Stream });
        }
        Ok(())
    }

    /// Reads the final reply. Keeps the data connection of block mode for the next transfer, if the server has not
    /// closed it (226).
    fn conclude_and_keep(
        &mut self,
        outcome: Result<(), ClientError>,
        stream: Option<Stream>,
        patience: Duration,
        what: &str,
    ) -> Result<(), ClientError> {
        let reply = self.conclude(outcome, patience, what)?;
        self.open_data = stream.filter(|_| reply.code == Code::FILE_ACTION_DONE);
        Ok(())
    }

    /// Prepares the data connection, sends the command and reads the 150.
    fn begin(&mut self, command: &Command, offset: u64, what: &str) -> Result<Stream, ClientError> {
        self.choose_framing()?;
        // This may drop the open data connection.
        self.drain(&restart(offset).as_ref().unwrap_or(command).encode());
        if let Some(stream) = self.open_data.take() {
            let reply = self.order(command, offset)?;
            if reply.code.is_preliminary() {
                return Ok(stream);
            }
            if reply.code != Code::DATA_CONNECTION_FAILED {
                // The data connection can still be used.
                self.open_data = Some(stream);
                return Err(ClientError::refused(ErrorKind::Refused, what, reply));
            }
        }
        let prepared = self.prepare()?;
        let reply = self.order(command, offset)?;
        if !reply.code.is_preliminary() {
            return Err(ClientError::refused(ErrorKind::Refused, what, reply));
        }
        let mut stream = match prepared {
            PreparedConnection::Connected(stream) => stream,
            PreparedConnection::Listening(listener) => Stream::new(self.accept(&listener)?),
        };
        bound(stream.socket(), self.options.timeout).map_err(|error| broken(&error))?;
        if self.framing() == Mode::Block {
            // Small files follow each other; none should wait for the acknowledgement of the one before.
            stream.socket().set_nodelay(true).map_err(|error| broken(&error))?;
        }
        if self.protects_data {
            self.secure_data(&mut stream)?;
        }
        Ok(stream)
    }

    /// Performs the TLS handshake of a data connection. If it fails, reads the server's reply, which gives the reason.
    fn secure_data(&mut self, stream: &mut Stream) -> Result<(), ClientError> {
        let Some(tls_context) = self.tls_context.clone() else { return Ok(()) };
        let Err(error) = stream.secure(&tls_context) else { return Ok(()) };
        let what = format!("the TLS handshake of the data connection failed: {}", reason(&error));
        let reply = self.final_reply(Duration::ZERO)?;
        let error = ClientError::new(ErrorKind::Incomplete, what);
        if reply.code == Code::UNSUPPORTED_PROTOCOL {
            // No TLS session is left to resume; a new control connection provides one.
            self.connection.give_up();
            return Err(error);
        }
        Err(if reply.code.is_completion() { error } else { error.answered(reply) })
    }

    /// Sends the command, after REST if the offset is not 0.
    fn order(&mut self, command: &Command, offset: u64) -> Result<Reply, ClientError> {
        if let Some(restart) = restart(offset) {
            let reply = self.ask(&restart)?;
            if !reply.code.is_intermediate() {
                self.restarts = false;
                return Err(ClientError::refused(
                    ErrorKind::Refused,
                    "the server cannot resume",
                    reply,
                ));
            }
        }
        self.ask(command)
    }

    /// Reads the final reply in every case, so that the next command does not receive it.
    fn conclude(
        &mut self,
        outcome: Result<(), ClientError>,
        patience: Duration,
        what: &str,
    ) -> Result<Reply, ClientError> {
        match outcome {
            Err(error) if error.kind == ErrorKind::Interrupted => {
                self.abort()?;
                Err(error)
            }
            outcome => {
                let reply = self.final_reply(patience)?;
                // A local error is the cause; the server only saw the connection close.
                let ours = outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Local);
                if !ours && !reply.code.is_completion() {
                    return Err(ClientError::refused(ErrorKind::Incomplete, what, reply));
                }
                outcome.map(|()| reply)
            }
        }
    }

    /// Reads the next final reply and drops preliminary ones. With 110 the server confirms that it has stored the data
    /// before a restart marker.
    fn final_reply(&mut self, patience: Duration) -> Result<Reply, ClientError> {
        loop {
            let reply = self.connection.reply_later(patience)?;
            if !reply.code.is_preliminary() {
                return Ok(reply);
            }
        }
    }

    /// Aborts the transfer and reads all replies to it.
    ///
    /// Servers answer the transfer and ABOR with two replies or with one. So a NOOP is sent after the first reply; its
    /// own reply cannot belong to a transfer, and marks the end. (Pure-FTPd discards input that comes right after
    /// ABOR.)
    pub(super) fn abort(&mut self) -> Result<(), ClientError> {
        self.options.interrupt.clear();
        self.open_data = None;
        // To each file requested ahead the server replies that there is no data connection any more.
        let unwanted = self.connection.abandon_pipeline();
        self.connection.send_at_once(&Command::Abort.encode())?;
        for _ in 0..=unwanted {
            self.final_reply(Duration::ZERO)?;
        }
        self.connection.send_at_once(&Command::Noop.encode())?;
        for _ in 0..=ABORT_REPLIES_MAX {
            match self.final_reply(Duration::ZERO)?.code.0 {
                225 | 226 | 250 | 425 | 426 | 450 | 451 => {}
                200 => {
                    self.connection.forget_pending();
                    return Ok(());
                }
                // This reply may belong to the ABOR or to the NOOP. No connection is better than a mismatched reply.
                _ => break,
            }
        }
        self.connection.give_up();
        Ok(())
    }

    fn prepare(&mut self) -> Result<PreparedConnection, ClientError> {
        match self.way {
            DataMode::Active => self.prepare_active(),
            DataMode::Passive => self.prepare_passive(),
            DataMode::ExtendedPassive => {
                let reply = self.ask(&Command::ExtendedPassive(ExtendedPassive::Any))?;
                let port = parse_extended_passive(&reply.text())
                    .filter(|_| reply.code == Code::EXTENDED_PASSIVE);
                let failure = match port.map(|port| self.connect_data(port)) {
                    Some(Ok(stream)) => return Ok(PreparedConnection::Connected(stream)),
                    Some(Err(error)) => error,
                    None => ClientError::refused(
                        ErrorKind::Refused,
                        "the server cannot open a data connection",
                        reply,
                    ),
                };
                if self.peer().is_ipv6() {
                    return Err(failure);
                }
                self.way = DataMode::Passive;
                self.prepare_passive()
            }
        }
    }

    fn prepare_passive(&mut self) -> Result<PreparedConnection, ClientError> {
        let reply = self.ask(&Command::Passive)?;
        match parse_passive_port(&reply.text()).filter(|_| reply.code == Code::PASSIVE) {
            Some(port) => self.connect_data(port).map(PreparedConnection::Connected),
            None => Err(ClientError::refused(
                ErrorKind::Refused,
                "the server cannot open a data connection",
                reply,
            )),
        }
    }

    fn prepare_active(&mut self) -> Result<PreparedConnection, ClientError> {
        let local = self.connection.local();
        let mut any_port = local;
        any_port.set_port(0);
        let cannot = |error: io::Error| {
            ClientError::new(
                ErrorKind::Refused,
                format!("cannot listen for data: {}", reason(&error)),
            )
        };
        let listener = TcpListener::bind(any_port).map_err(cannot)?;
        let address = SocketAddr::new(
            local.ip().to_canonical(),
            listener.local_addr().map_err(cannot)?.port(),
        );
        self.demand(&Command::Port(address), "the server refused active mode (try 'passive')")?;
        Ok(PreparedConnection::Listening(listener))
    }

    /// Connects to a passive port at the address of the control connection, and ignores any address in the reply.
    fn connect_data(&self, port: u16) -> Result<Stream, ClientError> {
        // Keeps the scope that a link-local address needs.
        let mut address = self.connection.peer();
        address.set_port(port);
        TcpStream::connect_timeout(&address, self.options.timeout).map(Stream::new).map_err(
            |error| {
                let hint = "A firewall may block it; try 'active'.";
                ClientError::new(
                    ErrorKind::Refused,
                    format!("no data connection to {address}: {}. {hint}", reason(&error)),
                )
            },
        )
    }

    /// Waits for the server to connect, and drops connections from other addresses.
    fn accept(&self, listener: &TcpListener) -> Result<TcpStream, ClientError> {
        let timeout = i64::try_from(self.options.timeout.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: timeout, tv_nsec: 0 };
        loop {
            self.options.interrupt.check()?;
            match poll(&mut [PollFd::new(&listener.as_fd(), PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    return Err(ClientError::new(
                        ErrorKind::Incomplete,
                        "the server did not open the data connection (try 'passive')",
                    )
                    .at_last());
                }
                Ok(_) => match listener.accept() {
                    Ok((stream, from)) if from.ip() == self.peer() => return Ok(stream),
                    _ => {}
                },
                Err(Errno::INTR) => {}
                Err(error) => return Err(broken(&error.into())),
            }
        }
    }
}

/// Returns REST for an offset other than 0.
fn restart(offset: u64) -> Option<Command> {
    (offset > 0).then_some(Command::Restart(offset))
}

fn no_blocks() -> ClientError {
    ClientError::new(ErrorKind::Incomplete, "the server did not send valid blocks").at_last()
}

fn broken(error: &io::Error) -> ClientError {
    ClientError::new(ErrorKind::Incomplete, format!("data connection lost: {}", reason(error)))
}
