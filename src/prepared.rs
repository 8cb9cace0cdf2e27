//! What a server needs rights for, opened before it gives them up: its ports, its root, its users.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::net::listener;
use crate::net::tls::Acceptor;
use crate::storage::{Accounts, Permissions, Root};

/// What has been opened.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) root: Arc<Root>,
    pub(crate) accounts: Accounts,
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    /// Where TLS begins at once.
    pub(crate) implicit: Option<TcpListener>,
    /// Where everybody comes in.
    pub(crate) front: TcpListener,
    /// The slaves' own, in order.
    pub(crate) own: Vec<TcpListener>,
}

impl Prepared {
    /// Opens it all. What systemd has opened for us is the first listener, and the second that of implicit TLS.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn open(config: &Config, inherited: Vec<TcpListener>) -> Result<Self, ConfigError> {
        let mut inherited = inherited.into_iter();
        let root = Root::open(&config.root).map_err(|error| {
            let place = config.root.display();
            ConfigError(format!(
                "cannot serve {place}: {}. Name a directory with --root.",
                reason(&error)
            ))
        })?;
        let root = Arc::new(root);
        let accounts = accounts(config, Arc::clone(&root))?;
        let acceptor = acceptor(config)?;
        let front = inherited.next().map_or_else(|| bind(config, config.port), Ok)?;
        let implicit = match (inherited.next(), config.implicit_tls) {
            (Some(_), _) if acceptor.is_none() => {
                let what = "a second socket was given for implicit TLS, which needs a certificate.";
                return Err(ConfigError(what.to_owned()));
            }
            (Some(listener), _) => Some(listener),
            (None, port) => port.map(|port| bind(config, port)).transpose()?,
        };
        let ports = slave_ports(config)?;
        let own =
            ports.into_iter().map(|port| bind(config, port)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { root, accounts, acceptor, implicit, front, own })
    }
}

impl Prepared {
    /// The homes of all users who have one.
    #[must_use]
    pub fn homes(&self) -> Vec<std::path::PathBuf> {
        self.accounts.homes()
    }
}

/// Who takes TLS connections, where there is a certificate.
pub(crate) fn acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, ConfigError> {
    if config.tls.keys.is_empty() {
        return Ok(None);
    }
    let opened = Acceptor::open(config.tls.clone());
    opened.map(|acceptor| Some(Arc::new(acceptor))).map_err(ConfigError)
}

/// Who may log in.
pub(crate) fn accounts(config: &Config, root: Arc<Root>) -> Result<Accounts, ConfigError> {
    let permissions = if config.write { Permissions::FULL } else { Permissions::READ_ONLY };
    match &config.users {
        None => Ok(Accounts::anonymous(root, permissions)),
        Some(path) => {
            let anonymous = config.anonymous.then_some(permissions);
            Accounts::of_file(root, path.clone(), anonymous).map_err(|what| {
                ConfigError(format!(
                    "cannot read the users of {what}. Make the file with ftppasswd."
                ))
            })
        }
    }
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

pub(crate) fn bind(config: &Config, port: u16) -> Result<TcpListener, ConfigError> {
    listener::bind(config.bind, port).map_err(|error| cannot_listen(config, port, &error))
}

pub(crate) fn cannot_start(error: &io::Error) -> ConfigError {
    ConfigError(format!("cannot start: {}.", reason(error)))
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
