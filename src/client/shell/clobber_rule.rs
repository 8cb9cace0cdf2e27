//! The rule for downloads to names that exist already.

/// Rule for a local file that differs from the remote file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clobber {
    /// Ask on a terminal; fail in a script.
    #[default]
    Ask,
    /// Replace the local file.
    Replace,
    /// Keep the local file, and continue with the next.
    Keep,
}
