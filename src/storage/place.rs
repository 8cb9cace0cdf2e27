//! A name that a file is to have, the directory that it is in, and who is writing it: the lock of what is kept.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::hidden::{beside, part_of};
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
        let part = part_of(name.as_bytes());
        Ok(Self { directory, name, part })
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

    /// Asks for what is kept, if it is there and newer than what stands under the name; an older one goes away.
    pub(super) fn lock_current(&self, stands: Option<&Stat>) -> io::Result<Lock> {
        let lock = self.lock(&self.part, Create::No)?;
        if let (Lock::Got(file), Some(stands)) = (&lock, stands)
            && modified(&rustix::fs::fstat(file)?) < modified(stands)
        {
            rustix::fs::unlinkat(&self.directory, &self.part, AtFlags::empty())?;
            return Ok(Lock::Missing);
        }
        Ok(lock)
    }

    /// A file of its own, for an upload beside another.
    pub(super) fn lock_beside(&self) -> io::Result<(File, OsString)> {
        for _ in 0..UNIQUE_NAMES_MAX {
            let name = beside(NEXT_BESIDE.fetch_add(1, Ordering::Relaxed));
            if let Lock::Got(file) = self.lock(&name, Create::New)? {
                return Ok((file, name));
            }
        }
        Err(Errno::EXIST.into())
    }

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
                // A file system without locks: the lock is a help against two at once, not the only one.
                Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Lock::Busy(file)),
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

    /// Removes what is kept, unless somebody is writing it; whether there was something.
    pub(super) fn remove_leftover(&self) -> bool {
        // Nobody is served worse by a leftover that stays: it is swept when it is old.
        matches!(self.lock(&self.part, Create::No), Ok(Lock::Got(_)))
            && rustix::fs::unlinkat(&self.directory, &self.part, AtFlags::empty()).is_ok()
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
