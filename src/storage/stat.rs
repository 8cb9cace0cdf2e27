//! The attributes of files: size, times, identity, and the entry that a listing shows.

use cap_std::fs::{Metadata, MetadataExt};
use jiff::Timestamp;
use rustix::fs::{FileType, Stat, Timespec};

use crate::ftp::listing::{Entry, Kind};

/// Returns the size of a file in bytes.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Converts a time for the kernel, whose nanoseconds count forward, even before 1970.
pub(super) fn timespec(time: Timestamp) -> Timespec {
    let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
    let borrow = i64::from(nanosecond < 0);
    Timespec { tv_sec: second - borrow, tv_nsec: i64::from(nanosecond) + borrow * 1_000_000_000 }
}

/// Returns the entry of a file with this name.
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
        link: None,
    }
}

/// Builds an entry directly from a stat, because a listing of 100,000 entries calls this as often.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    clippy::useless_conversion,
    reason = "types differ by architecture"
)]
pub(super) fn entry_of(name: Vec<u8>, stat: &Stat) -> Entry {
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
        link: None,
    }
}

/// The state of a file at one moment: another file, or this file after a change, is not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        let (device, inode) = (stat.st_dev, stat.st_ino);
        Self { device, inode, size: size(stat), modified: modified(stat) }
    }

    /// Encodes the state; equal states have equal bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { device, inode, size, modified: (second, nanosecond) } = self;
        format!("{device} {inode} {size} {second} {nanosecond}").into_bytes()
    }
}

/// Returns the time of the last change, in seconds and nanoseconds.
#[expect(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    reason = "types differ by architecture"
)]
pub(super) fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime as i64, stat.st_mtime_nsec as i64)
}
