//! Partial uploads, as commands see them. A partial counts as the file if no complete file has its name. It is removed
//! when its file is removed or another file is renamed to its name, and is swept when it is old.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::{Dir, Metadata, MetadataExt};
use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::permissions::refuse_unless;
use super::reserved_names::{is_record, is_redo, is_reserved, part_of};
use super::root::{Root, real};
use super::stat::{entry, modified, size};
use super::upload::{Lock, Owner, UploadTarget, recover};
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;
use crate::ftp::verb::Permission;
use crate::sys;

/// True if every append that an earlier server left unfinished has been carried out. One flag serves the process,
/// because roots come and go, and all of them are searched at the start.
static RECOVERED: AtomicBool = AtomicBool::new(false);

/// Records that every tree has been searched for unfinished appends: later reads of a file do not look for one.
pub fn all_recovered() {
    RECOVERED.store(true, Ordering::Release);
}

impl Root {
    /// Carries out an append to this file that an earlier server left unfinished, unless all appends have been carried
    /// out.
    pub(super) fn recover_append(&self, path: &VirtualPath) {
        if RECOVERED.load(Ordering::Acquire) {
            return;
        }
        // An error here is returned by the operation that follows.
        let Ok(target) = UploadTarget::of(self, path) else { return };
        if target.has_redo().unwrap_or_default() {
            let _recovered = recover(&target.directory, &target.redo_name(), self.quota());
        }
    }

    /// Opens the partial upload of a name that no complete file has; returns it with the number of bytes that count, the
    /// offset to resume from.
    ///
    /// # Errors
    /// Not found when there is no partial, or none of its bytes have reached the disk; permission denied to a client that
    /// cannot continue it.
    pub(super) fn kept(&self, path: &VirtualPath) -> io::Result<(File, u64)> {
        let may = self.permissions(path)?;
        refuse_unless(may.allow(Permission::Write) || may.allow(Permission::Append))?;
        let target = UploadTarget::of(self, path)?;
        if target.stat(&target.name)?.is_some() {
            return Err(Errno::NOENT.into());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let part: File =
            rustix::fs::openat(&target.directory, &target.part, flags, Mode::empty())?.into();
        let size = target.kept_length(&part)?;
        if size == 0 {
            return Err(Errno::NOENT.into());
        }
        Ok((part, size))
    }

    /// Returns the entry of the partial upload of a name that no complete file has; its size is the offset to resume from.
    pub fn kept_entry(&self, path: &VirtualPath) -> io::Result<Entry> {
        let (part, size) = self.kept(path)?;
        let found = entry(path.name().to_vec(), &Metadata::from_file(&part)?);
        Ok(Entry { size, ..found })
    }

    /// Returns true if this client's upload to replace this file, in its present state, was interrupted or is running.
    #[must_use]
    pub fn is_being_replaced(&self, path: &VirtualPath, owner: Owner) -> bool {
        UploadTarget::of(self, path).is_ok_and(|target| target.is_interrupted_by(owner))
    }

    /// Removes a file or a symbolic link itself, and the partial uploads of that name.
    pub fn remove(&self, path: &VirtualPath) -> io::Result<()> {
        self.check_changes(path)?;
        if let Some((root, path)) = self.mounted(path) {
            return root.remove(&path);
        }
        self.permit_name(path, Permission::Delete)?;
        let before = UploadTarget::of(self, path);
        let removed = self.remove_counted(path, |directory, path| directory.remove_file(path));
        let gone = !matches!(&removed, Err(error) if error.kind() != io::ErrorKind::NotFound);
        let was_kept = gone && forget(self, path, before);
        match removed {
            _ if was_kept => Ok(()),
            // The only data is that of an upload that still runs.
            Err(_) if gone && self.kept(path).is_ok() => Err(Errno::BUSY.into()),
            removed => removed,
        }
    }

    /// Renames within the root; replaces a file that has the new name if the client may write or delete there. Removes the
    /// partial uploads of the new name.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> io::Result<()> {
        self.check_changes(from)?;
        self.check_changes(to)?;
        match (self.mounted(from), self.mounted(to)) {
            (None, None) => {}
            (Some((root, from)), Some((other, to))) if std::ptr::eq(root, other) => {
                return root.rename(&from, &to);
            }
            _ => return Err(Errno::XDEV.into()),
        }
        let (old, new) = (self.resolved_name(from)?, self.resolved_name(to)?);
        refuse_unless(self.allowed().let_rename(&old, &new))?;
        // An existing target is destroyed.
        let replaces = [Permission::Write, Permission::Delete];
        let to_new = self.allowed().to_name(&new);
        let may_replace = replaces.iter().any(|permission| to_new.allow(*permission));
        if !may_replace && self.look(to).is_ok() {
            return Err(Errno::ACCESS.into());
        }
        let before = UploadTarget::of(self, to);
        let names = self.quota().map(|quota| quota.lock_names());
        // If the new name is another name of this file, nothing is freed.
        let found = if self.is_same(from, to) { None } else { self.counted(to) };
        if may_replace {
            self.directory().rename(real(from)?, self.directory(), real(to)?)?;
        } else {
            self.rename_new(from, to)?;
        }
        self.uncount(found);
        drop(names);
        forget(self, to, before);
        Ok(())
    }

    /// Renames to a name that must be free.
    fn rename_new(&self, from: &VirtualPath, to: &VirtualPath) -> io::Result<()> {
        let name = |path: &VirtualPath| OsStr::from_bytes(path.name()).to_owned();
        let parent = |path: &VirtualPath| self.directory().open_dir(real(&path.parent())?);
        let (_sayable, _too) = (real(from)?, real(to)?);
        let (old, new) = (parent(from)?, parent(to)?);
        sys::rename_new((old.as_fd(), &name(from)), (new.as_fd(), &name(to)))
    }

    /// Removes a name, and subtracts the freed bytes and inode from the quota.
    fn remove_counted(
        &self,
        path: &VirtualPath,
        remove: impl Fn(&Dir, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let _names = self.quota().map(|quota| quota.lock_names());
        let found = self.counted(path);
        remove(self.directory(), real(path)?)?;
        self.uncount(found);
        Ok(())
    }

    /// Returns the number of bytes that the quota counts for a name, if it exists.
    fn counted(&self, path: &VirtualPath) -> Option<u64> {
        self.quota()?;
        let found = self.directory().symlink_metadata(real(path).ok()?).ok()?;
        Some(if found.is_file() { found.len() } else { 0 })
    }

    fn is_same(&self, one: &VirtualPath, other: &VirtualPath) -> bool {
        let identity = |path: &VirtualPath| {
            let found = self.directory().symlink_metadata(real(path).ok()?).ok()?;
            Some((found.dev(), found.ino()))
        };
        self.quota().is_some() && identity(one) == identity(other)
    }

    fn uncount(&self, bytes: Option<u64>) {
        if let (Some(quota), Some(bytes)) = (self.quota(), bytes) {
            quota.give_back(bytes, 1);
        }
    }

    /// Removes a directory that is empty except for leftovers of uploads.
    pub fn remove_directory(&self, path: &VirtualPath) -> io::Result<()> {
        self.check_changes(path)?;
        if let Some((root, path)) = self.mounted(path) {
            return root.remove_directory(&path);
        }
        self.permit_name(path, Permission::Delete)?;
        let remove = |directory: &Dir, path: &Path| directory.remove_dir(path);
        match self.remove_counted(path, remove) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let directory = self.directory().open_dir(real(path)?)?;
                for found in directory.entries()? {
                    if !is_reserved(found?.file_name().as_bytes()) {
                        return Err(error);
                    }
                }
                for found in directory.entries()? {
                    sweep_one(self, &directory, &found?.file_name(), None)?;
                }
                self.remove_counted(path, remove)
            }
            outcome => outcome,
        }
    }

    /// Removes the partial uploads that have not changed since this time. Carries out appends that a server left
    /// unfinished. Calls `go_on` before each directory, and stops when it returns `false`.
    pub fn sweep(&self, before: Timestamp, go_on: impl Fn() -> bool) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let mut waiting = vec![PathBuf::from(".")];
        while let Some(path) = waiting.pop() {
            if !go_on() {
                break;
            }
            // The directory may have vanished, or be unreadable: its contents are then not swept.
            let _swept = self.sweep_directory(&path, before, &mut waiting, &mut swept);
        }
        Ok(swept)
    }

    fn sweep_directory(
        &self,
        path: &Path,
        before: Timestamp,
        waiting: &mut Vec<PathBuf>,
        swept: &mut Swept,
    ) -> io::Result<()> {
        let directory = self.directory().open_dir(path)?;
        // Entries that cannot be read now are tried at the next sweep.
        for found in directory.entries()?.flatten() {
            let name = found.file_name();
            if is_redo(name.as_bytes()) {
                swept.unfinished |= recover(&directory, &name, self.quota()).is_err();
            } else if is_reserved(name.as_bytes()) {
                let removed = sweep_one(self, &directory, &name, Some(before));
                swept.removed += u64::from(removed.unwrap_or_default());
            } else if found.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path.join(name));
            }
        }
        Ok(())
    }
}

/// The outcome of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// The number of partial uploads that were removed.
    pub removed: u64,
    /// An append could not be carried out; on a file system without locks, another server may still be writing it.
    pub unfinished: bool,
}

/// Removes the partial uploads of a name: those that replace the earlier file, and those of a new file. Returns true if
/// there was one.
fn forget(root: &Root, path: &VirtualPath, before: io::Result<UploadTarget>) -> bool {
    let mut found = false;
    for target in [before, UploadTarget::of(root, path)].into_iter().flatten() {
        let plain: OsString = part_of(target.name.as_bytes());
        found |= target.remove_leftover(&target.part);
        found |= plain != target.part && target.remove_leftover(&plain);
    }
    found
}

/// Removes a leftover of an upload if no upload writes it and it is old enough. Returns true if it was a partial, and
/// not a record.
fn sweep_one(
    root: &Root,
    directory: &Dir,
    name: &OsStr,
    before: Option<Timestamp>,
) -> io::Result<bool> {
    let target = UploadTarget {
        directory: directory.try_clone()?,
        name: name.to_owned(),
        part: name.to_owned(),
        quota: root.quota().cloned(),
        umask: None,
    };
    let is_new = |stat: &Stat| before.is_some_and(|before| modified(stat).0 >= before.as_second());
    // A lock would make a new partial look as if an upload wrote it.
    if target.stat(name)?.is_none_or(|stat| is_new(&stat)) {
        return Ok(false);
    }
    // The lock is held until the file is gone. Without locks, an upload that still writes the file has changed it
    // lately.
    let file = match target.lock(name)? {
        Lock::Got(file) => file,
        Lock::Unlockable(file) if before.is_some() => file,
        _ => return Ok(false),
    };
    let stat = rustix::fs::fstat(&file)?;
    if is_new(&stat) {
        return Ok(false);
    }
    let _names = target.lock_names();
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    if is_record(name.as_bytes()) {
        return Ok(false);
    }
    target.uncount(size(&stat), 1);
    Ok(true)
}
