//! An upload while its data arrives: the file that it is written to, and what it has become so far.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::copy;
use super::record::{Owner, PartRecord};
use super::running::Running;
use super::target::UploadTarget;
use crate::ftp::verb::Permission;
use crate::storage::durability::Durability;
use crate::storage::quota::QuotaReservation;
use crate::sys::{drain_to_file, rename_new};

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

impl Start {
    /// Returns the permission that the upload needs.
    pub(in crate::storage) fn permission(self) -> Permission {
        match self {
            Self::Overwrite | Self::At(0) => Permission::Create,
            Self::At(_) => Permission::Write,
            Self::End => Permission::Append,
        }
    }
}

/// The terms of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Terms {
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

/// The result of a commit of an upload, or of its writer.
#[derive(Debug)]
pub enum Committed<U> {
    /// The file has its final name.
    Stored,
    /// The upload, unchanged, because `go` returned [`Go::Ask`].
    Asked(Box<U>),
    /// The file did not get its final name.
    Stopped {
        /// The number of bytes that are kept.
        kept: u64,
    },
}

impl<U> Committed<U> {
    /// Converts the upload that is returned.
    pub(in crate::storage) fn map<W>(self, convert: impl FnOnce(U) -> W) -> Committed<W> {
        match self {
            Self::Stored => Committed::Stored,
            Self::Asked(upload) => Committed::Asked(Box::new(convert(*upload))),
            Self::Stopped { kept } => Committed::Stopped { kept },
        }
    }
}

/// The reason why an upload cannot begin.
#[derive(Debug)]
pub enum UploadError {
    /// Another upload of this name is running.
    Busy,
    /// The offset is beyond the end.
    BeyondEnd,
    /// A partial that this client sent exists beside a complete file.
    Interrupted,
    /// The file system returned this error.
    Io(io::Error),
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for UploadError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A file that is being uploaded. Dropping it before [`Upload::commit`] keeps the data that has arrived.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::storage) struct Upload {
    pub(super) target: UploadTarget,
    /// The entry of `file` among the running uploads. It is dropped before `file` is closed.
    pub(super) running: Option<Running>,
    pub(super) file: File,
    /// The current name of `file`.
    pub(super) written_as: OsString,
    /// The file that had the final name when the upload began.
    pub(super) replaces: Option<Stat>,
    pub(super) terms: Terms,
    /// The number of the device that stores `file`.
    pub(super) device: u64,
    pub(super) role: Role,
    /// The offset of the next byte in the final file.
    pub(super) position: u64,
    /// The offset in the final file of the first byte of `file`.
    pub(super) base: u64,
    /// True if the bytes go to the end of the file, after all other appends that finish meanwhile (APPE).
    pub(super) at_end: bool,
    /// True if the final name must be free.
    pub(super) must_be_new: bool,
    /// True if `file` still has its old bytes after the position. They are cut off when the first data arrives, and not
    /// earlier: an upload that receives nothing must not destroy what is kept.
    pub(super) untouched: bool,
    /// The work to do before the first byte.
    pub(super) preparation: Option<Preparation>,
    /// The number of steps that a long commit has done.
    pub(super) steps: Arc<AtomicU64>,
    /// True if `file` is locked. Without a lock, no other upload may find the file.
    pub(super) locked: bool,
    /// True if `file` has a record.
    pub(super) recorded: bool,
    /// The number of bytes that the continued partial counted when this upload began.
    pub(super) kept_before: u64,
    /// True if a flush has failed. The bytes written since the previous flush may then be lost.
    pub(super) flush_failed: Arc<AtomicBool>,
    pub(super) settled: bool,
    pub(super) reservation: QuotaReservation,
}

/// The kind of an upload's file, which decides what becomes of the file when the upload is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
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
pub(super) struct Preparation {
    pub(super) step: PreparationStep,
    pub(super) cancelled: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) enum PreparationStep {
    /// Copy the beginning of a partial that another upload writes, or may write, and take over the partial's name.
    CopyPart(File),
    /// Lower the recorded length of the partial, because bytes that it covers are to be overwritten.
    LowerRecord,
}

/// Cancels the preparation of an upload when it is dropped.
#[derive(Debug)]
pub(in crate::storage) struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A flush of the data that has arrived so far.
#[derive(Debug)]
pub(in crate::storage) struct Flush {
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
    pub(in crate::storage) fn run(self) -> io::Result<()> {
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
    pub(in crate::storage) fn needs_preparation(&self) -> bool {
        self.preparation.is_some()
    }

    /// Returns a guard that cancels the preparation when it is dropped, for use by another thread.
    #[must_use]
    pub(in crate::storage) fn cancel_on_drop(&self) -> Option<CancelOnDrop> {
        let preparation = self.preparation.as_ref()?;
        Some(CancelOnDrop(Arc::clone(&preparation.cancelled)))
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub(in crate::storage) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_behind()?;
        self.reservation.set_length(self.position - self.base + bytes.len() as u64)?;
        let position = &mut self.position;
        copy::write_all(&self.file, bytes, |count| *position += count)
    }

    /// Writes the next `count` bytes from a pipe that holds them.
    ///
    /// # Errors
    /// When the file system fails or the quota is used up.
    pub(in crate::storage) fn write_from(
        &mut self,
        pipe: BorrowedFd<'_>,
        count: usize,
    ) -> io::Result<()> {
        self.cut_behind()?;
        let mut offset = self.position - self.base;
        self.reservation.set_length(offset + count as u64)?;
        let mut left = count;
        while left > 0 {
            match drain_to_file(pipe, &self.file, &mut offset, left) {
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

    pub(super) fn cut_behind(&mut self) -> io::Result<()> {
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

    /// Returns the number of steps that [`Upload::commit`] has done; it grows while a long one makes progress.
    #[must_use]
    pub(in crate::storage) fn steps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.steps)
    }

    /// Returns the number of the device that stores the file.
    #[must_use]
    pub(in crate::storage) fn device(&self) -> u64 {
        self.device
    }

    /// Returns the length of the final file so far, in bytes.
    #[must_use]
    pub(in crate::storage) fn position(&self) -> u64 {
        self.position
    }

    /// Renames the file to the partial's name; returns `false` if another upload has that name.
    pub(super) fn take_part_name(&mut self) -> io::Result<bool> {
        let UploadTarget { directory, part, .. } = &self.target;
        self.target.remove_leftover(part);
        match rename_new((directory.as_fd(), &self.written_as), (directory.as_fd(), part)) {
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
    pub(in crate::storage) fn flush(&mut self) -> io::Result<Flush> {
        let record = match self.role {
            Role::Part | Role::Unique => Some((self.target.again()?, self.terms.owner)),
            Role::Own | Role::Copy | Role::Tail => None,
        };
        self.recorded |= record.is_some();
        let (file, failed) = (self.file.try_clone()?, Arc::clone(&self.flush_failed));
        Ok(Flush { file, length: self.position - self.base, failed, record })
    }
}
