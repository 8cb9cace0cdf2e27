//! The quota of a user's home: its limits and its usage, which is exact at every moment, even with many concurrent
//! uploads.
//!
//! The usage is counted when the first session of a home begins. From then on, it follows what this server writes,
//! removes and replaces. Changes by other programs are noticed at the next count.
//!
//! An upload reserves its bytes before it writes them. An upload that replaces a file is credited with the bytes and
//! the inode of that file, which will be freed. If they are not freed, they are charged before the upload is kept or
//! gets its final name. Of several uploads that replace one file, only one has the credit at a time.
//!
//! Invariant: code that changes a name examines, changes and counts it under [`Quota::lock_names`], so that no other
//! change interferes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

/// The usage of a tree, shared by all sessions that see the tree.
#[derive(Debug, Default)]
pub(super) struct Usage {
    used: Mutex<Used>,
    /// The number of changes of `used`.
    changes: AtomicU64,
    /// The number of uploads that have reserved room.
    uploads: AtomicUsize,
    /// Held by each change of names.
    names: Mutex<()>,
    /// The files for which an upload has a credit. At most one upload has the credit for a file.
    credited: Mutex<HashSet<FileId>>,
}

impl Usage {
    pub(super) fn used(&self) -> Used {
        *self.used.lock()
    }

    /// Locks the usage for a change.
    fn change(&self) -> MutexGuard<'_, Used> {
        let used = self.used.lock();
        self.changes.fetch_add(1, Ordering::Relaxed);
        used
    }

    /// Replaces the usage by a new count. Returns false, and changes nothing, if the usage changes during the count or
    /// an upload has reserved room: the count has only a part of its bytes.
    pub(super) fn recount(&self, measure: impl FnOnce() -> Used) -> bool {
        // While the names are locked, each change that the disk has is counted.
        let names = self.names.lock();
        let before = self.changes.load(Ordering::Relaxed);
        drop(names);
        let counted = measure();
        let _names = self.names.lock();
        let mut used = self.used.lock();
        let is_quiet = self.uploads.load(Ordering::Acquire) == 0
            && self.changes.load(Ordering::Relaxed) == before;
        if is_quiet {
            *used = counted;
        }
        is_quiet
    }
}

/// The device and inode numbers of a file.
pub(super) type FileId = (u64, u64);

/// The usage in bytes, and in inodes: files, partial uploads, directories, links.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// The trees whose usage is known, by the device and inode numbers of their roots.
#[derive(Debug, Default)]
pub(super) struct UsageTable(Mutex<HashMap<(u64, u64), Weak<Usage>>>);

impl UsageTable {
    /// Returns the usage of the tree whose root has this identity; `measure` counts it if no session sees the tree now.
    pub(super) fn of(&self, identity: FileId, measure: impl FnOnce() -> Used) -> Arc<Usage> {
        if let Some(usage) = self.known(identity) {
            return usage;
        }
        let used = measure();
        let mut known = self.0.lock();
        known.retain(|_, usage| usage.strong_count() > 0);
        // Another thread may have been faster.
        known.get(&identity).and_then(Weak::upgrade).unwrap_or_else(|| {
            let usage = Arc::new(Usage { used: Mutex::new(used), ..Usage::default() });
            known.insert(identity, Arc::downgrade(&usage));
            usage
        })
    }

    /// Returns the usage of a tree, if a session sees the tree now.
    pub(super) fn known(&self, identity: FileId) -> Option<Arc<Usage>> {
        self.0.lock().get(&identity).and_then(Weak::upgrade)
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
        let mut used = self.usage.change();
        let after = used.bytes.saturating_add(bytes);
        if after > self.bytes_max {
            return Err(Errno::DQUOT.into());
        }
        used.bytes = after;
        Ok(())
    }

    /// Reserves the inode of a new file, directory or link.
    pub(super) fn take_file(&self) -> io::Result<()> {
        let mut used = self.usage.change();
        if used.files >= self.files_max {
            return Err(Errno::DQUOT.into());
        }
        used.files += 1;
        Ok(())
    }

    /// Locks out every other change of names in the tree.
    pub(super) fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.usage.names.lock()
    }

    /// Counts bytes that are stored already.
    pub(super) fn add(&self, bytes: u64) {
        let mut used = self.usage.change();
        used.bytes = used.bytes.saturating_add(bytes);
    }

    /// Subtracts bytes and files that are gone.
    pub(super) fn give_back(&self, bytes: u64, files: u64) {
        let mut used = self.usage.change();
        used.bytes = used.bytes.saturating_sub(bytes);
        used.files = used.files.saturating_sub(files);
    }

    /// Returns the number of bytes that can still be stored.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.usage.used().bytes)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> Used {
        self.usage.used()
    }
}

/// The reservation of one upload. Dropping it gives back the room, except for what was marked as kept.
#[derive(Debug, Default)]
pub(super) struct QuotaReservation {
    quota: Option<Quota>,
    /// The length of the upload's file.
    bytes: u64,
    /// The number of inodes of the upload's file: 1 if the file is charged, otherwise 0.
    files: u64,
    /// The bytes and inodes that are freed when the upload gets its final name.
    credit: (u64, u64),
    /// The file for which this upload has the credit.
    credited: Option<FileId>,
}

impl QuotaReservation {
    /// Reserves room for an upload. `counted` is the number of bytes of its file that are counted already, or `None` if
    /// the file is new. `replaces` is the length in bytes and the identity of the file that it replaces.
    pub(super) fn begin(
        quota: Option<&Quota>,
        counted: Option<u64>,
        replaces: Option<(u64, FileId)>,
    ) -> io::Result<Self> {
        let Some(quota) = quota else { return Ok(Self::default()) };
        let mut reservation = Self::of(quota);
        if let Some(bytes) = counted {
            (reservation.bytes, reservation.files) = (bytes, 1);
        }
        if let Some((bytes, file)) = replaces
            && quota.usage.credited.lock().insert(file)
        {
            reservation.credited = Some(file);
            let changed = reservation.change(reservation.bytes, reservation.files, (bytes, 1));
            changed.inspect_err(|_| reservation.forget_if(counted.is_some()))?;
        }
        let changed = reservation.change(reservation.bytes, 1, reservation.credit);
        changed.inspect_err(|_| reservation.forget_if(counted.is_some()))?;
        Ok(reservation)
    }

    /// Reserves room for bytes appended to a file. `replaced` bytes are freed when the append is complete.
    pub(super) fn of_tail(quota: Option<&Quota>, replaced: u64) -> Self {
        let mut reservation = quota.map(Self::of).unwrap_or_default();
        reservation.credit = (replaced, 0);
        reservation
    }

    fn of(quota: &Quota) -> Self {
        let usage = &quota.usage;
        // Counted under the lock, so that a new count does not miss it.
        let _locked = usage.change();
        usage.uploads.fetch_add(1, Ordering::AcqRel);
        Self { quota: Some(quota.clone()), ..Self::default() }
    }

    /// Keeps a partial counted that was counted before.
    fn forget_if(&mut self, is_counted: bool) {
        if is_counted {
            self.keep_part();
        }
    }

    /// Sets the length of the file in bytes: before the file grows, or after it has become shorter.
    pub(super) fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.change(length, self.files, self.credit)
    }

    /// Sets the credit: the file that is freed when the upload gets its final name has this many bytes; `None` if no
    /// file is freed.
    pub(super) fn set_credit(&mut self, replaced: Option<u64>) -> io::Result<()> {
        self.change(
            self.bytes,
            self.files,
            (replaced.unwrap_or_default(), u64::from(replaced.is_some())),
        )
    }

    /// Reserves or gives back the difference to the new cost: all of the changes, or none on an error.
    fn change(&mut self, bytes: u64, files: u64, credit: (u64, u64)) -> io::Result<()> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let before = self.cost();
        let after = (bytes.saturating_sub(credit.0), files.saturating_sub(credit.1));
        if after.1 > before.1 {
            quota.take_file()?;
        }
        if after.0 > before.0
            && let Err(error) = quota.take_bytes(after.0 - before.0)
        {
            quota.give_back(0, after.1.saturating_sub(before.1));
            return Err(error);
        }
        quota.give_back(before.0.saturating_sub(after.0), before.1.saturating_sub(after.1));
        (self.bytes, self.files, self.credit) = (bytes, files, credit);
        Ok(())
    }

    fn cost(&self) -> (u64, u64) {
        (self.bytes.saturating_sub(self.credit.0), self.files.saturating_sub(self.credit.1))
    }

    /// Leaves the received bytes counted when the reservation is dropped.
    pub(super) fn keep_part(&mut self) {
        (self.bytes, self.files, self.credit) = (0, 0, (0, 0));
    }

    /// Leaves the file counted that has got its final name, in place of a file of `replaced` bytes. Call it under the
    /// lock of the names, after [`QuotaReservation::set_credit`] with this value.
    pub(super) fn keep_file(&mut self, replaced: Option<u64>) {
        if let Some(quota) = &self.quota {
            // The replaced file was larger than the new one.
            quota.give_back(replaced.unwrap_or_default().saturating_sub(self.bytes), 0);
        }
        self.keep_part();
    }

    /// Leaves the appended bytes counted, in place of `replaced` bytes.
    pub(super) fn keep_tail(&mut self, replaced: u64) {
        self.keep_file(Some(replaced));
    }
}

impl Drop for QuotaReservation {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            let (bytes, files) = self.cost();
            quota.give_back(bytes, files);
            quota.usage.uploads.fetch_sub(1, Ordering::AcqRel);
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
    use crate::storage::upload::{Go, Owner, Start, Terms, Upload};
    use crate::storage::{Durability, Root};

    const TERMS: Terms = Terms { owner: Owner(1), durability: Durability::Cached };

    fn root(bytes_max: u64, files_max: u64) -> (TempDir, Root, Quota) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let usage = UsageTable::default().of(root.identity(), || root.measure());
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
        let mut upload = Upload::begin(root, &path(name), Start::Overwrite, TERMS)
            .map_err(|error| match error {
                crate::storage::UploadError::Io(error) => error,
                other => panic!("{other:?}"),
            })?
            .prepare()?;
        upload.write(&vec![7; bytes])?;
        upload.commit(|| Go::On).map(drop)
    }

    #[test]
    fn bytes_and_files_are_limited_and_what_goes_away_makes_room() {
        let (folder, root, quota) = root(100, 2);
        store(&root, "a", 60).unwrap();
        assert!(is_over(&store(&root, "b", 41).unwrap_err()));
        // The upload that exceeded the quota is kept as a partial, which counts until it is started again or removed.
        root.remove(&path("b")).ok();
        store(&root, "b", 40).unwrap();
        assert!(is_over(&store(&root, "c", 0).unwrap_err()));
        // An upload that replaces a file also has that file's room.
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
        let begin = || Upload::begin(&root, &path("a"), Start::Overwrite, TERMS).unwrap();
        let [mut first, mut second] = [begin(), begin()];
        first.write(&[1; 90]).unwrap();
        assert!(is_over(&second.write(&[2; 11]).unwrap_err()));
        first.commit(|| Go::On).unwrap();
        drop(second);
        store(&root, "a", 100).unwrap();
    }

    #[test]
    fn a_new_count_has_the_changes_of_others_unless_files_change_meanwhile() {
        let (folder, root, quota) = root(1000, 10);
        store(&root, "a", 60).unwrap();
        fs::write(folder.path().join("b"), [0; 40]).unwrap();
        assert!(quota.usage.recount(|| root.measure()));
        assert_eq!(quota.used(), Used { bytes: 100, files: 2 });
        let during = || {
            store(&root, "c", 1).unwrap();
            root.measure()
        };
        assert!(!quota.usage.recount(during));
        let mut upload = Upload::begin(&root, &path("d"), Start::Overwrite, TERMS).unwrap();
        upload.write(&[1; 9]).unwrap();
        assert!(!quota.usage.recount(|| root.measure()));
        drop(upload);
        assert!(quota.usage.recount(|| root.measure()));
        assert_eq!(quota.used(), root.measure());
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

    #[test]
    fn partials_and_directories_count_as_files() {
        let (_folder, root, quota) = root(1000, 2);
        let cut_off = |name: &str| {
            let mut upload = Upload::begin(&root, &path(name), Start::Overwrite, TERMS)?;
            upload.write(b"x")?;
            assert_eq!(upload.settle(), 1);
            Ok::<(), crate::storage::UploadError>(())
        };
        cut_off("a").unwrap();
        root.make_directory(&path("d")).unwrap();
        assert!(cut_off("b").is_err() && is_over(&root.make_directory(&path("e")).unwrap_err()));
        // A continued partial is counted already, and it is the file that gets the final name.
        store(&root, "a", 3).unwrap();
        root.remove_directory(&path("d")).unwrap();
        cut_off("b").unwrap();
        root.remove(&path("b")).unwrap();
        root.rename(&path("a"), &path("c")).unwrap();
        assert_eq!((quota.used(), quota.used()), (root.measure(), Used { bytes: 3, files: 1 }));
    }

    /// The number of changes that each session makes to the names they share.
    const ROUNDS: usize = 2500;

    #[test]
    fn what_is_counted_does_not_drift_however_many_change_the_same_names() {
        let (_folder, root, quota) = root(100_000_000, 1000);
        std::thread::scope(|scope| {
            for session in 0..4_usize {
                let root = &root;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let size = (session * 7919 + round * 31) % 2000;
                        let name = ["t", "s"][(session + round) % 2];
                        match (session + round) % 5 {
                            0 | 1 => drop(store(root, name, size)),
                            2 => drop(root.rename(&path("s"), &path("t"))),
                            3 => drop(root.remove(&path(name))),
                            _ => drop(Upload::begin(root, &path("t"), Start::End, TERMS).map(
                                |mut upload| {
                                    upload.write(&[1; 100]).and_then(|()| upload.commit(|| Go::On))
                                },
                            )),
                        }
                    }
                });
            }
        });
        assert_eq!(quota.used(), root.measure());
        for name in ["s", "t"] {
            let _removed = root.remove(&path(name));
        }
        assert_eq!(quota.used(), Used::default());
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
                        let begun = Upload::begin(&root, &name(file), start, TERMS).ok();
                        open.extend(begun.and_then(|upload| upload.prepare().ok()));
                    }
                    Act::Write(at, count) if !open.is_empty() => {
                        let at = usize::from(at) % open.len();
                        let upload = &mut open[at];
                        if upload.write(&vec![1; count.into()]).is_err() {
                            let _kept = open.remove(at).settle();
                        }
                    }
                    Act::Commit(at) if !open.is_empty() => {
                        let upload = open.remove(usize::from(at) % open.len());
                        let _done = upload.commit(|| Go::On);
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
