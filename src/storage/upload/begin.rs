//! The beginning of an upload: the choice of the file that it continues, by the first table of `README.md`.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, OFlags, Stat};
use rustix::io::Errno;

use super::append::recover;
use super::running::Running;
use super::state::{Preparation, PreparationStep, Role, Start, Terms, Upload, UploadError};
use super::target::{Lock, UNIQUE_NAMES_MAX, UploadTarget};
use crate::ftp::VirtualPath;
use crate::ftp::verb::Permission;
use crate::storage::permissions::refuse_unless;
use crate::storage::quota::{FileId, QuotaReservation};
use crate::storage::root::Root;
use crate::storage::stat::{Identity, size};
use crate::storage::unique::unique_name;
use crate::sys::share_blocks;

impl Upload {
    /// Begins to write a file; the file that has its name now is unchanged until [`Upload::commit`].
    ///
    /// # Errors
    /// See [`UploadError`].
    pub(in crate::storage) fn begin(
        root: &Root,
        path: &VirtualPath,
        start: Start,
        terms: Terms,
    ) -> Result<Self, UploadError> {
        let may = root.permissions(path)?;
        refuse_unless(may.allow(start.permission()))?;
        // A client that may only create gets a file of a name that is free, at the begin and at the end.
        let must_be_new = start.permission() == Permission::Create && !may.allow(Permission::Write);
        let (mut target, mut stands) = UploadTarget::to_write(root, path)?;
        if must_be_new && stands.is_some() {
            return Err(Errno::EXIST.into());
        }
        if stands.is_some() && target.has_redo()? {
            recover(&target.directory, &target.redo_name(), target.quota.as_ref())?;
            (target, stands) = UploadTarget::to_write(root, path)?;
        }
        let mut upload = Self::begin_at((target, stands), start, terms)?;
        upload.must_be_new = must_be_new;
        Ok(upload)
    }

    fn begin_at(
        (target, stands): (UploadTarget, Option<Stat>),
        start: Start,
        terms: Terms,
    ) -> Result<Self, UploadError> {
        match start {
            Start::Overwrite | Start::At(0) => target.overwrite(stands, terms),
            Start::At(offset) => target.resume(offset, stands, terms),
            Start::End => target.append(stands, terms),
        }?
        .charged()
    }

    /// Begins to write a new file in a directory, under the wanted name or a free variation of it.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub(in crate::storage) fn begin_unique(
        root: &Root,
        directory: &VirtualPath,
        wanted: Option<&[u8]>,
        terms: Terms,
    ) -> Result<(Self, VirtualPath), UploadError> {
        root.permit(directory, Permission::Create)?;
        for attempt in 0..UNIQUE_NAMES_MAX {
            let name = unique_name(wanted, attempt, || root.next_unique());
            let path = directory.join(&name).map_err(|_| Errno::NAMETOOLONG)?;
            match Self::begin_free(root, &path, terms) {
                Err(UploadError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                begun => return Ok((begun?, path)),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn begin_free(root: &Root, path: &VirtualPath, terms: Terms) -> Result<Self, UploadError> {
        let target = UploadTarget::of(root, path)?;
        let stands = target.stat(&target.name)?;
        if stands.is_some() {
            return Err(Errno::EXIST.into());
        }
        // An upload that has the partial has reserved the name.
        let (file, locked) = target.create(&target.part, None)?;
        let part = target.part.clone();
        let mut upload = Self::new(target, file, part, Role::Unique, None, terms);
        (upload.locked, upload.must_be_new) = (locked, true);
        upload.charged()
    }

    pub(super) fn new(
        target: UploadTarget,
        file: File,
        written_as: OsString,
        role: Role,
        replaces: Option<Stat>,
        terms: Terms,
    ) -> Self {
        Self {
            target,
            running: None,
            file,
            written_as,
            replaces,
            terms,
            device: 0,
            role,
            position: 0,
            base: 0,
            at_end: false,
            must_be_new: false,
            untouched: true,
            preparation: None,
            steps: Arc::default(),
            locked: true,
            recorded: false,
            kept_before: 0,
            flush_failed: Arc::default(),
            settled: false,
            reservation: QuotaReservation::default(),
        }
    }

    /// Charges the quota with the bytes of the file; later bytes are charged as they arrive.
    fn charged(mut self) -> Result<Self, UploadError> {
        // A continued partial is counted already.
        let is_continued = self.recorded;
        let found = self.file.metadata()?;
        self.device = found.dev();
        self.running = Some(Running::list(&found, self.terms.owner));
        let length = found.len();
        let counted = is_continued.then_some(length);
        let replaces = self.replaces.as_ref().map(|stat| (size(stat), (stat.st_dev, stat.st_ino)));
        let quota = self.target.quota.as_ref();
        let begun = match self.role {
            Role::Tail => Ok(QuotaReservation::of_tail(quota, size_behind(replaces, self.base))),
            _ => QuotaReservation::begin(quota, counted, replaces),
        };
        match begun {
            Ok(reservation) => self.reservation = reservation,
            Err(error) => {
                // Nothing is charged: a new file is removed, and a partial stays.
                if !is_continued {
                    self.remove_own();
                }
                self.settled = true;
                return Err(error.into());
            }
        }
        self.reservation.set_length(length)?;
        Ok(self)
    }

    fn prepared_by(mut self, step: PreparationStep, position: u64) -> Self {
        self.preparation = Some(Preparation { step, cancelled: Arc::default() });
        self.position = position;
        self
    }
}

impl UploadTarget {
    fn overwrite(self, stands: Option<Stat>, terms: Terms) -> Result<Upload, UploadError> {
        match self.create(&self.part, stands.as_ref()) {
            Ok((file, true)) => {
                let part = self.part.clone();
                return Ok(Upload::new(self, file, part, Role::Part, stands, terms));
            }
            // Without a lock, others would take the file for a leftover.
            Ok((_, false)) => {
                rustix::fs::unlinkat(&self.directory, &self.part, AtFlags::empty())?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Lock::Got(file) = self.lock(&self.part)? {
                    let kept = self.kept_length_locked(&file)?;
                    return self.go_on(file, 0, kept, stands, terms);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.new_upload(Role::Own, stands, terms)?)
    }

    fn new_upload(self, role: Role, stands: Option<Stat>, terms: Terms) -> io::Result<Upload> {
        let (file, name, locked) = self.create_own(stands.as_ref())?;
        let mut upload = Upload::new(self, file, name, role, stands, terms);
        upload.locked = locked;
        Ok(upload)
    }

    fn resume(
        self,
        offset: u64,
        stands: Option<Stat>,
        terms: Terms,
    ) -> Result<Upload, UploadError> {
        let stands_up_to = stands.as_ref().map(size);
        let found = self.lock(&self.part)?;
        if stands.is_some() {
            let is_own = found.file().is_some_and(|part| self.is_sent_by(part, terms.owner));
            if !is_own {
                drop(found);
                return self.extend(Start::At(offset), stands, terms);
            }
            // Clients know only this size if both files exist, so it does not show which of the two the client means.
            if stands_up_to == Some(offset) {
                return Err(UploadError::Interrupted);
            }
        }
        match found {
            Lock::Got(file) => {
                let kept = self.kept_length_locked(&file)?;
                self.go_on(file, offset, kept, stands, terms)
            }
            Lock::Busy(part) | Lock::Unlockable(part) => {
                if offset > self.kept_length(&part)? {
                    return Err(UploadError::BeyondEnd);
                }
                // The bytes before the offset are written and stay; those behind it belong to the other upload.
                let upload = self.new_upload(Role::Own, stands, terms)?;
                Ok(upload.prepared_by(PreparationStep::CopyPart(part), offset))
            }
            Lock::Missing => Err(UploadError::BeyondEnd),
        }
    }

    fn append(self, stands: Option<Stat>, terms: Terms) -> Result<Upload, UploadError> {
        if stands.is_some() {
            if self.is_interrupted_by(terms.owner) {
                return Err(UploadError::Interrupted);
            }
            return self.extend(Start::End, stands, terms);
        }
        match self.lock(&self.part)? {
            Lock::Busy(_) => Err(UploadError::Busy),
            Lock::Got(file) => {
                let end = self.kept_length_locked(&file)?;
                self.go_on(file, end, end, stands, terms)
            }
            Lock::Unlockable(part) => {
                let end = self.kept_length(&part)?;
                let upload = self.new_upload(Role::Own, stands, terms)?;
                Ok(upload.prepared_by(PreparationStep::CopyPart(part), end))
            }
            Lock::Missing => {
                // An upload that has the partial has reserved the name: of two appends to a new file, neither loses its
                // data.
                let (file, locked) = match self.create(&self.part, None) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(UploadError::Busy);
                    }
                    created => created?,
                };
                let part = self.part.clone();
                let mut upload = Upload::new(self, file, part, Role::Part, stands, terms);
                upload.locked = locked;
                Ok(upload)
            }
        }
    }

    /// Continues the complete file at an offset. The new file is a copy that shares its blocks, if the file system
    /// supports that; otherwise only the new bytes are written, and appended at the end.
    fn extend(
        self,
        start: Start,
        stands: Option<Stat>,
        terms: Terms,
    ) -> Result<Upload, UploadError> {
        let end = stands.as_ref().map_or(0, size);
        let offset = match start {
            Start::Overwrite => 0,
            Start::At(offset) => offset,
            Start::End => end,
        };
        if offset > end {
            return Err(UploadError::BeyondEnd);
        }
        let old = self.open_standing(OFlags::RDONLY)?;
        let found = rustix::fs::fstat(&old)?;
        if stands.as_ref().map(Identity::of) != Some(Identity::of(&found)) {
            // The file has changed since it was checked.
            return Err(Errno::BUSY.into());
        }
        let mut upload = self.new_upload(Role::Copy, stands, terms)?;
        upload.position = offset;
        if share_blocks(&old, &upload.file) {
            return Ok(upload);
        }
        (upload.role, upload.base) = (Role::Tail, offset);
        upload.at_end = start == Start::End;
        Ok(upload)
    }

    /// Continues a partial that this upload has locked.
    fn go_on(
        self,
        file: File,
        offset: u64,
        kept: u64,
        stands: Option<Stat>,
        terms: Terms,
    ) -> Result<Upload, UploadError> {
        if offset > kept {
            return Err(UploadError::BeyondEnd);
        }
        let lowers = offset < kept;
        let part = self.part.clone();
        let mut upload = Upload::new(self, file, part, Role::Part, stands, terms);
        upload.recorded = true;
        (upload.position, upload.kept_before) = (offset, kept);
        Ok(if lowers { upload.prepared_by(PreparationStep::LowerRecord, offset) } else { upload })
    }
}

/// Returns the size of the replaced file behind an offset, in bytes.
fn size_behind(replaces: Option<(u64, FileId)>, offset: u64) -> u64 {
    replaces.map_or(0, |(size, _)| size.saturating_sub(offset))
}
