//! The connection between a master and its slave processes: a Unix socket that keeps message boundaries and carries
//! descriptors.
//!
//! SECURITY: the socket has an abstract name, which leaves no file behind. Every user of the machine can connect to it
//! or, before the master, take the name. So both ends check the other's credentials, which the kernel reports, before
//! any message: the other end must run as this user, or as root. Root may query the servers of all users: it also
//! accepts the user in the name.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketType,
};
use rustix::process::geteuid;

use crate::sys::{self, Interest, Wakeup, abstract_name, is_ready, peer, unix_socket};

/// The maximum length of a message, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The maximum number of descriptors in one message: a client's connection and its claim.
const DESCRIPTORS_MAX: usize = 2;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// The socket on which slave processes of the server on this port register.
#[derive(Debug)]
pub struct RegistrationSocket(OwnedFd);

impl RegistrationSocket {
    /// Opens the socket for a server at this address, which the user of this process runs.
    ///
    /// The first server of a port has the plain name. Another server may run at another address, or while the first one
    /// finishes its transfers. Its name contains its address and process ID, and is found as well.
    ///
    /// # Errors
    /// Returns the system's error; `AddrInUse` when this process has opened two for one address.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let (user, port) = (geteuid().as_raw(), address.port());
        let own = format!("{}+{}", address.ip(), std::process::id());
        let socket = socket()?;
        let plain = rustix::net::bind(&socket, &abstract_name(&plain_name(user, port))?);
        if plain == Err(Errno::ADDRINUSE) {
            rustix::net::bind(&socket, &abstract_name(&format!("{NAMES}{user}/{own}/{port}"))?)?;
        } else {
            plain?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Accepts no more connections, although the socket stays open: clients that look for a server find another.
    pub fn close(&self) {
        // Fails only when it is closed already.
        let _closed = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    /// Accepts a waiting connection if its process runs as this user or as root; closes others.
    pub fn accept(&self) -> io::Result<Option<Channel>> {
        let channel = Channel(sys::accept(&self.0)?);
        Ok(channel.is_trusted()?.then_some(channel))
    }
}

impl AsFd for RegistrationSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One end of a connection between master and slave.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Connects to the first master of this user on this port.
    ///
    /// # Errors
    /// `ConnectionRefused` when there is none; `PermissionDenied` when another user has taken the name.
    pub fn connect(port: u16) -> io::Result<Self> {
        let mut last_error = io::ErrorKind::ConnectionRefused.into();
        for name in names(port, Of::This) {
            match Self::connect_to(&name) {
                Ok(channel) => return Ok(channel),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => last_error = error,
                Err(_) => {}
            }
        }
        Err(last_error)
    }

    /// Connects to a master by its name.
    pub(super) fn connect_to(name: &str) -> io::Result<Self> {
        let channel = Self(socket()?);
        rustix::net::connect(&channel.0, &abstract_name(name)?)?;
        let user = channel.peer_user()?;
        // SECURITY: any user can take a name with any user in it.
        let is_named = geteuid().is_root() && user_of(name) == Some(user);
        if is_named || channel.is_trusted()? {
            Ok(channel)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Connects to the socket file of a server. Who may create it there is the server's administrator.
    pub(super) fn connect_file(path: &Path) -> io::Result<Self> {
        let channel = Self(socket()?);
        rustix::net::connect(&channel.0, &SocketAddrUnix::new(path)?)?;
        Ok(channel)
    }

    fn is_trusted(&self) -> io::Result<bool> {
        let user = self.peer_user()?;
        Ok(user == geteuid().as_raw() || user == ROOT)
    }

    /// Creates both ends of a connection.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = sys::unix_pair(SocketType::SEQPACKET)?;
        Ok((Self(one), Self(other)))
    }

    /// Creates the end of a connection that another process has passed.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Returns the user ID of the process at the other end.
    pub fn peer_user(&self) -> io::Result<u32> {
        Ok(peer(&self.0)?.user)
    }

    /// Returns the ID of the process at the other end, unless it is outside of this PID namespace.
    pub fn peer_process(&self) -> io::Result<Option<u32>> {
        Ok(peer(&self.0)?.process)
    }

    /// Sends a message, with descriptors, without waiting; returns `WouldBlock` when the other end takes none now.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::INVAL.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags)?;
        Ok(())
    }

    /// Receives a message that is available; returns `None` when the other end has closed the connection.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | sys::RECEIVED_CLOSE_ON_EXEC;
        let received = rustix::net::recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut message)],
            &mut control,
            flags,
        )?;
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            // The beginning of settings could have another meaning than the whole.
            return Err(io::ErrorKind::InvalidData.into());
        }
        message.truncate(received.bytes);
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The right to serve one client. Master and slave share one claim; the first to take it has it, and the kernel
/// guarantees that only one does. So a client that was offered to a hanging slave can be given to another slave, and
/// never do both serve it.
#[derive(Debug)]
pub struct Claim(Wakeup);

impl Claim {
    /// Creates a claim that is not taken yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Wakeup::signalled()?))
    }

    /// Creates the other end's copy.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Takes the claim; returns `false` if the other end was first.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.take()
    }

    /// Returns `true` if either end has taken it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(is_ready(self.0.as_fd(), Interest::Readable), Ok(false))
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Creates a Unix socket that keeps message boundaries.
pub(super) fn socket() -> io::Result<OwnedFd> {
    Ok(unix_socket(SocketType::SEQPACKET)?)
}

/// The user ID of root.
const ROOT: u32 = 0;

/// The prefix of the name of every [`RegistrationSocket`].
const NAMES: &str = "poolftpd/";

/// The users whose servers are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    This,
    All,
}

fn plain_name(user: u32, port: u16) -> String {
    format!("{NAMES}{user}/{port}")
}

/// Returns the user ID in a name.
pub(super) fn user_of(name: &str) -> Option<u32> {
    name.strip_prefix(NAMES)?.split('/').next()?.parse().ok()
}

/// The system's list of Unix sockets.
const UNIX_SOCKETS: &str = "/proc/net/unix";

/// Returns the possible names of servers on this port: this user's plain name first, then those in the system's list.
#[allow(clippy::disallowed_methods, reason = "the system's own file")]
pub(super) fn names(port: u16, of: Of) -> Vec<String> {
    let own = geteuid().as_raw();
    let mut names = vec![plain_name(own, port)];
    let sockets = std::fs::read(UNIX_SOCKETS).unwrap_or_default();
    let sockets = String::from_utf8_lossy(&sockets);
    let ending = format!("/{port}");
    for name in sockets.lines().filter_map(|line| line.split_once(" @").map(|(_, name)| name)) {
        let is_wanted = user_of(name).is_some_and(|user| of == Of::All || user == own);
        // An accepted connection is listed under the name of its listener.
        if is_wanted && name.ends_with(&ending) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_taken_once_by_either_end() {
        let ours = Claim::new().unwrap();
        let theirs = Claim::from_descriptor(ours.as_fd().try_clone_to_owned().unwrap());
        assert!(!ours.is_taken());
        assert!(theirs.take());
        assert!(ours.is_taken());
        assert!(!ours.take());
    }

    #[test]
    fn another_server_of_a_port_is_found_beside_the_first_and_behind_it() {
        let address = |last| SocketAddr::from(([127, 0, 0, last], 2));
        let (first, second) = (
            RegistrationSocket::open(address(2)).unwrap(),
            RegistrationSocket::open(address(3)).unwrap(),
        );
        let found = names(2, Of::This);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|name| user_of(name) == Some(geteuid().as_raw())));
        // A server that stops accepts no connections, although it still has its name.
        first.close();
        let _channel = Channel::connect(2).unwrap();
        assert!(second.accept().unwrap().is_some());
        drop(second);
        assert!(Channel::connect(2).is_err());
    }

    #[test]
    fn messages_stay_whole_and_carry_descriptors() {
        // No TCP listener is opened on this port: only the name counts.
        let (port, address) = (1, SocketAddr::from(([127, 0, 0, 1], 1)));
        let socket = RegistrationSocket::open(address).unwrap();
        let slave = Channel::connect(port).unwrap();
        let master = socket.accept().unwrap().unwrap();
        let claim = Claim::new().unwrap();
        master.send(b"one", &[]).unwrap();
        master.send(b"two", &[claim.as_fd()]).unwrap();
        assert_eq!(slave.receive().unwrap().unwrap().0, b"one");
        let (message, mut descriptors) = slave.receive().unwrap().unwrap();
        assert_eq!(message, b"two");
        assert!(Claim::from_descriptor(descriptors.pop().unwrap()).take());
        assert!(!claim.take());
        drop(master);
        assert!(slave.receive().unwrap().is_none());
    }
}
