//! The check that the server makes progress, for the watchdog of the service manager.
//!
//! Every pool is given a task that does nothing, and every accept loop is asked for an answer. Only when all of them have
//! answered does the check send `WATCHDOG=1`. A thread that is merely alive is no progress. Not here: slave processes,
//! which the master watches itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::balancer::local_backend::LocalBackend;
use crate::balancer::{Balancer, Dispatcher};
use crate::net::pulse::Pulses;
use crate::notify::Notifier;
use crate::pool::{Class, Task, Turn, Watch};

/// The number of checks in the time of the watchdog. One late check does not end the server.
const CHECKS: u32 = 4;

/// The interval between two reports of the state to a manager without a watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The parts of a server whose progress is checked.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) backends: Vec<Arc<LocalBackend>>,
    pub(crate) pulses: Arc<Pulses>,
    pub(crate) balancer: Arc<Balancer>,
}

/// The thread that checks. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Set when the server stops: its listeners are closed, and its pools take no more tasks.
    is_stopping: Arc<AtomicBool>,
    _ends: Sender<std::convert::Infallible>,
}

impl Watchdog {
    /// Reports that the server is ready, and begins to check.
    ///
    /// # Errors
    /// Returns the kernel's error when it refuses a thread.
    pub(crate) fn start(notifier: Arc<Notifier>, watched: Watched) -> io::Result<Self> {
        let (ends, end) = bounded(0);
        let is_stopping: Arc<AtomicBool> = Arc::default();
        let stopping = Arc::clone(&is_stopping);
        // Counted once: a client that comes before the thread runs is a change to report.
        let status = watched.status();
        notifier.ready(&status);
        let run = move || run(&notifier, &watched, status, &stopping, &end);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(run)?;
        Ok(Self { is_stopping, _ends: ends })
    }

    /// Ends the check, because the time of the stop is limited by itself.
    pub(crate) fn stop_checking(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }
}

fn run(
    notifier: &Notifier,
    watched: &Watched,
    mut reported: String,
    is_stopping: &AtomicBool,
    end: &Receiver<std::convert::Infallible>,
) {
    let interval = notifier.watchdog().map_or(STATUS_INTERVAL, |time| time / CHECKS);
    let mut round = watched.ask();
    while end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let is_stopping = is_stopping.load(Ordering::Acquire);
        if notifier.watchdog().is_some() && (is_stopping || round.is_answered(watched)) {
            notifier.progress();
            round = watched.ask();
        }
        let status = watched.status();
        if status != reported && !is_stopping {
            notifier.status(&status);
            reported = status;
        }
    }
}

impl Watched {
    /// Asks every pool and every accept loop for an answer.
    fn ask(&self) -> Round {
        self.pulses.ask();
        let probe = |backend: &Arc<LocalBackend>| {
            let answered: Arc<AtomicBool> = Arc::default();
            backend.pool().admit(Box::new(Probe(Arc::clone(&answered))));
            answered
        };
        Round(self.backends.iter().map(probe).collect())
    }

    /// Returns the state of the server as a line.
    fn status(&self) -> String {
        let loads = self.balancer.loads();
        let sessions: usize = loads.iter().map(|load| load.sessions).sum();
        let transfers: u64 = loads.iter().map(|load| load.transfers).sum();
        format!("Serving: {sessions} sessions, {transfers} transfers")
    }
}

/// One round of questions: an answer for each pool.
struct Round(Vec<Arc<AtomicBool>>);

impl Round {
    fn is_answered(&self, watched: &Watched) -> bool {
        self.0.iter().all(|answered| answered.load(Ordering::Acquire))
            && watched.pulses.have_answered()
    }
}

/// A task that records its turn.
struct Probe(Arc<AtomicBool>);

impl Task for Probe {
    fn turn(&mut self, _: Instant, _: Class) -> Turn {
        self.0.store(true, Ordering::Release);
        Turn::Done
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::num::NonZeroUsize;
    use std::os::unix::net::UnixDatagram;
    use std::thread;

    use super::*;
    use crate::pool::Pool;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn backend() -> Arc<LocalBackend> {
        let pool = Pool::start("pool", NonZeroUsize::MIN).unwrap();
        let greet = |_, _| Err(io::Error::other("no sessions here"));
        LocalBackend::new(None, pool, 1, Box::new(greet), Box::new(|| (0, 0)))
    }

    fn watched() -> Watched {
        let backends = vec![backend()];
        let balancer = Arc::new(Balancer::new(backends.clone(), None));
        Watched { backends, pulses: Arc::default(), balancer }
    }

    /// Waits until the round is answered.
    fn answered(round: &Round, watched: &Watched) {
        let (never, wait) = bounded::<()>(0);
        for _ in 0..PATIENCE.as_millis() {
            if round.is_answered(watched) {
                return;
            }
            let _timeout = wait.recv_timeout(Duration::from_millis(1));
        }
        drop(never);
        panic!("no answer");
    }

    /// A turn that lasts until its channel is closed.
    struct Stuck(Receiver<()>);

    impl Task for Stuck {
        fn turn(&mut self, _: Instant, _: Class) -> Turn {
            let _closed = self.0.recv();
            Turn::Done
        }

        fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
    }

    #[test]
    fn a_pool_whose_every_worker_is_stuck_does_not_answer() {
        let watched = watched();
        let pool = watched.backends[0].pool();
        let (release, wait) = bounded(0);
        // More than the pool replaces.
        for _ in 0..100 {
            pool.admit(Box::new(Stuck(wait.clone())));
        }
        let round = watched.ask();
        assert!(!round.is_answered(&watched));
        drop(release);
        answered(&round, &watched);
    }

    #[test]
    fn an_accept_loop_that_does_not_run_does_not_answer() {
        let watched = watched();
        let [pulse, closed] = [(); 2].map(|()| watched.pulses.add().unwrap());
        let round = watched.ask();
        while !round.0[0].load(Ordering::Acquire) {
            thread::yield_now();
        }
        closed.end();
        assert!(!round.is_answered(&watched));
        pulse.answer();
        assert!(round.is_answered(&watched));
    }

    #[test]
    fn a_client_that_came_before_the_first_check_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let time = Some(Duration::from_millis(4));
        let notifier = Notifier::connect(path.as_os_str(), time).unwrap();
        let (ends, end) = bounded(0);
        let check = move || {
            run(&notifier, &watched(), "as reported at the start".to_owned(), &false.into(), &end);
        };
        let check = thread::spawn(check);
        let (mut bytes, mut message) = ([0; 256], String::new());
        while !message.starts_with("STATUS=") {
            let count = manager.recv(&mut bytes).unwrap();
            message = String::from_utf8_lossy(&bytes[..count]).into_owned();
        }
        assert_eq!(message, "STATUS=Serving: 0 sessions, 0 transfers");
        drop(ends);
        check.join().unwrap();
    }
}
