//! The end of a complete upload: its data is flushed, and its file gets the final name.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, flock};
use rustix::io::Errno;

use super::append;
use super::record::PartRecord;
use super::state::{Committed, Go, Role, Upload};
use super::target::{KEPT_MODE, UNIQUE_NAMES_MAX, UploadTarget};
use crate::storage::durability::{Durability, flush_directory};
use crate::storage::reserved_names;
use crate::storage::stat::size;
use crate::sys::{copy_attributes, rename_new};

/// The mode bits of group and others.
const OTHERS_MODE: u32 = 0o077;

impl Upload {
    /// Renames the file to its final name if `go` still agrees after everything has been flushed. From then on, all
    /// clients see the new file.
    ///
    /// # Errors
    /// [`Errno::BUSY`] when another upload has superseded this one; otherwise the error of the file system. The data
    /// that has arrived is kept.
    pub(in crate::storage) fn commit(
        mut self,
        go: impl FnOnce() -> Go,
    ) -> io::Result<Committed<Self>> {
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
        if self.must_be_new {
            rename_new((directory.as_fd(), &self.written_as), (directory.as_fd(), name))?;
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
            return Err(self.target.superseded());
        }
        for _ in 0..UNIQUE_NAMES_MAX {
            let own = reserved_names::own();
            match rename_new((directory.as_fd(), part), (directory.as_fd(), &own)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.settled = true;
                    return Err(self.target.superseded());
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
            rename_new((directory.as_fd(), &own), (directory.as_fd(), part))?;
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
            copy_attributes(&old, &self.file);
        }
        Ok(())
    }
}

/// Returns the number of bytes that the quota counts for a name.
fn counted_bytes(stat: &Stat) -> u64 {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file { size(stat) } else { 0 }
}
