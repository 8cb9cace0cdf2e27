//! Who runs next: a fixed number of worker threads shared fairly by any number of tasks.
//!
//! The pool knows nothing of FTP. It is given [`Task`]s, lets each work for one bounded *turn*, and keeps those that
//! wait in a *lot* until one of their descriptors is ready or their deadline has come. A task is owned by exactly one
//! place at any time: the ready queue, a worker's hands, or the lot. `README.md` in this folder tells the protocol and
//! argues why no wake-up is lost.
//!
//! Depends on no other room. Not here: sockets, files, the clock of anything but the workers' loop.

mod epoll;
mod floor;
#[cfg(test)]
#[cfg(shuttle)]
mod interleaving;
mod lot;
mod ready;
#[cfg(test)]
#[cfg(not(shuttle))]
mod simulation;
mod sync;
mod task;
mod worker;

pub use task::{Class, Task, Turn, Watch};

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use epoll::Epoll;
use floor::Floor;
use sync::Mutex;
use task::Admitted;

/// A fixed number of worker threads, and the tasks they serve.
#[derive(Debug)]
pub struct Pool {
    floor: Arc<Floor<Epoll>>,
    /// Every admitted task holds a clone; when the last is gone, `gone` disconnects.
    alive: Mutex<Option<Sender<Infallible>>>,
    gone: Receiver<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `workers` worker threads, whose names begin with `name`.
    ///
    /// # Errors
    /// When the kernel refuses the epoll descriptors or a thread.
    pub fn start(name: &str, workers: NonZeroUsize) -> io::Result<Self> {
        let floor = Arc::new(Floor::new(Epoll::new()?, workers.get()));
        let (alive, gone) = bounded(0);
        let mut pool = Self { floor, alive: Mutex::new(Some(alive)), gone, threads: Vec::new() };
        for number in 1..=workers.get() {
            let floor = Arc::clone(&pool.floor);
            pool.spawn(format!("{name} worker {number}"), move || worker::work(&floor))?;
        }
        Ok(pool)
    }

    /// Takes a new task in, at the end of the ready queue. After [`Pool::drain`] it is dropped instead.
    pub fn admit(&self, task: Box<dyn Task>) {
        let alive = self.alive.lock().clone();
        if let Some(alive) = alive {
            self.floor.admit(Admitted::new(task, alive));
        }
    }

    /// Gives every task a turn soon, whatever it waits for, so that it sees what has changed around it.
    ///
    /// A change made before this call is seen by every task in a turn that begins after it: those parked are woken, and
    /// those whose turn is under way are not parked before they had another.
    pub fn rouse(&self) {
        self.floor.rouse();
    }

    /// Waits until every task is done, `until` at the latest; `true` when all are. Admits nothing from now on.
    pub fn drain(&self, until: Instant) -> bool {
        *self.alive.lock() = None;
        matches!(self.gone.recv_deadline(until), Err(RecvTimeoutError::Disconnected))
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(body)?);
        Ok(())
    }
}

impl Drop for Pool {
    /// Stops the threads after the turns under way; tasks that are left are dropped.
    fn drop(&mut self) {
        self.floor.close();
        for thread in self.threads.drain(..) {
            // A worker ends only by returning: a panic of a task is caught in its turn.
            let _ended = thread.join();
        }
        self.floor.clear();
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
#[allow(clippy::disallowed_methods, reason = "real sockets live in real time")]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// The byte that makes an [`Echo`] panic.
    const PANIC: u8 = 255;

    /// Sends back each byte it is sent, one a turn.
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
}
