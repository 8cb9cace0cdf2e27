//! The tree that a member sees, whatever stores it. Other rooms reach the files only through this type.
//!
//! A request is a function of [`Files`]: it makes as many operations as its command needs. The tree decides which thread
//! runs it, and so whether the answer is here or comes later. Files that are open answer some bytes at a time:
//! [`Reader`], [`Writer`], [`Listing`].
//!
//! Not here: the operations on a directory of this machine, in `root`, `partials` and `upload`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::durability::Durability;
use super::listing::Listing;
use super::memory::{DEVICE, MemoryTree, MemoryUpload};
use super::pending::Pending;
use super::permissions::Permissions;
use super::permit::EntryPermissions;
use super::reader::Reader;
use super::rights::Surroundings;
use super::root::Root;
use super::upload::{Owner, Start, Terms, Upload, UploadError};
use super::writer::Writer;
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;
use crate::ftp::verb::Permission;
use crate::pool::DiskPool;

/// The storage of a tree.
#[derive(Debug, Clone)]
pub enum Store {
    /// A directory of this machine.
    Local(Arc<Root>),
    /// A tree in memory.
    Memory(MemoryTree),
}

impl Store {
    /// Returns the permissions that its client has in at least one directory.
    pub(super) fn permissions(&self) -> Permissions {
        match self {
            Self::Local(root) => root.allowed().anywhere(),
            Self::Memory(tree) => tree.permissions(),
        }
    }
}

impl From<Arc<Root>> for Store {
    fn from(root: Arc<Root>) -> Self {
        Self::Local(root)
    }
}

impl From<MemoryTree> for Store {
    fn from(tree: MemoryTree) -> Self {
        Self::Memory(tree)
    }
}

/// The tree that a member sees.
#[derive(Debug, Clone)]
pub struct Tree {
    store: Store,
    /// The threads that wait for disks.
    disks: Arc<DiskPool>,
    durability: Durability,
}

impl Tree {
    /// Creates the tree on a store. Changes are acknowledged according to `durability`.
    #[must_use]
    pub fn new(store: Store, disks: Arc<DiskPool>, durability: Durability) -> Self {
        Self { store, disks, durability }
    }

    /// Returns the path of a file on this machine, if it is on this machine and the path is known.
    #[must_use]
    pub fn real_path(&self, path: &VirtualPath) -> Option<PathBuf> {
        match &self.store {
            Store::Local(root) => root.real_path(path),
            Store::Memory(_) => None,
        }
    }

    /// Makes a request that changes nothing. May hang if the answer is not [`Pending::Later`].
    pub fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files<'_>) -> io::Result<T> + Send + 'static,
    ) -> Pending<T> {
        match &self.store {
            Store::Local(_) => Pending::Done(work(&Files(self))),
            Store::Memory(_) => self.run(DEVICE, work),
        }
    }

    /// Makes a request that changes names or attributes. May hang if the answer is not [`Pending::Later`].
    ///
    /// On a directory of this machine, a change that is flushed before it is answered is made by a thread of its disk:
    /// that of the directory which `place` returns, or else of the root.
    pub fn change<T: Send + 'static>(
        &self,
        place: impl FnOnce(&Files<'_>) -> Option<VirtualPath>,
        work: impl FnOnce(&Files<'_>) -> io::Result<T> + Send + 'static,
    ) -> Pending<T> {
        match &self.store {
            Store::Local(_) if self.durability == Durability::Cached => {
                Pending::Done(work(&Files(self)))
            }
            Store::Local(root) => {
                let found = place(&Files(self)).and_then(|place| root.look(&place).ok());
                let device = found.map_or_else(|| root.device(), |found| found.identity.0);
                self.run(device, work)
            }
            Store::Memory(_) => self.run(DEVICE, work),
        }
    }

    /// Lets a thread of a device make a request.
    fn run<T: Send + 'static>(
        &self,
        device: u64,
        work: impl FnOnce(&Files<'_>) -> io::Result<T> + Send + 'static,
    ) -> Pending<T> {
        let tree = self.clone();
        self.disks.run(device, move || work(&Files(&tree))).into()
    }
}

/// The operations on the files of a tree, each of which may hang. Only a request has them.
#[derive(Debug)]
pub struct Files<'t>(&'t Tree);

impl Files<'_> {
    /// Opens a regular file.
    pub fn open(&self, path: &VirtualPath) -> io::Result<Reader> {
        match &self.0.store {
            Store::Local(root) => {
                let (file, size) = root.read(path)?;
                Ok(Reader::local(file, size))
            }
            Store::Memory(tree) => Ok(Reader::memory(tree.open(path, self.disks())?)),
        }
    }

    /// Opens the partial upload of a name that no complete file has.
    pub fn open_partial(&self, path: &VirtualPath) -> io::Result<Reader> {
        match &self.0.store {
            Store::Local(root) => {
                let (file, size) = root.kept(path)?;
                Ok(Reader::local(file, size))
            }
            Store::Memory(tree) => Ok(Reader::memory(tree.open_partial(path, self.disks())?)),
        }
    }

    /// Begins to write a file; the file that has its name now is unchanged until [`Writer::commit`].
    ///
    /// # Errors
    /// See [`UploadError`].
    pub fn create(
        &self,
        path: &VirtualPath,
        start: Start,
        owner: Owner,
    ) -> Result<Writer, UploadError> {
        match &self.0.store {
            Store::Local(root) => {
                Ok(self.writer(Upload::begin(root, path, start, self.terms(owner))?))
            }
            Store::Memory(tree) => Ok(self.memory_writer(tree.create(path, start, owner)?)),
        }
    }

    /// Begins to write a new file in a directory, under the wanted name or a free variation of it.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub fn create_unique(
        &self,
        directory: &VirtualPath,
        wanted: Option<&[u8]>,
        owner: Owner,
    ) -> Result<(Writer, VirtualPath), UploadError> {
        match &self.0.store {
            Store::Local(root) => {
                let terms = self.terms(owner);
                let (upload, path) = Upload::begin_unique(root, directory, wanted, terms)?;
                Ok((self.writer(upload), path))
            }
            Store::Memory(tree) => {
                let (upload, path) = tree.create_unique(directory, wanted, owner)?;
                Ok((self.memory_writer(upload), path))
            }
        }
    }

    fn terms(&self, owner: Owner) -> Terms {
        Terms { owner, durability: self.0.durability }
    }

    fn writer(&self, upload: Upload) -> Writer {
        Writer::local(upload, self.disks(), self.0.durability)
    }

    fn memory_writer(&self, upload: MemoryUpload) -> Writer {
        Writer::memory(upload, self.disks())
    }

    fn disks(&self) -> Arc<DiskPool> {
        Arc::clone(&self.0.disks)
    }

    /// Opens a directory to list it.
    pub fn list(&self, path: &VirtualPath) -> io::Result<Listing> {
        match &self.0.store {
            Store::Local(root) => Ok(Listing::local(Arc::clone(root), root.list(path)?)),
            Store::Memory(tree) => Ok(Listing::memory(tree.list(path, self.disks())?)),
        }
    }

    /// Returns the entry of a file or directory.
    pub fn stat(&self, path: &VirtualPath) -> io::Result<Entry> {
        match &self.0.store {
            Store::Local(root) => root.look(path),
            Store::Memory(tree) => tree.stat(path),
        }
    }

    /// Returns the entry of the partial upload of a name that no complete file has; its size is the offset to resume from.
    pub fn stat_partial(&self, path: &VirtualPath) -> io::Result<Entry> {
        match &self.0.store {
            Store::Local(root) => root.kept_entry(path),
            Store::Memory(tree) => tree.stat_partial(path),
        }
    }

    /// Returns true if this client's upload to replace this file was interrupted or is running.
    #[must_use]
    pub fn is_being_replaced(&self, path: &VirtualPath, owner: Owner) -> bool {
        match &self.0.store {
            Store::Local(root) => root.is_being_replaced(path, owner),
            Store::Memory(tree) => tree.is_being_replaced(path, owner),
        }
    }

    /// Returns the rights to the names in the directory of a path; no rights for the root itself.
    pub fn surroundings(&self, path: &VirtualPath) -> io::Result<Surroundings> {
        match &self.0.store {
            Store::Local(root) => root.surroundings(path),
            Store::Memory(tree) => tree.surroundings(path),
        }
    }

    /// Checks that a directory may be entered; it need not be readable.
    pub fn enter(&self, path: &VirtualPath) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => root.enter(path),
            Store::Memory(tree) => tree.enter(path),
        }
    }

    /// Returns the number of bytes that can still be stored in a directory, or beside a file.
    pub fn available(&self, path: &VirtualPath) -> io::Result<u64> {
        match &self.0.store {
            Store::Local(root) => root.available(path),
            Store::Memory(tree) => tree.available(path),
        }
    }

    /// Creates a directory.
    pub fn make_directory(&self, path: &VirtualPath) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => {
                root.make_directory(path)?;
                root.flush_names(&[path], self.0.durability)
            }
            Store::Memory(tree) => tree.make_directory(path),
        }
    }

    /// Removes a file or a symbolic link itself, and the partial uploads of that name.
    pub fn remove(&self, path: &VirtualPath) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => {
                root.remove(path)?;
                root.flush_names(&[path], self.0.durability)
            }
            Store::Memory(tree) => tree.remove(path),
        }
    }

    /// Removes a directory that is empty except for leftovers of uploads.
    pub fn remove_directory(&self, path: &VirtualPath) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => {
                root.remove_directory(path)?;
                root.flush_names(&[path], self.0.durability)
            }
            Store::Memory(tree) => tree.remove_directory(path),
        }
    }

    /// Checks a permission to a file or directory. Links in its path are followed.
    ///
    /// # Errors
    /// Permission denied.
    pub fn permit(&self, path: &VirtualPath, permission: Permission) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => root.permit(path, permission),
            Store::Memory(tree) => tree.permit(permission),
        }
    }

    /// Checks a permission to a name itself. A link of this name is not followed.
    ///
    /// # Errors
    /// Permission denied.
    pub fn permit_name(&self, path: &VirtualPath, permission: Permission) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => root.permit_name(path, permission),
            Store::Memory(tree) => tree.permit(permission),
        }
    }

    /// Returns the permissions to a file or directory and to its name.
    pub fn permissions_to(&self, path: &VirtualPath) -> io::Result<EntryPermissions> {
        match &self.0.store {
            Store::Local(root) => root.permissions_to(path),
            Store::Memory(tree) => Ok(EntryPermissions::whole(tree.permissions())),
        }
    }

    /// Renames a file or directory; replaces a file that has the new name if the client may write or delete there.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath) -> io::Result<()> {
        match &self.0.store {
            Store::Local(root) => {
                root.rename(from, to)?;
                root.flush_names(&[from, to], self.0.durability)
            }
            Store::Memory(tree) => tree.rename(from, to),
        }
    }

    /// Sets those of the permission bits that a client may set, and returns them.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        match &self.0.store {
            Store::Local(root) => {
                let set = root.set_mode(path, mode)?;
                root.flush_attributes(path, self.0.durability)?;
                Ok(set)
            }
            Store::Memory(tree) => tree.set_mode(path, mode),
        }
    }

    /// Sets the modification time of a file or directory. Returns the time that is stored, to the second.
    pub fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> io::Result<Timestamp> {
        match &self.0.store {
            Store::Local(root) => {
                let stored = root.set_modified(path, modified)?;
                root.flush_attributes(path, self.0.durability)?;
                Ok(stored)
            }
            Store::Memory(tree) => tree.set_modified(path, modified).map(|()| modified),
        }
    }
}
