//! A row of the table: everything that is known of one setting.

use super::kind::Kind;
use super::table::Config;
use super::user_entry::masked;
use super::value::Rules;

/// The time at which a reload applies a changed setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At once.
    Now,
    /// For the sessions that begin after the reload.
    NewSessions,
    /// Only when the server is started again.
    Restart,
}

impl Change {
    /// Returns the words of the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Now => "at once",
            Self::NewSessions => "new sessions",
            Self::Restart => "restart",
        }
    }
}

/// The processes that have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The master sends it to slave processes.
    Shared,
    /// Only the process that read it has it.
    Local,
}

/// The flags of a setting.
#[derive(Debug, Clone, Copy)]
pub enum Flags {
    /// None: the setting is in the file and in the environment only.
    None,
    /// `--name VALUE`; the text is the name of the value.
    Value(&'static str),
    /// `--name VALUE`, which may be given several times.
    Repeated(&'static str),
    /// Flags without a value.
    Switches(&'static [Switch]),
}

/// A flag without a value: it gives its setting a fixed one.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// The name of the flag, with `_` in place of `-`.
    pub id: &'static str,
    /// The short flag, or nothing.
    pub short: &'static [char],
    /// The value.
    pub value: &'static str,
    /// The line of `--help`.
    pub help: &'static str,
}

/// Everything that is known of one setting.
pub struct Row {
    /// The name, with `_` in place of `-`.
    pub id: &'static str,
    /// The description, as the end of a line of `--help`.
    pub help: &'static str,
    /// The text of the default; `None` if there is no value, or one that is computed.
    pub default: Option<&'static str>,
    /// The words for a default that is computed.
    pub computed: Option<&'static str>,
    /// The flags.
    pub flags: Flags,
    /// The type of a value in a file.
    pub kind: Kind,
    /// True if there may be several values.
    pub is_list: bool,
    /// The separator of several values in one text.
    pub separator: Option<char>,
    /// Bounds and unit.
    pub rules: Rules,
    /// The effect of a reload.
    pub change: Change,
    /// The processes that have it.
    pub scope: Scope,
    pub(super) expected: fn(Rules) -> String,
    pub(super) put: fn(&mut Config, &[String], Rules) -> Result<(), String>,
    pub(super) texts: fn(&Config, Rules) -> Vec<String>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.id)
    }
}

impl Row {
    /// Returns the name: the key in a file, and the flag without its dashes.
    #[must_use]
    pub fn name(&self) -> String {
        self.id.replace('_', "-")
    }

    /// Returns the name of the environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("POOLFTPD_{}", self.id.to_ascii_uppercase())
    }

    /// Returns the words for a valid value.
    #[must_use]
    pub fn expected(&self) -> String {
        (self.expected)(self.rules)
    }

    /// Gives the setting this value.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    pub fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        let texts = match self.separator {
            Some(separator) => value.split(separator).map(ToOwned::to_owned).collect(),
            None => vec![value.to_owned()],
        };
        self.put(config, &texts)
    }

    /// Returns the value of the setting as texts for people, without passwords.
    #[must_use]
    pub fn value(&self, config: &Config) -> Vec<String> {
        self.shown(&(self.texts)(config, self.rules))
    }

    /// Returns the words for the default; `None` if there is no value.
    #[must_use]
    pub fn default_words(&self) -> Option<&'static str> {
        self.computed.or(self.default)
    }

    /// Sets the field of this setting.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    pub fn put(&self, config: &mut Config, texts: &[String]) -> Result<(), String> {
        (self.put)(config, texts, self.rules)
    }

    /// Returns the texts that [`Row::put`] reads.
    #[must_use]
    pub fn texts(&self, config: &Config) -> Vec<String> {
        (self.texts)(config, self.rules)
    }

    /// Returns texts with absolute paths, because a slave process may have another current directory.
    #[must_use]
    pub(super) fn absolute(&self, texts: &[String]) -> Vec<String> {
        let absolute = |text: &String| match std::path::absolute(text) {
            Ok(path) if self.kind == Kind::Path => path.display().to_string(),
            _ => text.clone(),
        };
        texts.iter().map(absolute).collect()
    }

    /// Returns texts as they may be shown: without passwords.
    #[must_use]
    pub(super) fn shown(&self, texts: &[String]) -> Vec<String> {
        let is_secret = self.id == "user_entries";
        texts.iter().map(|text| if is_secret { masked(text) } else { text.clone() }).collect()
    }

    /// Splits a text into its values, if it may have several.
    #[must_use]
    pub fn split(&self, text: &str) -> Vec<String> {
        let separator = self.separator.filter(|_| self.is_list);
        match separator {
            Some(separator) => text.split(separator).map(|word| word.trim().to_owned()).collect(),
            None => vec![text.to_owned()],
        }
    }
}
