//! The lines of a directory for LIST, NLST, MLSD and STAT, created some entries at a time.
//!
//! For people (LIST, NLST, STAT), a directory of up to [`SORTED_ENTRIES_MAX`] entries is sorted by name. The further
//! entries of a larger directory, and every MLSD listing, come in the order of the file system (RFC 3659 §7 promises no
//! order). So memory stays bounded, and the first lines are sent at once.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::task::Poll;

use jiff::Timestamp;

use crate::ftp::VirtualPath;
use crate::ftp::command::{PathName, Selection};
use crate::ftp::listing::{Entry, Facts, Kind};
use crate::ftp::pattern::{is_pattern, matches};
use crate::ftp::time::Days;
use crate::ftp::verb::Permission;
use crate::pool::Job;
use crate::storage::{Files, Grants, Listing, Pending, Progress, Surroundings, Tree};

use crate::session::member::Member;
use crate::session::perm_fact::perm_fact;
use crate::session::refusal::Refusal;

use super::recursion::Recursion;

/// Number of entries that are gathered for sorting.
const SORTED_ENTRIES_MAX: usize = 2048;

/// Maximum number of gathered lines that one step writes.
const ENTRIES_PER_STEP_MAX: usize = 256;

/// Maximum number of reads of a directory in search of a match for a pattern with a backslash, before the 150.
const LOOKS_MAX: usize = 64;

/// The end of a line.
const LINE_END: &[u8] = b"\r\n";

/// The format of an entry.
#[derive(Debug, Clone, Copy)]
pub(in crate::session) enum Format {
    /// LIST: as `ls -l`.
    Long,
    /// NLST: names.
    Names,
    /// MLSD: facts.
    Facts(Facts),
}

/// A listing in progress: its directory, and the position in it.
#[derive(Debug)]
pub(in crate::session) struct Lister {
    source: Source,
    scribe: Scribe,
    hidden: bool,
    pattern: Option<Vec<u8>>,
    /// The tree that is listed.
    tree: Tree,
    /// `-R`: the directories still to be listed. `start` is the first directory, and `base` the prefix of the names in
    /// it.
    recursion: Option<Recursion>,
    start: VirtualPath,
    base: Vec<u8>,
    /// The line above a directory of a recursive listing, if it is still to be written.
    heading: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    /// Waits for a directory of a recursive listing to be opened.
    Opening(Job<Listing>),
    /// Gathers lines, to sort them.
    Gathering { directory: Listing, lines: Lines },
    /// Writes the gathered lines, then further entries as they are read: of a large directory, or for a program.
    Writing { lines: Lines, rest: Option<Listing> },
}

/// Lines, and the names by which they are sorted.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    places: VecDeque<Place>,
}

/// The positions of a line and of its name in the text.
#[derive(Debug)]
struct Place {
    line: Range<usize>,
    name: Range<usize>,
}

impl Lines {
    fn add(&mut self, scribe: &mut Scribe, entry: &Entry) {
        let begin = self.text.len();
        let behind_name = scribe.write(entry, &mut self.text);
        let line = begin..self.text.len();
        let end = line.end.saturating_sub(behind_name);
        self.places.push_back(Place { name: end.saturating_sub(entry.name.len())..end, line });
    }

    fn sort(&mut self) {
        let name = |place: &Place| self.text.get(place.name.clone());
        self.places.make_contiguous().sort_unstable_by(|one, other| name(one).cmp(&name(other)));
    }

    /// Appends the next lines, at most `most`.
    fn take(&mut self, most: usize, out: &mut Vec<u8>) {
        for place in self.places.drain(..most.min(self.places.len())) {
            out.extend_from_slice(self.text.get(place.line).unwrap_or_default());
        }
    }
}

/// Writes entries as lines.
#[derive(Debug)]
struct Scribe {
    format: Format,
    /// NLST: the prefix of each name, so that the line can be used as a path (RFC 1123 §4.1.2.7).
    prefix: Vec<u8>,
    now: Timestamp,
    days: Days,
    /// The permissions to the entries of the directory that is listed.
    grants: Option<Grants>,
    /// The server's rights in the directory that is listed.
    surroundings: Surroundings,
    /// A buffer for the `perm` fact.
    perm: String,
}

impl Scribe {
    fn new(format: Format) -> Self {
        Self {
            format,
            prefix: Vec::new(),
            now: Timestamp::now(),
            days: Days::default(),
            grants: None,
            surroundings: Surroundings::default(),
            perm: String::new(),
        }
    }

    /// Appends the line of an entry, and returns the number of bytes behind its name.
    fn write(&mut self, entry: &Entry, out: &mut Vec<u8>) -> usize {
        match self.format {
            Format::Long => return entry.list_line(self.now, &mut self.days, out),
            Format::Names => {
                out.extend_from_slice(&self.prefix);
                entry.name_line(out);
            }
            Format::Facts(facts) => {
                self.perm.clear();
                if let Some(grants) = &self.grants {
                    perm_fact(grants.of(entry), entry, &self.surroundings, &mut self.perm);
                }
                entry.facts(facts, &self.perm, &entry.name, &mut self.days, out);
                out.extend_from_slice(LINE_END);
            }
        }
        LINE_END.len()
    }
}

impl Lister {
    /// Opens a directory, a file, or the entries that match a pattern.
    pub(in crate::session) fn open(
        member: &Member,
        files: &Files<'_>,
        selection: &Selection,
        format: Format,
    ) -> Result<Self, Refusal> {
        let path = member.resolve_or_here(files, selection.path.as_ref())?;
        files.permit(&path, Permission::List)?;
        let given = selection.path.as_ref().map_or(b"".as_slice(), |PathName(path)| path);
        let mut lister = Self {
            source: Source::Writing { lines: Lines::default(), rest: None },
            scribe: Scribe::new(format),
            hidden: selection.hidden,
            pattern: None,
            tree: member.tree.clone(),
            recursion: (selection.recursive && !selection.itself).then(Recursion::default),
            start: path.clone(),
            base: with_slash(given),
            heading: Vec::new(),
        };
        match files.stat(&path) {
            Ok(entry) if entry.kind == Kind::Directory && !selection.itself => {
                lister.scribe.prefix.clone_from(&lister.base);
                lister.read(files.list(&path)?);
                lister.begin_recursion(given);
            }
            Ok(mut entry) => {
                entry.name = if given.is_empty() { b".".to_vec() } else { given.to_vec() };
                let mut lines = Lines::default();
                lines.add(&mut lister.scribe, &entry);
                lister.source = Source::Writing { lines, rest: None };
                lister.recursion = None;
            }
            Err(error) if is_pattern(path.name()) => {
                let directory = given.strip_suffix(b"/").unwrap_or(given);
                let slash =
                    directory.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                lister.base = directory.get(..slash).unwrap_or_default().to_vec();
                lister.scribe.prefix.clone_from(&lister.base);
                lister.hidden |= path.name().starts_with(b".");
                lister.pattern = Some(path.name().to_vec());
                lister.start = path.parent();
                // A Windows path: an empty listing would claim that the directory is empty.
                if path.name().contains(&b'\\') && !lister.finds_any(files)? {
                    return Err(error.into());
                }
                lister.read(files.list(&path.parent())?);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(lister)
    }

    /// MLSD: opens a directory and nothing else (RFC 3659 §7.2).
    pub(in crate::session) fn open_directory(
        member: &Member,
        files: &Files<'_>,
        path: Option<PathName>,
        facts: Facts,
    ) -> Result<Self, Refusal> {
        let at = member.resolve_or_here(files, path.as_ref())?;
        if files.stat(&at)?.kind != Kind::Directory {
            return Err(Refusal::MachineListOfFile);
        }
        Self::open(
            member,
            files,
            &Selection { hidden: true, path, ..Selection::default() },
            Format::Facts(facts),
        )
    }

    /// Makes a directory the source of the lines.
    fn read(&mut self, directory: Listing) {
        let lines = Lines::default();
        self.scribe.surroundings = directory.surroundings();
        self.scribe.grants = Some(directory.grants());
        self.source = match self.scribe.format {
            Format::Facts(_) => Source::Writing { lines, rest: Some(directory) },
            Format::Long | Format::Names => Source::Gathering { directory, lines },
        };
    }

    /// Returns whether a name in the directory matches the pattern. Reads only the beginning of a very large directory,
    /// and assumes a match if it finds none there.
    fn finds_any(&mut self, files: &Files<'_>) -> io::Result<bool> {
        let mut directory = files.list(&self.start)?;
        let (mut found, mut progress) = (false, Progress::More);
        for _ in 0..LOOKS_MAX {
            progress = self.read_some(&mut directory, |_, _| found = true)?;
            if found || progress != Progress::More {
                break;
            }
        }
        Ok(found || progress != Progress::End)
    }

    /// Sets the heading of the first directory of a recursive listing.
    fn begin_recursion(&mut self, given: &[u8]) {
        if self.recursion.is_none() || !matches!(self.scribe.format, Format::Long) {
            return;
        }
        let name = match given.strip_suffix(b"/").unwrap_or(given) {
            b"" if given.is_empty() => b".".as_slice(),
            b"" => b"/",
            name => name,
        };
        if matches!(name, b".") {
            // `ls` names the directories in the current one like this.
            self.base = b"./".to_vec();
        }
        self.heading = [name, b":", LINE_END].concat();
    }

    /// Continues with the next directory of a recursive listing; returns `false` if there is none.
    fn next_directory(&mut self) -> bool {
        let Some(recursion) = &mut self.recursion else { return false };
        let Some(below) = recursion.next() else { return false };
        let name = [self.base.as_slice(), below].concat();
        let path = self.start.join(below);
        self.pattern = None;
        match self.scribe.format {
            Format::Names => self.scribe.prefix = with_slash(&name),
            Format::Long | Format::Facts(_) => {
                self.heading = [LINE_END, &name, b":", LINE_END].concat();
            }
        }
        let Ok(path) = path else {
            self.end_opening(Err(io::ErrorKind::InvalidFilename.into()));
            return true;
        };
        match self.tree.look(move |files| files.list(&path)) {
            Pending::Done(opened) => self.end_opening(opened),
            Pending::Later(job) => self.source = Source::Opening(job),
        }
        true
    }

    /// Begins with the lines of a directory of a recursive listing, if it could be opened.
    fn end_opening(&mut self, opened: io::Result<Listing>) {
        if let Ok(directory) = opened {
            self.read(directory);
        } else {
            self.heading.clear();
            self.note_unreadable();
        }
    }

    /// Returns the descriptor to wait for, if there are no lines yet.
    pub(in crate::session) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Opening(job) => Some(job.descriptor()),
            Source::Gathering { directory, .. } => directory.awaited(),
            Source::Writing { rest, .. } => rest.as_ref()?.awaited(),
        }
    }

    fn note_unreadable(&mut self) {
        if let Some(recursion) = &mut self.recursion {
            recursion.skip();
        }
    }

    /// Returns a remark on missing entries, for the final reply.
    pub(in crate::session) fn remark(&self) -> Option<String> {
        self.recursion.as_ref().and_then(Recursion::remark)
    }

    /// Appends the next lines to `out`.
    pub(in crate::session) fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<Progress> {
        if !matches!(self.source, Source::Opening(_)) {
            out.append(&mut self.heading);
        }
        match self.fill_directory(out)? {
            Progress::End if self.next_directory() => Ok(Progress::More),
            progress => Ok(progress),
        }
    }

    /// Appends the next lines of the current directory.
    fn fill_directory(&mut self, out: &mut Vec<u8>) -> io::Result<Progress> {
        let placeholder = Source::Writing { lines: Lines::default(), rest: None };
        match mem::replace(&mut self.source, placeholder) {
            Source::Opening(job) => {
                let Poll::Ready(opened) = job.outcome() else {
                    self.source = Source::Opening(job);
                    return Ok(Progress::Wait);
                };
                self.end_opening(opened);
                Ok(Progress::More)
            }
            Source::Gathering { mut directory, mut lines } => {
                let progress =
                    self.read_some(&mut directory, |scribe, entry| lines.add(scribe, entry))?;
                if progress != Progress::End && lines.places.len() < SORTED_ENTRIES_MAX {
                    self.source = Source::Gathering { directory, lines };
                    return Ok(progress);
                }
                lines.sort();
                let rest = (progress != Progress::End).then_some(directory);
                self.source = Source::Writing { lines, rest };
                // A small directory is written in the step that has read it.
                self.fill_directory(out)
            }
            Source::Writing { mut lines, rest } => {
                lines.take(ENTRIES_PER_STEP_MAX, out);
                if !lines.places.is_empty() {
                    self.source = Source::Writing { lines, rest };
                    return Ok(Progress::More);
                }
                let Some(mut directory) = rest else { return Ok(Progress::End) };
                let progress = self.read_some(&mut directory, |scribe, entry| {
                    scribe.write(entry, out);
                })?;
                let rest = (progress != Progress::End).then_some(directory);
                self.source = Source::Writing { lines: Lines::default(), rest };
                Ok(progress)
            }
        }
    }

    /// Reads some entries.
    fn read_some(
        &mut self,
        directory: &mut Listing,
        mut take: impl FnMut(&mut Scribe, &Entry),
    ) -> io::Result<Progress> {
        let (shows, scribe, recursion) = (
            Shown { hidden: self.hidden, pattern: self.pattern.as_deref() },
            &mut self.scribe,
            &mut self.recursion,
        );
        let progress = directory.next(
            |name| shows.shows(name),
            |entry| {
                if recursion.as_mut().is_none_or(|recursion| recursion.admits(entry)) {
                    take(scribe, entry);
                }
            },
        )?;
        let is_full = recursion.as_ref().is_some_and(Recursion::is_full);
        Ok(if is_full { Progress::End } else { progress })
    }
}

/// The names that a listing shows.
#[derive(Debug, Clone, Copy)]
struct Shown<'a> {
    hidden: bool,
    pattern: Option<&'a [u8]>,
}

impl Shown<'_> {
    fn shows(&self, name: &[u8]) -> bool {
        // No line can contain such a name, and no command could name it.
        let speakable = !name.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        let fits = self.pattern.is_none_or(|pattern| matches(pattern, name));
        speakable && fits && (self.hidden || !name.starts_with(b"."))
    }
}

fn with_slash(directory: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => Vec::new(),
        path if path.ends_with(b"/") => path.to_vec(),
        path => [path, b"/"].concat(),
    }
}
