//! A mount, and its text `AT,dir=DIR[,may=WORDS][,users=…][,groups=…][,anonymous][,hosts=…]`.

use std::fmt;
use std::str::FromStr;

use super::directory::{WHOM, push_whom, virtual_path, whom};
use super::kind::Kind;
use super::words::{Table, Words, key, list};
use crate::storage::{Mount, Permissions};

/// The form of the table.
pub(super) const TABLE: Table = Table {
    name: "mount",
    row: "mount",
    first: key("at", Kind::Text),
    keys: &[key("dir", Kind::Path), list("may"), WHOM[0], WHOM[1], WHOM[2], WHOM[3]],
};

impl FromStr for Mount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Words::parse(text, &TABLE)?;
        let at = virtual_path(&words.first).map_err(|error| format!("at: {error}"))?;
        if at.is_root() {
            return Err("at: the root itself is set by root or home".to_owned());
        }
        let directory = words.path("dir").ok_or("dir is missing")?;
        let may = words.read("may", Permissions::parse)?.unwrap_or(Permissions::READ_ONLY);
        Ok(Self { at, directory, may, whom: whom(&words) })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words::new(String::from_utf8_lossy(self.at.as_bytes()).into_owned());
        words.push("dir", self.directory.display());
        words.push("may", self.may);
        push_whom(&mut words, &self.whom);
        words.fmt(formatter)
    }
}
