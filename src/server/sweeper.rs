//! The removal of old partial uploads.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::events::{Event, Events};
use crate::net::listener::Shutdown;
use crate::reload::Live;
use crate::session::Service;
use crate::storage::{Root, Swept, all_recovered};
use crate::sys::{Interest, is_ready};

/// Interval at which a server looks whether its predecessor has ended.
const PREDECESSOR_CHECK: Duration = Duration::from_secs(1);

/// Bounds of the interval between two sweeps for old partial uploads, which is their maximum age within these bounds.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_mins(1);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_hours(1);

/// Removes old partial uploads: at the start those that an earlier run left, and then periodically. The thread is not
/// joined at the end, because a home may hang.
///
/// The appends of a predecessor that still runs are recovered when it has ended, because it may die in one.
pub(super) fn run(
    stop: &Shutdown,
    service: &Service,
    live: &Arc<Live>,
    predecessor: Option<OwnedFd>,
) -> io::Result<()> {
    let (stop, service, live) = (stop.clone(), service.clone(), Arc::clone(live));
    let run = move || {
        let mut predecessor = predecessor;
        loop {
            // Looked at before the sweep, which then finds all that a predecessor has left.
            predecessor = predecessor.filter(|end| !has_ended(end));
            let age = live.effective().limits.partial_age_max;
            let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
            let mut unfinished = false;
            service.hosts.each_place(&mut |place| {
                unfinished |= sweep(place, before, &stop, &service.events);
            });
            let interval = if unfinished {
                SWEEP_INTERVAL_MIN
            } else {
                age.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX)
            };
            if predecessor.is_none() && !unfinished {
                all_recovered();
            }
            let is_stopped = match &predecessor {
                Some(end) => wait_for(end, &stop),
                None => stop.wait(interval),
            };
            if is_stopped {
                break;
            }
        }
    };
    std::thread::Builder::new().name("sweeper".to_owned()).spawn(run).map(drop)
}

/// Waits until the predecessor has ended, or `stop` is rung; returns `true` if it was rung.
fn wait_for(predecessor: &OwnedFd, stop: &Shutdown) -> bool {
    while !has_ended(predecessor) {
        if stop.wait(PREDECESSOR_CHECK) {
            return true;
        }
    }
    false
}

/// Returns whether the other end of this connection is closed.
fn has_ended(predecessor: &OwnedFd) -> bool {
    is_ready(predecessor.as_fd(), Interest::HangUp).unwrap_or(true)
}

/// Removes partial uploads older than `before` from one tree. Returns `true` if an append is still unfinished.
fn sweep(root: &Root, before: Timestamp, stop: &Shutdown, events: &Events) -> bool {
    match root.sweep(before, || !stop.is_triggered()) {
        Ok(Swept { removed, unfinished }) => {
            if removed > 0 {
                events.server(&Event::PartialsRemoved { count: removed });
            }
            unfinished
        }
        Err(error) => {
            events.server(&Event::Error {
                message: "cannot remove old partial uploads",
                error: &error,
            });
            false
        }
    }
}
