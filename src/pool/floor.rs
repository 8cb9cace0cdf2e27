//! The floor: ready queue, lot and readiness source together, and the four steps by which a task moves between them.
//!
//! Every hand-over of a task is a function of this file, so this is where the protocol of `README.md` can be checked. No
//! thread and no clock here: the loops of `worker.rs`, the simulation and shuttle all drive the same steps.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::lot::{Lot, Token};
use super::ready::{Picker, Ready};
use super::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use super::task::{Admitted, Class, Turn, Watch};

/// Tells when parked tasks' descriptors are ready: epoll, or a test's own.
pub(super) trait Readiness {
    /// Watches these descriptors under this token, each until it has fired once.
    fn arm(&self, token: Token, watch: &Watch<'_>) -> io::Result<()>;

    /// Waits until a descriptor fires, `until` comes, or [`Readiness::poke`] is called; adds what fired.
    fn wait(&self, until: Option<Instant>, fired: &mut Vec<(Token, Class)>) -> io::Result<()>;

    /// Ends the current or the next wait.
    fn poke(&self);
}

#[derive(Debug)]
pub(super) struct Floor<R> {
    ready: Ready,
    parked: Mutex<Parked>,
    readiness: R,
    /// How often [`Floor::rouse`] was called.
    rouses: AtomicU64,
    closed: AtomicBool,
}

/// The lot, and until when the poller sleeps (`None`: until something fires).
#[derive(Debug)]
struct Parked {
    lot: Lot<Admitted>,
    poller_sleeps_until: Option<Instant>,
}

impl<R: Readiness> Floor<R> {
    pub(super) fn new(readiness: R) -> Self {
        Self {
            ready: Ready::new(),
            parked: Mutex::new(Parked { lot: Lot::new(), poller_sleeps_until: None }),
            readiness,
            rouses: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// A new task goes to the end of the ready queue.
    pub(super) fn admit(&self, task: Admitted) {
        self.ready.push(task, Class::Interactive);
    }

    /// One step of a worker: waits for a task, gives it a turn, hands it on. `false` once the pool is closed.
    pub(super) fn work(&self, picker: &mut Picker, clock: impl Fn() -> Instant) -> bool {
        let Some((task, class)) = self.ready.take(picker) else { return false };
        self.give_turn(task, class, clock());
        true
    }

    /// The same step if a task is ready; `false` if none is.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn try_work(&self, picker: &mut Picker, now: Instant) -> bool {
        let Some((task, class)) = self.ready.try_take(picker) else { return false };
        self.give_turn(task, class, now);
        true
    }

    /// One step of the poller: waits, then moves what fired and what expired to the ready queue.
    /// `false` once the pool is closed.
    pub(super) fn poll(
        &self,
        fired: &mut Vec<(Token, Class)>,
        clock: impl Fn() -> Instant,
    ) -> io::Result<bool> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        let until = {
            let mut parked = self.parked.lock();
            parked.poller_sleeps_until = parked.lot.next_deadline();
            parked.poller_sleeps_until
        };
        fired.clear();
        self.readiness.wait(until, fired)?;
        let now = clock();
        let mut parked = self.parked.lock();
        for (token, class) in fired.drain(..) {
            if let Some(task) = parked.lot.wake(token) {
                self.ready.push(task, class);
            }
        }
        while let Some(task) = parked.lot.expire(now) {
            self.ready.push(task, Class::Interactive);
        }
        Ok(true)
    }

    /// Every parked task goes to the ready queue, and none parks again before it had a turn that began after this call.
    pub(super) fn rouse(&self) {
        let mut parked = self.parked.lock();
        self.rouses.fetch_add(1, Ordering::AcqRel);
        while let Some(task) = parked.lot.evict() {
            self.ready.push(task, Class::Interactive);
        }
    }

    /// Ends the loops of workers and poller.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ready.close();
        self.readiness.poke();
    }

    /// Drops every task that is left, once the loops have ended.
    pub(super) fn clear(&self) {
        self.ready.clear();
        let mut parked = self.parked.lock();
        while let Some(task) = parked.lot.evict() {
            drop(task);
        }
    }

    /// How many tasks are ready and how many are parked, and the earliest deadline of these.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn census(&self) -> (usize, usize, Option<Instant>) {
        let parked = self.parked.lock();
        (self.ready.len(), parked.lot.len(), parked.lot.next_deadline())
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn readiness(&self) -> &R {
        &self.readiness
    }

    fn give_turn(&self, mut task: Admitted, class: Class, now: Instant) {
        let rouses = self.rouses.load(Ordering::Acquire);
        // A panic ends this one task: it is dropped whole, so nobody sees a half-done state.
        let turn = catch_unwind(AssertUnwindSafe(|| task.task.turn(now, class)));
        match turn {
            Ok(Turn::Again(class)) => self.ready.push(task, class),
            Ok(Turn::Park { until }) => self.park(task, until, rouses),
            Ok(Turn::Done) | Err(_) => drop_quietly(task),
        }
    }

    /// Insert, then arm, both under the lot's lock: who wakes the task must take the lock first, so the task and its
    /// descriptors stay where they are until all of them are armed.
    fn park(&self, task: Admitted, until: Instant, rouses: u64) {
        let mut parked = self.parked.lock();
        if self.rouses.load(Ordering::Acquire) != rouses {
            drop(parked);
            self.ready.push(task, Class::Interactive);
            return;
        }
        let token = parked.lot.park(task, until);
        let armed = parked.lot.parked(token).map(|task| {
            let mut watch = Watch::default();
            task.task.watch(&mut watch);
            self.readiness.arm(token, &watch)
        });
        if let Some(Err(_)) = armed {
            // The kernel has no memory to watch it with: an unwatched task would sleep through its client's words.
            let task = parked.lot.wake(token);
            drop(parked);
            if let Some(task) = task {
                drop_quietly(task);
            }
            return;
        }
        let poller_oversleeps =
            parked.poller_sleeps_until.is_none_or(|sleeps_until| until < sleeps_until);
        drop(parked);
        if poller_oversleeps {
            self.readiness.poke();
        }
    }
}

/// Drops a task; a panic in its `drop` ends here.
fn drop_quietly(task: Admitted) {
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
}
