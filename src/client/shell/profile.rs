//! The user's own files: the history, the bookmarks, and the commands that run at the start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::client::error::ClientError;

/// Maximum number of lines of the history.
pub(super) const HISTORY_LINES_MAX: usize = 2000;

/// A name for a server and a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) name: String,
    pub(super) url: String,
}

/// Returns the file with the commands that run at the start.
pub(super) fn start_file() -> Option<PathBuf> {
    Some(directory("XDG_CONFIG_HOME", ".config")?.join("rc"))
}

/// Returns the file of the history, in a directory that exists and that only the user may read.
pub(super) fn history_file() -> Option<PathBuf> {
    let directory = directory("XDG_STATE_HOME", ".local/state")?;
    make(&directory).ok()?;
    Some(directory.join("history"))
}

/// Reads the bookmarks; none without a readable file of them.
pub(super) fn bookmarks() -> Vec<Bookmark> {
    let text = bookmarks_file().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let bookmark = |line: &str| {
        let (name, url) = line.split_once('\t')?;
        Some(Bookmark { name: name.to_owned(), url: url.to_owned() })
    };
    text.lines().filter_map(bookmark).collect()
}

/// Replaces the bookmarks, with a new file in one rename.
pub(super) fn write_bookmarks(bookmarks: &[Bookmark]) -> Result<(), ClientError> {
    let path = bookmarks_file().ok_or_else(|| ClientError::usage("no home directory"))?;
    let text: Vec<String> =
        bookmarks.iter().map(|bookmark| format!("{}\t{}\n", bookmark.name, bookmark.url)).collect();
    let write = || -> io::Result<()> {
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        make(directory)?;
        let mut new = tempfile::Builder::new().prefix("bookmarks").tempfile_in(directory)?;
        new.write_all(text.concat().as_bytes())?;
        new.persist(&path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|error| ClientError::local(&path, &error))
}

/// Makes an empty file that only the user may read, unless it exists.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

fn bookmarks_file() -> Option<PathBuf> {
    Some(directory("XDG_CONFIG_HOME", ".config")?.join("bookmarks"))
}

/// Returns the directory of ftpclient below that of the XDG base directories.
fn directory(variable: &str, default: &str) -> Option<PathBuf> {
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(base.or_else(|| Some(std::env::home_dir()?.join(default)))?.join("ftpclient"))
}

fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
