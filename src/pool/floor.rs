//! The floor: ready queue, lot and readiness source together, and the steps by which a task moves between them.
//!
//! Every hand-over of a task is a function of this file, so this is where the protocol of `README.md` can be checked. No
//! thread and no clock here: the loop of `worker.rs`, the simulation and shuttle all drive the same steps.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::held::{CallEnd, TurnState};
use super::lot::{Lot, Token};
use super::ready::{Due, INTERACTIVE_STREAK_MAX, Picker, Ready};
use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use super::task::{Admitted, Class, Turn, Watch};

/// Tells when parked tasks' descriptors are ready: epoll, or a test's own. Any number of workers may wait at once.
pub(super) trait Readiness {
    /// Watches these descriptors under this token, each until it has fired once.
    fn arm(&self, token: Token, watch: &Watch<'_>) -> io::Result<()>;

    /// Rings once when this time has come, instead of at the time that was set before.
    fn set_alarm(&self, at: Instant);

    /// Adds what has fired, and says whether the alarm has rung; with patience, waits until either, or a poke. What one
    /// worker is told no other is.
    fn wait(&self, patience: Patience, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm>;

    /// Ends the wait of one worker, or the next that begins.
    fn poke(&self);
}

/// How long a worker waits for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It has something to do and looks only; it takes all there is.
    None,
    /// Nobody else waits: it takes all there is.
    Alone,
    /// Others wait, too: it takes one event and leaves the next to them.
    Shared,
}

/// Whether the alarm has rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Rang,
    Silent,
}

#[derive(Debug)]
pub(super) struct Floor<R> {
    ready: Ready,
    parked: Mutex<Parked>,
    readiness: R,
    /// How many workers wait for readiness, or are about to.
    idle: AtomicUsize,
    /// How often [`Floor::rouse`] was called.
    rouses: AtomicU64,
    closed: AtomicBool,
    /// True if the watch over held turns waits for the next turn to begin; a message on `begun` ends that.
    dozing: AtomicBool,
    begun: OnceLock<Sender<()>>,
}

/// The lot, and the time that the alarm is set to: never later than the earliest deadline.
#[derive(Debug)]
struct Parked {
    lot: Lot<Admitted>,
    alarm: Option<Instant>,
}

/// What a worker has at hand.
#[derive(Debug)]
pub(super) struct Hands {
    turn: Arc<TurnState>,
    picker: Picker,
    /// Turns since it last looked for readiness.
    turns: u32,
    fired: Vec<(Token, Class)>,
}

impl Hands {
    /// Makes those of a worker with this turn.
    pub(super) fn new(turn: Arc<TurnState>) -> Self {
        Self { turn, picker: Picker::default(), turns: 0, fired: Vec::new() }
    }
}

impl Default for Hands {
    fn default() -> Self {
        Self::new(TurnState::new())
    }
}

impl<R: Readiness> Floor<R> {
    /// For so many workers.
    pub(super) fn new(readiness: R, workers: usize) -> Self {
        Self {
            ready: Ready::new(workers),
            parked: Mutex::new(Parked { lot: Lot::new(), alarm: None }),
            readiness,
            idle: AtomicUsize::new(0),
            rouses: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            dozing: AtomicBool::new(false),
            begun: OnceLock::new(),
        }
    }

    /// Sets the channel for the message that a turn has begun, after [`Floor::doze`].
    pub(super) fn tell_turns(&self, begun: Sender<()>) {
        // Told once, by who makes the pool.
        let _told = self.begun.set(begun);
    }

    /// Asks to be told of the next turn that begins; whether none is under way.
    pub(super) fn doze(&self, is_under_way: impl FnOnce() -> bool) -> bool {
        self.dozing.store(true, Ordering::SeqCst);
        // Who begins a turn looks at the flag afterwards; so it sees it, or its turn is seen here.
        let quiet = !is_under_way();
        if !quiet {
            self.dozing.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// Parks the task whose call is held, and, where that may be, gives up the turn, so that another worker can take its
    /// worker's place; `false` if it is not held, or was given up before.
    pub(super) fn give_up_held(&self, turn: &TurnState, now: Instant, may_replace: bool) -> bool {
        let rouses = self.rouses.load(Ordering::Acquire);
        let park = |task, until| self.park(task, until, rouses);
        let Some(class) = turn.replace(now, may_replace, park) else { return false };
        self.ready.end_turn(class);
        true
    }

    fn begin_turn(&self, turn: &TurnState, class: Class, now: Instant) {
        turn.begin(class, now);
        if self.dozing.load(Ordering::SeqCst)
            && self.dozing.swap(false, Ordering::SeqCst)
            && let Some(begun) = self.begun.get()
        {
            // A message that waits already says the same.
            let _told = begun.try_send(());
        }
    }

    /// A new task goes to the end of the ready queue.
    pub(super) fn admit(&self, task: Admitted) {
        self.ready.push(task, Class::Interactive);
        self.poke_an_idle();
    }

    /// One step of a worker: finds a task, waiting if there is none; gives it a turn, hands it on. `false` once the pool is
    /// closed, or another worker has taken this one's place.
    pub(super) fn work(&self, hands: &mut Hands, clock: impl Fn() -> Instant) -> bool {
        let Some((task, class)) = self.find(hands, &clock) else { return false };
        self.give_turn(hands, task, class, &clock)
    }

    fn find(&self, hands: &mut Hands, clock: &impl Fn() -> Instant) -> Option<Due> {
        loop {
            if self.closed.load(Ordering::SeqCst) {
                // The poke that woke this worker was for all.
                self.readiness.poke();
                return None;
            }
            if let Some(due) = self.pick(hands, clock) {
                // What is left is for others, if there are any who do nothing.
                if self.ready.has_turn() {
                    self.poke_an_idle();
                }
                return Some(due);
            }
            let others = self.idle.fetch_add(1, Ordering::SeqCst);
            // Who pushes looks for idle workers afterwards; so it sees this one, or this one sees what was pushed.
            if !self.ready.has_turn() {
                let patience = if others == 0 { Patience::Alone } else { Patience::Shared };
                self.look(patience, hands, clock);
            }
            self.idle.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The next turn of the ready queue: interactive ones first. A worker that only ever finds something to do looks for
    /// readiness now and then all the same, and before each bulk turn.
    fn pick(&self, hands: &mut Hands, clock: &impl Fn() -> Instant) -> Option<Due> {
        hands.turns += 1;
        if hands.turns > INTERACTIVE_STREAK_MAX {
            self.look(Patience::None, hands, clock);
        }
        if let Some(due) = self.ready.take_interactive(&mut hands.picker) {
            return Some(due);
        }
        if !self.ready.has_turn() {
            return None;
        }
        self.look(Patience::None, hands, clock);
        let Hands { picker, .. } = hands;
        self.ready.take_interactive(picker).or_else(|| self.ready.take_bulk(picker))
    }

    /// Moves what fired and what expired to the ready queue.
    fn look(&self, patience: Patience, hands: &mut Hands, clock: &impl Fn() -> Instant) {
        hands.turns = 0;
        // Waiting on our own descriptors fails only for reasons that pass, a signal: the next look sees what there is.
        let Ok(alarm) = self.readiness.wait(patience, &mut hands.fired) else { return };
        if hands.fired.is_empty() && alarm == Alarm::Silent {
            return;
        }
        let mut parked = self.parked.lock();
        for (token, class) in hands.fired.drain(..) {
            if let Some(task) = parked.lot.wake(token) {
                self.ready.push(task, class);
            }
        }
        if alarm == Alarm::Rang {
            let now = clock();
            while let Some(task) = parked.lot.expire(now) {
                self.ready.push(task, Class::Interactive);
            }
            parked.alarm = parked.lot.next_deadline();
            if let Some(at) = parked.alarm {
                self.readiness.set_alarm(at);
            }
        }
    }

    /// Every parked task goes to the ready queue, and none parks again before it had a turn that began after this call.
    pub(super) fn rouse(&self) {
        let mut parked = self.parked.lock();
        self.rouses.fetch_add(1, Ordering::AcqRel);
        while let Some(task) = parked.lot.evict() {
            self.ready.push(task, Class::Interactive);
        }
        drop(parked);
        self.poke_an_idle();
    }

    /// Ends the loops of the workers.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
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

    fn poke_an_idle(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.readiness.poke();
        }
    }

    /// Gives a task its turn and hands it on; `false` if the turn was held and another worker has this one's place.
    fn give_turn(
        &self,
        hands: &Hands,
        mut task: Admitted,
        class: Class,
        clock: &impl Fn() -> Instant,
    ) -> bool {
        let rouses = self.rouses.load(Ordering::Acquire);
        let mut now = clock();
        self.begin_turn(&hands.turn, class, now);
        let turn = loop {
            // A panic ends this one task: it is dropped whole, so nobody sees a half-done state.
            let turn = catch_unwind(AssertUnwindSafe(|| task.task.turn(now, class)));
            let Ok(Turn::Call { until }) = turn else { break turn };
            let Some(call) = task.task.take_call() else { break Ok(Turn::Done) };
            hands.turn.begin_call(task, until);
            // Its task finds that nothing came of it.
            let _returned = catch_unwind(AssertUnwindSafe(call));
            match hands.turn.end_call() {
                CallEnd::Task(again) => (task, now) = (again, clock()),
                CallEnd::Parked(token) => {
                    hands.turn.end();
                    if let Some(token) = token {
                        self.wake(token, class);
                    }
                    return false;
                }
            }
        };
        let is_replaced = hands.turn.end();
        if !is_replaced {
            self.ready.end_turn(class);
        }
        match turn {
            Ok(Turn::Again(class)) => self.ready.push(task, class),
            Ok(Turn::Park { until }) => drop(self.park(task, until, rouses)),
            Ok(Turn::Done | Turn::Call { .. }) | Err(_) => drop_quietly(task),
        }
        if is_replaced {
            // What it has pushed is for others.
            self.poke_an_idle();
        }
        !is_replaced
    }

    /// A call has returned whose task was parked meanwhile; it may have been woken since.
    fn wake(&self, token: Token, class: Class) {
        if let Some(task) = self.parked.lock().lot.wake(token) {
            self.ready.push(task, class);
        }
        self.poke_an_idle();
    }

    /// Insert, then arm, both under the lot's lock: who wakes the task must take the lock first, so the task and its
    /// descriptors stay where they are until all of them are armed.
    fn park(&self, task: Admitted, until: Instant, rouses: u64) -> Option<Token> {
        let mut parked = self.parked.lock();
        if self.rouses.load(Ordering::Acquire) != rouses {
            drop(parked);
            self.ready.push(task, Class::Interactive);
            return None;
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
            return None;
        }
        if parked.alarm.is_none_or(|alarm| until < alarm) {
            parked.alarm = Some(until);
            self.readiness.set_alarm(until);
        }
        Some(token)
    }
}

#[cfg(all(test, not(shuttle)))]
impl<R: Readiness> Floor<R> {
    /// A worker's step if there is something to do without waiting; `false` if there is not.
    pub(super) fn try_work(&self, hands: &mut Hands, clock: impl Fn() -> Instant) -> bool {
        self.ready.has_turn() && {
            match self.pick(hands, &clock) {
                Some((task, class)) => drop(self.give_turn(hands, task, class, &clock)),
                None => debug_assert!(false, "there was a turn"),
            }
            true
        }
    }

    /// A worker's look, as between two turns.
    pub(super) fn try_look(&self, hands: &mut Hands, clock: impl Fn() -> Instant) {
        self.look(Patience::None, hands, &clock);
    }

    /// How many tasks are ready and how many are parked, the earliest deadline of these, and what the alarm is set to.
    pub(super) fn census(&self) -> (usize, usize, Option<Instant>, Option<Instant>) {
        let parked = self.parked.lock();
        (self.ready.len(), parked.lot.len(), parked.lot.next_deadline(), parked.alarm)
    }

    pub(super) fn readiness(&self) -> &R {
        &self.readiness
    }
}

/// Drops a task; a panic in its `drop` ends here.
fn drop_quietly(task: Admitted) {
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
}
