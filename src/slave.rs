//! A slave process: it registers with the master, is told its number, root and settings, and serves the clients it is
//! handed, in a pool of its own.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::balancer::Load;
use crate::balancer::control::connect;
use crate::balancer::handover::{Channel, Claim};
use crate::config::Config;
use crate::log::{Log, Writer};
use crate::net::listener::Stop;
use crate::server::Server;
use crate::storage::Root;
use crate::units::reason;

/// How often the master is told what this slave does, if that has changed.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait between two tries to reach a master.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How a slave process is to run; the master tells the rest.
#[derive(Debug, Clone, Copy)]
pub struct Slave {
    /// The master's port.
    pub master: u16,
    /// Its address, where one was named: of several masters on the port it is the one there.
    pub at: Option<IpAddr>,
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// A port of its own, beside what the master hands over.
    pub port: Option<u16>,
}

/// Why a slave process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The master stopped, or this slave was asked to.
    Done,
    /// A new master has other settings: start anew.
    Outdated,
}

/// Why serving at one master ended.
enum Parting {
    /// The master has gone without a word.
    Lost,
    /// The master said stop, or `stop` was rung.
    Stopped,
}

/// What one master has told.
struct Orders {
    text: String,
    root: OwnedFd,
}

/// A slave that serves: what it was told, and its server.
struct Serving {
    text: String,
    server: Server,
    _writer: Writer,
}

impl Serving {
    /// The number that the master gave.
    fn number(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }
}

impl Slave {
    /// Serves until the master stops or `stop` is rung; then transfers finish. A master that dies is waited for: the
    /// clients of this slave stay, and it registers again.
    ///
    /// # Errors
    /// One sentence: there is no master, or it is of another version, or this slave's own port is taken.
    pub fn run(self, stop: &Stop, clock: impl Fn() -> Instant) -> Result<Ending, String> {
        let mut serving: Option<Serving> = None;
        loop {
            let number = serving.as_ref().map(Serving::number);
            let Some((channel, orders)) = self.register(number, stop)? else { break };
            let current = match serving.take() {
                Some(serving) if serving.text == orders.text => serving,
                Some(serving) => {
                    serving.server.stop();
                    return Ok(Ending::Outdated);
                }
                None => self.start(orders)?,
            };
            let parting = serve(&channel, &current.server, stop, &clock);
            serving = Some(current);
            if matches!(parting, Parting::Stopped) {
                break;
            }
        }
        if let Some(serving) = serving {
            serving.server.stop();
        }
        Ok(Ending::Done)
    }

    /// Looks for a master until there is one; `None` when `stop` was rung meanwhile.
    fn register(
        &self,
        number: Option<&str>,
        stop: &Stop,
    ) -> Result<Option<(Channel, Orders)>, String> {
        loop {
            let met = connect(self.master, self.at).and_then(|channel| {
                channel.send(format!("register {}", number.unwrap_or_default()).as_bytes(), &[])?;
                Ok((listen(&channel, stop)?, channel))
            });
            match met {
                Ok((orders, channel)) => return Ok(orders.map(|orders| (channel, orders))),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(pretender());
                }
                Err(_) => {}
            }
            if wait(&[stop.as_fd()], Some(RETRY_INTERVAL)).is_ok_and(|ready| ready.contains(&true))
            {
                return Ok(None);
            }
        }
    }

    fn start(self, orders: Orders) -> Result<Serving, String> {
        let another_version =
            || "the ftpserver here is of another version than this ftpslaves.".to_owned();
        let (number, settings) = orders.text.split_once('\n').ok_or_else(another_version)?;
        let number: u32 = number.parse().map_err(|_| another_version())?;
        let mut config = Config::new(PathBuf::new());
        config.adopt(settings).map_err(|_| another_version())?;
        config.workers = self.workers;
        config.port = self.port.unwrap_or_default();
        let (log, writer) = Log::start(config.level, io::stderr())
            .map_err(|error| format!("cannot start: {error}."))?;
        let root = Root::from_descriptor(orders.root)
            .map_err(|error| format!("cannot look at the root: {}.", reason(&error)))?;
        let server =
            Server::start_slave(&config, root, number, log).map_err(|error| error.to_string())?;
        Ok(Serving { text: orders.text, server, _writer: writer })
    }
}

/// Waits for the master of this port, `until` at the latest: it may be starting, too.
///
/// # Errors
/// One sentence, when there is none.
pub fn find_master(
    port: u16,
    at: Option<IpAddr>,
    until: Instant,
    clock: impl Fn() -> Instant,
) -> Result<(), String> {
    loop {
        match connect(port, at) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(pretender());
            }
            Err(_) if clock() >= until => {
                return Err(format!(
                    "no ftpserver of this user is running on port {port} here. Start it first, or name its port as localhost:PORT."
                ));
            }
            // Fails for reasons that pass; then the next try comes sooner.
            Err(_) => drop(wait(&[], Some(RETRY_INTERVAL))),
        }
    }
}

fn pretender() -> String {
    "another user's process pretends to be the ftpserver here.".to_owned()
}

/// Waits for the answer to a registration; `None` when `stop` was rung.
fn listen(channel: &Channel, stop: &Stop) -> io::Result<Option<Orders>> {
    wait(&[channel.as_fd(), stop.as_fd()], None)?;
    if stop.is_rung() {
        return Ok(None);
    }
    let (text, mut descriptors) = channel.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let root = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(Orders { text: String::from_utf8_lossy(&text).into_owned(), root }))
}

/// Serves what one master hands over.
fn serve(channel: &Channel, server: &Server, stop: &Stop, clock: &impl Fn() -> Instant) -> Parting {
    let mut reported = None;
    let mut report_at = clock();
    loop {
        if stop.is_rung() {
            // Fails when the master has gone: then nobody needs to know.
            let _told = channel.send(b"leaving", &[]);
            return Parting::Stopped;
        }
        match channel.receive() {
            Ok(Some((message, mut descriptors))) => {
                match (message.as_slice(), descriptors.pop(), descriptors.pop()) {
                    (b"client", Some(claim), Some(connection)) => {
                        // If the master was first, the client is another slave's by now.
                        if Claim::from_descriptor(claim).take() {
                            server.receive(TcpStream::from(connection));
                        } else {
                            // It counts us as silent: let it hear from us.
                            (reported, report_at) = (None, clock());
                        }
                        continue;
                    }
                    (b"reload", ..) => {
                        server.reload_apart();
                        continue;
                    }
                    (b"stop", ..) => return Parting::Stopped,
                    _ => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => return Parting::Lost,
        }
        let load = server.balancer().loads().first().copied();
        if clock() >= report_at {
            report_at = clock() + REPORT_INTERVAL;
            if load != reported && report(channel, load, server) {
                reported = load;
            }
        }
        // Fails for reasons that pass; the next round sees what there is.
        let _ready = wait(&[channel.as_fd(), stop.as_fd()], Some(REPORT_INTERVAL));
    }
}

/// Tells the master what this slave does; `false` if it takes no report now, and is told the next time.
fn report(channel: &Channel, load: Option<Load>, server: &Server) -> bool {
    let Some(load) = load else { return true };
    let full = u8::from(server.is_full());
    let message = format!("load {} {} {} {full}", load.sessions, load.transfers, load.bytes);
    channel.send(message.as_bytes(), &[]).is_ok()
}

/// Waits until one is readable; which are.
fn wait(
    descriptors: &[std::os::fd::BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    let timeout =
        timeout.map(|timeout| Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() });
    poll(&mut polled, timeout.as_ref())?;
    Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
}
