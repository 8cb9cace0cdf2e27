//! A line of the configuration of another server.

/// A directive of another server: the number of its line, its name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}
