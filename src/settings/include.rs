//! The files that `include` names: the paths of a pattern, and the bounds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::ftp::pattern::{is_pattern, matches};
use crate::units::unreadable;

/// Maximum depth of files that include files.
pub(super) const DEPTH_MAX: usize = 8;

/// Maximum number of files.
pub(super) const FILES_MAX: usize = 1000;

/// The files that have been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadFiles {
    /// The files in the order of reading; the first is that of `--config`.
    pub files: Vec<PathBuf>,
    /// The directories in which patterns look for files.
    pub folders: Vec<PathBuf>,
}

impl ReadFiles {
    /// Returns the paths of all files, and of the directories in which files may be added.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.folders)
    }

    /// Adds a file that is about to be read.
    ///
    /// # Errors
    /// A clause, if it was read before, or is one too many.
    pub(super) fn enter(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let shown = path.display();
        if self.files.iter().any(|file| real(file) == real(path)) {
            return Err(format!("{shown} is included again; each file is read once"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("{shown} is more than {DEPTH_MAX} files deep"));
        }
        if self.files.len() >= FILES_MAX {
            return Err(format!("{shown} is more than the {FILES_MAX} files that are read"));
        }
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Returns the files of a path or pattern, in the order of their names.
    ///
    /// # Errors
    /// A clause, if the pattern is none, or its directory cannot be read.
    pub(super) fn expand(&mut self, path: &Path) -> Result<Vec<PathBuf>, String> {
        let name = path.file_name().ok_or("it names no file")?;
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        if is_pattern(folder.as_os_str().as_encoded_bytes()) {
            return Err("only the name of a file may be a pattern, not its directory".to_owned());
        }
        let pattern = name.as_encoded_bytes();
        if !is_pattern(pattern) {
            return Ok(vec![path.to_owned()]);
        }
        self.folders.push(folder.to_owned());
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| unreadable(folder, &error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| unreadable(folder, &error))?.file_name();
            let bytes = name.as_encoded_bytes();
            let is_hidden = bytes.starts_with(b".") && !pattern.starts_with(b".");
            let path = folder.join(&name);
            if !is_hidden && matches(pattern, bytes) && path.is_file() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}
