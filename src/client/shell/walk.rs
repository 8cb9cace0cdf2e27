//! Walks through remote directories, for commands that work on whole trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::client::directory::unread;
use crate::client::error::ClientError;
use crate::client::names::{is_directory, join, without_slash};
use crate::client::tree_walk::{Below, Level, TreeVisitor, TreeWalk, repeats};
use crate::ftp::listing::Listed;

use super::state::Shell;
use super::words::split_path;

/// An entry of a tree, with its path as it is given to the server.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) path: Vec<u8>,
    pub(super) entry: Listed,
}

impl Shell {
    /// Returns all entries below a directory, each directory before its content. Links are not followed. The command
    /// fails at its end if a directory cannot be listed.
    ///
    /// # Errors
    /// When the directory itself cannot be listed, the connection is lost, or the user interrupts.
    pub(super) fn walk(&mut self, top: &[u8]) -> Result<Vec<Walked>, ClientError> {
        let connections = self.settings.parallel.max(1);
        let walk = TreeWalk { root: top, connections, asks_kinds: false, enters_once: true };
        let (found, errors) = (Vec::new(), Vec::new());
        let mut walking = Walking { top, found, errors, notes: Vec::new() };
        self.client()?.walk_tree(&walk, &mut walking)?;
        let Walking { mut found, errors, notes, .. } = walking;
        for note in &notes {
            self.note(note);
        }
        for error in errors {
            self.fail_at_end(error);
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

/// A tree while it is listed.
struct Walking<'a> {
    top: &'a [u8],
    found: Vec<Walked>,
    errors: Vec<ClientError>,
    notes: Vec<String>,
}

impl TreeVisitor for Walking<'_> {
    fn listed(&mut self, level: Level) -> Vec<Below> {
        let Level { path, directory, .. } = level;
        self.errors.extend(unread(&join(self.top, &path), &directory));
        let mut below = Vec::new();
        for entry in directory.entries {
            let path = join(&path, &entry.name);
            if is_directory(&entry) {
                below.push(Below { path: path.clone(), unique: entry.unique.clone() });
            }
            self.found.push(Walked { path: join(self.top, &path), entry });
        }
        below
    }

    fn failed(&mut self, _: &[Vec<u8>], error: ClientError) {
        self.errors.push(error);
    }

    fn repeated(&mut self, path: &[u8]) {
        self.notes.push(repeats(&join(self.top, path)));
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
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
