//! The end of the process at the request of an administrator.

use std::io;

use rustix::process::{Signal, getpid, kill_process};

use crate::balancer::request::Answer;

/// The signal by which the process learns that a successor has taken its place. Another one than that of a stop, because
/// the system joins two of the same kind.
const REPLACED: Signal = Signal::USR2;

/// Requests the end of this process after its sessions, because a successor has taken its place.
pub(super) fn leave() -> io::Result<()> {
    Ok(kill_process(getpid(), REPLACED)?)
}

/// Requests the end of this process, as SIGTERM does: transfers may finish within the stop grace.
pub(super) fn stop() -> Answer {
    kill_process(getpid(), Signal::TERM).map_err(|error| format!("cannot stop: {error}."))?;
    Ok("the server stops\n".to_owned())
}
