//! The permissions of a client to the files of its root: links are resolved, then the rules decide.

use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::permissions::{Permissions, refuse_unless};
use super::root::{Root, real};
use crate::ftp::VirtualPath;
use crate::ftp::listing::Entry;
use crate::ftp::verb::Permission;

/// The permissions of a client to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPermissions {
    /// The permissions to the content of the file, or to the names in the directory.
    pub content: Permissions,
    /// The permissions to remove and rename the entry.
    pub name: Permissions,
}

impl EntryPermissions {
    /// Creates the same permissions to an entry and to its name.
    pub(super) fn whole(may: Permissions) -> Self {
        Self { content: may, name: may }
    }
}

impl Root {
    /// Returns the mount that has a path, and the path in it.
    pub(super) fn mounted(&self, path: &VirtualPath) -> Option<(&Self, VirtualPath)> {
        self.mounts().find(path)
    }

    /// Checks that a name may be changed: the place of a mount stays, and so does a directory that has one.
    pub(super) fn check_changes(&self, path: &VirtualPath) -> io::Result<()> {
        refuse_unless(!self.mounts().are_below(path))
    }

    /// Checks a permission to a file or directory. Links in its path are followed.
    ///
    /// # Errors
    /// Permission denied.
    pub fn permit(&self, path: &VirtualPath, permission: Permission) -> io::Result<()> {
        if let Some((root, path)) = self.mounted(path) {
            return root.permit(&path, permission);
        }
        refuse_unless(self.permissions(path)?.allow(permission))
    }

    /// Checks a permission to a name itself. A link of this name is not followed.
    ///
    /// # Errors
    /// Permission denied.
    pub fn permit_name(&self, path: &VirtualPath, permission: Permission) -> io::Result<()> {
        if let Some((root, path)) = self.mounted(path) {
            return root.permit_name(&path, permission);
        }
        refuse_unless(self.allowed().to_name(&self.resolved_name(path)?).allow(permission))
    }

    /// Returns the permissions to a file or directory. Links in its path are followed.
    pub fn permissions(&self, path: &VirtualPath) -> io::Result<Permissions> {
        if let Some((root, path)) = self.mounted(path) {
            return root.permissions(&path);
        }
        Ok(self.allowed().at(&self.resolved(path)?))
    }

    /// Returns the permissions to a file or directory and to its name.
    pub fn permissions_to(&self, path: &VirtualPath) -> io::Result<EntryPermissions> {
        if let Some((root, path)) = self.mounted(path) {
            return root.permissions_to(&path);
        }
        let name = self.allowed().to_name(&self.resolved_name(path)?);
        Ok(EntryPermissions { content: self.permissions(path)?, name })
    }

    /// Returns the permissions to an entry of a directory whose path has no links.
    #[must_use]
    pub fn permissions_in(&self, directory: &VirtualPath, entry: &Entry) -> EntryPermissions {
        let none = EntryPermissions::whole(Permissions::NONE);
        if let Some((root, directory)) = self.mounted(directory) {
            return root.permissions_in(&directory, entry);
        }
        if !self.allowed().has_rules() {
            return EntryPermissions::whole(self.allowed().at(directory));
        }
        let Ok(path) = directory.join(&entry.name) else { return none };
        if let Some((root, path)) = self.mounted(&path) {
            // The place of a mount stays.
            return EntryPermissions { content: root.allowed().at(&path), name: Permissions::NONE };
        }
        if entry.link.is_some() {
            return self.permissions_to(&path).unwrap_or(none);
        }
        let name = self.allowed().to_name(&path);
        EntryPermissions { content: self.allowed().at(&path), name }
    }

    /// Returns a path without links. A part that does not exist has none.
    ///
    /// SECURITY: a client cannot make links, and cannot move a directory away from a rule. So the path is still that of
    /// the file when the file is opened, unless another program changes links meanwhile.
    pub(super) fn resolved(&self, path: &VirtualPath) -> io::Result<VirtualPath> {
        if !self.allowed().has_rules() || path.is_root() {
            return Ok(path.clone());
        }
        match self.directory().canonicalize(real(path)?) {
            Ok(found) => {
                let joined = VirtualPath::root().join(found.as_os_str().as_bytes());
                joined.map_err(|_| Errno::NAMETOOLONG.into())
            }
            Err(_) => self.resolved_name(path),
        }
    }

    /// Returns a path without links, except for its last name.
    pub(super) fn resolved_name(&self, path: &VirtualPath) -> io::Result<VirtualPath> {
        if !self.allowed().has_rules() || path.is_root() {
            return Ok(path.clone());
        }
        let parent = self.resolved(&path.parent())?;
        parent.join(path.name()).map_err(|_| Errno::NAMETOOLONG.into())
    }
}
