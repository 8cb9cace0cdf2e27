//! The rights of this process to the entries of a tree. For its own files, the mode bits decide, which have been read
//! already: a listing of 100,000 of them needs no additional system call. An access control list can change the rights
//! to the files of other users, so the kernel is asked about these.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::process::{Gid, getegid, geteuid, getgroups};

use crate::ftp::listing::{Entry, Kind};
use crate::sys::{Access, Overrides, allows, overrides};

/// The sticky bit: in a directory with this bit, only the owner of a file removes it.
const STICKY: u32 = 0o1000;

/// The identity that the kernel checks.
#[derive(Debug, Clone)]
struct Process {
    user: u32,
    groups: Vec<u32>,
    overrides: Overrides,
}

impl Process {
    /// Returns the identity of this process. It is read once, because a server changes its user before it serves
    /// clients.
    fn current() -> &'static Self {
        static CURRENT: OnceLock<Process> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let others = getgroups().unwrap_or_default();
            let groups = [getegid()].into_iter().chain(others).map(Gid::as_raw);
            Self { user: geteuid().as_raw(), groups: groups.collect(), overrides: overrides() }
        })
    }

    /// Returns the three mode bits that apply to this process.
    fn bits(&self, entry: &Entry) -> u32 {
        let shift = if entry.owner == self.user {
            6
        } else if self.groups.contains(&entry.group) {
            3
        } else {
            0
        };
        entry.mode >> shift & 0o7
    }
}

/// The rights of this process to an entry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The file can be read; the names of the directory can be read.
    pub read: bool,
    /// The file can be written; names in the directory can be created and removed.
    pub write: bool,
    /// The directory can be entered.
    pub enter: bool,
}

impl Rights {
    /// Returns the rights to an entry.
    #[must_use]
    pub fn to(entry: &Entry) -> Self {
        Self::of(Process::current(), entry)
    }

    /// Returns the rights to an entry that another user owns in this directory, as the kernel gives them. Links are
    /// followed by the server alone, within its root, so the mode bits decide for their targets.
    fn asked(directory: &OwnedFd, entry: &Entry) -> Option<Self> {
        let process = Process::current();
        if entry.owner == process.user || process.overrides.all || entry.link.is_some() {
            return None;
        }
        let asked = |access| allows(directory.as_fd(), &entry.name, access);
        let enter = entry.kind == Kind::Directory && asked(Access::EXEC_OK)?;
        Some(Self { read: asked(Access::READ_OK)?, write: asked(Access::WRITE_OK)?, enter })
    }

    fn of(process: &Process, entry: &Entry) -> Self {
        let bits = process.bits(entry);
        let overrides = process.overrides.all;
        let reads = overrides || process.overrides.read;
        Self {
            read: reads || bits & 0o4 != 0,
            write: overrides || bits & 0o2 != 0,
            enter: entry.kind == Kind::Directory && (reads || bits & 0o1 != 0),
        }
    }
}

/// The rights of this process to the names in one directory.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The directory; `None` if it is not one of the file system, or cannot be opened.
    directory: Option<Arc<OwnedFd>>,
    /// Names can be created and removed.
    writable: bool,
    /// The owner of the directory, if the directory is sticky.
    sticky: Option<u32>,
    /// The file system is read-only.
    read_only: bool,
}

impl Surroundings {
    /// Returns the rights in a directory by its mode, owner and group, on a file system that may be read-only.
    #[must_use]
    pub(super) fn within(directory: &Entry, read_only: bool) -> Self {
        let rights = Rights::to(directory);
        let sticky = (directory.mode & STICKY != 0).then_some(directory.owner);
        let writable = rights.write && rights.enter && !read_only;
        Self { directory: None, writable, sticky, read_only }
    }

    /// Returns the rights in a directory as the kernel gives them: it also looks at access control lists and at the
    /// attribute "immutable".
    #[must_use]
    pub(super) fn opened(self, directory: Arc<OwnedFd>) -> Self {
        let asked = allows(directory.as_fd(), b".", Access::WRITE_OK | Access::EXEC_OK);
        Self { writable: asked.unwrap_or(self.writable), directory: Some(directory), ..self }
    }

    /// Returns the rights to an entry in this directory.
    #[must_use]
    pub fn rights(&self, entry: &Entry) -> Rights {
        let asked = self.directory.as_ref().and_then(|directory| Rights::asked(directory, entry));
        let rights = asked.unwrap_or_else(|| Rights::to(entry));
        Rights { write: rights.write && !self.read_only, ..rights }
    }

    /// Returns true if an upload can replace an entry. The target of a link is in another directory, which has not been
    /// checked.
    #[must_use]
    pub fn let_replace(&self, entry: &Entry) -> bool {
        self.writable || entry.link.is_some()
    }

    /// Returns true if an entry can be removed or renamed.
    #[must_use]
    pub fn let_remove(&self, entry: &Entry) -> bool {
        self.writable
            && self.sticky.is_none_or(|owner| lets_owner(Process::current(), owner, entry))
    }
}

/// Returns true if the sticky bit of a directory allows a process to remove an entry.
fn lets_owner(process: &Process, directory_owner: u32, entry: &Entry) -> bool {
    process.user == directory_owner || process.user == entry.owner || process.overrides.owner
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn entry(kind: Kind, mode: u32, owner: u32, group: u32) -> Entry {
        Entry {
            name: b"a".to_vec(),
            kind,
            size: 0,
            modified: Timestamp::UNIX_EPOCH,
            mode,
            links: 1,
            identity: (1, 1),
            owner,
            group,
            link: None,
        }
    }

    fn rights(process: &Process, kind: Kind, mode: u32, owner: u32, group: u32) -> [bool; 3] {
        let Rights { read, write, enter } = Rights::of(process, &entry(kind, mode, owner, group));
        [read, write, enter]
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let nobody = Process { user: 7, groups: vec![8, 9], overrides: Overrides::default() };
        let file = |mode, owner, group| rights(&nobody, Kind::File, mode, owner, group);
        assert_eq!(file(0o600, 7, 1), [true, true, false]);
        assert_eq!(file(0o066, 7, 8), [false, false, false]);
        assert_eq!(file(0o640, 1, 9), [true, false, false]);
        assert_eq!(file(0o606, 1, 9), [false, false, false]);
        assert_eq!(file(0o602, 1, 1), [false, true, false]);
        let directory = |mode, owner| rights(&nobody, Kind::Directory, mode, owner, 1);
        assert_eq!(directory(0o700, 1), [false, false, false]);
        assert_eq!(directory(0o711, 1), [false, false, true]);
        assert_eq!(directory(0o500, 7), [true, false, true]);
    }

    #[test]
    fn capabilities_pass_over_the_bits() {
        let all = Overrides { all: true, ..Overrides::default() };
        let root = Process { user: 0, groups: vec![0], overrides: all };
        assert_eq!(rights(&root, Kind::Directory, 0, 1, 1), [true, true, true]);
        // Root without capabilities, as in a container, is an ordinary user.
        let bare = Process { overrides: Overrides::default(), ..root };
        assert_eq!(rights(&bare, Kind::Directory, 0o700, 1, 1), [false, false, false]);
        let reader =
            Process { overrides: Overrides { read: true, ..Overrides::default() }, ..bare };
        assert_eq!(rights(&reader, Kind::File, 0, 1, 1), [true, false, false]);
    }

    #[test]
    fn a_sticky_directory_keeps_the_files_of_others() {
        let nobody = Process { user: 7, groups: vec![8], overrides: Overrides::default() };
        assert!(lets_owner(&nobody, 7, &entry(Kind::File, 0o666, 1, 1)));
        assert!(lets_owner(&nobody, 1, &entry(Kind::File, 0o666, 7, 1)));
        assert!(!lets_owner(&nobody, 1, &entry(Kind::File, 0o666, 2, 8)));
    }
}
