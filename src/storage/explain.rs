//! The permissions of an account at a path, for the administrator.

use super::account::Accounts;
use super::permissions::Permissions;
use super::permit::EntryPermissions;
use super::root::Root;
use super::rules::{DirectoryRule, Subject};
use crate::ftp::VirtualPath;
use crate::ftp::path::Escaped;

/// The permissions of an account at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The path without links.
    pub path: VirtualPath,
    /// The permissions.
    pub permissions: EntryPermissions,
    /// The permissions of the account where no rule decides.
    pub everywhere: Permissions,
    /// The rule that decides; `None` for the permissions of the account.
    pub rule: Option<DirectoryRule>,
}

impl Accounts {
    /// Explains the permissions of a user, or of anonymous.
    ///
    /// # Errors
    /// One sentence: there is no such user, the home cannot be opened, or the tree is in memory.
    pub fn explain(&self, name: &[u8], path: &VirtualPath) -> Result<Explanation, String> {
        let shown = Escaped(name);
        let (everywhere, root, group) = match self.settings_of(name) {
            Some(settings) => {
                let root = settings.home.as_ref().map(|home| {
                    Root::open(home)
                        .map_err(|error| format!("cannot open the home of {shown}: {error}"))
                });
                (settings.may, root.transpose()?, settings.group)
            }
            None if Self::is_anonymous(name) => {
                let permissions = self.anonymous_permissions();
                (permissions.ok_or("anonymous may not log in")?, None, None)
            }
            None => return Err(format!("there is no user {shown}")),
        };
        let user = self.knows(name).then_some(name);
        let subject = Subject { user, group: group.as_deref() };
        let root = root.or_else(|| self.shared_root()).ok_or("the tree is in memory")?;
        let root = self.give(root, everywhere, subject);
        let cannot = |error: std::io::Error| format!("cannot look up {path}: {error}");
        let resolved = root.resolved(path).map_err(cannot)?;
        let permissions = root.permissions_to(path).map_err(cannot)?;
        let rule = root.allowed().rule_of(&resolved).cloned();
        Ok(Explanation { path: resolved, permissions, everywhere, rule })
    }
}
