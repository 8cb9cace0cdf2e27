//! The amount that is logged.

use std::fmt;
use std::str::FromStr;

use crate::events::Severity;

/// The amount that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// `-q`: only errors and warnings.
    Quiet,
    /// Connections, logins, transfers, changes, refusals.
    #[default]
    Normal,
    /// `-v`: also each command and reply.
    Verbose,
}

impl Level {
    /// Returns the smallest amount of logging that includes events of this severity.
    pub(super) fn including(severity: Severity) -> Self {
        match severity {
            Severity::Error | Severity::Warn => Self::Quiet,
            Severity::Info => Self::Normal,
            Severity::Debug => Self::Verbose,
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quiet" => Ok(Self::Quiet),
            "normal" => Ok(Self::Normal),
            "verbose" => Ok(Self::Verbose),
            _ => Err(format!("'{text}' is none of quiet, normal, verbose")),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Quiet => "quiet",
            Self::Normal => "normal",
            Self::Verbose => "verbose",
        })
    }
}
