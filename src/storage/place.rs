//! A name that a file is to have, the directory that it is in, and who is writing it: the lock of what is kept.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::hidden::{self, beside};
use super::quota::Quota;
use super::root::Root;
use crate::ftp::VirtualPath;

/// The mode of a file that a client makes, before the umask: nobody but owner and group may write it.
const FILE_MODE: Mode = Mode::from_raw_mode(0o664);
/// How many names are tried for a new file before we give up.
pub(super) const UNIQUE_NAMES_MAX: u32 = 1000;
/// How often a part is opened again that was renamed while we asked for its lock.
const OPEN_TRIES_MAX: u32 = 8;

/// Where the next search for a name of an upload beside another begins.
static NEXT_BESIDE: AtomicU64 = AtomicU64::new(1);

/// A final name, and the directory that it is in.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Dir,
    pub(super) name: OsString,
    /// What is kept of an upload is called so.
    pub(super) part: OsString,
    /// The limit to what the tree may hold.
    pub(super) quota: Option<Quota>,
}

/// What is kept of an upload of a name is called so: by the name alone where nothing stands under it, else by the state of
/// what stands there, too.
pub(super) fn part_of(name: &[u8], stands: Option<&Identity>) -> OsString {
    match stands {
        None => hidden::part_of(name),
        Some(identity) => hidden::part_over(name, &identity.bytes()),
    }
}

/// What opening may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Create {
    /// Only what is there.
    No,
    IfMissing,
    /// Only what is not there.
    New,
}

/// What asking for a file to write it came to.
#[derive(Debug)]
pub(super) enum Lock {
    Got(File),
    /// Somebody writes it.
    Busy(File),
    /// There is none; or, where a new one was asked for, there is one.
    Missing,
}

impl Place {
    /// Where a path leads; through a symbolic link, where that leads.
    pub(super) fn of(root: &Root, path: &VirtualPath) -> io::Result<Self> {
        let (directory, name) = root.place(path)?;
        let place = Self { directory, name, part: OsString::new(), quota: root.quota().cloned() };
        let stands = place.stat(&place.name)?;
        Ok(place.with_part_for(stands.as_ref()))
    }

    /// The same for a file that is to be written, and what stands there now.
    pub(super) fn to_write(root: &Root, path: &VirtualPath) -> io::Result<(Self, Option<Stat>)> {
        let (directory, name) = root.place(path)?;
        let place = Self { directory, name, part: OsString::new(), quota: root.quota().cloned() };
        let stands = place.standing()?;
        Ok((place.with_part_for(stands.as_ref()), stands))
    }

    fn with_part_for(self, stands: Option<&Stat>) -> Self {
        let part = part_of(self.name.as_bytes(), stands.map(Identity::of).as_ref());
        Self { part, ..self }
    }

    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What stands under the name, if it is a file that we may write.
    pub(super) fn standing(&self) -> io::Result<Option<Stat>> {
        let flags =
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                    Ok(Some(stat))
                } else {
                    Err(Errno::NXIO.into())
                }
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn read_standing(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?.into())
    }

    /// Opens a file and takes its lock, which lasts as long as the file is open.
    pub(super) fn lock(&self, name: &OsStr, create: Create) -> io::Result<Lock> {
        let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match create {
            Create::No => {}
            Create::IfMissing => flags |= OFlags::CREATE,
            Create::New => flags |= OFlags::CREATE | OFlags::EXCL,
        }
        for _ in 0..OPEN_TRIES_MAX {
            let file: File = match rustix::fs::openat(&self.directory, name, flags, FILE_MODE) {
                Ok(file) => file.into(),
                Err(Errno::NOENT | Errno::EXIST) => return Ok(Lock::Missing),
                Err(error) => return Err(error.into()),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // On a file system without locks nobody can know: each upload stays beside what is there.
                Err(Errno::WOULDBLOCK | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Ok(Lock::Busy(file));
                }
                Err(error) => return Err(error.into()),
            }
            // Between opening and locking, its last owner may have given it another name.
            if self.is_called(name, &file)? {
                return Ok(Lock::Got(file));
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Flushes the directory, so that a name in it outlasts a loss of power.
    pub(super) fn flush(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, ".", flags, Mode::empty()) {
            Ok(directory) => Ok(rustix::fs::fsync(directory)?),
            // One that we may write and not read, as drop boxes are, is flushed when the system likes.
            Err(Errno::ACCESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a file still has this name.
    pub(super) fn is_called(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        let own = rustix::fs::fstat(file)?;
        Ok(self
            .stat(name)?
            .is_some_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino)))
    }

    /// Removes a part, unless somebody is writing it; whether there was one.
    pub(super) fn remove_leftover(&self, part: &OsStr) -> bool {
        // Locked until it is gone. Nobody is served worse by a leftover that stays: it is swept when it is old.
        let Ok(Lock::Got(held)) = self.lock(part, Create::No) else { return false };
        let length = held.metadata().map_or(0, |found| found.len());
        let removed = rustix::fs::unlinkat(&self.directory, part, AtFlags::empty()).is_ok();
        if removed {
            self.uncount(length);
        }
        removed
    }

    /// A part of so many bytes is not there any more.
    pub(super) fn uncount(&self, bytes: u64) {
        if let Some(quota) = &self.quota {
            quota.give_back(bytes, 0);
        }
    }
}

/// A name of its own for an upload beside another.
pub(super) fn next_beside() -> OsString {
    beside(NEXT_BESIDE.fetch_add(1, Ordering::Relaxed))
}

/// What stood under a name when somebody looked: another file, or the same one changed, is not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        let (device, inode, size) = (stat.st_dev, stat.st_ino, stat.st_size);
        Self { device, inode, size, modified: modified(stat) }
    }

    /// As bytes, the same for the same state.
    fn bytes(&self) -> Vec<u8> {
        format!("{self:?}").into_bytes()
    }
}

/// When a file was last changed: seconds and nanoseconds.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    reason = "types differ by architecture"
)]
pub(super) fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime as i64, stat.st_mtime_nsec as i64)
}
