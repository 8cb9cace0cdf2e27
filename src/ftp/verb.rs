//! The verb table: every verb, its argument, the login and permission it needs, when it is served, the pending state it
//! keeps, its FEAT line, its parser.
//!
//! Each row holds everything known about its verb; HELP, FEAT, and the replies 500, 501, 502 and 530 come from it. The
//! commands of SITE have a table of their own, in `site`.

use super::argument::{Argument, ArgumentError, split_word};
use super::checksum::Algorithm;
use super::command::Command;
pub use super::permission::Permission;
use super::site::{self, Site};

/// The login that a verb needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None: every client may use the verb.
    Anyone,
    /// A completed login; other clients get 530.
    Member,
}

/// The time at which a verb is served, relative to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Between transfers. During one, the line waits until the transfer ends, and later lines stay unread.
    Idle,
    /// At once, even during a transfer, as this command.
    Always(Urgent),
}

/// A command that is served during a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgent {
    /// ABOR.
    Abort,
    /// QUIT.
    Quit,
    /// STAT.
    Status,
    /// NOOP.
    Noop,
}

/// The fate of the state that earlier commands left for a later one: the offset of REST, the range of RANG, the size of
/// ALLO, the path of RNFR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// The verb prepares a transfer and keeps the state for it. Some clients send REST before PASV, others after it.
    Keeps,
    /// The verb takes the state: it uses what it needs, and the rest is gone.
    Takes,
}

/// The line of a verb in the reply to FEAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// The verb has no line.
    Unlisted,
    /// This line.
    Listed(&'static str),
    /// This line, where TLS is configured (RFC 4217 §6).
    WithTls(&'static str),
    /// The algorithms of HASH, the selected one with a star.
    Algorithms,
    /// The facts of MLST, the selected ones with a star.
    Facts,
}

/// One row of the table.
#[derive(Debug)]
pub struct Verb {
    /// The verb itself.
    pub name: &'static str,
    /// The form of its argument, for HELP.
    pub argument: &'static str,
    /// The login that it needs.
    pub access: Access,
    /// The time at which it is served.
    pub when: When,
    /// The fate of the pending state.
    pub pending: PendingState,
    /// The permission that its user needs, with every argument.
    pub may: Option<Permission>,
    /// The verb's line in FEAT.
    pub feature: Feature,
    parse: Option<Parser>,
}

type Parser = fn(Argument<'_>) -> Result<Command, ArgumentError>;

#[expect(clippy::too_many_arguments, reason = "one parameter for each column of the table")]
const fn verb(
    name: &'static str,
    argument: &'static str,
    access: Access,
    when: When,
    pending: PendingState,
    may: Option<Permission>,
    feature: Feature,
    parse: Parser,
) -> Verb {
    Verb { name, argument, access, when, pending, may, feature, parse: Some(parse) }
}

/// Returns the row of a verb that is known and answered with 502.
const fn unimplemented(name: &'static str) -> Verb {
    let (access, when, pending, feature) = (Anyone, Idle, Takes, Unlisted);
    Verb { name, argument: "", access, when, pending, may: None, feature, parse: None }
}

use Access::{Anyone, Member};
use Feature::{Algorithms, Facts, Listed, Unlisted, WithTls};
use PendingState::{Keeps, Takes};
use Permission::{Append, ChangeAttributes, Create, Delete, List, MakeDirectory, Read, Rename};
use Urgent::{Abort, Noop, Quit, Status};
use When::{Always, Idle};

/// All verbs of RFC 959, 1123 §4.1, 2228, 2389, 2428, 2640, 3659, 4217, 7151 and of the common drafts.
#[rustfmt::skip]
#[expect(clippy::redundant_closure_for_method_calls, reason = "a method's path has another lifetime than the column")]
pub static VERBS: &[Verb] = &[
    //    verb    argument                 access  when    pending may                 feature                parse
    verb("USER", "username",               Anyone, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::User(a.bytes()?.to_vec()))),
    verb("PASS", "password",               Anyone, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::Password(super::command::Password(a.0.unwrap_or_default().to_vec().into())))),
    verb("ACCT", "account",                Anyone, Idle,   Takes,  None,                   Unlisted,              |a| a.bytes().map(|_| Command::Account)),
    verb("AUTH", "TLS | TLS-P",            Anyone, Idle,   Takes,  None,                   WithTls("AUTH TLS"),   |a| a.mechanism()),
    verb("PBSZ", "0",                      Anyone, Idle,   Keeps,  None,                   WithTls("PBSZ"),       |a| a.offset().map(|_| Command::ProtectionBuffer)),
    verb("PROT", "C | P",                  Anyone, Idle,   Keeps,  None,                   WithTls("PROT"),       |a| a.protection_level()),
    verb("CCC",  "",                       Anyone, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::ClearCommandChannel)),
    verb("HOST", "hostname",               Anyone, Idle,   Takes,  None,                   Listed("HOST"),        |a| Ok(Command::Host(a.word()?))),
    verb("REIN", "",                       Anyone, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::Reinitialize)),
    verb("QUIT", "",                       Anyone, Always(Quit), Takes,  None,             Unlisted,              |a| a.none(Command::Quit)),
    verb("CWD",  "pathname",               Member, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::ChangeDirectory(a.path()?))),
    verb("XCWD", "pathname",               Member, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::ChangeDirectory(a.path()?))),
    verb("CDUP", "",                       Member, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::ChangeToParent)),
    verb("XCUP", "",                       Member, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::ChangeToParent)),
    verb("PWD",  "",                       Member, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::PrintDirectory)),
    verb("XPWD", "",                       Member, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::PrintDirectory)),
    verb("TYPE", "A | I | L 8",            Member, Idle,   Keeps,  None,                   Unlisted,              |a| a.representation()),
    verb("STRU", "F",                      Member, Idle,   Keeps,  None,                   Unlisted,              |a| a.letter("F", &["R", "P"], Command::Structure)),
    verb("MODE", "S | B",                  Member, Idle,   Keeps,  None,                   Unlisted,              |a| a.mode()),
    verb("PORT", "h1,h2,h3,h4,p1,p2",      Member, Idle,   Keeps,  None,                   Unlisted,              |a| Ok(Command::Port(a.host_port()?))),
    verb("EPRT", "|protocol|address|port|",Member, Idle,   Keeps,  None,                   Listed("EPRT"),        |a| Ok(Command::ExtendedPort(a.extended_port()?))),
    verb("PASV", "",                       Member, Idle,   Keeps,  None,                   Listed("PASV"),        |a| a.none(Command::Passive)),
    verb("EPSV", "[1 | 2 | ALL]",          Member, Idle,   Keeps,  None,                   Listed("EPSV"),        |a| Ok(Command::ExtendedPassive(a.extended_passive()?))),
    verb("REST", "marker",                 Member, Idle,   Keeps,  None,                   Listed("REST STREAM"), |a| Ok(Command::Restart(a.offset()?))),
    verb("RETR", "pathname",               Member, Idle,   Takes,  Some(Read),             Unlisted,              |a| Ok(Command::Retrieve(a.path()?))),
    verb("STOR", "pathname",               Member, Idle,   Takes,  Some(Create),           Unlisted,              |a| Ok(Command::Store(a.path()?))),
    verb("STOU", "[pathname]",             Member, Idle,   Takes,  Some(Create),           Unlisted,              |a| Ok(Command::StoreUnique(a.optional_path()?))),
    verb("APPE", "pathname",               Member, Idle,   Takes,  Some(Append),           Unlisted,              |a| Ok(Command::Append(a.path()?))),
    verb("ALLO", "size [R size]",          Member, Idle,   Keeps,  None,                   Unlisted,              |a| a.allocation()),
    verb("RANG", "first last",             Member, Idle,   Keeps,  None,                   Listed("RANG STREAM"), |a| a.range()),
    verb("HASH", "pathname",               Member, Idle,   Takes,  Some(Read),             Algorithms,            |a| Ok(Command::Hash(a.path()?))),
    verb("XCRC", "pathname [from [to]]",   Member, Idle,   Takes,  Some(Read),             Listed("XCRC"),        |a| a.checksum(Algorithm::Crc32)),
    verb("XMD5", "pathname [from [to]]",   Member, Idle,   Takes,  Some(Read),             Listed("XMD5"),        |a| a.checksum(Algorithm::Md5)),
    verb("XSHA", "pathname [from [to]]",   Member, Idle,   Takes,  Some(Read),             Listed("XSHA"),        |a| a.checksum(Algorithm::Sha1)),
    verb("XSHA1", "pathname [from [to]]",  Member, Idle,   Takes,  Some(Read),             Listed("XSHA1"),       |a| a.checksum(Algorithm::Sha1)),
    verb("XSHA256", "pathname [from [to]]", Member, Idle,  Takes,  Some(Read),             Listed("XSHA256"),     |a| a.checksum(Algorithm::Sha256)),
    verb("XSHA512", "pathname [from [to]]", Member, Idle,  Takes,  Some(Read),             Listed("XSHA512"),     |a| a.checksum(Algorithm::Sha512)),
    verb("AVBL", "[pathname]",             Member, Idle,   Takes,  Some(Create),           Listed("AVBL"),        |a| Ok(Command::Available(a.optional_path()?))),
    verb("DELE", "pathname",               Member, Idle,   Takes,  Some(Delete),           Unlisted,              |a| Ok(Command::Delete(a.path()?))),
    verb("RNFR", "pathname",               Member, Idle,   Takes,  Some(Rename),           Unlisted,              |a| Ok(Command::RenameFrom(a.path()?))),
    verb("RNTO", "pathname",               Member, Idle,   Takes,  Some(Rename),           Unlisted,              |a| Ok(Command::RenameTo(a.path()?))),
    verb("MKD",  "pathname",               Member, Idle,   Takes,  Some(MakeDirectory),    Unlisted,              |a| Ok(Command::MakeDirectory(a.path()?))),
    verb("XMKD", "pathname",               Member, Idle,   Takes,  Some(MakeDirectory),    Unlisted,              |a| Ok(Command::MakeDirectory(a.path()?))),
    verb("RMD",  "pathname",               Member, Idle,   Takes,  Some(Delete),           Unlisted,              |a| Ok(Command::RemoveDirectory(a.path()?))),
    verb("XRMD", "pathname",               Member, Idle,   Takes,  Some(Delete),           Unlisted,              |a| Ok(Command::RemoveDirectory(a.path()?))),
    verb("LIST", "[-alR] [pathname]",      Member, Idle,   Takes,  Some(List),             Unlisted,              |a| Ok(Command::List(a.selection()?))),
    verb("NLST", "[-alR] [pathname]",      Member, Idle,   Takes,  Some(List),             Unlisted,              |a| Ok(Command::NameList(a.selection()?))),
    verb("MLSD", "[pathname]",             Member, Idle,   Takes,  Some(List),             Unlisted,              |a| Ok(Command::MachineListDirectory(a.optional_path()?))),
    verb("MLST", "[pathname]",             Member, Idle,   Takes,  Some(List),             Facts,                 |a| Ok(Command::MachineList(a.optional_path()?))),
    verb("STAT", "[[-al] pathname]",       Member, Always(Status), Takes,  None,           Unlisted,              |a| Ok(Command::Status(a.optional_selection()?))),
    verb("SIZE", "pathname",               Member, Idle,   Takes,  Some(List),             Listed("SIZE"),        |a| Ok(Command::Size(a.path()?))),
    verb("MDTM", "[time] pathname",        Member, Idle,   Takes,  Some(List),             Listed("MDTM"),        |a| Ok(Command::ModificationTime(a.path()?))),
    verb("MFMT", "time pathname",          Member, Idle,   Takes,  Some(ChangeAttributes), Listed("MFMT"),        |a| a.time_and_path().map(|(time, path)| Command::SetModificationTime { time, path })),
    verb("SITE", "",                       Member, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::Site(Site::parse(a)?))),
    verb("FEAT", "",                       Anyone, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::Features)),
    verb("OPTS", "UTF8 ON | MLST | HASH",  Anyone, Idle,   Takes,  None,                   Listed("UTF8"),        |a| a.setting()),
    verb("CLNT", "name",                   Anyone, Idle,   Takes,  None,                   Listed("CLNT"),        |a| a.none(Command::ClientName)),
    verb("LANG", "[tag]",                  Anyone, Idle,   Takes,  None,                   Listed("LANG EN*"),    |a| Ok(Command::Language(a.optional_word()?))),
    verb("SYST", "",                       Anyone, Idle,   Takes,  None,                   Unlisted,              |a| a.none(Command::System)),
    verb("HELP", "[verb]",                 Anyone, Idle,   Takes,  None,                   Unlisted,              |a| Ok(Command::Help(a.optional_word()?))),
    verb("NOOP", "",                       Anyone, Always(Noop), Keeps,  None,             Unlisted,              |a| a.none(Command::Noop)),
    verb("ABOR", "",                       Member, Always(Abort), Takes,  None,            Unlisted,              |a| a.none(Command::Abort)),
    unimplemented("SMNT"),
    unimplemented("ADAT"), unimplemented("MIC"),  unimplemented("CONF"), unimplemented("ENC"),
    unimplemented("LPRT"), unimplemented("LPSV"), unimplemented("MFCT"), unimplemented("MFF"),
    unimplemented("CSID"), unimplemented("RMDA"), unimplemented("XSEM"), unimplemented("XSEN"),
];

/// The methods of HTTP, none of which is a verb of FTP.
const HTTP_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Returns `true` if a line is the first of an HTTP request. A web page can make a browser send a request to any port,
/// with further lines that are commands.
#[must_use]
pub fn is_http_request(line: &[u8]) -> bool {
    split_word(line).is_some_and(|(method, rest)| {
        let known = HTTP_METHODS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(method));
        known
            && rest.trim_ascii().rsplit(|byte| *byte == b' ').next().is_some_and(|version| {
                version.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"))
            })
    })
}

/// The reason why a line is not a command that can be served.
#[derive(Debug, Clone, Copy)]
pub enum Unserved {
    /// The table has no row for the verb: 500.
    Unknown,
    /// The row has no parser: 502.
    NotImplemented,
    /// The parser rejected the argument.
    Argument(&'static Verb, ArgumentError),
}

impl Verb {
    /// Finds the row of a verb, in upper or lower case.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        VERBS.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Splits a line into the row of its verb and the argument after it.
    pub fn split(line: &[u8]) -> Result<(&'static Self, Argument<'_>), Unserved> {
        // Some clients send a space before the verb, which has no meaning.
        let line = line.trim_ascii_start();
        let (name, argument) =
            split_word(line).map_or((line, None), |(name, rest)| (name, Some(rest)));
        let row = Self::find(name).ok_or(Unserved::Unknown)?;
        if row.is_implemented() {
            Ok((row, Argument(argument)))
        } else {
            Err(Unserved::NotImplemented)
        }
    }

    /// Parses the argument of a line of this verb.
    pub fn parse(&'static self, argument: Argument<'_>) -> Result<Command, Unserved> {
        let parse = self.parse.ok_or(Unserved::NotImplemented)?;
        parse(argument).map_err(|error| Unserved::Argument(self, error))
    }

    /// Returns the verb with the form of its argument, for replies.
    #[must_use]
    pub fn syntax(&self) -> String {
        match self.name {
            "SITE" => site::syntax(),
            name => format!("{name} {}", self.argument).trim_end().to_owned(),
        }
    }

    /// Returns `true` if the verb is served, not only answered with 502.
    #[must_use]
    pub fn is_implemented(&self) -> bool {
        self.parse.is_some()
    }
}

impl Command {
    /// Parses a line of the control connection.
    pub fn parse(line: &[u8]) -> Result<Self, Unserved> {
        let (row, argument) = Verb::split(line)?;
        row.parse(argument)
    }

    /// Returns the permission that a command needs because of its argument, besides the one in its verb's row: SITE and
    /// STAT are each several commands in one row.
    #[must_use]
    pub fn permission(&self) -> Option<Permission> {
        match self {
            Self::Status(Some(_)) => Some(List),
            Self::Site(site) => site.permission(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ftp::address::Protocol;
    use crate::ftp::command::{
        ExtendedPassive, Mechanism, Mode, Password, PathName, ProtectionLevel, Range, Selection,
        Setting, Site, Type,
    };
    use crate::ftp::time::TimeValue;

    #[test]
    fn each_verb_has_one_row() {
        for (number, row) in VERBS.iter().enumerate() {
            let first = VERBS.iter().position(|other| other.name == row.name);
            assert_eq!(first, Some(number), "{}", row.name);
            assert_eq!(row.name, row.name.to_ascii_uppercase());
        }
    }

    #[test]
    fn every_verb_of_the_rfcs_is_known() {
        let rfc959 = "USER PASS ACCT CWD CDUP SMNT REIN QUIT PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR \
                      RNTO ABOR DELE RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP";
        let later = "XCWD XCUP XPWD XMKD XRMD AUTH ADAT PROT PBSZ CCC MIC CONF ENC FEAT OPTS EPRT EPSV LANG MDTM SIZE MLST \
                     MLSD HOST MFMT MFCT MFF HASH RANG XCRC XMD5 XSHA1 XSHA256 AVBL CSID RMDA";
        for name in rfc959.split_ascii_whitespace().chain(later.split_ascii_whitespace()) {
            assert!(Verb::find(name.to_ascii_lowercase().as_bytes()).is_some(), "{name}");
        }
    }

    /// An independent list, so that the test does not compare the table with itself.
    #[test]
    fn only_these_are_open_to_strangers() {
        let open =
            "USER PASS ACCT AUTH PBSZ PROT CCC HOST REIN QUIT FEAT OPTS CLNT LANG SYST HELP NOOP";
        for row in VERBS.iter().filter(|row| row.is_implemented()) {
            let listed = open.split(' ').any(|name| name == row.name);
            assert_eq!(row.access == Anyone, listed, "{}", row.name);
        }
    }

    #[test]
    fn only_these_keep_the_state_that_was_left_for_a_transfer() {
        let keep = "PBSZ PROT TYPE STRU MODE PORT EPRT PASV EPSV REST RANG ALLO NOOP";
        for row in VERBS {
            let listed = keep.split(' ').any(|name| name == row.name);
            assert_eq!(row.pending == Keeps, listed, "{}", row.name);
        }
    }

    #[test]
    fn every_verb_that_changes_something_asks_for_a_permission() {
        for name in
            ["STOR", "STOU", "APPE", "DELE", "RNFR", "RNTO", "MKD", "XMKD", "RMD", "XRMD", "MFMT"]
        {
            let may = Verb::find(name.as_bytes()).unwrap().may;
            assert!(!matches!(may, None | Some(Read | List)), "{name}");
        }
    }

    #[test]
    fn the_protocol_page_names_every_verb_that_is_served_and_no_other() {
        let page = include_str!("../../docs/protocol.md");
        let section = page.split("\n## Commands").nth(1).unwrap().split("\n## ").next().unwrap();
        let table = section.split("```text").nth(1).unwrap().split("```").next().unwrap();
        let mut told: Vec<&str> = table.split_ascii_whitespace().collect();
        let mut served: Vec<&str> =
            VERBS.iter().filter(|row| row.is_implemented()).map(|row| row.name).collect();
        told.sort_unstable();
        served.sort_unstable();
        assert_eq!(told, served);
    }

    /// The verbs of TLS, which transcripts do not play: `tests/it/tls.rs` does.
    const OF_TLS: &str = "PBSZ PROT CCC";

    #[test]
    fn a_transcript_plays_every_verb_and_site_command_that_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
        let files = std::fs::read_dir(folder).unwrap();
        let text: String =
            files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("C: ").or_else(|| line.strip_prefix("C+: ")))
            .collect();
        let verbs = VERBS.iter().filter(|row| row.is_implemented()).map(|row| row.name.to_owned());
        let sites = site::served().map(|row| format!("SITE {}", row.name));
        for name in verbs.chain(sites).filter(|name| !OF_TLS.contains(name.as_str())) {
            let is_played = lines.iter().any(|line| {
                let rest = line.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            assert!(is_played, "no transcript has {name}");
        }
    }

    #[test]
    fn the_protocol_page_names_every_site_command() {
        let page = include_str!("../../docs/protocol.md");
        let row = page.lines().find(|line| line.starts_with("| `SITE` |")).unwrap();
        for command in site::SITE_COMMANDS {
            assert!(row.contains(command.name), "{}: {row}", command.name);
        }
    }

    fn refused(line: &str) -> ArgumentError {
        match Command::parse(line.as_bytes()) {
            Err(Unserved::Argument(_, error)) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_request_by_http_is_known_by_its_method_and_its_version() {
        for line in ["GET / HTTP/1.1", "post /a?b HTTP/1.0", "OPTIONS * HTTP/1.1 "] {
            assert!(is_http_request(line.as_bytes()), "{line}");
        }
        for line in ["GET a", "RETR a HTTP/1.1", "POST", "", "HTTP/1.1"] {
            assert!(!is_http_request(line.as_bytes()), "{line}");
        }
        assert!(HTTP_METHODS.iter().all(|method| Verb::find(method.as_bytes()).is_none()));
    }

    #[test]
    fn bad_arguments_are_told_apart() {
        for line in [
            "RETR",
            "RETR ",
            "CWD a\rb",
            "REST -1",
            "REST 1x",
            "REST 99999999999999999999",
            "TYPE X",
            "EPSV x",
            "MFMT 2026 a",
            "SITE CHMOD 9 a",
            "ALLO x",
            "PORT 1,2,3",
        ] {
            assert_eq!(refused(line), ArgumentError::Malformed, "{line}");
        }
        for line in ["TYPE E", "TYPE L 7", "TYPE A C", "MODE C", "STRU R", "STRU P"] {
            assert_eq!(refused(line), ArgumentError::Unsupported, "{line}");
        }
        assert_eq!(refused("EPSV 3"), ArgumentError::Protocol);
        assert!(matches!(Command::parse(b"FOO"), Err(Unserved::Unknown)));
        assert!(matches!(Command::parse(b""), Err(Unserved::Unknown)));
        assert!(matches!(Command::parse(b"smnt x"), Err(Unserved::NotImplemented)));
    }

    #[test]
    fn flags_are_flags_and_names_with_spaces_are_names() {
        let select = |line: &str| match Command::parse(line.as_bytes()) {
            Ok(Command::List(selection)) => selection,
            other => panic!("{other:?}"),
        };
        let path = |name: &str| Some(PathName(name.into()));
        assert_eq!(
            select("LIST -la"),
            Selection { hidden: true, long: true, ..Selection::default() }
        );
        assert_eq!(
            select("LIST -a -l a b "),
            Selection { hidden: true, long: true, path: path("a b "), ..Selection::default() }
        );
        assert_eq!(
            select("LIST -alnR"),
            Selection { hidden: true, long: true, recursive: true, ..Selection::default() }
        );
        assert_eq!(select("LIST -- -x"), Selection { path: path("-x"), ..Selection::default() });
        assert_eq!(select("list"), Selection::default());
    }

    #[test]
    fn a_range_stands_behind_a_path_in_quotes_or_a_word() {
        let read = |line: &str| match Command::parse(line.as_bytes()) {
            Ok(Command::Checksum { path, from, to, .. }) => {
                Some((String::from_utf8(path.0).unwrap(), from, to))
            }
            Err(_) => None,
            other => panic!("{other:?}"),
        };
        let expect = |path: &str, from, to| Some((path.to_owned(), from, to));
        assert_eq!(read("XCRC a b"), expect("a b", 0, None));
        assert_eq!(read("XCRC a 5"), expect("a", 5, None));
        assert_eq!(read("XCRC \"a 5\""), expect("a 5", 0, None));
        assert_eq!(read("XCRC \"a \"\"\" 0 9"), expect("a \"", 0, Some(9)));
        assert_eq!(read("XCRC \"a\" x"), None);
        assert_eq!(read("XCRC \"a"), None);
        assert_eq!(refused("RANG 5 4"), ArgumentError::Malformed);
    }

    fn path() -> impl Strategy<Value = PathName> {
        proptest::collection::vec(
            any::<u8>().prop_filter("refused in names", |byte| !b"\r\n\0".contains(byte)),
            1..30,
        )
        .prop_map(PathName)
    }

    fn without_argument() -> Vec<Command> {
        vec![
            Command::Account,
            Command::Reinitialize,
            Command::Quit,
            Command::Authenticate(Mechanism::Tls),
            Command::Authenticate(Mechanism::WithData),
            Command::ProtectionBuffer,
            Command::Protect(ProtectionLevel::Clear),
            Command::Protect(ProtectionLevel::Private),
            Command::Protect(ProtectionLevel::Other),
            Command::ClearCommandChannel,
            Command::ChangeToParent,
            Command::PrintDirectory,
            Command::Type(Type::Ascii),
            Command::Type(Type::Image),
            Command::Structure,
            Command::Mode(Mode::Stream),
            Command::Mode(Mode::Block),
            Command::Passive,
            Command::ExtendedPassive(ExtendedPassive::Any),
            Command::ExtendedPassive(ExtendedPassive::All),
            Command::ExtendedPassive(ExtendedPassive::Only(Protocol::Ipv6)),
            Command::StoreUnique(None),
            Command::Allocate(7),
            Command::Features,
            Command::Set(Setting::Utf8),
            Command::Set(Setting::Facts("size;".to_owned())),
            Command::Set(Setting::Hash(None)),
            Command::Set(Setting::Hash(Some("MD5".to_owned()))),
            Command::Range(None),
            Command::Range(Some(Range { first: 1, last: 1 })),
            Command::Available(None),
            Command::System,
            Command::Help(None),
            Command::Help(Some("RETR".to_owned())),
            Command::Noop,
            Command::Abort,
            Command::Host("example.net".to_owned()),
            Command::Language(None),
            Command::ClientName,
            Command::Site(Site::Help),
            Command::MachineList(None),
            Command::MachineListDirectory(None),
            Command::Status(None),
        ]
    }

    fn command() -> impl Strategy<Value = Command> {
        let socket = any::<([u8; 4], u16)>()
            .prop_map(|(ip, port)| (std::net::IpAddr::from(ip), port).into());
        let socket6 = any::<([u8; 16], u16)>()
            .prop_map(|(ip, port)| (std::net::IpAddr::from(ip), port).into());
        let selection = (any::<[bool; 4]>(), proptest::option::of("[^\r\n\0 -][^\r\n\0]{0,20}"))
            .prop_map(|([hidden, long, itself, recursive], path)| Selection {
                hidden,
                long,
                itself,
                recursive,
                path: path.map(|path| PathName(path.into_bytes())),
            });
        let time = TimeValue::parse(b"20261122161139").unwrap();
        prop_oneof![
            path().prop_map(|PathName(name)| Command::User(name)),
            path().prop_map(|PathName(password)| Command::Password(Password(password.into()))),
            proptest::sample::select(without_argument()),
            path().prop_map(Command::ChangeDirectory),
            path().prop_map(Command::Retrieve),
            path().prop_map(Command::Store),
            path().prop_map(Command::Append),
            path().prop_map(|path| Command::StoreUnique(Some(path))),
            path().prop_map(Command::Delete),
            path().prop_map(Command::Hash),
            (0..5_usize, path(), 0..9_u64, proptest::option::of(0..9_u64)).prop_map(
                |(algorithm, path, from, to)| Command::Checksum {
                    algorithm: Algorithm::ALL[algorithm],
                    path,
                    from,
                    to
                }
            ),
            path().prop_map(Command::RenameFrom),
            path().prop_map(Command::RenameTo),
            path().prop_map(Command::MakeDirectory),
            path().prop_map(Command::RemoveDirectory),
            path().prop_map(Command::Size),
            path().prop_map(Command::ModificationTime),
            path().prop_map(|path| Command::MachineListDirectory(Some(path))),
            path().prop_map(|path| Command::MachineList(Some(path))),
            selection
                .clone()
                .prop_filter("STAT alone is another command", |selection| *selection
                    != Selection::default())
                .prop_map(|selection| Command::Status(Some(selection))),
            path().prop_map(move |path| Command::SetModificationTime { time, path }),
            (0_u32..0o10000, path())
                .prop_map(|(mode, path)| Command::Site(Site::ChangeMode { mode, path })),
            selection.clone().prop_map(Command::List),
            selection.prop_map(Command::NameList),
            (0..i64::MAX.cast_unsigned()).prop_map(Command::Restart),
            socket.prop_map(Command::Port),
            socket6.prop_map(Command::ExtendedPort),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(command in command()) {
            let mut buffer = crate::ftp::line::LineBuffer::default();
            buffer.extend(&command.encode());
            buffer.extend(b"\r\n");
            let Some(crate::ftp::line::Line::Complete(line)) = buffer.next_line() else { panic!("no line") };
            prop_assert_eq!(Command::parse(&line).map_err(|error| format!("{error:?}")), Ok(command));
        }

        #[test]
        fn no_line_panics(row in 0..VERBS.len(), argument: Vec<u8>) {
            let _read = Command::parse(&[VERBS[row].name.as_bytes(), b" ", &argument].concat());
            let _read = Command::parse(&argument);
        }
    }
}
