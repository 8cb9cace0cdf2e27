//! Roots, mounts and accounts of all hosts: opens them, and checks that no root contains a file of the server.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ftp::path::Escaped;
use crate::settings::{Config, ConfigError, UserEntry};
use crate::storage::users::Users;
use crate::storage::{
    Accounts, Authenticator, Group, Hosts, Mount, Permissions, Root, Secrets, complete,
};
use crate::units::{reason, unreadable};

use super::errors::cannot_start;

pub(crate) fn open_root(path: &Path, option: &str) -> Result<Arc<Root>, ConfigError> {
    Root::open(path).map(Arc::new).map_err(|error| {
        let place = path.display();
        let hint = format!("Choose a directory with {option}.");
        ConfigError(format!("cannot serve {place}: {}. {hint}", reason(&error)))
    })
}

/// Returns the permissions of anonymous.
pub(super) fn permissions(config: &Config) -> Permissions {
    if config.write { Permissions::FULL } else { Permissions::READ_ONLY }
}

/// Opens the accounts of every host, which clients select by name.
pub(crate) fn hosts(config: &Config, root: Arc<Root>) -> Result<Hosts, ConfigError> {
    let permissions = permissions(config);
    let anonymous = config.anonymous.then_some(permissions);
    let usual = accounts(root, &config.groups, config.users.as_ref(), listed(config)?, anonymous)?;
    let usual = match authenticator(config, config.auth_socket.as_ref())? {
        Some(authenticator) => usual.with_authenticator(authenticator),
        None => usual,
    };
    let mut named = BTreeMap::new();
    for host in &config.virtual_hosts {
        let root = open_root(&host.root, "--virtual-host NAME,root=DIR")?;
        let anonymous = host.anonymous.then_some(permissions);
        let own = accounts(root, &config.groups, host.users.as_ref(), Users::default(), anonymous)?;
        let own = match authenticator(config, host.auth_socket.as_ref())? {
            Some(authenticator) => own.with_authenticator(authenticator),
            None => own,
        };
        named.insert(host.name.clone(), own);
    }
    let secrets = Arc::new(secrets(config));
    let guard = |accounts: Accounts| accounts.guarding(Arc::clone(&secrets));
    let named = named.into_iter().map(|(name, accounts)| (name, guard(accounts))).collect();
    let hosts = Hosts::new(guard(usual), named);
    hosts.set_rules(&config.directories);
    hosts.set_mounts(&open_mounts(config)?);
    Ok(hosts)
}

/// Opens the directory of each mount.
pub(crate) fn open_mounts(config: &Config) -> Result<Vec<(Mount, Root)>, ConfigError> {
    let open = |mount: &Mount| {
        let root = Root::open(&mount.directory).map_err(|error| {
            let (place, at) = (mount.directory.display(), &mount.at);
            ConfigError(format!("cannot mount {place} at {at}: {}.", reason(&error)))
        })?;
        Ok((mount.clone(), root))
    };
    config.mounts.iter().map(open).collect()
}

pub(crate) fn accounts(
    root: Arc<Root>,
    groups: &[Group],
    users: Option<&PathBuf>,
    listed: Users,
    anonymous: Option<Permissions>,
) -> Result<Accounts, ConfigError> {
    let accounts = Accounts::new(root, anonymous).with_groups(groups);
    if users.is_none() && listed.0.is_empty() {
        return Ok(accounts);
    }
    accounts.with_users(users.cloned(), listed).map_err(|what| {
        let is_missing = what.contains("no such file");
        let hint = if is_missing { " Create it with ftppasswd." } else { "" };
        ConfigError(format!("cannot read the users file {what}.{hint}"))
    })
}

/// Checks that a program listens at `--auth-socket`. The server starts without it, because it may come later.
pub(crate) fn check_auth_socket(config: &Config) -> Result<(), ConfigError> {
    let of_hosts = config.virtual_hosts.iter().filter_map(|host| host.auth_socket.as_ref());
    config.auth_socket.iter().chain(of_hosts).try_for_each(|path| {
        let connected = UnixStream::connect(path);
        connected.map(drop).map_err(|error| {
            let what = unreadable(path, &error);
            ConfigError(format!(
                "--auth-socket {}: {what}. Start the program that listens there.",
                path.display()
            ))
        })
    })
}

/// Returns the users of the settings.
pub(crate) fn listed(config: &Config) -> Result<Users, ConfigError> {
    let entries = config.user_entries.iter().map(UserEntry::text);
    Users::of_entries(entries).map_err(|what| ConfigError(format!("user-entries: {what}.")))
}

/// Creates the client of an authenticator.
fn authenticator(
    config: &Config,
    socket: Option<&PathBuf>,
) -> Result<Option<Authenticator>, ConfigError> {
    let Some(path) = socket else { return Ok(None) };
    let made = Authenticator::new(path, config.auth_timeout, config.auth_cache);
    made.map(Some).map_err(|error| cannot_start(&error))
}

/// Returns the files that no client may fetch, whatever is served.
fn secrets(config: &Config) -> Secrets {
    let hosts = &config.virtual_hosts;
    let keys = config.tls.keys.iter().chain(hosts.iter().filter_map(|host| host.key.as_ref()));
    let keys = keys.map(|files| ("the key", files.key.clone()));
    let users = config.users.iter().chain(hosts.iter().filter_map(|host| host.users.as_ref()));
    let users = users.map(|path| ("the users file", path.clone()));
    // A client that can write could change the settings.
    let file = config.files.paths().map(|path| ("the configuration file", path.clone()));
    // A client that can write could forge events, and one that can read would see those of others.
    let spool = config.hook_spool.iter().map(|path| ("the hook spool", path.clone()));
    // The log has the names of all users and files.
    let logs = config.log_files().map(|path| ("the log file", path.clone()));
    // A process that can connect to the socket controls the server, and a client could replace it.
    let control = config.control.iter().map(|path| ("the control socket", path.clone()));
    let hook_key = config.hook_key_file.iter().map(|path| ("the key of the hooks", path.clone()));
    let token = config.status_token_file.iter().map(|path| ("the token file", path.clone()));
    Secrets::new(
        keys.chain(users)
            .chain(file)
            .chain(spool)
            .chain(logs)
            .chain(token)
            .chain(control)
            .chain(hook_key),
    )
}

/// Checks that no key, no users file and no configuration file is below a root or a home.
///
/// # Errors
/// One sentence that names both paths.
pub fn check_secrets(config: &Config) -> Result<(), ConfigError> {
    let secrets = secrets(config);
    let wrong = |what| ConfigError(format!("{what}."));
    let hosts = &config.virtual_hosts;
    for root in hosts.iter().map(|host| &host.root).chain([&config.root]) {
        secrets.check("the root", root).map_err(wrong)?;
    }
    for mount in &config.mounts {
        secrets.check("the mount", &mount.directory).map_err(wrong)?;
    }
    for file in config.users.iter().chain(hosts.iter().filter_map(|host| host.users.as_ref())) {
        // Errors in the file itself are reported when it is opened for use.
        let users = Users::read(file).unwrap_or_default().0;
        for (name, user) in users {
            let settings = complete(&config.groups, &name, user.settings).map_err(wrong)?;
            if let Some(home) = &settings.home {
                let of = format!("the home of {}", Escaped(&name));
                secrets.check(&of, home).map_err(wrong)?;
            }
        }
    }
    Ok(())
}
