//! Reserved file names in the served directories: listings do not show them, and clients cannot use them.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::ftp::checksum::digits;

/// The prefix of every reserved name. Clients are refused any name with this prefix.
const PREFIX: &[u8] = b".poolftpd-";
/// A partial upload of `NAME`: `.poolftpd-part.NAME`.
const PART: Kind = Kind { prefix: b".poolftpd-part.", long: b".poolftpd-long." };
/// A partial upload of `NAME` if a file has that name: `.poolftpd-over.STATE.NAME`. When the file changes, the partial
/// is void.
const OVER: &[u8] = b".poolftpd-over.";
/// The record of a partial: the length that has reached the disk.
const RECORD: &[u8] = b".poolftpd-kept.";
/// An upload that is written under a random name.
const OWN: &[u8] = b".poolftpd-up.";
/// An append that is about to be written to `NAME`: no other append may begin meanwhile.
const APPEND: Kind = Kind { prefix: b".poolftpd-append.", long: b".poolftpd-append-long." };
/// An append that is being written to `NAME`, and is repeated after a crash.
const REDO: Kind = Kind { prefix: b".poolftpd-redo.", long: b".poolftpd-redo-long." };

/// The maximum length of a file name on Linux, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The prefix of a kind of reserved names, and the prefix for names that would be too long: these have a hash instead
/// of the name.
struct Kind {
    prefix: &'static [u8],
    long: &'static [u8],
}

impl Kind {
    fn of(&self, name: &[u8]) -> OsString {
        named(self.prefix, self.long, name)
    }
}

/// Returns true for a name that a client must neither use nor see: every name that a file system might take for a
/// reserved name.
///
/// SECURITY: some file systems compare names without regard to case (ext4 with `casefold`, CIFS, vfat), and some of
/// these ignore invisible characters. [`is_reserved`] matches only the exact prefix: only such files are ever removed.
pub(super) fn may_be_reserved(name: &[u8]) -> bool {
    let seen: Vec<u8>;
    let name = match str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => {
            seen = text.chars().filter(|letter| !is_ignorable(*letter)).collect::<String>().into();
            seen.as_slice()
        }
        _ => name,
    };
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Returns true for a character that Unicode defines as invisible (`Default_Ignorable_Code_Point`).
fn is_ignorable(letter: char) -> bool {
    matches!(
        letter,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFF8}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// Returns true if a name is reserved.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Returns true for the name of a record, which no quota counts.
pub(super) fn is_record(name: &[u8]) -> bool {
    name.starts_with(RECORD)
}

/// Returns true for the name of an append that is being written, or was when the server died.
pub(super) fn is_redo(name: &[u8]) -> bool {
    name.starts_with(REDO.prefix) || name.starts_with(REDO.long)
}

/// Returns the name of a partial upload if no file has the final name.
pub(super) fn part_of(name: &[u8]) -> OsString {
    PART.of(name)
}

/// Returns the name of a partial upload if a file in this state has the final name.
pub(super) fn part_over(name: &[u8], state: &[u8]) -> OsString {
    let state = Sha256::digest(state);
    let state = digits(state.first_chunk::<8>().unwrap_or(&[0; 8]));
    named(&[OVER, state.as_bytes(), b"."].concat(), PART.long, name)
}

/// Returns the name of the record of a partial.
pub(super) fn record_of(part: &[u8]) -> OsString {
    let hash = Sha256::digest(part);
    let hash = digits(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
    OsString::from_vec([RECORD, hash.as_bytes()].concat())
}

/// Returns the name of an append to this file that is about to be written.
pub(super) fn append_to(name: &[u8]) -> OsString {
    APPEND.of(name)
}

/// Returns the name of an append to this file that is being written.
pub(super) fn redo_of(name: &[u8]) -> OsString {
    REDO.of(name)
}

/// Returns a name for a new upload. It is random, because other servers may write in this directory.
pub(super) fn own() -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Each `RandomState` has keys from the system's random numbers.
    let [high, low] = [(); 2].map(|()| RandomState::new().hash_one(number));
    OsString::from_vec([OWN, format!("{high:016x}{low:016x}").as_bytes()].concat())
}

fn named(prefix: &[u8], long: &[u8], name: &[u8]) -> OsString {
    let whole = [prefix, name].concat();
    if whole.len() <= NAME_BYTES_MAX {
        OsString::from_vec(whole)
    } else {
        OsString::from_vec([long, digits(&Sha256::digest(whole)).as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_kind_of_name_is_reserved_distinct_and_short_enough_for_linux() {
        for length in [1, 230, 239, 240, 241, 255] {
            let (one, other) = (vec![b'x'; length], vec![b'y'; length]);
            let part = part_of(&one);
            let names = [
                part_over(&one, b"old"),
                part_over(&one, b"new"),
                part_over(&other, b"old"),
                part_of(&other),
                record_of(part.as_encoded_bytes()),
                append_to(&one),
                redo_of(&one),
                own(),
                own(),
                part,
            ];
            assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX));
            assert!(names.iter().all(|name| is_reserved(name.as_encoded_bytes())));
            assert_eq!(names.iter().filter(|name| is_redo(name.as_encoded_bytes())).count(), 1);
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
        assert!(!is_reserved(b".hidden"));
        assert!(
            !is_reserved(b".POOLFTPD-part.x"),
            "somebody else made that, and it is not removed"
        );
    }

    #[test]
    fn what_a_file_system_may_take_for_one_of_ours_may_be_reserved() {
        for name in [
            ".poolftpd-part.x",
            ".POOLFTPD-part.x",
            ".PoolFTPd-",
            ".pool\u{AD}ftpd-over.1.x",
            "\u{200B}.poolftpd-\u{FEFF}x",
        ] {
            assert!(may_be_reserved(name.as_bytes()), "{name:?}");
        }
        for name in
            [".poolftpd", "poolftpd-part.x", ".poolftpd_x", "x.poolftpd-", ".p\u{F6}olftpd-x", ""]
        {
            assert!(!may_be_reserved(name.as_bytes()), "{name:?}");
        }
        assert!(!may_be_reserved(b"\xFF.poolftpd-") && may_be_reserved(b".poolFTPD-\xFF"));
    }
}
