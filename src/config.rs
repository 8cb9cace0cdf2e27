//! What the command line says, checked once, and every limit with its name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::log::Level;

/// How the server is to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that is served.
    pub root: PathBuf,
    /// The address to listen on; `None` is every address, IPv6 and IPv4.
    pub bind: Option<IpAddr>,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// How many slaves in process, each with its own port and pool; 0 is a server without balancer.
    pub slaves: u16,
    /// Whether anonymous may write.
    pub write: bool,
    /// The ports for passive data connections; `None` is any.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// The address to tell in replies to PASV; `None` is that of the control connection.
    pub public_address: Option<Ipv4Addr>,
    /// The limits.
    pub limits: Limits,
    /// How much is logged.
    pub level: Level,
}

/// Every limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `--max-clients`: sessions at once.
    pub clients_max: usize,
    /// `--max-per-ip`: sessions at once from one address.
    pub per_address_max: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// `--idle-timeout`: how long a client may say nothing between transfers.
    pub idle_timeout: Duration,
    /// How long a data connection may take to come about, and a reserved passive port may stay unused.
    pub data_connect_timeout: Duration,
    /// How long the data connection of a transfer may move nothing.
    pub stall_timeout: Duration,
    /// How long a client may leave its replies unread.
    pub reply_timeout: Duration,
    /// How long transfers may take to finish once the server is stopping.
    pub stop_grace: Duration,
    /// Wrong passwords before the connection is closed.
    pub login_failures_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: 10_000,
            per_address_max: 10_000,
            login_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(5),
            data_connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_mins(2),
            reply_timeout: Duration::from_mins(1),
            stop_grace: Duration::from_secs(30),
            login_failures_max: 3,
        }
    }
}

impl Config {
    /// A server of this directory on a free port, with every default.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            bind: None,
            port: 0,
            workers: default_workers(),
            slaves: 0,
            write: false,
            passive_ports: None,
            public_address: None,
            limits: Limits::default(),
            level: Level::Normal,
        }
    }
}

/// Twice the processors, four at least: workers wait for disks as well as for processors.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    NonZeroUsize::new((processors * 2).max(4)).unwrap_or(NonZeroUsize::MIN)
}

/// What keeps a server from starting: one sentence that says what to do.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads `LO-HI`, or one port.
///
/// # Errors
/// When these are no ports, or LO is above HI.
pub fn passive_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low @ 1..), Ok(high)) if low <= high => Ok(low..=high),
        _ => Err(format!(
            "'{text}' is no range of ports; write it as LO-HI, for example 50000-50100"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_two_ports_in_order_or_one() {
        assert_eq!(passive_ports("50000-50100"), Ok(50_000..=50_100));
        assert_eq!(passive_ports("50000"), Ok(50_000..=50_000));
        for text in ["", "-", "2-1", "0-5", "1-65536", "a-b", "1-2-3"] {
            assert!(passive_ports(text).is_err(), "{text}");
        }
    }
}
