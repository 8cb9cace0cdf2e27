//! Virtual hosts: names that a client can ask for (HOST, RFC 7151; SNI of TLS), each with its own accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::account::{Accounts, NewRate, Rates, ReadUsers};
use super::groups::Group;
use super::mounts::Mount;
use super::quota_report::QuotaOwner;
use super::root::Root;
use super::rules::DirectoryRule;

/// The accounts of every host name that is served.
#[derive(Debug)]
pub struct Hosts {
    /// The accounts for clients that ask for no name; without virtual hosts, for all clients.
    usual: Accounts,
    /// The accounts by host name, in lower case.
    named: BTreeMap<String, Accounts>,
}

/// The outcome of reading all users again.
#[derive(Debug, Default)]
pub struct ReloadedUsers {
    /// The number of users.
    pub users: usize,
    /// The users with new homes that cannot be reached.
    pub unreachable: Vec<Vec<u8>>,
}

/// The users of all hosts that were read, before they are in use.
#[derive(Debug)]
pub struct HostUsers(Vec<ReadUsers>);

impl Hosts {
    /// Creates the hosts from the default accounts and those of the names, which must be in lower case.
    #[must_use]
    pub fn new(usual: Accounts, named: BTreeMap<String, Accounts>) -> Self {
        Self { usual, named }
    }

    /// Returns the accounts of a client that asked for this name, or for none.
    #[must_use]
    pub fn accounts(&self, name: Option<&str>) -> &Accounts {
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.usual)
    }

    /// Returns the name if it has its own accounts; `None` if the default accounts apply.
    #[must_use]
    pub fn named(&self, name: Option<&str>) -> Option<String> {
        name.filter(|name| self.named.contains_key(*name)).map(str::to_owned)
    }

    /// Returns the name in lower case and without a final dot, if it is served. Without virtual hosts, every name is
    /// served.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<String> {
        let known = name.trim_end_matches('.').to_ascii_lowercase();
        (self.named.is_empty() || self.named.contains_key(&known)).then_some(known)
    }

    /// Sets the permissions by directory, for the logins that follow.
    pub fn set_rules(&self, rules: &[DirectoryRule]) {
        let of = |host: Option<&str>| {
            rules.iter().filter(|rule| rule.whom.is_for_host(host)).cloned().collect()
        };
        self.usual.set_rules(of(None));
        self.named.iter().for_each(|(name, accounts)| accounts.set_rules(of(Some(name))));
    }

    /// Sets the directories that appear at other places in the trees of users.
    pub fn set_mounts(&self, mounts: &[(Mount, Root)]) {
        let of = |host: Option<&str>| {
            let own = mounts.iter().filter(|(mount, _)| mount.whom.is_for_host(host));
            own.map(|(mount, root)| (mount.clone(), root.again())).collect()
        };
        self.usual.set_mounts(of(None));
        self.named.iter().for_each(|(name, accounts)| accounts.set_mounts(of(Some(name))));
    }

    fn all(&self) -> impl Iterator<Item = &Accounts> {
        std::iter::once(&self.usual).chain(self.named.values())
    }

    /// Reads all users files again, for users of these groups. Nothing changes yet.
    ///
    /// # Errors
    /// One sentence for each file that cannot be read.
    pub fn read(&self, groups: &[Group]) -> Result<HostUsers, Vec<String>> {
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        for users in self.all().map(|accounts| accounts.read(groups)) {
            match users {
                Ok(users) => read.push(users),
                Err(what) => wrong.push(what),
            }
        }
        if wrong.is_empty() { Ok(HostUsers(read)) } else { Err(wrong) }
    }

    /// Adopts the users who were read, and these groups. Users who are logged in stay logged in. May hang at the end, when
    /// all users are adopted.
    pub fn adopt(&self, HostUsers(read): HostUsers, groups: &[Group]) -> ReloadedUsers {
        let mut outcome = ReloadedUsers::default();
        let mut adopted = Vec::new();
        for (accounts, read) in self.all().zip(read) {
            adopted.push((accounts, accounts.homes()));
            accounts.set_groups(groups);
            outcome.users += accounts.adopt(read);
        }
        for (accounts, before) in adopted {
            outcome.unreachable.extend(accounts.unreachable(&before));
        }
        outcome
    }

    /// Returns the paths of all roots and homes.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        self.all().flat_map(Accounts::places).collect()
    }

    /// Returns the paths of all roots and mounts, each once, with the number of its device.
    #[must_use]
    pub fn shared_places(&self) -> Vec<(PathBuf, u64)> {
        let mut places: Vec<_> = self.all().flat_map(Accounts::shared_places).collect();
        places.sort();
        places.dedup();
        places
    }

    /// Returns the users of all hosts who have a quota, each with the name of the host; only those of this name, if one is
    /// given.
    #[must_use]
    pub fn quota_owners(&self, name: Option<&[u8]>) -> Vec<(Option<String>, QuotaOwner)> {
        let of = |host: Option<&String>, accounts: &Accounts| {
            let owners = accounts.quota_owners(name).into_iter();
            owners.map(|owner| (host.cloned(), owner)).collect::<Vec<_>>()
        };
        let named = self.named.iter().flat_map(|(host, accounts)| of(Some(host), accounts));
        of(None, &self.usual).into_iter().chain(named).collect()
    }

    /// Sets the rates of a user on all hosts, until the users are read again. Returns the rates on each host that has the
    /// user.
    #[must_use]
    pub fn set_rates(&self, name: &[u8], down: NewRate, up: NewRate) -> Vec<Rates> {
        self.all().filter_map(|accounts| accounts.set_rates(name, down, up)).collect()
    }

    /// Opens each root and home in turn, and passes it to `visit`.
    pub fn each_place(&self, visit: &mut dyn FnMut(&Root)) {
        self.all().for_each(|accounts| accounts.each_place(visit));
    }
}
