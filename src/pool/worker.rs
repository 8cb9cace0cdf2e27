//! A worker's loop: the only place of this room that reads the clock.

use std::thread;
use std::time::Instant;

use super::floor::{Floor, Hands, Readiness};

/// After so many turns a worker lets other threads have its processor, if any wait. A worker that always has something to
/// do would keep it for a whole time slice, milliseconds, while one that was woken for a command waits: with the other
/// processors as busy, that was the longest wait of all. More often would cost throughput, and less often showed in the
/// slowest of a hundred commands.
const YIELD_EVERY_TURNS: u32 = 8;

/// A worker's life: find a task, give it a turn, hand it on.
pub(super) fn work(floor: &Floor<impl Readiness>, mut hands: Hands) {
    let mut turns = 0_u32;
    while floor.work(&mut hands, now) {
        turns += 1;
        if turns == YIELD_EVERY_TURNS {
            turns = 0;
            thread::yield_now();
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the loop is where time enters; below it, it is an argument"
)]
fn now() -> Instant {
    Instant::now()
}
