//! Threads that divide their time among clients: a client with many jobs delays its own jobs, and not those of others.
//!
//! Each client has its own queue, and the threads take jobs from the queues in turn. When the maximum number of jobs
//! waits, a new job of a client with fewer waiting jobs displaces the last job of the client with the most.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::job::{BoxedJob, Job, prepare};

/// A waiting job, and the flag that cancels it.
struct Waiting {
    job: BoxedJob,
    is_displaced: Arc<AtomicBool>,
}

impl Waiting {
    /// Ends a job that another job has displaced; its [`Job`] returns an error.
    fn displace(self) {
        self.is_displaced.store(true, Ordering::Release);
        (self.job)();
    }
}

/// Waiting jobs, by client.
struct Queues<K> {
    /// The queue of each client; none of them is empty.
    by_client: HashMap<K, VecDeque<Waiting>>,
    /// The clients with waiting jobs, the next one first.
    ring: VecDeque<K>,
    count: usize,
    is_closed: bool,
}

/// The error for a full queue.
#[derive(Debug, PartialEq, Eq)]
struct NoRoom;

impl<K: Hash + Eq + Clone> Queues<K> {
    fn new() -> Self {
        Self { by_client: HashMap::new(), ring: VecDeque::new(), count: 0, is_closed: false }
    }

    /// Adds a job at the end of its client's queue. Returns the job that it displaces, if the queues were full.
    fn push(&mut self, client: K, job: Waiting, most: usize) -> Result<Option<Waiting>, NoRoom> {
        let displaced =
            if self.count < most { None } else { Some(self.make_room(&client).ok_or(NoRoom)?) };
        let queue = self.by_client.entry(client.clone()).or_default();
        if queue.is_empty() {
            self.ring.push_back(client);
        }
        queue.push_back(job);
        self.count += 1;
        Ok(displaced)
    }

    /// Removes the last job of the client with the longest queue, if that queue is longer than this client's would be.
    fn make_room(&mut self, client: &K) -> Option<Waiting> {
        let own = self.by_client.get(client).map_or(0, VecDeque::len);
        let longest = self.by_client.values_mut().max_by_key(|queue| queue.len())?;
        // The queue has at least two jobs, so it does not become empty.
        let displaced = if longest.len() > own + 1 { longest.pop_back() } else { None };
        self.count -= usize::from(displaced.is_some());
        displaced
    }

    /// Takes the next job of the client whose turn it is.
    fn pop(&mut self) -> Option<Waiting> {
        let client = self.ring.pop_front()?;
        let queue = self.by_client.get_mut(&client)?;
        let job = queue.pop_front();
        if queue.is_empty() {
            self.by_client.remove(&client);
        } else {
            self.ring.push_back(client);
        }
        self.count -= usize::from(job.is_some());
        job
    }
}

struct Shared<K> {
    queues: Mutex<Queues<K>>,
    wake: Condvar,
}

impl<K: Hash + Eq + Clone> Shared<K> {
    /// Waits for the next job; returns `None` when the queues are closed and empty.
    fn next(&self) -> Option<Waiting> {
        let mut queues = self.queues.lock();
        loop {
            match queues.pop() {
                None if queues.is_closed => return None,
                None => self.wake.wait(&mut queues),
                job => return job,
            }
        }
    }
}

/// Threads that run jobs of clients in turn. They end when this is dropped and all its jobs are done.
pub struct FairPool<K: Hash + Eq + Clone> {
    shared: Arc<Shared<K>>,
    waiting_max: usize,
}

impl<K: Hash + Eq + Clone> fmt::Debug for FairPool<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.shared.queues.lock().count;
        formatter.debug_struct("FairPool").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> FairPool<K> {
    /// Starts the threads. At most `waiting_max` jobs may wait.
    pub fn start(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { queues: Mutex::new(Queues::new()), wake: Condvar::new() });
        let pool = Self { shared, waiting_max };
        for number in 1..=threads {
            let shared = Arc::clone(&pool.shared);
            let work = move || {
                while let Some(Waiting { job, .. }) = shared.next() {
                    job();
                }
            };
            std::thread::Builder::new().name(format!("{name} {number}")).spawn(work)?;
        }
        Ok(pool)
    }

    /// Runs work for a client on one of the threads; returns `None` if too many jobs wait. A job that another client's
    /// job displaces ends with [`io::ErrorKind::ResourceBusy`].
    pub fn try_run<T: Send + 'static>(
        &self,
        client: K,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<io::Result<Job<T>>> {
        let is_displaced = Arc::new(AtomicBool::new(false));
        let look = Arc::clone(&is_displaced);
        let work = move || {
            if look.load(Ordering::Acquire) {
                Err(io::ErrorKind::ResourceBusy.into())
            } else {
                work()
            }
        };
        let (run, job) = match prepare(work) {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        let waiting = Waiting { job: run, is_displaced };
        let pushed = self.shared.queues.lock().push(client, waiting, self.waiting_max);
        let displaced = pushed.ok()?;
        self.shared.wake.notify_one();
        if let Some(displaced) = displaced {
            displaced.displace();
        }
        Some(Ok(job))
    }
}

impl<K: Hash + Eq + Clone> Drop for FairPool<K> {
    fn drop(&mut self) {
        self.shared.queues.lock().is_closed = true;
        self.shared.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded, unbounded};

    use super::*;

    /// Returns a crew of one thread, which is blocked until the sender is dropped.
    fn held(waiting_max: usize) -> (FairPool<&'static str>, Sender<()>) {
        let pool = FairPool::start("test", 1, waiting_max).unwrap();
        let (go, gate) = bounded::<()>(0);
        let (begun, is_begun) = bounded(0);
        let work = move || {
            begun.send(()).map_err(io::Error::other)?;
            let _end = gate.recv();
            Ok(())
        };
        let _holding = pool.try_run("holder", work).unwrap().unwrap();
        is_begun.recv().unwrap();
        (pool, go)
    }

    #[test]
    fn clients_are_served_in_turn_however_much_each_asks_for() {
        let (pool, go) = held(1000);
        let (sender, done) = unbounded();
        let ask = |client: &'static str| {
            let sender = sender.clone();
            let work = move || sender.send(client).map_err(io::Error::other);
            pool.try_run(client, work).unwrap().unwrap()
        };
        let flood: Vec<_> = (0..300).map(|_| ask("flood")).collect();
        let others = [ask("a"), ask("b"), ask("a")];
        drop(go);
        for job in others.into_iter().chain(flood) {
            job.wait().unwrap();
        }
        let order: Vec<&str> = done.try_iter().collect();
        assert_eq!(order[..6], ["flood", "a", "b", "flood", "a", "flood"]);
        assert_eq!(order.len(), 303);
    }

    #[test]
    fn a_client_with_less_takes_the_place_of_one_with_more_when_there_is_no_room() {
        let (pool, go) = held(4);
        let mut flood: Vec<_> =
            (0..4).map(|_| pool.try_run("flood", || Ok(())).unwrap().unwrap()).collect();
        assert!(pool.try_run("flood", || Ok(())).is_none());
        let first = pool.try_run("a", || Ok(())).unwrap().unwrap();
        let second = pool.try_run("a", || Ok(())).unwrap().unwrap();
        assert!(pool.try_run("a", || Ok(())).is_none(), "both have as much");
        let third = pool.try_run("b", || Ok(())).unwrap().unwrap();
        drop(go);
        // The last jobs were displaced, and their errands return the error.
        let displaced = flood.split_off(2);
        let outcomes: Vec<_> = displaced.into_iter().map(Job::wait).collect();
        assert!(outcomes.iter().all(|outcome| {
            outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
        }));
        let kept = flood.into_iter().chain([first, second, third]).map(Job::wait);
        assert_eq!(kept.filter(Result::is_err).count(), 1, "b took one of a's or the flood's");
    }

    #[test]
    fn what_was_given_is_done_although_the_crew_is_dropped() {
        let (pool, go) = held(4);
        let job = pool.try_run("a", || Ok(7)).unwrap().unwrap();
        drop((pool, go));
        assert_eq!(job.wait().unwrap(), 7);
    }
}
