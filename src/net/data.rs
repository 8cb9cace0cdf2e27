//! Data connections: opened by the client (passive) or by the server (active), in plain or over TLS.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::sync::Arc;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use super::passive::PassiveListener;
use super::socket::{bound_waits, disable_pacing_on_loopback};
use super::tls::ResumptionProof;
use super::tls::{Direction, Received, ResumptionScope, Tls};
use crate::sys::{acknowledge_at_once, send_full_packets, tcp_socket};

/// The protection that a data connection needs (PROT).
#[derive(Debug, Clone)]
pub struct Protection {
    /// The TLS configuration of its control connection.
    pub scope: ResumptionScope,
    /// The direction of its data.
    pub direction: Direction,
    /// The rule for resuming the control connection's session.
    pub resumption: Resumption,
}

/// The rule for resuming the control connection's TLS session. Resumption proves that one client opened both
/// connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resumption {
    /// Data connections that do not resume it are closed.
    #[default]
    Required,
    /// Data connections need not resume it, for clients that cannot.
    Optional,
}

impl FromStr for Resumption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => Err(format!("'{text}' is neither required nor optional")),
        }
    }
}

impl fmt::Display for Resumption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Required => "required",
            Self::Optional => "optional",
        })
    }
}

/// A data connection that is not established yet.
#[derive(Debug)]
pub enum Opening {
    /// The server waits for the client to connect.
    Passive(PassiveListener),
    /// The server is connecting to the client.
    Active(TcpStream),
    /// The connection is established, and its TLS handshake is under way.
    Securing(DataConnection),
}

/// The reason why a data connection was not established.
#[derive(Debug)]
pub enum Failure {
    /// There is no connection.
    Connect(io::Error),
    /// The handshake failed.
    Handshake(io::Error),
    /// The connection did not resume the control connection's session.
    Stranger,
}

impl Opening {
    /// Begins to connect to a client that sent PORT or EPRT, from the server address that the client knows.
    pub fn connect(mut local: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        // Non-blocking only for connect, which must not wait for the client; afterwards the socket blocks like all
        // others.
        let socket = tcp_socket(to)?;
        bound_waits(socket.as_fd())?;
        disable_pacing_on_loopback(&socket, to);
        sockopt::set_socket_reuseaddr(&socket, true)?;
        local.set_port(0);
        rustix::net::bind(&socket, &local)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        rustix::io::ioctl_fionbio(&socket, false)?;
        Ok(Self::Active(TcpStream::from(socket)))
    }

    /// Takes the next step until the connection is established and, where required, secured. Leaves the listener by
    /// which the connection came in `spare`.
    pub fn advance(
        self,
        protection: Option<&Protection>,
        spare: &mut Option<PassiveListener>,
    ) -> Result<Opened, Failure> {
        let opened = match self {
            Self::Securing(connection) => Opened::Ready(connection),
            unopened => unopened.open(protection, spare).map_err(Failure::Connect)?,
        };
        match opened {
            Opened::Ready(connection) => connection.secure(protection),
            pending @ Opened::Pending(_) => Ok(pending),
        }
    }

    /// Returns the first other host that connected to the passive port since the last call.
    pub fn take_stranger(&mut self) -> Option<SocketAddr> {
        match self {
            Self::Passive(listener) => listener.take_stranger(),
            Self::Active(_) | Self::Securing(_) => None,
        }
    }

    fn open(
        self,
        protection: Option<&Protection>,
        spare: &mut Option<PassiveListener>,
    ) -> io::Result<Opened> {
        match self {
            Self::Passive(mut listener) => match listener.accept()? {
                Poll::Ready(stream) => {
                    *spare = Some(listener);
                    DataConnection::new(stream, protection).map(Opened::Ready)
                }
                Poll::Pending => Ok(Opened::Pending(Self::Passive(listener))),
            },
            Self::Active(stream) => {
                sockopt::socket_error(&stream)??;
                match stream.peer_addr() {
                    Ok(_) => DataConnection::new(stream, protection).map(Opened::Ready),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Ok(Opened::Pending(Self::Active(stream)))
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Securing(connection) => Ok(Opened::Ready(connection)),
        }
    }
}

/// The outcome of a step of an [`Opening`], which the step consumes.
#[derive(Debug)]
pub enum Opened {
    /// The connection can be used.
    Ready(DataConnection),
    /// The opening continues when its descriptor is ready.
    Pending(Opening),
}

/// A reference to the socket of a data connection that is used elsewhere.
#[derive(Debug)]
pub struct DataHandle(Arc<TcpStream>);

impl DataHandle {
    /// Shuts the connection down in both directions.
    pub fn end(&self) {
        // Fails if the client has closed the connection: then it has ended already.
        let _ended = self.0.shutdown(Shutdown::Both);
    }
}

/// A data connection.
#[derive(Debug)]
pub struct DataConnection {
    pub(super) stream: Arc<TcpStream>,
    pub(super) tls: Option<Box<Tls>>,
    /// TLS: `close_notify` is sent, and our side closed.
    is_shut_down: bool,
    /// True if every call on the socket is bounded in time: see [`DataConnection::limit_waits`].
    limits_waits: bool,
    /// True if only full packets leave: see [`DataConnection::cork`].
    corked: bool,
}

impl DataConnection {
    fn new(stream: TcpStream, protection: Option<&Protection>) -> io::Result<Self> {
        let tls = protection
            .map(|protection| protection.scope.accept_data(protection.direction))
            .transpose()?;
        if tls.is_some() {
            // TLS sends whole records, so there is nothing to wait for.
            stream.set_nodelay(true)?;
        }
        let stream = Arc::new(stream);
        Ok(Self {
            stream,
            tls: tls.map(Box::new),
            is_shut_down: false,
            limits_waits: false,
            corked: false,
        })
    }

    /// Sends everything at once (`TCP_NODELAY`). Otherwise the end of a file after which the connection stays open
    /// would wait until the client has acknowledged the data before it, up to 40 ms.
    pub fn hold_nothing_back(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Bounds the calls that have no flag against waiting (sendfile, splice), so that they wait at most a millisecond.
    pub(super) fn limit_waits(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.limits_waits, true) {
            bound_waits(self.stream.as_fd())?;
        }
        Ok(())
    }

    /// Sends only full packets (`TCP_CORK`), until the connection is closed or a fifth of a second has passed. This is
    /// for a connection that carries a large file, slice by slice, and then ends. Without it, the end of each slice
    /// leaves in a short packet; with it, throughput over loopback is 1.2 times as high.
    pub(super) fn cork(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.corked, true) {
            send_full_packets(&self.stream)?;
        }
        Ok(())
    }

    /// Continues the handshake.
    fn secure(mut self, protection: Option<&Protection>) -> Result<Opened, Failure> {
        let (Some(tls), Some(protection)) = (&mut self.tls, protection) else {
            return Ok(Opened::Ready(self));
        };
        if tls.handshake(&self.stream).map_err(Failure::Handshake)?.is_pending() {
            return Ok(Opened::Pending(Opening::Securing(self)));
        }
        if protection.direction == Direction::FromClient {
            // The server sends nothing now, and the client's first bytes would wait for the acknowledgement of its
            // handshake (Nagle).
            acknowledge_at_once(&self.stream).map_err(|error| Failure::Connect(error.into()))?;
        }
        let mut proof = tls.proof().map_err(Failure::Connect)?;
        if matches!(proof, ResumptionProof::Waits) && protection.resumption == Resumption::Optional
        {
            proof = ResumptionProof::Stranger;
        }
        match proof {
            ResumptionProof::Waits => return Ok(Opened::Pending(Opening::Securing(self))),
            ResumptionProof::Own => tls.trust(),
            ResumptionProof::Stranger => {}
        }
        if matches!(proof, ResumptionProof::Stranger)
            && protection.resumption == Resumption::Required
        {
            // SECURITY: a client that resumes a session of the account is the one that logged in to it, not one that
            // found the port first.
            tls.send_close_notify();
            let _sent = tls.flush(&self.stream);
            return Err(Failure::Stranger);
        }
        Ok(Opened::Ready(self))
    }

    /// Returns a second reference to the socket, for code that must end the connection while it is used elsewhere.
    #[must_use]
    pub fn handle(&self) -> DataHandle {
        DataHandle(Arc::clone(&self.stream))
    }

    /// Returns the descriptor that becomes readable when the login is decided that shows who owns this connection.
    #[must_use]
    pub fn awaited_login(&self) -> Option<BorrowedFd<'_>> {
        self.tls.as_ref().and_then(|tls| tls.decided())
    }

    /// Returns `true` if records wait to be sent, so that the connection must become writable to continue: in a
    /// handshake, or at its end.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_to_send())
    }

    /// TLS: sends `close_notify` after all data, closes our side, and waits for the other end's close. In plain there is nothing to wait for.
    ///
    /// Closing while the other end still sends would cause a reset, which could lose the last bytes sent.
    pub fn shut_down(&mut self) -> io::Result<Poll<()>> {
        let Some(tls) = &mut self.tls else { return Ok(Poll::Ready(())) };
        if !self.is_shut_down {
            tls.send_close_notify();
            if tls.flush(&self.stream)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.is_shut_down = true;
        }
        let (came, _) = tls.receive(&self.stream, usize::MAX, |_| ())?;
        let has_ended = matches!(came, Received::End | Received::Truncated);
        Ok(if has_ended { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Sends the records that are encrypted already.
    pub fn flush(&mut self) -> io::Result<Poll<()>> {
        self.tls.as_mut().map_or(Ok(Poll::Ready(())), |tls| {
            tls.release();
            tls.flush(&self.stream)
        })
    }

    /// Returns `true` if only the other end's close is still to come.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    /// TLS: answers the other end's close with ours, as far as possible without waiting.
    pub fn answer_end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _sent = tls.flush(&self.stream);
        }
    }

    /// Returns whether the other end has sent `close_notify`; `None` in plain, which has no such message.
    #[must_use]
    pub fn is_ended(&self) -> Option<bool> {
        self.tls.as_ref().map(|tls| tls.has_ended())
    }

    /// Returns `true` if the other end has closed a connection that carries nothing at the moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.stream, &mut [0; 1], flags);
        match (peeked, &self.tls) {
            (Err(Errno::AGAIN), _) | (Ok((1.., _)), None) => false,
            // Over TLS, between two transfers of block mode, any input can only be the end.
            _ => true,
        }
    }

    /// Returns `true` if the connection is over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
