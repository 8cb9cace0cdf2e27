//! The server, put together: root, accounts, pools, listeners, balancer; start, serve, stop.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::balancer::Balancer;
use crate::balancer::station::Station;
use crate::config::{Config, ConfigError};
use crate::log::{Event, Log};
use crate::net::listener::{self, Reserve, Stop};
use crate::net::passive::PassivePorts;
use crate::net::seats::Seats;
use crate::pool::Pool;
use crate::session::{Meter, Service, Session};
use crate::storage::{Accounts, Permissions, Root};

/// A listener: its address, and the slave that it belongs to, if it is not the one where everybody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// The slave behind it.
    pub slave: Option<u32>,
}

/// What a station does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The slave's number; `None` for a server without slaves.
    pub slave: Option<u32>,
    /// Sessions.
    pub sessions: usize,
    /// Transfers under way.
    pub transfers: u64,
    /// Bytes over data connections since the start.
    pub bytes: u64,
    /// Whether it takes no new clients.
    pub draining: bool,
}

/// A server that is running.
#[derive(Debug)]
pub struct Server {
    doors: Vec<Door>,
    stop: Stop,
    acceptors: Vec<JoinHandle<()>>,
    posts: Vec<Post>,
    service: Service,
    seats: Arc<Seats>,
}

/// A station with what it is called and counted by.
#[derive(Debug)]
struct Post {
    slave: Option<u32>,
    station: Arc<Station>,
    meter: Arc<Meter>,
}

impl Server {
    /// Opens root and listeners and begins to accept.
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
        let passive_ports = PassivePorts::new(config.passive_ports.clone());
        let service = Service::new(
            accounts,
            config.limits.clone(),
            passive_ports,
            config.public_address,
            log,
        );
        // Every port before any thread: a port that is taken leaves nothing running.
        let front = bind(config, config.port)?;
        let ports = slave_ports(config)?;
        let own =
            ports.into_iter().map(|port| bind(config, port)).collect::<Result<Vec<_>, _>>()?;
        Self::run(config, front, own, service)
            .map_err(|error| ConfigError(format!("cannot start: {}.", reason(&error))))
    }

    /// Without slaves: one station behind the front. With slaves: one behind each listener of theirs, and all behind the
    /// front.
    fn run(
        config: &Config,
        front: TcpListener,
        own: Vec<TcpListener>,
        service: Service,
    ) -> io::Result<Self> {
        let seats = Seats::new(config.limits.clients_max, config.limits.per_address_max);
        let (doors, acceptors, posts) = (Vec::new(), Vec::new(), Vec::new());
        let mut server = Self { doors, stop: Stop::new()?, acceptors, posts, service, seats };
        if own.is_empty() {
            let station = server.add_station(config, None, config.limits.clients_max)?;
            server.open_door(front, None, vec![station])?;
            return Ok(server);
        }
        // A slave that is full is skipped: none may have more than its share of all clients.
        let share = config.limits.clients_max.div_ceil(own.len());
        let stations =
            (1..).zip(&own).map(|(number, _)| server.add_station(config, Some(number), share));
        let stations = stations.collect::<io::Result<Vec<_>>>()?;
        server.open_door(front, None, stations.clone())?;
        for ((number, listener), station) in (1..).zip(own).zip(stations) {
            server.open_door(listener, Some(number), vec![station])?;
        }
        Ok(server)
    }

    fn add_station(
        &mut self,
        config: &Config,
        slave: Option<u32>,
        sessions_max: usize,
    ) -> io::Result<Arc<Station>> {
        let service =
            slave.map_or_else(|| self.service.clone(), |number| self.service.of_slave(number));
        let name = slave.map_or_else(|| "pool".to_owned(), |number| format!("slave {number}"));
        let (meter, service) = (service.meter(), Arc::new(service));
        let greet = move |stream, peer, seat, now| {
            let session = Session::greet(Arc::clone(&service), stream, peer, seat, now);
            session.map(|session| Box::new(session) as _).inspect_err(|error| {
                service.log.server(&Event::Trouble { what: "a new connection is broken", error });
            })
        };
        let station =
            Station::new(Pool::start(&name, config.workers)?, sessions_max, Box::new(greet));
        self.posts.push(Post { slave, station: Arc::clone(&station), meter });
        Ok(station)
    }

    /// Begins to accept; each client gets a seat and is handed to the next of these stations.
    fn open_door(
        &mut self,
        listener: TcpListener,
        slave: Option<u32>,
        stations: Vec<Arc<Station>>,
    ) -> io::Result<()> {
        let address = listener.local_addr()?;
        let (service, seats, stop) =
            (self.service.clone(), Arc::clone(&self.seats), self.stop.clone());
        let balancer = Balancer::new(stations);
        let name = format!("acceptor {}", address.port());
        let accept = move || accept(&listener, &stop, &service, &seats, &balancer);
        self.acceptors.push(std::thread::Builder::new().name(name).spawn(accept)?);
        self.service.log.server(&Event::Listening { address, slave });
        self.doors.push(Door { address, slave });
        Ok(())
    }

    /// Where it listens: the front first, then the slaves' own.
    #[must_use]
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.seats.taken()
    }

    /// What each station does.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        let load = |post: &Post| Load {
            slave: post.slave,
            sessions: post.station.sessions(),
            transfers: post.meter.transfers(),
            bytes: post.meter.bytes(),
            draining: post.station.is_draining(),
        };
        self.posts.iter().map(load).collect()
    }

    /// Makes a slave take no new clients, or take them again; `false` if there is none of this number.
    #[must_use]
    pub fn set_draining(&self, slave: u32, draining: bool) -> bool {
        let post = self.posts.iter().find(|post| post.slave == Some(slave));
        post.inspect(|post| post.station.set_draining(draining)).is_some()
    }

    /// Takes no new clients, lets transfers finish for as long as the configuration says, and ends.
    pub fn stop(mut self) {
        self.service.log.server(&Event::Stopping { sessions: self.clients() });
        self.close_doors();
        self.service.stop();
        for post in &self.posts {
            post.station.pool().rouse();
        }
        let until = now() + self.service.limits.stop_grace;
        let in_time =
            self.posts.iter().filter(|post| !post.station.pool().drain(until)).count() == 0;
        self.service.log.server(&Event::Stopped { in_time });
    }

    fn close_doors(&mut self) {
        self.stop.ring();
        for acceptor in self.acceptors.drain(..) {
            let _ended = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close_doors();
    }
}

/// An acceptor's life: let each client in, or tell it why not.
fn accept(
    listener: &TcpListener,
    stop: &Stop,
    service: &Service,
    seats: &Arc<Seats>,
    balancer: &Balancer,
) {
    let mut reserve = Reserve::new();
    let refuse = |stream: &TcpStream, peer, why: &str| {
        listener::refuse(stream, why);
        service.log.server(&Event::Refused { peer, why });
    };
    let ended = listener::accept_all(listener, stop, &mut reserve, |stream, peer| {
        match seats.take(peer.ip()) {
            Ok(seat) => {
                if let Err((stream, unable)) = balancer.hand_over(stream, peer, seat, now()) {
                    refuse(&stream, peer, &unable.to_string());
                }
            }
            Err(full) => refuse(&stream, peer, &full.to_string()),
        }
    });
    if let Err(error) = ended {
        service.log.server(&Event::Trouble { what: "accepting has ended", error: &error });
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the loops of the acceptors and the stop: time enters here"
)]
fn now() -> Instant {
    Instant::now()
}

/// The slaves' own ports: those behind the front's, or any if the front's is any.
fn slave_ports(config: &Config) -> Result<Vec<u16>, ConfigError> {
    if config.port == 0 {
        return Ok(vec![0; usize::from(config.slaves)]);
    }
    let last = config.port.checked_add(config.slaves);
    let last = last.ok_or_else(|| {
        ConfigError("there are not so many ports behind --port for --slaves.".to_owned())
    })?;
    Ok((config.port..=last).skip(1).collect())
}

fn bind(config: &Config, port: u16) -> Result<TcpListener, ConfigError> {
    listener::bind(config.bind, port).map_err(|error| cannot_listen(config, port, &error))
}

fn cannot_listen(config: &Config, port: u16, error: &io::Error) -> ConfigError {
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
