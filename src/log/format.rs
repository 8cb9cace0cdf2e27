//! The formats of the log.

use std::fmt;
use std::str::FromStr;

use crate::events::Record;

use super::{journal, json, text, xferlog};

/// The format of one output of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `key=value`, one line an event.
    Text,
    /// One JSON object a line.
    Json,
    /// The fields of the systemd journal.
    Journal,
    /// The transfers alone, as wu-ftpd logs them.
    Xferlog,
    /// The text, as a message of syslog.
    Syslog,
}

/// The names of the formats that an output may select.
const NAMES: [(&str, Format); 3] =
    [("text", Format::Text), ("json", Format::Json), ("xferlog", Format::Xferlog)];

impl Format {
    /// Returns the bytes of an event; none if the format has no place for it.
    pub(super) fn bytes(self, record: &Record<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Text => Some(text::line(record).into_bytes()),
            Self::Json => Some(json::line(record).into_bytes()),
            Self::Journal => Some(journal::message(record)),
            Self::Syslog => Some(journal::syslog(record)),
            Self::Xferlog => xferlog::line(record).map(String::into_bytes),
        }
    }

    /// Returns whether each event is one line, so that a new line ends one that was written in part.
    pub(super) fn has_lines(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Xferlog)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| format!("'{text}' is none of text, json, xferlog"))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Xferlog => "xferlog",
            Self::Journal => "journal",
            Self::Syslog => "syslog",
        })
    }
}
