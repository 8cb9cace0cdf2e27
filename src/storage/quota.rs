//! How much a user's home may hold, and how much it does: exact at every moment, however many uploads there are at once.
//!
//! What is there is counted when the first session of a home begins, and from then on by what is written, removed and
//! replaced here; what others put there in the meantime is seen the next time. An upload takes its bytes before it writes
//! them. Of one that replaces a file, as many bytes as that has cost nothing, because that goes away; should it not, they are
//! taken before the upload is kept or gets its name. Of several that replace the same file one at a time has its room.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::root::Root;

/// What a tree holds, for all who see it.
#[derive(Debug, Default)]
pub(super) struct Usage {
    used: Mutex<Used>,
    /// The files that uploads are to replace and have their room: each has it once.
    credited: Mutex<HashSet<FileId>>,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// In bytes, those of parts too, and in files that have their name.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// The trees whose usage is known, by device and inode of their roots.
#[derive(Debug, Default)]
pub(super) struct Usages(Mutex<HashMap<(u64, u64), Weak<Usage>>>);

impl Usages {
    /// What a tree holds; counted if nobody else sees it at the moment.
    pub(super) fn of(&self, root: &Root) -> Arc<Usage> {
        if let Some(usage) = self.known(root) {
            return usage;
        }
        let (identity, used) = (root.identity(), root.measure());
        let mut known = self.0.lock();
        known.retain(|_, usage| usage.strong_count() > 0);
        // Somebody may have been faster.
        known.get(&identity).and_then(Weak::upgrade).unwrap_or_else(|| {
            let usage = Arc::new(Usage { used: Mutex::new(used), ..Usage::default() });
            known.insert(identity, Arc::downgrade(&usage));
            usage
        })
    }

    /// What a tree holds, if somebody sees it at the moment.
    pub(super) fn known(&self, root: &Root) -> Option<Arc<Usage>> {
        self.0.lock().get(&root.identity()).and_then(Weak::upgrade)
    }
}

/// The limits of one user over a tree.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    pub(super) bytes_max: u64,
    pub(super) files_max: u64,
    pub(super) usage: Arc<Usage>,
}

impl Quota {
    fn take_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut used = self.usage.used.lock();
        let after = used.bytes.saturating_add(bytes);
        if after > self.bytes_max {
            return Err(Errno::DQUOT.into());
        }
        used.bytes = after;
        Ok(())
    }

    fn take_file(&self) -> io::Result<()> {
        let mut used = self.usage.used.lock();
        if used.files >= self.files_max {
            return Err(Errno::DQUOT.into());
        }
        used.files += 1;
        Ok(())
    }

    /// Something is not there any more.
    pub(super) fn give_back(&self, bytes: u64, files: u64) {
        let mut used = self.usage.used.lock();
        used.bytes = used.bytes.saturating_sub(bytes);
        used.files = used.files.saturating_sub(files);
    }

    /// How many bytes there is room for.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.usage.used.lock().bytes)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> Used {
        *self.usage.used.lock()
    }
}

/// What one upload has taken; given back when it is dropped, but for what was said to stay.
#[derive(Debug, Default)]
pub(super) struct Charge {
    quota: Option<Quota>,
    /// How long its file is.
    bytes: u64,
    /// How many of them cost nothing.
    credit: u64,
    /// Whether a new name is taken.
    files: u64,
    /// The file whose room this upload has.
    credited: Option<FileId>,
}

impl Charge {
    /// For a file that has so many bytes already, which are counted, and a name under which stands a file of so many bytes,
    /// or none.
    pub(super) fn begin(
        quota: Option<&Quota>,
        length: u64,
        replaces: Option<(u64, FileId)>,
    ) -> io::Result<Self> {
        let Some(quota) = quota else { return Ok(Self::default()) };
        let mut charge = Self { quota: Some(quota.clone()), bytes: length, ..Self::default() };
        let Some((credit, file)) = replaces else {
            if let Err(error) = quota.take_file() {
                // What is kept stays.
                charge.keep_part();
                return Err(error);
            }
            charge.files = 1;
            return Ok(charge);
        };
        if quota.usage.credited.lock().insert(file) {
            charge.credited = Some(file);
            charge.set_credit(credit)?;
        }
        Ok(charge)
    }

    /// Before the file gets longer, or when it has become shorter.
    pub(super) fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.change(length, self.credit)
    }

    /// So many bytes go away when the file has its name.
    pub(super) fn set_credit(&mut self, credit: u64) -> io::Result<()> {
        self.change(self.bytes, credit)
    }

    fn change(&mut self, bytes: u64, credit: u64) -> io::Result<()> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let (before, after) = (self.cost(), bytes.saturating_sub(credit));
        if after > before {
            quota.take_bytes(after - before)?;
        } else {
            quota.give_back(before - after, 0);
        }
        (self.bytes, self.credit) = (bytes, credit);
        Ok(())
    }

    fn cost(&self) -> u64 {
        self.bytes.saturating_sub(self.credit)
    }

    /// What has arrived stays, as a part.
    pub(super) fn keep_part(&mut self) {
        (self.bytes, self.credit) = (0, 0);
    }

    /// The file has its name; what stood under it, of so many bytes, has gone.
    pub(super) fn keep_file(&mut self, replaced: Option<u64>) {
        if let Some(quota) = &self.quota {
            quota.give_back(replaced.unwrap_or_default().saturating_sub(self.bytes), 0);
            match replaced {
                // If it was made meanwhile, it was counted by who made it.
                Some(_) => {}
                // It was there at the beginning, and was removed meanwhile.
                None if self.files == 0 => quota.usage.used.lock().files += 1,
                None => self.files = 0,
            }
        }
        self.keep_part();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            quota.give_back(self.cost(), self.files);
            if let Some(file) = &self.credited {
                quota.usage.credited.lock().remove(file);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own files")]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::ftp::VirtualPath;
    use crate::storage::{Durability, Start, Upload};

    fn root(bytes_max: u64, files_max: u64) -> (TempDir, Root, Quota) {
        let folder = tempfile::tempdir().unwrap();
        let usage = Usages::default().of(&Root::open(folder.path()).unwrap());
        let quota = Quota { bytes_max, files_max, usage };
        let root = Root::open(folder.path()).unwrap().with_quota(quota.clone());
        (folder, root, quota)
    }

    fn path(name: &str) -> VirtualPath {
        VirtualPath::root().join(name.as_bytes()).unwrap()
    }

    fn is_over(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::DQUOT.raw_os_error())
    }

    fn store(root: &Root, name: &str, bytes: usize) -> io::Result<()> {
        let mut upload =
            Upload::begin(root, &path(name), Start::Overwrite).map_err(|unable| match unable {
                crate::storage::Unable::Io(error) => error,
                other => panic!("{other:?}"),
            })?;
        upload.write(&vec![7; bytes])?;
        upload.commit(Durability::Cached, || true).map(drop)
    }

    #[test]
    fn bytes_and_files_are_limited_and_what_goes_away_makes_room() {
        let (folder, root, quota) = root(100, 2);
        store(&root, "a", 60).unwrap();
        assert!(is_over(&store(&root, "b", 41).unwrap_err()));
        // What did not get in is kept as a part, which counts, until it is begun anew or removed.
        root.remove(&path("b")).ok();
        store(&root, "b", 40).unwrap();
        assert!(is_over(&store(&root, "c", 0).unwrap_err()));
        // One that replaces another has its room, too.
        store(&root, "a", 60).unwrap();
        assert!(is_over(&store(&root, "a", 61).unwrap_err()));
        assert_eq!(fs::read(folder.path().join("a")).unwrap().len(), 60);
        root.remove(&path("b")).unwrap();
        store(&root, "c", 40).unwrap();
        assert_eq!(quota.used(), Used { bytes: 100, files: 2 });
    }

    #[test]
    fn of_many_who_replace_one_file_one_has_its_room() {
        let (_folder, root, _) = root(100, 2);
        store(&root, "a", 90).unwrap();
        let begin = || Upload::begin(&root, &path("a"), Start::Overwrite).unwrap();
        let [mut first, mut second] = [begin(), begin()];
        first.write(&[1; 90]).unwrap();
        assert!(is_over(&second.write(&[2; 11]).unwrap_err()));
        first.commit(Durability::Cached, || true).unwrap();
        drop(second);
        store(&root, "a", 100).unwrap();
    }

    #[test]
    fn of_many_uploads_at_once_no_byte_more_gets_in_than_allowed() {
        let (folder, root, quota) = root(100_000, 1000);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let root = &root;
                scope.spawn(move || {
                    for turn in 0..20 {
                        let _stored = store(root, &format!("{number}-{turn}"), 1000 + number);
                    }
                });
            }
        });
        let held: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(held <= 100_000 && held > 98_000, "{held}");
        assert_eq!(quota.used(), root.measure());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Begin(u8, u8),
        Write(u8, u16),
        Commit(u8),
        Settle(u8),
        Remove(u8),
        Rename(u8, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0..3_u8, 0..4_u8).prop_map(|(name, start)| Act::Begin(name, start)),
            5 => (0..4_u8, 1..400_u16).prop_map(|(at, count)| Act::Write(at, count)),
            3 => (0..4_u8).prop_map(Act::Commit),
            2 => (0..4_u8).prop_map(Act::Settle),
            1 => (0..3_u8).prop_map(Act::Remove),
            1 => (0..3_u8, 0..3_u8).prop_map(|(from, to)| Act::Rename(from, to)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_there(acts in proptest::collection::vec(act(), 1..60)) {
            let (_folder, root, quota) = root(1000, 3);
            let name = |number: u8| path(&format!("f{number}"));
            let mut open: Vec<Upload> = Vec::new();
            for act in acts {
                match act {
                    Act::Begin(file, start) if open.len() < 3 => {
                        let start = match start {
                            0 | 1 => Start::Overwrite,
                            2 => Start::At(5),
                            _ => Start::End,
                        };
                        open.extend(Upload::begin(&root, &name(file), start).ok());
                    }
                    Act::Write(at, count) if !open.is_empty() => {
                        let at = usize::from(at) % open.len();
                        let upload = &mut open[at];
                        let ready = upload.prepare(usize::MAX).is_ok_and(|ready| ready);
                        if !ready || upload.write(&vec![1; count.into()]).is_err() {
                            let _kept = open.remove(at).settle();
                        }
                    }
                    Act::Commit(at) if !open.is_empty() => {
                        let mut upload = open.remove(usize::from(at) % open.len());
                        if upload.prepare(usize::MAX).is_ok_and(|ready| ready) {
                            let _done = upload.commit(Durability::Cached, || true);
                        }
                    }
                    Act::Settle(at) if !open.is_empty() => {
                        let _kept = open.remove(usize::from(at) % open.len()).settle();
                    }
                    Act::Remove(file) => drop(root.remove(&name(file))),
                    Act::Rename(from, to) => drop(root.rename(&name(from), &name(to))),
                    _ => {}
                }
            }
            for upload in open {
                let _kept = upload.settle();
            }
            prop_assert_eq!(quota.used(), root.measure());
            prop_assert!(quota.used().bytes <= 1000, "{:?}", quota.used());
        }
    }
}
