//! A job for another thread, and its result.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use crossbeam_channel::{Receiver, bounded};

use crate::sys::Wakeup;

/// A job, which signals its own completion.
pub(super) type BoxedJob = Box<dyn FnOnce() + Send>;

/// Prepares work for another thread. A descriptor of the [`Job`] becomes readable when the work is done.
pub(super) fn prepare<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<(BoxedJob, Job<T>)> {
    let done = Wakeup::new()?;
    let theirs = done.try_clone()?;
    let (sender, outcome) = bounded(1);
    let run: BoxedJob = Box::new(move || {
        // The receiver is gone if the session has ended meanwhile.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let _sent = sender.send(outcome.unwrap_or_else(|_| Err(io::Error::other("a panic"))));
        theirs.signal();
    });
    Ok((run, Job { done, outcome }))
}

/// Work that another thread does.
#[derive(Debug)]
pub struct Job<T> {
    done: Wakeup,
    outcome: Receiver<io::Result<T>>,
}

impl<T> Job<T> {
    /// Returns a descriptor that is readable when the work is done.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Returns true if the work is done, and its result was not taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.outcome.is_empty()
    }

    /// Waits until the work is done. Only another job may wait, never a worker.
    pub fn wait(self) -> io::Result<T> {
        self.outcome.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// Returns the result when the work is done.
    pub fn outcome(&self) -> Poll<io::Result<T>> {
        self.outcome.try_recv().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_job_alone() {
        let (run, doomed) = prepare(|| -> io::Result<()> { panic!("asked to") }).unwrap();
        run();
        assert!(doomed.wait().is_err());
    }
}
