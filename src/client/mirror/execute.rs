//! The execution of a plan: files on several connections, everything else in the order of the plan.
//!
//! Each file gets its name when it is complete, and its time before that. Removals come after all copies. So an
//! interrupt at any moment leaves a copy that the next run completes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::client::batch::{BatchEvent, BatchFile, Direction, FileOutcome, set_local_mode};
use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::metadata::RemoteMetadata;
use crate::client::names::join;
use crate::client::part::Part;

use super::options::Mirror;
use super::plan::MirrorAction;
use super::prepare::MirrorPlan;
use super::report::{MirrorEvent, MirrorReport};
use super::scan::local_path;
use super::tree::{Item, ItemKind, Stamp};

/// Suffix of a link before it replaces another.
const NEW_LINK_SUFFIX: &str = ".part";

impl Client {
    /// Executes a plan. Continues after a failed action; the report has all errors.
    ///
    /// # Errors
    /// When the connection is lost for good, or the user interrupts. What is done until then stays; a new plan has the
    /// rest.
    pub fn run_mirror(
        &mut self,
        plan: &MirrorPlan,
        observe: &mut dyn FnMut(&MirrorEvent<'_>),
    ) -> Result<MirrorReport, ClientError> {
        let files = plan.actions().iter().filter_map(|action| match action {
            MirrorAction::Transfer { item, .. } => Some(size(item)),
            _ => None,
        });
        let (files, bytes) = files.fold((0, 0), |(files, sum), size| (files + 1, sum + size));
        observe(&MirrorEvent::Begun { files, bytes });
        let mut run = Run {
            mirror: &plan.mirror,
            observe,
            report: MirrorReport { unchanged: plan.unchanged(), ..MirrorReport::default() },
            keeps_modes: true,
        };
        for error in plan.errors.iter().cloned().chain(plan.obstacles()) {
            run.failed(error);
        }
        plan.left_identities.iter().for_each(|local| Part::remove_left_identity(local));
        run.make_root(self)?;
        let mut actions = plan.actions();
        while let Some((action, rest)) = actions.split_first() {
            if matches!(action, MirrorAction::Transfer { .. }) {
                let is_transfer =
                    |action: &MirrorAction| matches!(action, MirrorAction::Transfer { .. });
                let is_before = |action: &MirrorAction| {
                    is_transfer(action) || matches!(action, MirrorAction::MakeDirectory { .. })
                };
                let count = actions.iter().take_while(|action| is_before(action)).count();
                let (group, behind) = actions.split_at(count);
                for action in group.iter().filter(|action| !is_transfer(action)) {
                    run.act(self, action)?;
                }
                let files: Vec<&MirrorAction> =
                    group.iter().filter(|action| is_transfer(action)).collect();
                run.transfer(self, &files)?;
                actions = behind;
            } else {
                run.act(self, action)?;
                actions = rest;
            }
        }
        Ok(run.report)
    }
}

/// A running mirror.
struct Run<'a, 'o> {
    mirror: &'a Mirror,
    observe: &'o mut dyn FnMut(&MirrorEvent<'_>),
    report: MirrorReport,
    /// The target accepts modes, as far as it has not refused one.
    keeps_modes: bool,
}

impl Run<'_, '_> {
    fn failed(&mut self, error: ClientError) {
        (self.observe)(&MirrorEvent::Failed(&error));
        self.report.errors.push(error);
    }

    fn done(&mut self, action: &MirrorAction, bytes: u64) {
        self.report.count(action, bytes);
        (self.observe)(&MirrorEvent::Done(action));
    }

    /// Makes the directory of the copy, if it does not exist.
    fn make_root(&self, client: &mut Client) -> Result<(), ClientError> {
        let Mirror { direction, local, remote, .. } = self.mirror;
        match direction {
            Direction::Download => {
                fs::create_dir_all(local).map_err(|error| ClientError::local(local, &error))
            }
            Direction::Upload if remote.is_empty() => Ok(()),
            Direction::Upload => client.with_retries(&mut (), |client, ()| {
                match make_directory(client, remote) {
                    // The directory may exist already.
                    Err(refused) if refused.kind == ErrorKind::Refused => {
                        client.read_dir(remote).map(drop).map_err(|_| refused)
                    }
                    made => made,
                }
            }),
        }
    }

    /// Transfers files on several connections.
    fn transfer(
        &mut self,
        client: &mut Client,
        actions: &[&MirrorAction],
    ) -> Result<(), ClientError> {
        let mirror = self.mirror;
        let file = |action: &&MirrorAction| match action {
            MirrorAction::Transfer { path, item, .. } => Some(batch_file(mirror, path, item)),
            _ => None,
        };
        let files: Vec<BatchFile> = actions.iter().filter_map(file).collect();
        let files: Vec<&BatchFile> = files.iter().collect();
        let Mirror { direction, representation, connections, .. } = *mirror;
        client.transfer_files(direction, representation, &files, connections, |event| match event {
            BatchEvent::Done(index, FileOutcome { bytes, took }) => {
                if let Some(action) = actions.get(index) {
                    let (path, outcome) = (action.path(), Ok((bytes, took)));
                    (self.observe)(&MirrorEvent::FileEnded { path, outcome });
                    self.done(action, bytes);
                }
            }
            BatchEvent::Failed(index, error) => {
                if let Some(action) = actions.get(index) {
                    let (path, outcome) = (action.path(), Err(&error));
                    (self.observe)(&MirrorEvent::FileEnded { path, outcome });
                }
                self.failed(error);
            }
            BatchEvent::Note(note) => (self.observe)(&MirrorEvent::Note(&note)),
            BatchEvent::Moved(bytes) => (self.observe)(&MirrorEvent::Moved(bytes)),
        })
    }

    /// Executes any other action.
    fn act(&mut self, client: &mut Client, action: &MirrorAction) -> Result<(), ClientError> {
        client.interrupt().check()?;
        let outcome = match self.mirror.direction {
            Direction::Download => act_locally(&self.mirror.local, action),
            Direction::Upload => {
                client.with_retries(&mut (), |client, ()| self.act_remotely(client, action))
            }
        };
        match outcome {
            Ok(()) => self.done(action, 0),
            Err(error) if error.kind == ErrorKind::Interrupted => return Err(error),
            // The server may have executed a removal before the connection was lost. The next run shows it.
            Err(error) if error.is_final => {
                self.failed(error);
                client.ensure_open()?;
            }
            Err(error) if client.is_lost() => return Err(error),
            Err(error) => self.failed(error),
        }
        Ok(())
    }

    fn act_remotely(
        &mut self,
        client: &mut Client,
        action: &MirrorAction,
    ) -> Result<(), ClientError> {
        let at = |path: &[u8]| join(&self.mirror.remote, path);
        match action {
            MirrorAction::MakeDirectory { path } => make_directory(client, &at(path)),
            MirrorAction::Remove { path, is_directory: true } => client.remove_dir(&at(path)),
            MirrorAction::Remove { path, is_directory: false } => client.remove_file(&at(path)),
            MirrorAction::SetMode { path, mode } if self.keeps_modes => {
                let set = client.set_mode(&at(path), *mode);
                if set.as_ref().is_err_and(ClientError::is_refused_for_good) {
                    // Not every server has SITE CHMOD, and none must have it.
                    self.keeps_modes = false;
                    (self.observe)(&MirrorEvent::Note("the server does not set modes"));
                    return Ok(());
                }
                set
            }
            MirrorAction::SetTime { path, modified } => {
                client.set_modified(&at(path), modified.time)
            }
            // The planner makes no other action for a remote tree.
            MirrorAction::SetMode { .. }
            | MirrorAction::Link { .. }
            | MirrorAction::Transfer { .. } => Ok(()),
        }
    }
}

/// Makes a remote directory. If the connection is lost before the reply, looks for the directory before it is made again.
fn make_directory(client: &mut Client, path: &[u8]) -> Result<(), ClientError> {
    match client.create_dir(path) {
        Err(error) if error.is_final && error.is_connection_lost() => {
            if client.is_directory(path)? { Ok(()) } else { client.create_dir(path) }
        }
        made => made,
    }
}

fn size(item: &Item) -> u64 {
    match item.kind {
        ItemKind::File { size } => size.unwrap_or_default(),
        _ => 0,
    }
}

/// Returns the transfer of a file.
fn batch_file(mirror: &Mirror, path: &[u8], item: &Item) -> BatchFile {
    let exact = item.modified.filter(|stamp| stamp.precision == 1);
    let known = match (&item.kind, exact) {
        (ItemKind::File { size: Some(size) }, Some(Stamp { time, .. })) => {
            Some(RemoteMetadata { size: Some(*size), modified: Some(time) })
        }
        _ => None,
    };
    BatchFile {
        remote: join(&mirror.remote, path),
        local: local_path(&mirror.local, path),
        known,
        size: size(item),
        mode: item.mode,
    }
}

fn act_locally(root: &Path, action: &MirrorAction) -> Result<(), ClientError> {
    let (path, outcome) = match action {
        MirrorAction::MakeDirectory { path } => (path, fs::create_dir(local_path(root, path))),
        MirrorAction::Remove { path, is_directory: true } => {
            (path, fs::remove_dir(local_path(root, path)))
        }
        MirrorAction::Remove { path, is_directory: false } => {
            (path, fs::remove_file(local_path(root, path)))
        }
        MirrorAction::Link { path, target } => (path, make_link(&local_path(root, path), target)),
        MirrorAction::SetMode { path, mode } => {
            return set_local_mode(&local_path(root, path), *mode);
        }
        MirrorAction::SetTime { path, modified } => {
            (path, set_local_time(&local_path(root, path), *modified))
        }
        MirrorAction::Transfer { .. } => return Ok(()),
    };
    outcome.map_err(|error| ClientError::local(&local_path(root, path), &error))
}

/// Makes a symbolic link, or replaces the one of this name, in one step.
fn make_link(local: &Path, target: &[u8]) -> io::Result<()> {
    let target = OsStr::from_bytes(target);
    match symlink(target, local) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let mut new = local.as_os_str().to_owned();
    new.push(NEW_LINK_SUFFIX);
    symlink(target, &new)?;
    fs::rename(&new, local)
}

fn set_local_time(local: &Path, modified: Stamp) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a file or directory of the copy")]
    File::open(local)?.set_modified(modified.time.into())
}
