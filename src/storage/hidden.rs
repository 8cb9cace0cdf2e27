//! Names of our own in the directories that are served: no listing shows them, and no client can say them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sha2::{Digest, Sha256};

use crate::ftp::checksum::digits;

/// How every such name begins. Clients are refused any name that begins so.
const PREFIX: &[u8] = b".poolftpd-";
/// What is kept of an upload of `NAME` is called `.poolftpd-part.NAME`.
const PART: &[u8] = b".poolftpd-part.";
/// Where a file of that name stands already, `.poolftpd-over.STATE.NAME`: when that changes, what is kept counts no more.
const OVER: &[u8] = b".poolftpd-over.";
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

/// What is kept of an upload of this name is called so, where nothing stands under the name.
pub(super) fn part_of(name: &[u8]) -> OsString {
    named(PART, name)
}

/// The same where something stands under the name, in this state.
pub(super) fn part_over(name: &[u8], state: &[u8]) -> OsString {
    let state = Sha256::digest(state);
    let state = digits(state.first_chunk::<8>().unwrap_or(&[0; 8]));
    named(&[OVER, state.as_bytes(), b"."].concat(), name)
}

fn named(prefix: &[u8], name: &[u8]) -> OsString {
    let whole = [prefix, name].concat();
    if whole.len() <= NAME_BYTES_MAX {
        OsString::from_vec(whole)
    } else {
        OsString::from_vec([LONG, digits(&Sha256::digest(whole)).as_bytes()].concat())
    }
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
            let over = part_over(&one, b"old");
            assert!(over.len() <= NAME_BYTES_MAX && is_hidden(over.as_encoded_bytes()));
            assert!(
                over != part
                    && over != part_over(&one, b"new")
                    && over != part_over(&other, b"old")
            );
        }
        assert!(!is_hidden(b".hidden") && is_hidden(beside(7).as_encoded_bytes()));
    }
}
