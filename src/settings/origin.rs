//! The source of a value, and the problems of a value.

use std::fmt;
use std::path::PathBuf;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// The configuration file as a whole.
    WholeFile(PathBuf),
    /// A place in the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The column in letters, from 1 on.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
    /// A call of a program that uses the library.
    Call(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::WholeFile(path) => path.display().fmt(formatter),
            Self::File { path, line, .. } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
            Self::Call(name) => write!(formatter, "call {name}"),
        }
    }
}

/// A value that is wrong, or a combination of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The source of the value.
    pub origin: Origin,
    /// The problem, and the values that are expected.
    pub text: String,
}

impl Problem {
    /// Returns true if the command line is wrong, and not a file or the environment.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self.origin, Origin::Flag(_) | Origin::Default)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.origin {
            Origin::Default => formatter.write_str(text),
            Origin::WholeFile(path) => write!(formatter, "{}: {text}", path.display()),
            Origin::File { path, line, column } => {
                write!(formatter, "{}:{line}:{column}: {text}", path.display())
            }
            Origin::Environment(name) | Origin::Flag(name) | Origin::Call(name) => {
                write!(formatter, "{name}: {text}")
            }
        }
    }
}
