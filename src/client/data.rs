//! Data connections as a client makes them, and the transfers that go over them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::ftp::address::{parse_extended_passive, parse_passive_port};
use crate::ftp::command::{Command, ExtendedPassive};
use crate::ftp::{Code, Reply};

use super::connection::bound;
use super::error::reason;
use super::{Client, ClientError, Kind};

/// How much is read or written at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Which way to a data connection works with this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// EPSV, and PASV where that fails, which is then remembered.
    ExtendedPassive,
    Passive,
    Active,
}

/// A data connection that is prepared, but carries nothing before the server has answered 150.
#[derive(Debug)]
enum Prepared {
    Connected(TcpStream),
    Listening(TcpListener),
}

impl Client {
    /// Receives what a command sends; `keep` is given each chunk.
    ///
    /// # Errors
    /// [`Kind::Refused`] when the server does not begin, [`Kind::Incomplete`] when it does not finish, and whatever
    /// `keep` returns.
    pub(super) fn receive(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
        mut keep: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let (stream, _) = self.begin(command, offset, what)?;
        let outcome = self.receive_all(&stream, &mut keep);
        drop(stream);
        self.conclude(outcome, what)
    }

    fn receive_all(
        &self,
        mut stream: &TcpStream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            self.options.interrupt.check()?;
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => keep(chunk.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Sends what `next` gives, until that is nothing.
    pub(super) fn transmit(
        &mut self,
        command: &Command,
        what: &str,
        mut next: impl FnMut(&mut Vec<u8>) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let (stream, _) = self.begin(command, 0, what)?;
        let outcome = self.transmit_all(&stream, &mut next);
        // Tells the server that this was all, or, by a reset, that it was not: an orderly close would make half a file a
        // whole one. Either fails only when it has hung up, and then its reply says why.
        let _told = match outcome {
            Ok(()) => stream.shutdown(Shutdown::Write),
            Err(_) => {
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).map_err(io::Error::from)
            }
        };
        drop(stream);
        self.conclude(outcome, what)
    }

    fn transmit_all(
        &self,
        mut stream: &TcpStream,
        next: &mut impl FnMut(&mut Vec<u8>) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            chunk.clear();
            next(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(());
            }
            let mut unsent = chunk.as_slice();
            while !unsent.is_empty() {
                self.options.interrupt.check()?;
                match stream.write(unsent) {
                    Ok(count) => unsent = unsent.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(broken(&error)),
                }
            }
        }
    }

    /// Prepares the data connection, says the command and reads the 150.
    fn begin(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
    ) -> Result<(TcpStream, Reply), ClientError> {
        let prepared = self.prepare()?;
        if offset > 0 {
            self.demand(&Command::Restart(offset), "the server cannot resume")?;
        }
        let reply = self.ask(command)?;
        if !reply.code.is_preliminary() {
            return Err(ClientError::refused(Kind::Refused, what, reply));
        }
        let stream = match prepared {
            Prepared::Connected(stream) => stream,
            Prepared::Listening(listener) => self.accept(&listener)?,
        };
        bound(&stream, self.options.timeout).map_err(|error| broken(&error))?;
        Ok((stream, reply))
    }

    /// Reads the final reply, in every case: the next command must not find it.
    fn conclude(
        &mut self,
        outcome: Result<(), ClientError>,
        what: &str,
    ) -> Result<(), ClientError> {
        match outcome {
            Err(error) if error.kind == Kind::Interrupted => {
                self.abort()?;
                Err(error)
            }
            outcome => {
                let reply = self.connection.reply()?;
                // What went wrong here is the cause; the server only saw us hang up.
                let ours = outcome.as_ref().is_err_and(|error| error.kind == Kind::Local);
                if !ours && !reply.code.is_completion() {
                    return Err(ClientError::refused(Kind::Incomplete, what, reply));
                }
                outcome
            }
        }
    }

    /// Tells the server to give up, and reads everything it still has to say of it.
    ///
    /// Servers answer the transfer and ABOR with two replies or with one. So a NOOP is sent behind the first, and its
    /// reply, which is none of a transfer's, is the end. (Pure-FTPd throws away what comes right behind ABOR.)
    fn abort(&mut self) -> Result<(), ClientError> {
        self.options.interrupt.clear();
        self.connection.send_at_once(&Command::Abort.encode())?;
        self.connection.reply()?;
        self.connection.send_at_once(&Command::Noop.encode())?;
        loop {
            match self.connection.reply()?.code.0 {
                225 | 226 | 250 | 425 | 426 | 450 | 451 => {}
                200 => break,
                // Was that for the ABOR or for the NOOP? Better no connection than a wrong answer.
                _ => {
                    self.connection.give_up();
                    return Ok(());
                }
            }
        }
        self.connection.forget_owed();
        Ok(())
    }

    fn prepare(&mut self) -> Result<Prepared, ClientError> {
        match self.mode {
            Mode::Active => self.prepare_active(),
            Mode::Passive => self.prepare_passive(),
            Mode::ExtendedPassive => {
                let reply = self.ask(&Command::ExtendedPassive(ExtendedPassive::Any))?;
                let port = parse_extended_passive(&reply.text())
                    .filter(|_| reply.code == Code::EXTENDED_PASSIVE);
                let failure = match port.map(|port| self.connect_data(port)) {
                    Some(Ok(stream)) => return Ok(Prepared::Connected(stream)),
                    Some(Err(error)) => error,
                    None => {
                        ClientError::refused(Kind::Refused, "no way to a data connection", reply)
                    }
                };
                if self.peer().is_ipv6() {
                    return Err(failure);
                }
                self.mode = Mode::Passive;
                self.prepare_passive()
            }
        }
    }

    fn prepare_passive(&mut self) -> Result<Prepared, ClientError> {
        let reply = self.ask(&Command::Passive)?;
        match parse_passive_port(&reply.text()).filter(|_| reply.code == Code::PASSIVE) {
            Some(port) => self.connect_data(port).map(Prepared::Connected),
            None => Err(ClientError::refused(Kind::Refused, "no way to a data connection", reply)),
        }
    }

    fn prepare_active(&mut self) -> Result<Prepared, ClientError> {
        let local = self.connection.local();
        let mut any_port = local;
        any_port.set_port(0);
        let cannot = |error: io::Error| {
            ClientError::new(Kind::Refused, format!("cannot listen for data: {}", reason(&error)))
        };
        let listener = TcpListener::bind(any_port).map_err(cannot)?;
        let address = SocketAddr::new(
            local.ip().to_canonical(),
            listener.local_addr().map_err(cannot)?.port(),
        );
        self.demand(&Command::Port(address), "the server does not connect to us (try 'passive')")?;
        Ok(Prepared::Listening(listener))
    }

    /// Connects to a passive port at the server's own address, whatever its reply said.
    fn connect_data(&self, port: u16) -> Result<TcpStream, ClientError> {
        // With the scope that a link-local address needs.
        let mut address = self.connection.peer();
        address.set_port(port);
        TcpStream::connect_timeout(&address, self.options.timeout).map_err(|error| {
            let hint = "Is a firewall between? Try 'active'.";
            ClientError::new(
                Kind::Refused,
                format!("no data connection to {address}: {}. {hint}", reason(&error)),
            )
        })
    }

    /// Waits for the server to connect to us; nobody else is let in.
    fn accept(&self, listener: &TcpListener) -> Result<TcpStream, ClientError> {
        let timeout = i64::try_from(self.options.timeout.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: timeout, tv_nsec: 0 };
        loop {
            self.options.interrupt.check()?;
            match poll(&mut [PollFd::new(&listener.as_fd(), PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    return Err(ClientError::new(
                        Kind::Incomplete,
                        "the server did not connect to us (try 'passive')",
                    ));
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

fn broken(error: &io::Error) -> ClientError {
    ClientError::new(Kind::Incomplete, format!("data connection lost: {}", reason(error)))
}
