//! The two loops: a worker's and the poller's. The only place of this room that reads the clock.

use std::time::Instant;

use super::floor::{Floor, Readiness};
use super::ready::{Lane, Picker};

/// A worker's life: take a task, give it a turn, hand it on.
pub(super) fn work(floor: &Floor<impl Readiness>, lane: Lane) {
    let mut picker = Picker::new(lane);
    while floor.work(&mut picker, now) {}
}

/// The poller's life: wait for readiness and deadlines, and put those whose time has come on the ready queue.
pub(super) fn poll(floor: &Floor<impl Readiness>) {
    let mut fired = Vec::new();
    // Waiting on our own descriptors fails only for reasons that pass, a signal: the next round sees what there is.
    while floor.poll(&mut fired, now).unwrap_or(true) {}
}

#[allow(
    clippy::disallowed_methods,
    reason = "the loops are where time enters; below them it is an argument"
)]
fn now() -> Instant {
    Instant::now()
}
