//! The SITE commands: one row for each, with its argument, the permission it needs and its parser.
//!
//! SITE HELP, the syntax in replies, and the lists in the replies 500 and 504 come from the rows.

use super::argument::{Argument, ArgumentError, PathName, split_word};
use super::permission::Permission;
use super::time::TimeValue;

/// A SITE command of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// `CHMOD 644 path`.
    ChangeMode {
        /// The permission bits.
        mode: u32,
        /// The file.
        path: PathName,
    },
    /// `UTIME time path`, or `UTIME path atime mtime ctime UTC`.
    SetTime {
        /// The time of its last modification.
        time: TimeValue,
        /// The file.
        path: PathName,
    },
    /// `HELP`.
    Help,
}

/// One row of the table.
#[derive(Debug)]
pub struct SiteCommand {
    /// The word after SITE.
    pub name: &'static str,
    /// The form of its argument, for replies.
    pub argument: &'static str,
    /// The permission that its user needs.
    pub may: Option<Permission>,
    /// The parser of its argument; `None` for a command of other servers, which is answered with 504.
    parse: Option<SiteParser>,
}

type SiteParser = fn(Argument<'_>) -> Result<Site, ArgumentError>;

const fn site(
    name: &'static str,
    argument: &'static str,
    may: Option<Permission>,
    parse: SiteParser,
) -> SiteCommand {
    SiteCommand { name, argument, may, parse: Some(parse) }
}

const fn unimplemented(name: &'static str) -> SiteCommand {
    SiteCommand { name, argument: "", may: None, parse: None }
}

use Permission::ChangeAttributes;

/// All SITE commands that are served, and those of other servers that clients often send.
#[rustfmt::skip]
pub static SITE_COMMANDS: &[SiteCommand] = &[
    //    name    argument     may                     parse
    site("CHMOD", "mode path", Some(ChangeAttributes), change_mode),
    site("UTIME", "time path", Some(ChangeAttributes), set_time),
    site("HELP",  "",          None,                   |_| Ok(Site::Help)),
    unimplemented("UMASK"), unimplemented("IDLE"), unimplemented("WHO"),
];

impl Site {
    /// Parses the argument of SITE.
    pub(super) fn parse(argument: Argument<'_>) -> Result<Self, ArgumentError> {
        let bytes = argument.bytes()?;
        let (name, rest) =
            split_word(bytes).map_or((bytes, None), |(name, rest)| (name, Some(rest)));
        let row = SITE_COMMANDS
            .iter()
            .find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
            .ok_or(ArgumentError::UnknownSite)?;
        row.parse.ok_or(ArgumentError::ForeignSite(row.name))?(Argument(rest))
    }

    /// Returns the word after SITE.
    fn name(&self) -> &'static str {
        match self {
            Self::ChangeMode { .. } => "CHMOD",
            Self::SetTime { .. } => "UTIME",
            Self::Help => "HELP",
        }
    }

    /// Returns the permission that its user needs.
    #[must_use]
    pub fn permission(&self) -> Option<Permission> {
        SITE_COMMANDS.iter().find(|row| row.name == self.name())?.may
    }

    /// Returns the path of the file that the command names.
    pub(super) fn path(&self) -> Option<&PathName> {
        match self {
            Self::ChangeMode { path, .. } | Self::SetTime { path, .. } => Some(path),
            Self::Help => None,
        }
    }

    /// Encodes the command for the wire, without line end.
    pub(super) fn encode(&self) -> Vec<u8> {
        let argument = match self {
            Self::ChangeMode { mode, path } => [format!(" {mode:o} ").as_bytes(), &path.0].concat(),
            Self::SetTime { time, path } => {
                [b" ", path.0.as_slice(), format!(" {time} {time} {time} UTC").as_bytes()].concat()
            }
            Self::Help => Vec::new(),
        };
        [b"SITE ", self.name().as_bytes(), &argument].concat()
    }
}

/// Returns the rows of the commands that are served.
pub(super) fn served() -> impl Iterator<Item = &'static SiteCommand> {
    SITE_COMMANDS.iter().filter(|row| row.parse.is_some())
}

/// Returns the commands with their arguments: `SITE CHMOD mode path | … | HELP`.
#[must_use]
pub fn syntax() -> String {
    let forms = served().map(|row| format!("{} {}", row.name, row.argument).trim_end().to_owned());
    format!("SITE {}", forms.collect::<Vec<_>>().join(" | "))
}

/// Returns the names of the commands, for a sentence: `CHMOD, UTIME or HELP`.
#[must_use]
pub fn names() -> String {
    let names: Vec<&str> = served().map(|row| row.name).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn change_mode(argument: Argument<'_>) -> Result<Site, ArgumentError> {
    let (mode, path) = split_word(argument.bytes()?).ok_or(ArgumentError::Malformed)?;
    let mode = octal(mode).ok_or(ArgumentError::Malformed)?;
    Ok(Site::ChangeMode { mode, path: Argument(Some(path)).path()? })
}

fn set_time(argument: Argument<'_>) -> Result<Site, ArgumentError> {
    let rest = argument.bytes()?;
    if let Some(site) = three_times(rest) {
        return Ok(site);
    }
    let (time, path) = split_word(rest).ok_or(ArgumentError::Malformed)?;
    let time = short_time(time).ok_or(ArgumentError::Malformed)?;
    Ok(Site::SetTime { time, path: Argument(Some(path)).path()? })
}

/// Parses the form of ncftp and Pure-FTPd: a path, three times (access, modification and inode change), `UTC`.
fn three_times(rest: &[u8]) -> Option<Site> {
    let mut words = rest.strip_suffix(b" UTC")?.rsplitn(4, |byte| *byte == b' ');
    let times = [words.next()?, words.next()?, words.next()?].map(short_time);
    let [Some(_), Some(time), Some(_)] = times else { return None };
    Some(Site::SetTime { time, path: Argument(words.next()).path().ok()? })
}

/// Parses a `time-val` whose seconds may be omitted.
fn short_time(text: &[u8]) -> Option<TimeValue> {
    if text.len() == 12 {
        TimeValue::parse(&[text, b"00"].concat())
    } else {
        TimeValue::parse(text)
    }
}

/// Parses a mode in octal; only the permission bits are accepted.
fn octal(digits: &[u8]) -> Option<u32> {
    let text = str::from_utf8(digits)
        .ok()
        .filter(|text| (1..=5).contains(&text.len()) && !text.starts_with('+'))?;
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Result<Site, ArgumentError> {
        Site::parse(Argument(Some(argument.as_bytes())))
    }

    #[test]
    fn replies_list_the_commands_that_are_served() {
        assert_eq!(syntax(), "SITE CHMOD mode path | UTIME time path | HELP");
        assert_eq!(names(), "CHMOD, UTIME or HELP");
    }

    #[test]
    fn commands_of_other_servers_and_unknown_ones_are_told_apart() {
        assert_eq!(read("NUKE x"), Err(ArgumentError::UnknownSite));
        for (line, name) in [("UMASK 022", "UMASK"), ("idle 60", "IDLE"), ("WHO", "WHO")] {
            assert_eq!(read(line), Err(ArgumentError::ForeignSite(name)), "{line}");
        }
        for line in ["CHMOD 9 a", "CHMOD 77777 a", "CHMOD", "UTIME", "UTIME x"] {
            assert_eq!(read(line), Err(ArgumentError::Malformed), "{line}");
        }
    }

    #[test]
    fn the_times_of_two_traditions_are_read() {
        let set = |line: &str| match read(line) {
            Ok(Site::SetTime { time, path }) => (time.to_string(), path.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(set("UTIME 202611221611 a b"), ("20261122161100".to_owned(), b"a b".to_vec()));
        let ncftp = set("UTIME a b 20260101000000 20261122161139 20260101000000 UTC");
        assert_eq!(ncftp, ("20261122161139".to_owned(), b"a b".to_vec()));
    }

    #[test]
    fn each_row_that_is_served_is_read_written_and_permitted_as_itself() {
        for row in served() {
            let line = match row.name {
                "CHMOD" => "CHMOD 644 a",
                "UTIME" => "UTIME 20260101000000 a",
                "HELP" => "HELP",
                name => panic!("a sample of SITE {name} belongs here"),
            };
            let site = read(line).unwrap();
            assert_eq!((site.name(), site.permission()), (row.name, row.may));
            let encoded = site.encode();
            assert_eq!(read(str::from_utf8(&encoded[5..]).unwrap()), Ok(site));
        }
    }
}
