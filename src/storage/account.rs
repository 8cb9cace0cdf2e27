//! Accounts: the users who may log in, and their permissions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::authenticator::{Authenticator, Question};
use super::exposed::Secrets;
use super::external_users::ExternalUsers;
use super::groups::{Group, Groups, complete};
use super::host_rules::HostRules;
use super::loaded_user::{LoadedUser, SessionCount, SessionPermit};
use super::mounts::Mount;
use super::password;
use super::permissions::Permissions;
use super::quota::UsageTable;
use super::quota_report::QuotaOwner;
use super::rate_limit::RateLimit;
use super::root::Root;
use super::rules::{DirectoryRule, Subject};
use super::shared_roots::{Roots, SharedRoots};
use super::tree::Store;
use super::upload::Owner;
use super::users::{ClientCertificate, UserSettings, Users};
use crate::ftp::command::Password;
use crate::ftp::path::Escaped;

/// A user who has logged in. Accounts come only from [`Accounts::verify`] and the [`Admission`] that it returns, so a
/// client that has not logged in has no root to open.
#[derive(Debug, Clone)]
pub struct Account {
    store: Store,
    up: Option<Arc<RateLimit>>,
    down: Option<Arc<RateLimit>>,
    owner: Owner,
    _permit: Option<Arc<SessionPermit>>,
}

impl Account {
    /// Returns the store of the tree that the account sees.
    #[must_use]
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Returns the owner of this session's partial uploads: the user at the client's address.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns the permissions that the account has in at least one directory.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.store.permissions()
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
    /// The password is correct, but the user may not log in, for this reason. The client does not learn it.
    Closed(&'static str),
    /// The password is correct, but the home cannot be opened.
    NoHome(io::Error),
    /// There is no memory to check the password.
    OutOfMemory,
    /// The authenticator does not answer as it should, for this reason.
    Unverified(String),
    /// The password is correct, but the user has the maximum number of sessions.
    TooManySessions,
}

/// The result of a login.
pub type Verdict = Result<Account, Denied>;

/// The data with which a client logs in.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// The name of the user.
    pub name: &'a [u8],
    /// The password.
    pub password: Password,
    /// The address of the client.
    pub from: IpAddr,
    /// The certificate of the client, if it has sent one.
    pub certificate: Option<ClientCertificate>,
    /// True if the connection is over TLS.
    pub tls: bool,
    /// The time of the login.
    pub now: Timestamp,
}

/// The way in which a login is decided.
pub enum Verification {
    /// The login is decided.
    Now(Verdict),
    /// No password is needed; the tree is to be opened, which may hang.
    Open(Box<dyn FnOnce() -> Verdict + Send>),
    /// The login is decided by slow work, which must not run on a worker.
    Later(Decision),
    /// The login is decided by another program. The work waits for it.
    Elsewhere(Decision),
}

/// Work that decides a login.
pub type Decision = Box<dyn FnOnce() -> Result<Admission, Denied> + Send>;

impl fmt::Debug for Verification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(verdict) => formatter.debug_tuple("Now").field(verdict).finish(),
            Self::Open(_) => formatter.write_str("Open"),
            Self::Later(_) => formatter.write_str("Later"),
            Self::Elsewhere(_) => formatter.write_str("Elsewhere"),
        }
    }
}

/// Returns the owner for a user at an address; it is equal in every session.
fn owner(name: &[u8], from: IpAddr) -> Owner {
    let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(from.to_string());
    let hash = hash.finalize();
    Owner(u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default()))
}

/// A rate in bytes per second to set, if one is given; `None` inside means no limit.
pub type NewRate = Option<Option<NonZeroU64>>;

/// The rates of a user in bytes per second: that of downloads, and that of uploads.
pub type Rates = (Option<NonZeroU64>, Option<NonZeroU64>);

/// All accounts of a server or virtual host.
#[derive(Debug)]
pub struct Accounts {
    /// The tree of anonymous, and of users without a home; and the permissions by directory.
    shared: Arc<SharedRoots>,
    users: Option<UsersFile>,
    /// The users whom an authenticator knows; names of the users file come first.
    external: Option<Arc<ExternalUsers>>,
    /// The usage of the homes that have a quota.
    usage_table: Arc<UsageTable>,
    groups: Arc<Groups>,
}

/// The users of a file, and their state in this process.
#[derive(Debug)]
struct UsersFile {
    path: Option<PathBuf>,
    /// The users who are in no file.
    listed: Users,
    loaded: RwLock<BTreeMap<Vec<u8>, Arc<LoadedUser>>>,
    /// The hash that takes longest to check.
    costliest: RwLock<Option<Arc<str>>>,
    /// The session counts by user name, which outlive a reload.
    session_counts: Mutex<HashMap<Vec<u8>, Arc<SessionCount>>>,
    /// Files that must not be beneath a home.
    secrets: Arc<Secrets>,
    /// The homes that the last reload could not reach.
    unreachable: Mutex<BTreeSet<PathBuf>>,
}

/// The users of a file that was read, before they are in use.
#[derive(Debug)]
pub(super) struct ReadUsers(Users);

impl Accounts {
    /// Creates accounts without users, and with anonymous access if it has permissions.
    #[must_use]
    pub fn new(store: impl Into<Store>, anonymous: Option<Permissions>) -> Self {
        let shared = Arc::new(SharedRoots::new(store.into(), anonymous));
        let (usage_table, groups) = (Arc::default(), Arc::default());
        Self { shared, users: None, external: None, usage_table, groups }
    }

    /// Sets the groups, for the users who are read after this.
    #[must_use]
    pub fn with_groups(self, groups: &[Group]) -> Self {
        self.groups.set(groups);
        self
    }

    /// Sets the groups, for the users of the authenticator who log in after this.
    pub(super) fn set_groups(&self, groups: &[Group]) {
        self.groups.set(groups);
    }

    /// Sets the permissions by directory, for the logins that follow.
    pub fn set_rules(&self, directories: Arc<[DirectoryRule]>) {
        let mounts = Arc::clone(&self.shared.rules().mounts);
        self.shared.adopt(HostRules { directories, mounts });
    }

    /// Sets the directories that appear at other places, for the logins that follow.
    pub fn set_mounts(&self, mounts: Arc<[(Mount, Root)]>) {
        let directories = Arc::clone(&self.shared.rules().directories);
        self.shared.adopt(HostRules { directories, mounts });
    }

    /// Adds the users of a file, and those of the list, which replace users of the file.
    ///
    /// # Errors
    /// One sentence about the file.
    pub fn with_users(self, path: Option<PathBuf>, listed: Users) -> Result<Self, String> {
        let users = UsersFile {
            path,
            listed,
            loaded: RwLock::default(),
            costliest: RwLock::default(),
            session_counts: Mutex::default(),
            secrets: Arc::default(),
            unreachable: Mutex::default(),
        };
        let read = self.groups.with(|groups| users.read(groups))?;
        users.adopt(read);
        Ok(Self { users: Some(users), ..self })
    }

    /// Adds the users of an authenticator.
    #[must_use]
    pub fn with_authenticator(self, authenticator: Authenticator) -> Self {
        let external = ExternalUsers::new(authenticator, Arc::clone(&self.groups));
        Self { external: Some(Arc::new(external)), ..self }
    }

    /// Sets the files that must not be beneath any home of a later reload.
    #[must_use]
    pub fn guarding(mut self, secrets: Arc<Secrets>) -> Self {
        if let Some(external) = &self.external {
            external.guard(Arc::clone(&secrets));
        }
        if let Some(users) = &mut self.users {
            users.secrets = secrets;
        }
        self
    }

    /// Reads the users file again, for users of these groups. Nothing changes yet.
    ///
    /// # Errors
    /// One sentence about the file.
    pub(super) fn read(&self, groups: &[Group]) -> Result<ReadUsers, String> {
        let users = self.users.as_ref().map(|users| users.read(groups)).transpose()?;
        Ok(ReadUsers(users.unwrap_or_default()))
    }

    /// Adopts the users who were read. Those who are logged in stay logged in. Returns the number of users.
    pub(super) fn adopt(&self, ReadUsers(read): ReadUsers) -> usize {
        if let Some(external) = &self.external {
            external.forget();
        }
        self.users.as_ref().map(|users| users.adopt(read)).unwrap_or_default()
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
    pub fn verify(&self, credentials: Credentials<'_>) -> Verification {
        let Credentials { name, password, from, certificate, tls, now } = credentials;
        let loaded = self.users.as_ref().and_then(|users| users.loaded.read().get(name).cloned());
        let owner = owner(name, from);
        if loaded.is_none() && Self::is_anonymous(name) && self.serve_anonymous() {
            let shared = Arc::clone(&self.shared);
            return Verification::Open(Box::new(move || {
                let store = shared.current().anonymous;
                Ok(Account { store, up: None, down: None, owner, _permit: None })
            }));
        }
        let (shared, usage_table) = (Arc::clone(&self.shared), Arc::clone(&self.usage_table));
        let user = name.to_vec();
        let admit = move |loaded: Arc<LoadedUser>| {
            let settings = &loaded.user.settings;
            if !settings.lets_in(from) {
                return Err(Denied::Incorrect);
            }
            if !settings.accepts(certificate.as_ref()) {
                return Err(Denied::Closed("no certificate of the user"));
            }
            if let Some(why) = settings.closed(now) {
                return Err(Denied::Closed(why));
            }
            let place = loaded.take_place().ok_or(Denied::TooManySessions)?;
            Ok(Admission { loaded, name: user, shared, usage_table, owner, place })
        };
        if loaded.is_none()
            && let Some(external) = self.external.clone()
        {
            let name = name.to_vec();
            return Verification::Elsewhere(Box::new(move || {
                let question = Question { name: &name, password: &password.0, from, tls };
                let loaded = external.verify(question).map_err(Denied::Unverified)?;
                admit(loaded.ok_or(Denied::Incorrect)?)
            }));
        }
        let Some(users) = &self.users else { return Verification::Now(Err(Denied::Incorrect)) };
        let costliest = users.costliest.read().clone();
        Verification::Later(Box::new(move || {
            let hash = loaded.as_ref().map(|loaded| loaded.user.hash.as_str());
            let Ok(fits) = password::is_of(hash, costliest.as_deref(), &password.0) else {
                return Err(Denied::OutOfMemory);
            };
            let loaded = loaded.ok_or(Denied::Incorrect)?;
            if fits || loaded.user.settings.needs_no_password() {
                admit(loaded)
            } else {
                Err(Denied::Incorrect)
            }
        }))
    }

    /// Gives a root the permissions and mounts of an account.
    pub(super) fn give(&self, root: Root, may: Permissions, subject: Subject<'_>) -> Root {
        self.shared.rules().give(root, may, subject)
    }

    /// Returns the settings of a user of the users file.
    pub(super) fn settings_of(&self, name: &[u8]) -> Option<UserSettings> {
        let users = self.users.as_ref()?;
        users.loaded.read().get(name).map(|loaded| loaded.user.settings.clone())
    }

    /// Returns the permissions of anonymous without a rule; `None` if anonymous cannot log in.
    pub(super) fn anonymous_permissions(&self) -> Option<Permissions> {
        self.shared.anonymous()
    }

    /// Returns the root of the users without a home; `None` if their tree is in memory.
    pub(super) fn shared_root(&self) -> Option<Root> {
        match self.shared.current().shared {
            Store::Local(root) => Some(root.again()),
            Store::Memory(_) => None,
        }
    }

    /// Returns true if this name requests anonymous access (RFC 1635).
    #[must_use]
    pub fn is_anonymous(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"anonymous") || name.eq_ignore_ascii_case(b"ftp")
    }

    /// Returns true if the users file has a user of this name who is not disabled.
    #[must_use]
    pub fn has_enabled(&self, name: &[u8]) -> bool {
        let loaded = self.users.as_ref().map(|users| users.loaded.read());
        let user = loaded.as_ref().and_then(|loaded| loaded.get(name));
        user.is_some_and(|loaded| !loaded.user.settings.disabled)
    }

    /// Returns true if the users file has a user of this name, or the authenticator has admitted one.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        self.users.as_ref().is_some_and(|users| users.loaded.read().contains_key(name))
            || self.external.as_ref().is_some_and(|external| external.knows(name))
    }

    /// Returns true if anonymous access is allowed.
    #[must_use]
    pub fn serve_anonymous(&self) -> bool {
        self.shared.anonymous().is_some()
    }

    /// Opens the root and the home of each user who has one, in turn, and passes them to `visit`.
    pub(super) fn each_place(&self, visit: &mut dyn FnMut(&Root)) {
        let Roots { shared, rules, .. } = self.shared.current();
        if let Store::Local(root) = shared {
            visit(&root);
        }
        for (mount, root) in rules.mounts.iter() {
            // A mount without write permission has no partial uploads.
            if mount.may != Permissions::READ_ONLY {
                visit(root);
            }
        }
        for (_, loaded) in self.loaded(None) {
            if let Some(home) = loaded.open_home(&self.usage_table) {
                visit(&home);
            }
        }
    }

    /// Returns the users who have a quota, with their homes; only the user of this name, if one is given.
    pub(super) fn quota_owners(&self, name: Option<&[u8]>) -> Vec<QuotaOwner> {
        let owner = |(name, loaded): (Vec<u8>, Arc<LoadedUser>)| {
            let home = loaded.user.settings.home.clone().or_else(|| self.shared.path());
            QuotaOwner { name, home, loaded, usage_table: Arc::clone(&self.usage_table) }
        };
        let users = self.loaded(name).into_iter().filter(|(_, loaded)| loaded.has_quota());
        users.map(owner).collect()
    }

    /// Sets the rates of a user until the users are read again, also for the transfers that run. A rate that is not given
    /// stays. Returns the rates, download first; `None` if there is no such user.
    pub(super) fn set_rates(&self, name: &[u8], down: NewRate, up: NewRate) -> Option<Rates> {
        let (_, loaded) = self.loaded(Some(name)).into_iter().next()?;
        if let Some(rate) = down {
            loaded.down.set(rate);
        }
        if let Some(rate) = up {
            loaded.up.set(rate);
        }
        Some((loaded.down.bytes_per_second(), loaded.up.bytes_per_second()))
    }

    /// Returns all users of the users file and those whom the authenticator has admitted, or only the one of this name.
    fn loaded(&self, name: Option<&[u8]>) -> Vec<(Vec<u8>, Arc<LoadedUser>)> {
        let of_file = self.users.as_ref().map(|users| users.loaded.read().clone());
        let external = self.external.as_ref().map(|external| external.admitted());
        let all = of_file.into_iter().flatten().chain(external.into_iter().flatten());
        all.filter(|(known, _)| name.is_none_or(|name| name == known)).collect()
    }

    /// Returns the path of the root, if it is known, and the homes of all users who have one.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let loaded = self.users.iter().flat_map(|users| {
            let loaded = users.loaded.read();
            loaded
                .values()
                .filter_map(|loaded| loaded.user.settings.home.clone())
                .collect::<Vec<_>>()
        });
        let shared = self.shared_places().into_iter().map(|(path, _)| path);
        shared.chain(loaded).collect()
    }

    /// Returns the paths of the root and of all mounts, each with the number of its device.
    pub(super) fn shared_places(&self) -> Vec<(PathBuf, u64)> {
        let rules = self.shared.rules();
        let mounts =
            rules.mounts.iter().map(|(mount, root)| (mount.directory.clone(), root.device()));
        self.shared.place().into_iter().chain(mounts).collect()
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

    /// Reads the file, and completes its users by the settings of these groups.
    fn read(&self, groups: &[Group]) -> Result<Users, String> {
        let mut users = self.path.as_deref().map(Users::read).transpose()?.unwrap_or_default();
        users.0.extend(self.listed.0.clone());
        for (name, user) in &mut users.0 {
            let settings = complete(groups, name, std::mem::take(&mut user.settings));
            user.settings = settings.map_err(|what| match &self.path {
                Some(path) => format!("{}: {what}", path.display()),
                None => what,
            })?;
        }
        for (name, home) in
            users.0.iter().filter_map(|(name, user)| Some((name, user.settings.home.as_ref()?)))
        {
            let of = format!("the home of {}", Escaped(name));
            self.secrets.check(&of, home)?;
        }
        Ok(users)
    }

    /// Adopts these users; returns their number.
    fn adopt(&self, users: Users) -> usize {
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
        let hashes = loaded.values().map(|loaded| loaded.user.hash.as_str());
        *self.costliest.write() = password::costliest(hashes).map(Arc::from);
        *self.loaded.write() = loaded;
        count
    }
}

/// A login with a correct password and a session permit, whose home is not open yet.
#[derive(Debug)]
pub struct Admission {
    loaded: Arc<LoadedUser>,
    shared: Arc<SharedRoots>,
    usage_table: Arc<UsageTable>,
    owner: Owner,
    name: Vec<u8>,
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
        let Self { loaded, shared, usage_table, owner, name, place } = self;
        let settings = &loaded.user.settings;
        let root = match &settings.home {
            Some(home) => Root::open(home).and_then(|root| root.reach().map(|()| root)),
            None => match shared.current().shared {
                Store::Local(root) => Ok(root.again()),
                Store::Memory(tree) => {
                    let store = Store::Memory(tree.with_permissions(settings.may));
                    return Ok(Self::account(&loaded, store, owner, place));
                }
            },
        };
        let root = root.map_err(Denied::NoHome)?.with_umask(settings.umask);
        let subject = Subject { user: Some(&name), group: settings.group.as_deref() };
        let root = shared.rules().give(root, settings.may, subject);
        let root = if loaded.has_quota() {
            let usage = usage_table.of(root.identity(), || root.measure());
            root.with_quota(loaded.quota(usage))
        } else {
            root
        };
        let store = Store::Local(Arc::new(root));
        Ok(Self::account(&loaded, store, owner, place))
    }

    fn account(loaded: &LoadedUser, store: Store, owner: Owner, place: SessionPermit) -> Account {
        Account {
            store,
            up: Some(Arc::clone(&loaded.up)),
            down: Some(Arc::clone(&loaded.down)),
            owner,
            _permit: Some(Arc::new(place)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own files and knows the time")]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::storage::users::User;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn verify(accounts: &Accounts, name: &str, password: &str) -> Verdict {
        let password = Password(Zeroizing::new(password.as_bytes().to_vec()));
        let (name, now) = (name.as_bytes(), Timestamp::now());
        let credentials =
            Credentials { name, password, from: HERE, certificate: None, tls: false, now };
        match accounts.verify(credentials) {
            Verification::Now(verdict) => verdict,
            Verification::Open(open) => open(),
            Verification::Later(work) | Verification::Elsewhere(work) => {
                work().and_then(Admission::open)
            }
        }
    }

    fn reload(accounts: &Accounts) -> Result<usize, String> {
        Ok(accounts.adopt(accounts.read(&[])?))
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
        let accounts =
            Accounts::new(root, None).with_users(Some(path.clone()), Users::default()).unwrap();
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
        reload(&accounts).unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::TooManySessions)));
        for (closed, why) in [("disabled", "user disabled"), ("expires=2020-02-29", "user expired")]
        {
            change(closed, None);
            reload(&accounts).unwrap();
            let denied = verify(&accounts, "alice", "right").unwrap_err();
            assert!(matches!(denied, Denied::Closed(found) if found == why), "{denied:?}");
            assert!(matches!(verify(&accounts, "alice", "wrong"), Err(Denied::Incorrect)));
        }
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        assert_eq!(
            UserSettings { expires: Some(today), ..UserSettings::default() }
                .closed(Timestamp::now()),
            None
        );
        change("from=192.0.2.0/24", None);
        reload(&accounts).unwrap();
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::Incorrect)));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(reload(&accounts).unwrap_err().contains("line 1"));
        assert!(matches!(verify(&accounts, "alice", "right"), Err(Denied::Incorrect)));
    }
}
