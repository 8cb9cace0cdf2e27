//! Files there and back: one, several by names and patterns, whole directories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::client::files::{local_name, shown};
use crate::client::{ClientError, Kind};
use crate::ftp::listing::{Kind as EntryKind, Listed};
use crate::ftp::pattern::{is_pattern, matches};

use super::Shell;
use super::actions::Done;
use super::command::Flow;
use super::progress::Progress;

/// How deep `get -r` and `put -r` go.
const DEPTH_MAX: usize = 64;

/// A remote path, and what it is, where a listing told.
pub(super) type Named = (Vec<u8>, Option<EntryKind>);

impl Shell {
    pub(super) fn get_file(&mut self, remote: &[u8], local: &Path) -> Result<(), ClientError> {
        let mut progress = Progress::new(&shown(remote), self.quiet);
        let representation = self.representation;
        match self.client()?.download(remote, local, representation, &mut progress) {
            Ok(bytes) => progress.finish(bytes, &format!("-> {}", shown_local(local))),
            Err(error) => {
                progress.give_up();
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn put_file(&mut self, local: &Path, remote: &[u8]) -> Result<(), ClientError> {
        let mut progress = Progress::new(&shown_local(local), self.quiet);
        let representation = self.representation;
        match self.client()?.upload(local, remote, representation, &mut progress) {
            Ok(bytes) => progress.finish(bytes, &format!("-> {}", shown(remote))),
            Err(error) => {
                progress.give_up();
                return Err(error);
            }
        }
        self.forget_names();
        Ok(())
    }

    pub(super) fn get_tree(
        &mut self,
        remote: &[u8],
        local: &Path,
        depth: usize,
    ) -> Result<(), ClientError> {
        check_depth(depth, remote)?;
        let entries = self.client()?.read_dir(remote)?;
        fs::create_dir_all(local).map_err(|error| ClientError::local(local, &error))?;
        self.for_each(entries, |shell, entry| {
            let path = [remote, b"/", entry.name.as_slice()].concat();
            let place = local.join(local_name(&entry.name)?);
            match entry.kind {
                EntryKind::Directory => shell.get_tree(&path, &place, depth + 1),
                EntryKind::File => shell.get_file(&path, &place),
                EntryKind::Link | EntryKind::Other => Ok(()),
            }
        })
        .map(drop)
    }

    pub(super) fn put_tree(
        &mut self,
        local: &Path,
        remote: &[u8],
        depth: usize,
    ) -> Result<(), ClientError> {
        check_depth(depth, remote)?;
        let failed = |error: io::Error| ClientError::local(local, &error);
        let mut entries =
            fs::read_dir(local).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        // It may be there already; if it is not and cannot be made, the first file will say so.
        let _made = self.client()?.create_dir(remote);
        self.for_each(entries, |shell, entry| {
            let path = [remote, b"/", entry.file_name().as_encoded_bytes()].concat();
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                shell.put_tree(&entry.path(), &path, depth + 1)
            } else if kind.is_file() {
                shell.put_file(&entry.path(), &path)
            } else {
                Ok(())
            }
        })
        .map(drop)
    }

    /// Does the same for each; goes on after one that failed, and fails with the last error that was not told yet.
    pub(super) fn for_each<T>(
        &mut self,
        all: Vec<T>,
        mut act: impl FnMut(&mut Self, T) -> Result<(), ClientError>,
    ) -> Done {
        let mut last = Ok(Flow::Continue);
        for one in all {
            if let Err(error) = act(self, one) {
                let fatal = error.is_connection_lost() || error.kind == Kind::Interrupted;
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

    /// The remote files that a word names: itself, or what matches it.
    pub(super) fn expand(&mut self, word: &str) -> Result<Vec<Named>, ClientError> {
        if !is_pattern(word.as_bytes()) {
            return Ok(vec![(word.as_bytes().to_vec(), None)]);
        }
        let (directory, _) = split_path(word);
        let found = self.matching(word)?;
        Ok(found
            .into_iter()
            .map(|entry| ([directory.as_bytes(), &entry.name].concat(), Some(entry.kind)))
            .collect())
    }

    pub(super) fn matching(&mut self, word: &str) -> Result<Vec<Listed>, ClientError> {
        let (directory, pattern) = split_path(word);
        let at = if directory.len() > 1 { directory.trim_end_matches('/') } else { directory };
        let mut entries = self.client()?.read_dir(at.as_bytes())?;
        entries.retain(|entry| {
            let hidden = entry.name.starts_with(b".") && !pattern.starts_with('.');
            !hidden && matches(pattern.as_bytes(), &entry.name)
        });
        if entries.is_empty() {
            return Err(ClientError::new(Kind::Refused, format!("{word}: nothing matches")));
        }
        Ok(entries)
    }

    pub(super) fn expand_local(&self, word: &str) -> Result<Vec<PathBuf>, ClientError> {
        if !is_pattern(word.as_bytes()) {
            return Ok(vec![self.local_source(word)]);
        }
        let (directory, pattern) = split_path(word);
        let place = self.local.join(directory);
        let entries = fs::read_dir(&place).map_err(|error| ClientError::local(&place, &error))?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                matches(pattern.as_bytes(), entry.file_name().as_encoded_bytes())
                    && entry.path().is_file()
            })
            .filter(|entry| {
                pattern.starts_with('.') || !entry.file_name().as_encoded_bytes().starts_with(b".")
            })
            .map(|entry| entry.path())
            .collect();
        files.sort_unstable();
        if files.is_empty() {
            Err(ClientError::new(Kind::Local, format!("{word}: no local file matches")))
        } else {
            Ok(files)
        }
    }

    /// A local file to be sent: in the local directory, or, as long as nobody chose one, where the program was started.
    pub(super) fn local_source(&self, word: &str) -> PathBuf {
        let inside = self.local.join(word);
        if !self.local_is_chosen && !inside.exists() && Path::new(word).exists() {
            PathBuf::from(word)
        } else {
            inside
        }
    }
}

/// A local path as short as it can be said.
fn shown_local(local: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| local.strip_prefix(here).ok()).unwrap_or(local);
    shown(short.as_os_str().as_encoded_bytes())
}

fn check_depth(depth: usize, path: &[u8]) -> Result<(), ClientError> {
    if depth < DEPTH_MAX {
        Ok(())
    } else {
        Err(ClientError::new(Kind::Refused, format!("{}: too deep", shown(path))))
    }
}

/// The directory, with its slash, and the last name.
fn split_path(word: &str) -> (&str, &str) {
    word.rfind('/').and_then(|slash| word.split_at_checked(slash + 1)).unwrap_or(("", word))
}
