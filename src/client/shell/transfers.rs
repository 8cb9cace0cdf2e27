//! Transfers of one file, and of several by names and patterns.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::client::connection::Client;
use crate::client::directory::unread;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::metadata::RemoteMetadata;
use crate::client::names::{local_name, shown, without_slash};
use crate::client::upload::UploadStart;
use crate::ftp::command::Type;
use crate::ftp::listing::{Kind as EntryKind, Listed};
use crate::ftp::pattern::matches;

use super::flow::{Done, Flow};
use super::progress::TransferBar;
use super::report::FileResult;
use super::state::Shell;
use super::words::{pattern, plain, split_path};

/// A remote path, with its kind, size and time from a listing.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) path: Vec<u8>,
    pub(super) kind: Option<EntryKind>,
    pub(super) known: Option<RemoteMetadata>,
}

impl Named {
    /// Returns its path in a local directory.
    pub(super) fn local(&self, folder: &Path) -> Result<PathBuf, ClientError> {
        Ok(folder.join(local_name(&self.path)?))
    }
}

/// Start of an upload or a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The beginning of the file.
    Beginning,
    /// The end of the existing file (`reget`, `reput`).
    Resume,
}

impl Shell {
    /// Returns the entries of a remote directory for completion; none if it cannot be listed.
    pub(super) fn remote_entries(&mut self, directory: &[u8]) -> &[Listed] {
        if self.names.as_ref().is_none_or(|(of, _)| of != directory) {
            let read =
                self.client().and_then(|client| client.read_directory(without_slash(directory)));
            self.names = Some((directory.to_owned(), read.unwrap_or_default().entries));
        }
        self.names.as_ref().map(|(_, entries)| entries.as_slice()).unwrap_or_default()
    }

    /// Fetches one file, unless the local file is to be kept.
    pub(super) fn get_file(
        &mut self,
        remote: &[u8],
        local: &Path,
        known: Option<RemoteMetadata>,
        start: Start,
    ) -> Result<(), ClientError> {
        if start == Start::Beginning && !self.may_write(remote, local, known)? {
            return Ok(());
        }
        let mut progress = TransferBar::new(&shown(remote), self.settings.quiet, &self.messages);
        let representation = self.representation;
        let client = self.client()?;
        let fetched = match start {
            Start::Beginning => client.fetch(remote, local, representation, known, &mut progress),
            Start::Resume => client.resume_download(remote, local, &mut progress),
        };
        self.end_file(progress, fetched, local, remote, &shown_local(local))
    }

    /// Prints and reports the end of one file.
    fn end_file(
        &self,
        progress: TransferBar,
        outcome: Result<u64, ClientError>,
        local: &Path,
        remote: &[u8],
        target: &str,
    ) -> Result<(), ClientError> {
        match outcome {
            Ok(bytes) => {
                let took = progress.finish(bytes, &format!("-> {target}"));
                self.report(local, remote, FileResult::Done { bytes, took });
                Ok(())
            }
            Err(error) => {
                progress.give_up();
                self.report(local, remote, FileResult::Failed(&error));
                Err(error)
            }
        }
    }

    /// Fetches one file over several connections.
    pub(super) fn get_ranges(
        &mut self,
        remote: &[u8],
        local: &Path,
        connections: usize,
    ) -> Result<(), ClientError> {
        if !self.may_write(remote, local, None)? {
            return Ok(());
        }
        let mut progress = TransferBar::new(&shown(remote), self.settings.quiet, &self.messages);
        let client = self.client()?;
        let fetched = client.download_in_ranges(remote, local, connections, &mut progress);
        self.end_file(progress, fetched, local, remote, &shown_local(local))
    }

    /// Sends one file.
    pub(super) fn put_file(
        &mut self,
        local: &Path,
        remote: &[u8],
        start: Start,
    ) -> Result<(), ClientError> {
        let mut progress =
            TransferBar::new(&shown_local(local), self.settings.quiet, &self.messages);
        let (representation, from) = match start {
            Start::Beginning => (self.representation, UploadStart::Beginning),
            Start::Resume => (Type::Image, UploadStart::WhatIsThere),
        };
        let sent = self.client()?.send(local, remote, representation, from, &mut progress);
        self.forget_names();
        self.end_file(progress, sent, local, remote, &shown(remote))
    }

    /// Calls `act` for each item, with the slice of all items from that one on. Continues after a failure, except after
    /// an interrupt or a lost connection. Prints each error but the last, which is returned.
    pub(super) fn for_each<T>(
        &mut self,
        mut all: &[T],
        mut act: impl FnMut(&mut Self, &T, &[T]) -> Result<(), ClientError>,
    ) -> Done {
        let mut last = Ok(Flow::Continue);
        while let [one, behind @ ..] = all {
            let on = std::mem::replace(&mut all, behind);
            if let Err(error) = act(self, one, on) {
                let hung_up = self.client.as_ref().is_none_or(Client::is_lost);
                let fatal = hung_up || error.kind == ErrorKind::Interrupted;
                if let Err(earlier) = std::mem::replace(&mut last, Err(error)) {
                    self.fail(&earlier);
                }
                if fatal {
                    break;
                }
            }
        }
        self.forget_names();
        last
    }

    /// Returns the entries of a directory that can be read; lines that cannot make the command fail at its end.
    pub(super) fn list_directory(&mut self, path: &[u8]) -> Result<Vec<Listed>, ClientError> {
        let mut progress = TransferBar::new(&shown(path), self.settings.quiet, &self.messages);
        let client = self.client()?;
        let directory =
            client.with_retries(&mut progress, |client, _| client.read_directory(path))?;
        if let Some(error) = unread(path, &directory) {
            self.fail_at_end(error);
        }
        Ok(directory.entries)
    }

    /// Returns size and time of a file from a listing, if they are exact.
    fn known(&self, entry: &Listed) -> Option<RemoteMetadata> {
        let exact = self.client.as_ref().is_some_and(Client::lists_exactly);
        let (size, modified) = (entry.size, entry.modified);
        (exact && size.is_some() && modified.is_some()).then_some(RemoteMetadata { size, modified })
    }

    /// Returns the remote files that a word names: itself, or the matches of a pattern.
    pub(super) fn expand(&mut self, word: &OsStr) -> Result<Vec<Named>, ClientError> {
        let directory = plain(split_path(word).0).into_encoded_bytes();
        match self.matching(word)? {
            None => {
                Ok(vec![Named { path: plain(word).into_encoded_bytes(), kind: None, known: None }])
            }
            Some(found) => Ok(self.named(&directory, found)),
        }
    }

    /// Adds the path of their directory to entries; that path ends with a slash or is empty.
    pub(super) fn named(&self, directory: &[u8], entries: Vec<Listed>) -> Vec<Named> {
        let named = |entry: Listed| Named {
            path: [directory, &entry.name].concat(),
            kind: entry.kind,
            known: self.known(&entry),
        };
        entries.into_iter().map(named).collect()
    }

    /// Returns the entries that a word matches; `None` if it is not a pattern.
    pub(super) fn matching(&mut self, word: &OsStr) -> Result<Option<Vec<Listed>>, ClientError> {
        let (directory, last) = split_path(word);
        let Some(pattern) = pattern(last) else { return Ok(None) };
        let directory = plain(directory);
        let mut entries = self.list_directory(without_slash(directory.as_bytes()))?;
        entries.retain(|entry| {
            let hidden = entry.name.starts_with(b".") && !pattern.starts_with(b".");
            !hidden && matches(&pattern, &entry.name)
        });
        if entries.is_empty() {
            return Err(ClientError::new(
                ErrorKind::Refused,
                format!("{}: nothing matches", shown(plain(word).as_bytes())),
            ));
        }
        Ok(Some(entries))
    }

    /// Returns the local files that a word names: itself, or the matches of a pattern.
    pub(super) fn expand_local(
        &self,
        word: &OsStr,
        with_directories: bool,
    ) -> Result<Vec<PathBuf>, ClientError> {
        let (directory, last) = split_path(word);
        let Some(pattern) = pattern(last) else { return Ok(vec![self.local_source(&plain(word))]) };
        let place = self.local.join(plain(directory));
        let entries = fs::read_dir(&place).map_err(|error| ClientError::local(&place, &error))?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                matches(&pattern, entry.file_name().as_bytes())
                    && (with_directories || entry.path().is_file())
            })
            .filter(|entry| {
                pattern.starts_with(b".") || !entry.file_name().as_bytes().starts_with(b".")
            })
            .map(|entry| entry.path())
            .collect();
        files.sort_unstable();
        if files.is_empty() {
            Err(ClientError::new(
                ErrorKind::Local,
                format!("{}: no local file matches", shown(plain(word).as_bytes())),
            ))
        } else {
            Ok(files)
        }
    }

    /// Returns the path of a local file to send. Before any `lcd`, a file that the local directory does not have is
    /// taken from the working directory.
    pub(super) fn local_source(&self, word: &OsStr) -> PathBuf {
        let inside = self.local.join(word);
        if !self.local_is_chosen && !inside.exists() && Path::new(word).exists() {
            PathBuf::from(word)
        } else {
            inside
        }
    }
}

/// Shortens a local path for printing: relative to the working directory if it is inside.
pub(super) fn shown_local(local: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| local.strip_prefix(here).ok()).unwrap_or(local);
    shown(short.as_os_str().as_encoded_bytes())
}
