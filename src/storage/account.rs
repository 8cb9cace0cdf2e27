//! Who may log in, and what each may do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::exposed::Secrets;
use super::quota::{Quota, Usage, Usages};
use super::users::{User, UserSettings, Users};
use super::{Owner, Root, password};
use crate::ftp::command::Password;
use crate::ftp::path::Escaped;
use crate::ftp::verb::Permission;

/// What an account may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u8);

/// Each permission by the word that the users file has for it.
const WORDS: [(&str, Permission); 8] = [
    ("list", Permission::List),
    ("read", Permission::Read),
    ("write", Permission::Write),
    ("append", Permission::Append),
    ("delete", Permission::Delete),
    ("rename", Permission::Rename),
    ("mkdir", Permission::MakeDirectory),
    ("chmod", Permission::ChangeAttributes),
];

impl Permissions {
    /// Look, and fetch.
    pub const READ_ONLY: Self = Self(bit(Permission::List) | bit(Permission::Read));
    /// Everything.
    pub const FULL: Self = Self(u8::MAX);

    /// Whether this is among them.
    #[must_use]
    pub const fn allow(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Reads words separated by commas; `all` is every one.
    ///
    /// # Errors
    /// One sentence, with the words there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::FULL);
        }
        text.split(',').try_fold(Self(0), |all, word| {
            let found = WORDS.iter().find(|(known, _)| *known == word);
            let known = WORDS.map(|(known, _)| known).join(", ");
            let (_, permission) =
                found.ok_or_else(|| format!("'{word}' is none of {known} and all"))?;
            Ok(Self(all.0 | bit(*permission)))
        })
    }
}

const fn bit(permission: Permission) -> u8 {
    1 << permission as u8
}

impl Default for Permissions {
    /// A user may do everything in the home, unless something else is said.
    fn default() -> Self {
        Self::FULL
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FULL {
            return formatter.write_str("all");
        }
        let words = WORDS.iter().filter(|(_, permission)| self.allow(*permission));
        formatter.write_str(&words.map(|(word, _)| *word).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A rate that several transfers share: each byte pushes the moment when the next may move.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: NonZeroU64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many bytes a second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: Mutex::default() }
    }

    /// Until when nothing may move, if that is not over.
    #[must_use]
    pub fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.free_at.lock().filter(|free_at| *free_at > now)
    }

    /// How many bytes may move at once: those of a tenth of a second.
    #[must_use]
    pub fn slice(&self) -> usize {
        usize::try_from(self.bytes_per_second.get() / 10).unwrap_or(usize::MAX).max(1)
    }

    /// Says that so many bytes have moved.
    pub fn charge(&self, bytes: u64, now: Instant) {
        #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
        let took = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut free_at = self.free_at.lock();
        *free_at = Some(free_at.map_or(now, |free_at| free_at.max(now)) + took);
    }
}

/// What all sessions of one user share.
#[derive(Debug, Default)]
struct Standing {
    sessions: AtomicUsize,
}

/// One session's place among those of its user; given back when dropped.
#[derive(Debug)]
struct Place(Arc<Standing>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Somebody who has logged in. Only [`Accounts::verify`] makes one, so a stranger has no root to open.
#[derive(Debug, Clone)]
pub struct Account {
    root: Arc<Root>,
    permissions: Permissions,
    up: Option<Arc<Pace>>,
    down: Option<Arc<Pace>>,
    owner: Owner,
    _place: Option<Arc<Place>>,
}

impl Account {
    /// The tree it sees.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The tree once more, for work that is done elsewhere.
    #[must_use]
    pub fn shared_root(&self) -> Arc<Root> {
        Arc::clone(&self.root)
    }

    /// The owner of this session's partial uploads: the user at the client's address.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// How fast it may send.
    #[must_use]
    pub fn up(&self) -> Option<&Arc<Pace>> {
        self.up.as_ref()
    }

    /// How fast it may fetch.
    #[must_use]
    pub fn down(&self) -> Option<&Arc<Pace>> {
        self.down.as_ref()
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Denied {
    /// No such user, not this password, or not from this address: who asks is not told which.
    Incorrect,
    /// The password is right, but the home cannot be opened.
    NoHome(io::Error),
    /// There is no memory to check the password with.
    OutOfMemory,
    /// The password is right, but the user has as many sessions as allowed.
    TooManySessions,
}

/// What a login comes to.
pub type Verdict = Result<Account, Denied>;

/// How a login is decided.
pub enum Verification {
    /// At once.
    Now(Verdict),
    /// By work that takes its time: not on a worker.
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

/// A user at an address, the same in every session.
fn owner(name: &[u8], from: IpAddr) -> Owner {
    let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(from.to_string());
    let hash = hash.finalize();
    Owner(u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default()))
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Accounts {
    /// Where users are who have no home of their own, and anonymous.
    root: RwLock<Arc<Root>>,
    anonymous: Option<Permissions>,
    users: Option<UsersFile>,
}

/// The users of a file, and what is known of them beside it.
#[derive(Debug)]
struct UsersFile {
    path: PathBuf,
    known: RwLock<BTreeMap<Vec<u8>, Arc<Known>>>,
    /// What homes hold, where there is a limit to it.
    usages: Arc<Usages>,
    /// By name, over every reload.
    standings: Mutex<HashMap<Vec<u8>, Arc<Standing>>>,
    /// Files that no home may have beneath it.
    secrets: Arc<Secrets>,
    /// The homes that the last reload could not reach.
    unreachable: Mutex<BTreeSet<PathBuf>>,
}

/// A user of the file.
#[derive(Debug)]
struct Known {
    user: User,
    standing: Arc<Standing>,
    up: Option<Arc<Pace>>,
    down: Option<Arc<Pace>>,
}

impl Accounts {
    /// Anonymous alone, with these permissions.
    #[must_use]
    pub fn anonymous(root: Arc<Root>, permissions: Permissions) -> Self {
        Self { root: RwLock::new(root), anonymous: Some(permissions), users: None }
    }

    /// The users of a file, and anonymous if it has permissions.
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
            known: RwLock::default(),
            usages: Arc::default(),
            standings: Mutex::default(),
            secrets: Arc::default(),
            unreachable: Mutex::default(),
        };
        users.reload()?;
        Ok(Self { root: RwLock::new(root), anonymous, users: Some(users) })
    }

    /// The same, of which no home that comes later may have any of these files beneath it.
    #[must_use]
    pub fn guarding(mut self, secrets: Arc<Secrets>) -> Self {
        if let Some(users) = &mut self.users {
            users.secrets = secrets;
        }
        self
    }

    /// Reads the users anew; those who are logged in stay. Returns how many there are.
    ///
    /// # Errors
    /// One sentence about the file; then nothing has changed.
    pub fn reload(&self) -> Result<Option<usize>, String> {
        self.users.as_ref().map(UsersFile::reload).transpose()
    }

    /// Tries each home that has come since the last time and those that were not reached then. Returns the users whose homes
    /// cannot be reached.
    pub(super) fn unreachable(&self, before: &BTreeSet<PathBuf>) -> Vec<Vec<u8>> {
        self.users.as_ref().map(|users| users.unreachable(before)).unwrap_or_default()
    }

    /// The homes of all users who have one.
    pub(super) fn homes(&self) -> BTreeSet<PathBuf> {
        self.users.iter().flat_map(UsersFile::homes).collect()
    }

    /// The account of this name, if the password is its own. Anonymous gives any password (RFC 1635).
    #[must_use]
    pub fn verify(&self, name: &[u8], password: Password, from: IpAddr) -> Verification {
        let known = self.users.as_ref().and_then(|users| users.known.read().get(name).cloned());
        let owner = owner(name, from);
        if known.is_none()
            && Self::is_anonymous(name)
            && let Some(permissions) = self.anonymous
        {
            let root = self.root();
            let account = Account { root, permissions, up: None, down: None, owner, _place: None };
            return Verification::Now(Ok(account));
        }
        if self.users.is_none() {
            return Verification::Now(Err(Denied::Incorrect));
        }
        let root = self.root();
        let usages = self.users.as_ref().map(|users| Arc::clone(&users.usages));
        Verification::Later(Box::new(move || {
            let hash = known.as_ref().map(|known| known.user.hash.as_str());
            let Ok(fits) = password::is_of(hash, &password.0) else {
                return Err(Denied::OutOfMemory);
            };
            match known {
                Some(known) if fits && known.user.settings.lets_in(from) => {
                    let place = known.take_place().ok_or(Denied::TooManySessions)?;
                    let usages = usages.unwrap_or_default();
                    Ok(Admission { known, shared: root, usages, owner, place })
                }
                _ => Err(Denied::Incorrect),
            }
        }))
    }

    /// The root as it is now: it may have been replaced.
    fn root(&self) -> Arc<Root> {
        let known = Arc::clone(&self.root.read());
        let Some(other) = known.replacement().map(Arc::new) else { return known };
        *self.root.write() = Arc::clone(&other);
        other
    }

    /// Whether this name asks for anonymous access (RFC 1635).
    #[must_use]
    pub fn is_anonymous(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"anonymous") || name.eq_ignore_ascii_case(b"ftp")
    }

    /// Tells that a user of the file has this name.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        self.users.as_ref().is_some_and(|users| users.known.read().contains_key(name))
    }

    /// Whether anonymous is served.
    #[must_use]
    pub fn serve_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Opens the root, and the home of each user who has one, one after the other.
    pub(super) fn each_place(&self, visit: &mut dyn FnMut(&Root)) {
        visit(&self.root());
        let Some(users) = &self.users else { return };
        let known: Vec<_> = users.known.read().values().cloned().collect();
        for home in known.iter().filter_map(|known| known.open_home(&users.usages)) {
            visit(&home);
        }
    }

    /// Where the root is, if that is known, and the homes of all users who have one.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let root = self.root.read().path().cloned();
        let known = self.users.iter().flat_map(|users| {
            let known = users.known.read();
            known.values().filter_map(|known| known.user.settings.home.clone()).collect::<Vec<_>>()
        });
        root.into_iter().chain(known).collect()
    }
}

impl UsersFile {
    fn homes(&self) -> Vec<PathBuf> {
        let known = self.known.read();
        known.values().filter_map(|known| known.user.settings.home.clone()).collect()
    }

    fn unreachable(&self, before: &BTreeSet<PathBuf>) -> Vec<Vec<u8>> {
        let known = self.known.read().clone();
        let earlier = std::mem::take(&mut *self.unreachable.lock());
        let (mut users, mut homes) = (Vec::new(), BTreeSet::new());
        for (name, known) in known {
            let Some(home) = &known.user.settings.home else { continue };
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
        let mut standings = self.standings.lock();
        let before = self.known.read().clone();
        let known: BTreeMap<_, _> = users
            .0
            .into_iter()
            .map(|(name, user)| {
                let standing = Arc::clone(standings.entry(name.clone()).or_default());
                let before = before.get(&name);
                (name, Arc::new(Known::new(user, standing, before.map(AsRef::as_ref))))
            })
            .collect();
        // Of who is gone, only those who are still here are remembered.
        standings
            .retain(|name, standing| known.contains_key(name) || Arc::strong_count(standing) > 1);
        let count = known.len();
        *self.known.write() = known;
        Ok(count)
    }
}

impl Known {
    /// A rate that has not changed is still shared with the sessions of before.
    fn new(user: User, standing: Arc<Standing>, before: Option<&Self>) -> Self {
        let UserSettings { up, down, .. } = user.settings;
        let pace = |rate: Option<NonZeroU64>, before: Option<&Arc<Pace>>| {
            let same = before.filter(|pace| Some(pace.bytes_per_second) == rate);
            same.cloned().or_else(|| rate.map(|rate| Arc::new(Pace::new(rate))))
        };
        Self {
            up: pace(up, before.and_then(|known| known.up.as_ref())),
            down: pace(down, before.and_then(|known| known.down.as_ref())),
            user,
            standing,
        }
    }

    fn quota(&self, usage: Arc<Usage>) -> Quota {
        let UserSettings { quota, files, .. } = self.user.settings;
        let (bytes_max, files_max) = (quota.unwrap_or(u64::MAX), files.unwrap_or(u64::MAX));
        Quota { bytes_max, files_max, usage }
    }

    /// The home, for what has to be done in it without its user.
    fn open_home(&self, usages: &Usages) -> Option<Root> {
        // One that is missing is told when its user logs in.
        let root = Root::open(self.user.settings.home.as_ref()?).ok()?;
        Some(match usages.known(&root) {
            Some(usage) => root.with_quota(self.quota(usage)),
            None => root,
        })
    }

    fn take_place(&self) -> Option<Place> {
        let most = self.user.settings.sessions.unwrap_or(usize::MAX);
        let take = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = self.standing.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.is_ok().then(|| Place(Arc::clone(&self.standing)))
    }
}

/// A login whose password was right and who has a place: the home is still to be opened.
#[derive(Debug)]
pub struct Admission {
    known: Arc<Known>,
    shared: Arc<Root>,
    usages: Arc<Usages>,
    owner: Owner,
    place: Place,
}

impl Admission {
    /// The home of the user, where there is one: what is opened may hang.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.known.user.settings.home.clone()
    }

    /// Opens the home, and counts what is in it where that is limited: not on a worker, nor on a thread that others need.
    pub fn open(self) -> Verdict {
        let Self { known, shared, usages, owner, place } = self;
        let settings = &known.user.settings;
        let root = match &settings.home {
            Some(home) => Root::open(home).and_then(|root| root.reach().map(|()| root)),
            None => shared.again(),
        };
        let root = root.map_err(Denied::NoHome)?;
        let root = if settings.quota.is_none() && settings.files.is_none() {
            root
        } else {
            let usage = usages.of(&root);
            root.with_quota(known.quota(usage))
        };
        Ok(Account {
            root: Arc::new(root),
            permissions: settings.may,
            up: known.up.clone(),
            down: known.down.clone(),
            owner,
            _place: Some(Arc::new(place)),
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
    fn permissions_are_words_and_words_are_permissions() {
        for text in ["all", "list,read", "write", "list,read,write,append,delete,rename,mkdir"] {
            assert_eq!(Permissions::parse(text).unwrap().to_string(), text);
        }
        assert!(Permissions::parse("fly").unwrap_err().contains("list, read"));
        assert!(!Permissions::READ_ONLY.allow(Permission::Write));
    }

    #[test]
    fn a_rate_is_shared_by_all_who_move_bytes() {
        let (pace, start) = (Pace::new(NonZeroU64::new(1000).unwrap()), Instant::now());
        assert_eq!((pace.busy_until(start), pace.slice()), (None, 100));
        pace.charge(500, start);
        pace.charge(500, start);
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.busy_until(start), Some(later));
        assert_eq!(pace.busy_until(later), None);
        pace.charge(1, later + Duration::from_secs(9));
        let end = later + Duration::from_millis(9001);
        assert_eq!(pace.busy_until(later), Some(end), "what was not used is not saved up");
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
        // The count outlives a reload.
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
