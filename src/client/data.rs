//! Data connections: opened for each transfer, or kept open from the one before in block mode.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::ftp::command::{Command, Mode};
use crate::ftp::dialogue::{Begin, Dialogue, Finish, Passive, Span, Stage};
use crate::ftp::{Code, Reply};
use crate::sys::{Interest, wait};

use super::control::bound;
use super::dial::refused_by_proxy;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind, reason};
use super::link::Link;
use super::proxy::Proxy;
use super::stream::Stream;

/// Time that the data of a command has to come after its final reply.
const FINISHED_PATIENCE: Duration = Duration::from_secs(1);

/// A prepared data connection, which carries no data before the server replies 150.
#[derive(Debug)]
enum PreparedConnection {
    Connected(Stream),
    Listening(TcpListener),
}

/// A transfer whose command the server has accepted.
#[derive(Debug)]
pub(super) struct Begun {
    /// The data connection; `None` if the server has finished without one.
    pub(super) stream: Option<Stream>,
    /// The final reply, if it came in place of 1yz.
    pub(super) reply: Option<Reply>,
}

impl Link {
    /// Prepares the data connection, sends the command and reads the 150.
    pub(super) fn begin(
        &mut self,
        command: &Command,
        span: Span,
        what: &str,
    ) -> Result<Begun, ClientError> {
        self.foresee_transfer(None, command, span, Vec::new())?;
        self.choose_mode()?;
        if self.open_data.is_some() {
            // This may drop the open data connection.
            self.drain(&Begin::new(command.clone(), span).first().encode());
        }
        if let Some(stream) = self.open_data.take() {
            match self.order(command, span)? {
                Ok(reply) => return Ok(Begun { stream: Some(stream), reply }),
                Err(reply) if reply.code == Code::DATA_CONNECTION_FAILED => {}
                Err(reply) => {
                    // The data connection can still be used.
                    self.open_data = Some(stream);
                    return Err(ClientError::refused(ErrorKind::Refused, what, reply));
                }
            }
        }
        let prepared = self.prepare(command)?;
        let reply = match self.order(command, span)? {
            Ok(reply) => reply,
            Err(reply) => return Err(ClientError::refused(ErrorKind::Refused, what, reply)),
        };
        if reply.is_some() {
            return Ok(Begun { stream: self.open_finished(prepared), reply });
        }
        let mut stream = match prepared {
            PreparedConnection::Connected(stream) => stream,
            PreparedConnection::Listening(listener) => Stream::new(self.accept(&listener)?),
        };
        bound(stream.socket(), self.settings.timeout).map_err(|error| broken(&error))?;
        if self.mode() == Mode::Block {
            // Small files follow each other; none should wait for the acknowledgement of the one before.
            stream.socket().set_nodelay(true).map_err(|error| broken(&error))?;
        }
        self.secure_data(&mut stream)?;
        Ok(Begun { stream: Some(stream), reply })
    }

    /// Opens the data connection of a command that is finished already; `None` if the server did not use one.
    fn open_finished(&self, prepared: PreparedConnection) -> Option<Stream> {
        let mut stream = match prepared {
            PreparedConnection::Connected(stream) => stream,
            PreparedConnection::Listening(listener) => {
                let ready = wait(listener.as_fd(), Interest::Readable, FINISHED_PATIENCE);
                let (stream, from) =
                    listener.accept().ok().filter(|_| ready.is_ok_and(|ready| ready))?;
                (from.ip() == self.peer()).then(|| Stream::new(stream))?
            }
        };
        bound(stream.socket(), FINISHED_PATIENCE).ok()?;
        if let Some(tls_context) = self.data_tls() {
            stream.secure(&tls_context).ok()?;
        }
        stream.is_readable(FINISHED_PATIENCE).then_some(stream)
    }

    /// Performs the TLS handshake of a data connection, if it uses TLS. If it fails, reads the server's reply, which
    /// gives the reason.
    fn secure_data(&mut self, stream: &mut Stream) -> Result<(), ClientError> {
        let Some(tls_context) = self.data_tls() else { return Ok(()) };
        let Err(error) = stream.secure(&tls_context) else { return Ok(()) };
        let what = format!("the TLS handshake of the data connection failed: {}", reason(&error));
        let error = ClientError::new(ErrorKind::Incomplete, what);
        match self.run(&mut Finish)? {
            Ok(_) => Err(error),
            Err(refused) if refused.reply.code == Code::UNSUPPORTED_PROTOCOL => {
                // No TLS session is left to resume; a new control connection provides one.
                self.give_up();
                Err(error)
            }
            Err(refused) => Err(error.answered(refused.reply)),
        }
    }

    /// Sends the command, after REST or RANG if it moves only a part of the file. The inner result has the final reply, if it came in place
    /// of 1yz, or the reply that refuses the command.
    fn order(
        &mut self,
        command: &Command,
        span: Span,
    ) -> Result<Result<Option<Reply>, Reply>, ClientError> {
        match self.run(&mut Begin::new(command.clone(), span))? {
            Ok(Some(reply)) => match self.later_reply(true)? {
                // The first reply belonged to the transfer before.
                Some(begun) if begun.code.is_preliminary() => {
                    self.expect_final_reply();
                    Ok(Ok(None))
                }
                Some(refused) if !refused.code.is_completion() => Ok(Err(refused)),
                _ => Ok(Ok(Some(reply))),
            },
            Err(refused) if refused.stage == Stage::Restart => {
                match span {
                    Span::From(_) => self.support.restart = false,
                    Span::Range(_) => self.features.ranges = false,
                }
                let what = "the server cannot resume";
                Err(ClientError::refused(ErrorKind::Refused, what, refused.reply))
            }
            begun => Ok(begun.map_err(|refused| refused.reply)),
        }
    }

    fn prepare(&mut self, command: &Command) -> Result<PreparedConnection, ClientError> {
        if self.settings.active && self.settings.proxied.is_some() {
            let what = "active mode does not work through a proxy (try 'passive')";
            return Err(ClientError::new(ErrorKind::Refused, what));
        }
        if self.settings.active {
            return self.listen();
        }
        self.announce_transfer(command)?;
        match self.connect_passive() {
            Err(error) if !self.features.pre_transfer && wants_announcement(&error) => {
                self.features.pre_transfer = true;
                // EPSV was not refused for its own sake.
                self.support.extended_passive = true;
                self.announce_transfer(command)?;
                self.connect_passive()
            }
            outcome => outcome,
        }
    }

    /// Sends PRET with the command, to a server that wants to know it before PASV.
    fn announce_transfer(&mut self, command: &Command) -> Result<(), ClientError> {
        if self.features.pre_transfer {
            self.send(&[b"PRET ".as_slice(), &command.encode()].concat())?;
            // A refusal shows in the reply to the command.
            let _reply = self.reply()?;
        }
        Ok(())
    }

    /// Connects to a port of the server, by EPSV, or by PASV where EPSV does not work.
    fn connect_passive(&mut self) -> Result<PreparedConnection, ClientError> {
        let mut passive = Passive::new(self.support.extended_passive);
        let mut step = passive.start();
        loop {
            let outcome = self.run_from(&mut passive, step)?;
            self.support.extended_passive = passive.is_extended();
            let port = outcome.map_err(|refused| {
                let what = "the server cannot open a data connection";
                ClientError::refused(ErrorKind::Refused, what, refused.reply)
            })?;
            step = match self.connect_data(port) {
                Ok(stream) => return Ok(PreparedConnection::Connected(stream)),
                Err(error) => {
                    self.cancel_foreseen()?;
                    passive.fall_back().ok_or(error)?
                }
            };
        }
    }

    /// Listens on a port for the server (active mode), and sends it to the server.
    fn listen(&mut self) -> Result<PreparedConnection, ClientError> {
        let (local, _) = self.addresses();
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
        self.demand(Command::Port(address), "the server refused active mode (try 'passive')")?;
        Ok(PreparedConnection::Listening(listener))
    }

    /// Connects to a passive port at the address of the control connection, and ignores any address in the reply.
    fn connect_data(&self, port: u16) -> Result<Stream, ClientError> {
        // Keeps the scope that a link-local address needs.
        let (_, mut address) = self.addresses();
        if let Some((proxy, host)) = &self.settings.proxied {
            return self.connect_by_proxy(address, proxy, &Endpoint { host: host.clone(), port });
        }
        address.set_port(port);
        TcpStream::connect_timeout(&address, self.settings.timeout).map(Stream::new).map_err(
            |error| {
                let hint = "A firewall may block it; try 'active'.";
                ClientError::new(
                    ErrorKind::Refused,
                    format!("no data connection to {address}: {}. {hint}", reason(&error)),
                )
            },
        )
    }

    /// Connects to a passive port of the server through the proxy at `address`.
    fn connect_by_proxy(
        &self,
        address: SocketAddr,
        proxy: &Proxy,
        target: &Endpoint,
    ) -> Result<Stream, ClientError> {
        let timeout = self.settings.timeout;
        let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
            bound(&stream, timeout)?;
            proxy.connect(&mut &stream, target)?;
            Ok(Stream::new(stream))
        });
        connected.map_err(|error| {
            let error = refused_by_proxy(proxy, target, &error);
            error.with(ErrorKind::Refused, "; the proxy must allow data connections")
        })
    }

    /// Waits for the server to connect, and drops connections from other addresses.
    fn accept(&self, listener: &TcpListener) -> Result<TcpStream, ClientError> {
        loop {
            self.settings.interrupt.check()?;
            match wait(listener.as_fd(), Interest::Readable, self.settings.timeout) {
                Ok(false) => {
                    return Err(ClientError::new(
                        ErrorKind::Incomplete,
                        "the server did not open the data connection (try 'passive')",
                    )
                    .at_last());
                }
                Ok(true) => match listener.accept() {
                    Ok((stream, from)) if from.ip() == self.peer() => return Ok(stream),
                    _ => {}
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

/// Returns true for the refusal of PASV by a server that wants PRET before it.
fn wants_announcement(error: &ClientError) -> bool {
    error.reply.as_ref().is_some_and(|reply| reply.text().to_ascii_uppercase().contains("PRET"))
}

/// Reports a lost data connection.
pub(super) fn broken(error: &io::Error) -> ClientError {
    ClientError::new(ErrorKind::Incomplete, format!("data connection lost: {}", reason(error)))
}
