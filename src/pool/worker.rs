//! A worker's loop, which reads the clock for the steps of `scheduler.rs`.

use std::thread;
use std::time::Instant;

use super::scheduler::{Readiness, Scheduler, WorkerState};

/// The number of turns after which a worker yields its processor to other threads, if any wait. A worker that always
/// has a turn would keep the processor for a whole time slice, which is milliseconds. A worker that was woken for a
/// command would wait meanwhile; with the other processors as busy, that was the longest wait of all. Yielding more
/// often would cost throughput; yielding less often showed in the slowest of a hundred commands.
const YIELD_EVERY_TURNS: u32 = 8;

/// Runs a worker until it ends: finds a task, gives it a turn, hands it on.
pub(super) fn work(scheduler: &Scheduler<impl Readiness>, mut state: WorkerState) {
    let mut turns = 0_u32;
    while scheduler.work(&mut state, now) {
        turns += 1;
        if turns == YIELD_EVERY_TURNS {
            turns = 0;
            thread::yield_now();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loop is where time enters; below it, it is an argument"
)]
fn now() -> Instant {
    Instant::now()
}
