//! The permissions of accounts, as commands need them.

/// The permission that an account needs for a verb; without it, 550.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name says it")]
pub enum Permission {
    List,
    Read,
    /// Create new files; replace none.
    Create,
    Write,
    Append,
    Delete,
    Rename,
    MakeDirectory,
    ChangeAttributes,
}
