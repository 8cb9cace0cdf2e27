//! The server, put together: root, accounts, pool and listener; start, serve, stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::config::{Config, ConfigError};
use crate::log::{Event, Log};
use crate::net::listener::{self, Reserve, Stop};
use crate::net::passive::PassivePorts;
use crate::net::seats::Seats;
use crate::pool::Pool;
use crate::session::{Service, Session};
use crate::storage::{Accounts, Permissions, Root};

/// A server that is running.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Stop,
    acceptor: Option<JoinHandle<()>>,
    pool: Option<Arc<Pool>>,
    service: Arc<Service>,
    seats: Arc<Seats>,
}

impl Server {
    /// Opens root and listener and begins to accept.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn start(config: &Config, log: Log) -> Result<Self, ConfigError> {
        let root = Root::open(&config.root).map_err(|error| {
            let place = config.root.display();
            ConfigError(format!(
                "cannot serve {place}: {}. Name a directory with --root.",
                reason(&error)
            ))
        })?;
        let permissions = if config.write { Permissions::FULL } else { Permissions::READ_ONLY };
        let accounts = Accounts::anonymous(Arc::new(root), permissions);
        let listener = listener::bind(config.bind, config.port)
            .map_err(|error| cannot_listen(config, &error))?;
        let passive_ports = PassivePorts::new(config.passive_ports.clone());
        let service = Service::new(
            accounts,
            config.limits.clone(),
            passive_ports,
            config.public_address,
            log,
        );
        Self::run(config, listener, Arc::new(service))
            .map_err(|error| ConfigError(format!("cannot start: {}.", reason(&error))))
    }

    fn run(config: &Config, listener: TcpListener, service: Arc<Service>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let seats = Seats::new(config.limits.clients_max, config.limits.per_address_max);
        let pool = Arc::new(Pool::start("pool", config.workers)?);
        let stop = Stop::new()?;
        let acceptor = {
            let (pool, service, seats, stop) =
                (Arc::clone(&pool), Arc::clone(&service), Arc::clone(&seats), stop.clone());
            std::thread::Builder::new()
                .name("acceptor".to_owned())
                .spawn(move || accept(&listener, &stop, &pool, &service, &seats))?
        };
        service.log.server(&Event::Listening { address });
        Ok(Self { address, stop, acceptor: Some(acceptor), pool: Some(pool), service, seats })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.seats.taken()
    }

    /// Takes no new clients, lets transfers finish for as long as the configuration says, and ends.
    pub fn stop(mut self) {
        self.service.log.server(&Event::Stopping { sessions: self.clients() });
        self.close_door();
        self.service.stop();
        let Some(pool) = self.pool.take() else { return };
        pool.rouse();
        // Invariant: the acceptor has ended, so this is the only owner.
        if let Some(mut pool) = Arc::into_inner(pool) {
            #[allow(
                clippy::disallowed_methods,
                reason = "the program's own loop: time enters here"
            )]
            let now = Instant::now();
            let in_time = pool.drain(now + self.service.limits.stop_grace);
            self.service.log.server(&Event::Stopped { in_time });
        }
    }

    fn close_door(&mut self) {
        self.stop.ring();
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close_door();
    }
}

/// The acceptor's life: let each client in, or tell it why not.
fn accept(
    listener: &TcpListener,
    stop: &Stop,
    pool: &Pool,
    service: &Arc<Service>,
    seats: &Arc<Seats>,
) {
    let reserve = Reserve::new();
    let ended = listener::accept_all(listener, stop, &reserve, |stream, peer| {
        match seats.take(peer.ip()) {
            Ok(seat) => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "the acceptor's loop: time enters here"
                )]
                let now = Instant::now();
                match Session::greet(Arc::clone(service), stream, peer, seat, now) {
                    Ok(session) => pool.admit(Box::new(session)),
                    Err(error) => service.log.server(&Event::Trouble {
                        what: "a new connection is broken",
                        error: &error,
                    }),
                }
            }
            Err(full) => {
                listener::refuse(&stream, &full.to_string());
                service.log.server(&Event::Refused { peer, why: &full.to_string() });
            }
        }
    });
    if let Err(error) = ended {
        service.log.server(&Event::Trouble { what: "accepting has ended", error: &error });
    }
}

fn cannot_listen(config: &Config, error: &io::Error) -> ConfigError {
    let port = config.port;
    let place = config.bind.map_or_else(
        || format!("port {port}"),
        |address| SocketAddr::new(address, port).to_string(),
    );
    ConfigError(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {place}: it is in use. Is another server running? Choose another with --port."
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {place}: permission denied. Ports below 1024 need root; choose another with --port."
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "cannot listen on {place}: this machine has no such address. Choose another with --bind."
        ),
        _ => format!("cannot listen on {place}: {}.", reason(error)),
    })
}

/// What the system says, without its error number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
