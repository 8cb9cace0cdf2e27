//! Accounts: the users who may log in, and their permissions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::exposed::Secrets;
use super::password;
use super::permissions::Permissions;
use super::quota::{Quota, Usage, UsageTable};
use super::rate_limit::RateLimit;
use super::root::Root;
use super::tree::Store;
use super::upload::Owner;
use super::users::{User, UserSettings, Users};
use crate::ftp::command::Password;
use crate::ftp::path::Escaped;

/// The state that all sessions of one user share.
#[derive(Debug, Default)]
struct SessionCount {
    sessions: AtomicUsize,
}

/// A session's permit among the sessions of its user, given back when it is dropped.
#[derive(Debug)]
struct SessionPermit(Arc<SessionCount>);

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A user who has logged in. Accounts come only from [`Accounts::verify`] and the [`Admission`] that it returns, so a
/// client that has not logged in has no root to open.
#[derive(Debug, Clone)]
pub struct Account {
    root: Arc<Root>,
    permissions: Permissions,
    up: Option<Arc<RateLimit>>,
    down: Option<Arc<RateLimit>>,
    owner: Owner,
    _permit: Option<Arc<SessionPermit>>,
}

impl Account {
    /// Returns the store of the tree that the account sees.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::Local(Arc::clone(&self.root))
    }

    /// Returns the owner of this session's partial uploads: the user at the client's address.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns the permissions of the account.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// Returns the rate limit of uploads.
    #[must_use]
    pub fn up(&self) -> Option<&Arc<RateLimit>> {
        self.up.as_ref()
    }

    /// Returns the rate limit of downloads.
    #[must_use]
    pub fn down(&self) -> Option<&Arc<RateLimit>> {
        self.down.as_ref()
    }
}

/// The reason why a login is refused.
#[derive(Debug)]
pub enum Denied {
    /// The user does not exist, the password is wrong, or the address is not allowed. The client does not learn which.
    Incorrect,
    /// The password is correct, but the home cannot be opened.
    NoHome(io::Error),
    /// There is no memory to check the password.
    OutOfMemory,
    /// The password is correct, but the user has the maximum number of sessions.
    TooManySessions,
}

/// The result of a login.
pub type Verdict = Result<Account, Denied>;

/// The way in which a login is decided.
pub enum Verification {
    /// The login is decided.
    Now(Verdict),
    /// The login is decided by slow work, which must not run on a worker.
    Later(Box<dyn FnOnce() -> Result<Admission, Denied> + Send>),
}

impl fmt::Debug for Verification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(verdict) => formatter.debug_tuple("Now").field(verdict).finish(),
            Self::Later(_) => formatter.write_str("Later"),
        }
    }
}

/// Returns the owner for a user at an address; it is equal in every session.
fn owner(name: &[u8], from: IpAddr) -> Owner {
    let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(from.to_string());
    let hash = hash.finalize();
    Owner(u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default()))
}

/// All accounts of a server or virtual host.
#[derive(Debug)]
pub struct Accounts {
    /// The root for anonymous, and for users without a home.
    root: RwLock<Arc<Root>>,
    anonymous: Option<Permissions>,
    users: Option<UsersFile>,
}

/// The users of a file, and their state in this process.
#[derive(Debug)]
struct UsersFile {
    path: PathBuf,
    loaded: RwLock<BTreeMap<Vec<u8>, Arc<LoadedUser>>>,
    /// The usage of the homes that have a quota.
    usage_table: Arc<UsageTable>,
    /// The session counts by user name, which outlive a reload.
    session_counts: Mutex<HashMap<Vec<u8>, Arc<SessionCount>>>,
    /// Files that must not be beneath a home.
    secrets: Arc<Secrets>,
    /// The homes that the last reload could not reach.
    unreachable: Mutex<BTreeSet<PathBuf>>,
}

/// A user of the users file.
#[derive(Debug)]
struct LoadedUser {
    user: User,
    count: Arc<SessionCount>,
    up: Option<Arc<RateLimit>>,
    down: Option<Arc<RateLimit>>,
}

impl Accounts {
    /// Creates accounts with anonymous access only, with these permissions.
    #[must_use]
    pub fn anonymous(root: Arc<Root>, permissions: Permissions) -> Self {
        Self { root: RwLock::new(root), anonymous: Some(permissions), users: None }
    }

    /// Creates accounts from a users file, and anonymous access if it has permissions.
    ///
    /// # Errors
    /// One sentence about the file.
    pub fn of_file(
        root: Arc<Root>,
        path: PathBuf,
        anonymous: Option<Permissions>,
    ) -> Result<Self, String> {
        let users = UsersFile {
            path,
            loaded: RwLock::default(),
            usage_table: Arc::default(),
            session_counts: Mutex::default(),
            secrets: Arc::default(),
            unreachable: Mutex::default(),
        };
        users.reload()?;
        Ok(Self { root: RwLock::new(root), anonymous, users: Some(users) })
    }

    /// Sets the files that must not be beneath any home of a later reload.
    #[must_use]
    pub fn guarding(mut self, secrets: Arc<Secrets>) -> Self {
        if let Some(users) = &mut self.users {
            users.secrets = secrets;
        }
        self
    }

    /// Reads the users file again; users who are logged in stay logged in. Returns the number of users.
    ///
    /// # Errors
    /// One sentence about the file; the users are then unchanged.
    pub fn reload(&self) -> Result<Option<usize>, String> {
        self.users.as_ref().map(UsersFile::reload).transpose()
    }

    /// Checks each home that is new since the last reload, and those that could not be reached then. Returns the users
    /// whose homes cannot be reached.
    pub(super) fn unreachable(&self, before: &BTreeSet<PathBuf>) -> Vec<Vec<u8>> {
        self.users.as_ref().map(|users| users.unreachable(before)).unwrap_or_default()
    }

    /// Returns the homes of all users who have one.
    pub(super) fn homes(&self) -> BTreeSet<PathBuf> {
        self.users.iter().flat_map(UsersFile::homes).collect()
    }

    /// Verifies a name and a password. Anonymous may give any password (RFC 1635).
    #[must_use]
    pub fn verify(&self, name: &[u8], password: Password, from: IpAddr) -> Verification {
        let loaded = self.users.as_ref().and_then(|users| users.loaded.read().get(name).cloned());
        let owner = owner(name, from);
        if loaded.is_none()
            && Self::is_anonymous(name)
            && let Some(permissions) = self.anonymous
        {
            let root = self.root();
            let account = Account { root, permissions, up: None, down: None, owner, _permit: None };
            return Verification::Now(Ok(account));
        }
        if self.users.is_none() {
            return Verification::Now(Err(Denied::Incorrect));
        }
        let root = self.root();
        let usage_table = self.users.as_ref().map(|users| Arc::clone(&users.usage_table));
        Verification::Later(Box::new(move || {
            let hash = loaded.as_ref().map(|loaded| loaded.user.hash.as_str());
            let Ok(fits) = password::is_of(hash, &password.0) else {
                return Err(Denied::OutOfMemory);
            };
            match loaded {
                Some(loaded) if fits && loaded.user.settings.lets_in(from) => {
                    let place = loaded.take_place().ok_or(Denied::TooManySessions)?;
                    let usage_table = usage_table.unwrap_or_default();
                    Ok(Admission { loaded, shared: root, usage_table, owner, place })
                }
                _ => Err(Denied::Incorrect),
            }
        }))
    }

    /// Returns the root; opens it again if its directory was replaced.
    fn root(&self) -> Arc<Root> {
        let loaded = Arc::clone(&self.root.read());
        let Some(other) = loaded.replacement().map(Arc::new) else { return loaded };
        *self.root.write() = Arc::clone(&other);
        other
    }

    /// Returns true if this name requests anonymous access (RFC 1635).
    #[must_use]
    pub fn is_anonymous(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"anonymous") || name.eq_ignore_ascii_case(b"ftp")
    }

    /// Returns true if the users file has a user of this name.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        self.users.as_ref().is_some_and(|users| users.loaded.read().contains_key(name))
    }

    /// Returns true if anonymous access is allowed.
    #[must_use]
    pub fn serve_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Opens the root and the home of each user who has one, in turn, and passes them to `visit`.
    pub(super) fn each_place(&self, visit: &mut dyn FnMut(&Root)) {
        visit(&self.root());
        let Some(users) = &self.users else { return };
        let loaded: Vec<_> = users.loaded.read().values().cloned().collect();
        for home in loaded.iter().filter_map(|loaded| loaded.open_home(&users.usage_table)) {
            visit(&home);
        }
    }

    /// Returns the path of the root, if it is known, and the homes of all users who have one.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let root = self.root.read().path().cloned();
        let loaded = self.users.iter().flat_map(|users| {
            let loaded = users.loaded.read();
            loaded
                .values()
                .filter_map(|loaded| loaded.user.settings.home.clone())
                .collect::<Vec<_>>()
        });
        root.into_iter().chain(loaded).collect()
    }
}

impl UsersFile {
    fn homes(&self) -> Vec<PathBuf> {
        let loaded = self.loaded.read();
        loaded.values().filter_map(|loaded| loaded.user.settings.home.clone()).collect()
    }

    fn unreachable(&self, before: &BTreeSet<PathBuf>) -> Vec<Vec<u8>> {
        let loaded = self.loaded.read().clone();
        let earlier = std::mem::take(&mut *self.unreachable.lock());
        let (mut users, mut homes) = (Vec::new(), BTreeSet::new());
        for (name, loaded) in loaded {
            let Some(home) = &loaded.user.settings.home else { continue };
            let is_new = !before.contains(home) || earlier.contains(home);
            if is_new && Root::open(home).and_then(|root| root.reach()).is_err() {
                homes.insert(home.clone());
                users.push(name);
            }
        }
        *self.unreachable.lock() = homes;
        users
    }

    fn reload(&self) -> Result<usize, String> {
        let users = Users::read(&self.path)?;
        for (name, home) in
            users.0.iter().filter_map(|(name, user)| Some((name, user.settings.home.as_ref()?)))
        {
            let of = format!("the home of {}", Escaped(name));
            self.secrets.check(&of, home)?;
        }
        let mut session_counts = self.session_counts.lock();
        let before = self.loaded.read().clone();
        let loaded: BTreeMap<_, _> = users
            .0
            .into_iter()
            .map(|(name, user)| {
                let count = Arc::clone(session_counts.entry(name.clone()).or_default());
                let before = before.get(&name);
                (name, Arc::new(LoadedUser::new(user, count, before.map(AsRef::as_ref))))
            })
            .collect();
        // Forgets the removed users who have no session.
        session_counts
            .retain(|name, count| loaded.contains_key(name) || Arc::strong_count(count) > 1);
        let count = loaded.len();
        *self.loaded.write() = loaded;
        Ok(count)
    }
}

impl LoadedUser {
    /// Creates a user of the file. A rate limit that has not changed stays shared with the earlier sessions.
    fn new(user: User, count: Arc<SessionCount>, before: Option<&Self>) -> Self {
        let UserSettings { up, down, .. } = user.settings;
        let rate_limit = |rate: Option<NonZeroU64>, before: Option<&Arc<RateLimit>>| {
            let same = before.filter(|rate_limit| Some(rate_limit.bytes_per_second()) == rate);
            same.cloned().or_else(|| rate.map(|rate| Arc::new(RateLimit::new(rate))))
        };
        Self {
            up: rate_limit(up, before.and_then(|loaded| loaded.up.as_ref())),
            down: rate_limit(down, before.and_then(|loaded| loaded.down.as_ref())),
            user,
            count,
        }
    }

    fn quota(&self, usage: Arc<Usage>) -> Quota {
        let UserSettings { quota, files, .. } = self.user.settings;
        let (bytes_max, files_max) = (quota.unwrap_or(u64::MAX), files.unwrap_or(u64::MAX));
        Quota { bytes_max, files_max, usage }
    }

    /// Opens the home, for work in it without its user.
    fn open_home(&self, usage_table: &UsageTable) -> Option<Root> {
        // A home that is missing is reported when its user logs in.
        let root = Root::open(self.user.settings.home.as_ref()?).ok()?;
        Some(match usage_table.known(root.identity()) {
            Some(usage) => root.with_quota(self.quota(usage)),
            None => root,
        })
    }

    fn take_place(&self) -> Option<SessionPermit> {
        let most = self.user.settings.sessions.unwrap_or(usize::MAX);
        let take = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = self.count.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.is_ok().then(|| SessionPermit(Arc::clone(&self.count)))
    }
}

/// A login with a correct password and a session permit, whose home is not open yet.
#[derive(Debug)]
pub struct Admission {
    loaded: Arc<LoadedUser>,
    shared: Arc<Root>,
    usage_table: Arc<UsageTable>,
    owner: Owner,
    place: SessionPermit,
}

impl Admission {
    /// Returns the user's home, if there is one. Opening it may hang.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.loaded.user.settings.home.clone()
    }

    /// Opens the home, and counts its usage if it has a quota. Must not run on a worker, nor on a thread that other
    /// jobs need.
    pub fn open(self) -> Verdict {
        let Self { loaded, shared, usage_table, owner, place } = self;
        let settings = &loaded.user.settings;
        let root = match &settings.home {
            Some(home) => Root::open(home).and_then(|root| root.reach().map(|()| root)),
            None => shared.again(),
        };
        let root = root.map_err(Denied::NoHome)?;
        let root = if settings.quota.is_none() && settings.files.is_none() {
            root
        } else {
            let usage = usage_table.of(root.identity(), || root.measure());
            root.with_quota(loaded.quota(usage))
        };
        Ok(Account {
            root: Arc::new(root),
            permissions: settings.may,
            up: loaded.up.clone(),
            down: loaded.down.clone(),
            owner,
            _permit: Some(Arc::new(place)),
        })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own files and knows the time")]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn verify(accounts: &Accounts, name: &str, password: &str) -> Verdict {
        let password = Password(Zeroizing::new(password.as_bytes().to_vec()));
        match accounts.verify(name.as_bytes(), password, HERE) {
            Verification::Now(verdict) => verdict,
            Verification::Later(work) => work().and_then(Admission::open),
        }
    }

    #[test]
    fn a_user_has_a_home_a_number_of_sessions_and_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let home = folder.path().join("home");
        let change = |settings: &'static str, home: Option<PathBuf>| {
            Users::update(&path, |users| {
                let mut changed = UserSettings { home, ..UserSettings::default() };
                settings.split_ascii_whitespace().try_for_each(|word| changed.set(word))?;
                let hash = password::hash(b"right")?;
                users.0.insert(b"alice".to_vec(), User { hash, settings: changed });
                Ok(())
            })
            .unwrap();
        };
        change("sessions=1", Some(home.clone()));
        let root = Arc::new(Root::open(folder.path()).unwrap());
        let accounts = Accounts::of_file(root, path.clone(), None).unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::NoHome(_))));
        std::fs::create_dir(&home).unwrap();
        assert!(matches!(verify(&accounts, "alice", "wrong"), Err(Denied::Incorrect)));
        assert!(matches!(verify(&accounts, "bob", "right"), Err(Denied::Incorrect)));
        assert!(matches!(verify(&accounts, "anonymous", "x"), Err(Denied::Incorrect)));
        let first = verify(&accounts, "alice", "right").unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::TooManySessions)));
        drop(first);
        let _first = verify(&accounts, "alice", "right").unwrap();
        // The session count outlives a reload.
        accounts.reload().unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::TooManySessions)));
        change("from=192.0.2.0/24", None);
        accounts.reload().unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::Incorrect)));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(accounts.reload().unwrap_err().contains("line 1"));
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::Incorrect)));
    }
}
