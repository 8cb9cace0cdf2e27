//! A tree in memory, for tests of programs that use FTP. It answers late: another thread answers every request, and
//! every read and write.
//!
//! Not here: symbolic links, quotas, rules for directories, mounts, and anything that outlives the process.

mod listing;
mod nodes;
mod reader;
mod upload;
mod writer;

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::permissions::{Permissions, refuse_unless};
use super::rights::Surroundings;
use super::unique::unique_name;
use super::upload::{Owner, Start, UploadError};
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;
use crate::ftp::verb::Permission;
use crate::pool::DiskPool;

pub(super) use listing::MemoryListing;
pub(super) use nodes::DEVICE;
use nodes::{Nodes, key};
pub(super) use reader::MemoryReader;
pub(super) use upload::MemoryUpload;
pub(super) use writer::MemoryWriter;

/// The maximum number of names that are tried for a STOU upload.
const UNIQUE_NAMES_MAX: u32 = 1000;

/// A tree in memory, as a client with some permissions sees it. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryTree {
    nodes: Arc<Mutex<Nodes>>,
    /// The maximum number of bytes, or of entries, in one answer.
    piece: usize,
    /// The permissions of the client, in the whole tree.
    may: Permissions,
}

impl MemoryTree {
    /// Creates an empty tree. One answer has at most `piece` bytes of a file, or entries of a directory; at least one.
    #[must_use]
    pub fn new(piece: usize) -> Self {
        let nodes = Arc::new(Mutex::new(Nodes::new()));
        Self { nodes, piece: piece.max(1), may: Permissions::FULL }
    }

    /// Sets the permissions of the client that uses the tree.
    pub(super) fn with_permissions(self, may: Permissions) -> Self {
        Self { may, ..self }
    }

    /// Returns the permissions of the client, in the whole tree.
    pub(super) fn permissions(&self) -> Permissions {
        self.may
    }

    /// Checks a permission.
    ///
    /// # Errors
    /// Permission denied.
    pub(super) fn permit(&self, permission: Permission) -> io::Result<()> {
        refuse_unless(self.may.allow(permission))
    }

    /// Stores a file. Its directory must exist.
    pub fn write(&self, path: &str, content: &[u8]) -> io::Result<()> {
        self.nodes.lock().store(path.as_bytes(), content.to_vec())
    }

    /// Returns the bytes of a file; none for a directory.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let nodes = self.nodes.lock();
        let content = nodes.get(path.as_bytes())?.content.clone();
        Ok(content.map(|content| content.to_vec()).unwrap_or_default())
    }

    /// Creates a directory.
    pub fn create_dir(&self, path: &str) -> io::Result<()> {
        self.nodes.lock().make_directory(path.as_bytes())
    }

    pub(super) fn open(
        &self,
        path: &VirtualPath,
        disks: Arc<DiskPool>,
    ) -> io::Result<MemoryReader> {
        self.permit(Permission::Read)?;
        let nodes = self.nodes.lock();
        let file = nodes.file(&key(path)?)?.ok_or(Errno::NOENT)?;
        let content = file.content.clone().unwrap_or_default();
        Ok(MemoryReader::new(content, disks, self.piece))
    }

    pub(super) fn open_partial(
        &self,
        path: &VirtualPath,
        disks: Arc<DiskPool>,
    ) -> io::Result<MemoryReader> {
        let content = self.partial(path)?;
        Ok(MemoryReader::new(Arc::new(content), disks, self.piece))
    }

    /// Returns the bytes of the partial upload of a name that no complete file has.
    fn partial(&self, path: &VirtualPath) -> io::Result<Vec<u8>> {
        refuse_unless(self.may.allow(Permission::Write) || self.may.allow(Permission::Append))?;
        let (nodes, key) = (self.nodes.lock(), key(path)?);
        let partial = nodes.partials.get(&key).filter(|partial| partial.over.is_none());
        let content = partial.ok_or(Errno::NOENT)?.content.lock().clone();
        if content.is_empty() || nodes.get(&key).is_ok() {
            return Err(Errno::NOENT.into());
        }
        Ok(content)
    }

    pub(super) fn create(
        &self,
        path: &VirtualPath,
        start: Start,
        owner: Owner,
    ) -> Result<MemoryUpload, UploadError> {
        let (permission, key) = (start.permission(), key(path)?);
        self.permit(permission)?;
        // A client that may only create gets a file of a name that is free.
        let must_be_new = permission == Permission::Create && !self.may.allow(Permission::Write);
        if must_be_new && self.nodes.lock().file(&key)?.is_some() {
            return Err(Errno::EXIST.into());
        }
        upload::begin(&self.nodes, key, start, owner)
    }

    pub(super) fn create_unique(
        &self,
        directory: &VirtualPath,
        wanted: Option<&[u8]>,
        owner: Owner,
    ) -> Result<(MemoryUpload, VirtualPath), UploadError> {
        self.permit(Permission::Create)?;
        for attempt in 0..UNIQUE_NAMES_MAX {
            let name = unique_name(wanted, attempt, || self.nodes.lock().next_unique());
            let path = directory.join(&name).map_err(|_| Errno::NAMETOOLONG)?;
            let key = key(&path)?;
            let is_free = {
                let nodes = self.nodes.lock();
                nodes.file(&key).map(|found| found.is_none() && !nodes.partials.contains_key(&key))
            };
            match is_free {
                Ok(true) => {
                    let upload = upload::begin(&self.nodes, key, Start::Overwrite, owner)?;
                    return Ok((upload, path));
                }
                Err(error) if error.kind() != io::ErrorKind::IsADirectory => {
                    return Err(error.into());
                }
                Ok(false) | Err(_) => {}
            }
        }
        Err(Errno::EXIST.into())
    }

    pub(super) fn list(
        &self,
        path: &VirtualPath,
        disks: Arc<DiskPool>,
    ) -> io::Result<MemoryListing> {
        self.permit(Permission::List)?;
        let directory = key(path)?;
        self.nodes.lock().check_directory(&directory)?;
        let surroundings = self.surroundings_in(&directory)?;
        let nodes = Arc::clone(&self.nodes);
        Ok(MemoryListing::new(nodes, directory, (surroundings, self.may), disks, self.piece))
    }

    pub(super) fn stat(&self, path: &VirtualPath) -> io::Result<Entry> {
        self.nodes.lock().entry(&key(path)?)
    }

    pub(super) fn stat_partial(&self, path: &VirtualPath) -> io::Result<Entry> {
        let size = self.partial(path)?.len() as u64;
        let parent = self.stat(&path.parent())?;
        let kind = crate::ftp::listing::Kind::File;
        Ok(Entry { name: path.name().to_vec(), kind, size, ..parent })
    }

    pub(super) fn is_being_replaced(&self, path: &VirtualPath, owner: Owner) -> bool {
        let Ok(key) = key(path) else { return false };
        let nodes = self.nodes.lock();
        let stands = nodes.get(&key).ok().map(|node| node.identity);
        let partial = nodes.partials.get(&key).filter(|partial| partial.over == stands);
        partial.is_some_and(|partial| partial.owner == owner && stands.is_some())
    }

    pub(super) fn surroundings(&self, path: &VirtualPath) -> io::Result<Surroundings> {
        if path.is_root() {
            return Ok(Surroundings::default());
        }
        self.surroundings_in(&key(&path.parent())?)
    }

    fn surroundings_in(&self, directory: &[u8]) -> io::Result<Surroundings> {
        Ok(Surroundings::within(&self.nodes.lock().entry(directory)?, false))
    }

    pub(super) fn enter(&self, path: &VirtualPath) -> io::Result<()> {
        refuse_unless(!self.may.is_empty())?;
        self.nodes.lock().check_directory(&key(path)?)
    }

    /// Returns the number of bytes that can still be stored: no limit is known.
    pub(super) fn available(&self, path: &VirtualPath) -> io::Result<u64> {
        self.permit(Permission::Create)?;
        self.stat(path).map(|_| u64::MAX)
    }

    pub(super) fn make_directory(&self, path: &VirtualPath) -> io::Result<()> {
        self.permit(Permission::MakeDirectory)?;
        self.nodes.lock().make_directory(&key(path)?)
    }

    pub(super) fn remove(&self, path: &VirtualPath) -> io::Result<()> {
        self.permit(Permission::Delete)?;
        self.nodes.lock().remove(&key(path)?)
    }

    pub(super) fn remove_directory(&self, path: &VirtualPath) -> io::Result<()> {
        self.permit(Permission::Delete)?;
        self.nodes.lock().remove_directory(&key(path)?)
    }

    pub(super) fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> io::Result<()> {
        self.permit(Permission::Rename)?;
        let may_replace = self.may.allow(Permission::Write) || self.may.allow(Permission::Delete);
        self.nodes.lock().rename(&key(from)?, &key(to)?, may_replace)
    }

    pub(super) fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        self.permit(Permission::ChangeAttributes)?;
        self.nodes.lock().set_mode(&key(path)?, mode)
    }

    pub(super) fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> io::Result<()> {
        self.permit(Permission::ChangeAttributes)?;
        self.nodes.lock().set_modified(&key(path)?, modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_may_only_create_replaces_no_file() {
        let tree = MemoryTree::new(8);
        tree.write("old", b"text").unwrap();
        let client = tree.clone().with_permissions(Permissions::parse("create").unwrap());
        let path = |name: &str| VirtualPath::root().join(name.as_bytes()).unwrap();
        let begin = |name, start| client.create(&path(name), start, Owner(1));
        assert!(begin("new", Start::Overwrite).is_ok());
        for start in [Start::Overwrite, Start::At(0), Start::At(1), Start::End] {
            assert!(begin("old", start).is_err(), "{start:?}");
        }
        assert!(client.remove(&path("old")).is_err());
        assert!(client.rename(&path("old"), &path("other")).is_err());
        assert_eq!(tree.read("old").unwrap(), b"text");
    }
}
