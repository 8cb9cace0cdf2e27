//! The rules and mounts of a host, and what they give to the root of an account.

use std::sync::Arc;

use super::mounts::Mount;
use super::permissions::Permissions;
use super::root::Root;
use super::rules::{Access, DirectoryRule, Subject, Whom};

/// The rules and mounts of a host.
#[derive(Debug, Default)]
pub(super) struct HostRules {
    pub(super) directories: Arc<[DirectoryRule]>,
    pub(super) mounts: Arc<[(Mount, Root)]>,
}

impl HostRules {
    /// Gives the root of an account its permissions and mounts.
    pub(super) fn give(&self, root: Root, everywhere: Permissions, subject: Subject<'_>) -> Root {
        let own = || self.mounts.iter().filter(|(mount, _)| mount.whom.includes(subject));
        // A mount sets the permissions at its place, as a rule does; a rule for the same place decides over it.
        let of_mounts = own().map(|(mount, _)| DirectoryRule {
            path: mount.at.clone(),
            may: mount.may,
            whom: Whom::default(),
        });
        let rules: Vec<DirectoryRule> = self.directories.iter().cloned().chain(of_mounts).collect();
        let all = Access::new(everywhere, &rules, subject);
        let umask = root.umask();
        let mounts = own().map(|(mount, root)| {
            let root = root.replacement().unwrap_or_else(|| root.again()).with_umask(umask);
            (mount.at.clone(), root.with_permissions(Arc::new(all.below(&mount.at))))
        });
        let mounts = mounts.collect();
        root.with_permissions(Arc::new(all)).with_mounts(mounts)
    }
}
