//! The ports of a server: opens the main ones, counts those of slaves, and compares the passive ones with the system's.

use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;

use crate::net::listener;
use crate::settings::{Config, ConfigError};

use super::errors::cannot_listen;

/// Returns the slaves' own ports: those following the main port, or any if the main port is any.
pub(crate) fn slave_ports(config: &Config) -> Result<Vec<u16>, ConfigError> {
    let port = config.listeners().first().map_or(0, |listen| listen.port);
    if port == 0 {
        return Ok(vec![0; usize::from(config.slaves)]);
    }
    let last = port.checked_add(config.slaves);
    let last = last.ok_or_else(|| {
        ConfigError("too few ports follow --port for --slaves. Choose a lower --port.".to_owned())
    })?;
    Ok((port..=last).skip(1).collect())
}

pub(crate) fn bind(address: Option<IpAddr>, port: u16) -> Result<TcpListener, ConfigError> {
    listener::bind(address, port).map_err(|error| cannot_listen(address, port, &error))
}

/// The file with the system's range of ports for outgoing connections.
const EPHEMERAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Returns a warning if passive ports overlap the system's range for outgoing connections.
#[allow(clippy::disallowed_methods, reason = "the system's own file, before anything is served")]
pub(crate) fn ephemeral_overlap(config: &Config) -> Option<(&'static str, String)> {
    let passive = config.passive_ports.as_ref()?;
    let text = std::fs::read_to_string(EPHEMERAL_PORTS).ok()?;
    let mut ports = text.split_ascii_whitespace().map_while(|port| port.parse::<u16>().ok());
    let (low, high) = (ports.next()?, ports.next()?);
    let reserved = std::fs::read_to_string(RESERVED_PORTS).unwrap_or_default();
    let reserved = port_ranges(&reserved);
    let is_reserved = |port: u16| reserved.iter().any(|range| range.contains(&port));
    if !passive.clone().any(|port| (low..=high).contains(&port) && !is_reserved(port)) {
        return None;
    }
    let why = format!(
        "{}-{} overlaps {low}-{high}, the kernel's ports for outgoing connections; choose another range, such as 30000-30999, \
         or reserve the ports in net.ipv4.ip_local_reserved_ports",
        passive.start(),
        passive.end()
    );
    Some(("some ports of --passive-ports may be in use", why))
}

/// The file with the ports that the system gives no outgoing connection.
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Parses ports and ranges of ports, such as `80,30000-30999`.
fn port_ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_ports_and_ranges() {
        assert_eq!(port_ranges("80,30000-30999\n"), [80..=80, 30000..=30999]);
        assert!(port_ranges("\n").is_empty() && port_ranges("x,-,70000").is_empty());
    }
}
