//! Passive ports: a listener for one data connection, given back when dropped.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::Poll;

use super::address::canonical;
use super::socket::open;
use crate::sys::{Interest, is_ready};
use crate::units::Networks;

/// The listen backlog. It has room for a few connections, so that other hosts cannot keep the client out.
const BACKLOG: i32 = 8;

/// The maximum number of connections accepted in one step: a flood from other hosts must not hold a worker.
const ACCEPTED_MAX: usize = 2 * BACKLOG as usize;

/// The maximum number of ports tried for one data connection: a search of a large, full range must not hold a worker.
const TRIES_MAX: u32 = 256;

/// The number of open ports beyond which none is kept for the next transfer.
const KEPT_MAX: usize = 1000;

/// The range from which ports are chosen at random: the kernel's own default range on Linux.
const DYNAMIC_PORTS_START: u16 = 32_768;
const DYNAMIC_PORTS_COUNT: u64 = 28_232;
/// The maximum number of ports tried before the kernel chooses one.
const GUESSES: u32 = 4;

/// The ports that may be used; without a range, any port.
#[derive(Debug)]
pub struct PassivePorts {
    range: Option<RangeInclusive<u16>>,
    /// The maximum number of open ports; `open` is their current number.
    open_max: usize,
    open: Arc<AtomicUsize>,
    /// The start of the next search; it moves on, so that a port just used rests.
    next: AtomicU32,
    /// Networks that data connections may come from, besides the client's own address.
    others: Arc<Networks>,
}

impl PassivePorts {
    /// Creates a set of this range, or of any ports, of which at most `open_max` are open at once.
    #[must_use]
    pub fn new(range: Option<RangeInclusive<u16>>, open_max: usize) -> Self {
        let others = Arc::default();
        Self { range, open_max, open: Arc::default(), next: AtomicU32::new(0), others }
    }

    /// Accepts data connections from these networks, too, besides the client's own address.
    #[must_use]
    pub fn with_others(self, others: Networks) -> Self {
        Self { others: Arc::new(others), ..self }
    }

    /// Returns a set of other ports, which counts the open ports together with this one.
    #[must_use]
    pub fn replaced_by(&self, other: Self) -> Self {
        Self { open: Arc::clone(&self.open), ..other }
    }

    /// Returns `true` if a port must be given back as soon as its data connection is established. In a range there may
    /// be no other port, and with many clients each kept port costs a descriptor.
    #[must_use]
    pub fn are_scarce(&self) -> bool {
        self.range.is_some() || self.open.load(Ordering::Acquire) > KEPT_MAX
    }

    /// Opens a listener on the host of `address` for a data connection from `peer`.
    ///
    /// # Errors
    /// `AddrInUse` when every port that was tried is taken, `QuotaExceeded` when the maximum number of ports is open.
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
        // The count includes this failed attempt.
        let ours = self.open.load(Ordering::Acquire).saturating_sub(1);
        let (low, high, tried) = (range.start(), range.end(), count.min(TRIES_MAX));
        let what = format!(
            "no passive port of {low}-{high} is free: tried {tried} of {count}, all in use; {ours} are reserved by this server"
        );
        Err(io::Error::new(io::ErrorKind::AddrInUse, what))
    }
}

impl PassivePorts {
    /// Listens on a random port of our own choice, or on one of the kernel's when some of these are taken. The kernel
    /// searches for a port without lingering connections (`TIME_WAIT`). After ten thousand small files that search took
    /// a millisecond, although any port would have done.
    fn listen_anywhere(&self, address: SocketAddr, peer: IpAddr) -> io::Result<PassiveListener> {
        for _ in 0..GUESSES {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Unpredictable, so that no attacker can connect first.
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

/// A permit for one open listener; given back when dropped.
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
    /// The first other host that connected since the last call of `take_stranger`.
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

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Accepts the client's connection. Connections of other hosts are closed, and the first of them is
    /// remembered.
    ///
    /// SECURITY: accepts only the control connection's peer and the networks that the administrator has named, so no
    /// other host can steal the data (port stealing). Another host that connects first does not keep the client out
    /// either: all waiting connections are examined before the result is decided.
    pub fn accept(&mut self) -> io::Result<Poll<TcpStream>> {
        for _ in 0..ACCEPTED_MAX {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    let from = canonical(from);
                    if self.lets_in(from.ip()) {
                        return Ok(Poll::Ready(stream));
                    }
                    self.stranger.get_or_insert(from);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Poll::Pending),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(Poll::Pending)
    }

    fn lets_in(&self, from: IpAddr) -> bool {
        from == self.peer || self.others.iter().any(|network| network.contains(&from))
    }

    /// Returns the first other host that connected since the last call.
    pub fn take_stranger(&mut self) -> Option<SocketAddr> {
        self.stranger.take()
    }

    /// Closes the connections that have arrived already, before the port is announced again; returns `false` if there
    /// are too many, and the port should be given back.
    #[must_use]
    pub fn turn_away(&self) -> bool {
        for _ in 0..ACCEPTED_MAX {
            if !is_ready(self.descriptor(), Interest::Readable).unwrap_or(false)
                || self.listener.accept().is_err()
            {
                return true;
            }
        }
        false
    }

    /// Returns the descriptor to watch.
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
        assert!(listener.accept().unwrap().is_pending());
        assert_eq!(listener.take_stranger().unwrap().ip(), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(listener.take_stranger(), None);
        let _other = connect([127, 0, 0, 2], listener.port());
        let own = connect([127, 0, 0, 1], listener.port());
        let Poll::Ready(taken) = listener.accept().unwrap() else { panic!("no connection") };
        assert_eq!(taken.peer_addr().unwrap(), own.local_addr().unwrap());
    }

    #[test]
    fn networks_that_are_named_are_let_in_and_no_others() {
        let mut listener = listener("127.0.0.2,127.0.1.0/24");
        for (from, is_let_in) in
            [([127, 0, 0, 2], true), ([127, 0, 1, 9], true), ([127, 0, 0, 3], false)]
        {
            let _data = connect(from, listener.port());
            assert_eq!(listener.accept().unwrap().is_ready(), is_let_in, "{from:?}");
        }
    }

    #[test]
    fn a_flood_of_strangers_is_turned_away_in_bounded_steps() {
        let listener = listener("192.0.2.0/24");
        let _one = connect([127, 0, 0, 2], listener.port());
        assert!(listener.turn_away() && listener.turn_away());
        // More than the backlog holds: as if they arrived while others are turned away.
        rustix::net::listen(&listener.listener, 4 * BACKLOG).unwrap();
        let crowd: Vec<TcpStream> =
            (0..=ACCEPTED_MAX).map(|_| connect([127, 0, 0, 2], listener.port())).collect();
        assert!(!listener.turn_away());
        assert!(listener.turn_away(), "one was left");
        drop(crowd);
    }
}
