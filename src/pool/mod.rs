//! The scheduler: a fixed number of worker threads, shared fairly by any number of tasks.
//!
//! The pool knows nothing of FTP. It runs [`Task`]s, each for one bounded *turn* at a time. Waiting tasks are kept in a
//! *lot* until one of their descriptors is ready or their deadline has come. A task is owned by exactly one place at
//! any time: the ready queue, a worker, or the lot. `README.md` in this folder describes the protocol and
//! argues why no wake-up is lost. Work that blocks runs on the threads of `blocking`.
//!
//! Not here: sockets and files. The clock is read by the workers' loop, the watch for held
//! turns and the alarm only.

mod blocking;
mod epoll;
mod held;
#[cfg(test)]
#[cfg(shuttle)]
mod interleaving;
mod lot;
mod ready;
mod scheduler;
#[cfg(test)]
#[cfg(not(shuttle))]
mod simulation;
mod sync;
mod task;
mod worker;

pub use blocking::{DiskPool, FairPool, HomePool, Job};
pub use task::{Call, Class, Task, Turn, Watch};

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use epoll::Epoll;
use held::{REPLACED_MAX, TurnState, Turns};
use scheduler::{Scheduler, WorkerState};
use sync::Mutex;
use task::Admitted;

/// The interval at which an ending pool looks for held workers.
const ENDING_LOOK: Duration = Duration::from_millis(5);

/// A fixed number of worker threads, and the tasks they serve.
#[derive(Debug)]
pub struct Pool {
    threads: Arc<WorkerThreads>,
    /// Held as a clone by every admitted task; when the last clone is dropped, `gone` disconnects.
    alive: Mutex<Option<Sender<Infallible>>>,
    gone: Receiver<Infallible>,
    /// Ends the watch over held turns when it is dropped.
    watched: Option<Sender<Infallible>>,
    watch: Option<JoinHandle<()>>,
}

/// The numbers of a pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Worker threads.
    pub workers: usize,
    /// Worker threads with a turn under way.
    pub busy: usize,
    /// Tasks that wait for an event or a deadline.
    pub parked: usize,
    /// Tasks that wait for an interactive turn.
    pub waiting_interactive: usize,
    /// Tasks that wait for a bulk turn.
    pub waiting_bulk: usize,
    /// Interactive turns since the start.
    pub turns_interactive: u64,
    /// Bulk turns since the start.
    pub turns_bulk: u64,
    /// Turns since the start that were held, and whose worker was replaced.
    pub stalls: u64,
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Self) {
        self.workers += other.workers;
        self.busy += other.busy;
        self.parked += other.parked;
        self.waiting_interactive += other.waiting_interactive;
        self.waiting_bulk += other.waiting_bulk;
        self.turns_interactive += other.turns_interactive;
        self.turns_bulk += other.turns_bulk;
        self.stalls += other.stalls;
    }
}

/// The workers: those in service, those that are held, and those that replaced held ones.
#[derive(Debug)]
struct WorkerThreads {
    scheduler: Arc<Scheduler<Epoll>>,
    name: String,
    workers: Mutex<Vec<Worker>>,
    /// The number of workers started so far.
    started: AtomicUsize,
    /// The number of workers that could not be started in the place of held ones.
    missing: AtomicUsize,
    /// The number of turns that were given up.
    stalls: AtomicU64,
    /// The turns of the workers that have ended, interactive and bulk.
    ended_turns: [AtomicU64; 2],
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    turn: Arc<TurnState>,
    /// Disconnects when the thread ends.
    ended: Receiver<Infallible>,
}

impl Pool {
    /// Starts `workers` worker threads, whose names begin with `name`, and a thread that watches for held turns.
    ///
    /// # Errors
    /// Returns the kernel's error when it refuses the epoll, event or timer descriptor, or a thread.
    pub fn start(name: &str, workers: NonZeroUsize) -> io::Result<Self> {
        let scheduler = Arc::new(Scheduler::new(Epoll::new()?, workers.get()));
        let (alive, gone) = bounded(0);
        let (begun, turns) = bounded(1);
        scheduler.tell_turns(begun);
        let threads = WorkerThreads {
            scheduler,
            name: name.to_owned(),
            workers: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            missing: AtomicUsize::new(0),
            stalls: AtomicU64::new(0),
            ended_turns: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        let threads = Arc::new(threads);
        let (watched, stop) = bounded(0);
        let mut pool = Self {
            threads: Arc::clone(&threads),
            alive: Mutex::new(Some(alive)),
            gone,
            watched: Some(watched),
            watch: None,
        };
        for _ in 0..workers.get() {
            pool.threads.start_worker()?;
        }
        let watch = move || held::watch(&*threads, &stop, &turns);
        pool.watch = Some(thread::Builder::new().name(format!("{name} watch")).spawn(watch)?);
        Ok(pool)
    }

    /// Adds a new task at the end of the ready queue. After [`Pool::drain`], drops it instead.
    pub fn admit(&self, task: Box<dyn Task>) {
        let alive = self.alive.lock().clone();
        if let Some(alive) = alive {
            self.threads.scheduler.admit(Admitted::new(task, alive));
        }
    }

    /// Makes a task and adds it. A task that waits at first ([`Task::waits_at_first`]) is parked at once, and costs no
    /// worker a wake-up. After [`Pool::drain`], makes nothing.
    ///
    /// The task sees every change made before a call of [`Pool::wake_all`] that returns after `make` has begun.
    ///
    /// # Errors
    /// Returns the error of `make`.
    pub fn admit_new<E>(&self, make: impl FnOnce() -> Result<Box<dyn Task>, E>) -> Result<(), E> {
        let Some(alive) = self.alive.lock().clone() else { return Ok(()) };
        let mut outcome = Ok(());
        self.threads.scheduler.admit_new(|| match make() {
            Ok(task) => Some(Admitted::new(task, alive)),
            Err(error) => {
                outcome = Err(error);
                None
            }
        });
        outcome
    }

    /// Gives every task a turn soon, whatever it waits for, so that it sees changes around it.
    ///
    /// Every task sees a change made before this call, in a turn that begins after the call: parked tasks are woken,
    /// and tasks whose turn is under way get another turn before they are parked.
    pub fn wake_all(&self) {
        self.threads.scheduler.wake_all();
    }

    /// Returns the numbers of the pool.
    #[must_use]
    pub fn census(&self) -> Census {
        self.threads.census()
    }

    /// Waits until every task is done, at most until `until`; returns `true` when all are done. From this call on, the
    /// pool admits no tasks.
    pub fn drain(&self, until: Instant) -> bool {
        *self.alive.lock() = None;
        matches!(self.gone.recv_deadline(until), Err(RecvTimeoutError::Disconnected))
    }
}

impl WorkerThreads {
    fn census(&self) -> Census {
        let ((waiting_interactive, waiting_bulk), parked) = self.scheduler.population();
        let workers = self.workers.lock();
        let [interactive, bulk] = &self.ended_turns;
        let mut census = Census {
            workers: workers.len(),
            busy: workers.iter().filter(|worker| worker.turn.is_under_way()).count(),
            parked,
            waiting_interactive,
            waiting_bulk,
            turns_interactive: interactive.load(Ordering::Relaxed),
            turns_bulk: bulk.load(Ordering::Relaxed),
            stalls: self.stalls.load(Ordering::Relaxed),
        };
        for (interactive, bulk) in workers.iter().map(|worker| worker.turn.turns()) {
            census.turns_interactive += interactive;
            census.turns_bulk += bulk;
        }
        census
    }

    /// Returns whether a worker still runs; keeps the number of its turns otherwise.
    fn still_runs(&self, worker: &Worker) -> bool {
        let runs = !worker.thread.is_finished();
        if !runs {
            let (interactive, bulk) = worker.turn.turns();
            for (ended, turns) in self.ended_turns.iter().zip([interactive, bulk]) {
                ended.fetch_add(turns, Ordering::Relaxed);
            }
        }
        runs
    }

    fn start_worker(&self) -> io::Result<()> {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let (turn, scheduler) = (TurnState::new(), Arc::clone(&self.scheduler));
        let (lives, ended) = bounded::<Infallible>(0);
        let state = WorkerState::new(Arc::clone(&turn));
        let work = move || {
            let _lives = lives;
            worker::work(&scheduler, state);
        };
        let thread =
            thread::Builder::new().name(format!("{} worker {number}", self.name)).spawn(work)?;
        self.workers.lock().push(Worker { thread, turn, ended });
        Ok(())
    }
}

impl Turns for WorkerThreads {
    fn look(&self) -> bool {
        let mut workers = self.workers.lock();
        workers.retain(|worker| self.still_runs(worker));
        let now = now();
        let busy = workers.iter().any(|worker| worker.turn.is_under_way());
        let held = workers.iter().filter(|worker| worker.turn.is_held(now)).count();
        let may_replace = held <= REPLACED_MAX;
        let given_up =
            |worker: &&Worker| self.scheduler.give_up_held(&worker.turn, now, may_replace);
        let given_up = if held == 0 { 0 } else { workers.iter().filter(given_up).count() };
        drop(workers);
        self.stalls.fetch_add(given_up as u64, Ordering::Relaxed);
        let missing = self.missing.load(Ordering::Relaxed) + given_up;
        // If a thread cannot be started, for lack of memory, the next look tries again.
        let started = (0..missing).take_while(|_| self.start_worker().is_ok()).count();
        self.missing.store(missing - started, Ordering::Relaxed);
        busy || started < missing
    }

    fn doze(&self) -> bool {
        let workers = self.workers.lock();
        self.scheduler.doze(|| workers.iter().any(|worker| worker.turn.is_under_way()))
    }
}

impl Drop for Pool {
    /// Stops the threads after the turns under way, and drops the remaining tasks. Held workers are not waited for.
    fn drop(&mut self) {
        self.threads.scheduler.close();
        drop(self.watched.take());
        if let Some(watch) = self.watch.take() {
            let _ended = watch.join();
        }
        for Worker { thread, turn, ended } in self.threads.workers.lock().drain(..) {
            while ended.recv_timeout(ENDING_LOOK) == Err(RecvTimeoutError::Timeout) {
                if turn.is_held(now()) {
                    break;
                }
            }
            if !turn.is_under_way() {
                // A worker ends only by returning: the panic of a task is caught in its turn.
                let _ended = thread.join();
            }
        }
        self.threads.scheduler.clear();
    }
}

#[expect(clippy::disallowed_methods, reason = "a held turn is one of real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[cfg(not(shuttle))]
#[expect(clippy::disallowed_methods, reason = "real sockets live in real time")]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The byte that makes an [`Echo`] panic.
    const PANIC: u8 = 255;

    /// Sends back each byte that it receives, one per turn.
    struct Echo(UnixStream);

    impl Task for Echo {
        fn turn(&mut self, now: Instant, _: Class) -> Turn {
            let mut byte = [0];
            self.0.set_nonblocking(true).unwrap();
            match self.0.read(&mut byte) {
                Ok(0) => Turn::Done,
                Ok(_) => {
                    assert_ne!(byte, [PANIC], "asked to panic");
                    self.0.write_all(&byte).unwrap();
                    Turn::Again(Class::Interactive)
                }
                Err(_) => Turn::Park { until: now + Duration::from_mins(1) },
            }
        }

        fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
            watch.readable(self.0.as_fd(), Class::Interactive);
        }
    }

    fn pool(workers: usize) -> Pool {
        Pool::start("test", NonZeroUsize::new(workers).unwrap()).unwrap()
    }

    #[test]
    fn one_worker_serves_a_hundred_clients_each_in_turn() {
        let pool = pool(1);
        let clients: Vec<UnixStream> = (0..100)
            .map(|_| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                pool.admit(Box::new(Echo(theirs)));
                ours
            })
            .collect();
        for round in 0..3_u8 {
            for (number, mut client) in (0_u8..).zip(&clients) {
                client.write_all(&[round.wrapping_add(number), number]).unwrap();
            }
            for (number, mut client) in (0_u8..).zip(&clients) {
                let mut back = [0; 2];
                client.read_exact(&mut back).unwrap();
                assert_eq!(back, [round.wrapping_add(number), number]);
            }
        }
    }

    #[test]
    fn a_task_that_waits_at_first_gets_its_first_turn_when_it_is_ready() {
        struct Waiting(Echo);
        impl Task for Waiting {
            fn turn(&mut self, now: Instant, class: Class) -> Turn {
                self.0.turn(now, class)
            }
            fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
                self.0.watch(watch);
            }
            fn waits_at_first(&self) -> Option<Instant> {
                Some(now() + Duration::from_mins(1))
            }
        }
        let pool = pool(2);
        let (mut client, theirs) = UnixStream::pair().unwrap();
        let make = || io::Result::<Box<dyn Task>>::Ok(Box::new(Waiting(Echo(theirs))));
        pool.admit_new(make).unwrap();
        let census = pool.census();
        assert_eq!((census.parked, census.turns_interactive), (1, 0), "it cost no turn");
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let broken = pool.admit_new(|| Err("broken"));
        assert_eq!(broken, Err("broken"));
    }

    #[test]
    fn a_task_that_panics_ends_alone() {
        let pool = pool(1);
        let (mut doomed, theirs) = UnixStream::pair().unwrap();
        pool.admit(Box::new(Echo(theirs)));
        doomed.write_all(&[PANIC]).unwrap();
        assert_eq!(doomed.read(&mut [0]).unwrap(), 0, "its socket was closed");
        let (mut other, theirs) = UnixStream::pair().unwrap();
        pool.admit(Box::new(Echo(theirs)));
        other.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn drain_waits_for_the_last_task_and_a_dropped_pool_drops_the_rest() {
        let first = pool(2);
        let (client, theirs) = UnixStream::pair().unwrap();
        first.admit(Box::new(Echo(theirs)));
        drop(client);
        assert!(first.drain(Instant::now() + Duration::from_mins(1)));

        let second = pool(2);
        let (mut client, theirs) = UnixStream::pair().unwrap();
        second.admit(Box::new(Echo(theirs)));
        assert!(!second.drain(Instant::now()));
        drop(second);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    /// A task whose turn waits for a message, like a call into a file system that hangs.
    struct Hanging {
        stream: UnixStream,
        go: Receiver<()>,
        class: Class,
        hung: bool,
    }

    impl Task for Hanging {
        fn turn(&mut self, now: Instant, class: Class) -> Turn {
            if class != self.class {
                return Turn::Again(self.class);
            }
            if !std::mem::replace(&mut self.hung, true) {
                self.stream.write_all(b"hangs").unwrap();
                self.go.recv().unwrap();
                self.stream.write_all(b"again").unwrap();
            }
            self.stream.set_nonblocking(true).unwrap();
            match self.stream.read(&mut [0]) {
                Ok(0) => Turn::Done,
                _ => Turn::Park { until: now + Duration::from_mins(1) },
            }
        }

        fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
            watch.readable(self.stream.as_fd(), Class::Interactive);
        }
    }

    fn expect(mut client: &UnixStream, words: &[u8]) {
        let mut heard = vec![0; words.len()];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, words);
    }

    #[test]
    fn turns_that_hang_hold_nobody_else_and_go_on_when_they_can() {
        for (workers, class) in [(1, Class::Interactive), (3, Class::Interactive), (3, Class::Bulk)]
        {
            let pool = pool(workers);
            // More tasks than workers.
            let hanging: Vec<(UnixStream, Sender<()>)> = (0..8)
                .map(|_| {
                    let ((ours, stream), (go, wait)) = (UnixStream::pair().unwrap(), bounded(1));
                    pool.admit(Box::new(Hanging { stream, go: wait, class, hung: false }));
                    (ours, go)
                })
                .collect();
            for (client, _) in &hanging {
                expect(client, b"hangs");
            }
            let (mut other, theirs) = UnixStream::pair().unwrap();
            pool.admit(Box::new(Echo(theirs)));
            for _ in 0..100 {
                other.write_all(b"x").unwrap();
                expect(&other, b"x");
            }
            for (client, go) in &hanging {
                go.send(()).unwrap();
                expect(client, b"again");
            }
            drop(other);
            drop(hanging);
            assert!(pool.drain(Instant::now() + Duration::from_mins(1)));
            // Replaced workers have ended.
            let deadline = Instant::now() + Duration::from_mins(1);
            while pool
                .threads
                .workers
                .lock()
                .iter()
                .filter(|worker| !worker.thread.is_finished())
                .count()
                > workers
            {
                assert!(Instant::now() < deadline);
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_pool_ends_although_a_turn_hangs() {
        let pool = pool(1);
        let ((client, stream), (go, wait)) = (UnixStream::pair().unwrap(), bounded(1));
        let class = Class::Interactive;
        pool.admit(Box::new(Hanging { stream, go: wait, class, hung: false }));
        expect(&client, b"hangs");
        drop(pool);
        go.send(()).unwrap();
        expect(&client, b"again");
    }

    /// A task that writes "held" when its call takes longer than its patience.
    struct Calling {
        stream: UnixStream,
        go: Option<Receiver<()>>,
        returned: Arc<std::sync::atomic::AtomicBool>,
        told: bool,
        patience: Duration,
    }

    impl Task for Calling {
        fn turn(&mut self, now: Instant, _: Class) -> Turn {
            if self.go.is_some() {
                return Turn::Call { until: now + self.patience };
            }
            if self.returned.load(Ordering::SeqCst) {
                self.stream.write_all(b"done").unwrap();
                return Turn::Done;
            }
            if !std::mem::replace(&mut self.told, true) {
                self.stream.write_all(b"held").unwrap();
            }
            Turn::Park { until: now + Duration::from_millis(1) }
        }

        fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

        fn take_call(&mut self) -> Option<Call> {
            let (go, returned) = (self.go.take()?, Arc::clone(&self.returned));
            Some(Box::new(move || {
                go.recv().unwrap();
                returned.store(true, Ordering::SeqCst);
            }))
        }
    }

    #[test]
    fn a_task_whose_call_is_held_has_its_deadline_and_goes_on_when_it_returns() {
        for (patience, is_told) in [(Duration::ZERO, true), (Duration::from_mins(10), false)] {
            let pool = pool(1);
            let calls: Vec<(UnixStream, Sender<()>)> = (0..5)
                .map(|_| {
                    let ((ours, stream), (go, wait)) = (UnixStream::pair().unwrap(), bounded(1));
                    let (go_on, returned) = (Some(wait), Arc::default());
                    let told = false;
                    pool.admit(Box::new(Calling { stream, go: go_on, returned, told, patience }));
                    (ours, go)
                })
                .collect();
            let (mut other, theirs) = UnixStream::pair().unwrap();
            pool.admit(Box::new(Echo(theirs)));
            other.write_all(b"x").unwrap();
            expect(&other, b"x");
            for (client, go) in &calls {
                if is_told {
                    expect(client, b"held");
                }
                go.send(()).unwrap();
                expect(client, b"done");
            }
        }
    }

    #[test]
    fn a_worker_that_was_held_and_not_replaced_works_again() {
        let pool = pool(1);
        // One more than workers are replaced.
        let calls: Vec<(UnixStream, Sender<()>)> = (0..=REPLACED_MAX)
            .map(|_| {
                let ((ours, stream), (go, wait)) = (UnixStream::pair().unwrap(), bounded(1));
                let (patience, returned) = (Duration::from_mins(10), Arc::default());
                let (go_on, told) = (Some(wait), false);
                pool.admit(Box::new(Calling { stream, go: go_on, returned, told, patience }));
                (ours, go)
            })
            .collect();
        let deadline = Instant::now() + Duration::from_mins(1);
        while pool.threads.scheduler.census().1 < calls.len() {
            assert!(Instant::now() < deadline, "not every task is parked");
            thread::yield_now();
        }
        for (_, go) in &calls {
            go.send(()).unwrap();
        }
        for (client, _) in &calls {
            expect(client, b"done");
        }
        let (mut other, theirs) = UnixStream::pair().unwrap();
        other.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        pool.admit(Box::new(Echo(theirs)));
        other.write_all(b"x").unwrap();
        expect(&other, b"x");
    }

    #[test]
    fn a_call_that_returns_at_once_is_followed_by_the_next_turn() {
        let pool = pool(1);
        for _ in 0..100 {
            let ((client, stream), (go, wait)) = (UnixStream::pair().unwrap(), bounded(1));
            go.send(()).unwrap();
            let (go, patience) = (Some(wait), Duration::from_mins(10));
            let (returned, told) = (Arc::default(), false);
            pool.admit(Box::new(Calling { stream, go, returned, told, patience }));
            expect(&client, b"done");
        }
    }
}
