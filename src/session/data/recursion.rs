//! The directories that a recursive listing (`LIST -R`) has still to list, with bounds on depth, entries and memory.

use std::mem;

use crate::ftp::listing::{Entry, Kind};

/// Maximum depth of a recursive listing: number of directories below its start.
pub(super) const DEPTH_MAX: usize = 64;

/// Maximum number of entries in a recursive listing.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// Maximum number of bytes for the names of directories that wait to be listed.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// A recursive listing in progress. Paths are relative to its first directory.
#[derive(Debug, Default)]
pub(super) struct Recursion {
    /// The directory that is listed now.
    current: Vec<u8>,
    /// The directories found in it.
    found: Vec<Vec<u8>>,
    /// The directories still to be listed, the next one last.
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    entries: usize,
    /// Limits that were reached, and directories that could not be read.
    too_deep: bool,
    too_many: bool,
    unreadable: bool,
}

impl Recursion {
    /// Records an entry; returns `false` if the listing has the maximum number of entries.
    pub(super) fn admits(&mut self, entry: &Entry) -> bool {
        if self.entries >= ENTRIES_MAX {
            self.too_many = true;
            return false;
        }
        self.entries += 1;
        // SECURITY: a directory behind a link is listed only at its own place, so links cannot form loops.
        if entry.kind == Kind::Directory && entry.link.is_none() {
            self.note(&entry.name);
        }
        true
    }

    fn note(&mut self, name: &[u8]) {
        let path = match self.current.as_slice() {
            [] => name.to_vec(),
            current => [current, b"/", name].concat(),
        };
        if depth(&path) > DEPTH_MAX {
            self.too_deep = true;
        } else if self.waiting_bytes + path.len() > WAITING_BYTES_MAX {
            self.too_many = true;
        } else {
            self.waiting_bytes += path.len();
            self.found.push(path);
        }
    }

    /// Moves to the next directory: first those in the directory just listed, in order of names.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.entries >= ENTRIES_MAX {
            // More entries may follow, which are not read.
            self.too_many |= !(self.found.is_empty() && self.waiting.is_empty());
            return None;
        }
        let mut found = mem::take(&mut self.found);
        found.sort_unstable_by(|one, other| other.cmp(one));
        self.waiting.append(&mut found);
        self.current = self.waiting.pop()?;
        self.waiting_bytes -= self.current.len();
        Some(&self.current)
    }

    /// Records that the current directory cannot be read.
    pub(super) fn skip(&mut self) {
        self.unreadable = true;
    }

    /// Returns whether the listing has the maximum number of entries, and more exist.
    pub(super) fn is_full(&self) -> bool {
        self.too_many && self.entries >= ENTRIES_MAX
    }

    /// Returns a remark on missing entries, for the final reply.
    pub(super) fn remark(&self) -> Option<String> {
        let reasons = [
            (self.too_many, format!("more than {ENTRIES_MAX} entries")),
            (self.too_deep, format!("directories deeper than {DEPTH_MAX}")),
            (self.unreadable, "directories that cannot be read".to_owned()),
        ];
        let reasons: Vec<String> =
            reasons.into_iter().filter(|(is, _)| *is).map(|(_, reason)| reason).collect();
        (!reasons.is_empty()).then(|| format!("The listing is incomplete: {}.", reasons.join(", ")))
    }
}

/// Returns the number of directories below the start in a path.
fn depth(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn directory(name: &[u8]) -> Entry {
        Entry {
            name: name.to_vec(),
            kind: Kind::Directory,
            size: 0,
            modified: Timestamp::UNIX_EPOCH,
            mode: 0o755,
            links: 1,
            identity: (1, 1),
            owner: 0,
            group: 0,
            link: None,
        }
    }

    #[test]
    fn directories_come_in_order_of_names_each_before_its_siblings() {
        let mut recursion = Recursion::default();
        for name in [b"b", b"a"] {
            assert!(recursion.admits(&directory(name)));
        }
        assert!(recursion.admits(&Entry { link: Some(b"to".to_vec()), ..directory(b"link") }));
        assert_eq!(recursion.next(), Some(b"a".as_slice()));
        assert!(recursion.admits(&directory(b"x")));
        assert_eq!(recursion.next(), Some(b"a/x".as_slice()));
        assert_eq!(recursion.next(), Some(b"b".as_slice()));
        assert_eq!(recursion.next(), None);
        assert_eq!((recursion.waiting_bytes, recursion.remark()), (0, None));
    }

    #[test]
    fn depth_and_entries_are_bounded_and_the_remark_says_so() {
        let mut recursion = Recursion::default();
        let mut depth = 0;
        while recursion.admits(&directory(b"d")) && recursion.next().is_some() {
            depth += 1;
        }
        assert_eq!(depth, DEPTH_MAX);
        assert!(recursion.remark().unwrap().contains("deeper than 64"));
        let mut recursion = Recursion::default();
        let file = Entry { kind: Kind::File, ..directory(b"f") };
        assert!((0..ENTRIES_MAX).all(|_| recursion.admits(&file)));
        assert_eq!(recursion.next(), None);
        assert_eq!(recursion.remark(), None, "that was all");
        assert!(!recursion.admits(&file) && recursion.is_full());
        assert!(recursion.remark().unwrap().contains("more than 100000 entries"));
    }

    #[test]
    fn names_that_wait_take_bounded_memory() {
        let mut recursion = Recursion::default();
        for number in 0..ENTRIES_MAX {
            assert!(recursion.admits(&directory(format!("{number:0200}").as_bytes())));
        }
        assert!(recursion.waiting_bytes <= WAITING_BYTES_MAX && recursion.remark().is_some());
    }
}
