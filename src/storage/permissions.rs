//! The permissions of an account, and the words for them.

use std::fmt;

use crate::ftp::verb::Permission;

/// The permissions of an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u8);

/// The permissions by the words for them in the users file.
const WORDS: [(&str, Permission); 8] = [
    ("list", Permission::List),
    ("read", Permission::Read),
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
    pub const FULL: Self = Self(u8::MAX);

    /// Returns true if the permission is in this set.
    #[must_use]
    pub const fn allow(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Parses words separated by commas; `all` means every permission.
    ///
    /// # Errors
    /// One sentence that lists the known words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::FULL);
        }
        text.split(',').try_fold(Self(0), |all, word| {
            let found = WORDS.iter().find(|(known, _)| *known == word);
            let known = WORDS.map(|(known, _)| known).join(", ");
            let (_, permission) = found.ok_or_else(|| {
                format!("'{word}' is not a permission; use all, or some of {known}")
            })?;
            Ok(Self(all.0 | bit(*permission)))
        })
    }
}

const fn bit(permission: Permission) -> u8 {
    1 << permission as u8
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
        let words = WORDS.iter().filter(|(_, permission)| self.allow(*permission));
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
        for text in ["all", "list,read", "write", "list,read,write,append,delete,rename,mkdir"] {
            assert_eq!(Permissions::parse(text).unwrap().to_string(), text);
        }
        assert!(Permissions::parse("fly").unwrap_err().contains("list, read"));
        assert!(!Permissions::READ_ONLY.allow(Permission::Write));
    }
}
