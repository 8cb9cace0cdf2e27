//! What waits for a disk is done by a few threads of its own, so that no worker of a pool waits with it: a flush of a
//! large file can take seconds.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, SendError, Sender, bounded, unbounded};
use rustix::event::{EventfdFlags, eventfd};

/// How many threads flush. Disks are fastest with a few requests at a time.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads that flush. They end when this is dropped and what they were given is done.
pub struct Flusher(Sender<Job>);

impl fmt::Debug for Flusher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Flusher").field("waiting", &self.0.len()).finish()
    }
}

impl Flusher {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        // Bounded by the sessions, each of which has two jobs at most.
        let (sender, jobs): (_, Receiver<Job>) = unbounded();
        for number in 0..THREADS {
            let jobs = jobs.clone();
            let work = move || jobs.into_iter().for_each(|job| job());
            std::thread::Builder::new().name(format!("flusher {number}")).spawn(work)?;
        }
        Ok(Self(sender))
    }

    /// Has something done, and tells by a descriptor when it is.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Flushing<T>> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let theirs = bell.try_clone()?;
        let (sender, outcome) = bounded(1);
        let job: Job = Box::new(move || {
            // Nobody waits any more when the session has ended meanwhile.
            let outcome = catch_unwind(AssertUnwindSafe(work));
            let _told = sender.send(outcome.unwrap_or_else(|_| Err(io::Error::other("a panic"))));
            let _rung = rustix::io::write(&theirs, &1_u64.to_ne_bytes());
        });
        if let Err(SendError(job)) = self.0.send(job) {
            job();
        }
        Ok(Flushing { bell, outcome })
    }
}

/// Something that is being done.
#[derive(Debug)]
pub struct Flushing<T> {
    bell: OwnedFd,
    outcome: Receiver<io::Result<T>>,
}

impl<T> Flushing<T> {
    /// Readable when it is done.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Waits until it is done: for another job of the flusher, never for a worker.
    pub fn wait(self) -> io::Result<T> {
        self.outcome.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// What it came to, once it is done.
    #[must_use]
    pub fn outcome(&self) -> Option<io::Result<T>> {
        self.outcome.try_recv().ok()
    }
}
