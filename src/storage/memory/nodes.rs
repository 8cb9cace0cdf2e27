//! The files and directories of a tree in memory, and the partial uploads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::ftp::VirtualPath;
use crate::ftp::listing::{Entry, Kind};
use crate::storage::reserved_names::may_be_reserved;
use crate::storage::upload::Owner;

/// The maximum length of a name, in bytes; as on Linux.
const NAME_BYTES_MAX: usize = 255;

/// The device number of every tree in memory, whose threads answer for it.
pub(in crate::storage) const DEVICE: u64 = u64::MAX;

/// The mode of a new directory.
const DIRECTORY_MODE: u32 = 0o755;
/// The mode of a new file.
const FILE_MODE: u32 = 0o644;

/// The mode bits that a client may set.
const MODE_MASK: u32 = 0o775;

/// The bytes of an upload, which the upload and its partial share.
pub(in crate::storage) type Bytes = Arc<Mutex<Vec<u8>>>;

/// A file or directory.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The bytes of a file; none for a directory.
    pub(super) content: Option<Arc<Vec<u8>>>,
    modified: Timestamp,
    mode: u32,
    /// A number that no other node has or had.
    pub(super) identity: u64,
}

/// A partial upload.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) content: Bytes,
    pub(super) owner: Owner,
    /// The identity of the file that it is to replace.
    pub(super) over: Option<u64>,
    /// An upload writes it.
    pub(super) is_busy: bool,
}

/// All files, directories and partial uploads. Paths have no slash in front; that of the root is empty.
#[derive(Debug)]
pub(super) struct Nodes {
    named: BTreeMap<Vec<u8>, Node>,
    pub(super) partials: BTreeMap<Vec<u8>, Partial>,
    last_identity: u64,
    last_unique: u32,
}

/// Returns the key of a path.
///
/// # Errors
/// Permission denied when the path has a reserved name, or the error for a name that is too long.
pub(super) fn key(path: &VirtualPath) -> io::Result<Vec<u8>> {
    let path = path.beneath_root();
    for name in path.split(|byte| *byte == b'/') {
        if may_be_reserved(name) {
            return Err(Errno::ACCESS.into());
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
    }
    Ok(path.to_vec())
}

/// Returns the key of the directory that has a key's name.
fn parent(key: &[u8]) -> &[u8] {
    let slash = key.iter().rposition(|byte| *byte == b'/');
    slash.and_then(|slash| key.get(..slash)).unwrap_or_default()
}

/// Returns the start of the keys beneath a directory.
fn beneath(directory: &[u8]) -> Vec<u8> {
    if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() }
}

impl Nodes {
    pub(super) fn new() -> Self {
        let mut nodes = Self {
            named: BTreeMap::new(),
            partials: BTreeMap::new(),
            last_identity: 0,
            last_unique: 0,
        };
        let root = nodes.node(None, DIRECTORY_MODE);
        nodes.named.insert(Vec::new(), root);
        nodes
    }

    fn node(&mut self, content: Option<Vec<u8>>, mode: u32) -> Node {
        self.last_identity += 1;
        let content = content.map(Arc::new);
        Node { content, modified: Timestamp::now(), mode, identity: self.last_identity }
    }

    pub(super) fn get(&self, key: &[u8]) -> io::Result<&Node> {
        self.named.get(key).ok_or_else(|| Errno::NOENT.into())
    }

    /// Returns the file with this key, if there is one.
    ///
    /// # Errors
    /// When the key is that of a directory, or its directory is missing.
    pub(super) fn file(&self, key: &[u8]) -> io::Result<Option<&Node>> {
        self.check_directory(parent(key))?;
        match self.named.get(key) {
            Some(node) if node.content.is_none() => Err(Errno::ISDIR.into()),
            found => Ok(found),
        }
    }

    pub(super) fn check_directory(&self, key: &[u8]) -> io::Result<()> {
        if self.get(key)?.content.is_some() { Err(Errno::NOTDIR.into()) } else { Ok(()) }
    }

    pub(super) fn entry(&self, key: &[u8]) -> io::Result<Entry> {
        let node = self.get(key)?;
        let name = key.get(beneath(parent(key)).len()..).unwrap_or_default().to_vec();
        let size = node.content.as_ref().map_or(0, |content| content.len() as u64);
        Ok(Entry {
            name,
            kind: if node.content.is_some() { Kind::File } else { Kind::Directory },
            size,
            modified: node.modified,
            mode: node.mode,
            links: 1,
            identity: (DEVICE, node.identity),
            owner: geteuid().as_raw(),
            group: getegid().as_raw(),
            link: None,
        })
    }

    /// Returns at most `most` keys in a directory, in order, after this one.
    pub(super) fn keys_in(&self, directory: &[u8], after: &[u8], most: usize) -> Vec<Vec<u8>> {
        let start = beneath(directory);
        let after = after.max(&start);
        let range = self.named.range::<[u8], _>((Excluded(after), Unbounded));
        range
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&start))
            .filter(|key| parent(key) == directory)
            .take(most)
            .cloned()
            .collect()
    }

    /// Stores a file, in place of the one with this key.
    pub(super) fn store(&mut self, key: &[u8], content: Vec<u8>) -> io::Result<()> {
        let mode = self.file(key)?.map_or(FILE_MODE, |replaced| replaced.mode);
        let node = self.node(Some(content), mode);
        self.named.insert(key.to_vec(), node);
        Ok(())
    }

    pub(super) fn make_directory(&mut self, key: &[u8]) -> io::Result<()> {
        self.check_directory(parent(key))?;
        if self.named.contains_key(key) {
            return Err(Errno::EXIST.into());
        }
        let node = self.node(None, DIRECTORY_MODE);
        self.named.insert(key.to_vec(), node);
        Ok(())
    }

    /// Removes a file and its partial upload.
    pub(super) fn remove(&mut self, key: &[u8]) -> io::Result<()> {
        let was_file = self.file(key)?.is_some();
        self.named.remove(key);
        match self.partials.get(key) {
            Some(partial) if !partial.is_busy => {
                self.partials.remove(key);
                Ok(())
            }
            _ if was_file => Ok(()),
            Some(_) => Err(Errno::BUSY.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn remove_directory(&mut self, key: &[u8]) -> io::Result<()> {
        self.check_directory(key)?;
        let is_busy =
            |(path, partial): (&Vec<u8>, &Partial)| partial.is_busy && parent(path) == key;
        if !self.keys_in(key, key, 1).is_empty() || self.partials.iter().any(is_busy) {
            return Err(Errno::NOTEMPTY.into());
        }
        self.partials.retain(|path, _| parent(path) != key);
        self.named.remove(key);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8], may_replace: bool) -> io::Result<()> {
        let moves_directory = self.get(from)?.content.is_none();
        self.check_directory(parent(to))?;
        if moves_directory && to.starts_with(&beneath(from)) {
            return Err(Errno::INVAL.into());
        }
        match self.named.get(to) {
            Some(_) if !may_replace => return Err(Errno::ACCESS.into()),
            Some(_) if from == to => return Ok(()),
            Some(replaced) if replaced.content.is_none() != moves_directory => {
                let error = if moves_directory { Errno::NOTDIR } else { Errno::ISDIR };
                return Err(error.into());
            }
            Some(_) if moves_directory => self.remove_directory(to)?,
            Some(_) | None => {}
        }
        self.partials.retain(|path, partial| path != to || partial.is_busy);
        let start = beneath(from);
        let moved = |key: &Vec<u8>| key == from || moves_directory && key.starts_with(&start);
        let keys: Vec<Vec<u8>> = self.named.keys().filter(|key| moved(key)).cloned().collect();
        for key in keys {
            if let Some(node) = self.named.remove(&key) {
                let rest = key.get(from.len()..).unwrap_or_default();
                self.named.insert([to, rest].concat(), node);
            }
        }
        Ok(())
    }

    pub(super) fn set_mode(&mut self, key: &[u8], mode: u32) -> io::Result<u32> {
        let node = self.named.get_mut(key).ok_or(Errno::NOENT)?;
        node.mode = mode & MODE_MASK;
        Ok(node.mode)
    }

    pub(super) fn set_modified(&mut self, key: &[u8], modified: Timestamp) -> io::Result<()> {
        self.named.get_mut(key).ok_or(Errno::NOENT)?.modified = modified;
        Ok(())
    }

    /// Returns a number that no earlier upload had.
    pub(super) fn next_unique(&mut self) -> u32 {
        self.last_unique += 1;
        self.last_unique
    }
}
