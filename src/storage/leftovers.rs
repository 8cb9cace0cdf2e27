//! What is kept of interrupted uploads, seen from outside: it counts as the file where nothing else stands under its name,
//! goes along when a file is removed or renamed, and is swept when it is old.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata};
use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::hidden::is_hidden;
use super::place::{Create, Lock, Place, modified, part_of};
use super::root::{Root, entry, real};
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
    pub fn is_being_replaced(&self, path: &VirtualPath) -> bool {
        Place::of(self, path)
            .is_ok_and(|place| place.stat(&place.part).is_ok_and(|part| part.is_some()))
    }

    /// Removes a file, or a symbolic link itself, and what is kept of uploads of that name.
    pub fn remove(&self, path: &VirtualPath) -> io::Result<()> {
        let before = Place::of(self, path);
        let removed = self.directory().remove_file(real(path)?);
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
        self.directory().rename(real(from)?, self.directory(), real(to)?)?;
        forget(self, to, before);
        Ok(())
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
                    sweep_one(&directory, &found?.file_name(), None)?;
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
                swept += u64::from(sweep_one(&directory, &name, Some(before)).unwrap_or_default());
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
fn sweep_one(directory: &Dir, name: &OsStr, before: Option<Timestamp>) -> io::Result<bool> {
    let place =
        Place { directory: directory.try_clone()?, name: name.to_owned(), part: name.to_owned() };
    // Locked until it is gone.
    let Lock::Got(file) = place.lock(name, Create::No)? else { return Ok(false) };
    let (second, _) = modified(&rustix::fs::fstat(&file)?);
    if before.is_some_and(|before| second >= before.as_second()) {
        return Ok(false);
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    Ok(true)
}
