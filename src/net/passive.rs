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
use crate::units::Networks;

/// A few connections may wait: strangers that are turned away must not keep the client out.
const BACKLOG: i32 = 8;

/// The number of connections that are looked at in one step: a flood of strangers must not hold a worker.
const ACCEPTED_MAX: usize = 2 * BACKLOG as usize;

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
    /// Networks that data connections may come from, besides the client's own address.
    others: Arc<Networks>,
}

impl PassivePorts {
    /// Of this range, or any; so many at once.
    #[must_use]
    pub fn new(range: Option<RangeInclusive<u16>>, open_max: usize) -> Self {
        let others = Arc::default();
        Self { range, open_max, open: Arc::default(), next: AtomicU32::new(0), others }
    }

    /// The same, where data connections may come from these networks as well as from the client's own address.
    #[must_use]
    pub fn with_others(self, others: Networks) -> Self {
        Self { others: Arc::new(others), ..self }
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
        Ok(PassiveListener { _token: Some(token), others: Arc::clone(&self.others), ..listener })
    }

    fn search(&self, address: SocketAddr, peer: IpAddr) -> io::Result<PassiveListener> {
        let Some(range) = &self.range else { return self.listen_anywhere(address, peer) };
        let count = u32::from(range.end() - range.start()) + 1;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for step in 0..count.min(TRIES_MAX) {
            let offset = u16::try_from(first.wrapping_add(step) % count).unwrap_or_default();
            match PassiveListener::open(address, range.start().saturating_add(offset), peer) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                opened => return opened,
            }
        }
        // One of them is counted for this client, in vain.
        let ours = self.open.load(Ordering::Acquire).saturating_sub(1);
        let (low, high, tried) = (range.start(), range.end(), count.min(TRIES_MAX));
        let what = format!(
            "no passive port of {low}-{high} is free: {tried} of {count} were tried and are taken; {ours} wait for clients of this server"
        );
        Err(io::Error::new(io::ErrorKind::AddrInUse, what))
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
    others: Arc<Networks>,
    port: u16,
    /// The first stranger since it was asked for.
    stranger: Option<SocketAddr>,
    _token: Option<Token>,
}

impl PassiveListener {
    fn open(mut address: SocketAddr, port: u16, peer: IpAddr) -> io::Result<Self> {
        address.set_port(port);
        let listener = open(address, BACKLOG, |_| Ok(()))?;
        let port = if port == 0 { listener.local_addr()?.port() } else { port };
        let others = Arc::default();
        Ok(Self { listener, peer, others, port, stranger: None, _token: None })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes the client's connection if it is here; those of others are closed, and the first of them is remembered.
    ///
    /// SECURITY: only the control connection's peer is taken, and the networks that the administrator has named, so nobody
    /// else can steal the data (port stealing). A stranger who was first takes nothing from the client either: everybody who
    /// waits is looked at before anything is decided.
    pub fn accept(&mut self) -> io::Result<Option<TcpStream>> {
        for _ in 0..ACCEPTED_MAX {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    let from = canonical(from);
                    if self.lets_in(from.ip()) {
                        return Ok(Some(stream));
                    }
                    self.stranger.get_or_insert(from);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(None)
    }

    fn lets_in(&self, from: IpAddr) -> bool {
        from == self.peer || self.others.iter().any(|network| network.contains(&from))
    }

    /// The first stranger who has connected since this was last asked.
    pub fn take_stranger(&mut self) -> Option<SocketAddr> {
        self.stranger.take()
    }

    /// Turns away whoever has connected already, before the port is told once more; `false` if there are too many, and the
    /// port should be given back.
    #[must_use]
    pub fn turn_away(&self) -> bool {
        for _ in 0..ACCEPTED_MAX {
            if !is_ready(self.descriptor(), PollFlags::IN).unwrap_or(false)
                || self.listener.accept().is_err()
            {
                return true;
            }
        }
        false
    }

    /// The descriptor to watch.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustix::net::{AddressFamily, SocketType};

    use super::*;
    use crate::units::networks;

    fn connect(from: [u8; 4], to: u16) -> TcpStream {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
        rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], to))).unwrap();
        TcpStream::from(socket)
    }

    fn listener(others: &str) -> PassiveListener {
        let ports = PassivePorts::new(None, 1).with_others(networks(others).unwrap());
        let local = Ipv4Addr::LOCALHOST;
        ports.listen(SocketAddr::from((local, 0)), local.into()).unwrap()
    }

    #[test]
    fn of_those_who_wait_the_client_is_taken_whoever_was_first() {
        let mut listener = listener("192.0.2.0/24");
        let _strangers = [2, 3].map(|last| connect([127, 0, 0, last], listener.port()));
        assert!(listener.accept().unwrap().is_none());
        assert_eq!(listener.take_stranger().unwrap().ip(), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(listener.take_stranger(), None);
        let _other = connect([127, 0, 0, 2], listener.port());
        let own = connect([127, 0, 0, 1], listener.port());
        let taken = listener.accept().unwrap().unwrap();
        assert_eq!(taken.peer_addr().unwrap(), own.local_addr().unwrap());
    }

    #[test]
    fn networks_that_are_named_are_let_in_and_no_others() {
        let mut listener = listener("127.0.0.2,127.0.1.0/24");
        for (from, is_let_in) in
            [([127, 0, 0, 2], true), ([127, 0, 1, 9], true), ([127, 0, 0, 3], false)]
        {
            let _data = connect(from, listener.port());
            assert_eq!(listener.accept().unwrap().is_some(), is_let_in, "{from:?}");
        }
    }

    #[test]
    fn a_flood_of_strangers_is_turned_away_in_bounded_steps() {
        let listener = listener("192.0.2.0/24");
        let _one = connect([127, 0, 0, 2], listener.port());
        assert!(listener.turn_away() && listener.turn_away());
        // More than wait by themselves: as if they came while others are turned away.
        rustix::net::listen(&listener.listener, 4 * BACKLOG).unwrap();
        let crowd: Vec<TcpStream> =
            (0..=ACCEPTED_MAX).map(|_| connect([127, 0, 0, 2], listener.port())).collect();
        assert!(!listener.turn_away());
        assert!(listener.turn_away(), "one was left");
        drop(crowd);
    }
}
