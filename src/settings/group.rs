//! A group of users, and its text `NAME[,home=DIR][,may=…][,quota=…]…`, with the settings of the users file.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use super::kind::Kind;
use super::words::{Table, Words, key, list};
use crate::storage::Group;
use crate::storage::users::{UserSettings, encode};

/// The form of the table.
pub(super) const TABLE: Table = Table {
    name: "group",
    row: "group",
    first: key("name", Kind::Text),
    keys: &[
        key("home", Kind::Path),
        list("may"),
        key("quota", Kind::Size),
        key("files", Kind::Number),
        key("down", Kind::Size),
        key("up", Kind::Size),
        key("sessions", Kind::Number),
        list("from"),
        key("umask", Kind::Text),
    ],
};

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Words::parse(text, &TABLE)?;
        if words.first.is_empty() {
            return Err("a group needs a name".to_owned());
        }
        let mut settings = UserSettings::default();
        for key in TABLE.keys {
            let value = match (key.kind, words.get(key.name)) {
                (_, None) => continue,
                (Kind::Path, _) => {
                    let path = words.path(key.name).unwrap_or_default();
                    encode(path.as_os_str().as_bytes())
                }
                (_, Some(value)) => value.to_owned(),
            };
            let set = settings.set(&format!("{}={value}", key.name));
            set.map_err(|error| format!("{}: {error}", key.name))?;
        }
        Ok(Self { name: words.first, settings })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        let mut words = Words::new(self.name.clone());
        if let Some(home) = &settings.home {
            words.push("home", home.display());
        }
        words.push("may", settings.may);
        let numbers = [
            ("quota", settings.quota),
            ("files", settings.files),
            ("down", settings.down.map(Into::into)),
            ("up", settings.up.map(Into::into)),
            ("sessions", settings.sessions.map(|sessions| sessions as u64)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                words.push(name, number);
            }
        }
        let from: Vec<String> = settings.from.iter().map(ToString::to_string).collect();
        words.push_list("from", &from);
        if let Some(umask) = settings.umask {
            words.push("umask", format!("{umask:03o}"));
        }
        words.fmt(formatter)
    }
}
