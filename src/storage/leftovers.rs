//! What is kept of interrupted uploads, seen from outside: it counts as the file where nothing else stands under its name,
//! goes along when a file is removed or renamed, and is swept when it is old.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, MetadataExt};
use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::hidden::is_hidden;
use super::place::{Create, Lock, Place, modified, part_of};
use super::root::{Root, entry, real};
use super::upload::size;
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;

impl Root {
    /// What is kept of an interrupted upload of a name that nothing stands under: its size tells where to resume.
    ///
    /// # Errors
    /// Not found when there is nothing.
    pub fn kept(&self, path: &VirtualPath) -> io::Result<(File, Entry)> {
        let place = Place::of(self, path)?;
        if place.stat(&place.name)?.is_some() {
            return Err(Errno::NOENT.into());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let part: File =
            rustix::fs::openat(&place.directory, &place.part, flags, Mode::empty())?.into();
        let entry = entry(path.name().to_vec(), &Metadata::from_file(&part)?);
        Ok((part, entry))
    }

    /// Whether an upload that was to replace this file, as it stands, was interrupted or is under way.
    #[must_use]
    pub fn is_being_replaced(&self, path: &VirtualPath) -> bool {
        Place::of(self, path)
            .is_ok_and(|place| place.stat(&place.part).is_ok_and(|part| part.is_some()))
    }

    /// Removes a file, or a symbolic link itself, and what is kept of uploads of that name.
    pub fn remove(&self, path: &VirtualPath) -> io::Result<()> {
        let before = Place::of(self, path);
        let found = self.counted(path);
        let removed = self.directory().remove_file(real(path)?);
        if removed.is_ok() {
            self.uncount(found);
        }
        let gone = !matches!(&removed, Err(error) if error.kind() != io::ErrorKind::NotFound);
        let was_kept = gone && forget(self, path, before);
        match removed {
            _ if was_kept => Ok(()),
            // All there is of it is on its way.
            Err(_) if gone && self.kept(path).is_ok() => Err(Errno::BUSY.into()),
            removed => removed,
        }
    }

    /// Renames, within the root. What was kept of uploads under the new name is worth nothing any more.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> io::Result<()> {
        let before = Place::of(self, to);
        // To another name of the same file, nothing goes away.
        let found = if self.is_same(from, to) { None } else { self.counted(to) };
        self.directory().rename(real(from)?, self.directory(), real(to)?)?;
        self.uncount(found);
        forget(self, to, before);
        Ok(())
    }

    /// The bytes of a file that counts for the quota.
    fn counted(&self, path: &VirtualPath) -> Option<u64> {
        self.quota()?;
        let found = self.directory().symlink_metadata(real(path).ok()?).ok()?;
        found.is_file().then(|| found.len())
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

    /// Removes a directory that is empty but for leftovers.
    pub fn remove_directory(&self, path: &VirtualPath) -> io::Result<()> {
        let path = real(path)?;
        match self.directory().remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let directory = self.directory().open_dir(path)?;
                for found in directory.entries()? {
                    if !is_hidden(found?.file_name().as_bytes()) {
                        return Err(error);
                    }
                }
                for found in directory.entries()? {
                    sweep_one(self, &directory, &found?.file_name(), None)?;
                }
                self.directory().remove_dir(path)
            }
            outcome => outcome,
        }
    }

    /// Removes everything that is kept of uploads that were interrupted before this time; returns how many. Asks before each
    /// directory whether to go on.
    pub fn sweep(&self, before: Timestamp, go_on: impl Fn() -> bool) -> io::Result<u64> {
        let mut swept = 0;
        let mut waiting = vec![PathBuf::from(".")];
        while let Some(path) = waiting.pop() {
            if !go_on() {
                break;
            }
            // It may have vanished, or may not be read: what is in it is not ours to sweep.
            swept += self.sweep_directory(&path, before, &mut waiting).unwrap_or_default();
        }
        Ok(swept)
    }

    fn sweep_directory(
        &self,
        path: &Path,
        before: Timestamp,
        waiting: &mut Vec<PathBuf>,
    ) -> io::Result<u64> {
        let directory = self.directory().open_dir(path)?;
        let mut swept = 0;
        // What cannot be looked at now is looked at the next time.
        for found in directory.entries()?.flatten() {
            let name = found.file_name();
            if is_hidden(name.as_bytes()) {
                let removed = sweep_one(self, &directory, &name, Some(before));
                swept += u64::from(removed.unwrap_or_default());
            } else if found.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path.join(name));
            }
        }
        Ok(swept)
    }
}

/// Removes what is kept of uploads of a name: over what stood there before, and of a name that nothing stood under.
/// Whether there was something.
fn forget(root: &Root, path: &VirtualPath, before: io::Result<Place>) -> bool {
    let mut found = false;
    for place in [before, Place::of(root, path)].into_iter().flatten() {
        let plain = part_of(place.name.as_bytes(), None);
        found |= place.remove_leftover(&place.part) | place.remove_leftover(&plain);
    }
    found
}

/// Removes a leftover if nobody writes it and it is old enough; whether it was.
fn sweep_one(
    root: &Root,
    directory: &Dir,
    name: &OsStr,
    before: Option<Timestamp>,
) -> io::Result<bool> {
    let place = Place {
        directory: directory.try_clone()?,
        name: name.to_owned(),
        part: name.to_owned(),
        quota: root.quota().cloned(),
    };
    // Locked until it is gone.
    let Lock::Got(file) = place.lock(name, Create::No)? else { return Ok(false) };
    let stat = rustix::fs::fstat(&file)?;
    let (second, _) = modified(&stat);
    if before.is_some_and(|before| second >= before.as_second()) {
        return Ok(false);
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    place.uncount(size(&stat));
    Ok(true)
}
