//! The preparation of a mirror: both sides are scanned and compared, and the result is a plan.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};

use crate::client::batch::Direction;
use crate::client::checks::{Comparison, Whole};
use crate::client::connection::Client;
use crate::client::directory::unread;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{about, shown};
use crate::client::parallel::{Event, Reporter, run_jobs};
use crate::ftp::listing::{Directory, Kind as EntryKind};

use super::options::Mirror;
use super::plan::{MirrorAction, Plan, Rules, plan};
use super::report::MirrorEvent;
use super::scan::{DEPTH_MAX, Reading, Side, add_listing, local_path, scan_local};
use super::tree::{Item, ItemKind, Stamp, Tree, directories_above, join};

/// Maximum number of directories that a mirror lists: a server can show a tree that repeats itself.
const DIRECTORIES_MAX: usize = 100_000;

/// Maximum number of directories that one connection lists ahead.
const LISTINGS_AHEAD: usize = 32;

/// Maximum number of files that one connection asks about in a row.
const QUESTIONS_MAX: usize = 64;

/// Bits that new files do not get, where the system does not tell.
const USUAL_UMASK: u32 = 0o022;

/// A plan for a mirror, ready to be executed.
#[derive(Debug)]
pub struct MirrorPlan {
    pub(super) mirror: Mirror,
    pub(super) plan: Plan,
    /// Errors of the scan: what they are about is not part of the plan.
    pub(super) errors: Vec<ClientError>,
}

impl MirrorPlan {
    /// Returns the actions, in the order of their execution.
    #[must_use]
    pub fn actions(&self) -> &[MirrorAction] {
        &self.plan.actions
    }

    /// Returns the number of files and links that need no transfer.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.plan.unchanged
    }

    /// Returns the errors of the scan, and one for each item that cannot be copied.
    #[must_use]
    pub fn into_errors(self) -> Vec<ClientError> {
        let obstacles = self.obstacles();
        self.errors.into_iter().chain(obstacles).collect()
    }

    /// Returns an error for each item that cannot be copied.
    pub(in crate::client) fn obstacles(&self) -> Vec<ClientError> {
        let error = |(path, obstacle): &(Vec<u8>, _)| {
            ClientError::new(
                ErrorKind::Incomplete,
                format!("{}: not copied: {obstacle}", shown(path)),
            )
        };
        self.plan.obstacles.iter().map(error).collect()
    }
}

type Observer<'a> = &'a mut dyn FnMut(&MirrorEvent<'_>);

impl Client {
    /// Compares both sides of a mirror, and returns the actions that make the copy like its source. Changes nothing.
    ///
    /// # Errors
    /// When the source cannot be read at all. Other errors become part of the report of [`Self::run_mirror`].
    pub fn plan_mirror(
        &mut self,
        mirror: &Mirror,
        observe: Observer<'_>,
    ) -> Result<MirrorPlan, ClientError> {
        let is_download = mirror.direction == Direction::Download;
        let (local_side, remote_side) =
            if is_download { (Side::Target, Side::Source) } else { (Side::Source, Side::Target) };
        if !is_download {
            // A source that does not exist must not look like an empty one.
            fs::read_dir(&mirror.local)
                .map_err(|error| ClientError::local(&mirror.local, &error))?;
        }
        let (mut remote, mut errors) = self.scan_remote(mirror, remote_side, observe)?;
        let (local, failed) = scan_local(&mirror.local, local_side, &mirror.filter);
        errors.extend(failed);
        let compared = self.ask_about_files(mirror, &mut remote, &local, observe)?;
        let (wanted, found) = if is_download { (remote, local) } else { (local, remote) };
        if mirror.delete && wanted.items.is_empty() && !found.items.is_empty() {
            let what = "the source is empty; nothing is removed";
            return Err(ClientError::new(ErrorKind::Refused, what));
        }
        let sets_times = self.features().is_some_and(|features| features.set_modified);
        let rules = Rules {
            delete: mirror.delete,
            only_newer: mirror.only_newer,
            keeps_no_times: !is_download && !sets_times,
            directory_times: is_download,
            no_links: !is_download,
            compared,
        };
        Ok(MirrorPlan { mirror: mirror.clone(), plan: plan(&wanted, &found, &rules), errors })
    }

    /// Lists the remote tree, several directories at once.
    fn scan_remote(
        &mut self,
        mirror: &Mirror,
        side: Side,
        observe: Observer<'_>,
    ) -> Result<(Tree, Vec<ClientError>), ClientError> {
        let (mut tree, mut errors) = (Tree::default(), Vec::new());
        let root = match self.with_retries(&mut (), |client, ()| client.level(&mirror.remote)) {
            Ok(root) => root,
            // The target of an upload may not exist yet.
            Err(error) if side == Side::Target && error.is_refused_for_good() => {
                return Ok((tree, errors));
            }
            Err(error) => return Err(error),
        };
        let is_exact = self.lists_exactly();
        let reading = Reading { filter: &mirror.filter, is_exact, side, umask: umask() };
        errors.extend(note_unread(&mut tree, &mirror.remote, b"", &root));
        let mut waiting = add_listing(&mut tree, b"", root.entries, &reading);
        let mut listed = waiting.len();
        let jobs = batches(&mut waiting, mirror.connections);
        let work = |client: &mut Self, job: &mut Directories, report: &Reporter<'_, _, _>| {
            list_all(client, &mirror.remote, job, report)
        };
        run_jobs(self, mirror.connections, jobs, work, |event, queue| match event {
            Event::Outcome((directory, Ok(level))) => {
                errors.extend(note_unread(&mut tree, &mirror.remote, &directory, &level));
                let below = add_listing(&mut tree, &directory, level.entries, &reading);
                let depth = directories_above(&directory).count() + 1;
                let left = DIRECTORIES_MAX.saturating_sub(listed);
                if !below.is_empty() && (depth > DEPTH_MAX || left < below.len()) {
                    let why = if depth > DEPTH_MAX { "too deep" } else { "too many directories" };
                    let message = format!("{}: {why}", shown(&directory));
                    errors.push(ClientError::new(ErrorKind::Refused, message));
                    for path in &below {
                        tree.mark_incomplete(path);
                    }
                } else {
                    listed += below.len();
                    waiting.extend(below);
                }
                if queue.is_empty() || waiting.len() >= LISTINGS_AHEAD {
                    queue.extend(batches(&mut waiting, mirror.connections));
                }
                observe(&MirrorEvent::Scanned(tree.items.len()));
            }
            Event::Outcome((directory, Err(error))) => {
                tree.mark_incomplete(&directory);
                errors.push(error);
            }
            Event::Note(note) => observe(&MirrorEvent::Note(&note)),
            Event::Moved(_) => {}
        })?;
        Ok((tree, errors))
    }

    /// Asks the server about files whose listing does not show whether they differ: their checksums, or their exact
    /// times. Corrects the times in the tree, and returns the results of the comparisons.
    fn ask_about_files(
        &mut self,
        mirror: &Mirror,
        remote: &mut Tree,
        local: &Tree,
        observe: Observer<'_>,
    ) -> Result<BTreeMap<Vec<u8>, bool>, ClientError> {
        let mut compared = BTreeMap::new();
        if mirror.everything {
            let files = |(path, item): (&Vec<u8>, &Item)| {
                matches!(item.kind, ItemKind::File { .. }).then(|| (path.clone(), false))
            };
            return Ok(local.items.iter().filter_map(files).collect());
        }
        let mut files: Vec<(Vec<u8>, u64)> = Vec::new();
        for (path, item) in &remote.items {
            let Some(other) = local.items.get(path) else { continue };
            let (ItemKind::File { size: Some(one) }, ItemKind::File { size: Some(two) }) =
                (&item.kind, &other.kind)
            else {
                continue;
            };
            let is_unclear = mirror.checksum
                || item.modified.zip(other.modified).is_some_and(|(remote, local)| {
                    remote.precision > 1 && remote.order(local).is_ne()
                });
            if one == two && is_unclear {
                files.push((path.clone(), *one));
            }
        }
        let jobs = batches(&mut files, mirror.connections);
        let work = |client: &mut Self, job: &mut Files, report: &Reporter<'_, _, _>| {
            ask_all(client, mirror, job, report)
        };
        let mut failed = None;
        run_jobs(self, mirror.connections, jobs, work, |event, _| match event {
            Event::Outcome((path, Ok(Answer::Compared(is_same)))) => {
                compared.insert(path, is_same);
            }
            Event::Outcome((path, Ok(Answer::Modified(stamp)))) => {
                if let Some(item) = remote.items.get_mut(&path) {
                    item.modified = Some(stamp);
                }
            }
            Event::Outcome((_, Err(error))) => failed = Some(error),
            Event::Note(note) => observe(&MirrorEvent::Note(&note)),
            Event::Moved(_) => {}
        })?;
        failed.map_or(Ok(compared), Err)
    }
}

/// Directories to list, and the result of one of them.
type Directories = VecDeque<Vec<u8>>;
type ListedDirectory = (Vec<u8>, Result<Directory, ClientError>);

/// Files to ask about, with their sizes, and the result of one of them.
type Files = VecDeque<(Vec<u8>, u64)>;
type Answered = (Vec<u8>, Result<Answer, ClientError>);

/// Lists directories, and sends the requests for the next ones ahead.
fn list_all(
    client: &mut Client,
    root: &[u8],
    job: &mut Directories,
    report: &Reporter<'_, Directories, ListedDirectory>,
) -> Result<(), ClientError> {
    while let Some(directory) = job.front() {
        client.pipeline_listings(job.iter().map(|directory| join(root, directory)));
        let path = join(root, directory);
        let mut progress = report.progress(shown(&path));
        let listed = client.with_retries(&mut progress, |client, _| client.level(&path));
        if let Err(error) = listed {
            if error.kind == ErrorKind::Interrupted || client.is_lost() {
                return Err(error);
            }
            report.outcome((directory.clone(), Err(error)));
        } else {
            report.outcome((directory.clone(), listed));
        }
        job.pop_front();
    }
    Ok(())
}

/// Answer about a file.
enum Answer {
    /// Result of the comparison of the checksums.
    Compared(bool),
    /// The exact time.
    Modified(Stamp),
}

fn ask_all(
    client: &mut Client,
    mirror: &Mirror,
    job: &mut Files,
    report: &Reporter<'_, Files, Answered>,
) -> Result<(), ClientError> {
    while let Some((path, size)) = job.front() {
        let remote = join(&mirror.remote, path);
        let mut progress = report.progress(shown(&remote));
        let answer = client.with_retries(&mut progress, |client, _| {
            if mirror.checksum {
                client.compare(mirror, path, *size)
            } else {
                client.exact_time(&remote)
            }
        });
        match answer {
            Err(error) if error.kind == ErrorKind::Interrupted || client.is_lost() => {
                return Err(error);
            }
            Ok(None) => {}
            Ok(Some(answer)) => report.outcome((path.clone(), Ok(answer))),
            Err(error) => report.outcome((path.clone(), Err(error))),
        }
        job.pop_front();
    }
    Ok(())
}

/// Marks a directory as incomplete if lines of its listing could not be read, and returns the error about them.
fn note_unread(
    tree: &mut Tree,
    root: &[u8],
    path: &[u8],
    directory: &Directory,
) -> Option<ClientError> {
    let error = unread(&join(root, path), directory)?;
    tree.mark_incomplete(path);
    Some(error)
}

impl Client {
    /// Returns a directory in which each entry has a kind; asks where the listing does not show it.
    fn level(&mut self, path: &[u8]) -> Result<Directory, ClientError> {
        let mut directory = self.read_directory(path)?;
        for entry in directory.entries.iter_mut().filter(|entry| entry.kind.is_none()) {
            let is_directory = self.is_directory(&join(path, &entry.name))?;
            entry.kind = Some(if is_directory { EntryKind::Directory } else { EntryKind::File });
        }
        Ok(directory)
    }

    /// Compares a local file with a remote one by their checksums.
    fn compare(
        &mut self,
        mirror: &Mirror,
        path: &[u8],
        size: u64,
    ) -> Result<Option<Answer>, ClientError> {
        let (remote, local) = (join(&mirror.remote, path), local_path(&mirror.local, path));
        #[expect(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let file = File::open(&local).map_err(|error| ClientError::local(&local, &error))?;
        match self.link()?.compare(&remote, &file, &local, size, Whole::Yes)? {
            Comparison::Same => Ok(Some(Answer::Compared(true))),
            Comparison::Different => Ok(Some(Answer::Compared(false))),
            Comparison::Unknown => {
                let what = about("checksum", &remote);
                let message = format!("{what}: the server computes none; compare by size and time");
                Err(ClientError::new(ErrorKind::Refused, message))
            }
        }
    }

    /// Asks for the time of a file; `None` if the server does not support MDTM.
    fn exact_time(&mut self, path: &[u8]) -> Result<Option<Answer>, ClientError> {
        let link = self.link()?;
        let modified = link.optional(|link| link.modified(path))?;
        Ok(modified.map(|time| Answer::Modified(Stamp::exact(time))))
    }
}

/// Cuts a list into jobs, so that each connection gets several of them.
fn batches<T>(list: &mut Vec<T>, connections: usize) -> VecDeque<VecDeque<T>> {
    let size = (list.len() / connections.max(1)).clamp(1, LISTINGS_AHEAD.max(QUESTIONS_MAX));
    let mut jobs = VecDeque::new();
    let mut list = std::mem::take(list).into_iter().peekable();
    while list.peek().is_some() {
        jobs.push_back(list.by_ref().take(size).collect());
    }
    jobs
}

/// Returns the bits that new files do not get.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(USUAL_UMASK)
}
