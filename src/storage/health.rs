//! The health of the served directories: a file system that hangs, or is not mounted any more, makes the server not ready.
//!
//! Each directory is opened again periodically, on another thread. While a device does not answer, one thread waits for
//! it, and its directories are not opened again. Not here: the homes of users, who may be many. A login to a home that
//! hangs or is missing is refused.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::pool::{DiskPool, Job};

use super::root::Root;

/// Maximum time for the answer of a directory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A served directory, as its last probe has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceHealth {
    /// The directory.
    pub directory: PathBuf,
    /// The reason why it cannot be served, if there is one: a clause.
    pub problem: Option<String>,
    /// Number of bytes that are free on its file system, once it is known.
    pub free: Option<u64>,
}

/// The facts that a probe finds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    device: u64,
    /// The nearest directory, upwards, that another file system is mounted at.
    mount_point: Option<PathBuf>,
    free: u64,
}

/// Opens a directory, and asks its file system. May hang.
type Probe = Arc<dyn Fn(&Path) -> io::Result<Found> + Send + Sync>;

/// A directory that is watched.
#[derive(Debug)]
struct Watched {
    device: u64,
    mount_point: Option<PathBuf>,
    health: PlaceHealth,
}

/// A probe of the directories of one device that has not ended.
#[derive(Debug)]
struct PendingProbe {
    device: u64,
    places: Vec<usize>,
    since: Instant,
    job: Job<Vec<io::Result<Found>>>,
}

/// The watch over the served directories.
pub struct HealthWatch {
    places: Vec<Watched>,
    pending: Vec<PendingProbe>,
    /// Threads of its own: a probe does not wait behind the flushes of uploads.
    disks: DiskPool,
    probe: Probe,
}

impl fmt::Debug for HealthWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HealthWatch").field("places", &self.places).finish_non_exhaustive()
    }
}

impl HealthWatch {
    /// Watches directories, each with the number of its device. They were opened before, so none has a problem yet.
    #[must_use]
    pub fn new(directories: Vec<(PathBuf, u64)>) -> Self {
        Self::by(directories, Arc::new(probe))
    }

    fn by(directories: Vec<(PathBuf, u64)>, probe: Probe) -> Self {
        let watched = |(directory, device)| Watched {
            device,
            mount_point: None,
            health: PlaceHealth { directory, problem: None, free: None },
        };
        let places = directories.into_iter().map(watched).collect();
        Self { places, pending: Vec::new(), disks: DiskPool::default(), probe }
    }

    /// Begins a probe of each device whose last one has ended.
    pub fn begin(&mut self, now: Instant) {
        let mut devices: Vec<u64> = self.places.iter().map(|place| place.device).collect();
        devices.sort_unstable();
        devices.dedup();
        for device in devices {
            let waits_for =
                |place: &usize| self.pending.iter().any(|one| one.places.contains(place));
            if self.pending.iter().any(|pending| pending.device == device) {
                continue;
            }
            let own = self.places.iter().enumerate().filter(|(_, place)| place.device == device);
            let places: Vec<usize> =
                own.map(|(index, _)| index).filter(|index| !waits_for(index)).collect();
            let of = |index: &usize| Some(self.places.get(*index)?.health.directory.clone());
            let directories: Vec<PathBuf> = places.iter().filter_map(of).collect();
            let probe = Arc::clone(&self.probe);
            let work = move || Ok(directories.iter().map(|directory| probe(directory)).collect());
            // Without a thread, the next round tries again.
            if let Ok(job) = self.disks.run(device, work) {
                self.pending.push(PendingProbe { device, places, since: now, job });
            }
        }
    }

    /// Takes the answers that have arrived. Returns the directories that have got a problem, or lost it.
    pub fn collect(&mut self, now: Instant) -> Vec<PlaceHealth> {
        let before: Vec<bool> =
            self.places.iter().map(|place| place.health.problem.is_some()).collect();
        let places = &mut self.places;
        self.pending.retain(|pending| {
            let answers = match pending.job.outcome() {
                Poll::Ready(answers) => answers.unwrap_or_default(),
                Poll::Pending => {
                    if now.saturating_duration_since(pending.since) >= ANSWER_TIMEOUT {
                        let silent = |place: &mut Watched| {
                            place.health.problem = Some("does not respond".to_owned());
                        };
                        each(places, &pending.places, silent);
                    }
                    return true;
                }
            };
            for (index, answer) in pending.places.iter().zip(answers) {
                each(places, &[*index], |place| place.judge(&answer));
            }
            false
        });
        let changed = self.places.iter().zip(before);
        let changed = changed.filter(|(place, before)| place.health.problem.is_some() != *before);
        changed.map(|(place, _)| place.health.clone()).collect()
    }

    /// Returns the health of all directories.
    #[must_use]
    pub fn all(&self) -> Vec<PlaceHealth> {
        self.places.iter().map(|place| place.health.clone()).collect()
    }
}

/// Changes the places with these positions.
fn each(places: &mut [Watched], positions: &[usize], mut change: impl FnMut(&mut Watched)) {
    for position in positions {
        places.get_mut(*position).into_iter().for_each(&mut change);
    }
}

impl Watched {
    /// Adopts what a probe has found. A directory may be replaced, and a file system mounted; only one that is gone, and
    /// leaves the directory that it was mounted at, is a problem.
    fn judge(&mut self, answer: &io::Result<Found>) {
        let found = match answer {
            Ok(found) => found,
            // The server itself lacks something; the directory is as it was.
            Err(error) if is_own_shortage(error) => return,
            Err(error) => {
                self.health.problem = Some(match error.kind() {
                    io::ErrorKind::NotFound => "is missing".to_owned(),
                    _ => format!("cannot be read: {}", crate::units::reason(error)),
                });
                return;
            }
        };
        self.health.free = Some(found.free);
        if let Some(gone) = self.gone(found) {
            let what =
                format!("has lost its file system: nothing is mounted at {}", gone.display());
            self.health.problem = Some(what);
            return;
        }
        self.health.problem = None;
        self.device = found.device;
        self.mount_point.clone_from(&found.mount_point);
    }

    /// Returns the mount point that was there before, if it is none any more.
    fn gone(&self, found: &Found) -> Option<&PathBuf> {
        let before = self.mount_point.as_ref()?;
        let is_above = |now: &PathBuf| now != before && before.starts_with(now);
        found.mount_point.as_ref().is_none_or(is_above).then_some(before)
    }
}

/// Returns true for an error by a shortage of descriptors or memory, which says nothing about a directory.
fn is_own_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Opens a directory, and asks its file system. May hang.
fn probe(directory: &Path) -> io::Result<Found> {
    let root = Root::open(directory)?;
    root.reach()?;
    let system = rustix::fs::statvfs(directory)?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let mount_point = mount_point(&std::path::absolute(directory)?)?;
    Ok(Found { device: root.device(), mount_point, free })
}

/// Returns the nearest directory, upwards, whose parent is on another device; none for the file system of `/`.
fn mount_point(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut device = device(directory)?;
    for (below, above) in directory.ancestors().zip(directory.ancestors().skip(1)) {
        let other = self::device(above)?;
        if other != std::mem::replace(&mut device, other) {
            return Ok(Some(below.to_owned()));
        }
    }
    Ok(None)
}

fn device(directory: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(directory)?.dev())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use crossbeam_channel::{Receiver, bounded, unbounded};
    use parking_lot::Mutex;

    use super::*;

    /// The answers of the probes, in order; a probe without one waits.
    fn watch(
        directories: &[(&str, u64)],
    ) -> (HealthWatch, impl Fn(io::Result<Found>), Receiver<PathBuf>) {
        let (answers, waiting) = bounded(0);
        let (asked, probes) = unbounded();
        let waiting = Mutex::new(waiting);
        let probe = move |directory: &Path| {
            let _sent = asked.send(directory.to_owned());
            waiting.lock().recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
        };
        let directories =
            directories.iter().map(|(path, device)| (PathBuf::from(path), *device)).collect();
        let answer = move |answer| answers.send(answer).unwrap();
        (HealthWatch::by(directories, Arc::new(probe)), answer, probes)
    }

    fn found(mount_point: Option<&str>) -> Found {
        Found { device: 7, mount_point: mount_point.map(PathBuf::from), free: 3 }
    }

    /// Waits until no probe is under way, and returns the changes.
    fn settled(watch: &mut HealthWatch, now: Instant) -> Vec<Option<String>> {
        while watch.pending.iter().any(|pending| !pending.job.is_done()) {
            std::thread::yield_now();
        }
        watch.collect(now).into_iter().map(|health| health.problem).collect()
    }

    #[test]
    fn a_directory_that_does_not_answer_is_reported_once_and_holds_one_thread() {
        let now = Instant::now();
        let (mut watch, answer, probes) = watch(&[("/a", 7), ("/b", 7)]);
        watch.begin(now);
        assert_eq!(probes.recv().unwrap(), Path::new("/a"));
        for second in 1..15 {
            let at = now + Duration::from_secs(second);
            assert_eq!(watch.collect(at), []);
            watch.begin(at);
        }
        let late = watch.collect(now + ANSWER_TIMEOUT);
        let silent = |health: &PlaceHealth| health.problem.as_deref() == Some("does not respond");
        assert!(late.len() == 2 && late.iter().all(silent), "{late:?}");
        watch.begin(now + ANSWER_TIMEOUT);
        assert_eq!(watch.collect(now + 2 * ANSWER_TIMEOUT), []);
        assert!(probes.is_empty() && watch.pending.len() == 1, "one probe waits");
        answer(Ok(found(None)));
        answer(Ok(found(None)));
        assert_eq!(settled(&mut watch, now + 2 * ANSWER_TIMEOUT), [None, None]);
        assert!(watch.all().iter().all(|health| health.free == Some(3)));
    }

    #[test]
    fn a_device_that_hangs_delays_no_other() {
        let now = Instant::now();
        let (mut watch, answer, probes) = watch(&[("/a", 7), ("/b", 8)]);
        watch.begin(now);
        let mut both = [probes.recv().unwrap(), probes.recv().unwrap()];
        both.sort();
        assert_eq!(both, [Path::new("/a"), Path::new("/b")]);
        answer(Ok(found(None)));
        answer(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(settled(&mut watch, now), [Some("is missing".to_owned())]);
    }

    #[test]
    fn a_file_system_that_is_not_mounted_any_more_is_a_problem_and_a_new_one_is_none() {
        let now = Instant::now();
        let (mut watch, answer, _probes) = watch(&[("/srv/disk/ftp", 7)]);
        let mut changes = |mount_point: Option<&str>| {
            watch.begin(now);
            answer(Ok(found(mount_point)));
            settled(&mut watch, now)
        };
        assert_eq!(changes(None), [], "nothing was mounted at the start");
        assert_eq!(changes(Some("/srv/disk")), []);
        let gone = "has lost its file system: nothing is mounted at /srv/disk".to_owned();
        assert_eq!(changes(Some("/srv")), [Some(gone)]);
        assert_eq!(changes(None), [], "still the same problem");
        assert_eq!(changes(Some("/srv/disk")), [None]);
        assert_eq!(changes(Some("/srv/disk/ftp")), [], "another one is mounted above");
    }

    #[test]
    fn a_shortage_of_descriptors_says_nothing_about_a_directory() {
        let health = PlaceHealth { directory: "/a".into(), problem: None, free: Some(7) };
        let mut place = Watched { device: 1, mount_point: None, health: health.clone() };
        for shortage in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            place.judge(&Err(shortage.into()));
            assert_eq!(place.health, health, "{shortage}");
        }
        place.judge(&Err(Errno::IO.into()));
        assert!(place.health.problem.is_some());
    }

    #[test]
    fn a_directory_of_this_machine_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let good = probe(folder.path()).unwrap();
        assert!(good.device == device(folder.path()).unwrap() && good.free > 0);
        assert!(probe(&folder.path().join("missing")).is_err());
        assert_eq!(mount_point(Path::new("/proc")).unwrap(), Some("/proc".into()));
        assert_eq!(mount_point(Path::new("/")).unwrap(), None);
    }
}
