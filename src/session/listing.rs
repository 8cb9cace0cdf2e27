//! The lines of a directory, made some entries at a time, for LIST, NLST, MLSD and STAT.
//!
//! A directory of up to [`SORTED_ENTRIES_MAX`] entries is sorted by name. A larger one comes in the order of the file
//! system: memory stays bounded, and the first lines leave at once.

use std::collections::VecDeque;
use std::io;
use std::mem;

use jiff::Timestamp;

use crate::ftp::VirtualPath;
use crate::ftp::command::{PathName, Selection};
use crate::ftp::listing::{Entry, Facts, Kind};
use crate::ftp::pattern::{is_pattern, matches};
use crate::storage::{Directory, Found};

use super::login::Member;
use super::refusal::Refusal;

/// How many entries are kept to be sorted.
const SORTED_ENTRIES_MAX: usize = 2048;

/// How many entries one step looks at.
const ENTRIES_PER_STEP_MAX: usize = 256;

/// How each entry is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    /// LIST: as `ls -l`.
    Long,
    /// NLST: names.
    Names,
    /// MLSD.
    Facts(Facts),
}

/// What is to be listed, and how far it is.
#[derive(Debug)]
pub(super) struct Lister {
    source: Source,
    format: Format,
    /// What stands before each name in NLST, so that it can be used as a path (RFC 1123 §4.1.2.7).
    prefix: Vec<u8>,
    hidden: bool,
    pattern: Option<Vec<u8>>,
    now: Timestamp,
    /// Whose permissions the facts tell.
    member: Member,
}

#[derive(Debug)]
enum Source {
    /// Entries are collected, to be sorted.
    Gathering { directory: Directory, entries: Vec<Entry> },
    /// What was gathered goes out; then, of a large directory, the rest as it comes.
    Writing { entries: VecDeque<Entry>, rest: Option<Directory> },
}

impl Lister {
    /// A directory, a file, or the entries that match a pattern.
    pub(super) fn open(
        member: &Member,
        selection: &Selection,
        format: Format,
    ) -> Result<Self, Refusal> {
        let path = member.resolve_or_here(selection.path.as_ref())?;
        let given = selection.path.as_ref().map_or(b"".as_slice(), |PathName(path)| path);
        let mut lister = Self {
            source: Source::Writing { entries: VecDeque::new(), rest: None },
            format,
            prefix: Vec::new(),
            hidden: selection.hidden,
            pattern: None,
            now: Timestamp::now(),
            member: member.clone(),
        };
        match member.root().look(&path) {
            Ok(entry) if entry.kind == Kind::Directory && !selection.itself => {
                lister.prefix = with_slash(given);
                lister.gather(member, &path)?;
            }
            Ok(mut entry) => {
                entry.name = if given.is_empty() { b".".to_vec() } else { given.to_vec() };
                lister.source = Source::Writing { entries: [entry].into(), rest: None };
            }
            Err(_) if is_pattern(path.name()) => {
                let directory = given.strip_suffix(b"/").unwrap_or(given);
                let slash =
                    directory.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                lister.prefix = directory.get(..slash).unwrap_or_default().to_vec();
                lister.hidden |= path.name().starts_with(b".");
                lister.pattern = Some(path.name().to_vec());
                lister.gather(member, &path.parent())?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(lister)
    }

    /// MLSD: a directory and nothing else (RFC 3659 §7.2).
    pub(super) fn open_directory(
        member: &Member,
        path: Option<PathName>,
        facts: Facts,
    ) -> Result<Self, Refusal> {
        let at = member.resolve_or_here(path.as_ref())?;
        if member.root().look(&at)?.kind != Kind::Directory {
            return Err(Refusal::MachineListOfFile);
        }
        Self::open(
            member,
            &Selection { hidden: true, path, ..Selection::default() },
            Format::Facts(facts),
        )
    }

    fn gather(&mut self, member: &Member, path: &VirtualPath) -> io::Result<()> {
        self.source =
            Source::Gathering { directory: member.root().list(path)?, entries: Vec::new() };
        Ok(())
    }

    /// Appends the next lines to `out`; `true` when there are no more.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let placeholder = Source::Writing { entries: VecDeque::new(), rest: None };
        match mem::replace(&mut self.source, placeholder) {
            Source::Gathering { mut directory, mut entries } => {
                let ended = self.read_some(&mut directory, |entry| entries.push(entry))?;
                if ended || entries.len() >= SORTED_ENTRIES_MAX {
                    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
                    self.source = Source::Writing {
                        entries: entries.into(),
                        rest: (!ended).then_some(directory),
                    };
                    // A small directory goes out in the same step.
                    return self.fill(out);
                }
                self.source = Source::Gathering { directory, entries };
                Ok(false)
            }
            Source::Writing { mut entries, rest } => {
                for entry in entries.drain(..entries.len().min(ENTRIES_PER_STEP_MAX)) {
                    self.write(&entry, out);
                }
                let Some(mut directory) = rest else {
                    let ended = entries.is_empty();
                    self.source = Source::Writing { entries, rest: None };
                    return Ok(ended);
                };
                let ended = entries.is_empty()
                    && self.read_some(&mut directory, |entry| entries.push_back(entry))?;
                self.source = Source::Writing { entries, rest: (!ended).then_some(directory) };
                Ok(false)
            }
        }
    }

    /// Reads a bounded number of entries; `true` at the end of the directory.
    fn read_some(
        &self,
        directory: &mut Directory,
        mut take: impl FnMut(Entry),
    ) -> io::Result<bool> {
        for _ in 0..ENTRIES_PER_STEP_MAX {
            match directory.next(self.member.root(), |name| self.shows(name))? {
                Found::End => return Ok(true),
                Found::Entry(entry) => take(entry),
                Found::Hidden => {}
            }
        }
        Ok(false)
    }

    fn shows(&self, name: &[u8]) -> bool {
        // No line can carry such a name, and no command could name it.
        let speakable = !name.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        let fits = self.pattern.as_ref().is_none_or(|pattern| matches(pattern, name));
        speakable && fits && (self.hidden || !name.starts_with(b"."))
    }

    fn write(&self, entry: &Entry, out: &mut Vec<u8>) {
        match self.format {
            Format::Long => entry.list_line(self.now, out),
            Format::Names => {
                out.extend_from_slice(&self.prefix);
                entry.name_line(out);
            }
            Format::Facts(facts) => {
                entry.facts(
                    facts,
                    entry.type_fact(),
                    &self.member.perm_fact(entry),
                    &entry.name,
                    out,
                );
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

fn with_slash(directory: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => Vec::new(),
        path if path.ends_with(b"/") => path.to_vec(),
        path => [path, b"/"].concat(),
    }
}
