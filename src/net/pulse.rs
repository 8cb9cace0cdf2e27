//! The question to each accept loop whether it still runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::sys::Wakeup;

/// A question to an accept loop whether it still runs, which the loop answers between two connections.
#[derive(Debug)]
pub struct Pulse {
    wakes: Wakeup,
    asked: AtomicBool,
    answered: AtomicBool,
    ended: AtomicBool,
}

impl Pulse {
    /// Creates a question that is not asked yet.
    pub fn new() -> io::Result<Self> {
        let wakes = Wakeup::new()?;
        let no = || AtomicBool::new(false);
        Ok(Self { wakes, asked: no(), answered: no(), ended: no() })
    }

    /// Asks the loop, and forgets the last answer.
    pub fn ask(&self) {
        self.answered.store(false, Ordering::Release);
        self.asked.store(true, Ordering::Release);
        self.wakes.signal();
    }

    /// Returns whether the loop has answered since it was last asked, or has ended as it should.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) || self.has_ended()
    }

    /// Records that the loop has ended because its listener was closed.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Answers, if the loop was asked.
    pub fn answer(&self) {
        if self.asked.swap(false, Ordering::AcqRel) {
            self.wakes.take();
            self.answered.store(true, Ordering::Release);
        }
    }
}

impl AsFd for Pulse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }
}

/// The questions to all accept loops of a server.
#[derive(Debug, Default)]
pub struct Pulses(Mutex<Vec<Arc<Pulse>>>);

impl Pulses {
    /// Adds the question to a new accept loop.
    pub fn add(&self) -> io::Result<Arc<Pulse>> {
        let pulse = Arc::new(Pulse::new()?);
        self.0.lock().push(Arc::clone(&pulse));
        Ok(pulse)
    }

    /// Asks every loop, and forgets those that have ended as they should.
    pub fn ask(&self) {
        let mut pulses = self.0.lock();
        pulses.retain(|pulse| !pulse.has_ended());
        pulses.iter().for_each(|pulse| pulse.ask());
    }

    /// Returns whether every loop has answered since it was asked. A loop that has ended by an error never answers.
    #[must_use]
    pub fn have_answered(&self) -> bool {
        self.0.lock().iter().all(|pulse| pulse.has_answered())
    }
}
