//! Kinds of directory entries.

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to a target that the client may not access.
    Link,
    /// A device, socket or pipe: it is listed but cannot be opened.
    Other,
}
