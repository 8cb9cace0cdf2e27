//! An incomplete download: `NAME.part`, and beside it `NAME.part.id`, which identifies the remote file.
//!
//! `NAME.part.id` is written before the first byte of `NAME.part`, and removed after it. So a kill at any time leaves
//! both files, or nothing that could be mistaken. A `NAME.part.id` beside a complete file is removed by the next run. A small file gets its `NAME.part.id` only if the download fails: making
//! one takes as long as making the file. A part without it is ours if it has the mark, and its bytes are dropped.
//!
//! Both files are changed only under the lock of the part. [`super::mark`] tells them from downloads.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::error::{ClientError, ErrorKind};
use super::identity::{Identity, Note, OVERLAP_BYTES, write_identity};
use super::mark::{MARK, Marks, NEW_MODE, PERMISSIONS, is_marked, set_mode};
use super::names::shown_path;

const PART_SUFFIX: &str = ".part";
const IDENTITY_SUFFIX: &str = ".part.id";

/// Maximum length of a file name on Linux, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// State of the file under a part's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The first bytes of this remote file in its current state, and their number.
    Same(u64),
    /// Like `Same` by its identity, but the file system holds no mark, so the part may itself be a download.
    Unproven(u64),
    /// Bytes of another file, or of an older state of this one.
    Other,
}

/// A part, locked against other writers.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    identity: PathBuf,
    local: PathBuf,
    /// The part may have an identity on the disk.
    is_noted: bool,
}

impl Part {
    /// Opens the part, or creates it.
    ///
    /// # Errors
    /// [`ErrorKind::Local`], also when another process writes the part, or when it is not a part of ours.
    pub(super) fn open(local: &Path, identity: &Identity) -> Result<(Self, Found), ClientError> {
        let (mut part, marks, known) = Self::claim(local)?;
        if known.is_none() && marks.are_held && !identity.can_resume {
            part.is_noted = false;
            part.cut(0)?;
            part.mark(marks)?;
            return Ok((part, Found::Nothing));
        }
        let is_proven = marks.is_marked && known.as_ref().is_some_and(|known| known.is_marked);
        let same = known.as_ref().is_some_and(|known| known.is_of(identity));
        // Behind the first range that is missing, the bytes may be anything.
        let missing = known.as_ref().and_then(|known| known.missing(identity));
        let kept = match missing {
            Some(missing) => missing.iter().map(|range| range.start).min().unwrap_or(marks.length),
            None if same => marks.length,
            None => 0,
        };
        let kept = kept.min(marks.length);
        let found = match marks.length {
            0 => Found::Nothing,
            _ if known.is_none() => Found::Nothing,
            _ if kept > 0 && is_proven => Found::Same(kept),
            _ if kept > 0 => Found::Unproven(kept),
            _ => Found::Other,
        };
        if !same {
            part.cut(kept)?;
            write_identity(&part.identity, identity.text())?;
        }
        part.mark(marks)?;
        Ok((part, found))
    }

    /// Opens the part, or creates it, and takes its lock. Returns its marks and its identity, too.
    pub(super) fn claim(local: &Path) -> Result<(Self, Marks, Option<Note>), ClientError> {
        let (path, note) = (beside(local, PART_SUFFIX), beside(local, IDENTITY_SUFFIX));
        let is_new = path.symlink_metadata().is_err();
        let file = open_locked(&path)?;
        let claimed = Self::check_claim(local, &file, &path, &note);
        if claimed.is_err() && is_new {
            let _removed = fs::remove_file(&path);
        }
        let (marks, known) = claimed?;
        let local = local.to_owned();
        Ok((Self { file, path, identity: note, local, is_noted: true }, marks, known))
    }

    /// Refuses files that are not ours. Returns the marks and the identity of the part.
    fn check_claim(
        local: &Path,
        file: &File,
        path: &Path,
        note: &Path,
    ) -> Result<(Marks, Option<Note>), ClientError> {
        let marks = Marks::of(file).map_err(|error| ClientError::local(path, &error))?;
        refuse_part_of_another(local, marks)?;
        let (length, known) = (marks.length, Note::read(note));
        let is_ours = known.as_ref().is_some_and(|known| known.is_ours(marks));
        let is_small = known.is_none() && marks.is_marked && length <= OVERLAP_BYTES as u64;
        if length > 0 && !is_small && !(is_ours && (marks.is_marked || !marks.are_held)) {
            return Err(in_the_way(path));
        }
        if known.is_some() && !is_ours {
            return Err(in_the_way(note));
        }
        Ok((marks, known))
    }

    /// Marks a new part as ours, where the file system holds marks.
    pub(super) fn mark(&self, marks: Marks) -> Result<(), ClientError> {
        if !marks.is_marked && marks.are_held {
            set_mode(&self.file, marks.mode | MARK)
                .map_err(|error| ClientError::local(&self.path, &error))?;
        }
        Ok(())
    }

    /// Writes the identity of a part with content, if it has none, so that a later download can continue. Best effort: a
    /// full disk may have no room for it.
    pub(super) fn identify(&mut self, identity: &Identity) {
        if !self.is_noted && self.length() > 0 {
            self.is_noted = write_identity(&self.identity, identity.text()).is_ok();
        }
    }

    /// Returns the path of its identity.
    pub(super) fn identity_path(&self) -> &Path {
        &self.identity
    }

    /// Returns true if a part of this file exists.
    pub(super) fn is_there(local: &Path) -> bool {
        beside(local, PART_SUFFIX).symlink_metadata().is_ok()
    }

    /// Returns true if this is the path of a part of ours, or of its identity.
    pub(super) fn is_part_of_ours(path: &Path) -> bool {
        let note = if ends_with(path, IDENTITY_SUFFIX) {
            path.to_owned()
        } else if ends_with(path, PART_SUFFIX) {
            if is_small_part(path) {
                return true;
            }
            let mut note = path.as_os_str().to_owned();
            note.push(".id");
            PathBuf::from(note)
        } else {
            return false;
        };
        Note::read(&note).is_some_and(|note| note.is_marked && note.is_of_ours())
    }

    /// Returns the download whose identity has this path, if its part is gone. A kill leaves this between the rename of a
    /// part and the removal of its identity.
    pub(super) fn left_identity_of(path: &Path) -> Option<PathBuf> {
        let name = path.file_name()?.as_bytes().strip_suffix(IDENTITY_SUFFIX.as_bytes())?;
        let local = path.with_file_name(OsStr::from_bytes(name));
        let is_left = beside(&local, IDENTITY_SUFFIX) == path && !Self::is_there(&local);
        (is_left && !name.is_empty()).then_some(local)
    }

    /// Removes the identity that a kill has left beside the complete file `local`, if it is one of ours.
    pub(super) fn remove_left_identity(local: &Path) {
        let is_left =
            !Self::is_there(local) && beside(local, IDENTITY_SUFFIX).symlink_metadata().is_ok();
        // The lock of the part keeps out a process that begins this download.
        if is_left
            && let Ok((part, ..)) = Self::claim(local)
            && part.length() == 0
        {
            part.settle();
        }
    }

    /// Copies the existing file `local` into its part, as the beginning of the download (`reget`), unless there is a
    /// part already.
    pub(super) fn copy_of(local: &Path, identity: &Identity) -> Result<(), ClientError> {
        let (part, found) = Self::open(local, identity)?;
        if matches!(found, Found::Same(_)) {
            return Ok(());
        }
        part.clear()?;
        #[expect(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let copied = File::open(local).and_then(|mut from| io::copy(&mut from, &mut &part.file));
        copied.map(drop).map_err(|error| ClientError::local(&part.path, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Removes all bytes of the part.
    pub(super) fn clear(&self) -> Result<(), ClientError> {
        self.cut(0)
    }

    /// Truncates the part to at most `length` bytes.
    pub(super) fn cut(&self, length: u64) -> Result<(), ClientError> {
        let is_longer = |found: fs::Metadata| found.len() > length;
        // Only a longer file is truncated: ext4 starts to write out a file that was cut to nothing when it is closed.
        let cut = self
            .file
            .metadata()
            .map(is_longer)
            .and_then(|longer| if longer { self.file.set_len(length) } else { Ok(()) });
        cut.map_err(|error| ClientError::local(&self.path, &error))
    }

    /// Reads the `count` bytes before the offset `end`.
    pub(super) fn read_before(&self, end: u64, count: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = vec![0; count];
        let from = end.saturating_sub(count as u64);
        let read = self.file.read_exact_at(&mut bytes, from);
        read.map(|()| bytes).map_err(|error| ClientError::local(&self.path, &error))
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ClientError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| ClientError::local(&self.path, &error))
    }

    /// Returns the length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Returns the number of bytes that are kept; removes a part without any, and one without an identity.
    pub(super) fn settle(self) -> u64 {
        let length = self.length();
        if length == 0 || !self.is_noted {
            let _removed = fs::remove_file(&self.path);
            self.remove_identity();
            return 0;
        }
        length
    }

    /// Gives the file its final name, time and permissions.
    pub(super) fn complete(
        self,
        modified: Option<Timestamp>,
        permissions: Option<Permissions>,
    ) -> Result<(), ClientError> {
        if let Some(modified) = modified {
            // Setting the time is best effort: a file system that cannot keep it does not make the file incomplete.
            let _set = self.file.set_modified(modified.into());
        }
        let failed = |error: io::Error| ClientError::local(&self.local, &error);
        let found = self.file.metadata().map_err(failed)?;
        // The file takes the permissions of the file that it replaces; if they cannot be set, it keeps its own.
        let mode = permissions.map_or_else(|| found.mode(), |kept| kept.mode()) & PERMISSIONS;
        if is_name_of_ours(&self.local) {
            // SECURITY: a file under such a name is never marked, not even briefly. A kill here leaves a part that is
            // not recognized later.
            set_mode(&self.file, mode).map_err(failed)?;
        } else {
            let marked = mode | (found.mode() & MARK);
            if marked != found.mode() & (PERMISSIONS | MARK) {
                let _set = set_mode(&self.file, marked);
            }
        }
        // Another ftpclient may meanwhile have begun a download whose part has this name.
        let marks = Marks::of(&self.file).map_err(failed)?;
        refuse_part_of_another(&self.local, marks)?;
        if !is_at(&self.file, &self.path).map_err(failed)? {
            return Err(in_the_way(&self.path));
        }
        fs::rename(&self.path, &self.local).map_err(failed)?;
        let _set = set_mode(&self.file, marks.mode & PERMISSIONS);
        self.remove_identity();
        Ok(())
    }

    fn remove_identity(&self) {
        if self.is_noted {
            let _removed = fs::remove_file(&self.identity);
        }
    }
}

impl Drop for Part {
    /// Releases the lock, even if a process that was started meanwhile still has the file open.
    fn drop(&mut self) {
        let _unlocked = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Opens a part, or creates an empty one, which has no identity yet; and takes its lock.
fn open_locked(path: &Path) -> Result<File, ClientError> {
    let failed = |error: io::Error| match Errno::from_io_error(&error) {
        // SECURITY: a symbolic link under this name is not followed.
        Some(Errno::LOOP) => in_the_way(path),
        _ => ClientError::local(path, &error),
    };
    loop {
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(NEW_MODE);
        // Without NONBLOCK the open of a pipe under this name would block.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(in_the_way(path));
        }
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let what = format!("{}: another ftpclient is downloading this file", shown_path(path));
            return Err(ClientError::new(ErrorKind::Local, what));
        }
        // Between opening and locking, the last owner may have completed the part, which then has its final name.
        if is_at(&file, path).map_err(failed)? {
            return Ok(file);
        }
    }
}

/// Returns a name with a suffix, shortened to a length that the file system accepts.
fn beside(local: &Path, suffix: &str) -> PathBuf {
    let name = local.file_name().unwrap_or_default().as_bytes();
    let kept = name.get(..NAME_BYTES_MAX - IDENTITY_SUFFIX.len()).unwrap_or(name);
    local.with_file_name(OsStr::from_bytes(&[kept, suffix.as_bytes()].concat()))
}

/// Returns true if an open file is still the one under this path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    let there = path.symlink_metadata();
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
}

/// Returns true if the part or the identity of another download could have this name. The case is ignored, as on some
/// file systems.
fn is_name_of_ours(local: &Path) -> bool {
    [PART_SUFFIX, IDENTITY_SUFFIX].iter().any(|suffix| ends_with(local, suffix))
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    let (name, suffix) = (path.as_os_str().as_bytes(), suffix.as_bytes());
    name.len()
        .checked_sub(suffix.len())
        .and_then(|start| name.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// Refuses a download that would replace the part or the identity of another: its bytes would be taken for those of the
/// other.
fn refuse_part_of_another(local: &Path, marks: Marks) -> Result<(), ClientError> {
    let is_ours = |note: &Path| Note::read(note).is_some_and(|note| note.is_ours(marks));
    let mut note = local.as_os_str().to_owned();
    note.push(".id");
    let is_part = ends_with(local, PART_SUFFIX)
        && local.symlink_metadata().is_ok()
        && (is_small_part(local) || is_ours(Path::new(&note)));
    if is_part || (ends_with(local, IDENTITY_SUFFIX) && is_ours(local)) {
        let message = format!(
            "{} belongs to an incomplete download; complete or remove it, or use another local name",
            shown_path(local)
        );
        return Err(ClientError::new(ErrorKind::Local, message));
    }
    Ok(())
}

/// Returns true if this is the path of a part that is too small to have an identity.
fn is_small_part(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| {
        found.is_file() && is_marked(&found) && found.len() <= OVERLAP_BYTES as u64
    })
}

fn in_the_way(path: &Path) -> ClientError {
    let message = format!(
        "{} already exists and was not created by ftpclient. Move or remove it.",
        shown_path(path)
    );
    ClientError::new(ErrorKind::Local, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::endpoint::Endpoint;
    use crate::ftp::command::Type;

    fn identity(more: u64) -> Identity {
        identity_of(OVERLAP_BYTES as u64 + more)
    }

    fn identity_of(size: u64) -> Identity {
        let host = Endpoint { host: "host".to_owned(), port: 21 };
        Identity::new(&host, b"/a b", Some(size), Some(Timestamp::UNIX_EPOCH), Type::Image)
    }

    #[test]
    fn a_small_file_has_a_part_without_an_identity_which_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let (part, found) = Part::open(&path("f"), &identity_of(9)).unwrap();
        assert_eq!(found, Found::Nothing);
        part.write_at(b"0123", 0).unwrap();
        // A kill leaves the part.
        drop(part);
        assert_eq!(names(), 1);
        assert!(Part::is_part_of_ours(&path("f.part")));
        assert!(Part::open(&path("f.part"), &identity_of(9)).is_err(), "a download replaces it");
        for identity in [identity_of(9), identity(9)] {
            let (part, found) = Part::open(&path("f"), &identity).unwrap();
            assert_eq!((found, part.file.metadata().unwrap().len()), (Found::Nothing, 0));
            part.write_at(b"456", 0).unwrap();
            let kept = if identity.can_resume { 3 } else { 0 };
            assert_eq!(part.settle(), kept);
        }
        let (part, found) = Part::open(&path("f"), &identity_of(9)).unwrap();
        assert_eq!(found, Found::Other, "the file has become small");
        part.complete(None, None).unwrap();
        assert!(!path("f.part").exists() && !path("f.part.id").exists());
        assert_eq!(fs::metadata(path("f")).unwrap().mode() & 0o7000, 0);
    }

    #[test]
    fn a_part_is_known_again_by_what_it_is_a_part_of() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("a");
        let (part, found) = Part::open(&local, &identity(9)).unwrap();
        assert_eq!(found, Found::Nothing);
        part.write_at(b"0123", 0).unwrap();
        assert!(Part::open(&local, &identity(9)).is_err(), "two write it");
        assert_eq!(part.settle(), 4);
        let (part, found) = Part::open(&local, &identity(9)).unwrap();
        assert_eq!((found, part.read_before(4, 2).unwrap()), (Found::Same(4), b"23".to_vec()));
        drop(part);
        let (part, found) = Part::open(&local, &identity(10)).unwrap();
        assert_eq!(found, Found::Other);
        part.write_at(b"x", 0).unwrap();
        part.complete(None, None).unwrap();
        assert_eq!(fs::read(&local).unwrap(), b"x");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("a");
        fs::write(folder.path().join("a.part"), "mine").unwrap();
        assert!(Part::open(&local, &identity(9)).is_err());
        assert_eq!(fs::read(folder.path().join("a.part")).unwrap(), b"mine");
        let long = folder.path().join("n".repeat(255));
        Part::open(&long, &identity(9)).unwrap().0.settle();
    }

    #[test]
    fn a_part_and_an_identity_that_were_downloaded_are_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fetch = |name: &str, content: &str, replaced: u32| {
            let (part, _) = Part::open(&path(name), &identity(1)).unwrap();
            part.write_at(content.as_bytes(), 0).unwrap();
            part.complete(None, Some(Permissions::from_mode(replaced))).unwrap();
        };
        // The mode of a replaced file makes no difference.
        fetch("f.part.id", identity(9).text(), 0o1666);
        let error = Part::open(&path("f"), &identity(9)).unwrap_err();
        assert!(error.to_string().contains("f.part.id already exists"), "{error}");
        fetch("f.part", "forged", 0o7777);
        for identity in [identity(9), identity(10)] {
            let error = Part::open(&path("f"), &identity).unwrap_err();
            assert!(error.to_string().contains("f.part already exists"), "{error}");
        }
        assert_eq!(fs::read(path("f.part")).unwrap(), b"forged");
        for name in ["f.part", "f.part.id"] {
            assert_eq!(fs::metadata(path(name)).unwrap().mode() & 0o7000, 0, "{name}");
        }
    }

    #[test]
    fn no_download_replaces_the_part_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (begun, _) = Part::open(&path("f"), &identity(9)).unwrap();
        begun.write_at(b"0123", 0).unwrap();
        for name in ["f.part", "f.part.id"] {
            assert!(Part::open(&path(name), &identity(1)).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a refused one leaves a part");
        begun.settle();
        assert_eq!(Part::open(&path("f"), &identity(9)).unwrap().1, Found::Same(4));
        // A download that began before the other had its part.
        let (late, _) = Part::open(&path("g.part"), &identity(1)).unwrap();
        late.write_at(b"x", 0).unwrap();
        Part::open(&path("g"), &identity(9)).unwrap().0.write_at(b"0123", 0).unwrap();
        assert!(late.complete(None, None).is_err());
        assert_eq!(Part::open(&path("g"), &identity(9)).unwrap().1, Found::Same(4));
    }
}
