//! The end of an upload that is incomplete: decides what becomes of its file, by the second table of `README.md`.

use std::io;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;

use super::record::PartRecord;
use super::state::{Role, Terms, Upload};
use crate::storage::durability::{Durability, flush_directory};
use crate::storage::stat::Identity;

/// The number of bytes that a partial gives up for its record on a full disk: more than a block of any file system.
const RECORD_ROOM_BYTES: u64 = 128 * 1024;

/// The remains of an upload that ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// The file is gone.
    Gone,
    /// The file is a partial, of which this many bytes count.
    Counted(u64),
}

impl Upload {
    /// Ends an incomplete upload; returns the number of bytes that are kept to resume from. Takes as long as a flush.
    #[must_use]
    pub(in crate::storage) fn settle(mut self) -> u64 {
        self.settle_now()
    }

    fn settle_now(&mut self) -> u64 {
        self.settled = true;
        // The file may be shorter than the charge: a write that failed has charged bytes that it did not write.
        let length = self.file.metadata().map_or(0, |found| found.len());
        let _shorter = self.reservation.set_length(length);
        // The file that would have been replaced stays as well: the quota must have room for both.
        let keepable = self.reservation.set_credit(None).is_ok();
        // A partial that cannot be kept in order now is swept when it is old.
        match self.keep(length, keepable) {
            Ok(Kept::Gone) | Err(_) => 0,
            Ok(Kept::Counted(bytes)) => {
                self.reservation.keep_part();
                bytes
            }
        }
    }

    /// Keeps the data that has arrived for a later resume. The file is removed if it is empty, or if a newer file has
    /// the final name.
    fn keep(&mut self, length: u64, keepable: bool) -> io::Result<Kept> {
        if !self.target.is_called(&self.written_as, &self.file)? {
            return Ok(Kept::Gone);
        }
        let is_partial = matches!(self.role, Role::Part | Role::Unique);
        let keeps = match self.role {
            Role::Copy | Role::Tail => false,
            Role::Own => self.preparation.is_none(),
            Role::Part | Role::Unique => true,
        };
        if !keeps
            || self.is_outdated()?
            || !keepable
            || length == 0
            || (!is_partial && !self.take_part_name()?)
        {
            self.remove_own();
            return Ok(Kept::Gone);
        }
        let Terms { owner, durability } = self.terms;
        if self.flush_failed.load(Ordering::Acquire) {
            // Bytes flushed before the failure still count, but no later ones.
            let record = self.target.record(&self.file);
            return Ok(Kept::Counted(record.map_or(0, |record| record.flushed.min(length))));
        }
        // An untouched partial counts as many bytes as before.
        let mut flushed = if self.untouched { self.kept_before.min(length) } else { length };
        if !self.untouched && durability == Durability::Flushed {
            self.file.sync_data()?;
            // Another upload may have stored the file meanwhile.
            if self.is_outdated()? {
                self.remove_own();
                return Ok(Kept::Gone);
            }
        }
        let record = |flushed| PartRecord { flushed, owner };
        let is_in_place = match self.target.record_part(&self.file, record(flushed), durability) {
            // On a full disk, the end of the partial is cut off to make space for its record.
            Err(error) if is_full(&error) && length > RECORD_ROOM_BYTES => {
                flushed = flushed.min(length - RECORD_ROOM_BYTES);
                self.file.set_len(flushed)?;
                let _shorter = self.reservation.set_length(flushed);
                self.target.record_part(&self.file, record(flushed), durability)?
            }
            recorded => recorded?,
        };
        if !is_in_place {
            return Ok(Kept::Gone);
        }
        if durability == Durability::Flushed {
            flush_directory(self.target.open_directory()?.as_ref())?;
            // The flushes take time, and an upload that has stored the file meanwhile could not remove the locked
            // partial.
            if self.is_outdated()? {
                self.remove_own();
                PartRecord::remove(&self.target.directory, &self.target.part);
                return Ok(Kept::Gone);
            }
        }
        Ok(Kept::Counted(flushed))
    }

    /// Returns true if the file that has the final name is not the one that had it when the upload began.
    pub(super) fn is_outdated(&self) -> io::Result<bool> {
        let now = self.target.stat(&self.target.name)?;
        Ok(now.as_ref().map(Identity::of) != self.replaces.as_ref().map(Identity::of))
    }

    /// Removes the upload's file.
    pub(super) fn remove_own(&self) {
        let directory = &self.target.directory;
        // A file that stays is swept when it is old.
        let _removed = rustix::fs::unlinkat(directory, &self.written_as, AtFlags::empty());
        if self.recorded {
            PartRecord::remove(directory, &self.target.part);
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.settled {
            self.settle_now();
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
