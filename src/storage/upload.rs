//! Uploads: written beside their final name, under one that nobody sees, and given that name when they are complete.
//!
//! What is kept of an upload of `NAME`, its *part*, is called `.poolftpd-part.NAME` in the same directory; or, where `NAME`
//! stands already, `.poolftpd-over.STATE.NAME`, so that it counts only as long as `NAME` is as it was (see `hidden`).
//! Whoever writes a part holds its lock (`flock`), which the kernel takes back from a process that dies. So at any moment,
//! after kill -9 as well, `NAME` is what the last complete upload wrote, and a part without lock is a leftover that the
//! next upload goes on from. The rules:
//!
//! - An upload from the beginning starts the part anew. Beside one that is under way it is written under a name of its
//!   own: each is whole, the last to be complete wins.
//! - One that resumes at an offset goes on from the part; from `NAME` if there is no part. It supersedes an upload that is
//!   still under way: its client has lost that connection, or would not resume. At exactly the size of `NAME` it is refused
//!   while a part stands beside `NAME`: that size is all that a client was told, and which of the two it means is not known.
//! - One that appends goes on from `NAME`, or from the part if there is no `NAME`; beside a part it is refused, too.
//! - What went on from `NAME` and is cut off is not kept: `NAME` is there to go on from.
//!
//! Not here: when an upload counts as complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, RenameFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::place::{Create, Identity, Lock, Place, UNIQUE_NAMES_MAX, next_beside};
use super::quota::Charge;
use super::root::Root;
use crate::ftp::VirtualPath;

/// The permission bits that an overwritten file hands on: no set-id, no sticky.
const KEPT_MODE: u32 = 0o777;

/// Where an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning.
    Overwrite,
    /// At this offset in bytes, of what is there; what is behind goes away.
    At(u64),
    /// Behind what is there.
    End,
}

/// Whether data is on the disk before an upload counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The file's data and its name are flushed to the file system (fsync).
    Flushed,
    /// The system writes when it likes: it is there after a kill -9, but not after a loss of power.
    Cached,
}

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The file has its name.
    Yes,
    /// It was not to have it, after all; so many bytes are kept.
    No {
        /// In bytes.
        kept: u64,
    },
}

/// Why an upload cannot begin.
#[derive(Debug)]
pub enum Unable {
    /// Another upload of the same name is under way.
    Busy,
    /// The offset is beyond what is there.
    BeyondEnd,
    /// What is kept of an interrupted upload stands beside a complete file.
    Interrupted,
    /// The file system does not let us.
    Io(io::Error),
}

impl From<io::Error> for Unable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Unable {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A file that is being uploaded. Dropped before [`Upload::commit`], what has arrived is kept.
#[derive(Debug)]
pub struct Upload {
    place: Place,
    /// Locked.
    file: File,
    /// Under what name it is written.
    written_as: OsString,
    /// What stood under the final name when it began.
    replaces: Option<Stat>,
    /// What goes before the client's bytes and is not copied yet.
    prefix: Option<Prefix>,
    /// Where the next byte goes.
    position: u64,
    /// What is behind that is cut off when the first data comes, and not before: an upload that never begins must not
    /// cost what is kept.
    cut: bool,
    role: Role,
    settled: bool,
    charge: Charge,
}

/// Whose the name is that an upload is written under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The part's: it is the one to go on from.
    Part,
    /// The part's; and nothing may stand under the final name (STOU).
    Unique,
    /// Its own, beside one that is under way; cut off, it becomes the part if that has ended meanwhile.
    Beside,
    /// Its own, behind the beginning of the file that stands under the final name; cut off, it goes away.
    Onto,
    /// Its own until it is prepared; then it takes the part's from an upload that is still under way.
    Supersedes,
}

/// The beginning of a file that is copied from another.
#[derive(Debug)]
struct Prefix {
    from: File,
    offset: u64,
    end: u64,
}

impl Upload {
    /// Begins to write a file; what stands under its name stays as it is until [`Upload::commit`].
    pub fn begin(root: &Root, path: &VirtualPath, start: Start) -> Result<Self, Unable> {
        let (place, stands) = Place::to_write(root, path)?;
        match start {
            Start::Overwrite | Start::At(0) => place.overwrite(stands),
            Start::At(offset) => place.resume(offset, stands),
            Start::End => place.append(stands),
        }?
        .charged()
    }

    /// What is there of it counts already; what comes is counted as it comes.
    fn charged(mut self) -> Result<Self, Unable> {
        let length = self.file.metadata()?.len();
        let replaces = self.replaces.as_ref().map(|stat| (size(stat), (stat.st_dev, stat.st_ino)));
        self.charge = Charge::begin(self.place.quota.as_ref(), length, replaces)?;
        Ok(self)
    }

    /// Begins to write a new file in a directory, under a name that was not there.
    pub fn begin_unique(
        root: &Root,
        directory: &VirtualPath,
    ) -> Result<(Self, VirtualPath), Unable> {
        for _ in 0..UNIQUE_NAMES_MAX {
            let name = format!("upload.{}", root.next_unique());
            let path = directory.join(name.as_bytes()).map_err(|_| Errno::NAMETOOLONG)?;
            let place = Place::of(root, &path)?;
            if place.stat(&place.name)?.is_none()
                && let Lock::Got(file) = place.lock(&place.part, Create::New)?
            {
                let part = place.part.clone();
                let upload = Self::new(place, file, part, Role::Unique, None);
                return Ok((upload.charged()?, path));
            }
        }
        Err(Errno::EXIST.into())
    }

    fn new(
        place: Place,
        file: File,
        written_as: OsString,
        role: Role,
        replaces: Option<Stat>,
    ) -> Self {
        Self {
            place,
            file,
            written_as,
            replaces,
            prefix: None,
            position: 0,
            cut: true,
            role,
            settled: false,
            charge: Charge::default(),
        }
    }

    /// Begins behind the first bytes of another file.
    fn behind(mut self, from: File, count: u64) -> Result<Self, Unable> {
        if count > from.metadata()?.len() {
            return Err(Unable::BeyondEnd);
        }
        self.prefix = (count > 0).then_some(Prefix { from, offset: 0, end: count });
        self.position = count;
        Ok(self)
    }

    /// Copies what goes before the client's bytes, so many bytes at most; `true` when that is done.
    pub fn prepare(&mut self, bytes_max: usize) -> io::Result<bool> {
        let Some(prefix) = &mut self.prefix else { return Ok(true) };
        let left = usize::try_from(prefix.end - prefix.offset).unwrap_or(usize::MAX).min(bytes_max);
        self.charge.set_length(prefix.offset + left as u64)?;
        let copied = copy_range(&prefix.from, prefix.offset, &self.file, left)?;
        if copied == 0 {
            // It became shorter meanwhile.
            return Err(Errno::BUSY.into());
        }
        prefix.offset += copied as u64;
        if prefix.offset < prefix.end {
            return Ok(false);
        }
        let source = self.prefix.take();
        if let (Role::Supersedes, Some(Prefix { from, .. })) = (self.role, source) {
            self.supersede(&from)?;
        }
        Ok(true)
    }

    /// Takes the part's name, now that nothing can be lost by it, if it is still that of the file that was copied from;
    /// else this upload stays beside whatever came there.
    fn supersede(&mut self, source: &File) -> io::Result<()> {
        let Place { directory, part, .. } = &self.place;
        let exchange = || {
            let (own, flags) = (&self.written_as, RenameFlags::EXCHANGE);
            rustix::fs::renameat_with(directory, own, directory, part, flags)
        };
        match exchange() {
            Ok(()) if self.place.is_called(&self.written_as, source)? => {
                rustix::fs::unlinkat(directory, &self.written_as, AtFlags::empty())?;
                // An upload that still has it counts it itself.
                if is_nobodys(source) {
                    self.place.uncount(source.metadata()?.len());
                }
                self.written_as.clone_from(part);
                self.role = Role::Part;
            }
            Ok(()) => {
                exchange()?;
                self.role = Role::Beside;
            }
            // It has ended meanwhile; or the file system cannot do this.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => self.role = Role::Beside,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(self.prefix.is_none(), "prepare comes first");
        self.cut_behind()?;
        self.charge.set_length(self.position + bytes.len() as u64)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.position += count as u64;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes the next bytes, so many, which a pipe holds.
    pub fn write_from(&mut self, pipe: BorrowedFd<'_>, count: usize) -> io::Result<()> {
        debug_assert!(self.prefix.is_none(), "prepare comes first");
        self.cut_behind()?;
        self.charge.set_length(self.position + count as u64)?;
        let mut left = count;
        while left > 0 {
            let to = Some(&mut self.position);
            match splice(pipe, None, &self.file, to, left, SpliceFlags::MOVE) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left -= written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What comes next may be written without a place.
        self.file.seek(SeekFrom::Start(self.position))?;
        Ok(())
    }

    fn cut_behind(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.cut) {
            // Only if there is something: a file that was cut to nothing is one that ext4 starts to write out when it is
            // closed, which for a large upload takes as long as receiving it did.
            if self.file.metadata()?.len() != self.position {
                self.file.set_len(self.position)?;
            }
            self.charge.set_length(self.position)?;
            self.file.seek(SeekFrom::Start(self.position))?;
        }
        Ok(())
    }

    /// How many bytes the file has so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The file once more, to be flushed elsewhere.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the file its name, if, now that everything is on the disk, `go_on` still says so. From then on it is what
    /// everybody sees.
    ///
    /// # Errors
    /// [`Errno::BUSY`] when another upload has superseded this one; else what the file system says. What has arrived is
    /// kept.
    pub fn commit(
        mut self,
        durability: Durability,
        go_on: impl FnOnce() -> bool,
    ) -> io::Result<Committed> {
        self.cut_behind()?;
        if let Some(replaced) = &self.replaces {
            self.take_after(replaced)?;
        }
        if durability == Durability::Flushed {
            self.file.sync_all()?;
        }
        if !go_on() {
            return Ok(Committed::No { kept: self.settle() });
        }
        let part = self.place.part.clone();
        let (was_part, unique) = (self.written_as == part, self.role == Role::Unique);
        self.claim()?;
        let Place { directory, name, .. } = &self.place;
        let replaced = self.place.stat(name)?.as_ref().map(size);
        self.charge.set_credit(replaced.unwrap_or_default())?;
        if unique {
            rename_new(directory, &self.written_as, name)?;
        } else {
            rustix::fs::renameat(directory, &self.written_as, directory, name)?;
        }
        self.settled = true;
        self.charge.keep_file(replaced);
        if durability == Durability::Flushed {
            self.place.flush()?;
        }
        if !was_part {
            // What is kept of an upload before this one is worth nothing any more.
            self.place.remove_leftover(&part);
        }
        Ok(Committed::Yes)
    }

    /// Takes the file under a name that nobody else touches. Only then is it sure that it is still this one: another
    /// upload may supersede it at any moment, and its unfinished file must not get the final name.
    fn claim(&mut self) -> io::Result<()> {
        if matches!(self.role, Role::Beside | Role::Onto) {
            return Ok(());
        }
        let Place { directory, part, .. } = &self.place;
        let own = next_beside();
        match rename_new(directory, part, &own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.settled = true;
                return Err(Errno::BUSY.into());
            }
            taken => taken?,
        }
        if self.place.is_called(&own, &self.file)? {
            self.written_as = own;
            // If the last step fails, it becomes the part again.
            self.role = Role::Beside;
            return Ok(());
        }
        // It was the other's.
        self.settled = true;
        rename_new(directory, &own, part)?;
        Err(Errno::BUSY.into())
    }

    /// As the file that it replaces: its permission bits, and its owner where we may.
    fn take_after(&self, replaced: &Stat) -> io::Result<()> {
        let (owner, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
        let own = self.file.metadata()?;
        // Who may not give files away keeps the new file's own.
        if own.gid() != replaced.st_gid {
            let _given = rustix::fs::fchown(&self.file, None, Some(group));
        }
        if own.uid() != replaced.st_uid {
            let _given = rustix::fs::fchown(&self.file, Some(owner), None);
        }
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(replaced.st_mode & KEPT_MODE))?;
        Ok(())
    }

    /// Ends an upload that did not come whole; returns how many bytes there are to resume from.
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
        let keepable = self.charge.set_credit(0).is_ok();
        // A leftover that cannot be put in order now is swept when it is old.
        let kept = self.keep(keepable).unwrap_or_default();
        if kept > 0 {
            self.charge.keep_part();
        }
        kept
    }

    /// Keeps what has arrived for who resumes, unless there is nothing, or something newer stands under the name.
    fn keep(&self, keepable: bool) -> io::Result<u64> {
        let Place { directory, part, name, .. } = &self.place;
        let length = self.file.metadata()?.len();
        if !self.place.is_called(&self.written_as, &self.file)? {
            return Ok(0);
        }
        let state = |stat: &Stat| Identity::of(stat);
        let outdated =
            self.place.stat(name)?.as_ref().map(state) != self.replaces.as_ref().map(state);
        let keeps = match self.role {
            _ if outdated || length == 0 || self.prefix.is_some() => false,
            _ if !keepable => false,
            Role::Part | Role::Unique => return Ok(length),
            Role::Onto | Role::Supersedes => false,
            Role::Beside => true,
        };
        // Held until the name has changed hands.
        let slot = if keeps { self.place.lock(part, Create::IfMissing)? } else { Lock::Missing };
        if let Lock::Got(before) = slot {
            rustix::fs::renameat(directory, &self.written_as, directory, part)?;
            self.place.uncount(before.metadata()?.len());
            return Ok(length);
        }
        rustix::fs::unlinkat(directory, &self.written_as, AtFlags::empty())?;
        Ok(0)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.settled {
            self.settle_now();
        }
    }
}

impl Place {
    fn overwrite(self, stands: Option<Stat>) -> Result<Upload, Unable> {
        match self.lock(&self.part, Create::IfMissing)? {
            Lock::Got(file) => {
                let part = self.part.clone();
                Ok(Upload::new(self, file, part, Role::Part, stands))
            }
            Lock::Busy(_) | Lock::Missing => self.beside(Role::Beside, stands),
        }
    }

    fn resume(self, offset: u64, stands: Option<Stat>) -> Result<Upload, Unable> {
        let stands_up_to = stands.as_ref().map(size);
        match self.lock(&self.part, Create::No)? {
            Lock::Got(_) | Lock::Busy(_) if stands_up_to == Some(offset) => {
                Err(Unable::Interrupted)
            }
            Lock::Got(file) => self.go_on(file, offset, stands),
            Lock::Busy(part) => {
                // What is before the offset is written and stays; what comes behind it is the other's.
                self.beside(Role::Supersedes, stands)?.behind(part, offset)
            }
            Lock::Missing if stands.is_some() => {
                let old = self.read_standing()?;
                self.beside(Role::Onto, stands)?.behind(old, offset)
            }
            Lock::Missing => Err(Unable::BeyondEnd),
        }
    }

    fn append(self, stands: Option<Stat>) -> Result<Upload, Unable> {
        match (self.lock(&self.part, Create::No)?, &stands) {
            (Lock::Busy(_), None) => Err(Unable::Busy),
            (Lock::Got(_) | Lock::Busy(_), Some(_)) => Err(Unable::Interrupted),
            (Lock::Got(file), None) => {
                let end = file.metadata()?.len();
                self.go_on(file, end, stands)
            }
            (Lock::Missing, Some(old)) => {
                let (end, old) = (size(old), self.read_standing()?);
                self.beside(Role::Onto, stands)?.behind(old, end)
            }
            (Lock::Missing, None) => match self.overwrite(None)? {
                upload if upload.role == Role::Part => Ok(upload),
                _ => Err(Unable::Busy),
            },
        }
    }

    /// Under a name of its own.
    fn beside(self, role: Role, stands: Option<Stat>) -> Result<Upload, Unable> {
        for _ in 0..UNIQUE_NAMES_MAX {
            let name = next_beside();
            if let Lock::Got(file) = self.lock(&name, Create::New)? {
                return Ok(Upload::new(self, file, name, role, stands));
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Goes on in a part that is ours now.
    fn go_on(self, file: File, offset: u64, stands: Option<Stat>) -> Result<Upload, Unable> {
        if offset > file.metadata()?.len() {
            return Err(Unable::BeyondEnd);
        }
        let part = self.part.clone();
        let mut upload = Upload::new(self, file, part, Role::Part, stands);
        upload.position = offset;
        Ok(upload)
    }
}

/// Renames to a name that must be free; where the file system cannot see to that, we look.
fn rename_new(directory: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        renamed => return Ok(renamed?),
    }
    match rustix::fs::statat(directory, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(directory, from, directory, to)?),
        Err(error) => Err(error.into()),
    }
}

/// Whether no upload holds a file.
fn is_nobodys(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Copies bytes within the kernel, shared where the file system can; else through us. Where `to` stands moves on.
fn copy_range(from: &File, offset: u64, mut to: &File, count: usize) -> io::Result<usize> {
    let mut source = offset;
    match rustix::fs::copy_file_range(from.as_fd(), Some(&mut source), to.as_fd(), None, count) {
        Ok(copied) => Ok(copied),
        Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
            let mut bytes = vec![0; count.min(256 * 1024)];
            let got = from.read_at(&mut bytes, offset)?;
            to.write_all(bytes.get(..got).unwrap_or_default())?;
            Ok(got)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::*;

    struct Scene {
        directory: TempDir,
        root: Root,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = Root::open(directory.path()).unwrap();
            Self { directory, root }
        }

        fn begin(&self, name: &str, start: Start) -> Result<Upload, Unable> {
            let mut upload = Upload::begin(&self.root, &path(name), start)?;
            while !upload.prepare(2).unwrap() {}
            Ok(upload)
        }

        /// Writes, and commits or not.
        fn upload(&self, name: &str, start: Start, text: &str) -> Upload {
            let mut upload = self.begin(name, start).unwrap();
            upload.write(text.as_bytes()).unwrap();
            upload
        }

        fn complete(&self, name: &str, start: Start, text: &str) {
            self.upload(name, start, text).commit(Durability::Flushed, || true).unwrap();
        }

        fn cut_off(&self, name: &str, start: Start, text: &str) {
            drop(self.upload(name, start, text));
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.directory.path().join(name)).ok()
        }

        fn kept(&self, name: &str) -> Option<u64> {
            self.root.kept(&path(name)).ok().map(|(_, entry)| entry.size)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }

        /// Makes a file an hour older.
        fn age(&self, name: &str) {
            let file = File::options().write(true).open(self.directory.path().join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_hours(1)).unwrap();
        }
    }

    fn path(name: &str) -> VirtualPath {
        VirtualPath::root().join(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_complete_and_not_before() {
        let scene = Scene::new();
        let upload = scene.upload("a", Start::Overwrite, "new");
        assert_eq!(scene.read("a"), None);
        upload.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "new");
        let upload = scene.upload("a", Start::Overwrite, "n");
        assert_eq!(scene.read("a").unwrap(), "new");
        drop(upload);
        assert_eq!(scene.read("a").unwrap(), "new");
        scene.complete("a", Start::Overwrite, "newer");
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("newer", vec!["a".to_owned()])
        );
    }

    #[test]
    fn what_was_cut_off_is_gone_on_from_where_the_client_says() {
        let scene = Scene::new();
        scene.cut_off("a", Start::Overwrite, "0123456789");
        assert_eq!((scene.read("a"), scene.kept("a")), (None, Some(10)));
        assert!(matches!(scene.begin("a", Start::At(11)), Err(Unable::BeyondEnd)));
        scene.cut_off("a", Start::At(10), "ab");
        scene.cut_off("a", Start::End, "cd");
        assert_eq!(scene.kept("a"), Some(14));
        scene.complete("a", Start::At(3), "xy");
        assert_eq!(scene.read("a").unwrap(), "012xy");
        assert_eq!((scene.kept("a"), scene.names()), (None, vec!["a".to_owned()]));
    }

    #[test]
    fn an_upload_that_never_writes_costs_nothing_that_is_there() {
        let scene = Scene::new();
        for start in [Start::Overwrite, Start::End] {
            drop(scene.begin("a", start));
        }
        assert!(scene.names().is_empty());
        scene.cut_off("a", Start::Overwrite, "kept");
        for start in [Start::Overwrite, Start::At(2), Start::End, Start::At(9)] {
            drop(scene.begin("a", start));
        }
        assert_eq!(scene.kept("a"), Some(4));
    }

    #[test]
    fn a_complete_file_is_gone_on_from_without_being_touched() {
        let scene = Scene::new();
        scene.complete("a", Start::Overwrite, "0123456789");
        let append = scene.upload("a", Start::End, "ab");
        assert_eq!(scene.read("a").unwrap(), "0123456789");
        append.commit(Durability::Cached, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "0123456789ab");
        scene.complete("a", Start::At(4), "!");
        assert_eq!(scene.read("a").unwrap(), "0123!");
        assert!(matches!(scene.begin("a", Start::At(6)), Err(Unable::BeyondEnd)));
        assert!(matches!(scene.begin("none", Start::At(6)), Err(Unable::BeyondEnd)));
        scene.complete("none", Start::End, "new");
        assert_eq!(scene.read("none").unwrap(), "new");
    }

    #[test]
    fn beside_a_complete_file_what_is_kept_is_resumed_only_by_who_knows_its_own_offset() {
        let scene = Scene::new();
        scene.complete("a", Start::Overwrite, "old");
        scene.cut_off("a", Start::Overwrite, "new ve");
        assert_eq!((scene.read("a").unwrap().as_str(), scene.kept("a")), ("old", None));
        // These may mean the old file, whose size is all that a client was told.
        assert!(matches!(scene.begin("a", Start::End), Err(Unable::Interrupted)));
        assert!(matches!(scene.begin("a", Start::At(3)), Err(Unable::Interrupted)));
        scene.complete("a", Start::At(6), "rsion");
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("new version", vec!["a".to_owned()])
        );
    }

    #[test]
    fn what_is_kept_counts_only_as_long_as_the_file_it_was_to_replace_stands() {
        let scene = Scene::new();
        scene.complete("a", Start::Overwrite, "old");
        scene.cut_off("a", Start::Overwrite, "stale");
        assert!(scene.root.is_being_replaced(&path("a")));
        fs::write(scene.directory.path().join("a"), "other").unwrap();
        assert!(!scene.root.is_being_replaced(&path("a")));
        scene.complete("a", Start::End, "!");
        assert_eq!(scene.read("a").unwrap(), "other!");
        let upload = scene.upload("b", Start::Overwrite, "late");
        fs::write(scene.directory.path().join("b"), "from elsewhere").unwrap();
        drop(upload);
        assert_eq!(scene.names().iter().filter(|name| name.contains("part")).count(), 0);
    }

    #[test]
    fn what_went_on_from_a_complete_file_and_is_cut_off_leaves_that_alone() {
        let scene = Scene::new();
        scene.complete("a", Start::Overwrite, "0123");
        scene.cut_off("a", Start::End, "45");
        scene.cut_off("a", Start::At(4), "45");
        let mut early = Upload::begin(&scene.root, &path("a"), Start::At(4)).unwrap();
        assert!(!early.prepare(2).unwrap());
        drop(early);
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("0123", vec!["a".to_owned()])
        );
        scene.complete("a", Start::End, "45");
        assert_eq!(scene.read("a").unwrap(), "012345");
    }

    #[test]
    fn whoever_is_superseded_before_it_has_its_name_gives_none_to_the_other() {
        let scene = Scene::new();
        let old = scene.upload("a", Start::Overwrite, "0123");
        let mut new = scene.begin("a", Start::At(2)).unwrap();
        new.write(b"unfinished").unwrap();
        assert!(old.commit(Durability::Flushed, || true).is_err());
        assert_eq!(scene.read("a"), None);
        new.write(b", now finished").unwrap();
        new.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "01unfinished, now finished");
    }

    #[test]
    fn whoever_is_superseded_while_it_is_flushed_gives_no_name_to_the_other() {
        let scene = Scene::new();
        let old = scene.upload("a", Start::Overwrite, "0123");
        let mut new = None;
        let committed = old.commit(Durability::Flushed, || {
            let mut other = scene.begin("a", Start::At(2)).unwrap();
            other.write(b"unfinished").unwrap();
            new = Some(other);
            true
        });
        assert!(committed.is_err() && scene.read("a").is_none());
        let mut new = new.unwrap();
        new.write(b", now finished").unwrap();
        new.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "01unfinished, now finished");
    }

    #[test]
    fn an_upload_that_is_not_to_be_committed_after_all_is_kept() {
        let scene = Scene::new();
        let committed =
            scene.upload("a", Start::Overwrite, "0123").commit(Durability::Flushed, || false);
        assert_eq!(committed.unwrap(), Committed::No { kept: 4 });
        assert_eq!((scene.read("a"), scene.kept("a")), (None, Some(4)));
    }

    #[test]
    fn who_copies_from_a_lost_upload_leaves_alone_what_came_in_its_place() {
        let scene = Scene::new();
        let lost = scene.upload("a", Start::Overwrite, "0123");
        let mut late = Upload::begin(&scene.root, &path("a"), Start::At(4)).unwrap();
        drop(lost);
        scene.root.remove(&path("a")).unwrap();
        let fresh = scene.upload("a", Start::Overwrite, "fresh");
        while !late.prepare(2).unwrap() {}
        late.write(b"45").unwrap();
        fresh.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "fresh");
        late.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("012345", vec!["a".to_owned()])
        );
    }

    #[test]
    fn of_two_uploads_at_once_each_is_whole_and_the_last_complete_one_wins() {
        let scene = Scene::new();
        let mut one = scene.begin("a", Start::Overwrite).unwrap();
        let mut other = scene.begin("a", Start::Overwrite).unwrap();
        for (first, second) in ["1", "11", "111"].iter().zip(["2", "22", "222"]) {
            one.write(first.as_bytes()).unwrap();
            other.write(second.as_bytes()).unwrap();
        }
        assert!(matches!(scene.begin("a", Start::End), Err(Unable::Busy)));
        other.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(scene.read("a").unwrap(), "222222");
        one.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("111111", vec!["a".to_owned()])
        );
        let one = scene.upload("a", Start::Overwrite, "x");
        let other = scene.upload("a", Start::Overwrite, "yy");
        drop(one);
        drop(other);
        assert!(scene.names().len() == 2 && scene.names()[0].starts_with(".poolftpd-over."));
    }

    #[test]
    fn who_resumes_supersedes_the_upload_whose_connection_was_lost() {
        let scene = Scene::new();
        let mut lost = scene.upload("a", Start::Overwrite, "0123456789");
        let mut resumed = scene.begin("a", Start::At(8)).unwrap();
        // Whatever still comes over the old connection harms nobody.
        lost.write(b"garbage").unwrap();
        resumed.write(b"89").unwrap();
        assert_eq!(
            lost.commit(Durability::Flushed, || true).unwrap_err().raw_os_error(),
            Some(Errno::BUSY.raw_os_error())
        );
        resumed.commit(Durability::Flushed, || true).unwrap();
        assert_eq!(
            (scene.read("a").unwrap().as_str(), scene.names()),
            ("0123456789", vec!["a".to_owned()])
        );
    }

    #[test]
    fn an_upload_that_ends_while_another_copies_from_it_loses_nothing() {
        let scene = Scene::new();
        let lost = scene.upload("a", Start::Overwrite, "0123456789");
        let mut resumed = Upload::begin(&scene.root, &path("a"), Start::At(8)).unwrap();
        assert!(!resumed.prepare(2).unwrap());
        drop(lost);
        drop(resumed);
        assert_eq!((scene.kept("a"), scene.names().len()), (Some(10), 1));
    }

    #[test]
    fn stou_finds_names_that_are_nobodys() {
        let scene = Scene::new();
        fs::write(scene.directory.path().join("upload.1"), "x").unwrap();
        let names: Vec<_> = (0..2)
            .map(|_| Upload::begin_unique(&scene.root, &VirtualPath::root()).unwrap())
            .map(|(mut upload, name)| {
                upload.write(b"u").unwrap();
                (upload, name)
            })
            .collect();
        let told: Vec<&[u8]> = names.iter().map(|(_, name)| name.name()).collect();
        assert_eq!(told, [b"upload.2", b"upload.3"]);
        for (upload, _) in names {
            upload.commit(Durability::Cached, || true).unwrap();
        }
        assert_eq!(scene.names(), ["upload.1", "upload.2", "upload.3"]);
    }

    #[test]
    fn an_overwritten_file_keeps_its_permissions_and_a_link_leads_on() {
        let scene = Scene::new();
        scene.complete("a", Start::Overwrite, "x");
        let real = scene.directory.path().join("a");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a", scene.directory.path().join("link")).unwrap();
        scene.complete("link", Start::Overwrite, "y");
        assert_eq!(scene.read("a").unwrap(), "y");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(scene.names(), ["a", "link"]);
    }

    #[test]
    fn no_client_can_name_what_is_ours_and_what_is_kept_goes_with_its_file() {
        let scene = Scene::new();
        scene.cut_off("a", Start::Overwrite, "kept");
        let ours = path(".poolftpd-part.a");
        assert!(scene.root.read(&ours).is_err() && scene.root.remove(&ours).is_err());
        assert!(scene.root.look(&ours).is_err() && scene.root.set_mode(&ours, 0o700).is_err());
        assert!(scene.root.set_modified(&ours, Timestamp::UNIX_EPOCH).is_err());
        assert!(scene.root.make_directory(&path(".poolftpd-x")).is_err());
        assert!(scene.root.rename(&ours, &path("b")).is_err());
        scene.root.remove(&path("a")).unwrap();
        assert!(scene.root.remove(&path("a")).is_err() && scene.names().is_empty());
        fs::create_dir(scene.directory.path().join("d")).unwrap();
        scene.cut_off("d/a", Start::Overwrite, "kept");
        scene.root.remove_directory(&path("d")).unwrap();
        assert!(scene.names().is_empty());
        scene.complete("a", Start::Overwrite, "whole");
        scene.cut_off("b", Start::Overwrite, "kept");
        scene.root.rename(&path("a"), &path("b")).unwrap();
        assert_eq!(scene.names(), ["b"]);
    }

    #[test]
    fn what_is_old_is_swept_unless_somebody_writes_it() {
        let scene = Scene::new();
        fs::create_dir(scene.directory.path().join("d")).unwrap();
        scene.cut_off("old", Start::Overwrite, "x");
        scene.age(".poolftpd-part.old");
        scene.cut_off("d/old", Start::Overwrite, "x");
        scene.age("d/.poolftpd-part.old");
        scene.cut_off("new", Start::Overwrite, "x");
        let busy = scene.upload("busy", Start::Overwrite, "x");
        scene.age(".poolftpd-part.busy");
        let before = Timestamp::now() - Duration::from_mins(30);
        assert_eq!(scene.root.sweep(before, || true).unwrap(), 2);
        drop(busy);
        assert_eq!(scene.names(), [".poolftpd-part.busy", ".poolftpd-part.new", "d"]);
    }
}
