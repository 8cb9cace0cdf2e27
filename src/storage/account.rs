//! Who may log in, and what each may do.

use std::sync::Arc;

use super::Root;
use crate::ftp::command::Password;
use crate::ftp::verb::Permission;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(&'static [Permission]);

impl Permissions {
    /// Look, and fetch.
    pub const READ_ONLY: Self = Self(&[Permission::List, Permission::Read]);
    /// Everything.
    pub const FULL: Self = Self(&[
        Permission::List,
        Permission::Read,
        Permission::Write,
        Permission::Append,
        Permission::Delete,
        Permission::Rename,
        Permission::MakeDirectory,
        Permission::ChangeAttributes,
    ]);

    /// Whether this is among them.
    #[must_use]
    pub fn allow(self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }
}

/// Somebody who has logged in. Only [`Accounts::verify`] makes one, so a stranger has no root to open.
#[derive(Debug, Clone)]
pub struct Account {
    root: Arc<Root>,
    permissions: Permissions,
}

impl Account {
    /// The tree it sees.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Accounts {
    anonymous: Account,
}

impl Accounts {
    /// Anonymous alone, with these permissions.
    #[must_use]
    pub fn anonymous(root: Arc<Root>, permissions: Permissions) -> Self {
        Self { anonymous: Account { root, permissions } }
    }

    /// The account of this name, if the password is its own. Anonymous gives any password (RFC 1635).
    #[must_use]
    pub fn verify(&self, name: &[u8], _password: &Password) -> Option<Account> {
        Self::is_anonymous(name).then(|| self.anonymous.clone())
    }

    /// Whether this name asks for anonymous access (RFC 1635).
    #[must_use]
    pub fn is_anonymous(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"anonymous") || name.eq_ignore_ascii_case(b"ftp")
    }
}
