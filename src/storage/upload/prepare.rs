//! Work before the first byte of an upload: the copy of a partial that another upload writes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::atomic::AtomicBool;

use rustix::fs::{FlockOperation, flock};

use super::copy;
use super::record::PartRecord;
use super::state::{Preparation, PreparationStep, Role, Terms, Upload};
use super::target::UploadTarget;
use crate::sys::share_blocks;

impl Upload {
    /// Does the work that must precede the client's first byte.
    ///
    /// # Errors
    /// When the file system fails, the quota is used up, or the preparation was cancelled.
    pub(in crate::storage) fn prepare(mut self) -> io::Result<Self> {
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
        if share_blocks(source, &self.file) {
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
}
