//! The preparation of a mirror: both sides are scanned and compared, and the result is a plan.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::PathBuf;

use crate::client::batch::Direction;
use crate::client::checks::{Comparison, Whole};
use crate::client::connection::Client;
use crate::client::directory::unread;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{about, join, shown};
use crate::client::parallel::{Event, Reporter, batches, run_jobs};
use crate::client::tree_walk::{Below, Level, TreeVisitor, TreeWalk, repeats};

use super::options::Mirror;
use super::plan::{MirrorAction, Plan, Rules, plan};
use super::report::MirrorEvent;
use super::scan::{Reading, Side, add_listing, local_path, scan_local};
use super::tree::{Item, ItemKind, Stamp, Tree};

/// Maximum number of files that one connection asks about in a row.
const QUESTIONS_MAX: usize = 64;

/// Bits that new files do not get, where the system does not report them.
const USUAL_UMASK: u32 = 0o022;

/// A plan for a mirror, ready to be executed.
#[derive(Debug)]
pub struct MirrorPlan {
    pub(super) mirror: Mirror,
    pub(super) plan: Plan,
    /// Errors of the scan: what they are about is not part of the plan.
    pub(super) errors: Vec<ClientError>,
    /// Downloads to the copy that are complete, but whose identities a kill has left.
    pub(super) left_identities: Vec<PathBuf>,
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
        let (mut local, failed) = scan_local(&mirror.local, local_side, &mirror.filter);
        errors.extend(failed);
        let compared = self.ask_about_files(mirror, &mut remote, &local, observe)?;
        let left_identities =
            if is_download { std::mem::take(&mut local.left_identities) } else { Vec::new() };
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
        let plan = plan(&wanted, &found, &rules);
        Ok(MirrorPlan { mirror: mirror.clone(), plan, errors, left_identities })
    }

    /// Lists the remote tree, several directories at once.
    fn scan_remote(
        &mut self,
        mirror: &Mirror,
        side: Side,
        observe: Observer<'_>,
    ) -> Result<(Tree, Vec<ClientError>), ClientError> {
        let (root, connections) = (&mirror.remote, mirror.connections);
        let walk = TreeWalk { root, connections, asks_kinds: true, enters_once: false };
        let (tree, errors) = (Tree::default(), Vec::new());
        let mut scan = RemoteScan { mirror, side, umask: umask(), tree, errors, observe };
        match self.walk_tree(&walk, &mut scan) {
            // The target of an upload may not exist yet.
            Err(error) if side == Side::Target && error.is_refused_for_good() => {}
            outcome => outcome?,
        }
        Ok((scan.tree, scan.errors))
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
        let jobs = batches(&mut files, mirror.connections, QUESTIONS_MAX);
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

/// The remote tree of a mirror while it is listed.
struct RemoteScan<'a, 'o> {
    mirror: &'a Mirror,
    side: Side,
    umask: u32,
    tree: Tree,
    errors: Vec<ClientError>,
    observe: Observer<'o>,
}

impl TreeVisitor for RemoteScan<'_, '_> {
    fn listed(&mut self, level: Level) -> Vec<Below> {
        let Level { path, directory, is_exact } = level;
        if let Some(error) = unread(&join(&self.mirror.remote, &path), &directory) {
            self.tree.mark_incomplete(&path);
            self.errors.push(error);
        }
        let (filter, side, umask) = (&self.mirror.filter, self.side, self.umask);
        let reading = Reading { filter, is_exact, side, umask };
        let below = add_listing(&mut self.tree, &path, directory.entries, &reading);
        (self.observe)(&MirrorEvent::Scanned(self.tree.items.len()));
        below
    }

    fn failed(&mut self, paths: &[Vec<u8>], error: ClientError) {
        for path in paths {
            self.tree.mark_incomplete(path);
        }
        self.errors.push(error);
    }

    fn repeated(&mut self, path: &[u8]) {
        self.tree.mark_incomplete(path);
        (self.observe)(&MirrorEvent::Note(&repeats(path)));
    }

    fn note(&mut self, text: &str) {
        (self.observe)(&MirrorEvent::Note(text));
    }
}

/// Files to ask about, with their sizes, and the result of one of them.
type Files = VecDeque<(Vec<u8>, u64)>;
type Answered = (Vec<u8>, Result<Answer, ClientError>);

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

impl Client {
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

/// Returns the bits that new files do not get.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(USUAL_UMASK)
}
