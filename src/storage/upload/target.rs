//! The final name of an upload, its directory, and the files that the server writes beside it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::Dir;
use parking_lot::MutexGuard;
use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;

use super::record::{Owner, PartRecord};
use super::running;
use crate::ftp::VirtualPath;
use crate::storage::durability::{Durability, open_directory};
use crate::storage::quota::Quota;
use crate::storage::reserved_names as names;
use crate::storage::root::Root;
use crate::storage::stat::Identity;

/// The mode of a file that a client creates, before the umask: only the owner and the group may write it.
const FILE_MODE: u32 = 0o664;
/// The mode bits that the server needs to continue a file.
const OWNER_MODE: u32 = 0o600;
/// The permission bits that a new file takes from the file that it replaces: no set-id and no sticky bits.
pub(super) const KEPT_MODE: u32 = 0o777;
/// The maximum number of names that are tried for a new file.
pub(super) const UNIQUE_NAMES_MAX: u32 = 1000;
/// The maximum number of tries to open a partial that is renamed meanwhile.
const OPEN_TRIES_MAX: u32 = 8;

/// A final name, and its directory.
#[derive(Debug)]
pub(in crate::storage) struct UploadTarget {
    pub(in crate::storage) directory: Dir,
    pub(in crate::storage) name: OsString,
    /// The name of the partial.
    pub(in crate::storage) part: OsString,
    /// The limits of the tree.
    pub(in crate::storage) quota: Option<Quota>,
    /// The mode bits that new files do not get; those of the process if `None`.
    pub(in crate::storage) umask: Option<u32>,
}

/// The result of locking a file. The kernel releases the lock when the process dies.
#[derive(Debug)]
pub(in crate::storage) enum Lock {
    Got(File),
    /// An upload writes the file.
    Busy(File),
    /// The file system has no locks, so it is unknown if an upload writes the file.
    Unlockable(File),
    /// There is no such file.
    Missing,
}

impl Lock {
    /// Returns the file, if it exists.
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::Got(file) | Self::Busy(file) | Self::Unlockable(file) => Some(file),
            Self::Missing => None,
        }
    }
}

impl UploadTarget {
    /// Returns the target of a path, following a symbolic link.
    pub(in crate::storage) fn of(root: &Root, path: &VirtualPath) -> io::Result<Self> {
        let target = Self::without_part(root, path)?;
        let stands = target.stat(&target.name)?;
        Ok(target.with_part_for(stands.as_ref()))
    }

    /// Returns the target of a file to write, and the stat of the file that has the name now.
    pub(super) fn to_write(root: &Root, path: &VirtualPath) -> io::Result<(Self, Option<Stat>)> {
        let target = Self::without_part(root, path)?;
        let stands = target.standing()?;
        Ok((target.with_part_for(stands.as_ref()), stands))
    }

    fn without_part(root: &Root, path: &VirtualPath) -> io::Result<Self> {
        if let Some((root, path)) = root.mounted(path) {
            return Self::without_part(root, &path);
        }
        let (directory, name) = root.place(path)?;
        Ok(Self {
            directory,
            name,
            part: OsString::new(),
            quota: root.quota().cloned(),
            umask: root.umask(),
        })
    }

    fn with_part_for(self, stands: Option<&Stat>) -> Self {
        let name = self.name.as_bytes();
        let part = match stands {
            None => names::part_of(name),
            Some(stat) => names::part_over(name, &Identity::of(stat).bytes()),
        };
        Self { part, ..self }
    }

    /// Locks out every other change of names in the tree, if the tree has a quota.
    pub(in crate::storage) fn lock_names(&self) -> Option<MutexGuard<'_, ()>> {
        self.quota.as_ref().map(Quota::lock_names)
    }

    pub(in crate::storage) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        stat(&self.directory, name)
    }

    /// Returns the stat of the file that has the final name, if it is a file that the server may write. The file is not
    /// opened: a watcher of the directory would take its close for the end of an upload (inotify, `CLOSE_WRITE`).
    pub(super) fn standing(&self) -> io::Result<Option<Stat>> {
        let Some(stat) = self.stat(&self.name)? else { return Ok(None) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            FileType::Symlink => return Err(Errno::LOOP.into()),
            _ => return Err(Errno::NXIO.into()),
        }
        let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::accessat(&self.directory, &self.name, Access::WRITE_OK, flags) {
            Ok(()) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the error of an upload whose partial is gone: [`Errno::NOENT`] if its directory was removed, and else
    /// [`Errno::BUSY`], because another upload has superseded it.
    pub(super) fn superseded(&self) -> io::Error {
        let is_removed = rustix::fs::fstat(&self.directory).is_ok_and(|found| found.st_nlink == 0);
        if is_removed { Errno::NOENT.into() } else { Errno::BUSY.into() }
    }

    /// Opens the file that has the final name.
    pub(super) fn open_standing(&self, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?.into())
    }

    /// Opens a file and takes its lock, which is held while the file is open.
    pub(in crate::storage) fn lock(&self, name: &OsStr) -> io::Result<Lock> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for _ in 0..OPEN_TRIES_MAX {
            let file: File = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
                Ok(file) => file.into(),
                Err(Errno::NOENT) => return Ok(Lock::Missing),
                Err(error) => return Err(error.into()),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Lock::Busy(file)),
                Err(error) if has_no_locks(error) => return Ok(Lock::Unlockable(file)),
                Err(error) => return Err(error.into()),
            }
            // Its last owner may have renamed it between the open and the lock.
            if self.is_called(name, &file)? {
                return Ok(Lock::Got(file));
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Creates a file under this name, which must be free, and locks it. Returns `false` with the file if the file
    /// system has no locks.
    pub(super) fn create(&self, name: &OsStr, replaces: Option<&Stat>) -> io::Result<(File, bool)> {
        // Never more open than the file that it replaces, because not every file system allows changing the mode.
        let new = FILE_MODE & !self.umask.unwrap_or_default();
        let mode = replaces.map_or(new, |stat| (stat.st_mode & KEPT_MODE) | OWNER_MODE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        // Under this lock, no sweep removes the file before it is locked.
        let _names = self.lock_names();
        let file: File = rustix::fs::openat(&self.directory, name, flags, mode)?.into();
        if self.umask.is_some() && replaces.is_none() {
            // The umask of the process may have taken more. If the mode cannot be changed, the file is less open.
            let _changed = rustix::fs::fchmod(&file, mode);
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if self.is_called(name, &file)? => Ok((file, true)),
            // Another process was faster.
            Ok(()) | Err(Errno::WOULDBLOCK) => Err(Errno::EXIST.into()),
            Err(error) if has_no_locks(error) => Ok((file, false)),
            Err(error) => {
                let _removed = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
                Err(error.into())
            }
        }
    }

    /// Creates a file under a random name.
    pub(super) fn create_own(&self, replaces: Option<&Stat>) -> io::Result<(File, OsString, bool)> {
        for _ in 0..UNIQUE_NAMES_MAX {
            let name = names::own();
            match self.create(&name, replaces) {
                Ok((file, lockable)) => return Ok((file, name, lockable)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Opens the directory itself; `None` if it may be written but not read, as drop boxes are.
    pub(super) fn open_directory(&self) -> io::Result<Option<File>> {
        open_directory(&self.directory)
    }

    /// Locks the directory, so that an upload that is being renamed and one that supersedes it exclude each other.
    /// Returns `None` if the lock is not available at once.
    pub(super) fn lock_directory(&self) -> io::Result<Option<File>> {
        let Some(directory) = self.open_directory()? else { return Ok(None) };
        Ok(flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(directory))
    }

    /// Clones the target.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            directory: self.directory.try_clone()?,
            name: self.name.clone(),
            part: self.part.clone(),
            quota: self.quota.clone(),
            umask: self.umask,
        })
    }

    /// Returns the name of an append that is written to the file now.
    pub(in crate::storage) fn redo_name(&self) -> OsString {
        names::redo_of(self.name.as_bytes())
    }

    /// Returns the name of an append that is about to be written to the file.
    pub(super) fn append_name(&self) -> OsString {
        names::append_to(self.name.as_bytes())
    }

    /// Returns true if an append is being written to the file, or was when the server died.
    pub(in crate::storage) fn has_redo(&self) -> io::Result<bool> {
        Ok(self.stat(&self.redo_name())?.is_some())
    }

    /// Returns true if a file still has this name.
    pub(super) fn is_called(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        is_called(&self.directory, name, file)
    }

    /// Returns the number of bytes of a partial that count. All of them count while an upload writes it, because an
    /// upload that resumes it copies them.
    pub(in crate::storage) fn kept_length(&self, part: &File) -> io::Result<u64> {
        let length = part.metadata()?.len();
        let flushed = self.record(part).map_or(0, |record| record.flushed);
        if flushed >= length {
            return Ok(length);
        }
        Ok(if is_locked(part) { length } else { flushed })
    }

    /// Returns the number of bytes that count of a partial that this upload has locked.
    pub(super) fn kept_length_locked(&self, part: &File) -> io::Result<u64> {
        let length = part.metadata()?.len();
        Ok(self.record(part).map_or(0, |record| record.flushed.min(length)))
    }

    /// Returns the record of a partial.
    pub(in crate::storage) fn record(&self, part: &File) -> Option<PartRecord> {
        PartRecord::read(&self.directory, &self.part, part)
    }

    /// Records the number of bytes of a partial that count; returns `false` if another upload has taken the partial's
    /// name.
    pub(super) fn record_part(
        &self,
        part: &File,
        record: PartRecord,
        durability: Durability,
    ) -> io::Result<bool> {
        if !self.is_called(&self.part, part)? {
            return Ok(false);
        }
        record.write(&self.directory, &self.part, part, durability)?;
        let is_in_place = self.is_called(&self.part, part)?;
        if !is_in_place && self.record(part).is_some() {
            // The record came too late, and no other upload would remove it.
            PartRecord::remove(&self.directory, &self.part);
        }
        Ok(is_in_place)
    }

    /// Returns true if a partial that this client sent, or sends now, exists beside a complete file.
    pub(in crate::storage) fn is_interrupted_by(&self, owner: Owner) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let part = rustix::fs::openat(&self.directory, &self.part, flags, Mode::empty());
        let Ok(part) = part.map(File::from) else { return false };
        self.is_sent_by(&part, owner)
    }

    /// Returns true if this client sends this partial now, or sent those of its bytes that count. An upload of another
    /// process is unknown until its first record, and counts as another client's.
    pub(super) fn is_sent_by(&self, part: &File, owner: Owner) -> bool {
        match running::sender(part) {
            Some(sender) => sender == owner,
            None => {
                self.record(part).is_some_and(|record| record.owner == owner && record.flushed > 0)
            }
        }
    }

    /// Removes a partial, unless an upload writes it. Returns true if a partial was removed.
    pub(in crate::storage) fn remove_leftover(&self, part: &OsStr) -> bool {
        let names = self.lock_names();
        // The lock is held until the file is gone. Without locks, no upload writes under this name. A file that stays
        // is swept when it is old.
        let Ok(Lock::Got(held) | Lock::Unlockable(held)) = self.lock(part) else { return false };
        let length = held.metadata().map_or(0, |found| found.len());
        let removed = rustix::fs::unlinkat(&self.directory, part, AtFlags::empty()).is_ok();
        if removed {
            self.uncount(length, 1);
            PartRecord::remove(&self.directory, part);
        }
        drop(names);
        removed
    }

    /// Subtracts removed bytes and files from the quota's usage.
    pub(in crate::storage) fn uncount(&self, bytes: u64, files: u64) {
        if let Some(quota) = &self.quota {
            quota.give_back(bytes, files);
        }
    }
}

fn stat(directory: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if a file still has this name in a directory.
pub(super) fn is_called(directory: &Dir, name: &OsStr, file: &File) -> io::Result<bool> {
    let own = rustix::fs::fstat(file)?;
    let found = stat(directory, name)?;
    Ok(found.is_some_and(|found| (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)))
}

/// Returns true if an upload holds the lock of a file.
fn is_locked(file: &File) -> bool {
    let locked = flock(file, FlockOperation::NonBlockingLockShared);
    if locked.is_ok() {
        // An upload that resumes the file must get the lock.
        let _unlocked = flock(file, FlockOperation::Unlock);
    }
    locked == Err(Errno::WOULDBLOCK)
}

/// Returns true if flock failed because the file system has no locks: NFS without lockd, Lustre without `-o flock`,
/// some FUSE.
pub(super) fn has_no_locks(error: Errno) -> bool {
    matches!(error, Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)
}
