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
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions as FileMode};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::password::{self, HashKind};
use super::user_settings::decode;
pub use super::user_settings::{CertificateId, ClientCertificate, UserSettings, encode};
use crate::ftp::path::Escaped;
use crate::units;

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

    /// Parses users that are written as `NAME:PASSWORD` or `NAME:HASH`, followed by `:SETTING` for each setting.
    ///
    /// # Errors
    /// The mistake and its user.
    pub fn of_entries(entries: impl Iterator<Item = impl AsRef<str>>) -> Result<Self, String> {
        let mut users = Self::default();
        for entry in entries {
            let (name, user) = parse_entry(entry.as_ref())?;
            let shown = Escaped(&name).to_string();
            if users.0.insert(name, user).is_some() {
                return Err(format!("user {shown}: duplicate user"));
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

fn parse_entry(entry: &str) -> Result<(Vec<u8>, User), String> {
    let (name, rest) = entry.split_once(':').unwrap_or((entry, ""));
    let wrong = |what: String| format!("user {}: {what}", Escaped(name.as_bytes()));
    let (secret, settings_text) = rest.split_once(':').unwrap_or((rest, ""));
    if name.is_empty() || secret.is_empty() {
        return Err(wrong("a name and a password are needed".to_owned()));
    }
    let hash = if secret.starts_with('$') {
        HashKind::of(secret).map_err(wrong)?;
        secret.to_owned()
    } else {
        password::hash(secret.as_bytes()).map_err(wrong)?
    };
    let mut settings = UserSettings::default();
    entry_words(settings_text).iter().try_for_each(|word| settings.set(word)).map_err(wrong)?;
    settings.check().map_err(wrong)?;
    Ok((name.as_bytes().to_vec(), User { hash, settings }))
}

/// Splits settings at colons and spaces. A piece that begins no setting belongs to the one before it, because
/// addresses and paths may contain both.
fn entry_words(text: &str) -> Vec<String> {
    let is_setting = |piece: &str| {
        piece == "disabled"
            || piece
                .split_once('=')
                .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let mut words: Vec<String> = Vec::new();
    for (separator, piece) in pieces(text) {
        match words.last_mut() {
            Some(word) if !is_setting(piece) => {
                word.push_str(&encode(separator.as_bytes()));
                word.push_str(piece);
            }
            _ => words.push(piece.to_owned()),
        }
    }
    words
}

/// Returns the pieces between colons and spaces, each with the separator before it.
fn pieces(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    let mut separator = "";
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find([':', ' ']).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at_checked(end)?;
        let found = (separator, piece);
        (separator, rest) = behind.split_at_checked(behind.len().min(1))?;
        Some(found)
    })
}

fn parse_line(line: &str) -> Result<(Vec<u8>, User), String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().and_then(decode).ok_or("invalid user name")?;
    let hash = words.next().unwrap_or_default();
    HashKind::of(hash).map_err(|what| format!("user {}: {what}", Escaped(&name)))?;
    let mut settings = UserSettings::default();
    words.try_for_each(|word| settings.set(word))?;
    settings.check()?;
    Ok((name, User { hash: hash.to_owned(), settings }))
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
    use std::num::NonZeroU64;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::storage::permissions::Permissions;

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
            ("alice", "line 2: user alice: no hash of argon2id"),
            ("alice secret", "line 2: user alice: no hash of argon2id"),
            ("bob $1$a$b", "line 2: user bob: the hash is md5-crypt"),
            ("%zz x", "line 2: invalid user name"),
        ] {
            let wrong = Users::parse(&format!("#\n{line}\n")).unwrap_err();
            assert!(wrong.starts_with(what), "{wrong}");
        }
        for setting in [
            "home=a",
            "may=fly",
            "quota=x",
            "nonsense=1",
            "up=0",
            "from=300.1.1.1",
            "x",
            "group=",
            "umask=8",
            "umask=700",
            "umask=",
            "umask=00002",
            "expires=tomorrow",
            "expires=2027-02-30",
            "disabled=1",
            "certificate=x",
            "certificate=sha256:abc",
            "certificate=CN=",
            "login=x",
            "login=certificate",
        ] {
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
            group: Option<char>,
        ) {
            let mut written = user("may=read from=::1,10.0.0.0/8");
            written.settings.home = Some(PathBuf::from(std::ffi::OsString::from_vec([b"/".as_slice(), &home].concat())));
            (written.settings.quota, written.settings.files) = (Some(numbers.0), Some(numbers.1));
            (written.settings.up, written.settings.sessions) = (Some(numbers.2), Some(numbers.3));
            written.settings.group = group.map(String::from);
            written.settings.set("certificate=CN=a%20b").unwrap();
            written.settings.set(&format!("certificate=sha256:{}", "0A:".repeat(32))).unwrap();
            written.settings.set("login=certificate").unwrap();
            written.settings.umask = Some(0o027);
            written.settings.expires = Some(jiff::civil::date(2027, 1, 31));
            written.settings.disabled = numbers.0 % 2 == 0;
            let users = Users([(name, written)].into());
            prop_assert_eq!(Users::parse(&users.to_string()), Ok(users));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _read = Users::parse(&text);
        }
    }
}
