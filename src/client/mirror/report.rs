//! Progress and results of a mirror, and the text of its actions.

use std::fmt;
use std::time::Duration;

use crate::client::error::ClientError;
use crate::client::names::shown;

use super::plan::{MirrorAction, Obstacle};
use super::tree::ItemKind;

/// An event during the scan or the execution of a mirror.
#[derive(Debug)]
#[non_exhaustive]
pub enum MirrorEvent<'a> {
    /// Number of items found so far.
    Scanned(usize),
    /// Execution begins: number and bytes of the files to transfer.
    Begun {
        /// Number of files.
        files: usize,
        /// Sum of their sizes in bytes, as far as they are known.
        bytes: u64,
    },
    /// Number of bytes of these files so far, including those that earlier runs have left.
    Moved(u64),
    /// The transfer of a file has ended: its path from the top of the trees, and the bytes and the time, or the error.
    FileEnded {
        /// The path.
        path: &'a [u8],
        /// Bytes and time, or the error.
        outcome: Result<(u64, Duration), &'a ClientError>,
    },
    /// An action is done.
    Done(&'a MirrorAction),
    /// An item is not copied, or an action failed.
    Failed(&'a ClientError),
    /// A note for the user, such as a retry after a lost connection.
    Note(&'a str),
}

/// Result of a mirror.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct MirrorReport {
    /// Number of files transferred.
    pub transferred: usize,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// Number of items removed.
    pub removed: usize,
    /// Number of directories made.
    pub directories: usize,
    /// Number of files and links that needed no transfer.
    pub unchanged: usize,
    /// Errors, one for each item that is not copied and for each action that failed.
    pub errors: Vec<ClientError>,
}

impl MirrorReport {
    /// Returns true if everything was done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn count(&mut self, action: &MirrorAction, bytes: u64) {
        match action {
            MirrorAction::Transfer { .. } => {
                self.transferred += 1;
                self.bytes += bytes;
            }
            MirrorAction::Remove { .. } => self.removed += 1,
            MirrorAction::MakeDirectory { .. } => self.directories += 1,
            MirrorAction::Link { .. }
            | MirrorAction::SetTime { .. }
            | MirrorAction::SetMode { .. } => {}
        }
    }
}

impl fmt::Display for MirrorAction {
    /// Writes the action as `--dry-run` prints it, such as `transfer a/b (1234 bytes)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { path } => write!(formatter, "mkdir {}", shown(path)),
            Self::Transfer { path, item, .. } => {
                write!(formatter, "transfer {}", shown(path))?;
                match item.kind {
                    ItemKind::File { size: Some(size) } => write!(formatter, " ({size} bytes)"),
                    _ => Ok(()),
                }
            }
            Self::Link { path, target } => {
                write!(formatter, "link {} -> {}", shown(path), shown(target))
            }
            Self::Remove { path, is_directory: false } => write!(formatter, "rm {}", shown(path)),
            Self::Remove { path, is_directory: true } => write!(formatter, "rmdir {}", shown(path)),
            Self::SetTime { path, modified } => {
                write!(formatter, "touch {} {}", shown(path), modified.time)
            }
            Self::SetMode { path, mode } => write!(formatter, "chmod {mode:03o} {}", shown(path)),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kind => "neither file, directory nor link",
            Self::Target => "the target of the link leads out of the tree",
            Self::Occupied => "the copy has an item of another kind there; --delete replaces it",
            Self::Link => "links cannot be uploaded",
        })
    }
}
