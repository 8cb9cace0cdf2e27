//! A model of a tree of files, local or remote, as a mirror compares it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

/// The time of a modification, with the precision of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The time.
    pub time: Timestamp,
    /// The precision in seconds: 1, a minute, or a day.
    pub precision: i64,
}

impl Stamp {
    /// A time that is known to the second.
    #[must_use]
    pub const fn exact(time: Timestamp) -> Self {
        Self { time, precision: 1 }
    }

    /// Compares two times with the precision of the coarser one.
    #[must_use]
    pub fn order(self, other: Self) -> std::cmp::Ordering {
        let unit = self.precision.max(other.precision).max(1);
        let rounded = |stamp: Self| stamp.time.as_second().div_euclid(unit);
        rounded(self).cmp(&rounded(other))
    }
}

/// Kind of an item, with what only this kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File {
        /// Size in bytes, if it is known.
        size: Option<u64>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// Its target, if it is known.
        target: Option<Vec<u8>>,
    },
    /// A device, socket or pipe, or an item that cannot be copied for another reason.
    Other,
}

impl ItemKind {
    /// Returns true if both are files, both are directories, and so on.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// Time of its last modification, if it is known.
    pub modified: Option<Stamp>,
    /// Its permission bits, if they are known.
    pub mode: Option<u32>,
}

/// The items below a directory, by their paths from there. The parts of a path are separated by `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// The items. A directory stands before all that it contains.
    pub(super) items: BTreeMap<Vec<u8>, Item>,
    /// Directories whose content is not fully known: their listing failed, or it has items that are left out. What
    /// seems to be missing in them may exist.
    pub(super) incomplete: BTreeSet<Vec<u8>>,
    /// Local files that are complete, but whose identities as downloads a kill has left beside them.
    pub(super) left_identities: Vec<PathBuf>,
}

impl Tree {
    /// Records that the content of a directory is not fully known.
    pub(super) fn mark_incomplete(&mut self, directory: &[u8]) {
        self.incomplete.insert(directory.to_vec());
    }

    /// Returns true if the content of the directory itself, or of one above it, is not fully known.
    #[must_use]
    pub(super) fn is_uncertain(&self, path: &[u8]) -> bool {
        !self.incomplete.is_empty()
            && directories_above(path).any(|directory| self.incomplete.contains(directory))
    }

    /// Returns the items of a directory and below, without the directory itself.
    pub(super) fn below<'a>(
        &'a self,
        directory: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Item)> {
        // `0` follows `/`, so the paths in the directory are those between the two.
        let (from, to) = ([directory, b"/"].concat(), [directory, b"0"].concat());
        self.items.range(from..to)
    }
}

/// Returns the path of the directory that contains an item; the directory of the tree itself is empty.
#[must_use]
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..slash)
}

/// Returns the paths of all directories that contain an item, up to the directory of the tree.
pub(super) fn directories_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |path| parent(path))
}
