//! Scans of the two sides of a mirror: the local tree from the disk, the remote one from listings.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use walkdir::WalkDir;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{join, shown_path};
use crate::client::part::Part;
use crate::client::tree_walk::{Below, DEPTH_MAX};
use crate::ftp::listing::{Kind as EntryKind, Listed};

use super::filter::Filter;
use super::tree::{Item, ItemKind, Stamp, Tree, parent};

/// Seconds of a minute, and of a day: precisions of the times in LIST.
const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// Side of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The tree that is copied.
    Source,
    /// The copy.
    Target,
}

/// Reads a local tree, without following symbolic links. Returns errors about all that could not be read, too. A target
/// that does not exist is an empty tree.
pub(super) fn scan_local(root: &Path, side: Side, filter: &Filter) -> (Tree, Vec<ClientError>) {
    let (mut tree, mut errors) = (Tree::default(), Vec::new());
    if side == Side::Target && !root.exists() {
        return (tree, errors);
    }
    let mut walk = WalkDir::new(root).min_depth(1).max_depth(DEPTH_MAX + 1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                tree.mark_incomplete(relative(root, &path));
                errors.push(ClientError::local(&path, &io::Error::from(error)));
                continue;
            }
        };
        let path = relative(root, entry.path());
        let is_directory = entry.file_type().is_dir();
        let is_ours = entry.file_type().is_file() && Part::is_part_of_ours(entry.path());
        let is_too_deep = entry.depth() > DEPTH_MAX;
        if is_ours || is_too_deep || !filter.includes(path, is_directory) {
            if is_ours {
                tree.left_identities.extend(Part::left_identity_of(entry.path()));
            }
            // A directory with items that are left out must not be removed.
            if side == Side::Target || is_too_deep {
                tree.mark_incomplete(parent(path).unwrap_or_default());
            }
            if is_too_deep {
                let message = format!("{}: too deep", shown_path(entry.path()));
                errors.push(ClientError::new(ErrorKind::Local, message));
            }
            if is_directory {
                walk.skip_current_dir();
            }
            continue;
        }
        match entry.metadata() {
            Ok(found) => {
                tree.items.insert(path.to_vec(), local_item(entry.path(), &found));
            }
            Err(error) => {
                tree.mark_incomplete(parent(path).unwrap_or_default());
                errors.push(ClientError::local(entry.path(), &error.into()));
            }
        }
    }
    (tree, errors)
}

/// Returns the local path of an item. The names in `path` lead nowhere else, because the scan leaves out those that could.
pub(super) fn local_path(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

fn relative<'a>(root: &Path, path: &'a Path) -> &'a [u8] {
    path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes()
}

fn local_item(path: &Path, found: &fs::Metadata) -> Item {
    let kind = match found.file_type() {
        kind if kind.is_file() => ItemKind::File { size: Some(found.len()) },
        kind if kind.is_dir() => ItemKind::Directory,
        kind if kind.is_symlink() => ItemKind::Link {
            target: fs::read_link(path).ok().map(|target| target.as_os_str().as_bytes().to_vec()),
        },
        _ => ItemKind::Other,
    };
    let modified = Timestamp::new(found.mtime(), 0).ok().map(Stamp::exact);
    Item { kind, modified, mode: Some(found.permissions().mode() & 0o777) }
}

/// Adds the entries of one remote directory to a tree. Returns its directories.
///
/// SECURITY: a server chooses the names. One that could lead out of the local directory is left out, and a name that
/// comes twice counts once.
pub(super) fn add_listing(
    tree: &mut Tree,
    directory: &[u8],
    entries: Vec<Listed>,
    reading: &Reading<'_>,
) -> Vec<Below> {
    let mut below = Vec::new();
    for mut entry in entries {
        let is_name = !matches!(entry.name.as_slice(), b"" | b"." | b"..")
            && !entry.name.iter().any(|byte| matches!(byte, b'/' | b'\0'));
        let path = join(directory, &entry.name);
        let is_directory = entry.kind == Some(EntryKind::Directory);
        if tree.items.contains_key(&path) {
            continue;
        }
        if !is_name || !reading.filter.includes(&path, is_directory) {
            // A directory with items that are left out must not be removed, and a bad name may stand for any item.
            if !is_name || reading.side == Side::Target {
                tree.mark_incomplete(directory);
            }
            continue;
        }
        if is_directory {
            below.push(Below { path: path.clone(), unique: entry.unique.take() });
        }
        tree.items.insert(path, remote_item(entry, reading));
    }
    below
}

/// Rules for reading listings.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) filter: &'a Filter,
    /// The listings have exact times (MLSD).
    pub(super) is_exact: bool,
    pub(super) side: Side,
    /// Permission bits that no local copy gets.
    pub(super) umask: u32,
}

fn remote_item(entry: Listed, reading: &Reading<'_>) -> Item {
    let is_directory = entry.kind == Some(EntryKind::Directory);
    let kind = match entry.kind {
        Some(EntryKind::File) => ItemKind::File { size: entry.size },
        Some(EntryKind::Directory) => ItemKind::Directory,
        Some(EntryKind::Link) => ItemKind::Link { target: entry.target },
        Some(EntryKind::Other) | None => ItemKind::Other,
    };
    let modified = entry
        .modified
        .map(|time| Stamp { time, precision: if reading.is_exact { 1 } else { precision(time) } });
    let mode = entry.mode.map(|mode| match reading.side {
        // The owner must be able to write the next copy.
        Side::Source => mode & 0o777 & !reading.umask | if is_directory { 0o700 } else { 0o600 },
        Side::Target => mode & 0o777,
    });
    Item { kind, modified, mode }
}

/// Returns the precision of a time in LIST, in seconds. Lines have no seconds, and old files have no time of day.
fn precision(time: Timestamp) -> i64 {
    match time.as_second() {
        second if second % DAY == 0 => DAY,
        second if second % MINUTE == 0 => MINUTE,
        _ => 1,
    }
}
