//! A user who may log in, with what all sessions of the user share.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::quota::{Quota, Usage, UsageTable};
use super::rate_limit::RateLimit;
use super::root::Root;
use super::users::{User, UserSettings};

/// The state that all sessions of one user share.
#[derive(Debug, Default)]
pub(super) struct SessionCount {
    sessions: AtomicUsize,
}

/// A session's permit among the sessions of its user, given back when it is dropped.
#[derive(Debug)]
pub(super) struct SessionPermit(Arc<SessionCount>);

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A user of the users file, or of the authenticator.
#[derive(Debug)]
pub(super) struct LoadedUser {
    pub(super) user: User,
    pub(super) count: Arc<SessionCount>,
    pub(super) up: Arc<RateLimit>,
    pub(super) down: Arc<RateLimit>,
}

impl LoadedUser {
    /// Creates a user. The rate limits stay shared with the earlier sessions, which get the new rates at once.
    pub(super) fn new(user: User, count: Arc<SessionCount>, before: Option<&Self>) -> Self {
        let shared = |limit: Option<&Arc<RateLimit>>, rate: Option<NonZeroU64>| {
            let limit = limit.map(Arc::clone).unwrap_or_default();
            limit.set(rate);
            limit
        };
        let UserSettings { up, down, .. } = user.settings;
        Self {
            up: shared(before.map(|loaded| &loaded.up), up),
            down: shared(before.map(|loaded| &loaded.down), down),
            user,
            count,
        }
    }

    /// Returns true if the bytes or the files of the home are limited.
    pub(super) fn has_quota(&self) -> bool {
        self.user.settings.quota.is_some() || self.user.settings.files.is_some()
    }

    /// Returns the quota of the home.
    pub(super) fn quota(&self, usage: Arc<Usage>) -> Quota {
        let UserSettings { quota, files, .. } = self.user.settings;
        let (bytes_max, files_max) = (quota.unwrap_or(u64::MAX), files.unwrap_or(u64::MAX));
        Quota { bytes_max, files_max, usage }
    }

    /// Opens the home, for work in it without its user.
    pub(super) fn open_home(&self, usage_table: &UsageTable) -> Option<Root> {
        // A home that is missing is reported when its user logs in.
        let root = Root::open(self.user.settings.home.as_ref()?).ok()?;
        Some(match usage_table.known(root.identity()) {
            Some(usage) => root.with_quota(self.quota(usage)),
            None => root,
        })
    }

    /// Returns true if the user has a session.
    pub(super) fn has_sessions(&self) -> bool {
        self.count.sessions.load(Ordering::Acquire) > 0
    }

    /// Takes a place among the sessions of the user; `None` if there are too many.
    pub(super) fn take_place(&self) -> Option<SessionPermit> {
        let most = self.user.settings.sessions.unwrap_or(usize::MAX);
        let take = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = self.count.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.is_ok().then(|| SessionPermit(Arc::clone(&self.count)))
    }
}
