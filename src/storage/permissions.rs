//! The permissions of an account, and the words for them.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::ftp::verb::Permission;

/// The permissions of an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u16);

/// The permissions by the words for them in the users file.
const WORDS: [(&str, Permission); 9] = [
    ("list", Permission::List),
    ("read", Permission::Read),
    ("create", Permission::Create),
    ("write", Permission::Write),
    ("append", Permission::Append),
    ("delete", Permission::Delete),
    ("rename", Permission::Rename),
    ("mkdir", Permission::MakeDirectory),
    ("chmod", Permission::ChangeAttributes),
];

impl Permissions {
    /// The permissions to list and to download.
    pub const READ_ONLY: Self = Self(bit(Permission::List) | bit(Permission::Read));
    /// All permissions.
    pub const FULL: Self = Self((1 << WORDS.len()) - 1);

    /// No permission.
    pub const NONE: Self = Self(0);

    /// Returns true if the permission is in this set. The permission to write includes that to create.
    #[must_use]
    pub const fn allow(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Returns true if the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the permissions of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the permissions that both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Parses words separated by commas; `all` means every permission, and `none` means no permission.
    ///
    /// # Errors
    /// One sentence that lists the known words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::FULL);
        }
        if text == "none" {
            return Ok(Self::NONE);
        }
        text.split(',').try_fold(Self(0), |all, word| {
            let found = WORDS.iter().find(|(known, _)| *known == word);
            let known = WORDS.map(|(known, _)| known).join(", ");
            let (_, permission) = found.ok_or_else(|| {
                format!("'{word}' is not a permission; use all, none, or some of {known}")
            })?;
            let implied = if word == "write" { bit(Permission::Create) } else { 0 };
            Ok(Self(all.0 | bit(*permission) | implied))
        })
    }
}

/// Returns permission denied unless the client may.
pub(super) fn refuse_unless(may: bool) -> io::Result<()> {
    if may { Ok(()) } else { Err(Errno::ACCESS.into()) }
}

const fn bit(permission: Permission) -> u16 {
    1 << permission as u16
}

impl Default for Permissions {
    /// Returns all permissions: a user has them in the home unless the users file restricts them.
    fn default() -> Self {
        Self::FULL
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FULL {
            return formatter.write_str("all");
        }
        if self.is_empty() {
            return formatter.write_str("none");
        }
        let is_implied =
            |permission| permission == Permission::Create && self.allow(Permission::Write);
        let words = WORDS
            .iter()
            .filter(|(_, permission)| self.allow(*permission) && !is_implied(*permission));
        formatter.write_str(&words.map(|(word, _)| *word).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_words_and_words_are_permissions() {
        for text in [
            "all",
            "none",
            "create",
            "list,read",
            "write",
            "list,read,write,append,delete,rename,mkdir",
        ] {
            assert_eq!(Permissions::parse(text).unwrap().to_string(), text);
        }
        assert!(Permissions::parse("fly").unwrap_err().contains("list, read"));
        let write = Permissions::parse("create,write").unwrap();
        assert_eq!((write.to_string().as_str(), write.allow(Permission::Create)), ("write", true));
        assert!(!Permissions::READ_ONLY.allow(Permission::Write));
    }
}
