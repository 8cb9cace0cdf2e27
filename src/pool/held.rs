//! Turns that are held by a call that does not return, for example in a file system that hangs. Another worker replaces
//! the held one, so the pool has its number of workers again. The held worker ends when its call returns.
//!
//! No thread polls while nothing happens: [`watch`] waits until a turn begins, and looks every few milliseconds while
//! turns are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::lot::Token;
use super::sync::Mutex;
use super::task::{Admitted, Class};

/// The time after which a turn counts as held. A turn is bounded well below a millisecond, so a longer one waits for
/// something.
const HELD_AFTER: Duration = Duration::from_millis(10);

/// The interval between two looks at the turns under way.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The number of looks in a row without a turn under way, after which [`watch`] waits for the next turn.
const QUIET_LOOKS: u32 = 10;

/// The maximum number of held workers that are replaced. Beyond it, the pool has fewer workers.
pub(super) const REPLACED_MAX: usize = if cfg!(test) { 16 } else { 256 };

/// The turn of one worker.
#[derive(Debug)]
pub(super) struct TurnState {
    under_way: Mutex<Option<UnderWay>>,
    /// Number of turns by class. Only the worker writes them.
    interactive: AtomicU64,
    bulk: AtomicU64,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    class: Class,
    replaced: bool,
    call: CallState,
}

/// The owner of the task whose turn is under way.
#[derive(Debug)]
enum CallState {
    /// The worker has the task.
    None,
    /// The task is kept here while its call runs, with the deadline of the call.
    Waits(Admitted, Instant),
    /// The task is in the lot, because its call is held; the token wakes it.
    Parked(Option<Token>),
}

/// The outcome when a call returns.
#[derive(Debug)]
pub(super) enum CallEnd {
    /// The task, for its next turn.
    Task(Admitted),
    /// The task is parked.
    Parked(Option<Token>),
}

impl TurnState {
    pub(super) fn new() -> Arc<Self> {
        let (interactive, bulk) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { under_way: Mutex::new(None), interactive, bulk })
    }

    /// Returns the number of turns so far, interactive and bulk.
    pub(super) fn turns(&self) -> (u64, u64) {
        (self.interactive.load(Ordering::Relaxed), self.bulk.load(Ordering::Relaxed))
    }

    pub(super) fn begin(&self, class: Class, now: Instant) {
        let turns = if class == Class::Bulk { &self.bulk } else { &self.interactive };
        turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let call = CallState::None;
        *self.under_way.lock() = Some(UnderWay { since: now, class, replaced: false, call });
    }

    /// Ends the turn; returns `true` if another worker has replaced this one meanwhile.
    pub(super) fn end(&self) -> bool {
        self.under_way.lock().take().is_some_and(|turn| turn.replaced)
    }

    /// Stores a task while its call runs.
    pub(super) fn begin_call(&self, task: Admitted, until: Instant) {
        if let Some(turn) = self.under_way.lock().as_mut() {
            turn.call = CallState::Waits(task, until);
        }
    }

    /// Returns the task when its call has returned, unless it was parked.
    pub(super) fn end_call(&self) -> CallEnd {
        let mut turn = self.under_way.lock();
        let call = turn.as_mut().map(|turn| std::mem::replace(&mut turn.call, CallState::None));
        match call {
            Some(CallState::Waits(task, _)) => CallEnd::Task(task),
            Some(CallState::Parked(token)) => CallEnd::Parked(token),
            Some(CallState::None) | None => CallEnd::Parked(None),
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.lock().is_some()
    }

    /// Returns whether the turn is held.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.under_way.lock().as_ref().is_some_and(|turn| turn.is_held(now))
    }

    /// Marks a held turn as one whose worker is replaced, if `may_replace`. Returns its class if it was not marked
    /// before. A task whose call is held is given to `park`.
    pub(super) fn replace(
        &self,
        now: Instant,
        may_replace: bool,
        park: impl FnOnce(Admitted, Instant) -> Option<Token>,
    ) -> Option<Class> {
        let mut turn = self.under_way.lock();
        let turn = turn.as_mut().filter(|turn| turn.is_held(now))?;
        // A call may begin after its worker was replaced.
        if matches!(turn.call, CallState::Waits(..))
            && let CallState::Waits(task, until) =
                std::mem::replace(&mut turn.call, CallState::None)
        {
            // Done under the turn's lock, so that the end of the call waits for the token.
            turn.call = CallState::Parked(park(task, until));
        }
        (may_replace && !std::mem::replace(&mut turn.replaced, true)).then_some(turn.class)
    }
}

impl UnderWay {
    fn is_held(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= HELD_AFTER
    }
}

/// The turns that [`watch`] looks at.
pub(super) trait Turns {
    /// Replaces the held workers; returns `true` if a turn is under way or a worker could not be started.
    fn look(&self) -> bool;

    /// Requests a message when the next turn begins; returns `true` if no turn is under way.
    fn doze(&self) -> bool;
}

/// Watches for held turns until `stop` is disconnected. A message on `begun` reports that a turn has begun.
pub(super) fn watch(
    turns: &impl Turns,
    stop: &Receiver<std::convert::Infallible>,
    begun: &Receiver<()>,
) {
    let mut quiet = 0;
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        quiet = if turns.look() { 0 } else { quiet + 1 };
        if quiet < QUIET_LOOKS || !turns.doze() {
            continue;
        }
        quiet = 0;
        select! {
            recv(stop) -> _ => return,
            recv(begun) -> _ => {}
        }
    }
}
