//! The interface between the pool and the tasks it runs: [`Task`], and the ways in which a turn can end.

use std::convert::Infallible;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::sys::Interest;

/// A task that works in short turns, such as a session.
pub trait Task: Send {
    /// Works for one turn, bounded in bytes and time, and never waits.
    ///
    /// `now` is the time at which the turn began. `class` is the queue the turn waited in. An interactive turn is kept
    /// short; bulk work belongs in a bulk turn (request one by returning [`Turn::Again`]).
    fn turn(&mut self, now: Instant, class: Class) -> Turn;

    /// Lists the descriptors that may wake this task; called only when the task parks.
    fn watch<'a>(&'a self, watch: &mut Watch<'a>);

    /// Returns the time until which a new task waits for its descriptors. `None` means that it has work to do at once.
    /// Called once, before the first turn.
    fn waits_at_first(&self) -> Option<Instant> {
        None
    }

    /// Returns the call announced by [`Turn::Call`]; called right after that turn.
    fn take_call(&mut self) -> Option<Call> {
        None
    }
}

/// A call that may hold its thread, for example in a file system that hangs. It owns its data, and leaves its result
/// where its task finds it.
pub type Call = Box<dyn FnOnce() + Send>;

/// The outcome of a turn: the task's next state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The task has more to do at once: it goes to the end of the ready queue of this class.
    Again(Class),
    /// The task has a call to make that may not return for long. When it returns, the task gets its next turn at once;
    /// if it is held, the task is parked meanwhile.
    Call {
        /// The time at which the task is woken if the call has not returned.
        until: Instant,
    },
    /// The task has nothing to do before a watched descriptor is ready or this time has come. Every park has a
    /// deadline.
    Park {
        /// The time at which the task is woken if nothing else woke it.
        until: Instant,
    },
    /// The task is finished, and is dropped.
    Done,
}

/// The ready queue that a turn waits in. Interactive turns go before bulk turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Short work that a person or program waits for: a command and its reply.
    Interactive,
    /// Work that moves much data.
    Bulk,
}

/// A watched descriptor, the readiness it is watched for, and the class of the turn that the readiness brings.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    pub(super) descriptor: BorrowedFd<'a>,
    pub(super) interest: Interest,
    pub(super) class: Class,
}

/// The descriptors that a parked task waits for: at most two, the control and the data connection.
#[derive(Default)]
pub struct Watch<'a>([Option<Watched<'a>>; 2]);

impl<'a> Watch<'a> {
    /// Wakes the task, for a turn of this class, when the descriptor can be read (or a connection accepted).
    pub fn readable(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::Readable, class });
    }

    /// Wakes the task, for a turn of this class, when the descriptor can be written (or is connected).
    pub fn writable(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::Writable, class });
    }

    /// Wakes the task, for a turn of this class, when the other end has closed its side or broken the connection; data
    /// received before does not wake it. Must not be requested again once the close is known: the condition lasts.
    pub fn hang_up(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::HangUp, class });
    }

    /// Returns whether no further descriptor can be watched.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    fn add(&mut self, watched: Watched<'a>) {
        match &mut self.0 {
            [first @ None, _] | [_, first @ None] => *first = Some(watched),
            _ => debug_assert!(false, "a task watches two descriptors at most"),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Watched<'a>> {
        self.0.iter().flatten()
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// A task, with a clone of the sender by which [`super::Pool::drain`] sees when the last task is gone.
pub(super) struct Admitted {
    pub(super) task: Box<dyn Task>,
    _alive: Sender<Infallible>,
}

impl Admitted {
    pub(super) fn new(task: Box<dyn Task>, alive: Sender<Infallible>) -> Self {
        Self { task, _alive: alive }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admitted").finish_non_exhaustive()
    }
}
