//! The end of an upload that did not come whole: what becomes of its file, by the second table of `README.md`.

use std::io;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;

use super::record::PartRecord;
use super::target::{Durability, Identity, flush_directory};
use super::{RECORD_ROOM_BYTES, Role, Terms, Upload, is_full};

/// The rest of an upload that ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Nothing.
    Gone,
    /// A partial, of which this many bytes count.
    Counted(u64),
}

impl Upload {
    /// Ends an upload that did not come whole; returns how many bytes are kept to resume from. Takes as long as a flush.
    #[must_use]
    pub fn settle(mut self) -> u64 {
        self.settle_now()
    }

    fn settle_now(&mut self) -> u64 {
        self.settled = true;
        // What a write has taken and not written is not there.
        let length = self.file.metadata().map_or(0, |found| found.len());
        let _shorter = self.charge.set_length(length);
        // What it was to replace stays as well: there must be room for both.
        let keepable = self.charge.set_credit(None).is_ok();
        // A partial that cannot be put in order now is swept when it is old.
        match self.keep(length, keepable) {
            Ok(Kept::Gone) | Err(_) => 0,
            Ok(Kept::Counted(bytes)) => {
                self.charge.keep_part();
                bytes
            }
        }
    }

    /// Keeps what has arrived for who resumes, unless there is nothing, or something newer stands under the name.
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
            // What was flushed before still counts, and nothing that came since.
            let record = self.target.record(&self.file);
            return Ok(Kept::Counted(record.map_or(0, |record| record.flushed.min(length))));
        }
        // Untouched, it is as it was before.
        let mut flushed = if self.untouched { self.kept_before.min(length) } else { length };
        if !self.untouched && durability == Durability::Flushed {
            self.file.sync_data()?;
            // Meanwhile another upload may have stored the file.
            if self.is_outdated()? {
                self.remove_own();
                return Ok(Kept::Gone);
            }
        }
        let record = |flushed| PartRecord { flushed, owner };
        let is_in_place = match self.target.record_part(&self.file, record(flushed), durability) {
            // On a full disk the end of the file makes room for its record.
            Err(error) if is_full(&error) && length > RECORD_ROOM_BYTES => {
                flushed = flushed.min(length - RECORD_ROOM_BYTES);
                self.file.set_len(flushed)?;
                let _shorter = self.charge.set_length(flushed);
                self.target.record_part(&self.file, record(flushed), durability)?
            }
            recorded => recorded?,
        };
        if !is_in_place {
            return Ok(Kept::Gone);
        }
        if durability == Durability::Flushed {
            flush_directory(self.target.open_directory()?.as_ref())?;
            // All that takes its time, and another upload could not remove what is locked here.
            if self.is_outdated()? {
                self.remove_own();
                PartRecord::remove(&self.target.directory, &self.target.part);
                return Ok(Kept::Gone);
            }
        }
        Ok(Kept::Counted(flushed))
    }

    /// Returns whether another file stands under the name than when it began.
    pub(super) fn is_outdated(&self) -> io::Result<bool> {
        let now = self.target.stat(&self.target.name)?;
        Ok(now.as_ref().map(Identity::of) != self.replaces.as_ref().map(Identity::of))
    }

    /// Removes the file that it is written to.
    pub(super) fn remove_own(&self) {
        let directory = &self.target.directory;
        // One that stays is swept when it is old.
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
