//! Virtual hosts: names that a client can ask for (HOST, RFC 7151; SNI of TLS), each with accounts of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Accounts, Root};

/// The accounts of every name that is served.
#[derive(Debug)]
pub struct Hosts {
    /// For clients that ask for no name, and, where there are no others, for any.
    usual: Accounts,
    /// By name, in small letters.
    named: BTreeMap<String, Accounts>,
}

/// The outcome of reading all users again.
#[derive(Debug, Default)]
pub struct ReloadedUsers {
    /// The number of users.
    pub users: usize,
    /// The users whose homes have come since and cannot be reached.
    pub unreachable: Vec<Vec<u8>>,
    /// Mistakes in the files that were left as they are.
    pub wrong: Vec<String>,
}

impl Hosts {
    /// With names, in small letters, beside the usual.
    #[must_use]
    pub fn new(usual: Accounts, named: BTreeMap<String, Accounts>) -> Self {
        Self { usual, named }
    }

    /// The accounts of a client that asked for this name, or for none.
    #[must_use]
    pub fn accounts(&self, name: Option<&str>) -> &Accounts {
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.usual)
    }

    /// The name under which the accounts of a client are that asked for this one; `None` for the usual ones.
    #[must_use]
    pub fn named(&self, name: Option<&str>) -> Option<String> {
        name.filter(|name| self.named.contains_key(*name)).map(str::to_owned)
    }

    /// The name as it is known here, if it is served. Where there are no names, every one is this server's.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<String> {
        let known = name.trim_end_matches('.').to_ascii_lowercase();
        (self.named.is_empty() || self.named.contains_key(&known)).then_some(known)
    }

    fn all(&self) -> impl Iterator<Item = &Accounts> {
        std::iter::once(&self.usual).chain(self.named.values())
    }

    /// Rereads all users files. Users who are logged in stay so.
    pub fn reload(&self) -> ReloadedUsers {
        let mut outcome = ReloadedUsers::default();
        for accounts in self.all() {
            let before = accounts.homes();
            match accounts.reload() {
                Ok(count) => {
                    outcome.users += count.unwrap_or_default();
                    outcome.unreachable.extend(accounts.unreachable(&before));
                }
                Err(what) => outcome.wrong.push(what),
            }
        }
        outcome
    }

    /// Every root and home.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        self.all().flat_map(Accounts::places).collect()
    }

    /// Opens each, one after the other.
    pub fn each_place(&self, visit: &mut dyn FnMut(&Root)) {
        self.all().for_each(|accounts| accounts.each_place(visit));
    }
}
