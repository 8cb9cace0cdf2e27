//! Confinement of the process once its ports are open. It gives up root's rights, most of the file system, and every
//! way to regain them. This precedes the start of any thread, because a new thread inherits its creator's sandbox.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use nix::unistd::{
    Uid, User, geteuid, getresuid, initgroups, setgroups, setresgid, setresuid, setuid,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::settings::{Config, ConfigError};
use crate::storage::{Root, whereabouts};
use crate::sys::{deny_privileges, keep_read_override};

/// The newest version of Landlock whose rights are requested; older kernels grant those that they have.
const LANDLOCK: ABI = ABI::V5;

/// System paths that are read while the server runs: the files of its own process, by which permissions are set, and
/// `/dev/null`.
const SYSTEM_PATHS: [&str; 2] = ["/proc/self", "/dev/null"];

/// Files of the system's resolver, open if a name is looked up while the server runs. In `/etc` only single files are
/// open, because the directory contains keys and passwords.
const RESOLVER_PATHS: [&str; 8] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// The result of sandboxing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandboxed {
    /// True if the process still has root's rights.
    pub is_root: bool,
    /// True if the kernel restricts access to the file system.
    pub landlock: bool,
    /// The reason why it does not.
    pub open_because: Option<&'static str>,
}

/// Gives up everything that a server with this configuration, and with these roots and homes, does not need.
///
/// # Errors
/// One sentence for the person at the terminal.
pub fn sandbox(config: &Config, places: &[PathBuf]) -> Result<Sandboxed, ConfigError> {
    let wrong = |what: String| ConfigError(format!("cannot start: {what}"));
    if let Some(name) = &config.user {
        become_user(name).map_err(wrong)?;
        // The user may lack rights to what root could open.
        let hosts = config.virtual_hosts.iter().map(|host| &host.root);
        for place in [&config.root].into_iter().chain(hosts) {
            Root::open(place).and_then(|root| root.probe()).map_err(|error| {
                ConfigError(format!("cannot serve {} as {name}: {error}.", place.display()))
            })?;
        }
    }
    harden().map_err(|error| wrong(format!("{error}.")))?;
    check_allowed(config)?;
    // Read before access to the file system is restricted.
    let surroundings = Surroundings::look();
    let status = close_file_system(config, places).map_err(|error| wrong(format!("{error}.")))?;
    let landlock = status.ruleset != RulesetStatus::NotEnforced;
    let open_because = (!landlock).then(|| surroundings.reason(status.landlock));
    Ok(Sandboxed { is_root: geteuid().is_root(), landlock, open_because })
}

/// Checks that each directory of `--allow` exists.
///
/// # Errors
/// One sentence for the person at the terminal.
pub(crate) fn check_allowed(config: &Config) -> Result<(), ConfigError> {
    let Some(place) = config.allow.iter().find(|place| !place.is_dir()) else { return Ok(()) };
    let place = place.display();
    Err(ConfigError(format!("cannot start: --allow {place}: no such directory.")))
}

/// Checks that the user of `--user` exists and can be taken.
///
/// # Errors
/// One sentence for the person at the terminal.
pub(crate) fn check_user(config: &Config) -> Result<(), ConfigError> {
    let wrong = |what: String| ConfigError(format!("cannot start: {what}"));
    config.user.as_deref().map(find_user).transpose().map(drop).map_err(wrong)
}

/// Finds a user; `None` if this process has that user's identity already.
fn find_user(name: &str) -> Result<Option<User>, String> {
    let found = User::from_name(name).map_err(|error| format!("{name}: {error}."))?;
    let user = found.ok_or_else(|| format!("--user: no such user: {name}."))?;
    if !geteuid().is_root() {
        return if user.uid == geteuid() {
            Ok(None)
        } else {
            Err("only root can switch to another user with --user.".to_owned())
        };
    }
    if user.uid.is_root() {
        return Err("--user root gives up nothing; name another user.".to_owned());
    }
    Ok(Some(user))
}

/// Returns the user ID of a name.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    Some(User::from_name(name).ok()??.uid.as_raw())
}

/// Gives up what no process that serves clients may have: core dumps, which would contain passwords and keys, and any
/// way to gain a privilege. Called after a change of user, because the kernel then resets this.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    deny_privileges()
}

/// Leaves to a process of root the right to read files, and no other: it can change and execute nothing.
///
/// # Errors
/// Returns the kernel's error.
pub fn keep_reading_only() -> io::Result<()> {
    harden()?;
    let read = AccessFs::from_read(LANDLOCK) & !AccessFs::Execute;
    // Without Landlock, the capabilities alone are given up.
    let _status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(["/"], read)))
        .and_then(RulesetCreated::restrict_self)
        .map_err(io::Error::other)?;
    keep_read_override()
}

/// Surroundings of the process that may prevent the use of Landlock.
struct Surroundings {
    is_filtered: bool,
    is_container: bool,
}

impl Surroundings {
    fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let filter = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
        Self {
            is_filtered: filter.is_some_and(|filter| filter.trim() != "0"),
            is_container: marks.iter().any(|mark| Path::new(mark).exists()),
        }
    }

    fn reason(&self, kernel: LandlockStatus) -> &'static str {
        match (kernel, self.is_filtered, self.is_container) {
            (LandlockStatus::NotEnabled, ..) => {
                "Landlock is disabled in the kernel; add landlock to lsm= of the kernel's command line"
            }
            (_, true, true) => {
                "the container's seccomp filter blocks Landlock, or its kernel lacks it; allow the landlock system calls"
            }
            (_, true, false) => {
                "a seccomp filter blocks Landlock; add landlock_create_ruleset landlock_add_rule landlock_restrict_self to SystemCallFilter= of the unit"
            }
            (_, false, true) => "the kernel of this container has no Landlock",
            (_, false, false) => "the kernel has no Landlock; use Linux 5.13 or newer",
        }
    }
}

/// Takes a user's identity irrevocably.
///
/// # Errors
/// One sentence.
pub fn become_user(name: &str) -> Result<(), String> {
    let Some(user) = find_user(name)? else { return Ok(()) };
    let change = || -> nix::Result<()> {
        setgroups(&[])?;
        initgroups(&CString::new(name).unwrap_or_default(), user.gid)?;
        setresgid(user.gid, user.gid, user.gid)?;
        setresuid(user.uid, user.uid, user.uid)
    };
    change().map_err(|error| format!("cannot switch to the user {name}: {error}."))?;
    // SECURITY: trusted only if it cannot be undone.
    let now = getresuid().map_err(|error| error.to_string())?;
    let is_user = [now.real, now.effective, now.saved].iter().all(|uid| *uid == user.uid);
    if !is_user || setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("cannot give up root for the user {name}."));
    }
    Ok(())
}

/// Restricts access to the file system with Landlock, if the kernel has it. Roots, homes and files that are reloaded
/// may be replaced while the server runs, so the directories that contain them stay open.
fn close_file_system(
    config: &Config,
    places: &[PathBuf],
) -> Result<RestrictionStatus, landlock::RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK) & !AccessFs::Execute;
    let hosts = &config.virtual_hosts;
    let served = if config.allows_writing() { all & !AccessFs::Execute } else { read };
    let keys = config.tls.keys.iter().chain(hosts.iter().filter_map(|host| host.key.as_ref()));
    let keys = keys.flat_map(|key| [&key.certificate, &key.key]);
    let users = config.users.iter().chain(hosts.iter().filter_map(|host| host.users.as_ref()));
    let files = users.chain(keys).chain(&config.tls.client_authorities).chain(config.files.paths());
    let files: Vec<&PathBuf> = files.collect();
    let kept = files.iter().copied().chain(config.log_files());
    let kept: Vec<PathBuf> = kept.flat_map(|path| whereabouts(path)).collect();
    let roots = places.iter().map(|path| served_place(path, &kept));
    // A log is opened again after it was moved.
    let logs = config.log_files().map(|path| around_new(path));
    let looks_up = config.public_name.is_some();
    let resolver = RESOLVER_PATHS.into_iter().filter(|_| looks_up);
    Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(roots, served))?
        .add_rules(path_beneath_rules(&config.allow, served))?
        .add_rules(path_beneath_rules(&config.hook_spool, all & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(files.iter().map(|path| around(path)), read))?
        .add_rules(path_beneath_rules(SYSTEM_PATHS, read))?
        .add_rules(path_beneath_rules(logs, AccessFs::WriteFile | AccessFs::MakeReg))?
        .add_rules(path_beneath_rules(resolver, read))?
        .restrict_self()
}

/// Returns the directory that stays open for a root or home: the one that contains it, so that it may be replaced. It
/// is the root or home alone if the containing directory has, anywhere below, a file that only the administrator
/// writes.
///
/// SECURITY: Landlock opens a directory with everything in it. A user who can write the users file can log in as any
/// other.
fn served_place(path: &Path, kept: &[PathBuf]) -> PathBuf {
    let outer = around(path);
    if kept.iter().any(|file| file.starts_with(&outer)) {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    } else {
        outer
    }
}

/// Returns the directory of a file that may not exist yet.
fn around_new(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| path.to_owned(), Path::to_path_buf)
}

/// Returns the directory that contains a path; the path itself if that would be `/`.
fn around(path: &Path) -> PathBuf {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match real.parent() {
        Some(parent) if parent != Path::new("/") => parent.to_owned(),
        _ => real,
    }
}
