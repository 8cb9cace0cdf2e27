//! The removal of old partial uploads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::events::{Event, Events};
use crate::net::listener::Shutdown;
use crate::reload::Live;
use crate::session::Service;
use crate::storage::{Root, all_recovered};

/// Bounds of the interval between two sweeps for old partial uploads, which is their maximum age within these bounds.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_mins(1);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_hours(1);

/// Removes old partial uploads: at the start those that an earlier run left, and then periodically. The thread is not
/// joined at the end, because a home may hang.
pub(super) fn run(stop: &Shutdown, service: &Service, live: &Arc<Live>) -> io::Result<()> {
    let (stop, service, live) = (stop.clone(), service.clone(), Arc::clone(live));
    let run = move || {
        loop {
            let age = live.effective().limits.partial_age_max;
            let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
            service.hosts.each_place(&mut |place| sweep(place, before, &stop, &service.events));
            all_recovered();
            if stop.wait(age.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX)) {
                break;
            }
        }
    };
    std::thread::Builder::new().name("sweeper".to_owned()).spawn(run).map(drop)
}

/// Removes partial uploads older than `before` from one tree.
fn sweep(root: &Root, before: Timestamp, stop: &Shutdown, events: &Events) {
    match root.sweep(before, || !stop.is_triggered()) {
        Ok(0) => {}
        Ok(count) => events.server(&Event::PartialsRemoved { count }),
        Err(error) => {
            events.server(&Event::Error {
                message: "cannot remove old partial uploads",
                error: &error,
            });
        }
    }
}
