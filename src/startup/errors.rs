//! The sentences for an administrator whose server cannot start.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::settings::ConfigError;
use crate::units::reason;

pub(crate) fn cannot_start(error: &io::Error) -> ConfigError {
    ConfigError(format!("cannot start: {}.", reason(error)))
}

pub(super) fn cannot_listen(address: Option<IpAddr>, port: u16, error: &io::Error) -> ConfigError {
    let place = address.map_or_else(
        || format!("port {port}"),
        |address| SocketAddr::new(address, port).to_string(),
    );
    ConfigError(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {place}: it is in use. Is another server running? Choose another with --port."
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {place}: permission denied. A port below 1024 needs a socket unit of systemd, CAP_NET_BIND_SERVICE (AmbientCapabilities= of the unit), or a start as root with --user NAME. Otherwise choose another with --port."
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "cannot listen on {place}: this machine has no such address. Choose another with --bind."
        ),
        _ => format!("cannot listen on {place}: {}.", reason(error)),
    })
}
