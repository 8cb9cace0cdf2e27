//! The registry of slave processes: they register here, are offered clients, report their load, and are removed when
//! they die.
//!
//! The owner of a client is the master until the slave has taken the client's claim, and the slave from then on. An
//! offer that is not taken when its slave dies, or by its deadline, is taken back and goes to the next slave.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::backend::{Backend, Dispatcher, Load, Unavailable};
use super::control_client::{ADOPT_BANS, PART, SEPARATOR, WHERE};
use super::handover::{Channel, Claim, RegistrationSocket};
use super::identity::{Program, ServerIdentity};
use super::request::{Request, receive_answer};
use crate::net::admitted::AdmittedClient;
use crate::net::connection_limits::{ConnectionLimits, LimitReached};
use crate::net::listener::{PAUSE, Reserve, Shutdown, is_shortage};
use crate::sys::{Wakeup, wait_any};

/// The time after which a slave with an untaken offer counts as silent, and the client goes to another slave.
const OFFER_DEADLINE: Duration = Duration::from_secs(1);

/// Maximum number of bans in one message.
const BANS_PER_MESSAGE: usize = 500;

/// The initial number of offers at which the taken ones are dropped at once.
const SWEEP_AT_LEAST: usize = 32;

/// The interval of the check of offers under way.
const OFFER_CHECK: Duration = Duration::from_millis(20);

/// The beginning of the message that offers a client. The client's address follows; its connection and claim go with it.
pub const CLIENT: &[u8] = b"client ";

/// The beginning of the message that passes a command to a slave. The answer goes to the descriptor with it.
pub const COMMAND: &[u8] = b"command\n";

/// The maximum number of connections that have sent no request yet.
const CONNECTIONS_MAX: usize = 64;

/// A client on its way to a slave.
#[derive(Debug)]
struct Offer {
    client: AdmittedClient,
    claim: Claim,
    until: Instant,
}

/// A slave process.
#[derive(Debug)]
pub(super) struct SlaveProcess {
    channel: Channel,
    state: Mutex<State>,
    wake: Arc<Wakeup>,
}

#[derive(Debug)]
struct State {
    offers: VecDeque<Offer>,
    /// The number of offers at which the taken ones are dropped without waiting for the registry.
    sweep_at: usize,
    load: Load,
    full: bool,
    phase: Phase,
}

/// The phase of a slave process, as its master sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has registered, and does not listen yet.
    Starting,
    /// It has sent a report.
    Serving,
    /// An offer has passed its deadline since the last report.
    Silent,
    /// It has left.
    Gone,
}

impl State {
    /// Returns the state of a slave that has just registered.
    fn new(number: u32, process: Option<u32>) -> Self {
        Self {
            offers: VecDeque::new(),
            sweep_at: SWEEP_AT_LEAST,
            load: Load {
                slave: Some(number),
                process,
                sessions: 0,
                transfers: 0,
                bytes: 0,
                draining: false,
            },
            full: false,
            phase: Phase::Starting,
        }
    }

    /// Returns the reason why the slave takes no client, if there is one.
    fn unavailable(&self) -> Option<Unavailable> {
        if self.load.draining {
            Some(Unavailable::Draining)
        } else if self.full {
            Some(Unavailable::LimitReached(LimitReached::Clients))
        } else if self.phase != Phase::Serving {
            Some(Unavailable::Silent)
        } else {
            None
        }
    }

    /// Drops taken offers when there are many: each keeps two descriptors, and in a burst of clients the registry may
    /// not come to them in time. For a slave that takes none, the check becomes ever rarer.
    fn thin_out(&mut self) {
        if self.offers.len() >= self.sweep_at {
            self.offers.retain(|offer| !offer.claim.is_taken());
            self.sweep_at = (2 * self.offers.len()).max(SWEEP_AT_LEAST);
        }
    }

    /// Takes offers back from a slave that is gone or lets them wait for too long.
    ///
    /// The slave counts as silent only if an offer was in fact taken back. Such a slave finds the claim taken and sends
    /// a report, which ends the silence. A slave that has just taken all its claims might send none, because it reports
    /// only changes of its load, and would stay silent for ever.
    fn take_back(&mut self, now: Instant) -> Vec<Offer> {
        let is_late = self.offers.front().is_some_and(|oldest| oldest.until <= now);
        if !(is_late || matches!(self.phase, Phase::Silent | Phase::Gone)) {
            return Vec::new();
        }
        // The slave may have taken an offer since the check: the claim decides.
        let offers: Vec<Offer> = self.offers.drain(..).filter(|offer| offer.claim.take()).collect();
        if is_late && !offers.is_empty() && self.phase != Phase::Gone {
            self.phase = Phase::Silent;
        }
        offers
    }
}

impl Backend for SlaveProcess {
    fn take(
        &self,
        client: AdmittedClient,
        now: Instant,
    ) -> Result<(), (AdmittedClient, Unavailable)> {
        let mut state = self.state.lock();
        if let Some(why) = state.unavailable() {
            return Err((client, why));
        }
        let Ok(claim) = self.offer(&client) else { return Err((client, Unavailable::Silent)) };
        if state.offers.is_empty() {
            // The registry sleeps while no offer is under way.
            self.wake.signal();
        }
        state.offers.push_back(Offer { client, claim, until: now + OFFER_DEADLINE });
        state.thin_out();
        Ok(())
    }

    fn load(&self) -> Load {
        self.state.lock().load
    }

    fn set_draining(&self, draining: bool) {
        self.state.lock().load.draining = draining;
    }
}

impl SlaveProcess {
    /// Sends the slave a client and its claim; returns the claim.
    fn offer(&self, client: &AdmittedClient) -> io::Result<Claim> {
        let claim = Claim::new()?;
        let message = [CLIENT, client.peer.to_string().as_bytes()].concat();
        self.channel.send(&message, &[client.stream.as_fd(), claim.as_fd()])?;
        Ok(claim)
    }

    /// Drops the taken offers. Takes back the others: all offers of a slave that is gone, and those of a slave whose
    /// oldest offer is past its deadline.
    fn settle(&self, now: Instant) -> Vec<Offer> {
        let mut state = self.state.lock();
        state.offers.retain(|offer| !offer.claim.is_taken());
        state.take_back(now)
    }

    /// Reads a message of the slave; returns `false` when the slave leaves or has closed the connection.
    fn receive(&self) -> bool {
        match self.channel.receive() {
            Ok(Some((message, _))) => self.apply_message(&String::from_utf8_lossy(&message)),
            Ok(None) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Parses `load SESSIONS TRANSFERS BYTES FULL`, or `leaving`.
    fn apply_message(&self, message: &str) -> bool {
        let mut words = message.split(' ');
        match words.next() {
            Some("load") => {
                let mut number =
                    || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
                let mut state = self.state.lock();
                state.load.sessions = usize::try_from(number()).unwrap_or_default();
                state.load.transfers = number();
                state.load.bytes = number();
                state.full = number() > 0;
                state.phase = Phase::Serving;
                true
            }
            _ => false,
        }
    }
}

/// A source of events of the registry.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Stop,
    Wake,
    Slave(&'a Arc<SlaveProcess>),
    /// A connection that has sent no request yet, by its position. The last one comes first, so that the removal of one
    /// leaves the positions of the others.
    Connection(usize),
    /// The socket at which slaves and administrators connect.
    Registration,
}

/// The data that a slave process gets when it registers.
#[derive(Debug)]
pub struct SlaveSetup {
    /// The settings, defined in one place for all: those of the master.
    pub settings: String,
    /// The root directory itself, as a descriptor, so that it does not depend on its path.
    pub root: OwnedFd,
}

/// The slave processes of a master.
#[derive(Debug)]
pub struct Registry {
    socket: RegistrationSocket,
    /// The address at which the server listens.
    address: SocketAddr,
    setup: SlaveSetup,
    /// The settings for slaves that register from now on.
    settings: Mutex<String>,
    slaves: Mutex<Vec<Arc<SlaveProcess>>>,
    /// The queue of the commands of administrators.
    requests: Sender<Request>,
    /// The permits of all clients, with the bans.
    limits: Arc<ConnectionLimits>,
    wake: Arc<Wakeup>,
    /// Opened before the first client is accepted: a crowd at the start does not take it.
    reserve: Mutex<Reserve>,
    /// True when a successor has taken the place of this server.
    is_leaving: AtomicBool,
}

impl Registry {
    /// Opens the registration socket of the server at this address. Commands of administrators go to `requests`.
    pub fn open(
        address: SocketAddr,
        setup: SlaveSetup,
        requests: Sender<Request>,
        limits: Arc<ConnectionLimits>,
    ) -> io::Result<Arc<Self>> {
        let wake = Arc::new(Wakeup::new()?);
        let socket = RegistrationSocket::open(address)?;
        let settings = Mutex::new(setup.settings.clone());
        let slaves = Mutex::default();
        let is_leaving = AtomicBool::new(false);
        let reserve = Mutex::new(Reserve::new());
        Ok(Arc::new(Self {
            socket,
            address,
            setup,
            settings,
            slaves,
            requests,
            limits,
            wake,
            reserve,
            is_leaving,
        }))
    }

    /// Leaves all slaves to the successor of this server. From now on, only commands of administrators are served.
    pub fn release_slaves(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.wake.signal();
    }

    /// Sends every slave the settings, and requests it to read users and certificates again.
    pub fn reload_slaves(&self, settings: String) {
        let message = format!("reload\n{settings}");
        *self.settings.lock() = settings;
        self.send_to_slaves(message.as_bytes());
    }

    /// Returns the registered slaves that serve.
    pub(super) fn serving(&self) -> Vec<Arc<SlaveProcess>> {
        let mut slaves = self.slaves();
        slaves.retain(|slave| slave.state.lock().phase != Phase::Starting);
        slaves
    }

    /// Returns all registered slaves, also those that start.
    fn slaves(&self) -> Vec<Arc<SlaveProcess>> {
        self.slaves.lock().clone()
    }

    /// Sends every slave a command, such as `stop` (finish the transfers and end), unless they are left to a successor.
    pub fn send_to_slaves(&self, word: &[u8]) {
        if self.is_leaving.load(Ordering::Acquire) {
            return;
        }
        for slave in self.slaves() {
            // A slave that cannot be reached sees the connection close.
            let _sent = slave.channel.send(word, &[]);
        }
    }

    /// Serves registrations, reports and control commands until `stop` is rung.
    pub fn run(
        &self,
        dispatcher: &dyn Dispatcher,
        stop: &Shutdown,
        clock: impl Fn() -> Instant,
    ) -> io::Result<()> {
        let mut connections: VecDeque<Channel> = VecDeque::new();
        // Without descriptors, no connection is accepted until this time: a waiting one would end every poll at once.
        let mut closed_until: Option<Instant> = None;
        loop {
            let slaves = self.slaves();
            closed_until = closed_until.filter(|until| clock() < *until);
            let ready = self.wait(stop, &connections, &slaves, closed_until.is_none())?;
            for source in ready {
                match source {
                    Source::Stop => {
                        self.socket.close();
                        return Ok(());
                    }
                    Source::Wake => {
                        self.wake.take();
                    }
                    Source::Slave(slave) => self.receive_from(slave),
                    Source::Connection(position) => {
                        if let Some(connection) = connections.remove(position) {
                            self.serve_connection(connection, dispatcher, clock());
                        }
                    }
                    Source::Registration => {
                        // The requests that were just served have freed descriptors.
                        let mut reserve = self.reserve.lock();
                        reserve.restore();
                        if !self.welcome(&mut connections, &mut reserve) {
                            closed_until = Some(clock() + PAUSE);
                        }
                    }
                }
            }
            if self.is_leaving.load(Ordering::Acquire) {
                // They keep their clients, and register with the successor.
                for slave in &slaves {
                    self.remove(slave);
                }
            }
            for offer in slaves.iter().flat_map(|slave| slave.settle(clock())) {
                // No other slave can take the client: it is refused as if it had just arrived.
                dispatcher.hand_over_or_refuse(offer.client, clock());
            }
        }
    }
    /// Waits for events, and returns their sources in the order in which they are served.
    fn wait<'a>(
        &self,
        stop: &Shutdown,
        connections: &VecDeque<Channel>,
        slaves: &'a [Arc<SlaveProcess>],
        is_open: bool,
    ) -> io::Result<Vec<Source<'a>>> {
        let slaves_watched =
            slaves.iter().map(|slave| (Source::Slave(slave), slave.channel.as_fd()));
        let waiting = connections.iter().enumerate().rev();
        let waiting =
            waiting.map(|(position, waiting)| (Source::Connection(position), waiting.as_fd()));
        let registration = is_open.then(|| (Source::Registration, self.socket.as_fd()));
        let (sources, descriptors): (Vec<Source<'a>>, Vec<BorrowedFd<'_>>) =
            [(Source::Stop, stop.as_fd()), (Source::Wake, self.wake.as_fd())]
                .into_iter()
                .chain(slaves_watched)
                .chain(waiting)
                .chain(registration)
                .unzip();
        let under_way = slaves.iter().any(|slave| !slave.state.lock().offers.is_empty());
        let timeout = if under_way {
            Some(OFFER_CHECK)
        } else if is_open {
            None
        } else {
            Some(PAUSE)
        };
        let ready = wait_any(&descriptors, timeout)?;
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect())
    }

    /// Reads a message of a slave, and removes the slave if it leaves.
    fn receive_from(&self, slave: &Arc<SlaveProcess>) {
        if !slave.receive() {
            self.remove(slave);
        }
    }

    fn remove(&self, slave: &Arc<SlaveProcess>) {
        slave.state.lock().phase = Phase::Gone;
        self.slaves.lock().retain(|other| !Arc::ptr_eq(other, slave));
    }

    /// Accepts a connection; returns `false` if that is not possible now.
    ///
    /// Without descriptors, gives up the one in reserve, or else the connection that has been silent for longest: in such
    /// a shortage, an administrator asks for the cause.
    fn welcome(&self, connections: &mut VecDeque<Channel>, reserve: &mut Reserve) -> bool {
        let accepted = match self.socket.accept() {
            Err(error)
                if is_shortage(&error)
                    && (reserve.give_up() || connections.pop_front().is_some()) =>
            {
                self.socket.accept()
            }
            accepted => accepted,
        };
        match accepted {
            Ok(Some(channel)) => {
                connections.push_back(channel);
                if connections.len() > CONNECTIONS_MAX {
                    connections.pop_front();
                }
                true
            }
            Ok(None) => true,
            Err(error) => !is_shortage(&error),
        }
    }

    /// Serves `register`, with the number that the slave had under an earlier master, if any; or answers a control
    /// command.
    fn serve_connection(&self, connection: Channel, dispatcher: &dyn Dispatcher, now: Instant) {
        let Ok(Some((message, _))) = connection.receive() else { return };
        let message = String::from_utf8_lossy(&message).into_owned();
        if let Some(wanted) = message.strip_prefix("register") {
            if self.is_leaving.load(Ordering::Acquire) {
                return;
            }
            self.register(connection, wanted.trim().parse().ok(), dispatcher, now);
            return;
        }
        let is_where = message == WHERE;
        let request = Request::new(connection, message);
        if is_where {
            request.reply(&Ok(self.identity().to_string()));
        } else if let Err(refused) = self.requests.try_send(request) {
            refused.into_inner().reply(&Err("too many commands wait; try again.".to_owned()));
        }
    }

    /// Sends a command to all slaves, and returns the answers that arrive until `until`, without those of slaves that
    /// refuse or do not respond.
    pub fn ask_slaves(
        &self,
        command: &str,
        until: Instant,
        clock: impl Fn() -> Instant + Copy,
    ) -> Vec<String> {
        let message = [COMMAND, command.as_bytes()].concat();
        let asked = self.slaves().into_iter().filter_map(|slave| {
            let (ours, theirs) = Channel::pair().ok()?;
            slave.channel.send(&message, &[theirs.as_fd()]).ok()?;
            Some(ours)
        });
        // All are asked before the first answer is awaited.
        let asked: Vec<Channel> = asked.collect();
        asked.iter().filter_map(|channel| receive_answer(channel, until, clock).ok()).collect()
    }

    fn identity(&self) -> ServerIdentity {
        ServerIdentity {
            address: self.address,
            process: std::process::id(),
            is_leaving: self.is_leaving.load(Ordering::Acquire),
            program: Program::of_this_process(),
        }
    }

    fn register(
        &self,
        channel: Channel,
        wanted: Option<u32>,
        dispatcher: &dyn Dispatcher,
        now: Instant,
    ) {
        let starting = self.slaves();
        let starting = starting.iter().map(|slave| slave.load());
        let loads = dispatcher.loads().into_iter().chain(starting);
        let taken: Vec<u32> = loads.filter_map(|load| load.slave).collect();
        let is_free = |number: &u32| !taken.contains(number);
        let number =
            wanted.filter(is_free).or_else(|| (1..=u32::MAX).find(is_free)).unwrap_or(u32::MAX);
        let message = format!("{number}\n{}", self.settings.lock());
        if channel.send(message.as_bytes(), &[self.setup.root.as_fd()]).is_err() {
            return;
        }
        self.send_bans(&channel, now);
        let state = State::new(number, channel.peer_process().ok().flatten());
        let slave =
            SlaveProcess { channel, state: Mutex::new(state), wake: Arc::clone(&self.wake) };
        self.slaves.lock().push(Arc::new(slave));
    }
}

impl Registry {
    /// Sends a slave that registers the bans that were given before.
    fn send_bans(&self, channel: &Channel, now: Instant) {
        for bans in self.limits.bans().all(now).chunks(BANS_PER_MESSAGE) {
            let seconds = |left: Option<Duration>| left.map_or(0, |left| left.as_secs().max(1));
            let words =
                bans.iter().flat_map(|(net, left)| [net.to_string(), seconds(*left).to_string()]);
            let command =
                [PART, "text", ADOPT_BANS].map(ToOwned::to_owned).into_iter().chain(words);
            let command = command.collect::<Vec<_>>().join(SEPARATOR);
            // Nobody waits for the answer.
            let Ok((_ours, theirs)) = Channel::pair() else { return };
            let message = [COMMAND, command.as_bytes()].concat();
            if channel.send(&message, &[theirs.as_fd()]).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::net::connection_limits::ConnectionLimits;

    /// Returns the state of a slave that was offered clients, and the slave's copies of the claims.
    fn offered(count: usize, until: Instant) -> (State, Vec<Claim>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connection_limits = ConnectionLimits::new(count, count);
        let mut state = State::new(1, None);
        let mut theirs = Vec::new();
        for _ in 0..count {
            let claim = Claim::new().unwrap();
            theirs.push(Claim::from_descriptor(claim.as_fd().try_clone_to_owned().unwrap()));
            let stream = TcpStream::connect(address).unwrap();
            let permit = connection_limits.take(address.ip()).unwrap();
            let client = AdmittedClient { stream, peer: address, permit };
            state.offers.push_back(Offer { client, claim, until });
        }
        (state, theirs)
    }

    #[test]
    fn a_slave_that_takes_its_clients_at_the_last_moment_is_not_silent() {
        let now = Instant::now();
        let (mut state, theirs) = offered(2, now);
        // The registry has checked, and found none of them taken.
        assert!(theirs.iter().all(Claim::take));
        assert!(state.take_back(now).is_empty());
        assert!(state.phase != Phase::Silent && state.offers.is_empty());
    }

    #[test]
    fn a_slave_from_which_a_client_is_taken_back_is_silent_until_it_is_heard_of() {
        let now = Instant::now();
        let (mut state, theirs) = offered(2, now + OFFER_DEADLINE);
        assert!(state.take_back(now).is_empty() && state.offers.len() == 2);
        assert!(theirs.first().unwrap().take());
        assert_eq!(state.take_back(now + OFFER_DEADLINE).len(), 1);
        assert!(state.phase == Phase::Silent && !theirs.last().unwrap().take());
    }

    #[test]
    fn a_slave_receives_the_address_of_a_client_with_its_connection() {
        let now = Instant::now();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = SocketAddr::from(([192, 0, 2, 7], 4000));
        let permit = ConnectionLimits::new(1, 1).take(peer.ip()).unwrap();
        let (channel, theirs) = Channel::pair().unwrap();
        let wake = Arc::new(Wakeup::new().unwrap());
        let slave = SlaveProcess { channel, state: Mutex::new(State::new(1, None)), wake };
        let client = AdmittedClient { stream, peer, permit };
        let (client, why) = slave.take(client, now).unwrap_err();
        assert_eq!(why, Unavailable::Silent, "before its first report");
        assert!(slave.apply_message("load 0 0 0 0"));
        slave.take(client, now).unwrap();
        let (message, descriptors) = theirs.receive().unwrap().unwrap();
        assert_eq!(message, [CLIENT, b"192.0.2.7:4000"].concat());
        assert_eq!(descriptors.len(), 2);
    }

    #[test]
    fn of_many_offers_those_that_were_taken_are_forgotten_at_once() {
        let (mut state, theirs) = offered(SWEEP_AT_LEAST, Instant::now());
        assert!(theirs.iter().skip(1).all(Claim::take));
        state.thin_out();
        assert_eq!((state.offers.len(), state.sweep_at), (1, SWEEP_AT_LEAST));
        let (mut waiting, _theirs) = offered(SWEEP_AT_LEAST, Instant::now());
        waiting.thin_out();
        assert_eq!((waiting.offers.len(), waiting.sweep_at), (SWEEP_AT_LEAST, 2 * SWEEP_AT_LEAST));
    }
}
