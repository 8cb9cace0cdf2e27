//! Permissions by directory. Of all rules for an account whose path a file is beneath, the longest decides. It replaces
//! the permissions of the account; it does not add to them.
//!
//! Not here: links. [`Root`](super::Root) resolves them before it asks, so a rule holds whatever path leads to its
//! directory.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::permissions::Permissions;
use crate::ftp::VirtualPath;
use crate::ftp::verb::Permission;

/// The name in a rule's path that stands for any one name.
const ANY: &[u8] = b"*";

/// A rule: the permissions in a directory and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRule {
    /// The directory, as clients see it. The name `*` stands for any one name.
    pub path: VirtualPath,
    /// The permissions.
    pub may: Permissions,
    /// The clients that the rule is for.
    pub whom: Whom,
}

/// The clients that a rule is for: all, if nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whom {
    /// The names of users.
    pub users: Vec<String>,
    /// The names of groups.
    pub groups: Vec<String>,
    /// True for anonymous.
    pub anonymous: bool,
    /// The names of virtual hosts, in lower case; all hosts, if it is empty.
    pub hosts: Vec<String>,
}

/// A client that has logged in, as a rule sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The name of the user; `None` for anonymous.
    pub user: Option<&'a [u8]>,
    /// The group of the user.
    pub group: Option<&'a str>,
}

/// The closeness of a rule to a client: a rule that names the user decides over one that names the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Everyone,
    Group,
    User,
}

impl Whom {
    /// Returns true if the rule is for clients of this virtual host, or of none.
    #[must_use]
    pub fn is_for_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty() || host.is_some_and(|host| self.hosts.iter().any(|name| name == host))
    }

    /// Returns true if the rule is for this client.
    #[must_use]
    pub fn includes(&self, subject: Subject<'_>) -> bool {
        self.closeness(subject).is_some()
    }

    fn closeness(&self, Subject { user, group }: Subject<'_>) -> Option<Closeness> {
        let is_user =
            user.is_some_and(|user| self.users.iter().any(|name| name.as_bytes() == user));
        let is_group = group.is_some_and(|group| self.groups.iter().any(|name| name == group));
        if is_user || self.anonymous && user.is_none() {
            Some(Closeness::User)
        } else if is_group {
            Some(Closeness::Group)
        } else {
            let is_for_all = self.users.is_empty() && self.groups.is_empty() && !self.anonymous;
            is_for_all.then_some(Closeness::Everyone)
        }
    }
}

/// The permissions of one account, in all directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    everywhere: Permissions,
    /// The rules for this account, in the order in which they decide.
    rules: Vec<DirectoryRule>,
}

impl Access {
    /// Creates the same permissions for all directories.
    #[must_use]
    pub fn everywhere(permissions: Permissions) -> Self {
        Self { everywhere: permissions, rules: Vec::new() }
    }

    /// Creates the permissions of a client from those of its account and the rules of its host.
    #[must_use]
    pub fn new(everywhere: Permissions, rules: &[DirectoryRule], subject: Subject<'_>) -> Self {
        let mut found: Vec<(Closeness, &DirectoryRule)> =
            rules.iter().filter_map(|rule| Some((rule.whom.closeness(subject)?, rule))).collect();
        let plain = |rule: &DirectoryRule| names(&rule.path).filter(|name| *name != ANY).count();
        found.sort_by_key(|(closeness, rule)| {
            Reverse((names(&rule.path).count(), plain(rule), *closeness))
        });
        Self { everywhere, rules: found.into_iter().map(|(_, rule)| rule.clone()).collect() }
    }

    /// Returns the permissions in a directory, as seen from it.
    #[must_use]
    pub fn below(&self, directory: &VirtualPath) -> Self {
        let depth = names(directory).count();
        let below = self.rules.iter().filter(|rule| begins_with(directory, &rule.path));
        let seen = below.filter_map(|rule| {
            let rest: Vec<&[u8]> = names(&rule.path).skip(depth).collect();
            let path = VirtualPath::root().join(&rest.join(&b'/')).ok()?;
            Some(DirectoryRule { path, ..rule.clone() })
        });
        Self { everywhere: self.at(directory), rules: seen.collect() }
    }

    /// Returns true if the permissions differ by directory.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns the permissions that the account has in at least one directory.
    #[must_use]
    pub fn anywhere(&self) -> Permissions {
        self.rules.iter().fold(self.everywhere, |all, rule| all.or(rule.may))
    }

    /// Returns the rule that decides for a path without links; `None` if the account's own permissions decide.
    #[must_use]
    pub fn rule_of(&self, path: &VirtualPath) -> Option<&DirectoryRule> {
        self.rules.iter().find(|rule| begins(&rule.path, path))
    }

    /// Returns the permissions to a path without links.
    #[must_use]
    pub fn at(&self, path: &VirtualPath) -> Permissions {
        self.rule_of(path).map_or(self.everywhere, |rule| rule.may)
    }

    /// Returns the permissions to a name itself: to remove it, to rename it, or to make a directory of this name. The
    /// directory that has the name must permit that, too.
    #[must_use]
    pub fn to_name(&self, path: &VirtualPath) -> Permissions {
        self.at(path).and(self.at(&path.parent()))
    }

    /// Returns true if a directory may be entered: it has a permission, or one below it has.
    #[must_use]
    pub fn lets_enter(&self, path: &VirtualPath) -> bool {
        let leads_on = |rule: &DirectoryRule| !rule.may.is_empty() && begins_with(path, &rule.path);
        !self.at(path).is_empty() || self.rules.iter().any(leads_on)
    }

    /// Returns true if a client may rename. Another rule at the new name could give more to what is moved, so a move
    /// between rules needs the permission to read and to delete at the old name.
    #[must_use]
    pub fn let_rename(&self, from: &VirtualPath, to: &VirtualPath) -> bool {
        let (old, new) = (self.to_name(from), self.to_name(to));
        let may_move = || old.allow(Permission::Read) && old.allow(Permission::Delete);
        let is_same_rule = self.rule_of(from) == self.rule_of(to);
        old.allow(Permission::Rename)
            && new.allow(Permission::Rename)
            && (is_same_rule || may_move() && new.allow(Permission::Create))
            && self.rules_beneath(from) == self.rules_beneath(to)
    }

    /// Returns the rules for directories below a path, as their remaining names and permissions. A directory that is
    /// renamed must have the same ones at its new name: otherwise a client could move a directory away from its rule.
    fn rules_beneath(&self, path: &VirtualPath) -> BTreeSet<(Vec<&[u8]>, String)> {
        let depth = names(path).count();
        let beneath = self.rules.iter().filter(|rule| begins_with(path, &rule.path));
        let rest = |rule: &'_ DirectoryRule| rule.may.to_string();
        beneath.map(|rule| (names(&rule.path).skip(depth).collect(), rest(rule))).collect()
    }
}

/// Returns the names in a path.
fn names(path: &VirtualPath) -> impl Iterator<Item = &[u8]> {
    path.beneath_root().split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Returns true if a path is that of a rule, or beneath it.
fn begins(rule: &VirtualPath, path: &VirtualPath) -> bool {
    let mut path = names(path);
    names(rule).all(|name| path.next().is_some_and(|found| name == ANY || name == found))
}

/// Returns true if a rule is for this path or for a directory beneath it.
fn begins_with(path: &VirtualPath, rule: &VirtualPath) -> bool {
    let mut rule = names(rule);
    names(path).all(|found| rule.next().is_some_and(|name| name == ANY || name == found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    fn rule(at: &str, may: &str) -> DirectoryRule {
        let may = Permissions::parse(may).unwrap();
        DirectoryRule { path: path(at), may, whom: Whom::default() }
    }

    fn access(rules: &[DirectoryRule]) -> Access {
        Access::new(Permissions::FULL, rules, Subject::default())
    }

    #[test]
    fn the_longest_path_decides_and_replaces() {
        let access = access(&[
            rule("/in", "create"),
            rule("/in/a/b", "none"),
            rule("/*/a", "read"),
            rule("/in/a", "list"),
            rule("/out/file", "read"),
        ]);
        for (at, may) in [
            ("/", "all"),
            ("/inn", "all"),
            ("/in", "create"),
            ("/in/x/y", "create"),
            ("/in/a/x", "list"),
            ("/other/a", "read"),
            ("/other/a/b", "read"),
            ("/in/a/b/c", "none"),
            ("/out/file", "read"),
            ("/out/file2", "all"),
        ] {
            assert_eq!(access.at(&path(at)).to_string(), may, "{at}");
        }
        assert_eq!(access.to_name(&path("/in")).to_string(), "create", "the rule of the name");
        assert!(access.to_name(&path("/out/file")) == Permissions::parse("read").unwrap());
    }

    #[test]
    fn from_a_directory_the_rules_below_it_are_seen() {
        let access = access(&[rule("/a", "list"), rule("/*/in", "create"), rule("/b/in", "none")]);
        let below = access.below(&path("/a"));
        for (at, may) in [("/", "list"), ("/x", "list"), ("/in/x", "create")] {
            assert_eq!(below.at(&path(at)).to_string(), may, "{at}");
        }
    }

    #[test]
    fn of_equal_paths_the_rule_that_names_the_client_decides() {
        let text = |text: &str| vec![text.to_owned()];
        let whom = [
            Whom::default(),
            Whom { groups: text("staff"), ..Whom::default() },
            Whom { users: text("alice"), ..Whom::default() },
            Whom { anonymous: true, ..Whom::default() },
        ];
        let may = ["list", "list,read", "all", "create"];
        let rules: Vec<_> = whom
            .into_iter()
            .zip(may)
            .map(|(whom, may)| DirectoryRule { whom, ..rule("/d", may) })
            .collect();
        for (user, group, may) in [
            (Some("alice"), Some("staff"), "all"),
            (Some("bob"), Some("staff"), "list,read"),
            (Some("carol"), None, "list"),
            (None, None, "create"),
        ] {
            let subject = Subject { user: user.map(str::as_bytes), group };
            let access = Access::new(Permissions::NONE, &rules, subject);
            assert_eq!(access.at(&path("/d/x")).to_string(), may, "{user:?}");
            assert_eq!(access.at(&path("/")), Permissions::NONE);
            assert!(access.lets_enter(&path("/")) && !access.lets_enter(&path("/e")));
        }
    }

    #[test]
    fn no_rename_takes_a_file_or_a_directory_from_under_its_rule() {
        let access = access(&[
            rule("/a/box", "create,rename"),
            rule("/c/box", "create,rename"),
            rule("/keep", "list,rename"),
            rule("/home/*/private", "list"),
        ]);
        let may = |from: &str, to: &str| access.let_rename(&path(from), &path(to));
        assert!(may("/x", "/y") && may("/a/box/x", "/a/box/y") && may("/home/x", "/home/y"));
        assert!(may("/a", "/c"), "the same rules hold there");
        for (from, to) in [
            ("/a", "/b"),
            ("/x", "/a"),
            ("/a/box", "/b"),
            ("/x", "/a/box"),
            ("/a/box/x", "/x"),
            ("/keep/x", "/x"),
            ("/home/x", "/x"),
            ("/home", "/house"),
        ] {
            assert!(!may(from, to), "{from} {to}");
        }
        assert!(may("/x", "/a/box/x"), "into a drop box");
    }
}
