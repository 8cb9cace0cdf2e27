//! Turns that are held: by a call that does not return, as of a file system that hangs. Another worker takes the place of the
//! one that is held, so that the pool has its number of workers again; the held one ends when its call returns.
//!
//! No thread sleeps through this while nothing happens: [`watch`] waits until a turn begins, and looks every few milliseconds
//! as long as there are turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::lot::Token;
use super::sync::Mutex;
use super::task::{Admitted, Class};

/// A turn that takes longer is held. A turn is bounded well below a millisecond, so what takes longer waits for something.
const HELD_AFTER: Duration = Duration::from_millis(10);

/// The interval between two looks at the turns under way.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// After this many looks in a row without a turn under way, the next turn is waited for.
const QUIET_LOOKS: u32 = 10;

/// The maximum number of workers that are held and have been replaced. Beyond, the pool has fewer workers.
pub(super) const REPLACED_MAX: usize = 256;

/// The turn of one worker.
#[derive(Debug)]
pub(super) struct TurnState(Mutex<Option<UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    class: Class,
    replaced: bool,
    call: CallState,
}

/// The place of the task whose turn it is.
#[derive(Debug)]
enum CallState {
    /// In the worker's hands.
    None,
    /// Here, while its call runs.
    Waits(Admitted, Instant),
    /// In the lot, since its call is held.
    Parked(Option<Token>),
}

/// The outcome of a call's end.
#[derive(Debug)]
pub(super) enum CallEnd {
    /// The task, for its next turn.
    Task(Admitted),
    /// The task is parked; another worker has this one's place.
    Parked(Option<Token>),
}

impl TurnState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(None)))
    }

    pub(super) fn begin(&self, class: Class, now: Instant) {
        let call = CallState::None;
        *self.0.lock() = Some(UnderWay { since: now, class, replaced: false, call });
    }

    /// Ends the turn; whether another worker has taken this one's place meanwhile.
    pub(super) fn end(&self) -> bool {
        self.0.lock().take().is_some_and(|turn| turn.replaced)
    }

    /// Keeps a task while its call runs.
    pub(super) fn begin_call(&self, task: Admitted, until: Instant) {
        if let Some(turn) = self.0.lock().as_mut() {
            turn.call = CallState::Waits(task, until);
        }
    }

    /// Gives the task back when its call has returned.
    pub(super) fn end_call(&self) -> CallEnd {
        let mut turn = self.0.lock();
        let call = turn.as_mut().map(|turn| std::mem::replace(&mut turn.call, CallState::None));
        match call {
            Some(CallState::Waits(task, _)) => CallEnd::Task(task),
            Some(CallState::Parked(token)) => CallEnd::Parked(token),
            Some(CallState::None) | None => CallEnd::Parked(None),
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Returns whether the turn is held.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.0.lock().as_ref().is_some_and(|turn| turn.is_held(now))
    }

    /// Marks a turn that is held as one whose worker is replaced, if it may be; its class, if it was not marked before. A task
    /// whose call is held is given to `park`.
    pub(super) fn replace(
        &self,
        now: Instant,
        may_replace: bool,
        park: impl FnOnce(Admitted, Instant) -> Option<Token>,
    ) -> Option<Class> {
        let mut turn = self.0.lock();
        let turn = turn.as_mut().filter(|turn| turn.is_held(now))?;
        // A call may begin after its worker was replaced.
        if matches!(turn.call, CallState::Waits(..))
            && let CallState::Waits(task, until) =
                std::mem::replace(&mut turn.call, CallState::None)
        {
            // Under the lock of the turn: the end of the call waits for the token.
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
    /// Replaces the workers that are held; whether any turn is under way.
    fn look(&self) -> bool;

    /// Asks for a message on the next turn that begins; whether none is under way.
    fn doze(&self) -> bool;
}

/// Looks after held turns until `stop` is disconnected. A message on `begun` says that a turn has begun.
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
