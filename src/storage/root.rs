//! The tree beneath one directory. Everything is opened strictly beneath it.
//!
//! SECURITY: `cap-std` resolves each path by `openat2` with `RESOLVE_BENEATH`, so neither `..` nor a symbolic link leads
//! out, whatever changes meanwhile. A symbolic link to a place inside, written relative, works.
//!
//! What is written goes through `upload`; `partials` has what removes and renames, because what is kept of an upload goes
//! along. The seam to another kind of storage is what is public in these three: open at an offset to read or write, look,
//! list, rename, remove.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt,
    Permissions, PermissionsExt,
};
use jiff::Timestamp;
use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, RawDir, Stat, StatVfsMountFlags, Timespec, Timestamps,
    UTIME_OMIT, accessat, openat, statat,
};
use rustix::io::Errno;

use super::quota::{Quota, Used};
use super::reserved_names::{is_record, may_be_reserved};
use super::rights::Surroundings;
use super::upload::{Durability, flush_directory, open_directory};
use crate::ftp::VirtualPath;
use crate::ftp::listing::{Entry, Kind};

/// The reason for a home that the sandbox closes, with the remedy.
const HOME_CLOSED: &str = "it came after the start and is closed to this process: restart the server, or start it with --allow DIR \
                           for a directory that has the homes of later users in it";

/// The mode of a directory that a client makes, before the umask.
const DIRECTORY_MODE: u32 = 0o775;
/// The bits that a client may set: no set-id, no sticky, none for everybody to write.
const MODE_MASK: u32 = 0o775;
/// How much of the names of a directory is read at once: some two hundred.
const NAMES_BYTES: usize = 8 * 1024;

/// Fewer than so many do not take long to look at.
const NAMES_FEW: usize = 100;

/// A directory that is served as `/`.
#[derive(Debug)]
pub struct Root {
    directory: Dir,
    /// Device and inode.
    identity: (u64, u64),
    /// Where it is, to look for it again when it has been replaced; nobody knows for one that was passed on.
    path: Option<PathBuf>,
    quota: Option<Quota>,
    /// Where the next search for a new name begins.
    next_unique: Arc<AtomicU32>,
}

impl Root {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it is missing, is none, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { path: Some(path.to_owned()), ..Self::new(directory)? })
    }

    /// The root that another process has opened and passed on.
    pub fn from_descriptor(directory: OwnedFd) -> io::Result<Self> {
        Self::new(Dir::from_std_file(directory.into()))
    }

    fn new(directory: Dir) -> io::Result<Self> {
        let next_unique = Arc::new(AtomicU32::new(1));
        let found = directory.dir_metadata()?;
        let identity = (found.dev(), found.ino());
        Ok(Self { directory, identity, path: None, quota: None, next_unique })
    }

    /// The same with a limit to what it may hold.
    pub(super) fn with_quota(self, quota: Quota) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// The limit to what it may hold.
    pub(super) fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// The number of the device that it is on.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.identity.0
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The directory that has its path now, if that is another: it was replaced, or removed and made anew.
    pub(super) fn replacement(&self) -> Option<Self> {
        let path = self.path.as_ref()?;
        // Each login asks, so it is one call where nothing has changed.
        let found = rustix::fs::stat(path).ok()?;
        if (found.st_dev, found.st_ino) == self.identity { None } else { Self::open(path).ok() }
    }

    /// The same directory once more, for itself.
    pub(super) fn again(&self) -> io::Result<Self> {
        let (directory, path) = (self.directory.try_clone()?, self.path.clone());
        let next_unique = Arc::clone(&self.next_unique);
        Ok(Self { directory, identity: self.identity, path, quota: None, next_unique })
    }

    /// Counts what it holds.
    pub(super) fn measure(&self) -> Used {
        let mut used = Used::default();
        let mut waiting = vec![PathBuf::from(".")];
        while let Some(path) = waiting.pop() {
            // What vanishes meanwhile, or cannot be read, is not counted.
            let Ok(entries) = self.directory.read_dir(&path) else { continue };
            for found in entries.flatten() {
                let name = found.file_name();
                let Ok(metadata) = found.metadata() else { continue };
                if is_record(name.as_bytes()) {
                    continue;
                }
                used.files += 1;
                if metadata.is_dir() {
                    waiting.push(path.join(name));
                } else if metadata.is_file() {
                    used.bytes += metadata.len();
                }
            }
        }
        used
    }

    /// The directory itself, to be passed on.
    pub fn to_descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.directory.try_clone()?.into_std_file().into())
    }

    /// Opens a regular file to be read, and looks at it.
    pub fn read(&self, path: &VirtualPath) -> io::Result<(File, Entry)> {
        self.recover_append(path);
        let mut options = OpenOptions::new();
        options.read(true);
        self.open_regular(path, &mut options)
    }

    /// Looks at a file or directory. A symbolic link that leads to a place inside is what it leads to.
    pub fn look(&self, path: &VirtualPath) -> io::Result<Entry> {
        self.recover_append(path);
        let real = real(path)?;
        let found = self.directory.metadata(real);
        let metadata = match found {
            Err(error) => self.directory.symlink_metadata(real).map_err(|_| error)?,
            found => found?,
        };
        Ok(entry(path.name().to_vec(), &metadata))
    }

    /// Whether it can be looked into at all.
    pub fn probe(&self) -> io::Result<()> {
        self.directory.entries().map(drop)
    }

    /// Looks into it as a client would.
    ///
    /// # Errors
    /// A sentence with the remedy when the permissions of the directory allow it and the sandbox does not; others when there is nothing to
    /// look into. A directory that may only be entered is none.
    pub fn reach(&self) -> io::Result<()> {
        match self.probe() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // The system answers by the permissions alone: Landlock has no say in it.
                let rights = Access::READ_OK | Access::EXEC_OK;
                match accessat(&self.directory, ".", rights, AtFlags::EACCESS) {
                    Ok(()) => Err(io::Error::other(HOME_CLOSED)),
                    Err(_) => Ok(()),
                }
            }
            probed => probed,
        }
    }

    /// Whether a directory may be entered: that it may be listed is not asked.
    pub fn enter(&self, path: &VirtualPath) -> io::Result<()> {
        self.directory.metadata(real(path)?.join(".")).map(drop)
    }

    /// Opens a directory to be listed, some entries at a time.
    pub fn list(&self, path: &VirtualPath) -> io::Result<Directory> {
        let directory = self.directory.open_dir(real(path)?)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let names = openat(&directory, ".", flags, Mode::empty())?;
        let entry = entry(Vec::new(), &directory.dir_metadata()?);
        let surroundings = Surroundings::within(&entry, is_read_only(&directory));
        Ok(Directory { names, path: path.clone(), entry, surroundings })
    }

    /// The rights to the names in the directory of a path; to the root itself, none.
    pub fn surroundings(&self, path: &VirtualPath) -> io::Result<Surroundings> {
        if path.is_root() {
            return Ok(Surroundings::default());
        }
        let parent = path.parent();
        let parent = real(&parent)?;
        let entry = entry(Vec::new(), &self.directory.metadata(parent)?);
        // One that may be written and not read cannot be opened.
        let read_only = self.directory.open_dir(parent).is_ok_and(|opened| is_read_only(&opened));
        Ok(Surroundings::within(&entry, read_only))
    }

    /// How many bytes can still be stored in a directory, or beside a file.
    pub fn available(&self, path: &VirtualPath) -> io::Result<u64> {
        let place = match self.directory.open_dir(real(path)?) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.directory.open_dir(real(&path.parent())?)?
            }
            opened => opened?,
        };
        let found = rustix::fs::fstatvfs(&place)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        Ok(self.quota.as_ref().map_or(free, |quota| free.min(quota.room())))
    }

    /// Makes a directory.
    pub fn make_directory(&self, path: &VirtualPath) -> io::Result<()> {
        let real = real(path)?;
        let mut builder = DirBuilder::new();
        builder.mode(DIRECTORY_MODE);
        let Some(quota) = &self.quota else {
            return self.directory.create_dir_with(real, &builder);
        };
        let _names = quota.lock_names();
        quota.take_file()?;
        let made = self.directory.create_dir_with(real, &builder);
        made.inspect_err(|_| quota.give_back(0, 1))
    }

    /// Where a file of this path is to be written: the directory, and the name in it. A symbolic link is what it leads to.
    pub(super) fn place(&self, path: &VirtualPath) -> io::Result<(Dir, OsString)> {
        let path = real(path)?;
        let leads_on = self.directory.symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let path = if leads_on { self.directory.canonicalize(path)? } else { path.to_owned() };
        let name = path.file_name().filter(|name| *name != ".").ok_or(Errno::ISDIR)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = self.directory.open_dir(parent.unwrap_or_else(|| Path::new(".")))?;
        Ok((directory, name.to_owned()))
    }

    /// A number that no upload had before, for a name of its own.
    pub(super) fn next_unique(&self) -> u32 {
        self.next_unique.fetch_add(1, Ordering::Relaxed)
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &Dir {
        &self.directory
    }

    /// Sets the permission bits that a client may set, and returns them.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        let mode = mode & MODE_MASK;
        self.directory.set_permissions(real(path)?, Permissions::from_mode(mode))?;
        Ok(mode)
    }

    /// Sets the time of the last change.
    pub fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> io::Result<()> {
        let _sayable = real(path)?;
        let parent = self.directory.open_dir(real(&path.parent())?)?;
        let name = if path.is_root() { OsStr::new(".") } else { OsStr::from_bytes(path.name()) };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: timespec(modified),
        };
        // Not through a link: it could lead out.
        Ok(rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Flushes the directories in which these names are, so that what was made, renamed or removed there stays so after a
    /// power failure.
    pub fn flush_names(&self, paths: &[&VirtualPath], durability: Durability) -> io::Result<()> {
        if durability == Durability::Cached {
            return Ok(());
        }
        let mut parents: Vec<VirtualPath> = paths.iter().map(|path| path.parent()).collect();
        parents.dedup();
        for parent in parents {
            match self.directory.open_dir(real(&parent)?) {
                Ok(directory) => flush_directory(open_directory(&directory)?.as_ref())?,
                // It went away meanwhile, and the name with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Flushes the attributes of a file or directory, as far as the server may open it.
    pub fn flush_attributes(&self, path: &VirtualPath, durability: Durability) -> io::Result<()> {
        if durability == Durability::Cached {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        options.read(true).custom_flags(flags.bits().cast_signed());
        match self.directory.open_with(real(path)?, &options) {
            Ok(file) => flush_directory(Some(&file.into_std())),
            Err(_) => Ok(()),
        }
    }

    /// Opens without waiting for whoever is at the other end of a pipe, and refuses what is no regular file.
    fn open_regular(
        &self,
        path: &VirtualPath,
        options: &mut OpenOptions,
    ) -> io::Result<(File, Entry)> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
        let file = self.directory.open_with(real(path)?, options)?;
        let entry = entry(path.name().to_vec(), &file.metadata()?);
        match entry.kind {
            Kind::File => Ok((file.into_std(), entry)),
            Kind::Directory => Err(Errno::ISDIR.into()),
            Kind::Link | Kind::Other => Err(Errno::NXIO.into()),
        }
    }
}

/// A directory being listed.
#[derive(Debug)]
pub struct Directory {
    names: OwnedFd,
    path: VirtualPath,
    /// The entry that was looked at last, whose room is used again.
    entry: Entry,
    surroundings: Surroundings,
}

impl Directory {
    /// The rights to the names in it.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        self.surroundings
    }

    /// Looks at some more names, a few hundred at most, and gives the entries of those that are `wanted` to `take`; `true`
    /// when there are no more.
    pub fn read_some(
        &mut self,
        root: &Root,
        wanted: impl Fn(&[u8]) -> bool,
        mut take: impl FnMut(&Entry),
    ) -> io::Result<bool> {
        let Self { names, path, entry, .. } = self;
        let mut buffer = [const { MaybeUninit::uninit() }; NAMES_BYTES];
        let mut found = RawDir::new(&*names, &mut buffer);
        let mut looked = 0_usize;
        while let Some(name) = found.next().transpose()? {
            let name = name.file_name();
            let bytes = name.to_bytes();
            let shows = !matches!(bytes, b"." | b"..") && !may_be_reserved(bytes) && wanted(bytes);
            if shows && look_at(root, names, path, name, entry) {
                take(entry);
            }
            looked += 1;
            // A small directory is done at once: only the next read tells that it was the whole.
            if looked >= NAMES_FEW && found.is_buffer_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Tells that the file system of a directory takes no change.
fn is_read_only(directory: &Dir) -> bool {
    rustix::fs::fstatvfs(directory)
        .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Looks at a name in a directory; `false` if it has vanished meanwhile.
fn look_at(
    root: &Root,
    within: &OwnedFd,
    path: &VirtualPath,
    name: &CStr,
    into: &mut Entry,
) -> bool {
    let Ok(stat) = statat(within, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let path = path.join(name.to_bytes()).ok();
        let target = path.and_then(|path| root.directory.metadata(real(&path).ok()?).ok());
        if let Some(target) = target {
            *into = Entry { linked: true, ..entry(name.to_bytes().to_vec(), &target) };
            return true;
        }
    }
    let mut space = std::mem::take(&mut into.name);
    space.clear();
    space.extend_from_slice(name.to_bytes());
    *into = entry_of(space, &stat);
    true
}

/// The real path of a virtual one, relative to the root's directory.
///
/// # Errors
/// Permission denied, when the path has a name that is ours (see `reserved_names`).
pub(super) fn real(path: &VirtualPath) -> io::Result<&Path> {
    match path.beneath_root() {
        b"" => Ok(Path::new(".")),
        path if path.split(|byte| *byte == b'/').any(may_be_reserved) => Err(Errno::ACCESS.into()),
        path => Ok(Path::new(OsStr::from_bytes(path))),
    }
}

/// The size of a file in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Nanoseconds count forward, before 1970 as well.
fn timespec(time: Timestamp) -> Timespec {
    let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
    let borrow = i64::from(nanosecond < 0);
    Timespec { tv_sec: second - borrow, tv_nsec: i64::from(nanosecond) + borrow * 1_000_000_000 }
}

pub(super) fn entry(name: Vec<u8>, metadata: &Metadata) -> Entry {
    let kind = if metadata.is_file() {
        Kind::File
    } else if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    };
    let nanosecond = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Entry {
        name,
        kind,
        size: metadata.len(),
        modified: Timestamp::new(metadata.mtime(), nanosecond).unwrap_or_default(),
        mode: metadata.mode() & 0o7777,
        links: metadata.nlink(),
        identity: (metadata.dev(), metadata.ino()),
        owner: metadata.uid(),
        group: metadata.gid(),
        linked: false,
    }
}

/// The same from the system's own words: a directory of 100,000 entries is looked at as often.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    clippy::useless_conversion,
    reason = "types differ by architecture"
)]
fn entry_of(name: Vec<u8>, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    let nanosecond = i32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Entry {
        name,
        kind,
        size: size(stat),
        modified: Timestamp::new(stat.st_mtime as i64, nanosecond).unwrap_or_default(),
        mode: stat.st_mode & 0o7777,
        links: u64::from(stat.st_nlink),
        identity: (stat.st_dev, stat.st_ino),
        owner: stat.st_uid,
        group: stat.st_gid,
        linked: false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::storage::{Durability, Owner, Start, Terms, Unable, Upload};

    const TERMS: Terms = Terms { owner: Owner(1), durability: Durability::Cached };

    fn root() -> (TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    fn path(name: &str) -> VirtualPath {
        VirtualPath::root().join(name.as_bytes()).unwrap()
    }

    fn listed(root: &Root, path: &VirtualPath) -> Vec<Entry> {
        let (mut directory, mut entries) = (root.list(path).unwrap(), Vec::new());
        while !directory.read_some(root, |_| true, |entry| entries.push(entry.clone())).unwrap() {}
        entries
    }

    #[test]
    fn a_directory_of_many_buffers_is_listed_once_and_whole() {
        let (directory, root) = root();
        let names = (0..1000).map(|number| format!("a-name-that-takes-some-room-{number:04}"));
        let names: Vec<String> = names.collect();
        for name in &names {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let mut found: Vec<String> = listed(&root, &VirtualPath::root())
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, names);
    }

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_inside_works() {
        let (directory, root) = root();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        fs::write(directory.path().join("inside"), "y").unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        symlink(outside.path(), directory.path().join("out")).unwrap();
        symlink("../../..", directory.path().join("up")).unwrap();
        symlink("../inside", directory.path().join("sub/in")).unwrap();
        for name in ["out/secret", "up/etc/passwd"] {
            assert!(root.read(&path(name)).is_err(), "{name}");
            assert!(Upload::begin(&root, &path(name), Start::Overwrite, TERMS).is_err(), "{name}");
            assert!(root.rename(&path("inside"), &path(name), true).is_err(), "{name}");
            assert!(root.set_modified(&path(name), Timestamp::UNIX_EPOCH).is_err(), "{name}");
        }
        assert!(root.list(&path("out")).is_err());
        assert_eq!(root.look(&path("out")).unwrap().kind, Kind::Link);
        assert_eq!(root.read(&path("sub/in")).unwrap().1.size, 1);
        let found = listed(&root, &path("sub"));
        assert!(matches!(found.as_slice(), [entry] if entry.kind == Kind::File));
    }

    #[test]
    fn a_pipe_is_refused_at_once_to_readers_and_writers() {
        let (directory, root) = root();
        let made = std::process::Command::new("mkfifo")
            .arg(directory.path().join("pipe"))
            .status()
            .unwrap();
        assert!(made.success());
        assert_eq!(
            root.read(&path("pipe")).unwrap_err().raw_os_error(),
            Some(Errno::NXIO.raw_os_error())
        );
        assert!(matches!(
            Upload::begin(&root, &path("pipe"), Start::End, TERMS),
            Err(Unable::Io(error)) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
        ));
    }

    #[test]
    fn no_mode_gives_more_than_a_client_may_give() {
        let (directory, root) = root();
        fs::write(directory.path().join("a"), "x").unwrap();
        root.set_mode(&path("a"), 0o7777).unwrap();
        assert_eq!(
            fs::metadata(directory.path().join("a")).unwrap().permissions().mode() & 0o7777,
            0o775
        );
    }

    #[test]
    fn names_that_are_not_utf_8_are_served_byte_for_byte() {
        let (directory, root) = root();
        let name = b"\xFF\xFE \xE9\"\\*";
        fs::write(directory.path().join(OsStr::from_bytes(name)), "x").unwrap();
        let found = listed(&root, &VirtualPath::root());
        assert!(matches!(found.as_slice(), [entry] if entry.name == name));
        root.remove(&VirtualPath::root().join(name).unwrap()).unwrap();
    }
}
