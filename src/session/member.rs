//! A user who has logged in: the account and the current directory.

use crate::ftp::VirtualPath;
use crate::ftp::command::PathName;
use crate::ftp::path::PathTooLong;
use crate::ftp::verb::Permission;
use crate::storage::{Account, Files, Permissions, Tree};

/// A user who has logged in, with the current directory. Only this type has the tree, so that a client without a login
/// has none.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) account: Account,
    pub(super) directory: VirtualPath,
    /// The tree that the account sees.
    pub(super) tree: Tree,
}

impl Member {
    pub(super) fn permissions(&self) -> Permissions {
        self.account.permissions()
    }

    /// Resolves a pathname against the current directory. A leading `~` means the home, which is the root, unless the
    /// current directory has an entry `~`.
    pub(super) fn resolve(
        &self,
        files: &Files<'_>,
        path: &PathName,
    ) -> Result<VirtualPath, PathTooLong> {
        match path.0.strip_prefix(b"~") {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
                if files.stat(&self.directory.join(b"~")?).is_ok() {
                    self.directory.join(&path.0)
                } else {
                    VirtualPath::root().join(rest)
                }
            }
            _ => self.directory.join(&path.0),
        }
    }

    /// Resolves a pathname; returns the current directory if there is none.
    pub(super) fn resolve_or_here(
        &self,
        files: &Files<'_>,
        path: Option<&PathName>,
    ) -> Result<VirtualPath, PathTooLong> {
        path.map_or_else(|| Ok(self.directory.clone()), |path| self.resolve(files, path))
    }

    /// Returns whether the member may continue partial uploads, and so may see them.
    pub(super) fn may_resume(&self) -> bool {
        self.permissions().allow(Permission::Write) || self.permissions().allow(Permission::Append)
    }
}
