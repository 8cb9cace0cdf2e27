//! Uploads: each is written to a hidden file, which is renamed to its final name when the upload is complete.
//!
//! The tables in `README.md` in this folder show which file an upload continues, what becomes of it, and what ALLO
//! proves.
//!
//! Not here: sockets, replies.

mod append;
mod begin;
mod copy;
mod judge;
mod keep;
mod record;
mod target;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::Dir;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid, flock,
};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::durability::{Durability, flush_directory};
use super::quota::QuotaReservation;
use super::stat::size;

pub(super) use append::recover;
pub use judge::{ABORTED, ClientState, Completeness, DataEnd, Signs, VANISHED, judge};
pub use record::Owner;
use record::PartRecord;
use target::{KEPT_MODE, UNIQUE_NAMES_MAX};
pub(super) use target::{Lock, UploadTarget};

/// The mode bits of group and others.
const OTHERS_MODE: u32 = 0o077;

/// The number of bytes that a partial gives up for its record on a full disk: more than a block of any file system.
const RECORD_ROOM_BYTES: u64 = 128 * 1024;

/// The offset at which an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of the file.
    Overwrite,
    /// At this offset in bytes; later bytes of the file are discarded.
    At(u64),
    /// At the end of the file.
    End,
}

/// The terms of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The client that uploads. A partial beside a complete file counts only for the client that sent the partial.
    pub owner: Owner,
    /// The moment from which received data counts as stored.
    pub durability: Durability,
}

/// The decision about an upload whose data has been flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Rename it to its final name.
    On,
    /// Return it to the caller, because its client has sent something.
    Ask,
    /// Keep it as a partial, because its client is gone.
    Stop,
}

/// The result of a commit.
#[derive(Debug)]
pub enum Committed {
    /// The file has its final name.
    Stored,
    /// The upload, unchanged, because `go` returned [`Go::Ask`].
    Asked(Box<Upload>),
    /// The file did not get its final name.
    Stopped {
        /// The number of bytes that are kept.
        kept: u64,
    },
}

/// The reason why an upload cannot begin.
#[derive(Debug)]
pub enum Unable {
    /// Another upload of this name is running.
    Busy,
    /// The offset is beyond the end.
    BeyondEnd,
    /// A partial that this client sent exists beside a complete file.
    Interrupted,
    /// The file system returned this error.
    Io(io::Error),
}

impl From<io::Error> for Unable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Unable {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A file that is being uploaded. Dropping it before [`Upload::commit`] keeps the data that has arrived.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Upload {
    target: UploadTarget,
    file: File,
    /// The current name of `file`.
    written_as: OsString,
    /// The file that had the final name when the upload began.
    replaces: Option<Stat>,
    terms: Terms,
    /// The number of the device that stores `file`.
    device: u64,
    role: Role,
    /// The offset of the next byte in the final file.
    position: u64,
    /// The offset in the final file of the first byte of `file`.
    base: u64,
    /// True if the bytes go to the end of the file, after all other appends that finish meanwhile (APPE).
    at_end: bool,
    /// True if `file` still has its old bytes after the position. They are cut off when the first data arrives, and not
    /// earlier: an upload that receives nothing must not destroy what is kept.
    untouched: bool,
    /// The work to do before the first byte.
    preparation: Option<Preparation>,
    /// True if `file` is locked. Without a lock, no other upload may find the file.
    locked: bool,
    /// True if `file` has a record.
    recorded: bool,
    /// The number of bytes that the continued partial counted when this upload began.
    kept_before: u64,
    /// True if a flush has failed. The bytes written since the previous flush may then be lost.
    flush_failed: Arc<AtomicBool>,
    settled: bool,
    reservation: QuotaReservation,
}

/// The kind of an upload's file, which decides what becomes of the file when the upload is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A new file under a random name, because another upload has the partial or the file system has no locks. If it is
    /// cut off, it becomes the partial, if possible.
    Own,
    /// The partial.
    Part,
    /// The partial, for a final name that must be free (STOU).
    Unique,
    /// A copy that shares its blocks with the complete file. It is removed if the upload is cut off.
    Copy,
    /// Only the bytes to append to the complete file. It is removed if the upload is cut off.
    Tail,
}

/// Work to do before the client's first byte, which may take long.
#[derive(Debug)]
struct Preparation {
    step: PreparationStep,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug)]
enum PreparationStep {
    /// Copy the beginning of a partial that another upload writes, or may write, and take over the partial's name.
    CopyPart(File),
    /// Lower the recorded length of the partial, because bytes that it covers are to be overwritten.
    LowerRecord,
}

/// Cancels the preparation of an upload when it is dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A flush of the data that has arrived so far.
#[derive(Debug)]
pub struct Flush {
    file: File,
    length: u64,
    /// Set when the flush fails: the kernel reports the error once, and a second flush would succeed although bytes are
    /// lost.
    failed: Arc<AtomicBool>,
    /// The partial whose length is recorded; `None` if the upload's file is not the partial.
    record: Option<(UploadTarget, Owner)>,
}

impl Flush {
    /// Flushes the file, and records the length that has reached the disk.
    pub fn run(self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            self.failed.store(true, Ordering::Release);
            return Err(error);
        }
        if let Some((target, owner)) = self.record {
            let record = PartRecord { flushed: self.length, owner };
            target.record_part(&self.file, record, Durability::Cached)?;
        }
        Ok(())
    }
}

impl Upload {
    /// Returns true if [`Upload::prepare`] has work to do before the first byte. That work may take long.
    #[must_use]
    pub fn needs_preparation(&self) -> bool {
        self.preparation.is_some()
    }

    /// Returns a guard that cancels the preparation when it is dropped, for use by another thread.
    #[must_use]
    pub fn cancel_on_drop(&self) -> Option<CancelOnDrop> {
        let preparation = self.preparation.as_ref()?;
        Some(CancelOnDrop(Arc::clone(&preparation.cancelled)))
    }

    /// Does the work that must precede the client's first byte.
    ///
    /// # Errors
    /// When the file system fails, the quota is used up, or the preparation was cancelled.
    pub fn prepare(mut self) -> io::Result<Self> {
        let Some(Preparation { step, cancelled }) = self.preparation.take() else {
            return Ok(self);
        };
        match step {
            PreparationStep::CopyPart(source) => {
                let count = self.position;
                if let Err(error) = self.copy_part(&source, count, &cancelled) {
                    // The copied bytes are worth nothing, because the source still exists.
                    self.remove_own();
                    self.settled = true;
                    return Err(error);
                }
            }
            PreparationStep::LowerRecord => {
                let Terms { owner, durability } = self.terms;
                let record = PartRecord { flushed: self.position, owner };
                self.target.record_part(&self.file, record, durability)?;
            }
        }
        Ok(self)
    }

    fn copy_part(&mut self, source: &File, count: u64, cancelled: &AtomicBool) -> io::Result<()> {
        self.reservation.set_length(count)?;
        if copy::share(source, &self.file) {
            self.file.set_len(count)?;
        } else {
            copy::copy(source, 0..count, &self.file, 0, cancelled)?;
        }
        self.file.seek(SeekFrom::Start(count))?;
        self.untouched = false;
        self.take_over(source)
    }

    /// Takes over the partial's name if the copied file still has it. No bytes can be lost by that, because they are
    /// copied.
    fn take_over(&mut self, source: &File) -> io::Result<()> {
        if !self.locked {
            return Ok(());
        }
        let Some(_lock) = self.target.lock_directory()? else { return Ok(()) };
        let UploadTarget { directory, part, .. } = &self.target;
        if !self.target.is_called(part, source)? {
            return Ok(());
        }
        let names = self.target.lock_names();
        rustix::fs::renameat(directory, &self.written_as, directory, part)?;
        // If an upload still writes the source, it gives its own charge back to the quota when it ends.
        if flock(source, FlockOperation::NonBlockingLockExclusive).is_ok() {
            self.target.uncount(source.metadata()?.len(), 1);
        }
        drop(names);
        self.written_as.clone_from(part);
        // The superseded partial may have left a record.
        (self.role, self.recorded) = (Role::Part, true);
        Ok(())
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_behind()?;
        self.reservation.set_length(self.position - self.base + bytes.len() as u64)?;
        let position = &mut self.position;
        copy::write_all(&self.file, bytes, |count| *position += count)
    }

    /// Writes the next `count` bytes from a pipe that holds them.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub fn write_from(&mut self, pipe: BorrowedFd<'_>, count: usize) -> io::Result<()> {
        self.cut_behind()?;
        let mut offset = self.position - self.base;
        self.reservation.set_length(offset + count as u64)?;
        let mut left = count;
        while left > 0 {
            match splice(pipe, None, &self.file, Some(&mut offset), left, SpliceFlags::MOVE) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left -= written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.position = self.base + offset;
        }
        // The next bytes may be written at the file's own offset.
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    fn cut_behind(&mut self) -> io::Result<()> {
        debug_assert!(self.preparation.is_none(), "prepare comes first");
        if std::mem::take(&mut self.untouched) {
            let length = self.position - self.base;
            // Truncates only if that changes the length. ext4 writes a file that was truncated to nothing to the disk
            // when it is closed, which takes as long as receiving the upload did.
            if self.file.metadata()?.len() != length {
                self.file.set_len(length)?;
            }
            self.reservation.set_length(length)?;
            self.file.seek(SeekFrom::Start(length))?;
        }
        Ok(())
    }

    /// Returns the number of the device that stores the file.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Returns the length of the final file so far, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Renames the file to the partial's name; returns `false` if another upload has that name.
    fn take_part_name(&mut self) -> io::Result<bool> {
        let UploadTarget { directory, part, .. } = &self.target;
        self.target.remove_leftover(part);
        match rename_new(directory, &self.written_as, part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            renamed => renamed?,
        }
        self.written_as.clone_from(part);
        self.role = Role::Part;
        Ok(true)
    }

    /// Prepares a flush of the data that has arrived, to be run on another thread.
    ///
    /// # Errors
    /// When no more descriptors are available.
    pub fn flush(&mut self) -> io::Result<Flush> {
        let record = match self.role {
            Role::Part | Role::Unique => Some((self.target.again()?, self.terms.owner)),
            Role::Own | Role::Copy | Role::Tail => None,
        };
        self.recorded |= record.is_some();
        let (file, failed) = (self.file.try_clone()?, Arc::clone(&self.flush_failed));
        Ok(Flush { file, length: self.position - self.base, failed, record })
    }

    /// Renames the file to its final name if `go` still agrees after everything has been flushed. From then on, all
    /// clients see the new file.
    ///
    /// # Errors
    /// [`Errno::BUSY`] when another upload has superseded this one; otherwise the error of the file system. The data
    /// that has arrived is kept.
    pub fn commit(mut self, go: impl FnOnce() -> Go) -> io::Result<Committed> {
        if self.role == Role::Tail {
            return append::commit(self, go);
        }
        let durability = self.terms.durability;
        self.cut_behind()?;
        if let Some(replaced) = &self.replaces {
            self.take_after(replaced)?;
        }
        if durability == Durability::Flushed
            && let Err(error) = self.file.sync_all()
        {
            self.flush_failed.store(true, Ordering::Release);
            return Err(error);
        }
        match go() {
            Go::On => {}
            Go::Ask => return Ok(Committed::Asked(Box::new(self))),
            Go::Stop => return Ok(Committed::Stopped { kept: self.settle() }),
        }
        // The directory is flushed below, and no upload can take over the partial while the directory is locked.
        let was_part = self.role == Role::Part;
        let opens = was_part || durability == Durability::Flushed;
        let directory = if opens { self.target.open_directory()? } else { None };
        if was_part {
            self.claim(directory.as_ref())?;
        }
        if self.role == Role::Copy && self.is_outdated()? {
            // The complete file was extended or replaced meanwhile, and this is a copy of its old content.
            return Err(Errno::BUSY.into());
        }
        self.give_name()?;
        if was_part && self.recorded {
            PartRecord::remove(&self.target.directory, &self.target.part);
        }
        if durability == Durability::Flushed {
            flush_directory(directory.as_ref())?;
        }
        if !was_part {
            // An older partial is void.
            self.target.remove_leftover(&self.target.part);
        }
        Ok(Committed::Stored)
    }

    /// Renames the file to its final name.
    fn give_name(&mut self) -> io::Result<()> {
        let UploadTarget { directory, name, .. } = &self.target;
        let _names = self.target.lock_names();
        let mut replaced = None;
        if self.target.quota.is_some() {
            replaced = self.target.stat(name)?.as_ref().map(counted_bytes);
            self.reservation.set_credit(replaced)?;
        }
        if self.role == Role::Unique {
            rename_new(directory, &self.written_as, name)?;
        } else {
            rustix::fs::renameat(directory, &self.written_as, directory, name)?;
        }
        self.settled = true;
        self.reservation.keep_file(replaced);
        Ok(())
    }

    /// Ensures that the partial is still this file, and stays so until it is renamed. Another upload may supersede it
    /// at any moment, and that upload's unfinished file must not get the final name. The lock on the directory prevents
    /// that. Without the lock, the file is renamed to a random name that only this upload knows.
    fn claim(&mut self, open: Option<&File>) -> io::Result<()> {
        let is_locked =
            open.is_some_and(|open| flock(open, FlockOperation::NonBlockingLockExclusive).is_ok());
        let UploadTarget { directory, part, .. } = &self.target;
        if is_locked {
            if self.target.is_called(part, &self.file)? {
                return Ok(());
            }
            self.settled = true;
            return Err(Errno::BUSY.into());
        }
        for _ in 0..UNIQUE_NAMES_MAX {
            let own = super::reserved_names::own();
            match rename_new(directory, part, &own) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.settled = true;
                    return Err(Errno::BUSY.into());
                }
                taken => taken?,
            }
            if self.target.is_called(&own, &self.file)? {
                self.written_as = own;
                // If the last step fails, the file becomes the partial again.
                self.role = Role::Own;
                return Ok(());
            }
            // The name belonged to the other upload's file.
            self.settled = true;
            rename_new(directory, &own, part)?;
            return Err(Errno::BUSY.into());
        }
        Err(Errno::EXIST.into())
    }

    /// Copies the permission bits of the replaced file, and its owner, group and extended attributes where the server
    /// may set them.
    ///
    /// # Errors
    /// When the new file would be more open than the old one. If a file system has no modes or owners, or lets only its
    /// own user change them, the new file keeps its own.
    fn take_after(&self, replaced: &Stat) -> io::Result<()> {
        let (owner, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
        let own = self.file.metadata()?;
        // A server that may not give files away keeps its own owner and group.
        if own.gid() != replaced.st_gid {
            let _given = rustix::fs::fchown(&self.file, None, Some(group));
        }
        if own.uid() != replaced.st_uid {
            let _given = rustix::fs::fchown(&self.file, Some(owner), None);
        }
        let wanted = replaced.st_mode & KEPT_MODE;
        let found = own.mode() & KEPT_MODE;
        match rustix::fs::fchmod(&self.file, Mode::from_raw_mode(wanted)) {
            Err(_) if found & !wanted & OTHERS_MODE == 0 => {}
            changed => changed?,
        }
        if let Ok(old) = self.target.open_standing(OFlags::RDONLY) {
            copy::extended_attributes(&old, &self.file);
        }
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns the number of bytes that the quota counts for a name.
fn counted_bytes(stat: &Stat) -> u64 {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file { size(stat) } else { 0 }
}

/// Renames a file to a name that must be free. If the file system cannot enforce that, the name is looked up first.
fn rename_new(directory: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    rename_new_at((directory, from), (directory, to))
}

/// Renames a file from one directory to another, to a name that must be free; see [`rename_new`].
pub(super) fn rename_new_at(from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        renamed => return Ok(renamed?),
    }
    match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
