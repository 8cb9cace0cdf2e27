//! Entries as a client read them, and the outcome of one line.

use jiff::Timestamp;

use super::kind::Kind;

/// One entry, as a client read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// The kind, if the line shows it.
    pub kind: Option<Kind>,
    /// The size in bytes, if the line has it.
    pub size: Option<u64>,
    /// The time of its last modification, if the line has it. LIST has no seconds, often no year, and an unknown time
    /// zone.
    pub modified: Option<Timestamp>,
    /// The permission bits, if the line has them (`UNIX.mode`, or the letters of `ls -l`).
    pub mode: Option<u32>,
    /// The target of a symbolic link, if the line has it.
    pub target: Option<Vec<u8>>,
    /// The unique fact, if the line has it: equal for two names of one file or directory (RFC 3659 §7.5.2).
    pub unique: Option<Vec<u8>>,
}

impl Listed {
    /// Creates an entry of which only the name is known.
    #[must_use]
    pub fn named(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            kind: None,
            size: None,
            modified: None,
            mode: None,
            target: None,
            unique: None,
        }
    }

    /// Creates an entry of a kind, without size and time.
    pub(super) fn of_kind(name: &[u8], kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::named(name) }
    }
}

/// A directory, as a client read it from a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its entries, without `.` and `..`.
    pub entries: Vec<Listed>,
    /// Lines that could not be read.
    pub unread: Vec<Vec<u8>>,
    /// The unique fact of the directory itself, if the listing has it.
    pub unique: Option<Vec<u8>>,
}

impl Directory {
    /// Adds the outcome of a line.
    pub(super) fn add(&mut self, line: &[u8], outcome: Reading) {
        match outcome {
            Reading::Entry(entry) if matches!(entry.name.as_slice(), b"." | b"..") => {}
            Reading::Entry(entry) if !entry.name.is_empty() => self.entries.push(entry),
            Reading::Noise => {}
            Reading::Itself(unique) => self.unique = unique,
            Reading::Entry(_) | Reading::Unknown => self.unread.push(line.to_vec()),
        }
    }
}

/// Outcome of one line.
#[derive(Debug)]
pub(super) enum Reading {
    /// It describes an entry.
    Entry(Listed),
    /// It describes none: a heading, a total, the parent of the directory.
    Noise,
    /// It describes the directory itself; its unique fact, if it has one.
    Itself(Option<Vec<u8>>),
    /// Its form is unknown.
    Unknown,
}

impl From<Option<Listed>> for Reading {
    fn from(entry: Option<Listed>) -> Self {
        entry.map_or(Self::Unknown, Self::Entry)
    }
}
