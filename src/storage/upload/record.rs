//! The record of a partial upload: its flushed length and its owner.
//!
//! After a power failure, or when a mount fails, the size of a file does not show which of its bytes are valid. File
//! systems record a size before the data, and a resumed upload would continue behind zeros. So only the flushed length
//! of a partial counts. The record is a small file beside the partial, because not every file system has extended
//! attributes.
//!
//! Invariant: a record on the disk never exceeds the length of its partial on the disk. It is written after the flush.
//! It is lowered and flushed before bytes that it covers are overwritten.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::storage::durability::Durability;
use crate::storage::reserved_names::record_of;
use crate::sys::birth;

/// The mode of a record: only the server reads it.
const RECORD_MODE: Mode = Mode::from_raw_mode(0o600);

/// The maximum length of a record that is read, in bytes.
const RECORD_BYTES_MAX: usize = 256;

/// A hash of a user and the client's address, which identifies the owner of a partial upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner(pub u64);

/// The record of a partial upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct PartRecord {
    /// The number of bytes, from the beginning, that have reached the disk.
    pub(in crate::storage) flushed: u64,
    /// The client that sent these bytes.
    pub(in crate::storage) owner: Owner,
}

impl PartRecord {
    /// Writes the record of a partial with this name; flushes it if `durability` requires that.
    pub(super) fn write(
        self,
        directory: &Dir,
        part: &OsStr,
        file: &File,
        durability: Durability,
    ) -> io::Result<()> {
        let name = record_of(part.as_bytes());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let record: File = rustix::fs::openat(directory, &name, flags, RECORD_MODE)?.into();
        record.write_all_at(self.encode(file)?.as_bytes(), 0)?;
        if durability == Durability::Flushed {
            record.sync_data()?;
        }
        Ok(())
    }

    /// Reads the record of a partial with this name; `None` if it is missing or belongs to another file.
    pub(in crate::storage) fn read(directory: &Dir, part: &OsStr, file: &File) -> Option<Self> {
        let name = record_of(part.as_bytes());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let record: File = rustix::fs::openat(directory, &name, flags, Mode::empty()).ok()?.into();
        let mut bytes = [0; RECORD_BYTES_MAX];
        let count = record.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..count)?).ok()?;
        Self::parse(text, &identity(file).ok()?)
    }

    /// Encodes the record in a fixed length, so that a new record overwrites the old one completely.
    fn encode(self, file: &File) -> io::Result<String> {
        let Self { flushed, owner: Owner(owner) } = self;
        let text = format!("poolftpd 1 {flushed:020} {owner:016x} {}", identity(file)?);
        let sum = crc32fast::hash(text.as_bytes());
        Ok(format!("{text} {sum:08x}\n"))
    }

    fn parse(text: &str, identity: &str) -> Option<Self> {
        let (text, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(text.as_bytes()) {
            return None;
        }
        let rest = text.strip_suffix(identity)?.strip_prefix("poolftpd 1 ")?;
        let (flushed, owner) = rest.trim_end().split_once(' ')?;
        let owner = Owner(u64::from_str_radix(owner, 16).ok()?);
        Some(Self { flushed: flushed.parse().ok()?, owner })
    }

    /// Removes the record of a partial with this name, if it exists.
    pub(in crate::storage) fn remove(directory: &Dir, part: &OsStr) {
        // A record that stays belongs to a file that is gone, and is swept when it is old.
        let _removed =
            rustix::fs::unlinkat(directory, record_of(part.as_bytes()), AtFlags::empty());
    }
}

/// Returns the inode and, if the file system has it, the time of birth, because an inode number may be used again.
pub(super) fn identity(file: &File) -> io::Result<String> {
    let (inode, (seconds, nanoseconds)) = birth(file)?;
    Ok(format!("{inode:020} {seconds:020}.{nanoseconds:09}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_for_its_own_file_alone_and_only_whole() {
        let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let record = PartRecord { flushed: u64::MAX, owner: Owner(7) };
        let text = record.encode(&file).unwrap();
        assert!(text.len() <= RECORD_BYTES_MAX);
        let identity = |file| identity(file).unwrap();
        assert_eq!(PartRecord::parse(&text, &identity(&file)), Some(record));
        assert_eq!(PartRecord::parse(&text, &identity(&other)), None);
        for length in 0..text.len() {
            assert_eq!(PartRecord::parse(&text[..length], &identity(&file)), None);
        }
        let shorter = PartRecord { flushed: 0, owner: Owner(0) }.encode(&file).unwrap();
        assert_eq!(shorter.len(), text.len());
    }
}
