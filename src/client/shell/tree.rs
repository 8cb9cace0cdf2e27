//! Transfers of whole directories.

use std::fs;
use std::io;
use std::path::Path;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::shown;
use crate::ftp::listing::Kind as EntryKind;

use super::state::Shell;
use super::transfers::{Start, shown_local};

/// Maximum depth of the trees of `get -r` and `put -r`.
const DEPTH_MAX: usize = 64;

/// Maximum number of directories that one `get -r` lists: a server can show a tree that repeats itself.
const DIRECTORIES_MAX: usize = 100_000;

impl Shell {
    /// Fetches a directory with all that it contains.
    pub(super) fn get_tree(&mut self, remote: &[u8], local: &Path) -> Result<(), ClientError> {
        self.get_branch(remote, local, 0, &mut 0)
    }

    /// Fetches a directory at a depth in the tree; `listed` is the number of directories listed before.
    fn get_branch(
        &mut self,
        remote: &[u8],
        local: &Path,
        depth: usize,
        listed: &mut usize,
    ) -> Result<(), ClientError> {
        check_depth(depth, remote)?;
        *listed += 1;
        if *listed > DIRECTORIES_MAX {
            let what = format!("{}: more than {DIRECTORIES_MAX} directories", shown(remote));
            return Err(ClientError::new(ErrorKind::Refused, what));
        }
        let entries = self.list_directory(remote)?;
        let entries = self.named(&[remote, b"/"].concat(), entries);
        fs::create_dir_all(local).map_err(|error| ClientError::local(local, &error))?;
        self.for_each(&entries, |shell, entry, on| match entry.kind {
            Some(EntryKind::Directory) => {
                shell.get_branch(&entry.path, &entry.local(local)?, depth + 1, listed)
            }
            Some(EntryKind::File) => shell.get_next(on, local),
            // The listing does not show what this is.
            None => match shell.get_next(on, local) {
                Err(error) if error.kind == ErrorKind::Refused => {
                    if shell.client()?.is_directory(&entry.path)? {
                        shell.get_branch(&entry.path, &entry.local(local)?, depth + 1, listed)
                    } else {
                        Err(error)
                    }
                }
                outcome => outcome,
            },
            Some(EntryKind::Link | EntryKind::Other) => {
                let path = shown(&entry.path);
                shell.note(&format!("{path}: skipped, neither file nor directory"));
                Ok(())
            }
        })
        .map(drop)
    }

    /// Sends a directory with all that it contains.
    pub(super) fn put_tree(&mut self, local: &Path, remote: &[u8]) -> Result<(), ClientError> {
        self.put_branch(local, remote, 0)
    }

    /// Sends a directory at a depth in the tree.
    fn put_branch(&mut self, local: &Path, remote: &[u8], depth: usize) -> Result<(), ClientError> {
        check_depth(depth, remote)?;
        let failed = |error: io::Error| ClientError::local(local, &error);
        let mut entries =
            fs::read_dir(local).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        if let Err(refused) = self.client()?.create_dir(remote) {
            // The directory may exist already.
            self.client()?.read_dir(remote).map_err(|_| refused)?;
        }
        self.for_each(&entries, |shell, entry, _| {
            let path = [remote, b"/", entry.file_name().as_encoded_bytes()].concat();
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                shell.put_branch(&entry.path(), &path, depth + 1)
            } else if kind.is_file() {
                shell.put_file(&entry.path(), &path, Start::Beginning)
            } else {
                shell.note(&format!(
                    "{}: skipped, neither file nor directory",
                    shown_local(&entry.path())
                ));
                Ok(())
            }
        })
        .map(drop)
    }
}

fn check_depth(depth: usize, path: &[u8]) -> Result<(), ClientError> {
    if depth < DEPTH_MAX {
        Ok(())
    } else {
        Err(ClientError::new(ErrorKind::Refused, format!("{}: too deep", shown(path))))
    }
}
