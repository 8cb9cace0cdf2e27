//! Data connections: made by the client (passive) or by us (active), in plain or by TLS.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

use super::passive::PassiveListener;
use super::resumption::Standing;
use super::socket::{bound_waits, spare_loopback_pacing};
use super::tls::{Binding, Direction, Received, Tls};

/// How a data connection is to be protected (PROT).
#[derive(Debug, Clone)]
pub struct Protection {
    /// The control connection's.
    pub binding: Binding,
    /// Which way its data will go.
    pub direction: Direction,
    /// Whether it must resume the control connection's session.
    pub resumption: Resumption,
}

/// Whether a data connection must resume the TLS session of its control connection: it shows that the same client made both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// Others are closed.
    Required,
    /// For clients that cannot.
    Optional,
}

/// A data connection that is not there yet.
#[derive(Debug)]
pub enum Opening {
    /// The client will connect to us.
    Passive(PassiveListener),
    /// We are connecting to the client.
    Active(TcpStream),
    /// It is there, and the handshake is under way.
    Securing(DataConnection),
}

/// Why a data connection did not come about.
#[derive(Debug)]
pub enum Failure {
    /// There is no connection.
    Connect(io::Error),
    /// The handshake failed.
    Handshake(io::Error),
    /// It did not resume the control connection's session.
    Stranger,
}

impl Opening {
    /// Begins to connect to a client that said PORT or EPRT, from the host it knows us by.
    pub fn connect(mut local: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        // Not to wait for the client here; from then on it is a blocking socket as all others.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        bound_waits(socket.as_fd())?;
        spare_loopback_pacing(&socket, to);
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

    /// The connection, if it is there now, and safe where it is to be; the opening again, if it is not. The listener that it
    /// came by is left in `spare`.
    pub fn advance(
        self,
        protection: Option<&Protection>,
        spare: &mut Option<PassiveListener>,
    ) -> Result<Result<DataConnection, Self>, Failure> {
        let opened = match self {
            Self::Securing(connection) => Ok(connection),
            unopened => unopened.open(protection, spare).map_err(Failure::Connect)?,
        };
        match opened {
            Ok(connection) => connection.secure(protection),
            Err(opening) => Ok(Err(opening)),
        }
    }

    /// The first stranger who has connected to the passive port since this was last asked.
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
    ) -> io::Result<Result<DataConnection, Self>> {
        match self {
            Self::Passive(mut listener) => match listener.accept()? {
                Some(stream) => {
                    *spare = Some(listener);
                    DataConnection::new(stream, protection).map(Ok)
                }
                None => Ok(Err(Self::Passive(listener))),
            },
            Self::Active(stream) => {
                sockopt::socket_error(&stream)??;
                match stream.peer_addr() {
                    Ok(_) => DataConnection::new(stream, protection).map(Ok),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Ok(Err(Self::Active(stream)))
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Securing(connection) => Ok(Ok(connection)),
        }
    }
}

/// The socket of a data connection that is used elsewhere.
#[derive(Debug)]
pub struct DataHandle(Arc<TcpStream>);

impl DataHandle {
    /// Ends the connection.
    pub fn end(&self) {
        // One that the client has closed has ended already.
        let _ended = self.0.shutdown(Shutdown::Both);
    }
}

/// A data connection.
#[derive(Debug)]
pub struct DataConnection {
    pub(super) stream: Arc<TcpStream>,
    pub(super) tls: Option<Box<Tls>>,
    /// TLS: that this was all is said, and our side closed.
    hung_up: bool,
    /// Whether no call on it waits longer than a moment: see [`DataConnection::bound`].
    bounded: bool,
    /// Whether only whole packets leave: see [`DataConnection::cork`].
    corked: bool,
}

impl DataConnection {
    fn new(stream: TcpStream, protection: Option<&Protection>) -> io::Result<Self> {
        let tls = protection
            .map(|protection| protection.binding.accept_data(protection.direction))
            .transpose()?;
        if tls.is_some() {
            // Records are whole; what is held back waits for nothing.
            stream.set_nodelay(true)?;
        }
        let stream = Arc::new(stream);
        Ok(Self { stream, tls: tls.map(Box::new), hung_up: false, bounded: false, corked: false })
    }

    /// Has everything leave at once (`TCP_NODELAY`): the end of a file behind which the connection stays open would else wait
    /// until the client has acknowledged the file before it, up to 40 ms.
    pub fn hold_nothing_back(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Sees to it that calls which cannot be told not to wait (sendfile, splice) do so for a moment at most.
    pub(super) fn bound(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.bounded, true) {
            bound_waits(self.stream.as_fd())?;
        }
        Ok(())
    }

    /// Has only whole packets leave (`TCP_CORK`), until it is closed, or a fifth of a second has passed: for one that carries
    /// a large file, slice by slice, and then ends. Without, the end of each slice is a packet of its own, or makes one; with
    /// it, 1.2 times as much goes over loopback.
    pub(super) fn cork(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.corked, true) {
            sockopt::set_tcp_cork(&self.stream, true)?;
        }
        Ok(())
    }

    /// Goes on with the handshake.
    fn secure(mut self, protection: Option<&Protection>) -> Result<Result<Self, Opening>, Failure> {
        let (Some(tls), Some(protection)) = (&mut self.tls, protection) else {
            return Ok(Ok(self));
        };
        if !tls.shake_hands(&self.stream).map_err(Failure::Handshake)? {
            return Ok(Err(Opening::Securing(self)));
        }
        if protection.direction == Direction::FromClient {
            // We say nothing now, and the client's first bytes wait for the acknowledgement of its handshake (Nagle).
            sockopt::set_tcp_quickack(&self.stream, true)
                .map_err(|error| Failure::Connect(error.into()))?;
        }
        let mut standing = tls.standing().map_err(Failure::Connect)?;
        if matches!(standing, Standing::Waits) && protection.resumption == Resumption::Optional {
            standing = Standing::Stranger;
        }
        match standing {
            Standing::Waits => return Ok(Err(Opening::Securing(self))),
            Standing::Own => tls.trust(),
            Standing::Stranger => {}
        }
        if matches!(standing, Standing::Stranger) && protection.resumption == Resumption::Required {
            // SECURITY: who resumes a session of the account is who has logged in to it, not who found the port first.
            tls.say_end();
            let _told = tls.flush(&self.stream);
            return Err(Failure::Stranger);
        }
        Ok(Ok(self))
    }

    /// The socket once more, for whoever has to end it while it is used elsewhere.
    #[must_use]
    pub fn handle(&self) -> DataHandle {
        DataHandle(Arc::clone(&self.stream))
    }

    /// Returns the descriptor that becomes readable when a login is decided that shows whose this connection is.
    #[must_use]
    pub fn awaited_login(&self) -> Option<BorrowedFd<'_>> {
        self.tls.as_ref().and_then(|tls| tls.bell())
    }

    /// What has to become ready for it to go on by itself: in a handshake, at its end.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_to_send())
    }

    /// TLS, when everything is sent: says that this was all, closes our side, and waits for the other; `true` when it has
    /// ended. In plain there is nothing to wait for.
    ///
    /// Closing while the other end still sends would be a reset, which could cost it the last bytes.
    pub fn hang_up(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        if !self.hung_up {
            tls.say_end();
            if !tls.flush(&self.stream)? {
                return Ok(false);
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.hung_up = true;
        }
        let (came, _) = tls.receive(&self.stream, usize::MAX, |_| ())?;
        Ok(matches!(came, Received::End | Received::Torn))
    }

    /// Sends what is encrypted already; `true` when all of it has left.
    pub fn flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| {
            tls.release();
            tls.flush(&self.stream)
        })
    }

    /// Whether only the other end's close is waited for.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// TLS: answers the other end's close with ours, as far as that is possible at once.
    pub fn answer_end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_end();
            let _told = tls.flush(&self.stream);
        }
    }

    /// Whether the other end has said that this was all; nobody says so in plain.
    #[must_use]
    pub fn is_ended(&self) -> Option<bool> {
        self.tls.as_ref().map(|tls| tls.has_ended())
    }

    /// Whether the other end has closed a connection that carries nothing at the moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.stream, &mut [0; 1], flags);
        match (peeked, &self.tls) {
            (Err(Errno::AGAIN), _) | (Ok((1.., _)), None) => false,
            // By TLS, between two transfers of block mode, nothing comes but the end.
            _ => true,
        }
    }

    /// Whether it is by TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
