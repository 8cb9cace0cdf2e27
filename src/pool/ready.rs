//! The ready queue: two crossbeam channels, interactive before bulk. One rule keeps bulk turns from starving, and
//! another keeps them from taking every worker.

use std::fmt;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::sync::{AtomicUsize, Ordering};
use super::task::{Admitted, Class};

/// The maximum number of interactive turns in a row; after them, a worker takes a bulk turn, if one waits.
pub(super) const INTERACTIVE_STREAK_MAX: u32 = 16;

/// A worker's own state at the ready queue.
#[derive(Debug, Default)]
pub(super) struct Picker {
    /// Interactive turns taken since the last bulk turn.
    streak: u32,
}

impl Picker {
    /// Returns `true` if the next turn must be a bulk turn, if one waits.
    fn owes_bulk(&self) -> bool {
        self.streak >= INTERACTIVE_STREAK_MAX
    }

    fn took(&mut self, class: Class) {
        self.streak = match class {
            Class::Interactive => self.streak.saturating_add(1),
            Class::Bulk => 0,
        };
    }
}

/// A task whose turn is next, with the class of that turn.
pub(super) type Due = (Admitted, Class);

/// The tasks that are ready. The queue is unbounded: it holds admitted tasks only, and the callers that admit tasks
/// bound their number. No worker waits at it: workers wait for readiness, and are poked when a task is pushed.
pub(super) struct Ready {
    interactive: (Sender<Admitted>, Receiver<Admitted>),
    bulk: (Sender<Admitted>, Receiver<Admitted>),
    /// The number of bulk turns under way; at most `bulk_turns_max`.
    bulk_turns: AtomicUsize,
    bulk_turns_max: usize,
}

impl fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ready").finish_non_exhaustive()
    }
}

impl Ready {
    /// Creates the queue for `workers` workers. Of three or more, one is always free of bulk turns, so a command waits
    /// for no turn. Two workers both take bulk turns, because one alone moves half as much; a command then waits for
    /// the rest of a turn, which is a fraction of a millisecond.
    pub(super) fn new(workers: usize) -> Self {
        let bulk_turns_max = if workers > 2 { workers - 1 } else { workers };
        Self {
            interactive: unbounded(),
            bulk: unbounded(),
            bulk_turns: AtomicUsize::new(0),
            bulk_turns_max,
        }
    }

    /// Puts a task at the end of the queue of its class.
    pub(super) fn push(&self, task: Admitted, class: Class) {
        let queue = match class {
            Class::Interactive => &self.interactive.0,
            Class::Bulk => &self.bulk.0,
        };
        // Invariant: the receiving end is a field of this struct, so it cannot be gone.
        let sent = queue.send(task);
        debug_assert!(sent.is_ok(), "a ready queue lost its receiving end");
    }

    /// Takes the next interactive turn, if one waits and the next turn need not be a bulk turn.
    pub(super) fn take_interactive(&self, picker: &mut Picker) -> Option<Due> {
        if picker.owes_bulk() && self.may_take_bulk() {
            return None;
        }
        let task = self.interactive.1.try_recv().ok()?;
        picker.took(Class::Interactive);
        Some((task, Class::Interactive))
    }

    /// Takes the next bulk turn, if one waits and another may be under way. [`Ready::end_turn`] must be called after
    /// it.
    pub(super) fn take_bulk(&self, picker: &mut Picker) -> Option<Due> {
        if !self.may_take_bulk() {
            return None;
        }
        let one_more = |turns| (turns < self.bulk_turns_max).then_some(turns + 1);
        self.bulk_turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        let Ok(task) = self.bulk.1.try_recv() else {
            self.end_turn(Class::Bulk);
            return None;
        };
        picker.took(Class::Bulk);
        Some((task, Class::Bulk))
    }

    /// Records that a turn of this class is over.
    pub(super) fn end_turn(&self, class: Class) {
        if class == Class::Bulk {
            self.bulk_turns.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns `true` if a worker would find a turn to run.
    pub(super) fn has_turn(&self) -> bool {
        !self.interactive.1.is_empty() || self.may_take_bulk()
    }

    fn may_take_bulk(&self) -> bool {
        !self.bulk.1.is_empty() && self.bulk_turns.load(Ordering::SeqCst) < self.bulk_turns_max
    }

    /// Returns the number of tasks that wait, interactive and bulk.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.interactive.1.len(), self.bulk.1.len())
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn len(&self) -> usize {
        let (interactive, bulk) = self.waiting();
        interactive + bulk
    }

    /// Drops every task that is queued.
    pub(super) fn clear(&self) {
        self.interactive.1.try_iter().chain(self.bulk.1.try_iter()).for_each(drop);
    }
}
