//! Threads that wait for disks: a few for each disk, so that a disk that hangs delays no user of another disk.
//!
//! They are started when there are jobs, and end when they have been idle for a while.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::job::{BoxedJob, Job, prepare};

/// The maximum number of threads that wait for one disk. Disks are fastest with a few requests at a time.
const THREADS_MAX: usize = 4;

/// The maximum time that a thread waits for the next job.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The threads of every disk, by device number. Each session has at most two jobs, which bounds the queues.
#[derive(Debug, Default)]
pub struct DiskPool(Mutex<HashMap<u64, Arc<Disk>>>);

/// The threads of one disk.
#[derive(Debug)]
struct Disk {
    jobs: (Sender<BoxedJob>, Receiver<BoxedJob>),
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    all: usize,
    idle: usize,
}

impl DiskPool {
    /// Runs work that waits for the disk with this device number.
    ///
    /// # Errors
    /// When there is no descriptor, or no thread can be started.
    pub fn run<T: Send + 'static>(
        &self,
        device: u64,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Job<T>> {
        let (run, job) = prepare(work)?;
        let disk = {
            let mut disks = self.0.lock();
            disks.retain(|known, disk| *known == device || disk.is_used());
            Arc::clone(disks.entry(device).or_default())
        };
        disk.push(run)?;
        Ok(job)
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { jobs: unbounded(), threads: Mutex::default() }
    }
}

impl Disk {
    fn is_used(&self) -> bool {
        self.threads.lock().all > 0 || !self.jobs.1.is_empty()
    }

    fn push(self: &Arc<Self>, job: BoxedJob) -> io::Result<()> {
        let mut threads = self.threads.lock();
        // Never disconnected: this holds both ends.
        let _sent = self.jobs.0.send(job);
        if threads.idle > 0 {
            // The job is for an idle thread, which does not decrement the counter itself.
            threads.idle -= 1;
            return Ok(());
        }
        if threads.all == THREADS_MAX {
            return Ok(());
        }
        let disk = Arc::clone(self);
        let started =
            std::thread::Builder::new().name("disk".to_owned()).spawn(move || disk.work());
        if started.is_ok() {
            threads.all += 1;
        } else if threads.all == 0 {
            // No thread would run the job.
            let _job = self.jobs.1.try_recv();
        }
        if threads.all > 0 { Ok(()) } else { started.map(drop) }
    }

    /// Runs jobs until the thread has been idle for [`IDLE_MAX`].
    fn work(&self) {
        loop {
            let mut threads = self.threads.lock();
            // Jobs are pushed under this lock, so a thread counts as idle only while no job waits.
            if let Ok(job) = self.jobs.1.try_recv() {
                drop(threads);
                job();
                continue;
            }
            threads.idle += 1;
            drop(threads);
            if let Ok(job) = self.jobs.1.recv_timeout(IDLE_MAX) {
                job();
                continue;
            }
            let mut threads = self.threads.lock();
            if self.jobs.1.is_empty() {
                threads.idle = threads.idle.saturating_sub(1);
                threads.all -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_disk_that_hangs_holds_up_no_other() {
        let disks = DiskPool::default();
        let (go, gate) = bounded::<()>(0);
        let hanging: Vec<Job<()>> = (0..THREADS_MAX * 2)
            .map(|_| {
                let gate = gate.clone();
                disks.run(1, move || gate.recv().map_err(io::Error::other)).unwrap()
            })
            .collect();
        for number in 0..20 {
            assert_eq!(disks.run(2, move || Ok(number)).unwrap().wait().unwrap(), number);
        }
        for _ in &hanging {
            go.send(()).unwrap();
        }
        for job in hanging {
            job.wait().unwrap();
        }
        assert!(disks.0.lock().get(&1).unwrap().threads.lock().all <= THREADS_MAX);
    }

    #[test]
    fn what_waits_for_an_earlier_job_of_its_disk_is_done() {
        let disks = DiskPool::default();
        let jobs: Vec<_> = (0..100)
            .map(|_| {
                let first = disks.run(1, || Ok(1)).unwrap();
                disks.run(1, move || Ok(first.wait()? + 1)).unwrap()
            })
            .collect();
        assert!(jobs.into_iter().all(|job| job.wait().unwrap() == 2));
    }
}
