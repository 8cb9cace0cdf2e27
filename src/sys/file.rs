//! Operations on files: allowed access, renames that replace nothing, reserved space, the time of birth, extended attributes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::buffer::spare_capacity;
pub(crate) use rustix::fs::{Access, RawDir};
use rustix::fs::{AtFlags, FallocateFlags, RenameFlags, StatxFlags, XattrFlags, fallocate, statx};
use rustix::io::Errno;

/// The maximum length of a list of extended attributes, and of a value, that is copied, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 4 * 1024;

/// Renames a file to a name that must be free. If the file system cannot enforce that, the name is looked up first.
pub(crate) fn rename_new(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
) -> io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        renamed => return Ok(renamed?),
    }
    match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if the kernel allows the process this access to a name in a directory; `None` if it does not say, as
/// for a name that has vanished, or before Linux 5.8.
pub(crate) fn allows(directory: BorrowedFd<'_>, name: &[u8], access: Access) -> Option<bool> {
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::accessat(directory, OsStr::from_bytes(name), access, flags) {
        Ok(()) => Some(true),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Some(false),
        Err(_) => None,
    }
}

/// Reserves the space of a range of a file, without changing its length.
pub(crate) fn reserve(file: &File, offset: u64, bytes: u64) -> rustix::io::Result<()> {
    fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes)
}

/// Returns the inode of a file and, if the file system has it, the time of birth, in seconds and nanoseconds.
pub(crate) fn birth(file: &File) -> io::Result<(u64, (i64, u32))> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    Ok((found.stx_ino, (found.stx_btime.tv_sec, found.stx_btime.tv_nsec)))
}

/// Copies extended attributes, including access control lists, as far as the process may.
pub(crate) fn copy_attributes(from: &File, to: &File) {
    let mut names = Vec::with_capacity(ATTRIBUTE_BYTES_MAX);
    let Ok(_) = rustix::fs::flistxattr(from, spare_capacity(&mut names)) else { return };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(ATTRIBUTE_BYTES_MAX);
        if rustix::fs::fgetxattr(from, name, spare_capacity(&mut value)).is_ok() {
            // The process may not set the attributes of the system's security modules.
            let _set = rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty());
        }
    }
}
