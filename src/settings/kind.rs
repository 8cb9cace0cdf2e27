//! The type of a value as a file writes it.

/// The type of a value as a file writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Switch,
    /// An integer.
    Number,
    /// A number in the unit of the setting, or a text such as `90s`.
    Time,
    /// A number of bytes, or a text such as `10M`.
    Size,
    /// A text.
    Text,
    /// A path; a relative one in a file is relative to the directory of the file.
    Path,
}

impl Kind {
    /// Returns the words for a value of this type.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Size => "a number of bytes",
            Self::Text => "a text",
            Self::Path => "a path",
        }
    }
}
