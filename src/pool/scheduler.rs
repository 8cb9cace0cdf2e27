//! The scheduler's state: ready queue, lot and readiness source, and the steps by which a task moves between them.
//!
//! Every step that moves a task is a function of this file, so the protocol of `README.md` can be checked here. This
//! file has no thread and no clock: the loop of `worker.rs`, the simulation and shuttle all drive these steps.

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

/// A source of readiness events for the descriptors of parked tasks: epoll, or a test's own. Any number of workers may
/// wait for it at once.
pub(super) trait Readiness {
    /// Watches these descriptors under this token. Each watch fires once.
    fn arm(&self, token: Token, watch: &Watch<'_>) -> io::Result<()>;

    /// Sets the alarm to ring once at this time; replaces the time that was set before.
    fn set_alarm(&self, at: Instant);

    /// Adds the events that have fired to `fired`, and returns whether the alarm has rung. Unless the mode is `None`, waits until
    /// an event fires, the alarm rings, or a poke comes. Each event is reported to one worker only.
    fn wait(&self, mode: WaitMode, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm>;

    /// Ends the wait of one worker, or else the next wait that begins.
    fn notify_one(&self);
}

/// The way a worker waits for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitMode {
    /// Does not wait, because the worker has a turn to run; takes all events.
    None,
    /// Waits, and takes all events, because no other worker waits.
    Alone,
    /// Waits, and takes one event: others wait, too, and take the next.
    Shared,
}

/// The state of the alarm: rung or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Rang,
    Silent,
}

#[derive(Debug)]
pub(super) struct Scheduler<R> {
    ready: Ready,
    parked: Mutex<Parked>,
    readiness: R,
    /// The number of workers that wait for readiness, or are about to.
    idle: AtomicUsize,
    /// The number of calls of [`Scheduler::wake_all`].
    wake_alls: AtomicU64,
    closed: AtomicBool,
    /// True while the watch for held turns waits for the next turn to begin; a message on `begun` ends that wait.
    dozing: AtomicBool,
    begun: OnceLock<Sender<()>>,
}

/// The lot, and the time that the alarm is set to. Invariant: the alarm is never later than the earliest deadline.
#[derive(Debug)]
struct Parked {
    lot: Lot<Admitted>,
    alarm: Option<Instant>,
}

/// The state of one worker.
#[derive(Debug)]
pub(super) struct WorkerState {
    turn: Arc<TurnState>,
    picker: Picker,
    /// The number of turns since the worker last looked for readiness.
    turns: u32,
    fired: Vec<(Token, Class)>,
}

impl WorkerState {
    /// Returns the state of a worker that publishes its turns in `turn`.
    pub(super) fn new(turn: Arc<TurnState>) -> Self {
        Self { turn, picker: Picker::default(), turns: 0, fired: Vec::new() }
    }
}

impl Default for WorkerState {
    fn default() -> Self {
        Self::new(TurnState::new())
    }
}

impl<R: Readiness> Scheduler<R> {
    /// Creates a scheduler for `workers` workers.
    pub(super) fn new(readiness: R, workers: usize) -> Self {
        Self {
            ready: Ready::new(workers),
            parked: Mutex::new(Parked { lot: Lot::new(), alarm: None }),
            readiness,
            idle: AtomicUsize::new(0),
            wake_alls: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            dozing: AtomicBool::new(false),
            begun: OnceLock::new(),
        }
    }

    /// Sets the channel on which a message is sent when a turn begins after [`Scheduler::doze`].
    pub(super) fn tell_turns(&self, begun: Sender<()>) {
        // Set once, when the pool is made.
        let _sent = self.begun.set(begun);
    }

    /// Requests a message when the next turn begins; returns `true` if no turn is under way. If one is, requests
    /// nothing.
    pub(super) fn doze(&self, is_under_way: impl FnOnce() -> bool) -> bool {
        self.dozing.store(true, Ordering::SeqCst);
        // A worker that begins a turn reads the flag afterwards: either it sees the flag, or its turn is seen here.
        let quiet = !is_under_way();
        if !quiet {
            self.dozing.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// Parks the task whose call is held and, if `may_replace`, gives up the turn, so that another worker can replace
    /// the held one. Returns `false` if the turn is not held, may not be given up, or was given up before.
    pub(super) fn give_up_held(&self, turn: &TurnState, now: Instant, may_replace: bool) -> bool {
        let wake_alls = self.wake_alls.load(Ordering::Acquire);
        let park = |task, until| self.park(task, until, wake_alls);
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
            // The channel may be full: a message that waits already has this meaning.
            let _sent = begun.try_send(());
        }
    }

    /// Adds a new task at the end of the ready queue.
    pub(super) fn admit(&self, task: Admitted) {
        self.ready.push(task, Class::Interactive);
        self.notify_idle();
    }

    /// Makes a task, and parks it if it waits at first; then no worker is woken for it. A task that does not wait goes
    /// to the end of the ready queue. A wake-up of all that comes while the task is made gives it a turn.
    pub(super) fn admit_new(&self, make: impl FnOnce() -> Option<Admitted>) {
        let wake_alls = self.wake_alls.load(Ordering::Acquire);
        let Some(task) = make() else { return };
        let Some(until) = task.task.waits_at_first() else { return self.admit(task) };
        if self.park(task, until, wake_alls).is_none() {
            self.notify_idle();
        }
    }

    /// Runs one step of a worker: finds a task, waiting if there is none, gives it a turn, and hands it on. Returns
    /// `false` once the pool is closed, or another worker has replaced this one.
    pub(super) fn work(&self, state: &mut WorkerState, clock: impl Fn() -> Instant) -> bool {
        let Some((task, class)) = self.find(state, &clock) else { return false };
        self.give_turn(state, task, class, &clock)
    }

    fn find(&self, state: &mut WorkerState, clock: &impl Fn() -> Instant) -> Option<Due> {
        loop {
            if self.closed.load(Ordering::SeqCst) {
                // The poke that woke this worker was meant for all.
                self.readiness.notify_one();
                return None;
            }
            if let Some(due) = self.pick(state, clock) {
                // Other turns remain in the queue, for idle workers, if there are any.
                if self.ready.has_turn() {
                    self.notify_idle();
                }
                return Some(due);
            }
            let others = self.idle.fetch_add(1, Ordering::SeqCst);
            // A worker that pushes a task looks for idle workers afterwards. So either it sees this worker, or this
            // worker sees the task.
            if !self.ready.has_turn() {
                let mode = if others == 0 { WaitMode::Alone } else { WaitMode::Shared };
                self.look(mode, state, clock);
            }
            self.idle.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes the next turn from the ready queue, interactive turns first. A worker that always finds turns still looks
    /// for readiness after [`INTERACTIVE_STREAK_MAX`] of them, and before each bulk turn.
    fn pick(&self, state: &mut WorkerState, clock: &impl Fn() -> Instant) -> Option<Due> {
        state.turns += 1;
        if state.turns > INTERACTIVE_STREAK_MAX {
            self.look(WaitMode::None, state, clock);
        }
        if let Some(due) = self.ready.take_interactive(&mut state.picker) {
            return Some(due);
        }
        if !self.ready.has_turn() {
            return None;
        }
        self.look(WaitMode::None, state, clock);
        let WorkerState { picker, .. } = state;
        self.ready.take_interactive(picker).or_else(|| self.ready.take_bulk(picker))
    }

    /// Moves the tasks whose events have fired, and those whose deadline has come, to the ready queue.
    fn look(&self, mode: WaitMode, state: &mut WorkerState, clock: &impl Fn() -> Instant) {
        state.turns = 0;
        // Waiting on our own descriptors fails only for passing reasons, such as a signal; the next look sees the
        // events.
        let Ok(alarm) = self.readiness.wait(mode, &mut state.fired) else { return };
        if state.fired.is_empty() && alarm == Alarm::Silent {
            return;
        }
        let mut parked = self.parked.lock();
        for (token, class) in state.fired.drain(..) {
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

    /// Moves every parked task to the ready queue. No task parks again before it had a turn that began after this call.
    pub(super) fn wake_all(&self) {
        let mut parked = self.parked.lock();
        self.wake_alls.fetch_add(1, Ordering::AcqRel);
        while let Some(task) = parked.lot.evict() {
            self.ready.push(task, Class::Interactive);
        }
        drop(parked);
        self.notify_idle();
    }

    /// Ends the loops of the workers.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.readiness.notify_one();
    }

    /// Drops every remaining task, after the loops have ended.
    pub(super) fn clear(&self) {
        self.ready.clear();
        let mut parked = self.parked.lock();
        while let Some(task) = parked.lot.evict() {
            drop(task);
        }
    }

    /// Returns the number of tasks that wait for a turn, interactive and bulk, and the number of parked tasks.
    pub(super) fn population(&self) -> ((usize, usize), usize) {
        (self.ready.waiting(), self.parked.lock().lot.len())
    }

    fn notify_idle(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.readiness.notify_one();
        }
    }

    /// Gives a task its turn and hands it on; returns `false` if the turn was held and another worker has replaced this
    /// one.
    fn give_turn(
        &self,
        state: &WorkerState,
        mut task: Admitted,
        class: Class,
        clock: &impl Fn() -> Instant,
    ) -> bool {
        let wake_alls = self.wake_alls.load(Ordering::Acquire);
        let mut now = clock();
        self.begin_turn(&state.turn, class, now);
        let turn = loop {
            // A panic ends only this task: the task is dropped whole, so no half-done state is seen.
            let turn = catch_unwind(AssertUnwindSafe(|| task.task.turn(now, class)));
            let Ok(Turn::Call { until }) = turn else { break turn };
            let Some(call) = task.task.take_call() else { break Ok(Turn::Done) };
            state.turn.begin_call(task, until);
            // When the call panics, its task finds no result.
            let _returned = catch_unwind(AssertUnwindSafe(call));
            match state.turn.end_call() {
                CallEnd::Task(again) => (task, now) = (again, clock()),
                CallEnd::Parked(token) => {
                    let is_replaced = self.end_turn(state, class);
                    if let Some(token) = token {
                        self.wake(token, class);
                    }
                    return !is_replaced;
                }
            }
        };
        let is_replaced = self.end_turn(state, class);
        match turn {
            Ok(Turn::Again(class)) => self.ready.push(task, class),
            Ok(Turn::Park { until }) => drop(self.park(task, until, wake_alls)),
            Ok(Turn::Done | Turn::Call { .. }) | Err(_) => drop_quietly(task),
        }
        if is_replaced {
            // Tasks that this worker has pushed are left to others.
            self.notify_idle();
        }
        !is_replaced
    }

    /// Ends the turn; returns `true` if another worker has replaced this one, and its turn has ended for the queue.
    fn end_turn(&self, state: &WorkerState, class: Class) -> bool {
        let is_replaced = state.turn.end();
        if !is_replaced {
            self.ready.end_turn(class);
        }
        is_replaced
    }

    /// Wakes a task that was parked while its call ran, unless something else has woken it since the call was held.
    fn wake(&self, token: Token, class: Class) {
        if let Some(task) = self.parked.lock().lot.wake(token) {
            self.ready.push(task, class);
        }
        self.notify_idle();
    }

    /// Inserts the task into the lot, then arms its descriptors, both under the lot's lock. Waking the task needs this
    /// lock, so the task and its descriptors stay where they are until all descriptors are armed.
    fn park(&self, task: Admitted, until: Instant, wake_alls: u64) -> Option<Token> {
        let mut parked = self.parked.lock();
        if self.wake_alls.load(Ordering::Acquire) != wake_alls {
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
            // The kernel has no memory for the watch. An unwatched task would not wake for its client's commands, so it
            // is dropped.
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
impl<R: Readiness> Scheduler<R> {
    /// Runs a worker's step if there is a turn to run without waiting; returns `false` if there is none.
    pub(super) fn try_work(&self, state: &mut WorkerState, clock: impl Fn() -> Instant) -> bool {
        self.ready.has_turn() && {
            match self.pick(state, &clock) {
                Some((task, class)) => drop(self.give_turn(state, task, class, &clock)),
                None => debug_assert!(false, "there was a turn"),
            }
            true
        }
    }

    /// Looks for readiness without waiting, as a worker does between two turns.
    pub(super) fn try_look(&self, state: &mut WorkerState, clock: impl Fn() -> Instant) {
        self.look(WaitMode::None, state, &clock);
    }

    /// Returns the number of ready tasks, the number of parked tasks, their earliest deadline, and the alarm's time.
    pub(super) fn census(&self) -> (usize, usize, Option<Instant>, Option<Instant>) {
        let parked = self.parked.lock();
        (self.ready.len(), parked.lot.len(), parked.lot.next_deadline(), parked.alarm)
    }

    pub(super) fn readiness(&self) -> &R {
        &self.readiness
    }
}

/// Drops a task, and catches a panic in its `drop`.
fn drop_quietly(task: Admitted) {
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
}
