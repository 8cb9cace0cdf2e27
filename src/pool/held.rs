//! Turns that are held: by a call that does not return, as of a file system that hangs. Another worker takes the place of the
//! one that is held, so that the pool has its number of workers again; the held one ends when its call returns.
//!
//! No thread sleeps through this while nothing happens: [`watch`] waits until a turn begins, and looks every few milliseconds
//! as long as there are turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::sync::Mutex;
use super::task::Class;

/// A turn that takes longer is held. A turn is bounded well below a millisecond, so what takes longer waits for something.
const HELD_AFTER: Duration = Duration::from_millis(10);

/// How often turns under way are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// After this many looks in a row without a turn under way, the next turn is waited for.
const QUIET_LOOKS: u32 = 20;

/// How many workers may be held at once and have been replaced. Beyond, the pool has fewer workers.
pub(super) const REPLACED_MAX: usize = 256;

/// The turn of one worker.
#[derive(Debug)]
pub(super) struct TurnState(Mutex<Option<UnderWay>>);

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    since: Instant,
    class: Class,
    replaced: bool,
}

impl TurnState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(None)))
    }

    pub(super) fn begin(&self, class: Class, now: Instant) {
        *self.0.lock() = Some(UnderWay { since: now, class, replaced: false });
    }

    /// Ends the turn; whether another worker has taken this one's place meanwhile.
    pub(super) fn end(&self) -> bool {
        self.0.lock().take().is_some_and(|turn| turn.replaced)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Whether the turn is held.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.0.lock().is_some_and(|turn| turn.is_held(now))
    }

    /// Marks a turn that is held as one whose worker is replaced; its class, if it is not marked yet.
    pub(super) fn replace(&self, now: Instant) -> Option<Class> {
        let mut turn = self.0.lock();
        let turn = turn.as_mut().filter(|turn| turn.is_held(now) && !turn.replaced)?;
        turn.replaced = true;
        Some(turn.class)
    }
}

impl UnderWay {
    fn is_held(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= HELD_AFTER
    }
}

/// What [`watch`] looks at.
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
