//! Renames that replace nothing.

use std::ffi::OsStr;
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

/// Renames a file to a name that must be free. If the file system cannot enforce that, the name is looked up first.
pub(super) fn rename_new(directory: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    rename_new_at((directory, from), (directory, to))
}

/// Renames a file from one directory to another, to a name that must be free; see [`rename_new`].
pub(in crate::storage) fn rename_new_at(
    from: (&Dir, &OsStr),
    to: (&Dir, &OsStr),
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
