//! Uploads: written under a name that no client sees, and given their final name when they are complete.
//!
//! `README.md` in this folder has the tables: which file an upload continues, what becomes of it, and what ALLO proves.
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

use super::quota::Charge;
use super::root::size;

pub(super) use append::recover;
pub use judge::{ABORTED, ClientState, Completeness, DataEnd, Signs, VANISHED, judge};
pub use record::Owner;
use record::PartRecord;
pub use target::Durability;
use target::{KEPT_MODE, UNIQUE_NAMES_MAX};
pub(super) use target::{Lock, UploadTarget, flush_directory, modified, open_directory};

/// The mode bits of group and others.
const OTHERS_MODE: u32 = 0o077;

/// The room that a full disk gives a partial's record, in bytes of the partial: more than a block of any file system.
const RECORD_ROOM_BYTES: u64 = 128 * 1024;

/// The offset at which an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning.
    Overwrite,
    /// At this offset in bytes; what is behind it goes away.
    At(u64),
    /// At the end.
    End,
}

/// The terms of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The client, for which alone its own partial counts beside a complete file.
    pub owner: Owner,
    /// When what arrives counts as stored.
    pub durability: Durability,
}

/// The decision about an upload whose data has been flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Give it its name.
    On,
    /// Give it back: its client has sent something.
    Ask,
    /// Keep it as a partial: its client is gone.
    Stop,
}

/// The result of a commit.
#[derive(Debug)]
pub enum Committed {
    /// The file has its name.
    Stored,
    /// The upload, as it was before.
    Asked(Box<Upload>),
    /// It has not; this many bytes are kept.
    Stopped {
        /// In bytes.
        kept: u64,
    },
}

/// The reason for which an upload cannot begin.
#[derive(Debug)]
pub enum Unable {
    /// Another upload of the same name is under way.
    Busy,
    /// The offset is beyond the end.
    BeyondEnd,
    /// A partial upload of the same client stands beside a complete file.
    Interrupted,
    /// The file system refuses.
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

/// A file that is being uploaded. Dropped before [`Upload::commit`], what has arrived is kept.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Upload {
    target: UploadTarget,
    file: File,
    /// The name under which it is written.
    written_as: OsString,
    /// The file under the final name when it began.
    replaces: Option<Stat>,
    terms: Terms,
    /// The number of the device that it is stored on.
    device: u64,
    role: Role,
    /// The offset in the final file of the next byte.
    position: u64,
    /// The offset in the final file of the first byte of this one.
    base: u64,
    /// True if it comes behind whatever else is appended meanwhile (APPE).
    at_end: bool,
    /// True if what is behind the position is still there. It is cut off when the first data comes, and not before: an
    /// upload that never begins must not cost what is kept.
    untouched: bool,
    /// The work that precedes the first byte.
    preparation: Option<Preparation>,
    /// True if it has a lock, without which no other upload may find it.
    locked: bool,
    /// True if there is a record of it.
    recorded: bool,
    /// The number of bytes that counted of the partial that it continues.
    kept_before: u64,
    /// True if a flush has failed: what was written since the last one may be lost.
    flush_failed: Arc<AtomicBool>,
    settled: bool,
    charge: Charge,
}

/// The kind of an upload's file, which decides its end when the upload is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A new file under a name of its own, beside an upload that has the partial; cut off, it becomes that, if it can.
    Own,
    /// The partial.
    Part,
    /// The partial, for a final name that must stay free (STOU).
    Unique,
    /// A copy that shares its beginning with the complete file; cut off, it goes away.
    Copy,
    /// The bytes alone that are to be appended to the complete file; cut off, they go away.
    Tail,
}

/// Work that precedes the first byte of the client, and may take long.
#[derive(Debug)]
struct Preparation {
    step: PreparationStep,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug)]
enum PreparationStep {
    /// Copy the beginning of a partial that another upload writes, or may write, and take its place.
    CopyPart(File),
    /// Record that less of the partial counts, because bytes that are recorded are to be written again.
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

/// A flush of what has arrived so far.
#[derive(Debug)]
pub struct Flush {
    file: File,
    length: u64,
    /// Set when it fails: the error is told once, and a second flush would succeed although bytes are lost.
    failed: Arc<AtomicBool>,
    /// The partial that is recorded; none of an upload that is no partial.
    record: Option<(UploadTarget, Owner)>,
}

impl Flush {
    /// Flushes, and records how much has reached the disk.
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
    /// Returns whether something has to be done before the first byte that may take long: see [`Upload::prepare`].
    #[must_use]
    pub fn needs_preparation(&self) -> bool {
        self.preparation.is_some()
    }

    /// Cancels the preparation, from elsewhere.
    #[must_use]
    pub fn cancel_on_drop(&self) -> Option<CancelOnDrop> {
        let preparation = self.preparation.as_ref()?;
        Some(CancelOnDrop(Arc::clone(&preparation.cancelled)))
    }

    /// Does what has to be done before the first byte of the client.
    ///
    /// # Errors
    /// When the file system fails, the quota is used up, or it was cancelled.
    pub fn prepare(mut self) -> io::Result<Self> {
        let Some(Preparation { step, cancelled }) = self.preparation.take() else {
            return Ok(self);
        };
        match step {
            PreparationStep::CopyPart(source) => {
                let count = self.position;
                if let Err(error) = self.copy_part(&source, count, &cancelled) {
                    // What was copied is worth nothing: the source is still there.
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
        self.charge.set_length(count)?;
        if copy::share(source, &self.file) {
            self.file.set_len(count)?;
        } else {
            copy::copy(source, 0..count, &self.file, 0, cancelled)?;
        }
        self.file.seek(SeekFrom::Start(count))?;
        self.untouched = false;
        self.take_over(source)
    }

    /// Takes the name of the partial, now that nothing can be lost by it, if the file that was copied still has it.
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
        // An upload that is still under way gives back what it took when it ends.
        if flock(source, FlockOperation::NonBlockingLockExclusive).is_ok() {
            self.target.uncount(source.metadata()?.len(), 1);
        }
        drop(names);
        self.written_as.clone_from(part);
        // There may be a record of the other.
        (self.role, self.recorded) = (Role::Part, true);
        Ok(())
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_behind()?;
        self.charge.set_length(self.position - self.base + bytes.len() as u64)?;
        let position = &mut self.position;
        copy::write_all(&self.file, bytes, |count| *position += count)
    }

    /// Writes the next bytes, this many, which a pipe holds.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub fn write_from(&mut self, pipe: BorrowedFd<'_>, count: usize) -> io::Result<()> {
        self.cut_behind()?;
        let mut offset = self.position - self.base;
        self.charge.set_length(offset + count as u64)?;
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
        // What comes next may be written without an offset.
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    fn cut_behind(&mut self) -> io::Result<()> {
        debug_assert!(self.preparation.is_none(), "prepare comes first");
        if std::mem::take(&mut self.untouched) {
            let length = self.position - self.base;
            // Only if there is something: a file that was cut to nothing is one that ext4 starts to write out when it is
            // closed, which for a large upload takes as long as receiving it did.
            if self.file.metadata()?.len() != length {
                self.file.set_len(length)?;
            }
            self.charge.set_length(length)?;
            self.file.seek(SeekFrom::Start(length))?;
        }
        Ok(())
    }

    /// The number of the device that it is stored on.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The number of bytes that the final file has so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the name of the partial; `false` if another upload has it.
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

    /// A flush of what has arrived, to be run elsewhere.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub fn flush(&mut self) -> io::Result<Flush> {
        let record = match self.role {
            Role::Part | Role::Unique => Some((self.target.again()?, self.terms.owner)),
            Role::Own | Role::Copy | Role::Tail => None,
        };
        self.recorded |= record.is_some();
        let (file, failed) = (self.file.try_clone()?, Arc::clone(&self.flush_failed));
        Ok(Flush { file, length: self.position - self.base, failed, record })
    }

    /// Gives the file its name, if, now that everything is on the disk, `go` still says so. From then on it is what
    /// everybody sees.
    ///
    /// # Errors
    /// [`Errno::BUSY`] when another upload has superseded this one; else what the file system says. What has arrived is
    /// kept.
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
        // Flushed below; and while it is locked no upload takes the partial over.
        let was_part = self.role == Role::Part;
        let opens = was_part || durability == Durability::Flushed;
        let directory = if opens { self.target.open_directory()? } else { None };
        if was_part {
            self.claim(directory.as_ref())?;
        }
        if self.role == Role::Copy && self.is_outdated()? {
            // It was extended or replaced meanwhile, and this is a copy of what it was before.
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
            self.charge.set_credit(replaced)?;
        }
        if self.role == Role::Unique {
            rename_new(directory, &self.written_as, name)?;
        } else {
            rustix::fs::renameat(directory, &self.written_as, directory, name)?;
        }
        self.settled = true;
        self.charge.keep_file(replaced);
        Ok(())
    }

    /// Makes sure that the partial is still this file, and stays it until it is renamed: another upload may supersede it at
    /// any moment, and its unfinished file must not get the final name. The lock of the directory keeps that one out; where
    /// there is none, the file takes a name that only this upload knows.
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
                // If the last step fails, it becomes the partial again.
                self.role = Role::Own;
                return Ok(());
            }
            // It was the other's.
            self.settled = true;
            rename_new(directory, &own, part)?;
            return Err(Errno::BUSY.into());
        }
        Err(Errno::EXIST.into())
    }

    /// Takes permission bits from the file that it replaces, and its owner where the server may.
    ///
    /// # Errors
    /// When the new file would be more open than the old one. Else, where a file system knows no modes or owners, or lets
    /// only its own user change them, the new file's own do.
    fn take_after(&self, replaced: &Stat) -> io::Result<()> {
        let (owner, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
        let own = self.file.metadata()?;
        // Who may not give files away keeps the new file's own.
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

/// The bytes that a name counts for the quota.
fn counted_bytes(stat: &Stat) -> u64 {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file { size(stat) } else { 0 }
}

/// Renames to a name that must be free; where the file system cannot see to that, it is looked up first.
fn rename_new(directory: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    rename_new_at((directory, from), (directory, to))
}

/// The same from one directory to another.
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
