//! Walks through remote trees: directories are listed on several connections, with the next requests sent ahead.
//!
//! Links are not followed. Some servers show a link to a directory as a directory, so a walk does not enter a directory
//! that contains itself, as its unique fact (RFC 3659 §7.5.2) shows, and its depth and length are bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ftp::command::Command;
use crate::ftp::listing::{Directory, Kind as EntryKind, read_facts};

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::names::{about, is_directory, join, name, shown};
use super::parallel::{Event, Reporter, batches, run_jobs};

/// Maximum depth of a tree, in directories.
pub(super) const DEPTH_MAX: usize = 64;

/// Maximum number of directories that one walk lists: a server can show a tree that repeats itself.
pub(super) const DIRECTORIES_MAX: usize = 100_000;

/// Maximum number of directories that one connection lists ahead.
const LISTINGS_AHEAD: usize = 32;

/// A walk to make.
#[derive(Debug)]
pub(super) struct TreeWalk<'a> {
    /// Path of the top directory; empty for the current one.
    pub(super) root: &'a [u8],
    /// Maximum number of connections.
    pub(super) connections: usize,
    /// Asks for the kind of each entry whose listing does not show it.
    pub(super) asks_kinds: bool,
    /// Enters a directory only under the first of its names.
    pub(super) enters_once: bool,
}

/// A directory that is to be listed. Its path begins at the top directory.
#[derive(Debug)]
pub(super) struct Below {
    pub(super) path: Vec<u8>,
    /// Its unique fact, if the listing has it.
    pub(super) unique: Option<Vec<u8>>,
}

/// A directory that was listed.
#[derive(Debug)]
pub(super) struct Level {
    /// Its path from the top directory, which itself is empty.
    pub(super) path: Vec<u8>,
    pub(super) directory: Directory,
    /// Sizes and times are exact (MLSD).
    pub(super) is_exact: bool,
}

/// The receiver of a walk.
pub(super) trait TreeVisitor {
    /// Receives a directory, and returns those below it that are to be listed.
    fn listed(&mut self, level: Level) -> Vec<Below>;

    /// Receives the error of directories that are not listed.
    fn failed(&mut self, paths: &[Vec<u8>], error: ClientError);

    /// Receives the path of a directory that is listed under another name, and is therefore not listed again.
    fn repeated(&mut self, path: &[u8]);

    /// Receives a note for the user.
    fn note(&mut self, text: &str);
}

/// Directories for one connection, and the result of one of them.
type Directories = VecDeque<Vec<u8>>;
type ListedDirectory = (Vec<u8>, Result<Directory, ClientError>);

impl Client {
    /// Lists a tree, a directory before those below it. Continues after a directory that cannot be listed.
    ///
    /// # Errors
    /// When the top directory cannot be listed, the connection is lost for good, or the user interrupts.
    pub(super) fn walk_tree(
        &mut self,
        walk: &TreeWalk<'_>,
        visitor: &mut dyn TreeVisitor,
    ) -> Result<(), ClientError> {
        let directory = self.with_retries(&mut (), |client, ()| client.level(walk, walk.root))?;
        let is_exact = self.lists_exactly();
        let unique = match &directory.unique {
            None if directory
                .entries
                .iter()
                .any(|entry| is_directory(entry) && entry.unique.is_some()) =>
            {
                self.repeatable(|link| link.unique(walk.root))?
            }
            unique => unique.clone(),
        };
        let mut front = Front {
            visitor,
            is_exact,
            enters_once: walk.enters_once,
            uniques: BTreeMap::new(),
            entered: BTreeSet::new(),
            first_unique: None,
            are_unique: false,
            count: 0,
            waiting: Vec::new(),
        };
        if let Some(unique) = unique {
            front.enter(Vec::new(), unique);
        }
        front.add(Vec::new(), directory);
        let jobs = batches(&mut front.waiting, walk.connections, LISTINGS_AHEAD);
        let work = |client: &mut Self, job: &mut Directories, report: &Reporter<'_, _, _>| {
            list_all(client, walk, job, report)
        };
        run_jobs(self, walk.connections, jobs, work, |event, queue| match event {
            Event::Outcome((path, Ok(directory))) => {
                front.add(path, directory);
                if queue.is_empty() || front.waiting.len() >= LISTINGS_AHEAD {
                    queue.extend(batches(&mut front.waiting, walk.connections, LISTINGS_AHEAD));
                }
            }
            Event::Outcome((path, Err(error))) => front.visitor.failed(&[path], error),
            Event::Note(note) => front.visitor.note(&note),
            Event::Moved(_) => {}
        })
    }

    /// Returns a directory of a walk.
    fn level(&mut self, walk: &TreeWalk<'_>, path: &[u8]) -> Result<Directory, ClientError> {
        let mut directory = self.read_directory(path)?;
        if walk.asks_kinds {
            for entry in directory.entries.iter_mut().filter(|entry| entry.kind.is_none()) {
                let is_directory = self.is_directory(&join(path, &entry.name))?;
                entry.kind =
                    Some(if is_directory { EntryKind::Directory } else { EntryKind::File });
            }
        }
        Ok(directory)
    }
}

impl Link {
    /// Asks for the unique fact of a path (MLST); `None` if the server does not tell.
    fn unique(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        let at = if path.is_empty() { None } else { Some(name(path)?) };
        let reply =
            self.optional(|link| link.demand(Command::MachineList(at), &about("mlst", path)))?;
        let facts = reply.map(|reply| reply.lines().join(b"\n".as_slice())).unwrap_or_default();
        let found = read_facts(&facts);
        Ok(found.unique.or_else(|| found.entries.into_iter().find_map(|entry| entry.unique)))
    }
}

/// The state of a walk: the directories that are still to be listed.
struct Front<'a> {
    visitor: &'a mut dyn TreeVisitor,
    is_exact: bool,
    enters_once: bool,
    /// The unique facts of directories.
    uniques: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The same, without their paths.
    entered: BTreeSet<Vec<u8>>,
    first_unique: Option<Vec<u8>>,
    /// Two entries have had different facts: some servers send the same one for all.
    are_unique: bool,
    /// Number of directories that are listed, or are to be listed.
    count: usize,
    waiting: Vec<Vec<u8>>,
}

impl Front<'_> {
    /// Passes on a directory, and adds those below it.
    fn add(&mut self, path: Vec<u8>, directory: Directory) {
        let depth = if path.is_empty() { 0 } else { path.split(|byte| *byte == b'/').count() };
        let mut left_out = Vec::new();
        for unique in directory.entries.iter().filter_map(|entry| entry.unique.as_ref()) {
            self.are_unique |= self.first_unique.as_ref().is_some_and(|first| first != unique);
            self.first_unique.get_or_insert_with(|| unique.clone());
        }
        let level = Level { path, directory, is_exact: self.is_exact };
        for below in self.visitor.listed(level) {
            if below.unique.as_ref().is_some_and(|unique| self.is_repeated(&below.path, unique)) {
                self.visitor.repeated(&below.path);
            } else if depth >= DEPTH_MAX || self.count >= DIRECTORIES_MAX {
                left_out.push(below.path);
            } else {
                self.count += 1;
                if let Some(unique) = below.unique {
                    self.enter(below.path.clone(), unique);
                }
                self.waiting.push(below.path);
            }
        }
        if let Some(first) = left_out.first() {
            let why = if depth >= DEPTH_MAX { "too deep" } else { "too many directories" };
            let message = format!("{}: {why}", shown(first));
            self.visitor.failed(&left_out, ClientError::new(ErrorKind::Refused, message));
        }
    }

    fn enter(&mut self, path: Vec<u8>, unique: Vec<u8>) {
        self.entered.insert(unique.clone());
        self.first_unique.get_or_insert_with(|| unique.clone());
        self.uniques.insert(path, unique);
    }

    /// Returns true if a directory above this path has this unique fact, or any other where each is entered once.
    fn is_repeated(&self, path: &[u8], unique: &[u8]) -> bool {
        if !self.are_unique || (self.enters_once && self.entered.contains(unique)) {
            return self.are_unique;
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = std::iter::once(0).chain(slashes).filter_map(|end| path.get(..end));
        above.any(|path| self.uniques.get(path).is_some_and(|found| found == unique))
    }
}

/// Describes a directory that is not entered under another name.
pub(super) fn repeats(path: &[u8]) -> String {
    format!("{}: another name of a directory of this tree, skipped", shown(path))
}

/// Lists directories, and sends the requests for the next ones ahead.
fn list_all(
    client: &mut Client,
    walk: &TreeWalk<'_>,
    job: &mut Directories,
    report: &Reporter<'_, Directories, ListedDirectory>,
) -> Result<(), ClientError> {
    while let Some(directory) = job.front() {
        client.pipeline_listings(job.iter().map(|directory| join(walk.root, directory)));
        let path = join(walk.root, directory);
        let mut progress = report.progress(shown(&path));
        let listed = client.with_retries(&mut progress, |client, _| client.level(walk, &path));
        match listed {
            Err(error) if error.kind == ErrorKind::Interrupted || client.is_lost() => {
                return Err(error);
            }
            listed => report.outcome((directory.clone(), listed)),
        }
        job.pop_front();
    }
    Ok(())
}
