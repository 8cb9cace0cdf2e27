//! Transfers of several files by one command, on several connections, with one sum.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::HumanBytes;

use crate::client::batch::{BatchEvent, BatchFile, Direction, FileOutcome};
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::shown;
use crate::ftp::listing::Kind as EntryKind;

use super::clobber::Verdict;
use super::flow::Done;
use super::gather::{Gathered, GatheredFile};
use super::progress::seconds;
use super::report::{FileReport, FileResult};
use super::state::Shell;
use super::transfers::{Named, shown_local};
use super::tree_progress::{TreeBar, TreeSum};

/// Rules for the transfer of several files.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeveralRules {
    /// Directories are transferred with all that they contain.
    pub(super) recursive: bool,
    /// Maximum number of connections.
    pub(super) connections: usize,
}

impl Shell {
    /// Downloads files, and directories if the rules say so. Each comes with its local path.
    pub(super) fn get_several(
        &mut self,
        named: Vec<(Named, PathBuf)>,
        rules: SeveralRules,
    ) -> Done {
        let bar = TreeBar::new("get", self.settings.quiet, &self.messages);
        let (mut sum, mut gathered) = (TreeSum::default(), Gathered::default());
        let outcome = self.get_all(named, rules, &bar, &mut gathered, &mut sum);
        self.end_several(&bar, sum, gathered.errors, outcome)
    }

    fn get_all(
        &mut self,
        mut named: Vec<(Named, PathBuf)>,
        rules: SeveralRules,
        bar: &TreeBar,
        gathered: &mut Gathered,
        sum: &mut TreeSum,
    ) -> Result<(), ClientError> {
        while !named.is_empty() {
            for (one, local) in named {
                let is_tree =
                    rules.recursive && one.kind.is_none_or(|kind| kind == EntryKind::Directory);
                if !is_tree {
                    gathered.files.push(GatheredFile::remote(&one, local));
                    continue;
                }
                match self.gather_remote(&one.path, &local, rules.connections, bar, gathered) {
                    // A file may have been named.
                    Err(error)
                        if one.kind.is_none()
                            && error.is_refused_for_good()
                            && !self.client()?.is_directory(&one.path)? =>
                    {
                        gathered.files.push(GatheredFile::remote(&one, local));
                    }
                    Err(error) => self.check_open(error, gathered)?,
                    Ok(()) => {}
                }
            }
            self.leave_out_existing(bar, gathered, sum)?;
            let files = std::mem::take(&mut gathered.files);
            let failed = self.transfer(Direction::Download, &files, rules, bar, sum)?;
            named = self.directories_among(failed, &files, rules, gathered)?;
        }
        Ok(())
    }

    /// Uploads files, and directories if the rules say so. Each comes with its remote path.
    pub(super) fn put_several(
        &mut self,
        named: Vec<(PathBuf, Vec<u8>)>,
        rules: SeveralRules,
    ) -> Done {
        let bar = TreeBar::new("put", self.settings.quiet, &self.messages);
        let (mut sum, mut gathered) = (TreeSum::default(), Gathered::default());
        let outcome = self.put_all(named, rules, &bar, &mut gathered, &mut sum);
        self.forget_names();
        self.end_several(&bar, sum, gathered.errors, outcome)
    }

    fn put_all(
        &mut self,
        named: Vec<(PathBuf, Vec<u8>)>,
        rules: SeveralRules,
        bar: &TreeBar,
        gathered: &mut Gathered,
        sum: &mut TreeSum,
    ) -> Result<(), ClientError> {
        for (local, remote) in named {
            if rules.recursive && local.is_dir() {
                self.gather_local(&local, &remote, bar, gathered)?;
            } else {
                gathered.files.push(GatheredFile::local(local, remote));
            }
        }
        let files = std::mem::take(&mut gathered.files);
        let failed = self.transfer(Direction::Upload, &files, rules, bar, sum)?;
        for (index, error) in failed {
            self.report_failed(files.get(index), &error);
            gathered.errors.push(error);
        }
        Ok(())
    }

    /// Removes the files that are not to be fetched, because of a local file.
    fn leave_out_existing(
        &mut self,
        bar: &TreeBar,
        gathered: &mut Gathered,
        sum: &mut TreeSum,
    ) -> Result<(), ClientError> {
        for file in std::mem::take(&mut gathered.files) {
            let BatchFile { remote, local, known, .. } = &file.file;
            if local.symlink_metadata().is_err() {
                gathered.files.push(file);
                continue;
            }
            match self.verdict(remote, local, *known) {
                Ok(Verdict::Write) => gathered.files.push(file),
                Ok(Verdict::Unchanged(note)) => {
                    sum.unchanged += 1;
                    self.report(local, remote, FileResult::Unchanged);
                    if self.options.trace {
                        bar.note(&note);
                    }
                }
                Ok(Verdict::Kept(note)) => {
                    sum.kept += 1;
                    self.report(local, remote, FileResult::Kept);
                    bar.note(&note);
                }
                Err(error) => {
                    self.report(local, remote, FileResult::Failed(&error));
                    self.check_open(error, gathered)?;
                }
            }
        }
        Ok(())
    }

    /// Transfers files, and returns the errors with the indexes of their files.
    fn transfer(
        &mut self,
        direction: Direction,
        files: &[GatheredFile],
        rules: SeveralRules,
        bar: &TreeBar,
        sum: &mut TreeSum,
    ) -> Result<Vec<(usize, ClientError)>, ClientError> {
        let batch: Vec<&BatchFile> = files.iter().map(|file| &file.file).collect();
        bar.begin(
            sum.files + batch.len(),
            sum.bytes + batch.iter().map(|file| file.size).sum::<u64>(),
        );
        let (representation, shows_files) = (self.representation, self.options.trace);
        let (before, json) = (sum.bytes, self.settings.json.clone());
        let mut failed = Vec::new();
        let client = self.client()?;
        client.transfer_files(direction, representation, &batch, rules.connections, |event| {
            match event {
                BatchEvent::Done(index, outcome) => {
                    sum.files += 1;
                    sum.bytes += outcome.bytes;
                    bar.file_done();
                    let Some(BatchFile { local, remote, .. }) = batch.get(index).copied() else {
                        return;
                    };
                    if shows_files {
                        bar.note(&line(direction, local, remote, outcome));
                    }
                    if let Some(report) = &json {
                        let FileOutcome { bytes, took } = outcome;
                        report.file(&FileReport {
                            local,
                            remote,
                            result: FileResult::Done { bytes, took },
                        });
                    }
                }
                BatchEvent::Failed(index, error) => failed.push((index, error)),
                BatchEvent::Note(note) => bar.note(&note),
                BatchEvent::Moved(bytes) => bar.moved(before + bytes),
            }
        })?;
        Ok(failed)
    }

    /// Returns the directories among the names that could not be fetched as files. Adds the errors of the others.
    fn directories_among(
        &mut self,
        failed: Vec<(usize, ClientError)>,
        files: &[GatheredFile],
        rules: SeveralRules,
        gathered: &mut Gathered,
    ) -> Result<Vec<(Named, PathBuf)>, ClientError> {
        let mut directories = Vec::new();
        for (index, error) in failed {
            let unclear = files.get(index).filter(|file| {
                rules.recursive && file.may_be_directory && error.kind == ErrorKind::Refused
            });
            match unclear {
                Some(GatheredFile { file, .. }) if self.client()?.is_directory(&file.remote)? => {
                    let kind = Some(EntryKind::Directory);
                    let named = Named { path: file.remote.clone(), kind, known: None };
                    directories.push((named, file.local.clone()));
                }
                _ => {
                    self.report_failed(files.get(index), &error);
                    gathered.errors.push(error);
                }
            }
        }
        Ok(directories)
    }

    fn report_failed(&self, file: Option<&GatheredFile>, error: &ClientError) {
        if let Some(GatheredFile { file, .. }) = file {
            self.report(&file.local, &file.remote, FileResult::Failed(error));
        }
    }

    /// Prints the sum and all errors but the last, which is returned.
    fn end_several(
        &mut self,
        bar: &TreeBar,
        mut sum: TreeSum,
        mut errors: Vec<ClientError>,
        outcome: Result<(), ClientError>,
    ) -> Done {
        let took: Duration = bar.clear();
        errors.extend(outcome.err());
        sum.failed = errors.len();
        self.note(&sum.text(took));
        self.all_of(errors)
    }
}

/// Returns the line about one file.
fn line(direction: Direction, local: &Path, remote: &[u8], outcome: FileOutcome) -> String {
    let (local, remote) = (shown_local(local), shown(remote));
    let (from, to) = match direction {
        Direction::Download => (remote, local),
        Direction::Upload => (local, remote),
    };
    format!("{from}: {} in {} -> {to}", HumanBytes(outcome.bytes), seconds(outcome.took))
}
