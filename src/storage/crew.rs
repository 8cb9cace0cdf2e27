//! What would hold a worker of a pool is done by a few threads of its own: a flush of a large file can take seconds, the
//! check of a password takes its time on purpose.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, SendError, Sender, TrySendError, bounded, unbounded};
use rustix::event::{EventfdFlags, eventfd};

/// Something to be done, which tells by itself when it is.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads for one kind of errand. They end when this is dropped and what they were given is done.
pub struct Crew(Sender<Job>);

impl fmt::Debug for Crew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Crew").field("waiting", &self.0.len()).finish()
    }
}

impl Crew {
    /// Starts the threads, for which so many errands may wait.
    pub fn start(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        Self::of(name, threads, bounded(waiting_max))
    }

    /// The same where something else bounds the errands: each session has two at most.
    pub fn start_unbounded(name: &str, threads: usize) -> io::Result<Self> {
        Self::of(name, threads, unbounded())
    }

    fn of(
        name: &str,
        threads: usize,
        (sender, jobs): (Sender<Job>, Receiver<Job>),
    ) -> io::Result<Self> {
        for number in 1..=threads {
            let jobs = jobs.clone();
            let work = move || jobs.into_iter().for_each(|job| job());
            std::thread::Builder::new().name(format!("{name} {number}")).spawn(work)?;
        }
        Ok(Self(sender))
    }

    /// Has something done, and tells by a descriptor when it is.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Errand<T>> {
        let (job, errand) = prepare(work)?;
        if let Err(SendError(job)) = self.0.send(job) {
            job();
        }
        Ok(errand)
    }

    /// The same if not too many wait already; `None` if they do.
    pub fn try_run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<io::Result<Errand<T>>> {
        let (job, errand) = match prepare(work) {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        match self.0.try_send(job) {
            Ok(()) => Some(Ok(errand)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

/// Makes a job of something, and what waits for it.
pub(super) fn prepare<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<(Job, Errand<T>)> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let theirs = bell.try_clone()?;
    let (sender, outcome) = bounded(1);
    let job: Job = Box::new(move || {
        // Nobody waits any more when the session has ended meanwhile.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let _told = sender.send(outcome.unwrap_or_else(|_| Err(io::Error::other("a panic"))));
        let _rung = rustix::io::write(&theirs, &1_u64.to_ne_bytes());
    });
    Ok((job, Errand { bell, outcome }))
}

/// Something that is being done.
#[derive(Debug)]
pub struct Errand<T> {
    bell: OwnedFd,
    outcome: Receiver<io::Result<T>>,
}

impl<T> Errand<T> {
    /// Readable when it is done.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Waits until it is done: for another errand, never for a worker.
    pub fn wait(self) -> io::Result<T> {
        self.outcome.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// What it came to, once it is done.
    #[must_use]
    pub fn outcome(&self) -> Option<io::Result<T>> {
        self.outcome.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_errand_alone() {
        let crew = Crew::start("test", 1, 1).unwrap();
        let doomed = crew.run(|| -> io::Result<()> { panic!("asked to") }).unwrap();
        assert!(doomed.wait().is_err());
        assert_eq!(crew.run(|| Ok(7)).unwrap().wait().unwrap(), 7);
    }

    #[test]
    fn what_finds_no_room_is_refused() {
        let crew = Crew::start("test", 1, 1).unwrap();
        let (go, gate) = bounded::<()>(0);
        let (begun, is_begun) = bounded(0);
        let work = move || {
            begun.send(()).map_err(io::Error::other)?;
            gate.recv().map_err(io::Error::other)
        };
        let held = crew.run(work).unwrap();
        is_begun.recv().unwrap();
        let waiting = crew.try_run(|| Ok(())).unwrap().unwrap();
        assert!(crew.try_run(|| Ok(())).is_none());
        go.send(()).unwrap();
        held.wait().unwrap();
        waiting.wait().unwrap();
    }
}
