//! Threads that open homes. A home may be on a disk that hangs, or take minutes to count, and then delays only logins
//! to that home. Each home has one thread at a time, which ends when no login waits for the home.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::job::{BoxedJob, Job, prepare};

/// The maximum number of homes that are opened at a time.
const HOMES_MAX: usize = 64;

/// The maximum number of logins that wait for one home.
const WAITING_MAX: usize = 64;

/// The homes that are being opened, each with the jobs that wait for it.
type Busy = Mutex<HashMap<Option<PathBuf>, VecDeque<BoxedJob>>>;

/// Opens homes, each on its own thread.
#[derive(Default)]
pub struct HomePool(Arc<Busy>);

impl fmt::Debug for HomePool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HomePool").field("homes", &self.0.lock().len()).finish()
    }
}

impl HomePool {
    /// Runs work for a home, after the jobs that the home already has; returns `None` if too many jobs wait.
    pub fn try_run<T: Send + 'static>(
        &self,
        home: Option<PathBuf>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<io::Result<Job<T>>> {
        let (run, job) = match prepare(work) {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        let mut busy = self.0.lock();
        let homes = busy.len();
        match busy.entry(home) {
            Entry::Occupied(mut waiting) if waiting.get().len() < WAITING_MAX => {
                waiting.get_mut().push_back(run);
            }
            Entry::Vacant(free) if homes < HOMES_MAX => {
                // The thread needs this lock before it takes its next job.
                if let Err(error) = self.start(free.key().clone(), run) {
                    return Some(Err(error));
                }
                free.insert(VecDeque::new());
            }
            Entry::Occupied(_) | Entry::Vacant(_) => return None,
        }
        Some(Ok(job))
    }

    fn start(&self, home: Option<PathBuf>, job: BoxedJob) -> io::Result<()> {
        let busy = Arc::clone(&self.0);
        let work = move || {
            let mut next = Some(job);
            while let Some(job) = next {
                job();
                let mut busy = busy.lock();
                next = busy.get_mut(&home).and_then(VecDeque::pop_front);
                if next.is_none() {
                    busy.remove(&home);
                }
            }
        };
        std::thread::Builder::new().name("opener".to_owned()).spawn(work).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_home_that_hangs_holds_its_own_logins_alone() {
        let openers = HomePool::default();
        let (go, gate) = bounded::<()>(0);
        let hangs = move || gate.recv().map_err(io::Error::other);
        let held = openers.try_run(Some("/hung".into()), hangs).unwrap().unwrap();
        let behind = openers.try_run(Some("/hung".into()), || Ok(1)).unwrap().unwrap();
        for home in [None, Some("/a".into()), Some("/b".into())] {
            assert_eq!(openers.try_run(home, || Ok(2)).unwrap().unwrap().wait().unwrap(), 2);
        }
        assert!(behind.outcome().is_pending());
        for _ in 1..WAITING_MAX {
            assert!(openers.try_run(Some("/hung".into()), || Ok(())).is_some());
        }
        assert!(openers.try_run(Some("/hung".into()), || Ok(())).is_none(), "too many wait");
        go.send(()).unwrap();
        held.wait().unwrap();
        assert_eq!(behind.wait().unwrap(), 1);
    }
}
