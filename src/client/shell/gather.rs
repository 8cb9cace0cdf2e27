//! The files that one command transfers: names, and whole trees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::client::batch::BatchFile;
use crate::client::connection::Client;
use crate::client::directory::unread;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::metadata::RemoteMetadata;
use crate::client::names::{join, local_name, shown, shown_path};
use crate::client::tree_walk::{Below, DEPTH_MAX, Level, TreeVisitor, TreeWalk, repeats};
use crate::ftp::listing::{Kind as EntryKind, Listed};

use super::state::Shell;
use super::transfers::{Named, shown_local};
use super::tree_progress::TreeBar;

/// Files to transfer, and the errors about others.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) files: Vec<GatheredFile>,
    pub(super) errors: Vec<ClientError>,
}

/// A file to transfer.
#[derive(Debug)]
pub(super) struct GatheredFile {
    pub(super) file: BatchFile,
    /// The listing does not show whether this is a file.
    pub(super) may_be_directory: bool,
}

impl GatheredFile {
    /// A remote file with its local path.
    pub(super) fn remote(named: &Named, local: PathBuf) -> Self {
        let size = named.known.and_then(|known| known.size).unwrap_or_default();
        let file =
            BatchFile { remote: named.path.clone(), local, known: named.known, size, mode: None };
        Self { file, may_be_directory: named.kind.is_none() }
    }

    /// A local file with its remote path.
    pub(super) fn local(local: PathBuf, remote: Vec<u8>) -> Self {
        let size = fs::metadata(&local).map_or(0, |found| found.len());
        let file = BatchFile { remote, local, known: None, size, mode: None };
        Self { file, may_be_directory: false }
    }
}

impl Shell {
    /// Adds all files of a remote tree, and makes the local directories.
    ///
    /// # Errors
    /// When the top directory cannot be listed or made, the connection is lost, or the user interrupts.
    pub(super) fn gather_remote(
        &mut self,
        remote: &[u8],
        local: &Path,
        connections: usize,
        bar: &TreeBar,
        gathered: &mut Gathered,
    ) -> Result<(), ClientError> {
        let walk = TreeWalk { root: remote, connections, asks_kinds: false, enters_once: false };
        let mut scan = RemoteGathering { remote, local, bar, gathered, failed: None };
        self.client()?.walk_tree(&walk, &mut scan)?;
        scan.failed.map_or(Ok(()), Err)
    }

    /// Adds all files of a local tree, and makes the remote directories. Leaves out what is below a directory that
    /// cannot be made.
    ///
    /// # Errors
    /// When the connection is lost, or the user interrupts.
    pub(super) fn gather_local(
        &mut self,
        local: &Path,
        remote: &[u8],
        bar: &TreeBar,
        gathered: &mut Gathered,
    ) -> Result<(), ClientError> {
        let mut walk = WalkDir::new(local).max_depth(DEPTH_MAX + 1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(local).to_owned();
                    gathered.errors.push(ClientError::local(&path, &error.into()));
                    continue;
                }
            };
            let below = entry.path().strip_prefix(local).unwrap_or_else(|_| entry.path());
            let path = match below.as_os_str().as_bytes() {
                b"" => remote.to_vec(),
                below => join(remote, below),
            };
            let kind = entry.file_type();
            if entry.depth() > DEPTH_MAX {
                let what = format!("{}: too deep", shown_path(entry.path()));
                gathered.errors.push(ClientError::new(ErrorKind::Local, what));
            } else if kind.is_dir() || (entry.depth() == 0 && local.is_dir()) {
                if let Err(error) = self.make_remote(&path) {
                    self.check_open(error, gathered)?;
                    walk.skip_current_dir();
                }
            } else if kind.is_file() {
                gathered.files.push(GatheredFile::local(entry.into_path(), path));
                bar.found(gathered.files.len(), "found");
            } else {
                let name = shown_local(entry.path());
                bar.note(&format!("{name}: skipped, neither file nor directory"));
            }
        }
        Ok(())
    }

    /// Makes a remote directory that may exist already.
    fn make_remote(&mut self, path: &[u8]) -> Result<(), ClientError> {
        if path.is_empty() {
            return Ok(());
        }
        let Err(refused) = self.client()?.create_dir(path) else { return Ok(()) };
        if refused.kind != ErrorKind::Refused {
            return Err(refused);
        }
        self.client()?.read_directory(path).map(drop).map_err(|_| refused)
    }

    /// Adds an error after which the command continues; returns one after which it does not.
    pub(super) fn check_open(
        &self,
        error: ClientError,
        gathered: &mut Gathered,
    ) -> Result<(), ClientError> {
        let is_lost = self.client.as_ref().is_none_or(Client::is_lost);
        if error.kind == ErrorKind::Interrupted || is_lost {
            return Err(error);
        }
        gathered.errors.push(error);
        Ok(())
    }
}

/// A remote tree while it is listed.
struct RemoteGathering<'a> {
    remote: &'a [u8],
    local: &'a Path,
    bar: &'a TreeBar,
    gathered: &'a mut Gathered,
    /// The error that ends the command: the top directory cannot be made.
    failed: Option<ClientError>,
}

impl RemoteGathering<'_> {
    fn add(&mut self, directory: &[u8], entry: Listed, is_exact: bool) -> Option<Below> {
        let path = join(directory, &entry.name);
        let remote = join(self.remote, &path);
        // SECURITY: a server chooses the names; none may lead out of the local directory.
        let is_one_name = local_name(&entry.name).is_ok_and(|name| name.as_bytes() == entry.name);
        if !is_one_name {
            let what = format!("{} is not a name for a local file", shown(&remote));
            self.gathered.errors.push(ClientError::usage(what));
            return None;
        }
        match entry.kind {
            Some(EntryKind::Directory) => return Some(Below { path, unique: entry.unique }),
            Some(EntryKind::File) | None => {
                let (size, modified) = (entry.size, entry.modified);
                let known = (is_exact && size.is_some() && modified.is_some())
                    .then_some(RemoteMetadata { size, modified });
                let named = Named { path: remote, kind: entry.kind, known };
                let mut file =
                    GatheredFile::remote(&named, self.local.join(OsStr::from_bytes(&path)));
                file.file.size = size.unwrap_or_default();
                self.gathered.files.push(file);
            }
            Some(EntryKind::Link) => {
                self.bar
                    .note(&format!("{}: a link, skipped; 'mirror' copies links", shown(&remote)));
            }
            Some(EntryKind::Other) => {
                self.bar.note(&format!("{}: skipped, neither file nor directory", shown(&remote)));
            }
        }
        None
    }
}

impl TreeVisitor for RemoteGathering<'_> {
    fn listed(&mut self, level: Level) -> Vec<Below> {
        let Level { path, directory, is_exact } = level;
        self.gathered.errors.extend(unread(&join(self.remote, &path), &directory));
        let local = self.local.join(OsStr::from_bytes(&path));
        if let Err(error) = fs::create_dir_all(&local) {
            let error = ClientError::local(&local, &error);
            if path.is_empty() {
                self.failed = Some(error);
            } else {
                self.gathered.errors.push(error);
            }
            return Vec::new();
        }
        let entries = directory.entries.into_iter();
        let below = entries.filter_map(|entry| self.add(&path, entry, is_exact)).collect();
        self.bar.found(self.gathered.files.len(), "found");
        below
    }

    fn failed(&mut self, _: &[Vec<u8>], error: ClientError) {
        self.gathered.errors.push(error);
    }

    fn repeated(&mut self, path: &[u8]) {
        self.bar.note(&repeats(&join(self.remote, path)));
    }

    fn note(&mut self, text: &str) {
        self.bar.note(text);
    }
}
