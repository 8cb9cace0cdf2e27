//! Reserved file names in the directories that are served: no listing shows them, and no client can name them.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::ftp::checksum::digits;

/// The beginning of every reserved name. Clients are refused any name that begins so.
const PREFIX: &[u8] = b".poolftpd-";
/// A partial upload of `NAME` is called `.poolftpd-part.NAME`.
const PART: Kind = Kind { prefix: b".poolftpd-part.", long: b".poolftpd-long." };
/// Where a file of that name stands already, `.poolftpd-over.STATE.NAME`: when the file changes, the partial is void.
const OVER: &[u8] = b".poolftpd-over.";
/// The record of a partial: how much of it has reached the disk.
const RECORD: &[u8] = b".poolftpd-kept.";
/// An upload that is written under a name of its own.
const OWN: &[u8] = b".poolftpd-up.";
/// An append that is about to be written to `NAME`: no other may begin meanwhile.
const APPEND: Kind = Kind { prefix: b".poolftpd-append.", long: b".poolftpd-append-long." };
/// An append that is written to `NAME` now, and is repeated after a crash.
const REDO: Kind = Kind { prefix: b".poolftpd-redo.", long: b".poolftpd-redo-long." };

/// The longest file name that Linux allows, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The beginning of a reserved name, and the one for names that are too long for it: their hash stands for them.
struct Kind {
    prefix: &'static [u8],
    long: &'static [u8],
}

impl Kind {
    fn of(&self, name: &[u8]) -> OsString {
        named(self.prefix, self.long, name)
    }
}

/// Tells a name that a client must neither use nor see: every one that a file system might take for a reserved name.
///
/// SECURITY: some compare names without regard to case (ext4 with `casefold`, CIFS, vfat), and some of these pass over
/// characters that nobody sees. What is ours by its exact name alone is told by [`is_reserved`]: only that is ever removed.
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

/// Tells a character that Unicode says is not shown (`Default_Ignorable_Code_Point`).
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

/// Returns whether a name is reserved.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Returns whether a file of this name is a note about another, which no quota counts.
pub(super) fn is_record(name: &[u8]) -> bool {
    name.starts_with(RECORD)
}

/// Returns whether a file of this name is an append that is written, or was when the server died.
pub(super) fn is_redo(name: &[u8]) -> bool {
    name.starts_with(REDO.prefix) || name.starts_with(REDO.long)
}

/// The name of a partial upload, where no file stands under the final name.
pub(super) fn part_of(name: &[u8]) -> OsString {
    PART.of(name)
}

/// The same where a file stands under the final name, in this state.
pub(super) fn part_over(name: &[u8], state: &[u8]) -> OsString {
    let state = Sha256::digest(state);
    let state = digits(state.first_chunk::<8>().unwrap_or(&[0; 8]));
    named(&[OVER, state.as_bytes(), b"."].concat(), PART.long, name)
}

/// The name of the record of a partial.
pub(super) fn record_of(part: &[u8]) -> OsString {
    let hash = Sha256::digest(part);
    let hash = digits(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
    OsString::from_vec([RECORD, hash.as_bytes()].concat())
}

/// The name of an append to this file that is about to be written.
pub(super) fn append_to(name: &[u8]) -> OsString {
    APPEND.of(name)
}

/// The name of an append to this file that is written now.
pub(super) fn redo_of(name: &[u8]) -> OsString {
    REDO.of(name)
}

/// A name for a new upload. It is random: other servers may write in the same directory.
pub(super) fn own() -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // The keys of each are drawn from the system's random numbers.
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
