//! A worker's loop: the only place of this room that reads the clock.

use std::time::Instant;

use super::floor::{Floor, Hands, Readiness};

/// A worker's life: find a task, give it a turn, hand it on.
pub(super) fn work(floor: &Floor<impl Readiness>) {
    let mut hands = Hands::default();
    while floor.work(&mut hands, now) {}
}

#[allow(
    clippy::disallowed_methods,
    reason = "the loop is where time enters; below it, it is an argument"
)]
fn now() -> Instant {
    Instant::now()
}
