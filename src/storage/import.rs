//! Users of other programs: the files of passwd(5) and shadow(5), of htpasswd, and CSV.

use std::fmt;
use std::str::FromStr;
use std::thread;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use zeroize::Zeroizing;

use super::password::{self, HashKind};
use super::users::{User, UserSettings, Users, encode};
use crate::ftp::path::Escaped;

/// The first day in the time of Unix, from which shadow(5) counts.
const EPOCH: Date = date(1970, 1, 1);

/// Homes in passwd(5) that stand for none.
const NO_HOMES: [&str; 3] = ["", "/", "/nonexistent"];

/// The format of a file with users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// passwd(5), shadow(5), and the files of `ProFTPD` and Pure-FTPd: fields separated by colons.
    Passwd,
    /// A name and a hash, separated by a colon.
    Htpasswd,
    /// Comma-separated values, with a head line that names the columns.
    Csv,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "passwd" => Ok(Self::Passwd),
            "htpasswd" => Ok(Self::Htpasswd),
            "csv" => Ok(Self::Csv),
            _ => Err(format!("'{text}' is not a format; use passwd, htpasswd or csv")),
        }
    }
}

/// The password of a user who is imported.
enum ImportedPassword {
    Hash(String),
    Plain(Zeroizing<String>),
    /// The file has none, such as /etc/passwd, whose hashes are in /etc/shadow.
    Elsewhere,
}

/// A user who is imported.
struct ImportedUser {
    line: u64,
    name: String,
    secret: ImportedPassword,
    /// The settings as the words of a users file.
    words: Vec<String>,
}

/// The outcome of an import.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The number of users who were added or changed.
    pub imported: usize,
    /// The number of entries without a password, such as those of the system.
    pub without_password: usize,
    /// The entries that were not imported, and why.
    pub skipped: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = if self.imported == 1 { "user" } else { "users" };
        write!(formatter, "imported {} {users}", self.imported)?;
        if self.without_password > 0 {
            write!(formatter, ", {} entries without a password", self.without_password)?;
        }
        if !self.skipped.is_empty() {
            write!(formatter, ", {} not imported", self.skipped.len())?;
        }
        Ok(())
    }
}

/// Users who were read from a file and are not stored yet.
pub struct Import {
    records: Vec<ImportedUser>,
    outcome: Outcome,
}

impl fmt::Debug for Import {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records.len();
        formatter.debug_struct("Import").field("records", &records).finish_non_exhaustive()
    }
}

impl Import {
    /// Reads the text of a file, and hashes its plain passwords.
    ///
    /// # Errors
    /// One sentence, if the file as a whole is wrong: `line 3: …`.
    pub fn read(format: Format, text: &str) -> Result<Self, String> {
        let mut import = Self { records: Vec::new(), outcome: Outcome::default() };
        match format {
            Format::Csv => import.read_csv(text)?,
            Format::Passwd | Format::Htpasswd => import.read_lines(format, text),
        }
        import.hash_all()?;
        Ok(import)
    }

    /// Adds the users. A user who exists gets the imported hash and settings, and keeps the others.
    ///
    /// # Errors
    /// One sentence about a wrong setting.
    pub fn store(self, users: &mut Users) -> Result<Outcome, String> {
        let Self { records, mut outcome } = self;
        for ImportedUser { line, name, secret, words } in records {
            let known = users.0.get(name.as_bytes());
            let hash = match (secret, known) {
                (ImportedPassword::Hash(hash), _) => hash,
                (_, Some(user)) => user.hash.clone(),
                (_, None) => {
                    outcome.without_password += 1;
                    continue;
                }
            };
            let mut settings =
                known.map_or_else(UserSettings::default, |user| user.settings.clone());
            words
                .iter()
                .try_for_each(|word| settings.set(word))
                .map_err(|what| format!("line {line}: {what}"))?;
            users.0.insert(name.into_bytes(), User { hash, settings });
            outcome.imported += 1;
        }
        Ok(outcome)
    }

    fn skip(&mut self, line: u64, name: &str, why: &str) {
        let name = Escaped(name.as_bytes());
        self.outcome.skipped.push(format!("line {line}: user {name}: {why}"));
    }

    fn read_lines(&mut self, format: Format, text: &str) {
        for (line, entry) in (1..).zip(text.lines()) {
            if entry.trim().is_empty() || entry.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = entry.split(':').collect();
            let [name, secret, rest @ ..] = fields.as_slice() else {
                self.skip(line, entry, "no colon after the name");
                continue;
            };
            if name.is_empty() || *name == "root" {
                self.skip(line, name, "this name is not imported");
                continue;
            }
            let mut words = if format == Format::Passwd { passwd_words(rest) } else { Vec::new() };
            // A lock of usermod -L.
            let unlocked = secret.trim_start_matches('!');
            if unlocked.len() < secret.len() {
                words.push("disabled".to_owned());
            }
            let secret = match (unlocked, HashKind::of(unlocked)) {
                (_, Ok(_)) => ImportedPassword::Hash(unlocked.to_owned()),
                ("" | "x" | "*", _) => ImportedPassword::Elsewhere,
                (_, Err(why)) => {
                    self.skip(line, name, &why);
                    continue;
                }
            };
            self.records.push(ImportedUser { line, name: (*name).to_owned(), secret, words });
        }
    }

    fn read_csv(&mut self, text: &str) -> Result<(), String> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let heads = reader.headers().map_err(|error| error.to_string())?.clone();
        let has = |name: &str| heads.iter().any(|head| head == name);
        if !has("name") {
            return Err("line 1: no column 'name'; the first line names the columns, such as name,password,home".to_owned());
        }
        for row in reader.records() {
            let row = row.map_err(|error| error.to_string())?;
            let line = row.position().map_or(0, csv::Position::line);
            let wrong = |what: String| format!("line {line}: {what}");
            let (mut name, mut secret, mut words) = ("", ImportedPassword::Elsewhere, Vec::new());
            for (head, cell) in heads.iter().zip(&row).filter(|(_, cell)| !cell.is_empty()) {
                match head {
                    "name" => name = cell,
                    "password" => secret = ImportedPassword::Plain(Zeroizing::new(cell.to_owned())),
                    "hash" => secret = ImportedPassword::Hash(cell.to_owned()),
                    "disabled" => match cell.to_ascii_lowercase().as_str() {
                        "true" | "yes" | "1" => words.push("disabled".to_owned()),
                        "false" | "no" | "0" => {}
                        _ => return Err(wrong(format!("'{cell}' is not true or false"))),
                    },
                    "home" | "group" | "comment" => {
                        words.push(format!("{head}={}", encode(cell.as_bytes())));
                    }
                    _ => words.push(format!("{head}={}", cell.replace(' ', ""))),
                }
            }
            if name.is_empty() || name.contains(['\r', '\n', '\0']) {
                return Err(wrong("no name".to_owned()));
            }
            let mut tried = UserSettings::default();
            words.iter().try_for_each(|word| tried.set(word)).map_err(wrong)?;
            if let ImportedPassword::Hash(hash) = &secret
                && let Err(why) = HashKind::of(hash)
            {
                self.skip(line, name, &why);
                continue;
            }
            self.records.push(ImportedUser { line, name: name.to_owned(), secret, words });
        }
        Ok(())
    }

    /// Hashes the plain passwords on all processors.
    fn hash_all(&mut self) -> Result<(), String> {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = self.records.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let hash = |records: &mut [ImportedUser]| {
                records.iter_mut().try_for_each(|record| {
                    if let ImportedPassword::Plain(password) = &record.secret {
                        record.secret =
                            ImportedPassword::Hash(password::hash(password.as_bytes())?);
                    }
                    Ok(())
                })
            };
            let running: Vec<_> = self
                .records
                .chunks_mut(share)
                .map(|records| scope.spawn(move || hash(records)))
                .collect();
            let mut ended = running.into_iter().map(thread::ScopedJoinHandle::join);
            ended.try_for_each(|ended| ended.unwrap_or_else(|_| Err("a panic".to_owned())))
        })
    }
}

/// Returns the settings in the fields after the hash: seven or more fields are those of passwd(5), nine those of
/// shadow(5).
fn passwd_words(rest: &[&str]) -> Vec<String> {
    match rest {
        [_, _, _, _, _, days, _] => {
            let days: Option<i64> = days.parse().ok();
            let ends = days.and_then(|days| EPOCH.checked_add((days - 1).days()).ok());
            ends.map(|last| format!("expires={last}")).into_iter().collect()
        }
        [_, _, comment, home, _, ..] => {
            // Pure-FTPd marks its root in a home.
            let home = home.split("/./").next().unwrap_or_default();
            let comment = comment.trim_end_matches(',');
            let mut words = Vec::new();
            if home.starts_with('/') && !NO_HOMES.contains(&home) {
                words.push(format!("home={}", encode(home.as_bytes())));
            }
            if !comment.is_empty() {
                words.push(format!("comment={}", encode(comment.as_bytes())));
            }
            words
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$6$h9VDZB.VNk9C4fWy$3qn1sLPolNVFCYwH3Z.PCD89huQCWCfN6GV9PBAMmJMFK3IyY5yjRRox7v.9pRTlQU7c7/JBgkDMm87pQbH3..";

    fn import(users: &mut Users, format: Format, text: &str) -> Outcome {
        Import::read(format, text).unwrap().store(users).unwrap()
    }

    #[test]
    fn shadow_brings_hashes_and_passwd_the_homes() {
        let mut users = Users::default();
        let shadow = format!(
            "root:{HASH}:1:0:99999:7:::\ndaemon:*:1:0:99999:7:::\nalice:{HASH}:1:0:99999:7:::\nbob:!{HASH}:1:0:99999:7::20000:\ncarol:$1$a$b:1:0:99999:7:::\nnew:!:1:0:99999:7:::\n"
        );
        let outcome = import(&mut users, Format::Passwd, &shadow);
        assert_eq!((outcome.imported, outcome.without_password), (2, 2));
        let [root, carol] = outcome.skipped.as_slice() else { panic!("{outcome:?}") };
        assert!(root.starts_with("line 1: user root: "), "{root}");
        assert!(carol.starts_with("line 5: user carol: the hash is md5-crypt"), "{carol}");
        let passwd = "alice:x:1000:1000:Alice A,,,:/home/al ice:/bin/sh\nbob:x:1001:1001::/nonexistent:/bin/sh\nx:x:1:1::/x:/bin/sh\n";
        assert_eq!(import(&mut users, Format::Passwd, passwd).imported, 2);
        let alice = users.0[b"alice".as_slice()].clone();
        assert_eq!(alice.hash, HASH);
        assert_eq!(alice.settings.to_string(), " home=/home/al%20ice may=all comment=Alice%20A");
        let bob = users.0[b"bob".as_slice()].settings.to_string();
        assert_eq!(bob, " may=all expires=2024-10-03 disabled");
    }

    #[test]
    fn the_files_of_other_servers_are_passwd_files() {
        let mut users = Users::default();
        let text = format!(
            "pure:{HASH}:33:33::/srv/pure/./::::::::::::\npro:{HASH}:1:1::/srv/pro:/bin/false\n"
        );
        assert_eq!(import(&mut users, Format::Passwd, &text).imported, 2);
        let home = |name: &str| users.0[name.as_bytes()].settings.home.clone().unwrap();
        assert_eq!((home("pure"), home("pro")), ("/srv/pure".into(), "/srv/pro".into()));
    }

    #[test]
    fn a_csv_has_passwords_or_hashes_and_any_setting() {
        let mut users = Users::default();
        let text = format!(
            "name,password,hash,home,may,quota,expires,disabled,comment\nalice,\"se,cret\",,/srv/a b,\"list, read\",10G,2027-01-31,,A note\nbob,,{HASH},,,,,yes,\ncarol,,{{SHA}}x,,,,,,\n"
        );
        let outcome = import(&mut users, Format::Csv, &text);
        assert_eq!((outcome.imported, outcome.skipped.len()), (2, 1), "{outcome:?}");
        let User { hash, settings } = &users.0[b"alice".as_slice()];
        assert!(password::is_of(Some(hash), None, b"se,cret").unwrap());
        let expected =
            " home=/srv/a%20b may=list,read quota=10737418240 expires=2027-01-31 comment=A%20note";
        assert_eq!(settings.to_string(), expected);
        assert!(users.0[b"bob".as_slice()].settings.disabled);
    }

    #[test]
    fn a_wrong_csv_changes_nothing_and_names_the_line() {
        for (text, what) in [
            ("user,password\na,b\n", "line 1: no column 'name'"),
            ("name,colour\na,blue\n", "line 2: unknown setting 'colour'"),
            ("name,quota\na,1\nb,much\n", "line 3: 'much'"),
            ("name,password\n,b\n", "line 2: no name"),
            ("name,password\na\n", "line: 2"),
        ] {
            let wrong = Import::read(Format::Csv, text).unwrap_err();
            assert!(wrong.contains(what), "{wrong}");
        }
    }
}
