//! A rule for a directory, and its text `PATH,may=WORDS[,users=…][,groups=…][,anonymous][,hosts=…]`.

use std::fmt;
use std::str::FromStr;

use super::kind::Kind;
use super::words::{Key, Table, Words, key, list};
use crate::ftp::VirtualPath;
use crate::storage::{DirectoryRule, Permissions, Whom};

/// The keys that select the clients of a table.
pub(super) const WHOM: [Key; 4] =
    [list("users"), list("groups"), key("anonymous", Kind::Switch), list("hosts")];

/// The form of the table.
pub(super) const TABLE: Table = Table {
    name: "directory",
    row: "directory",
    first: key("path", Kind::Text),
    keys: &[list("may"), WHOM[0], WHOM[1], WHOM[2], WHOM[3]],
};

/// Returns the clients that the words select.
pub(super) fn whom(words: &Words) -> Whom {
    let host = |name: String| name.trim_end_matches('.').to_ascii_lowercase();
    Whom {
        users: words.list("users"),
        groups: words.list("groups"),
        anonymous: words.is_on("anonymous"),
        hosts: words.list("hosts").into_iter().map(host).collect(),
    }
}

/// Adds the words that select these clients.
pub(super) fn push_whom(words: &mut Words, whom: &Whom) {
    words.push_list("users", &whom.users);
    words.push_list("groups", &whom.groups);
    words.push_switch("anonymous", whom.anonymous);
    words.push_list("hosts", &whom.hosts);
}

/// Parses a path as clients see it.
pub(super) fn virtual_path(text: &str) -> Result<VirtualPath, String> {
    if !text.starts_with('/') {
        return Err(format!("'{text}' is not a path from the root, such as /incoming"));
    }
    VirtualPath::root().join(text.as_bytes()).map_err(|_| format!("'{text}' is too long"))
}

impl FromStr for DirectoryRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Words::parse(text, &TABLE)?;
        let path = virtual_path(&words.first).map_err(|error| format!("path: {error}"))?;
        let may = words.read("may", Permissions::parse)?;
        let may = may.ok_or("may is missing: the permissions, or none")?;
        Ok(Self { path, may, whom: whom(&words) })
    }
}

impl fmt::Display for DirectoryRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(self.path.as_bytes()).into_owned();
        let mut words = Words::new(path);
        words.push("may", self.may);
        push_whom(&mut words, &self.whom);
        words.fmt(formatter)
    }
}
