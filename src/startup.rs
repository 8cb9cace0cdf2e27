//! Resources that need rights, opened before the server gives these up: its ports, its root, its users.

mod accounts;
mod errors;
mod ports;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Group as SystemGroup, User, geteuid};
use rustix::fs::Mode;
use rustix::net::{SocketAddrUnix, getsockname};

use crate::balancer::command_socket::{CommandSocket, SocketOwner};
use crate::ftp::path::Escaped;
use crate::log::read_time_zone;
use crate::net::place::Place;
use crate::net::public;
use crate::net::tls::{Acceptor, Opener};
use crate::settings::{Config, ConfigError, Listen};
use crate::spool::Spool;
use crate::status::StatusListener;
use crate::storage::{Accounts, Hosts, MemoryTree, Root};
use crate::units::{reason, unreadable};

pub use accounts::check_secrets;
use accounts::permissions;
pub(crate) use accounts::{accounts, check_auth_socket, hosts, listed, open_mounts, open_root};
pub(crate) use errors::cannot_start;
pub(crate) use ports::{bind, ephemeral_overlap, slave_ports};

/// The sockets that this process has not opened itself.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Those that the service manager has opened. Each takes the place of the listener with the same position. A second
    /// socket without a second listener is for implicit TLS.
    pub activated: Vec<TcpListener>,
    /// Those that an earlier server has opened. Each takes the place of the listener with the same address.
    pub handed_over: Vec<OwnedFd>,
    /// A descriptor that hangs up when the earlier server has ended.
    pub predecessor: Option<OwnedFd>,
    /// The bans, the failed logins and the changed settings of the earlier server, in JSON.
    pub state: String,
}

impl Inherited {
    /// Returns whether the service manager has not passed this socket itself.
    #[must_use]
    pub fn is_new_activated(&self, socket: &OwnedFd) -> bool {
        let address = tcp_address(socket);
        self.activated.iter().all(|known| known.local_addr().ok() != address)
    }

    /// Removes and returns the listener of this address.
    fn take(&mut self, address: Option<IpAddr>, port: u16) -> Option<TcpListener> {
        let found = self.handed_over.iter().position(|socket| {
            let local = tcp_address(socket);
            local.is_some_and(|local| {
                let is_at = |ip| local.ip() == ip;
                local.port() == port && address.map_or_else(|| local.ip().is_unspecified(), is_at)
            })
        })?;
        Some(TcpListener::from(self.handed_over.remove(found)))
    }

    /// Removes and returns the socket that is bound to a path of which this is true.
    fn take_unix(&mut self, is_wanted: impl Fn(&Path) -> bool) -> Option<OwnedFd> {
        let is_wanted = |socket| unix_path(socket).is_some_and(|path| is_wanted(&path));
        let found = self.handed_over.iter().position(is_wanted)?;
        Some(self.handed_over.remove(found))
    }
}

fn tcp_address(socket: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getsockname(socket).ok()?).ok()
}

fn unix_path(socket: &OwnedFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(address.path()?.to_bytes())))
}

/// A main listener that is open.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) listen: Listen,
    pub(crate) listener: TcpListener,
    /// True if the service manager has opened the socket.
    pub(crate) is_activated: bool,
}

/// The resources that have been opened.
#[derive(Debug)]
pub struct Startup {
    pub(crate) root: Arc<Root>,
    pub(crate) hosts: Hosts,
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    /// The address of the name in `--public-address`.
    pub(crate) public: Option<Ipv4Addr>,
    /// The main listeners, in the order of the settings.
    pub(crate) front: Vec<Front>,
    /// The slaves' own listeners, in order.
    pub(crate) own: Vec<TcpListener>,
    /// The listener of the status server, and the token of its clients.
    pub(crate) status: Option<(StatusListener, Option<String>)>,
    /// The socket file for commands of administrators.
    pub(crate) control: Option<CommandSocket>,
    /// Warnings for the administrator: subject and reason.
    pub(crate) warnings: Vec<(&'static str, String)>,
    /// A descriptor that hangs up when the earlier server, whose place this one takes, has ended.
    pub(crate) predecessor: Option<OwnedFd>,
    /// The bans, the failed logins and the changed settings of the earlier server, in JSON.
    pub(crate) state: String,
}

impl Startup {
    /// Opens all resources, except for the sockets that are inherited.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn open(config: &Config, mut inherited: Inherited) -> Result<Self, ConfigError> {
        check_paths(config)?;
        check_secrets(config)?;
        read_time_zone();
        let warnings = ephemeral_overlap(config).into_iter().collect();
        let public = config.public_name.as_deref().map(public_address).transpose()?;
        let root = open_root(&config.root, "--root")?;
        let hosts = hosts(config, Arc::clone(&root))?;
        let acceptor = acceptor(config)?;
        let front = open_front(config, &mut inherited, acceptor.is_some())?;
        let status = config.status.as_ref();
        let status = status.map(|place| open_status(place, config, &mut inherited)).transpose()?;
        let control = open_control(config, &mut inherited)?;
        let address = config.listeners().first().and_then(|listen| listen.address);
        let own = slave_ports(config)?
            .into_iter()
            .map(|port| inherited.take(address, port).map_or_else(|| bind(address, port), Ok));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        let Inherited { predecessor, state, .. } = inherited;
        Ok(Self {
            root,
            hosts,
            acceptor,
            public,
            front,
            own,
            status,
            control,
            warnings,
            predecessor,
            state,
        })
    }
}

/// Opens the main listeners that are not inherited.
fn open_front(
    config: &Config,
    inherited: &mut Inherited,
    has_certificate: bool,
) -> Result<Vec<Front>, ConfigError> {
    let mut activated = std::mem::take(&mut inherited.activated).into_iter();
    let mut front = Vec::new();
    for listen in config.listeners() {
        let (listener, is_activated) = match activated.next() {
            Some(listener) => (listener, true),
            None => match inherited.take(listen.address, listen.port) {
                Some(listener) => (listener, false),
                None => (bind(listen.address, listen.port)?, false),
            },
        };
        front.push(Front { listen, listener, is_activated });
    }
    if let Some(listener) = activated.next() {
        if !has_certificate {
            let what = "the second inherited socket is for implicit TLS, which needs a certificate: --tls-cert and --tls-key, or --self-signed.";
            return Err(ConfigError(what.to_owned()));
        }
        let listen = Listen { address: None, port: 0, tls: true };
        front.push(Front { listen, listener, is_activated: true });
    }
    Ok(front)
}

impl Startup {
    /// Serves a tree in memory to anonymous, in place of the root.
    #[must_use]
    pub fn serving(self, tree: MemoryTree, config: &Config) -> Self {
        let accounts = Accounts::new(tree, Some(permissions(config)));
        Self { hosts: Hosts::new(accounts, BTreeMap::new()), ..self }
    }

    /// Opens certificates and keys through this function when they are read again.
    pub fn open_keys_through(&self, opener: Opener) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.open_through(opener);
        }
    }

    /// Returns every root, and the homes of all users who have one.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        self.hosts.places()
    }
}

/// Creates the socket file for commands, with the user and the group that it is for.
fn open_control(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Option<CommandSocket>, ConfigError> {
    let Some(path) = &config.control else { return Ok(None) };
    if let Some(socket) = inherited.take_unix(|bound| CommandSocket::is_bound_for(bound, path)) {
        return Ok(Some(CommandSocket::of(socket)));
    }
    let user = config.user.as_deref().and_then(|name| User::from_name(name).ok().flatten());
    let user = user.filter(|_| geteuid().is_root()).map(|user| user.uid.as_raw());
    let owner = SocketOwner { user, group: control_group(config)? };
    CommandSocket::open(path, owner).map(Some).map_err(|error| {
        let (place, why) = (path.display(), reason(&error));
        let hint = match (error.kind(), &config.control_group) {
            (io::ErrorKind::PermissionDenied, Some(group)) => format!(
                " The directory must be writable, and the user of the server a member of {group}."
            ),
            _ => String::new(),
        };
        ConfigError(format!("cannot create the socket {place} for --control: {why}.{hint}"))
    })
}

/// Returns the ID of the group of `--control-group`.
pub(crate) fn control_group(config: &Config) -> Result<Option<u32>, ConfigError> {
    let Some(name) = &config.control_group else { return Ok(None) };
    if config.control.is_none() {
        return Err(ConfigError("--control-group needs --control.".to_owned()));
    }
    let found = SystemGroup::from_name(name).ok().flatten();
    let group =
        found.ok_or_else(|| ConfigError(format!("--control-group: no such group: {name}.")))?;
    Ok(Some(group.gid.as_raw()))
}

/// Minimum number of characters of the token for the status server.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// Opens the listener of the status server. A Unix socket that no server listens at is replaced.
fn open_status(
    place: &Place,
    config: &Config,
    inherited: &mut Inherited,
) -> Result<(StatusListener, Option<String>), ConfigError> {
    let failed = |error: &io::Error| {
        ConfigError(format!("cannot listen on {place} for --status: {}.", reason(error)))
    };
    let token = status_token(config)?;
    let listener = match place {
        Place::Tcp(address) => {
            let listener = inherited.take(Some(address.ip()), address.port());
            let listener = listener.map_or_else(|| TcpListener::bind(address), Ok);
            let listener = listener.map_err(|error| failed(&error))?;
            listener.set_nonblocking(true).map_err(|error| failed(&error))?;
            StatusListener::Tcp(listener)
        }
        Place::Unix(path) => {
            let listener = inherited.take_unix(|bound| bound == path).map(UnixListener::from);
            let listener = listener.map_or_else(|| bind_unix(path), Ok);
            StatusListener::Unix(listener.map_err(|error| failed(&error))?)
        }
    };
    // The socket itself decides who reaches a Unix socket.
    Ok((listener, token.filter(|_| matches!(place, Place::Tcp(_)))))
}

/// Reads the token for the status server, which an address that others reach needs.
pub(crate) fn status_token(config: &Config) -> Result<Option<String>, ConfigError> {
    let token = config.status_token_file.as_deref().map(read_token).transpose()?;
    match &config.status {
        Some(place) if token.is_none() && !place.is_local() => Err(ConfigError(format!(
            "--status {place} needs a token, because others reach it. Choose 127.0.0.1 or unix:PATH, or give a --status-token-file."
        ))),
        _ => Ok(token),
    }
}

/// Listens at a Unix socket that only the user and the group of the server can open.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads the token for the status server: the first line of the file.
fn read_token(path: &Path) -> Result<String, ConfigError> {
    let wrong = |why: &str| ConfigError(format!("{}: {why}.", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&unreadable(path, &error)))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.len() < TOKEN_CHARACTERS_MIN {
        return Err(wrong("the token for --status must have at least 16 characters"));
    }
    Ok(token.to_owned())
}

/// Opens the acceptor of TLS connections, if there is a certificate.
pub(crate) fn acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, ConfigError> {
    let mut files = config.tls.clone();
    files.keys.extend(config.virtual_hosts.iter().filter_map(|host| host.key.clone()));
    if files.keys.is_empty() {
        return Ok(None);
    }
    let opened = Acceptor::open_up_to(files, config.tls_max);
    opened.map(|acceptor| Some(Arc::new(acceptor))).map_err(ConfigError)
}

/// Looks up the name in `--public-address`.
pub(crate) fn public_address(name: &str) -> Result<Ipv4Addr, ConfigError> {
    let wrong = |why: &str| {
        ConfigError(format!(
            "cannot look up {name} for --public-address: {why}. Use an IPv4 address, or fix the name."
        ))
    };
    let found = public::look_up(name).map_err(|why| wrong(&why))?;
    found.first().copied().ok_or_else(|| wrong("it has no IPv4 address"))
}

/// Checks that all paths are UTF-8 without line ends, because slave processes receive them in lines of text.
pub(crate) fn check_paths(config: &Config) -> Result<(), ConfigError> {
    let hosts = &config.virtual_hosts;
    let keys = config.tls.keys.iter().chain(hosts.iter().filter_map(|host| host.key.as_ref()));
    let users = config.users.iter().chain(hosts.iter().filter_map(|host| host.users.as_ref()));
    let paths = keys
        .flat_map(|key| [&key.certificate, &key.key])
        .chain(users)
        .chain(hosts.iter().map(|host| &host.root))
        .chain(&config.tls.client_authorities)
        .chain(&config.auth_socket)
        .chain(hosts.iter().filter_map(|host| host.auth_socket.as_ref()))
        .chain(&config.check_socket)
        .chain(&config.hook_spool);
    let is_text = |path: &PathBuf| path.to_str().is_some_and(|text| !text.contains(['\n', '\r']));
    paths.filter(|path| !is_text(path)).try_for_each(|path| {
        let shown = Escaped(path.as_os_str().as_encoded_bytes());
        Err(ConfigError(format!("{shown}: the path must be UTF-8 without line ends.")))
    })
}

/// Opens the queue of events for hooks.
pub(crate) fn spool(config: &Config) -> Result<Option<Spool>, ConfigError> {
    let Some(path) = &config.hook_spool else { return Ok(None) };
    Spool::open(path).map(Some).map_err(|error| {
        let (place, what) = (path.display(), unreadable(path, &error));
        ConfigError(format!("cannot write to --hook-spool {place}: {what}."))
    })
}
