//! Walks through remote directories, for commands that work on whole trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{is_directory, shown, without_slash};
use crate::ftp::listing::Listed;

use super::state::Shell;
use super::words::split_path;

/// Maximum depth of a tree.
pub(super) const DEPTH_MAX: usize = 64;

/// Maximum number of directories that one command lists: a server can show a tree that repeats itself.
const DIRECTORIES_MAX: usize = 100_000;

/// An entry of a tree, with its path as it is given to the server.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) path: Vec<u8>,
    pub(super) entry: Listed,
}

impl Shell {
    /// Returns all entries below a directory, each directory before its content. Links are not followed.
    pub(super) fn walk(&mut self, top: &[u8]) -> Result<Vec<Walked>, ClientError> {
        let mut found = Vec::new();
        let mut waiting = vec![(top.to_vec(), 0)];
        let mut listed = 0;
        while let Some((path, depth)) = waiting.pop() {
            listed += 1;
            if depth > DEPTH_MAX || listed > DIRECTORIES_MAX {
                let what = format!("{}: too many directories", shown(&path));
                return Err(ClientError::new(ErrorKind::Refused, what));
            }
            self.options.interrupt.check()?;
            for entry in self.list_directory(&path)? {
                let path = join(&path, &entry.name);
                if is_directory(&entry) {
                    waiting.push((path.clone(), depth + 1));
                }
                found.push(Walked { path, entry });
            }
        }
        // Depth first, with each directory directly before its content.
        found.sort_by(|one, other| one.path.split(is_slash).cmp(other.path.split(is_slash)));
        Ok(found)
    }

    /// Returns the entry of a path in the listing of its directory; `None` for one that is not listed, such as `.`.
    pub(super) fn entry(&mut self, path: &[u8]) -> Result<Option<Listed>, ClientError> {
        let (directory, name) = split_path(OsStr::from_bytes(without_slash(path)));
        if is_special(name.as_bytes()) {
            return Ok(None);
        }
        let entries = self.list_directory(without_slash(directory.as_bytes()))?;
        Ok(entries.into_iter().find(|entry| entry.name == name.as_bytes()))
    }

    /// Returns true for the path of an existing directory.
    pub(super) fn is_remote_directory(&mut self, path: &[u8]) -> Result<bool, ClientError> {
        self.client()?.is_directory(path)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that split asks for")]
fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// Returns true for names that no listing has.
fn is_special(name: &[u8]) -> bool {
    matches!(name, b"" | b"/" | b"." | b"..")
}

/// Returns the path of an entry of a directory.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory if directory.ends_with(b"/") => [directory, name].concat(),
        directory => [directory, b"/", name].concat(),
    }
}
