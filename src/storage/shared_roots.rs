//! The tree of the accounts without a home, and the rules of its host.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::host_rules::HostRules;
use super::permissions::Permissions;
use super::rules::Subject;
use super::tree::Store;

/// The tree of the accounts without a home.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    /// The tree for users, who get their permissions with it.
    pub(super) shared: Store,
    /// The tree with the permissions of anonymous.
    pub(super) anonymous: Store,
    /// The rules that anonymous has its permissions from.
    pub(super) rules: Arc<HostRules>,
}

/// The tree of the accounts without a home, which is opened again when its directory is replaced.
#[derive(Debug)]
pub(super) struct SharedRoots {
    loaded: RwLock<Roots>,
    anonymous: Option<Permissions>,
}

impl SharedRoots {
    /// Creates the tree without rules; `anonymous` are the permissions of anonymous, who may not log in without them.
    pub(super) fn new(shared: Store, anonymous: Option<Permissions>) -> Self {
        let loaded = RwLock::new(Roots::new(shared, anonymous, Arc::default()));
        Self { loaded, anonymous }
    }

    /// Returns the permissions of anonymous without a rule; `None` if anonymous cannot log in.
    pub(super) fn anonymous(&self) -> Option<Permissions> {
        self.anonymous
    }

    /// Returns the rules of the host.
    pub(super) fn rules(&self) -> Arc<HostRules> {
        Arc::clone(&self.loaded.read().rules)
    }

    /// Sets the rules of the host. May hang.
    pub(super) fn adopt(&self, rules: HostRules) {
        let shared = self.loaded.read().shared.clone();
        let adopted = Roots::new(shared, self.anonymous, Arc::new(rules));
        *self.loaded.write() = adopted;
    }

    /// Returns the tree; opens it again if its directory was replaced. May hang.
    pub(super) fn current(&self) -> Roots {
        let loaded = self.loaded.read().clone();
        let Store::Local(root) = &loaded.shared else { return loaded };
        let Some(other) = root.replacement().map(Arc::new) else { return loaded };
        let other = Roots::new(Store::Local(other), self.anonymous, loaded.rules);
        let mut loaded = self.loaded.write();
        // If the rules have changed meanwhile, the next login opens the directory with the new ones.
        if Arc::ptr_eq(&loaded.rules, &other.rules) {
            loaded.clone_from(&other);
        }
        other
    }

    /// Returns the path of its directory, if it is known.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.place().map(|(path, _)| path)
    }

    /// Returns the path of its directory, if it is known, with the number of its device.
    pub(super) fn place(&self) -> Option<(PathBuf, u64)> {
        match &self.loaded.read().shared {
            Store::Local(root) => Some((root.path()?.clone(), root.device())),
            Store::Memory(_) => None,
        }
    }
}

impl Roots {
    fn new(shared: Store, anonymous: Option<Permissions>, rules: Arc<HostRules>) -> Self {
        let everywhere = anonymous.unwrap_or(Permissions::NONE);
        let anonymous = match &shared {
            Store::Local(root) => {
                let own = rules.give(root.again(), everywhere, Subject::default());
                Store::Local(Arc::new(own))
            }
            Store::Memory(tree) => Store::Memory(tree.clone().with_permissions(everywhere)),
        };
        Self { shared, anonymous, rules }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ftp::VirtualPath;
    use crate::ftp::verb::Permission;
    use crate::storage::memory::MemoryTree;
    use crate::storage::root::Root;
    use crate::storage::rules::{DirectoryRule, Whom};

    #[test]
    fn a_directory_that_replaces_the_root_has_the_same_rules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::create_dir(&path).unwrap();
        let root = Arc::new(Root::open(&path).unwrap());
        let roots = SharedRoots::new(Store::Local(root), Some(Permissions::READ_ONLY));
        let at = VirtualPath::root().join(b"in").unwrap();
        let rule =
            DirectoryRule { path: at.clone(), may: Permissions::FULL, whom: Whom::default() };
        roots.adopt(HostRules { directories: Arc::new([rule]), mounts: Arc::new([]) });
        fs::rename(&path, folder.path().join("old")).unwrap();
        fs::create_dir_all(path.join("in/new")).unwrap();
        for _ in 0..2 {
            let Store::Local(root) = roots.current().anonymous else { panic!("in memory") };
            assert!(root.look(&at.join(b"new").unwrap()).is_ok());
            assert!(root.permit(&at, Permission::Write).is_ok());
            assert!(root.permit(&VirtualPath::root(), Permission::Write).is_err());
        }
    }

    #[test]
    fn a_tree_in_memory_gives_anonymous_the_permissions_of_anonymous() {
        let tree = MemoryTree::new(1);
        let roots = SharedRoots::new(Store::Memory(tree), Some(Permissions::READ_ONLY));
        let Roots { shared, anonymous, .. } = roots.current();
        assert_eq!(anonymous.permissions(), Permissions::READ_ONLY);
        assert_eq!(shared.permissions(), Permissions::FULL);
    }
}
