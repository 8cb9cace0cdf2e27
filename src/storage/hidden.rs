//! Names of our own in the directories that are served: no listing shows them, and no client can say them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sha2::{Digest, Sha256};

use crate::ftp::checksum::digits;

/// How every such name begins. Clients are refused any name that begins so.
const PREFIX: &[u8] = b".poolftpd-";
/// What is kept of an upload of `NAME` is called `.poolftpd-part.NAME`.
const PART: &[u8] = b".poolftpd-part.";
/// The same for a name that is too long to have that put before it: its hash stands for it.
const LONG: &[u8] = b".poolftpd-long.";
/// An upload beside one that has the name above.
const BESIDE: &[u8] = b".poolftpd-beside.";

/// The longest file name that Linux takes, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Whether a name is one of ours.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// What is kept of an upload of this name is called so.
pub(super) fn part_of(name: &[u8]) -> OsString {
    if PART.len() + name.len() <= NAME_BYTES_MAX {
        return OsString::from_vec([PART, name].concat());
    }
    OsString::from_vec([LONG, digits(&Sha256::digest(name)).as_bytes()].concat())
}

/// The name of an upload beside the one that is called [`part_of`].
pub(super) fn beside(number: u64) -> OsString {
    OsString::from_vec([BESIDE, format!("{}.{number}", std::process::id()).as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_a_hidden_name_of_its_own_that_linux_takes() {
        for length in [1, 239, 240, 241, 255] {
            let (one, other) = (vec![b'x'; length], vec![b'y'; length]);
            let part = part_of(&one);
            assert!(part.len() <= NAME_BYTES_MAX && is_hidden(part.as_encoded_bytes()));
            assert_ne!(part, part_of(&other));
        }
        assert!(!is_hidden(b".hidden") && is_hidden(beside(7).as_encoded_bytes()));
    }
}
