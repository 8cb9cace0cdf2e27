//! The mark of a part: it distinguishes the files of an incomplete download from files that were downloaded.
//!
//! SECURITY: `NAME.part` and `NAME.part.id` are ordinary file names, which a server can serve. Without a mark, `f.part` and `f.part.id` of
//! one server, fetched by `mget`, would be a part of another server's `f`, with bytes that the first server has chosen.
//! So both files of a part carry a mark that no download has: the sticky bit. It is metadata of the file itself, so
//! neither content nor a name can forge it. Its owner may set it on every file system that keeps Unix modes (fewer
//! support extended attributes and birth times), and it stays when a directory is moved. A download gets at most the
//! nine permission bits with its final name. Some file systems cannot hold the mark (FAT, some network and FUSE file
//! systems); the client tests this on the file itself. There a part is resumed only when a checksum of the server
//! proves it ([`super::part::Found::Unproven`]).

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The mark of both files of a part: the sticky bit.
pub(super) const MARK: u32 = 0o1000;

/// The permission bits of a complete file.
pub(super) const PERMISSIONS: u32 = 0o777;

/// The mode of a new part and of its identity, before the umask.
pub(super) const NEW_MODE: u32 = MARK | 0o666;

/// Returns true if the file has the mark.
pub(super) fn is_marked(found: &fs::Metadata) -> bool {
    found.mode() & MARK != 0
}

pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

/// Length and mode of an open part, its mark, and the ability of its file system to hold one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) length: u64,
    pub(super) mode: u32,
    pub(super) is_marked: bool,
    pub(super) are_held: bool,
}

impl Marks {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let (length, mode, is_marked) = (found.len(), found.mode() & 0o7777, is_marked(&found));
        let mut are_held = is_marked;
        if !is_marked && set_mode(file, mode | MARK).is_ok() {
            // FAT accepts a mode that it does not keep.
            are_held = self::is_marked(&file.metadata()?);
            set_mode(file, mode)?;
        }
        Ok(Self { length, mode, is_marked, are_held })
    }
}
