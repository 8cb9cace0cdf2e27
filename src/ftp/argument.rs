//! The argument of a command: the bytes after its verb, and the values that several verbs take.

use std::fmt;

use super::address::decimal;
use super::path::Escaped;

/// A pathname as the client wrote it: not empty, without CR, LF and NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct PathName(pub Vec<u8>);

impl fmt::Debug for PathName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", Escaped(&self.0))
    }
}

/// An error in an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentError {
    /// An argument that the verb does not accept: 501.
    Malformed,
    /// A known argument that is not supported here: 504.
    Unsupported,
    /// A network protocol that is neither 1 nor 2: 522.
    Protocol,
    /// An unknown SITE command: 500.
    UnknownSite,
    /// The SITE command of this name, which other servers have, but not this one: 504.
    ForeignSite(&'static str),
}

/// The bytes after a verb; `None` when there are none.
#[derive(Debug, Clone, Copy)]
pub struct Argument<'a>(pub(super) Option<&'a [u8]>);

impl<'a> Argument<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], ArgumentError> {
        self.0.filter(|bytes| !bytes.is_empty()).ok_or(ArgumentError::Malformed)
    }

    pub(super) fn word(self) -> Result<String, ArgumentError> {
        let word =
            str::from_utf8(self.bytes()?.trim_ascii()).map_err(|_| ArgumentError::Malformed)?;
        Ok(word.to_owned())
    }

    pub(super) fn optional_word(self) -> Result<Option<String>, ArgumentError> {
        if self.0.is_none_or(<[u8]>::is_empty) { Ok(None) } else { self.word().map(Some) }
    }

    pub(super) fn path(self) -> Result<PathName, ArgumentError> {
        let bytes = self.bytes()?;
        let refused = bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'));
        if refused { Err(ArgumentError::Malformed) } else { Ok(PathName(bytes.to_vec())) }
    }

    pub(super) fn optional_path(self) -> Result<Option<PathName>, ArgumentError> {
        if self.0.is_none_or(<[u8]>::is_empty) { Ok(None) } else { self.path().map(Some) }
    }

    /// Parses a marker of REST: an offset in bytes (RFC 3659 §5).
    pub(super) fn offset(self) -> Result<u64, ArgumentError> {
        decimal(self.bytes()?.trim_ascii())
            .filter(|offset| i64::try_from(*offset).is_ok())
            .ok_or(ArgumentError::Malformed)
    }
}

/// Splits a text at its first space.
pub(super) fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}
