//! Directories that appear in the tree of an account at another place, such as one that several users share.
//!
//! Each is a root of its own: no path leads from it to the tree around it, or back. Its files do not count for the quota
//! of the home.

use std::path::PathBuf;
use std::sync::Arc;

use super::permissions::Permissions;
use super::rules::Whom;
use crate::ftp::VirtualPath;

/// A directory, and the place at which clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The place, as clients see it.
    pub at: VirtualPath,
    /// The directory.
    pub directory: PathBuf,
    /// The permissions there.
    pub may: Permissions,
    /// The clients that see it.
    pub whom: Whom,
}

/// The mounts in the tree of one account, each with its place.
#[derive(Debug)]
pub(super) struct Mounts<R>(Arc<[(VirtualPath, R)]>);

impl<R> Clone for Mounts<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Default for Mounts<R> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<R> FromIterator<(VirtualPath, R)> for Mounts<R> {
    fn from_iter<I: IntoIterator<Item = (VirtualPath, R)>>(mounts: I) -> Self {
        Self(mounts.into_iter().collect())
    }
}

impl<R> Mounts<R> {
    /// Returns the mount that has a path, and the path in it.
    pub(super) fn find(&self, path: &VirtualPath) -> Option<(&R, VirtualPath)> {
        let (at, root) = self.containing(path)?;
        Some((root, path.below(at)?))
    }

    /// Returns the place of the mount that has a path.
    pub(super) fn place(&self, path: &VirtualPath) -> Option<&VirtualPath> {
        self.containing(path).map(|(at, _)| at)
    }

    fn containing(&self, path: &VirtualPath) -> Option<&(VirtualPath, R)> {
        let found = self.0.iter().filter(|(at, _)| path.below(at).is_some());
        found.max_by_key(|(at, _)| at.as_bytes().len())
    }

    /// Returns true if a mount is at a path or below it: its name stays.
    pub(super) fn are_below(&self, path: &VirtualPath) -> bool {
        self.0.iter().any(|(at, _)| at.below(path).is_some())
    }

    /// Returns the mounts in a directory, by name.
    pub(super) fn within(&self, directory: &VirtualPath) -> impl Iterator<Item = (&[u8], &R)> {
        let here = self.0.iter().filter(|(at, _)| at.parent() == *directory);
        here.map(|(at, root)| (at.name(), root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_longest_place_has_a_path() {
        let mounts: Mounts<u8> = [(path("/a"), 1), (path("/a/b/c"), 2)].into_iter().collect();
        let find =
            |text: &str| mounts.find(&path(text)).map(|(root, path)| (*root, path.to_string()));
        assert_eq!(find("/a"), Some((1, "/".to_owned())));
        assert_eq!(find("/a/b/x"), Some((1, "/b/x".to_owned())));
        assert_eq!(find("/a/b/c/d"), Some((2, "/d".to_owned())));
        assert_eq!((find("/"), find("/ab")), (None, None));
        assert!(mounts.are_below(&path("/a/b")) && !mounts.are_below(&path("/a/b/c/d")));
        let within: Vec<_> = mounts.within(&path("/a/b")).collect();
        assert_eq!(within, [(b"c".as_slice(), &2)]);
    }
}
