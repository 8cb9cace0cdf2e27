//! Work that would hold a worker of a pool: a flush of a large file can take seconds, the check of a password takes its time
//! on purpose. Who does it stands in `disks` and `fair`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, bounded};
use rustix::event::{EventfdFlags, eventfd};

/// Something to be done, which tells by itself when it is.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Prepares work for another thread; what it comes to is told by a descriptor.
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
        let (job, doomed) = prepare(|| -> io::Result<()> { panic!("asked to") }).unwrap();
        job();
        assert!(doomed.wait().is_err());
    }
}
