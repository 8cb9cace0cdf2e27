//! Passive ports: a listener for one data connection, given back when dropped.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::event::PollFlags;

use super::canonical;
use super::socket::{is_ready, open};

/// A few connections may wait: strangers that are turned away must not keep the client out.
const BACKLOG: i32 = 8;

/// How many ports are tried for one data connection: a search through a large range that is full must not hold a worker.
const TRIES_MAX: u32 = 256;

/// When more ports than this are open, none is kept for the next transfer.
const KEPT_MAX: usize = 1000;

/// Where ports are chosen at random: the kernel's own range, as Linux has it by default.
const DYNAMIC_PORTS_START: u16 = 32_768;
const DYNAMIC_PORTS_COUNT: u64 = 28_232;
/// How many ports are tried before the kernel is asked.
const GUESSES: u32 = 4;

/// The ports that may be used; without a range, any that the kernel gives.
#[derive(Debug)]
pub struct PassivePorts {
    range: Option<RangeInclusive<u16>>,
    /// How many may be open at once, and are.
    open_max: usize,
    open: Arc<AtomicUsize>,
    /// Where the next search begins, so that a port just used rests.
    next: AtomicU32,
}

impl PassivePorts {
    /// Of this range, or any; so many at once.
    #[must_use]
    pub fn new(range: Option<RangeInclusive<u16>>, open_max: usize) -> Self {
        Self { range, open_max, open: Arc::default(), next: AtomicU32::new(0) }
    }

    /// Whether a port must be given back as soon as its connection is there: in a range there may be no other, and of a
    /// crowd each keeps a descriptor with it.
    #[must_use]
    pub fn are_scarce(&self) -> bool {
        self.range.is_some() || self.open.load(Ordering::Acquire) > KEPT_MAX
    }

    /// Opens a listener on the host of `address` for a data connection from `peer`.
    ///
    /// # Errors
    /// `AddrInUse` when every port of the range is taken, `QuotaExceeded` when as many are open as allowed.
    pub fn listen(&self, address: SocketAddr, peer: IpAddr) -> io::Result<PassiveListener> {
        let token = Token::take(&self.open, self.open_max)?;
        let listener = self.search(address, peer)?;
        Ok(PassiveListener { _token: Some(token), ..listener })
    }

    fn search(&self, address: SocketAddr, peer: IpAddr) -> io::Result<PassiveListener> {
        let Some(range) = &self.range else { return self.listen_anywhere(address, peer) };
        let count = u32::from(range.end() - range.start()) + 1;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last_error = io::ErrorKind::AddrInUse.into();
        for step in 0..count.min(TRIES_MAX) {
            let offset = u16::try_from(first.wrapping_add(step) % count).unwrap_or_default();
            match PassiveListener::open(address, range.start().saturating_add(offset), peer) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last_error = error,
                opened => return opened,
            }
        }
        Err(last_error)
    }
}

impl PassivePorts {
    /// On a port of our own choice, at random, and on one of the kernel's when some of these are taken. The kernel looks
    /// for one on which no connection lingers (`TIME_WAIT`); after ten thousand small files it took a millisecond to find
    /// that, although any would have done.
    fn listen_anywhere(&self, address: SocketAddr, peer: IpAddr) -> io::Result<PassiveListener> {
        for _ in 0..GUESSES {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Not to be foreseen by whoever would like to be there first.
            let random = RandomState::new().hash_one(number);
            let offset = u16::try_from(random % DYNAMIC_PORTS_COUNT).unwrap_or_default();
            match PassiveListener::open(address, DYNAMIC_PORTS_START + offset, peer) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                opened => return opened,
            }
        }
        PassiveListener::open(address, 0, peer)
    }
}

/// One of the listeners that may be open; given back when dropped.
#[derive(Debug)]
struct Token(Arc<AtomicUsize>);

impl Token {
    fn take(open: &Arc<AtomicUsize>, most: usize) -> io::Result<Self> {
        let take = |open: usize| (open < most).then_some(open + 1);
        let taken = open.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.map(|_| Self(Arc::clone(open))).map_err(|_| io::ErrorKind::QuotaExceeded.into())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A port reserved for one client's data connection.
#[derive(Debug)]
pub struct PassiveListener {
    listener: TcpListener,
    peer: IpAddr,
    port: u16,
    _token: Option<Token>,
}

impl PassiveListener {
    fn open(mut address: SocketAddr, port: u16, peer: IpAddr) -> io::Result<Self> {
        address.set_port(port);
        let listener = open(address, BACKLOG, |_| Ok(()))?;
        let port = if port == 0 { listener.local_addr()?.port() } else { port };
        Ok(Self { listener, peer, port, _token: None })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes the client's connection if it is here; connections of others are closed.
    ///
    /// SECURITY: only the control connection's peer is taken, so nobody else can steal the data (port stealing).
    pub fn accept(&self) -> io::Result<Option<TcpStream>> {
        match self.listener.accept() {
            Ok((stream, from)) if canonical(from).ip() == self.peer => Ok(Some(stream)),
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Turns away whoever has connected already, before the port is told once more.
    pub fn turn_away(&self) {
        while is_ready(self.descriptor(), PollFlags::IN).unwrap_or(false)
            && self.listener.accept().is_ok()
        {}
    }

    /// The descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
