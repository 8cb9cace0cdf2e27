//! What the pool asks of those it serves: [`Task`], and the words for what a task wants next.

use std::convert::Infallible;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crossbeam_channel::Sender;

/// Something that works in short turns: a session, or whatever else the pool is given.
pub trait Task: Send {
    /// Works for one turn, bounded in bytes and time, and never waits.
    ///
    /// `now` is the time the turn began. `class` is the queue it came from: an interactive turn is kept short, bulk work
    /// belongs into a bulk turn (ask for one by [`Turn::Again`]).
    fn turn(&mut self, now: Instant, class: Class) -> Turn;

    /// Names the descriptors that may end this task's sleep; asked for only when it parks.
    fn watch<'a>(&'a self, watch: &mut Watch<'a>);

    /// The call of [`Turn::Call`]; asked for right after it.
    fn take_call(&mut self) -> Option<Call> {
        None
    }
}

/// Work that may hold the thread it runs on, as a file system that hangs does. It owns what it needs, and leaves what it comes
/// to where its task finds it.
pub type Call = Box<dyn FnOnce() + Send>;

/// What a task wants after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do at once: back to the end of the ready queue of this class.
    Again(Class),
    /// A call comes next that may not return for long. When it has, the task has its next turn at once; if it is held, the
    /// task is parked meanwhile.
    Call {
        /// When to wake the task if the call has not returned.
        until: Instant,
    },
    /// Nothing to do before a watched descriptor is ready or this time has come. Every park has a deadline.
    Park {
        /// When to wake the task if nothing else did.
        until: Instant,
    },
    /// Finished: the task is dropped.
    Done,
}

/// Which of the two ready queues a turn waits in. Interactive turns go before bulk turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Short work that a person or program waits for: a command and its reply.
    Interactive,
    /// Work that moves much data.
    Bulk,
}

/// What a descriptor is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    Readable,
    Writable,
    HangUp,
}

/// One descriptor, what it is watched for, and the class of the turn that its readiness calls for.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    pub(super) descriptor: BorrowedFd<'a>,
    pub(super) interest: Interest,
    pub(super) class: Class,
}

/// The descriptors a parked task waits for: two at most, the control and the data connection.
#[derive(Default)]
pub struct Watch<'a>([Option<Watched<'a>>; 2]);

impl<'a> Watch<'a> {
    /// Wakes the task, for a turn of this class, when the descriptor has something to read (or to accept).
    pub fn readable(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::Readable, class });
    }

    /// Wakes the task, for a turn of this class, when the descriptor has room to write (or is connected).
    pub fn writable(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::Writable, class });
    }

    /// Wakes the task, for a turn of this class, when the other end has closed its side or broken the connection, and not for
    /// what it has said before. Once that is known it must not be asked for again: it stays so.
    pub fn hang_up(&mut self, descriptor: BorrowedFd<'a>, class: Class) {
        self.add(Watched { descriptor, interest: Interest::HangUp, class });
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

/// A task, and the sign that it lives, by which [`super::Pool::drain`] sees when the last is gone.
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
