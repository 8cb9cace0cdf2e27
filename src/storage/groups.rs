//! Groups of users: settings that a user has unless the users file gives others.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::users::UserSettings;
use crate::ftp::path::Escaped;

/// The part of a home that stands for the name of the user.
const USER: &str = "%u";

/// A group, with the settings of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name, as in `group=` of the users file.
    pub name: String,
    /// The settings of its users. In the home, `%u` stands for the name of the user.
    pub settings: UserSettings,
}

impl Group {
    /// Returns the home of a user of the group, if the group has homes.
    ///
    /// # Errors
    /// A clause, if the name cannot be that of one directory.
    fn home(&self, user: &[u8]) -> Result<Option<PathBuf>, String> {
        let Some(home) = &self.settings.home else { return Ok(None) };
        let Some(text) = home.to_str().filter(|text| text.contains(USER)) else {
            return Ok(Some(home.clone()));
        };
        // SECURITY: no user name leads out of the directory of the homes.
        let name = std::str::from_utf8(user).ok().filter(|name| is_one_name(name));
        let name =
            name.ok_or("the name cannot be that of a directory, as the home of its group needs")?;
        Ok(Some(text.replace(USER, name).into()))
    }

    /// Completes the settings of a user by those of the group. Of the permissions, only those count that both have.
    ///
    /// # Errors
    /// A clause about the home.
    fn complete(&self, user: &[u8], own: UserSettings) -> Result<UserSettings, String> {
        let Self { settings: group, .. } = self;
        Ok(UserSettings {
            home: match own.home {
                None => self.home(user)?,
                home => home,
            },
            may: own.may.and(group.may),
            quota: own.quota.or(group.quota),
            files: own.files.or(group.files),
            down: own.down.or(group.down),
            up: own.up.or(group.up),
            sessions: own.sessions.or(group.sessions),
            from: if own.from.is_empty() { group.from.clone() } else { own.from },
            umask: own.umask.or(group.umask),
            ..own
        })
    }
}

/// The groups of a server, which a reload may change.
#[derive(Debug, Default)]
pub(super) struct Groups(RwLock<Arc<[Group]>>);

impl Groups {
    /// Replaces the groups. They hold for the users who are read after this.
    pub(super) fn set(&self, groups: &[Group]) {
        *self.0.write() = groups.into();
    }

    /// Passes the groups to `take`.
    pub(super) fn with<T>(&self, take: impl FnOnce(&[Group]) -> T) -> T {
        take(&self.0.read())
    }

    /// Completes the settings of a user by those of the user's group, if it is one of these.
    ///
    /// # Errors
    /// One sentence about the home.
    pub(super) fn complete(&self, user: &[u8], own: UserSettings) -> Result<UserSettings, String> {
        complete(&self.0.read(), user, own)
    }
}

/// Completes the settings of a user by those of the user's group, if it is one of these.
///
/// # Errors
/// One sentence about the home.
pub fn complete(groups: &[Group], user: &[u8], own: UserSettings) -> Result<UserSettings, String> {
    let found = groups.iter().find(|group| own.group.as_ref() == Some(&group.name));
    let Some(group) = found else { return Ok(own) };
    group.complete(user, own).map_err(|error| format!("the user {}: {error}", Escaped(user)))
}

/// Returns true if a text can be the name of one entry of a directory.
fn is_one_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &str) -> UserSettings {
        let mut settings = UserSettings::default();
        words.split_ascii_whitespace().for_each(|word| settings.set(word).unwrap());
        settings
    }

    #[test]
    fn a_user_has_the_settings_of_the_group_unless_the_users_file_gives_others() {
        let group = Group {
            name: "staff".to_owned(),
            settings: settings(
                "home=/srv/%25u may=list,read,write quota=1G sessions=4 from=10.0.0.0/8",
            ),
        };
        let own = settings("may=list,read,delete sessions=1 group=staff");
        let alice = group.complete(b"alice", own).unwrap();
        assert_eq!(alice.home, Some("/srv/alice".into()));
        assert_eq!((alice.may.to_string().as_str(), alice.sessions), ("list,read", Some(1)));
        assert_eq!((alice.quota, alice.from.len()), (Some(1 << 30), 1));
        assert_eq!(alice.group.as_deref(), Some("staff"));
        let bob = group.complete(b"bob", settings("home=/other")).unwrap();
        assert_eq!(bob.home, Some("/other".into()));
    }

    #[test]
    fn no_name_leads_out_of_the_directory_of_the_homes() {
        let group = Group { name: "g".to_owned(), settings: settings("home=/srv/%25u/in") };
        for name in ["..", ".", "", "a/b", "../x", "/", "a\0"] {
            assert!(group.complete(name.as_bytes(), UserSettings::default()).is_err(), "{name}");
        }
        assert!(group.complete(b"\xff", UserSettings::default()).is_err());
        assert_eq!(
            group.complete(b"a b", UserSettings::default()).unwrap().home,
            Some("/srv/a b/in".into())
        );
    }
}
