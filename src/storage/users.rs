//! The users file: readable text, one user per line.
//!
//! ```text
//! # name  hash of the password  settings
//! alice $argon2id$v=19$m=19456,t=2,p=1$… home=/srv/alice may=list,read,write quota=10G from=10.0.0.0/8
//! ```
//!
//! In a name or a home, each byte of a space, `%`, `#` or unprintable character is written as `%` and two hexadecimal
//! digits.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions, Permissions as FileMode};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::password;
use super::permissions::Permissions;
use crate::units::{self, Networks, networks};

/// The mode of the users file: only its owner may read it.
const FILE_MODE: u32 = 0o600;

/// The maximum number of bytes that are read of a users file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A user of the users file.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The hash of the password.
    pub hash: String,
    /// The settings of the user.
    pub settings: UserSettings,
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(formatter)
    }
}

/// The settings that follow a user's password hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// The user's root; the server's root if `None`.
    pub home: Option<PathBuf>,
    /// The permissions of the user.
    pub may: Permissions,
    /// The maximum size of the home, in bytes.
    pub quota: Option<u64>,
    /// The maximum number of files in the home.
    pub files: Option<u64>,
    /// The maximum download rate in bytes per second, over all sessions of the user.
    pub down: Option<NonZeroU64>,
    /// The maximum upload rate in bytes per second, over all sessions of the user.
    pub up: Option<NonZeroU64>,
    /// The maximum number of concurrent sessions.
    pub sessions: Option<usize>,
    /// The networks from which the user may log in; all networks if it is empty.
    pub from: Networks,
}

impl UserSettings {
    /// Returns true if the user may log in from this address.
    #[must_use]
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&address))
    }

    /// Applies one setting, `name=value`.
    ///
    /// # Errors
    /// One sentence that describes the mistake.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) =
            setting.split_once('=').ok_or_else(|| format!("'{setting}' is not NAME=VALUE"))?;
        let rate = |value: &str| {
            units::bytes(value).and_then(|rate| {
                NonZeroU64::new(rate).ok_or_else(|| "a rate must be at least 1".to_owned())
            })
        };
        match name {
            "home" => self.home = Some(home(value)?),
            "may" => self.may = Permissions::parse(value)?,
            "quota" => self.quota = Some(units::bytes(value)?),
            "files" => self.files = Some(number(value)?),
            "down" => self.down = Some(rate(value)?),
            "up" => self.up = Some(rate(value)?),
            "sessions" => {
                self.sessions = Some(usize::try_from(number(value)?).unwrap_or(usize::MAX));
            }
            "from" => self.from = networks(value)?,
            _ => return Err(format!("unknown setting '{name}'")),
        }
        Ok(())
    }
}

impl fmt::Display for UserSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(home) = &self.home {
            write!(formatter, " home={}", encode(home.as_os_str().as_bytes()))?;
        }
        write!(formatter, " may={}", self.may)?;
        let numbers = [
            ("quota", self.quota),
            ("files", self.files),
            ("down", self.down.map(NonZeroU64::get)),
            ("up", self.up.map(NonZeroU64::get)),
            ("sessions", self.sessions.map(|sessions| sessions as u64)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(formatter, " {name}={number}")?;
            }
        }
        if !self.from.is_empty() {
            let networks: Vec<String> = self.from.iter().map(ToString::to_string).collect();
            write!(formatter, " from={}", networks.join(","))?;
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}

fn home(text: &str) -> Result<PathBuf, String> {
    let bytes = decode(text).ok_or_else(|| format!("'{text}' is not a path"))?;
    let home = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    if home.is_absolute() {
        Ok(home)
    } else {
        Err(format!("the home {text} does not begin with /"))
    }
}

/// Every user of a file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(pub BTreeMap<Vec<u8>, User>);

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    /// One sentence, with the number of the wrong line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let read = || {
            let mut text = String::new();
            // Opening a pipe with this name would block, because no process has its other end open.
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error| complaint(path, &error))?;
        Self::parse(&text).map_err(|what| format!("{}, {what}", path.display()))
    }

    /// Parses the text of a users file.
    ///
    /// # Errors
    /// The mistake and its line: `line 3: …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (name, user) = parse_line(line).map_err(|what| format!("line {number}: {what}"))?;
            if users.0.insert(name, user).is_some() {
                return Err(format!("line {number}: duplicate user"));
            }
        }
        Ok(users)
    }

    /// Changes a users file completely or not at all. Of two concurrent updates, the second waits and sees the changes
    /// of the first. Creates the file if it does not exist.
    ///
    /// # Errors
    /// One sentence that describes the mistake.
    pub fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        // A link stays a link: its target is replaced.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let locked = lock(path).map_err(|error| complaint(path, &error))?;
        let mut users = Self::read(path)?;
        let outcome = change(&mut users)?;
        users.replace(path, &locked).map_err(|error| complaint(path, &error))?;
        Ok(outcome)
    }

    fn replace(&self, path: &Path, old: &File) -> io::Result<()> {
        let found = old.metadata()?;
        let mut new_path = path.as_os_str().to_owned();
        new_path.push(".new");
        // Only the holder of the lock gets here: a process that was killed left this file.
        let _left = fs::remove_file(&new_path);
        let mut options = OpenOptions::new();
        let mut new = options.write(true).create_new(true).mode(FILE_MODE).open(&new_path)?;
        new.set_permissions(FileMode::from_mode(found.mode() & 0o777))?;
        // A server that has given up root must be able to read the file again; only root can change the owner, and
        // needs to.
        let _owned = fchown(&new, Some(found.uid()), Some(found.gid()));
        new.write_all(self.to_string().as_bytes())?;
        new.sync_all()?;
        fs::rename(&new_path, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        OpenOptions::new().read(true).open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl fmt::Display for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "# Users of poolftpd, kept by ftppasswd: name, hash of the password, settings."
        )?;
        for (name, User { hash, settings }) in &self.0 {
            writeln!(formatter, "{} {hash}{settings}", encode(name))?;
        }
        Ok(())
    }
}

fn parse_line(line: &str) -> Result<(Vec<u8>, User), String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().and_then(decode).ok_or("invalid user name")?;
    let hash = words.next().unwrap_or_default();
    if !password::is_hash(hash) {
        return Err("no argon2id hash after the user name".to_owned());
    }
    let mut settings = UserSettings::default();
    words.try_for_each(|word| settings.set(word))?;
    Ok((name, User { hash: hash.to_owned(), settings }))
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter.is_whitespace() || matches!(letter, '%' | '#') {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _written = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _written = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        };
        bytes.push(byte);
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// Opens and locks the users file. Opens it again if an earlier holder of the lock has replaced it.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let found = fs::metadata(path);
        if found.is_ok_and(|found| file.metadata().is_ok_and(|own| own.ino() == found.ino())) {
            return Ok(file);
        }
    }
}

fn complaint(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), units::unreadable(path, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$cG9vbGZ0cGRub2JvZHk$AAAAAAAAAAAAAAAAAAAAAA";

    fn user(settings: &str) -> User {
        let mut parsed = UserSettings::default();
        settings.split_ascii_whitespace().for_each(|word| parsed.set(word).unwrap());
        User { hash: HASH.to_owned(), settings: parsed }
    }

    #[test]
    fn a_line_has_a_name_a_hash_and_settings() {
        let text = format!(
            "# comment\n\nalice {HASH} home=/srv/al%20ice may=list,read quota=10G from=10.0.0.0/8,::1\nbob {HASH}\n"
        );
        let users = Users::parse(&text).unwrap();
        let alice = &users.0[b"alice".as_slice()].settings;
        assert_eq!(alice.home.as_deref(), Some(Path::new("/srv/al ice")));
        assert_eq!(alice.quota, Some(10 << 30));
        assert_eq!(alice.may, Permissions::READ_ONLY);
        assert!(alice.lets_in([10, 1, 2, 3].into()) && !alice.lets_in([11, 1, 2, 3].into()));
        assert_eq!(users.0[b"bob".as_slice()].settings.may, Permissions::FULL);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (line, what) in [
            ("alice", "line 2: no argon2id hash after the user name"),
            ("alice secret", "line 2: no argon2id hash after the user name"),
            ("%zz x", "line 2: invalid user name"),
        ] {
            assert_eq!(Users::parse(&format!("#\n{line}\n")), Err(what.to_owned()));
        }
        for setting in ["home=a", "may=fly", "quota=x", "nonsense=1", "up=0", "from=300.1.1.1", "x"]
        {
            assert!(Users::parse(&format!("a {HASH} {setting}")).is_err(), "{setting}");
        }
        assert!(
            Users::parse(&format!("a {HASH}\na {HASH}\n"))
                .unwrap_err()
                .contains("line 2: duplicate user")
        );
    }

    #[test]
    fn of_many_who_change_a_file_at_once_each_change_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::thread::scope(|scope| {
            for number in 0..20 {
                let path = &path;
                let change = move |users: &mut Users| {
                    users.0.insert(format!("user{number}").into_bytes(), user("quota=1"));
                    Ok(())
                };
                scope.spawn(move || Users::update(path, change).unwrap());
            }
        });
        assert_eq!(Users::read(&path).unwrap().0.len(), 20);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in proptest::collection::vec(any::<u8>(), 1..20),
            home in proptest::collection::vec(1..=255_u8, 0..20),
            numbers: (u64, u64, NonZeroU64, usize),
        ) {
            let mut written = user("may=read from=::1,10.0.0.0/8");
            written.settings.home = Some(PathBuf::from(std::ffi::OsString::from_vec([b"/".as_slice(), &home].concat())));
            (written.settings.quota, written.settings.files) = (Some(numbers.0), Some(numbers.1));
            (written.settings.up, written.settings.sessions) = (Some(numbers.2), Some(numbers.3));
            let users = Users([(name, written)].into());
            prop_assert_eq!(Users::parse(&users.to_string()), Ok(users));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _read = Users::parse(&text);
        }
    }
}
