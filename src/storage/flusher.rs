//! What waits for a disk is done by a few threads of its own, so that no worker of a pool waits with it: a flush of a
//! large file can take seconds.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};

/// How many threads flush. Disks are fastest with a few requests at a time.
const THREADS: usize = 4;

/// How many jobs may wait: more than there can be sessions, each of which has two at most.
const JOBS_MAX: usize = 1 << 18;

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
        let (sender, jobs): (_, Receiver<Job>) = bounded(JOBS_MAX);
        for number in 0..THREADS {
            let jobs = jobs.clone();
            let work = move || jobs.into_iter().for_each(|job| job());
            std::thread::Builder::new().name(format!("flusher {number}")).spawn(work)?;
        }
        Ok(Self(sender))
    }

    /// Has something done, and tells by a descriptor when it is.
    pub fn run(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Flushing> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let theirs = bell.try_clone()?;
        let (sender, outcome) = bounded(1);
        let job: Job = Box::new(move || {
            // Nobody waits any more when the session has ended meanwhile.
            let _told = sender.send(work());
            let _rung = rustix::io::write(&theirs, &1_u64.to_ne_bytes());
        });
        match self.0.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job(),
        }
        Ok(Flushing { bell, outcome })
    }
}

/// Something that is being done.
#[derive(Debug)]
pub struct Flushing {
    bell: OwnedFd,
    outcome: Receiver<io::Result<()>>,
}

impl Flushing {
    /// Readable when it is done.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What it came to, once it is done.
    #[must_use]
    pub fn outcome(&self) -> Option<io::Result<()>> {
        self.outcome.try_recv().ok()
    }
}
