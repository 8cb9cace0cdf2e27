//! The ready queue: two crossbeam channels, interactive before bulk, and the rule that keeps bulk from starving.

use std::fmt;

use super::task::{Admitted, Class};

/// After so many interactive turns in a row a worker takes a bulk turn, if one waits.
pub(super) const INTERACTIVE_STREAK_MAX: u32 = 16;

/// Which turns a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Interactive turns and nothing else: the worker that is always free for a command.
    InteractiveOnly,
    /// Interactive turns first, and bulk turns.
    Both,
}

/// A worker's place at the ready queue.
#[derive(Debug)]
pub(super) struct Picker {
    lane: Lane,
    /// Interactive turns taken since the last bulk turn.
    streak: u32,
}

impl Picker {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, streak: 0 }
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether it is the turn of bulk, if any waits.
    fn owes_bulk(&self) -> bool {
        self.lane == Lane::Both && self.streak >= INTERACTIVE_STREAK_MAX
    }

    fn took(&mut self, class: Class) {
        self.streak = match class {
            Class::Interactive => self.streak.saturating_add(1),
            Class::Bulk => 0,
        };
    }
}

/// A task whose turn has come, with the class of that turn.
pub(super) type Due = (Admitted, Class);

pub(super) use queue::Ready;

impl fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ready").finish_non_exhaustive()
    }
}

#[cfg(not(shuttle))]
mod queue {
    use std::convert::Infallible;

    use crossbeam_channel::{Receiver, Sender, bounded, never, select_biased, unbounded};
    use parking_lot::Mutex;

    use super::{Admitted, Class, Due, Lane, Picker};

    /// Tasks that are ready. Not bounded here: it holds admitted tasks only, and their number is bounded by whoever
    /// admits them.
    pub(in crate::pool) struct Ready {
        interactive: (Sender<Admitted>, Receiver<Admitted>),
        bulk: (Sender<Admitted>, Receiver<Admitted>),
        /// Dropped to close the queue: every worker that waits sees the other end disconnect.
        open: Mutex<Option<Sender<Infallible>>>,
        closed: Receiver<Infallible>,
    }

    impl Ready {
        pub(in crate::pool) fn new() -> Self {
            let (open, closed) = bounded(0);
            Self {
                interactive: unbounded(),
                bulk: unbounded(),
                open: Mutex::new(Some(open)),
                closed,
            }
        }

        /// Puts a task at the end of the queue of its class.
        pub(in crate::pool) fn push(&self, task: Admitted, class: Class) {
            let queue = match class {
                Class::Interactive => &self.interactive.0,
                Class::Bulk => &self.bulk.0,
            };
            // Invariant: the other end is a field of this same struct, so it cannot be gone.
            let sent = queue.send(task);
            debug_assert!(sent.is_ok(), "a ready queue lost its receiving end");
        }

        /// Waits for the next task; `None` once the queue is closed.
        pub(in crate::pool) fn take(&self, picker: &mut Picker) -> Option<Due> {
            if picker.owes_bulk()
                && let Ok(task) = self.bulk.1.try_recv()
            {
                picker.took(Class::Bulk);
                return Some((task, Class::Bulk));
            }
            let nothing = never();
            let bulk = if picker.lane == Lane::Both { &self.bulk.1 } else { &nothing };
            let (task, class) = select_biased! {
                recv(self.closed) -> _ => return None,
                recv(self.interactive.1) -> task => (task.ok()?, Class::Interactive),
                recv(bulk) -> task => (task.ok()?, Class::Bulk),
            };
            picker.took(class);
            Some((task, class))
        }

        /// Takes the next task if there is one.
        #[cfg(test)]
        pub(in crate::pool) fn try_take(&self, picker: &mut Picker) -> Option<Due> {
            let bulk_waits = picker.lane == Lane::Both && !self.bulk.1.is_empty();
            if self.interactive.1.is_empty() && !bulk_waits { None } else { self.take(picker) }
        }

        #[cfg(test)]
        pub(in crate::pool) fn len(&self) -> usize {
            self.interactive.1.len() + self.bulk.1.len()
        }

        /// Ends the waiting of every worker; tasks still queued stay until [`Ready::clear`].
        pub(in crate::pool) fn close(&self) {
            *self.open.lock() = None;
        }

        /// Drops every task still queued.
        pub(in crate::pool) fn clear(&self) {
            self.interactive.1.try_iter().chain(self.bulk.1.try_iter()).for_each(drop);
        }
    }
}

/// The same queue on shuttle's lock: crossbeam's own threads of thought cannot be scheduled by it.
#[cfg(shuttle)]
mod queue {
    use std::collections::VecDeque;

    use shuttle::sync::{Condvar, Mutex};

    use super::{Admitted, Class, Due, Lane, Picker};

    #[derive(Default)]
    struct State {
        interactive: VecDeque<Admitted>,
        bulk: VecDeque<Admitted>,
        closed: bool,
    }

    #[derive(Default)]
    pub(in crate::pool) struct Ready {
        state: Mutex<State>,
        changed: Condvar,
    }

    impl Ready {
        pub(in crate::pool) fn new() -> Self {
            Self::default()
        }

        pub(in crate::pool) fn push(&self, task: Admitted, class: Class) {
            let mut state = self.state.lock().unwrap();
            match class {
                Class::Interactive => state.interactive.push_back(task),
                Class::Bulk => state.bulk.push_back(task),
            }
            self.changed.notify_all();
        }

        pub(in crate::pool) fn take(&self, picker: &mut Picker) -> Option<Due> {
            let mut state = self.state.lock().unwrap();
            loop {
                let owed = if picker.owes_bulk() { state.bulk.pop_front() } else { None };
                let due = if state.closed {
                    return None;
                } else if let Some(task) = owed {
                    Some((task, Class::Bulk))
                } else if let Some(task) = state.interactive.pop_front() {
                    Some((task, Class::Interactive))
                } else if picker.lane == Lane::Both {
                    state.bulk.pop_front().map(|task| (task, Class::Bulk))
                } else {
                    None
                };
                if let Some((task, class)) = due {
                    picker.took(class);
                    return Some((task, class));
                }
                state = self.changed.wait(state).unwrap();
            }
        }

        pub(in crate::pool) fn close(&self) {
            self.state.lock().unwrap().closed = true;
            self.changed.notify_all();
        }

        pub(in crate::pool) fn clear(&self) {
            let mut state = self.state.lock().unwrap();
            state.interactive.clear();
            state.bulk.clear();
        }
    }
}
