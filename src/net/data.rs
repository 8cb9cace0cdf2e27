//! Data connections: made by the client (passive) or by us (active).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

use super::passive::PassiveListener;
use super::socket::{bound_waits, is_ready};

/// A data connection that is not there yet.
#[derive(Debug)]
pub enum Opening {
    /// The client will connect to us.
    Passive(PassiveListener),
    /// We are connecting to the client.
    Active(TcpStream),
}

impl Opening {
    /// Begins to connect to a client that said PORT or EPRT, from the host it knows us by.
    pub fn connect(mut local: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        // Not to wait for the client here; from then on it is a blocking socket as all others.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        bound_waits(socket.as_fd())?;
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

    /// The connection, if it is there now; the opening again, if it is not.
    pub fn advance(self) -> io::Result<Result<TcpStream, Self>> {
        match self {
            Self::Passive(listener) => match is_ready(listener.descriptor(), PollFlags::IN)?
                .then(|| listener.accept())
                .transpose()?
                .flatten()
            {
                Some(stream) => {
                    bound_waits(stream.as_fd())?;
                    Ok(Ok(stream))
                }
                None => Ok(Err(Self::Passive(listener))),
            },
            Self::Active(stream) => {
                sockopt::socket_error(&stream)??;
                match stream.peer_addr() {
                    Ok(_) => Ok(Ok(stream)),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Ok(Err(Self::Active(stream)))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Whether the other end has closed a connection that carries nothing at the moment.
#[must_use]
pub fn is_closed(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(rustix::net::recv(stream, &mut [0; 1], flags), Ok((1.., _)) | Err(Errno::AGAIN))
}
