//! The usage of the users who have a quota, as an administrator sees it, and a new count of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::loaded_user::LoadedUser;
use super::quota::{Usage, UsageTable, Used};
use super::root::Root;

/// Maximum number of counts of a tree that changes during each count.
const COUNTS_MAX: usize = 3;

/// A user with a quota.
#[derive(Debug)]
pub struct QuotaOwner {
    pub(super) name: Vec<u8>,
    pub(super) home: Option<PathBuf>,
    pub(super) loaded: Arc<LoadedUser>,
    pub(super) usage_table: Arc<UsageTable>,
}

/// The quota of a user: the limits, and the usage if it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaReport {
    /// The name of the user.
    pub name: Vec<u8>,
    /// The number of bytes and of files beneath the home.
    pub used: Option<(u64, u64)>,
    /// The maximum number of bytes.
    pub bytes_max: Option<u64>,
    /// The maximum number of files.
    pub files_max: Option<u64>,
}

impl QuotaOwner {
    /// Returns the quota without a usage.
    #[must_use]
    pub fn report(&self) -> QuotaReport {
        let settings = &self.loaded.user.settings;
        let (bytes_max, files_max) = (settings.quota, settings.files);
        QuotaReport { name: self.name.clone(), used: None, bytes_max, files_max }
    }

    /// Returns the quota with the usage. Without a session of the user, the files are counted, which takes time and may
    /// hang.
    #[must_use]
    pub fn counted(&self) -> QuotaReport {
        let used = self.open().map(|(root, usage)| match usage {
            Some(usage) => usage.used(),
            None => root.measure(),
        });
        QuotaReport { used: used.map(|Used { bytes, files }| (bytes, files)), ..self.report() }
    }

    /// Counts the files again, for changes by other programs. Returns false if the files change during each count. Takes
    /// time and may hang.
    #[must_use]
    pub fn recount(&self) -> bool {
        let Some((root, usage)) = self.open() else { return true };
        // Without a session, the next login counts.
        usage.is_none_or(|usage| (0..COUNTS_MAX).any(|_| usage.recount(|| root.measure())))
    }

    fn open(&self) -> Option<(Root, Option<Arc<Usage>>)> {
        let root = Root::open(self.home.as_ref()?).ok()?;
        let usage = self.usage_table.known(root.identity());
        Some((root, usage))
    }
}
