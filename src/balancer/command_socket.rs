//! The socket file of `ftpserver ctl`, for administrators who are neither root nor the user of the server.
//!
//! SECURITY: the kernel admits whoever may write the file: its owner, its group and root. Each command has the user ID
//! that the kernel reports. A connection sends one command. No slave process registers here, so the members of the group
//! get no client and no root.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::lchown;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::fs::Mode;
use rustix::net::SocketAddrUnix;

use super::control_client::WHERE;
use super::handover::{Channel, socket};
use super::request::Request;
use crate::net::listener::{PAUSE, Shutdown};
use crate::sys::{self, wait_any};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Maximum number of connections that have sent no command yet.
const CONNECTIONS_MAX: usize = 16;

/// Maximum time for a command to arrive.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// The bits of the mode that are taken away: others have no access, and the group only with its own file.
const MASK_OF_OWNER: u32 = 0o177;
const MASK_WITH_GROUP: u32 = 0o117;

/// The owner of the file: user and group, where they differ from those of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user ID.
    pub user: Option<u32>,
    /// The group ID of the administrators.
    pub group: Option<u32>,
}

/// The listening socket.
#[derive(Debug)]
pub struct CommandSocket(OwnedFd);

impl AsFd for CommandSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl CommandSocket {
    /// Creates the file, which takes the place of that of an earlier server. Called before any thread is started, because
    /// it changes the process's umask for a moment.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open(path: &Path, owner: SocketOwner) -> io::Result<Self> {
        let listening = socket()?;
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = Path::new(&new);
        let mask = if owner.group.is_some() { MASK_WITH_GROUP } else { MASK_OF_OWNER };
        let before = rustix::process::umask(Mode::from_raw_mode(mask));
        let bound = SocketAddrUnix::new(new).and_then(|at| rustix::net::bind(&listening, &at));
        rustix::process::umask(before);
        bound?;
        let place = || -> io::Result<()> {
            if owner != SocketOwner::default() {
                lchown(new, owner.user, owner.group)?;
            }
            rustix::net::listen(&listening, BACKLOG)?;
            std::fs::rename(new, path)
        };
        place().inspect_err(|_| drop(std::fs::remove_file(new)))?;
        Ok(Self(listening))
    }

    /// Creates the socket of an earlier server, which listens already.
    #[must_use]
    pub fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Returns whether a socket that is bound to one path may have its file at another one, after the rename of
    /// [`CommandSocket::open`].
    #[must_use]
    pub fn is_bound_for(bound: &Path, path: &Path) -> bool {
        let bound = bound.as_os_str().as_encoded_bytes();
        let process = bound.strip_prefix(path.as_os_str().as_encoded_bytes());
        let process = process.and_then(|rest| rest.strip_prefix(b"."));
        process.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    }

    /// Starts the thread that passes the commands that arrive to `requests`, until `stop` is rung. `address` is that of
    /// the server.
    ///
    /// # Errors
    /// The kernel's error, if there is no thread.
    pub fn start(
        self,
        stop: Shutdown,
        address: SocketAddr,
        requests: Sender<Request>,
        clock: fn() -> Instant,
    ) -> io::Result<JoinHandle<()>> {
        let run = move || self.run(&stop, address, &requests, clock);
        std::thread::Builder::new().name("commands".to_owned()).spawn(run)
    }

    fn run(
        &self,
        stop: &Shutdown,
        address: SocketAddr,
        requests: &Sender<Request>,
        clock: impl Fn() -> Instant,
    ) {
        let mut waiting: VecDeque<(Channel, Instant)> = VecDeque::new();
        loop {
            let Some(ready) = self.wait(stop, &waiting) else { return };
            let now = clock();
            let mut ready = ready.into_iter();
            let accepts = ready.next().unwrap_or_default();
            for is_ready in ready {
                let Some((channel, until)) = waiting.pop_front() else { break };
                if is_ready {
                    receive(channel, address, requests);
                } else if now < until {
                    waiting.push_back((channel, until));
                }
            }
            if !accepts {
                continue;
            }
            match sys::accept(&self.0) {
                Ok(descriptor) => {
                    waiting
                        .push_back((Channel::from_descriptor(descriptor), now + COMMAND_TIMEOUT));
                    if waiting.len() > CONNECTIONS_MAX {
                        waiting.pop_front();
                    }
                }
                // Without descriptors, the connection would end every wait at once.
                Err(_) if stop.wait(PAUSE) => return,
                Err(_) => {}
            }
        }
    }

    /// Waits for an event; returns whether the socket and each connection are ready, or `None` to stop.
    fn wait(&self, stop: &Shutdown, waiting: &VecDeque<(Channel, Instant)>) -> Option<Vec<bool>> {
        let channels = waiting.iter().map(|(channel, _)| channel.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> =
            [stop.as_fd(), self.0.as_fd()].into_iter().chain(channels).collect();
        let second = Duration::from_secs(1);
        // If the wait fails, the next round checks everything again.
        let ready = wait_any(&descriptors, (!waiting.is_empty()).then_some(second));
        let mut ready = ready.unwrap_or_default().into_iter();
        let stopped = ready.next().unwrap_or_default();
        (!stopped).then(|| ready.collect())
    }
}

fn receive(channel: Channel, address: SocketAddr, requests: &Sender<Request>) {
    let Ok(Some((message, _))) = channel.receive() else { return };
    let command = String::from_utf8_lossy(&message).into_owned();
    let is_where = command == WHERE;
    let request = Request::new(channel, command);
    if is_where {
        request.reply(&Ok(address.to_string()));
    } else if let Err(refused) = requests.try_send(request) {
        refused.into_inner().reply(&Err("too many commands wait; try again.".to_owned()));
    }
}
