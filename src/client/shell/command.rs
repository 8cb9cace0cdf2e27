//! The description of one command of the shell: name, options, help, and the function that runs it.
//!
//! Each file of [`super::actions`] describes its commands with this; [`super::table`] lists them.

use std::ffi::OsString;
use std::fmt::Write;

use crate::client::error::ClientError;

use super::flow::Done;
use super::given::{Flag, Given, Parsed};
use super::state::Shell;

/// Kind of the words of a command, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Remote,
    Local,
    /// A remote name, and behind it local ones.
    RemoteThenLocal,
    /// Names of commands.
    Command,
    /// Names of settings.
    Setting,
    /// Names of bookmarks.
    Bookmark,
    Other,
}

/// Maximum number of words of a command that takes any number.
pub(super) const ANY: usize = usize::MAX;

/// The function of a command.
pub(super) type Action = fn(&mut Shell, &Given) -> Done;

/// A command of the shell.
#[derive(Debug)]
pub(super) struct ShellCommand {
    pub(super) name: &'static str,
    /// Other names of the command.
    pub(super) aliases: &'static [&'static str],
    /// The words that it takes.
    pub(super) usage: &'static str,
    /// One line of help.
    pub(super) help: &'static str,
    pub(super) flags: &'static [Flag],
    /// An example of its use, with its options.
    pub(super) example: &'static str,
    pub(super) names: Names,
    /// Minimum and maximum number of words.
    count: (usize, usize),
    /// The words may be patterns; other commands take a star literally.
    takes_patterns: bool,
    /// The words are passed as they are, so that none of them is an option.
    is_raw: bool,
    /// It may run in the background: it prints messages only, and asks nothing there.
    pub(super) is_transfer: bool,
    action: Action,
}

impl ShellCommand {
    /// Describes a command that takes no words. The help is a line that begins with a verb.
    pub(super) const fn new(name: &'static str, action: Action, help: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            usage: "",
            help,
            flags: &[],
            example: name,
            names: Names::Other,
            count: (0, 0),
            takes_patterns: false,
            is_raw: false,
            is_transfer: false,
            action,
        }
    }

    /// Adds other names.
    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// Adds the words: their number at least and at most, their kind, and their names in the help.
    pub(super) const fn words(
        self,
        least: usize,
        most: usize,
        names: Names,
        usage: &'static str,
    ) -> Self {
        Self { count: (least, most), names, usage, ..self }
    }

    /// Lets the words be patterns such as `*.txt`.
    pub(super) const fn patterns(self) -> Self {
        Self { takes_patterns: true, ..self }
    }

    /// Passes the words as they are, so that none of them is an option.
    pub(super) const fn raw(self) -> Self {
        Self { is_raw: true, ..self }
    }

    /// Lets the command run in the background.
    pub(super) const fn transfer(self) -> Self {
        Self { is_transfer: true, ..self }
    }

    /// Adds the options.
    pub(super) const fn flags(self, flags: &'static [Flag]) -> Self {
        Self { flags, ..self }
    }

    /// Adds an example.
    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// Returns true if this is one of its names.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Returns the command with its options and words, such as `get [-r] REMOTE...`.
    pub(super) fn syntax(&self, name: &str) -> String {
        let mut syntax = name.to_owned();
        for flag in self.flags {
            let _written = write!(syntax, " [{}]", flag.syntax().replace(", ", "|"));
        }
        if !self.usage.is_empty() {
            let _written = write!(syntax, " {}", self.usage);
        }
        syntax
    }

    /// Parses the words of a call, and checks their number.
    ///
    /// # Errors
    /// [`super::super::error::ErrorKind::Usage`], with the syntax of the command.
    pub(super) fn parse(&self, words: Vec<OsString>) -> Result<Parsed, ClientError> {
        let given = if self.is_raw {
            Given::words_only(words)
        } else {
            match Given::parse(self.name, self.flags, &words)? {
                Parsed::Call(given) => given,
                Parsed::Help => return Ok(Parsed::Help),
            }
        };
        let (fewest, most) = self.count;
        if !(fewest..=most).contains(&given.words().len()) {
            return Err(ClientError::usage(format!("usage: {}", self.syntax(self.name))));
        }
        Ok(Parsed::Call(if self.takes_patterns { given } else { given.without_patterns() }))
    }

    /// Runs the command.
    pub(super) fn run(&self, shell: &mut Shell, given: &Given) -> Done {
        (self.action)(shell, given)
    }
}
