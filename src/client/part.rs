//! A download that is not complete: `NAME.part`, and beside it `NAME.part.id`, which tells what it is a part of.
//!
//! The second is written before anything is in the first, and removed after it. So whenever the program is killed, either
//! both are there, or nothing is that could be taken for what it is not: a `.part` with something in it and without its
//! `.part.id` is no file of ours. Both are touched under the part's lock only.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::ftp::command::Type;
use crate::ftp::path::Escaped;

use super::files::shown_path;
use super::{ClientError, Kind};

const PART_SUFFIX: &str = ".part";
const IDENTITY_SUFFIX: &str = ".part.id";

/// How every identity begins.
const FIRST_LINE: &str = "ftpclient: what the .part beside this is a part of";

/// The longest file name that Linux takes, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest identity that is read: paths are no longer than 4 KiB, and escaped no more than six times that.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// What a remote file is: where, and in which state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    pub(super) fn new(
        (host, port): &(String, u16),
        path: &[u8],
        size: Option<u64>,
        modified: Option<Timestamp>,
        representation: Type,
    ) -> Self {
        let place = format!("server {host}:{port}\npath {}\n", Escaped(path));
        let mut text = format!("{FIRST_LINE}\n{place}type {representation:?}\n");
        if let Some(size) = size {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "size {size}");
        }
        if let Some(modified) = modified {
            // In seconds: MLSD and MDTM of one server may differ in what is behind.
            let _written = writeln!(text, "modified {}", modified.as_second());
        }
        Self(text)
    }
}

/// What was found under a part's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// So many bytes of the same file, in the same state.
    Same(u64),
    /// Something of another file, or of the same before it changed.
    Other,
}

/// A part, which nobody else writes.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    identity: PathBuf,
    local: PathBuf,
}

impl Part {
    /// Opens what is there, or makes it.
    ///
    /// # Errors
    /// [`Kind::Local`]; also when somebody else writes it, or it is no part of ours.
    pub(super) fn open(local: &Path, identity: &Identity) -> Result<(Self, Found), ClientError> {
        let (path, note) = (beside(local, PART_SUFFIX), beside(local, IDENTITY_SUFFIX));
        let failed = |error: io::Error| ClientError::local(&path, &error);
        let file = open_locked(&path)?;
        let length = file.metadata().map_err(failed)?.len();
        let known = read_identity(&note);
        if length > 0 && known.is_none() {
            return Err(in_the_way(&path));
        }
        let same = known.as_ref() == Some(identity);
        let found = match length {
            0 => Found::Nothing,
            length if same => Found::Same(length),
            _ => Found::Other,
        };
        let part = Self { file, path: path.clone(), identity: note, local: local.to_owned() };
        if !same {
            part.clear()?;
            write_identity(&part.identity, identity)?;
        }
        Ok((part, found))
    }

    /// Whether something of a file is there.
    pub(super) fn is_there(local: &Path) -> bool {
        beside(local, PART_SUFFIX).symlink_metadata().is_ok()
    }

    /// Takes a copy of a file under its final name for the beginning of what is to be fetched (`reget`), unless there is a
    /// part already.
    pub(super) fn copy_of(local: &Path, identity: &Identity) -> Result<(), ClientError> {
        let (part, found) = Self::open(local, identity)?;
        if matches!(found, Found::Same(_)) {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let copied = File::open(local).and_then(|mut from| io::copy(&mut from, &mut &part.file));
        copied.map(drop).map_err(|error| ClientError::local(&part.path, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Begins anew.
    pub(super) fn clear(&self) -> Result<(), ClientError> {
        self.cut(0)
    }

    /// Forgets what is behind so many bytes.
    pub(super) fn cut(&self, length: u64) -> Result<(), ClientError> {
        let is_longer = |found: fs::Metadata| found.len() > length;
        // Only if there is something: ext4 starts to write out a file that was cut to nothing when it is closed.
        let cut = self
            .file
            .metadata()
            .map(is_longer)
            .and_then(|longer| if longer { self.file.set_len(length) } else { Ok(()) });
        cut.map_err(|error| ClientError::local(&self.path, &error))
    }

    /// So many bytes before a place.
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

    /// How many bytes are kept; a part without any goes away.
    pub(super) fn settle(self) -> u64 {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if length == 0 {
            let _removed = fs::remove_file(&self.path);
            let _removed = fs::remove_file(&self.identity);
        }
        length
    }

    /// Gives the file its name, time and permissions.
    pub(super) fn complete(
        self,
        modified: Option<Timestamp>,
        permissions: Option<Permissions>,
    ) -> Result<(), ClientError> {
        if let Some(modified) = modified {
            // The time is a courtesy: a file system that cannot keep it does not make the file incomplete.
            let _set = self.file.set_modified(modified.into());
        }
        if let Some(permissions) = permissions {
            // As those of the file that it replaces; who may not set them keeps the new file's own.
            let _set = self.file.set_permissions(permissions);
        }
        fs::rename(&self.path, &self.local)
            .map_err(|error| ClientError::local(&self.local, &error))?;
        let _removed = fs::remove_file(&self.identity);
        Ok(())
    }
}

impl Drop for Part {
    /// The lock goes with the part, even if a process that was started meanwhile still has the file open.
    fn drop(&mut self) {
        let _unlocked = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Opens a part, or makes an empty one, which is nobody's yet; and takes its lock.
fn open_locked(path: &Path) -> Result<File, ClientError> {
    let failed = |error: io::Error| match Errno::from_io_error(&error) {
        // SECURITY: a link that somebody put there is not followed.
        Some(Errno::LOOP) => in_the_way(path),
        _ => ClientError::local(path, &error),
    };
    loop {
        let mut options = File::options();
        options.read(true).write(true).create(true);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let what = format!("{}: another ftpclient is fetching it", shown_path(path));
            return Err(ClientError::new(Kind::Local, what));
        }
        // Between opening and locking, its last owner may have completed it: then it has its final name.
        let own = file.metadata().map_err(failed)?;
        if path.symlink_metadata().is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino()))
        {
            return Ok(file);
        }
    }
}

/// A name with a suffix, cut where the file system would not take it.
fn beside(local: &Path, suffix: &str) -> PathBuf {
    let name = local.file_name().unwrap_or_default().as_bytes();
    let kept = name.get(..NAME_BYTES_MAX - IDENTITY_SUFFIX.len()).unwrap_or(name);
    local.with_file_name(OsStr::from_bytes(&[kept, suffix.as_bytes()].concat()))
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), ClientError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let written = options.open(path).and_then(|mut file| file.write_all(identity.0.as_bytes()));
    written.map_err(|error| ClientError::local(path, &error))
}

/// What a part is a part of; an identity that was cut off while it was written is still one of ours.
fn read_identity(path: &Path) -> Option<Identity> {
    let mut options = File::options();
    options.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut text = String::new();
    options.open(path).ok()?.take(IDENTITY_BYTES_MAX).read_to_string(&mut text).ok()?;
    (text.is_empty() || text.starts_with(FIRST_LINE)).then_some(Identity(text))
}

fn in_the_way(path: &Path) -> ClientError {
    let message = format!(
        "{} is in the way: ftpclient did not make it. Move or remove it.",
        shown_path(path)
    );
    ClientError::new(Kind::Local, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(size: u64) -> Identity {
        let host = ("host".to_owned(), 21);
        Identity::new(&host, b"/a b", Some(size), Some(Timestamp::UNIX_EPOCH), Type::Image)
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
}
