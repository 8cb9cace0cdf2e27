//! A slave process: it registers with the master, receives its number, root and settings, and serves the clients that
//! are handed to it, in a pool of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::balancer::control_client::connect;
use crate::balancer::handover::{Channel, Claim};
use crate::balancer::registry::{CLIENT, COMMAND};
use crate::balancer::request::Request;
use crate::balancer::{Dispatcher, Load};
use crate::log::{Log, Writer};
use crate::net::listener::Shutdown;
use crate::server::Server;
use crate::settings::Config;
use crate::storage::Root;
use crate::sys::{self, wait_any};
use crate::units::reason;

/// Interval at which this slave reports its load to the master, if it has changed.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between two attempts to reach a master.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The options of a slave process; the master sends the rest.
#[derive(Debug, Clone, Copy)]
pub struct Slave {
    /// The master's port.
    pub master: u16,
    /// The master's address, if one was named: it selects one of several masters on the port.
    pub at: Option<IpAddr>,
    /// Number of worker threads.
    pub workers: NonZeroUsize,
    /// A port of its own, besides the clients that the master hands over.
    pub port: Option<u16>,
}

/// The reason why a slave process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The master stopped, or this slave was asked to stop.
    Done,
    /// A new master has other settings: the slave must be started again.
    Outdated,
}

/// The reason why the connection to one master ended.
enum RegistrationEnd {
    /// The master is gone without sending stop.
    Lost,
    /// The master sent stop, or `stop` was rung.
    Stopped,
}

/// The assignment that a master has sent: number and settings as text, and the root.
struct Assignment {
    text: String,
    root: OwnedFd,
}

/// A running slave: the text of its assignment, and its server.
struct RunningSlave {
    text: String,
    server: Server,
    /// The newest settings of the master, which a reload reads.
    settings: Arc<Mutex<String>>,
    _writer: Writer,
}

impl RunningSlave {
    /// Returns the number that the master assigned.
    fn number(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }

    /// Adopts the master's settings, and reads users and certificates again.
    fn reload(&mut self, settings: &[u8]) {
        let settings = String::from_utf8_lossy(settings).into_owned();
        self.text = format!("{}\n{settings}", self.number());
        *self.settings.lock() = settings;
        self.server.reload_apart();
    }
}

impl Slave {
    /// Serves until the master stops or `stop` is rung; then transfers finish. If the master dies, the clients of this
    /// slave stay, and it registers with the next master.
    ///
    /// # Errors
    /// One sentence: the master is another user's process or of another version, or this slave's own port is taken.
    pub fn run(self, stop: &Shutdown, clock: impl Fn() -> Instant) -> Result<Ending, String> {
        let mut serving: Option<RunningSlave> = None;
        loop {
            let number = serving.as_ref().map(RunningSlave::number);
            let Some((channel, assignment)) = self.register(number, stop)? else { break };
            let mut current = match serving.take() {
                Some(serving) if serving.text == assignment.text => serving,
                Some(serving) => {
                    // The master serves new clients itself meanwhile.
                    serving.server.leave(stop);
                    return Ok(Ending::Outdated);
                }
                None => self.start(assignment)?,
            };
            let end = serve(&channel, &mut current, stop, &clock);
            serving = Some(current);
            if matches!(end, RegistrationEnd::Stopped) {
                break;
            }
        }
        if let Some(serving) = serving {
            serving.server.stop();
        }
        Ok(Ending::Done)
    }

    /// Tries to register until there is a master; returns `None` if `stop` was rung meanwhile.
    fn register(
        &self,
        number: Option<&str>,
        stop: &Shutdown,
    ) -> Result<Option<(Channel, Assignment)>, String> {
        loop {
            let met = connect(self.master, self.at).and_then(|channel| {
                channel.send(format!("register {}", number.unwrap_or_default()).as_bytes(), &[])?;
                Ok((receive_assignment(&channel, stop)?, channel))
            });
            match met {
                Ok((assignment, channel)) => {
                    return Ok(assignment.map(|assignment| (channel, assignment)));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(pretender());
                }
                Err(_) => {}
            }
            if wait_any(&[stop.as_fd()], Some(RETRY_INTERVAL))
                .is_ok_and(|ready| ready.contains(&true))
            {
                return Ok(None);
            }
        }
    }

    fn start(self, assignment: Assignment) -> Result<RunningSlave, String> {
        let another_version = || {
            "ftpserver and ftpslaves have different versions; install the same version of both."
                .to_owned()
        };
        let (number, settings) = assignment.text.split_once('\n').ok_or_else(another_version)?;
        let number: u32 = number.parse().map_err(|_| another_version())?;
        let mut config = Config::new(PathBuf::new());
        config.adopt(settings).map_err(|_| another_version())?;
        config.workers = self.workers;
        config.port = self.port.unwrap_or_default();
        let (log, writer) =
            Log::open(config.level, &config.log_outputs()).map_err(|why| format!("{why}."))?;
        let root = Root::from_descriptor(assignment.root)
            .map_err(|error| format!("cannot open the root: {}.", reason(&error)))?;
        let server =
            Server::start_slave(&config, root, number, log).map_err(|error| error.to_string())?;
        let settings = Arc::new(Mutex::new(settings.to_owned()));
        let newest = Arc::clone(&settings);
        server.read_settings_from(Box::new(move |config| {
            let mut new = config.clone();
            let wrong =
                |line| vec![format!("the setting {line} of the master is of another version")];
            new.adopt(&newest.lock()).map_err(wrong)?;
            Ok(new)
        }));
        Ok(RunningSlave { text: assignment.text, server, settings, _writer: writer })
    }
}

/// Waits for the master of this port, at the latest until `until`: the master may be starting, too.
///
/// # Errors
/// One sentence, if there is none.
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
                    "no ftpserver of this user is running on port {port}. Start it first, or give its port as localhost:PORT."
                ));
            }
            // If the wait fails, the next attempt comes sooner.
            Err(_) => drop(wait_any(&[], Some(RETRY_INTERVAL))),
        }
    }
}

fn pretender() -> String {
    "the ftpserver on this port belongs to another user; run ftpslaves as that user.".to_owned()
}

/// Waits for the answer to a registration; returns `None` if `stop` was rung.
fn receive_assignment(channel: &Channel, stop: &Shutdown) -> io::Result<Option<Assignment>> {
    wait_any(&[channel.as_fd(), stop.as_fd()], None)?;
    if stop.is_triggered() {
        return Ok(None);
    }
    let (text, mut descriptors) = channel.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let root = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(Assignment { text: String::from_utf8_lossy(&text).into_owned(), root }))
}

/// Serves the clients that one master hands over.
fn serve(
    channel: &Channel,
    serving: &mut RunningSlave,
    stop: &Shutdown,
    clock: &impl Fn() -> Instant,
) -> RegistrationEnd {
    let mut reported = None;
    let mut report_at = clock();
    loop {
        if stop.is_triggered() {
            // Fails if the master is gone, which is harmless.
            let _sent = channel.send(b"leaving", &[]);
            return RegistrationEnd::Stopped;
        }
        match channel.receive() {
            Ok(Some((message, mut descriptors))) => {
                match (message.as_slice(), descriptors.pop(), descriptors.pop()) {
                    (message, Some(claim), Some(connection)) if message.starts_with(CLIENT) => {
                        let peer = address(message.get(CLIENT.len()..).unwrap_or_default());
                        // If the master has taken the claim first, the client belongs to another slave by now.
                        if let Some(peer) = peer
                            && Claim::from_descriptor(claim).take()
                        {
                            serving.server.receive(TcpStream::from(connection), peer);
                        } else {
                            // The master counts this slave as silent, so a report is sent at once.
                            (reported, report_at) = (None, clock());
                        }
                        continue;
                    }
                    ([b'r', b'e', b'l', b'o', b'a', b'd', b'\n', settings @ ..], ..) => {
                        serving.reload(settings);
                        continue;
                    }
                    (message, Some(answer), _) if message.starts_with(COMMAND) => {
                        let command = message.get(COMMAND.len()..).unwrap_or_default();
                        let command = String::from_utf8_lossy(command).into_owned();
                        let channel = Channel::from_descriptor(answer);
                        serving.server.carry_out(Request::new(channel, command));
                        continue;
                    }
                    (b"reopen", ..) => {
                        serving.server.reopen_log();
                        continue;
                    }
                    (b"stop", ..) => return RegistrationEnd::Stopped,
                    _ => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => return RegistrationEnd::Lost,
        }
        let server = &serving.server;
        let load = server.balancer().loads().first().copied();
        if clock() >= report_at {
            report_at = clock() + REPORT_INTERVAL;
            if load != reported && report(channel, load, server) {
                reported = load;
            }
        }
        // If the wait fails, the next round checks everything again.
        let _ready = wait_any(&[channel.as_fd(), stop.as_fd()], Some(REPORT_INTERVAL));
    }
}

/// Makes the kernel end this process when the program that has started it ends, even if that is killed.
pub fn end_with_parent() -> io::Result<()> {
    sys::end_with_parent()
}

/// Parses the address of a client.
fn address(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Sends this slave's load to the master; returns `false` if the report must be sent again later.
fn report(channel: &Channel, load: Option<Load>, server: &Server) -> bool {
    let Some(load) = load else { return true };
    let full = u8::from(server.is_full());
    let message = format!("load {} {} {} {full}", load.sessions, load.transfers, load.bytes);
    channel.send(message.as_bytes(), &[]).is_ok()
}
