//! The tree beneath one directory. Every file is opened strictly beneath this directory.
//!
//! SECURITY: `cap-std` resolves each path by `openat2` with `RESOLVE_BENEATH`. Neither `..` nor a symbolic link leads
//! out, whatever changes meanwhile. A relative symbolic link to a target within the tree works.
//!
//! Each public function that a client can cause asks first whether the client may: see [`Root::permit`]. A root without a
//! client, such as that of the sweep, may do everything. The checks are in `permit`.
//!
//! Files are written by `upload`. `partials` removes and renames files, because both also affect partial uploads. The
//! public functions of these three are the interface for another kind of storage: open at an offset to read or write,
//! stat, list, rename, remove.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, Timespec, Timestamps, UTIME_OMIT,
    accessat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::durability::{Durability, flush_directory, open_directory};
use super::mode::set_mode;
use super::mounts::Mounts;
use super::permissions::{Permissions as May, refuse_unless};
use super::quota::{Quota, Used};
use super::reserved_names::{is_record, may_be_reserved};
use super::rights::Surroundings;
use super::rules::Access as Allowed;
use super::stat::{entry, entry_of, timespec};
use crate::ftp::VirtualPath;
use crate::ftp::listing::{Entry, Kind};
use crate::ftp::verb::Permission;
use crate::sys::RawDir;

/// The reason why the sandbox closes a home, with the remedy.
const HOME_CLOSED: &str = "it came after the start and is closed to this process: restart the server, or start it with --allow DIR \
                           for a directory that has the homes of later users in it";

/// The mode of a directory that a client creates, before the umask.
const DIRECTORY_MODE: u32 = 0o775;
/// The mode bits that a client may set: no set-id, no sticky, no write by others.
const MODE_MASK: u32 = 0o775;
/// The size in bytes of the buffer for the names of a directory: some two hundred names.
const NAMES_BYTES: usize = 8 * 1024;

/// The number of names that are examined in one call even if they need more than one buffer, because that does not take
/// long.
const NAMES_FEW: usize = 100;

/// A directory that is served as `/`.
#[derive(Debug)]
pub struct Root {
    directory: Arc<Dir>,
    /// The device and inode numbers.
    identity: (u64, u64),
    /// The path of the root, to open it again when it has been replaced; `None` for a root that another process passed
    /// on.
    path: Option<PathBuf>,
    quota: Option<Quota>,
    /// The permissions of the client that uses this root.
    allowed: Arc<Allowed>,
    /// The directories that appear in the tree at another place.
    mounts: Mounts<Self>,
    /// The mode bits that new files and directories do not get; those of the process if `None`.
    umask: Option<u32>,
    /// The next number for the name of a STOU upload.
    next_unique: Arc<AtomicU32>,
}

impl Root {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it is missing, is not a directory, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { path: Some(path.to_owned()), ..Self::new(directory)? })
    }

    /// Creates the root from a directory that another process has opened and passed on.
    pub fn from_descriptor(directory: OwnedFd) -> io::Result<Self> {
        Self::new(Dir::from_std_file(directory.into()))
    }

    fn new(directory: Dir) -> io::Result<Self> {
        let next_unique = Arc::new(AtomicU32::new(1));
        let found = directory.dir_metadata()?;
        let identity = (found.dev(), found.ino());
        let directory = Arc::new(directory);
        let allowed = Arc::new(Allowed::everywhere(May::FULL));
        let mounts = Mounts::default();
        Ok(Self {
            directory,
            identity,
            path: None,
            quota: None,
            allowed,
            mounts,
            umask: None,
            next_unique,
        })
    }

    /// Sets the permissions of the client that uses the root.
    pub(super) fn with_permissions(self, allowed: Arc<Allowed>) -> Self {
        Self { allowed, ..self }
    }

    /// Sets the directories that appear in the tree at another place.
    pub(super) fn with_mounts(self, mounts: Mounts<Self>) -> Self {
        Self { mounts, ..self }
    }

    /// Returns the permissions by directory.
    #[must_use]
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Returns the directories that appear in the tree at another place.
    pub(super) fn mounts(&self) -> &Mounts<Self> {
        &self.mounts
    }

    /// Adds a quota to the root.
    pub(super) fn with_quota(self, quota: Quota) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// Sets the umask of the root, in place of that of the process.
    pub(super) fn with_umask(self, umask: Option<u32>) -> Self {
        Self { umask, ..self }
    }

    /// Returns the umask of the root, if it has one of its own.
    pub(super) fn umask(&self) -> Option<u32> {
        self.umask
    }

    /// Returns the quota of the root.
    pub(super) fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// Returns the path of the root, if it is known.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Returns the path of a file on this machine, if that of the root is known.
    #[must_use]
    pub fn real_path(&self, path: &VirtualPath) -> Option<PathBuf> {
        if let Some((root, path)) = self.mounted(path) {
            return root.real_path(&path);
        }
        Some(self.path.as_ref()?.join(real(path).ok()?))
    }

    /// Returns the number of the device that has the root.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.identity.0
    }

    /// Returns the device and inode numbers of the root.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Opens the directory that has the root's path now, if it is another one: the root was replaced, or removed and
    /// created again.
    pub(super) fn replacement(&self) -> Option<Self> {
        let path = self.path.as_ref()?;
        // Each login calls this, so it costs one system call if nothing has changed.
        let found = rustix::fs::stat(path).ok()?;
        if (found.st_dev, found.st_ino) == self.identity { None } else { Self::open(path).ok() }
    }

    /// Clones the root without the quota and the umask. Both share one descriptor.
    pub(super) fn again(&self) -> Self {
        Self {
            directory: Arc::clone(&self.directory),
            identity: self.identity,
            path: self.path.clone(),
            quota: None,
            umask: None,
            allowed: Arc::clone(&self.allowed),
            mounts: self.mounts.clone(),
            next_unique: Arc::clone(&self.next_unique),
        }
    }

    /// Counts the bytes and inodes beneath the root.
    pub(super) fn measure(&self) -> Used {
        let mut used = Used::default();
        let mut waiting = vec![PathBuf::from(".")];
        while let Some(path) = waiting.pop() {
            // Entries that vanish meanwhile, or cannot be read, are not counted.
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

    /// Returns a descriptor of the root's directory, to be passed to another process.
    pub fn to_descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.directory.try_clone()?.into_std_file().into())
    }

    /// Opens a regular file for reading; returns it with its size in bytes.
    pub(super) fn read(&self, path: &VirtualPath) -> io::Result<(File, u64)> {
        if let Some((root, path)) = self.mounted(path) {
            return root.read(&path);
        }
        self.permit(path, Permission::Read)?;
        self.recover_append(path);
        let mut options = OpenOptions::new();
        options.read(true);
        let (file, entry) = self.open_regular(path, &mut options)?;
        Ok((file, entry.size))
    }

    /// Returns the entry of a file or directory, whatever the client may do there. A symbolic link to a target within
    /// the root is followed.
    pub fn look(&self, path: &VirtualPath) -> io::Result<Entry> {
        if let Some((root, path)) = self.mounted(path) {
            return root.look(&path);
        }
        self.recover_append(path);
        let real = real(path)?;
        let found = self.directory.metadata(real);
        let metadata = match found {
            Err(error) => self.directory.symlink_metadata(real).map_err(|_| error)?,
            found => found?,
        };
        Ok(entry(path.name().to_vec(), &metadata))
    }

    /// Checks that the root can be read at all.
    pub fn probe(&self) -> io::Result<()> {
        self.directory.entries().map(drop)
    }

    /// Checks that a client can read the root.
    ///
    /// # Errors
    /// A sentence with the remedy if the permissions of the directory allow reading and the sandbox does not; otherwise
    /// the error of the file system. A directory that may be entered but not read is not an error.
    pub fn reach(&self) -> io::Result<()> {
        match self.probe() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // The kernel checks only the permissions in this call, without Landlock.
                let rights = Access::READ_OK | Access::EXEC_OK;
                match accessat(&self.directory, ".", rights, AtFlags::EACCESS) {
                    Ok(()) => Err(io::Error::other(HOME_CLOSED)),
                    Err(_) => Ok(()),
                }
            }
            probed => probed,
        }
    }

    /// Checks that a directory may be entered; it need not be readable.
    pub fn enter(&self, path: &VirtualPath) -> io::Result<()> {
        if let Some((root, path)) = self.mounted(path) {
            return root.enter(&path);
        }
        refuse_unless(self.allowed.lets_enter(&self.resolved(path)?))?;
        self.directory.metadata(real(path)?.join(".")).map(drop)
    }

    /// Opens a directory to list some entries at a time.
    pub(super) fn list(&self, path: &VirtualPath) -> io::Result<Directory> {
        if let Some((root, inner)) = self.mounted(path) {
            let listed = root.list(&inner)?;
            // The whole tree has the directory below the place of the mount.
            let place = self.mounts.place(path).map_or(b"".as_slice(), VirtualPath::as_bytes);
            let whole = [place, b"/", listed.resolved.beneath_root()].concat();
            let resolved = VirtualPath::root().join(&whole).map_err(|_| Errno::NAMETOOLONG)?;
            return Ok(Directory { resolved, inside: Some(root.again()), ..listed });
        }
        let resolved = self.resolved(path)?;
        refuse_unless(self.allowed.at(&resolved).allow(Permission::List))?;
        let directory = self.directory.open_dir(real(path)?)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let names = Arc::new(openat(&directory, ".", flags, Mode::empty())?);
        let entry = entry(Vec::new(), &directory.dir_metadata()?);
        let surroundings = Surroundings::within(&entry, is_read_only(&directory));
        let surroundings = surroundings.opened(Arc::clone(&names));
        let mounts = self.mounts.within(path).filter_map(|(name, root)| {
            Some(Entry { name: name.to_vec(), ..root.look(&VirtualPath::root()).ok()? })
        });
        let mounts = mounts.collect();
        Ok(Directory {
            names,
            path: path.clone(),
            resolved,
            entry,
            surroundings,
            mounts,
            inside: None,
            owes_mounts: true,
        })
    }

    /// Returns the rights to the names in the directory of a path; no rights for the root itself.
    pub fn surroundings(&self, path: &VirtualPath) -> io::Result<Surroundings> {
        if let Some((root, path)) = self.mounted(path) {
            return root.surroundings(&path);
        }
        if path.is_root() {
            return Ok(Surroundings::default());
        }
        let parent = path.parent();
        let parent = real(&parent)?;
        let entry = entry(Vec::new(), &self.directory.metadata(parent)?);
        // A directory that may be written but not read cannot be opened.
        let Ok(opened) = self.directory.open_dir(parent) else {
            return Ok(Surroundings::within(&entry, false));
        };
        let surroundings = Surroundings::within(&entry, is_read_only(&opened));
        Ok(surroundings.opened(Arc::new(opened.into_std_file().into())))
    }

    /// Returns the number of bytes that can still be stored in a directory, or beside a file.
    pub fn available(&self, path: &VirtualPath) -> io::Result<u64> {
        if let Some((root, path)) = self.mounted(path) {
            return root.available(&path);
        }
        self.permit(path, Permission::Create)?;
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

    /// Creates a directory.
    pub fn make_directory(&self, path: &VirtualPath) -> io::Result<()> {
        if let Some((root, path)) = self.mounted(path) {
            return root.make_directory(&path);
        }
        self.permit_name(path, Permission::MakeDirectory)?;
        let real = real(path)?;
        let mut builder = DirBuilder::new();
        let mode = DIRECTORY_MODE & !self.umask.unwrap_or_default();
        builder.mode(mode);
        let make = || self.directory.create_dir_with(real, &builder);
        match &self.quota {
            None => make()?,
            Some(quota) => {
                let _names = quota.lock_names();
                quota.take_file()?;
                make().inspect_err(|_| quota.give_back(0, 1))?;
            }
        }
        if self.umask.is_some() {
            // The umask of the process may have taken more. If the mode cannot be changed, the directory is less open.
            let _changed = set_mode(&self.directory, real, mode);
        }
        Ok(())
    }

    /// Returns the directory in which a file of this path is written, and its name there. A symbolic link is followed.
    pub(super) fn place(&self, path: &VirtualPath) -> io::Result<(Dir, OsString)> {
        let path = real(path)?;
        let leads_on = self.directory.symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let path = if leads_on { self.directory.canonicalize(path)? } else { path.to_owned() };
        let name = path.file_name().filter(|name| *name != ".").ok_or(Errno::ISDIR)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = self.directory.open_dir(parent.unwrap_or_else(|| Path::new(".")))?;
        Ok((directory, name.to_owned()))
    }

    /// Returns a number that no earlier upload had, for the name of a STOU upload.
    pub(super) fn next_unique(&self) -> u32 {
        self.next_unique.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the root's directory.
    pub(super) fn directory(&self) -> &Dir {
        &self.directory
    }

    /// Sets those of the permission bits that a client may set, and returns them.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        if let Some((root, path)) = self.mounted(path) {
            return root.set_mode(&path, mode);
        }
        self.permit(path, Permission::ChangeAttributes)?;
        let mode = mode & MODE_MASK;
        set_mode(&self.directory, real(path)?, mode)?;
        Ok(mode)
    }

    /// Sets the modification time of a file or directory. Returns the time that the file system has stored, to the second.
    pub fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> io::Result<Timestamp> {
        if let Some((root, path)) = self.mounted(path) {
            return root.set_modified(&path, modified);
        }
        let _sayable = real(path)?;
        self.permit(path, Permission::ChangeAttributes)?;
        let parent = self.directory.open_dir(real(&path.parent())?)?;
        let name = if path.is_root() { OsStr::new(".") } else { OsStr::from_bytes(path.name()) };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: timespec(modified),
        };
        // A link is not followed, because it could lead out.
        rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Timestamp::from_second(found.st_mtime).unwrap_or(modified))
    }

    /// Flushes the directories of these names, so that created, renamed and removed names survive a power failure.
    pub fn flush_names(&self, paths: &[&VirtualPath], durability: Durability) -> io::Result<()> {
        if durability == Durability::Cached {
            return Ok(());
        }
        let mut parents: Vec<VirtualPath> = paths.iter().map(|path| path.parent()).collect();
        parents.dedup();
        for parent in parents {
            let opened = match self.mounted(&parent) {
                Some((root, parent)) => root.directory.open_dir(real(&parent)?),
                None => self.directory.open_dir(real(&parent)?),
            };
            match opened {
                Ok(directory) => flush_directory(open_directory(&directory)?.as_ref())?,
                // The directory was removed meanwhile, and the name with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Flushes the attributes of a file or directory, if the server may open it.
    pub fn flush_attributes(&self, path: &VirtualPath, durability: Durability) -> io::Result<()> {
        if let Some((root, path)) = self.mounted(path) {
            return root.flush_attributes(&path, durability);
        }
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

    /// Opens a regular file, and refuses other kinds. The open does not wait for the other end of a pipe.
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

/// A directory that is being listed.
#[derive(Debug)]
pub(super) struct Directory {
    names: Arc<OwnedFd>,
    path: VirtualPath,
    /// The path without links.
    resolved: VirtualPath,
    /// The last entry, whose buffer is reused.
    entry: Entry,
    surroundings: Surroundings,
    /// The mounts in the directory, which hide real entries of their names.
    mounts: Vec<Entry>,
    /// The root of the mount that has the directory.
    inside: Option<Root>,
    /// True until the mounts have been listed.
    owes_mounts: bool,
}

impl Directory {
    /// Returns the rights to the names in the directory.
    #[must_use]
    pub(super) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }

    /// Returns the path without links.
    #[must_use]
    pub(super) fn resolved(&self) -> &VirtualPath {
        &self.resolved
    }

    /// Examines more names, at most a few hundred, and passes the entries of those that are `wanted` to `take`. Returns
    /// `true` when there are no more names.
    pub(super) fn read_some(
        &mut self,
        root: &Root,
        wanted: impl Fn(&[u8]) -> bool,
        mut take: impl FnMut(&Entry),
    ) -> io::Result<bool> {
        if std::mem::take(&mut self.owes_mounts) {
            self.mounts.iter().filter(|mount| wanted(&mount.name)).for_each(&mut take);
        }
        let Self { names, path, entry, mounts, inside, .. } = self;
        let root = inside.as_ref().unwrap_or(root);
        let mut buffer = [const { MaybeUninit::uninit() }; NAMES_BYTES];
        let mut found = RawDir::new(&**names, &mut buffer);
        let mut looked = 0_usize;
        while let Some(name) = found.next().transpose()? {
            let name = name.file_name();
            let bytes = name.to_bytes();
            let is_hidden = mounts.iter().any(|mount| mount.name == bytes);
            let shows = !matches!(bytes, b"." | b"..")
                && !may_be_reserved(bytes)
                && !is_hidden
                && wanted(bytes);
            if shows && look_at(root, names, path, name, entry) {
                take(entry);
            }
            looked += 1;
            // A small directory is read to its end in one call, because only the next read shows that no names are
            // left.
            if looked >= NAMES_FEW && found.is_buffer_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns true if the file system of a directory is read-only.
fn is_read_only(directory: &Dir) -> bool {
    rustix::fs::fstatvfs(directory)
        .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Stores the entry of a name in a directory in `into`; returns `false` if the name has vanished meanwhile.
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
            let link = readlinkat(within, name, Vec::new()).map(CString::into_bytes);
            let link = Some(link.unwrap_or_default());
            *into = Entry { link, ..entry(name.to_bytes().to_vec(), &target) };
            return true;
        }
    }
    let mut space = std::mem::take(&mut into.name);
    space.clear();
    space.extend_from_slice(name.to_bytes());
    *into = entry_of(space, &stat);
    true
}

/// Returns the real path of a virtual path, relative to the root's directory.
///
/// # Errors
/// Permission denied when the path has a reserved name (see `reserved_names`).
pub(super) fn real(path: &VirtualPath) -> io::Result<&Path> {
    match path.beneath_root() {
        b"" => Ok(Path::new(".")),
        path if path.split(|byte| *byte == b'/').any(may_be_reserved) => Err(Errno::ACCESS.into()),
        path => Ok(Path::new(OsStr::from_bytes(path))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::storage::upload::{Owner, Start, Terms, Upload, UploadError};

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
            assert!(root.rename(&path("inside"), &path(name)).is_err(), "{name}");
            assert!(root.set_modified(&path(name), Timestamp::UNIX_EPOCH).is_err(), "{name}");
        }
        assert!(root.list(&path("out")).is_err());
        assert_eq!(root.look(&path("out")).unwrap().kind, Kind::Link);
        assert_eq!(root.read(&path("sub/in")).unwrap().1, 1);
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
            Err(UploadError::Io(error)) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
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
