//! The main listeners of a running server, each with a thread that accepts. A reload opens new ones and closes others. A
//! successor gets copies of the sockets.
//!
//! The first listener stays as long as the server: `ftpserver ctl` and slave processes know the server by its address.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::net::listener::Shutdown;
use crate::settings::{ConfigError, Listen};
use crate::startup::{Front, bind};

/// The function that accepts clients until the server stops.
type Accept = Box<dyn Fn(TcpListener, Shutdown) -> io::Result<JoinHandle<()>> + Send + Sync>;

/// A listener, and its thread.
#[derive(Debug)]
struct Running {
    listen: Listen,
    /// The address, with the port that the system has chosen where the settings leave it open.
    address: SocketAddr,
    /// A copy of the socket, for a successor.
    socket: OwnedFd,
    /// True if the service manager has opened the socket. A reload does not close it.
    is_activated: bool,
    stop: Shutdown,
    thread: JoinHandle<()>,
}

/// The main listeners of a running server.
pub(crate) struct Acceptors {
    accept: Accept,
    running: Mutex<Vec<Running>>,
    /// Copies of other listening sockets of the server, for a successor.
    others: Mutex<Vec<OwnedFd>>,
}

/// The listeners that a reload has opened.
#[derive(Debug)]
pub(crate) struct Opened(Vec<(Listen, TcpListener)>);

impl Opened {
    /// Returns the listeners with their ports.
    pub(crate) fn listens(&self) -> impl Iterator<Item = Listen> {
        self.0.iter().filter_map(|(listen, listener)| {
            Some(Listen { port: listener.local_addr().ok()?.port(), ..*listen })
        })
    }
}

impl std::fmt::Debug for Acceptors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acceptors").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Acceptors {
    /// Creates the acceptors of no listener. `accept` starts the thread of one.
    pub(crate) fn new(accept: Accept) -> Self {
        Self { accept, running: Mutex::default(), others: Mutex::default() }
    }

    /// Begins to accept on a listener.
    pub(crate) fn add(&self, front: Front) -> io::Result<()> {
        let Front { listen, listener, is_activated } = front;
        let (stop, address) = (Shutdown::new()?, listener.local_addr()?);
        let socket = listener.as_fd().try_clone_to_owned()?;
        let thread = (self.accept)(listener, stop.clone())?;
        let running = Running { listen, address, socket, is_activated, stop, thread };
        self.running.lock().push(running);
        Ok(())
    }

    /// Keeps a copy of another listening socket of the server, for a successor.
    pub(crate) fn keep(&self, socket: impl AsFd) -> io::Result<()> {
        self.others.lock().push(socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// Passes all listening sockets to `take`: each, and whether the service manager has opened it.
    pub(crate) fn with_sockets<T>(&self, take: impl FnOnce(&[(BorrowedFd<'_>, bool)]) -> T) -> T {
        let (running, others) = (self.running.lock(), self.others.lock());
        let main = running.iter().map(|known| (known.socket.as_fd(), known.is_activated));
        let others = others.iter().map(|socket| (socket.as_fd(), false));
        let sockets: Vec<_> = main.chain(others).collect();
        take(&sockets)
    }

    /// Returns the listeners with their ports.
    pub(crate) fn listening(&self) -> Vec<Listen> {
        let running = self.running.lock();
        running.iter().map(|known| Listen { port: known.address.port(), ..known.listen }).collect()
    }

    /// Returns the addresses of the listeners.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.running.lock().iter().map(|known| known.address).collect()
    }

    /// Opens the listeners of the list that are not open. Those that are open stay as they are.
    ///
    /// # Errors
    /// One sentence about the first that cannot be opened; then none is.
    pub(crate) fn open(&self, wanted: &[Listen]) -> Result<Opened, String> {
        let running: Vec<Listen> = self.running.lock().iter().map(|known| known.listen).collect();
        let new = wanted.iter().filter(|listen| !running.contains(listen));
        let opened = new.map(|listen| Ok((*listen, bind(listen.address, listen.port)?)));
        let opened: Result<Vec<_>, ConfigError> = opened.collect();
        opened.map(Opened).map_err(|error| error.to_string())
    }

    /// Begins to accept on the listeners that [`Acceptors::open`] has opened, and closes those that are not wanted. Their
    /// sessions stay.
    pub(crate) fn change(&self, wanted: &[Listen], Opened(opened): Opened) -> io::Result<()> {
        let mut running = self.running.lock();
        let (kept, closed): (Vec<_>, Vec<_>) = running
            .drain(..)
            .partition(|known| known.is_activated || wanted.contains(&known.listen));
        *running = kept;
        drop(running);
        closed.into_iter().for_each(Running::stop);
        opened.into_iter().try_for_each(|(listen, listener)| {
            self.add(Front { listen, listener, is_activated: false })
        })
    }

    /// Closes all listeners.
    pub(crate) fn close(&self) {
        self.others.lock().clear();
        let running = std::mem::take(&mut *self.running.lock());
        for known in &running {
            known.stop.trigger();
        }
        running.into_iter().for_each(Running::stop);
    }
}

impl Running {
    fn stop(self) {
        self.stop.trigger();
        let _ended = self.thread.join();
    }
}
