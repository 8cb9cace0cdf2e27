//! A user in a setting: `NAME:PASSWORD` or `NAME:HASH`, followed by `:SETTING` for each setting.

use std::fmt;
use std::str::FromStr;

/// A user in a setting. SECURITY: it may contain a password, so only its name is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct UserEntry(String);

impl UserEntry {
    /// Returns the whole text, with the password.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Returns the text without the password and the settings.
pub(super) fn masked(text: &str) -> String {
    let name = text.split(':').next().unwrap_or_default();
    format!("{name}:***")
}

impl FromStr for UserEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, rest))
                if !name.is_empty() && !rest.is_empty() && !text.contains(['\r', '\n', '\0']) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err("the user is not NAME:PASSWORD or NAME:HASH, followed by :SETTING".to_owned()),
        }
    }
}

impl fmt::Display for UserEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UserEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&masked(&self.0))
    }
}
