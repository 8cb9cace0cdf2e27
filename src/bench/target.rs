//! The server of a load, and the resources that its clients share.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::client::Interrupt;
use crate::sys::{EpollSet, Interest, tcp_socket};

/// Maximum number of bytes to receive at once. In stream mode nothing is copied (`MSG_TRUNC`), so the pages of the
/// buffer are never allocated.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;

/// Maximum number of clients that connect from one address: fewer than the kernel has ports for.
const CLIENTS_PER_ADDRESS: usize = 20_000;

/// User, password and transfer settings of the clients.
#[derive(Debug, Clone)]
pub(super) struct ClientSettings {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) block: bool,
    /// Number of files that are requested ahead of the current one, in block mode.
    pub(super) ahead: usize,
}

/// Resources that the clients share.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) epoll: EpollSet,
    pub(super) server: SocketAddr,
    pub(super) settings: ClientSettings,
    /// Size of the file that is fetched, in bytes.
    pub(super) file_size: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) interrupt: Interrupt,
}

impl Target {
    pub(super) fn new(
        server: SocketAddr,
        settings: ClientSettings,
        interrupt: Interrupt,
    ) -> Result<Self, Errno> {
        let epoll = EpollSet::new()?;
        Ok(Self {
            epoll,
            server,
            settings,
            file_size: 0,
            buffer: vec![0; RECEIVE_BYTES],
            interrupt,
        })
    }

    /// Makes equal resources for other clients, which are driven by another loop.
    pub(super) fn again(&self) -> Result<Self, Errno> {
        let other = Self::new(self.server, self.settings.clone(), self.interrupt.clone())?;
        Ok(Self { file_size: self.file_size, ..other })
    }

    /// Starts to connect. On loopback, many clients need several source addresses to have enough free ports.
    pub(super) fn connect(&self, port: u16, number: usize) -> Result<OwnedFd, Errno> {
        let mut to = self.server;
        to.set_port(port);
        let socket = tcp_socket(to)?;
        let step = u8::try_from(number / CLIENTS_PER_ADDRESS).unwrap_or(u8::MAX);
        if step > 0 && to.ip().is_loopback() && to.is_ipv4() {
            let from = SocketAddr::from((Ipv4Addr::new(127, 0, 1, step), 0));
            rustix::net::bind(&socket, &from)?;
        }
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Adds a socket to the epoll set.
    pub(super) fn watch(
        &self,
        socket: &OwnedFd,
        watched: u64,
        interest: Interest,
    ) -> Result<(), Errno> {
        self.epoll.add(socket, watched, interest)
    }
}

/// Encodes the number of a client and the kind of its socket as the data of an event.
pub(super) fn watched(number: usize, data: bool) -> u64 {
    (number as u64) << 1 | u64::from(data)
}
