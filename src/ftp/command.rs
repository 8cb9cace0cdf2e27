//! Commands: a verb with its parsed argument. The server reads commands, the client writes them.

use std::fmt;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::address::{self, Protocol, decimal, extended_port, host_port};

use super::argument::split_word;
pub use super::argument::{Argument, ArgumentError, PathName};
use super::checksum::Algorithm;
use super::line::append_escaped;
use super::path::unquote;
pub use super::selection::Selection;
pub use super::site::Site;
use super::time::TimeValue;

/// A password. Its `Debug` does not show it, so it cannot get into a log, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The representation type (RFC 959 §3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Type {
    /// A: lines end with CRLF on the wire. The default of a new session.
    #[default]
    Ascii,
    /// I, and L 8, which is equal to I here.
    Image,
}

/// The framing of data (RFC 959 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// S: the end of the data is the end of the connection. The default of a new session.
    #[default]
    Stream,
    /// B: blocks, over a connection that stays open.
    Block,
}

/// The mechanism that AUTH requests (RFC 4217 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `TLS`, `TLS-C`: data is sent in plain until PROT.
    Tls,
    /// `SSL`, `TLS-P`: data is sent over TLS, too, as older clients expect.
    WithData,
}

/// The protection level that PROT requests (RFC 2228 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectionLevel {
    /// C.
    Clear,
    /// P.
    Private,
    /// S and E, which TLS does not provide (RFC 4217 §9).
    Other,
}

/// The request of EPSV (RFC 2428 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedPassive {
    /// A port for the protocol of the control connection.
    Any,
    /// A port for this protocol.
    Only(Protocol),
    /// Refuses all other commands for data connections from now on.
    All,
}

/// The setting that OPTS changes (RFC 2389 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `UTF8 ON`, `UTF-8 NLST` and the like: names are UTF-8, as they always are.
    Utf8,
    /// `MLST facts`.
    Facts(String),
    /// `HASH algorithm`; without an algorithm, a query for the current one.
    Hash(Option<String>),
}

/// A range of bytes of a file (RANG): the first and the last byte, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says it")]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

/// A command: one variant for each.
#[expect(
    missing_docs,
    reason = "the verb table, `ftp::verb::VERBS`, tells each with its verb and argument"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    User(Vec<u8>),
    Password(Password),
    Authenticate(Mechanism),
    ProtectionBuffer,
    Protect(ProtectionLevel),
    ClearCommandChannel,
    Account,
    Reinitialize,
    Quit,
    ChangeDirectory(PathName),
    ChangeToParent,
    PrintDirectory,
    Type(Type),
    Structure,
    Mode(Mode),
    Port(SocketAddr),
    ExtendedPort(SocketAddr),
    Passive,
    ExtendedPassive(ExtendedPassive),
    Retrieve(PathName),
    Store(PathName),
    /// The name that the file should have, if the client gives one.
    StoreUnique(Option<PathName>),
    Append(PathName),
    Restart(u64),
    /// `None` cancels an earlier range.
    Range(Option<Range>),
    Hash(PathName),
    /// The checksum of the bytes from `from` up to `to`, which is excluded.
    Checksum {
        algorithm: Algorithm,
        path: PathName,
        from: u64,
        to: Option<u64>,
    },
    Available(Option<PathName>),
    Allocate(u64),
    Delete(PathName),
    RenameFrom(PathName),
    RenameTo(PathName),
    MakeDirectory(PathName),
    RemoveDirectory(PathName),
    List(Selection),
    NameList(Selection),
    MachineList(Option<PathName>),
    MachineListDirectory(Option<PathName>),
    Status(Option<Selection>),
    Size(PathName),
    ModificationTime(PathName),
    SetModificationTime {
        time: TimeValue,
        path: PathName,
    },
    Features,
    Set(Setting),
    System,
    Help(Option<String>),
    Noop,
    Abort,
    Host(String),
    Language(Option<String>),
    Site(Site),
    ClientName,
}

impl Argument<'_> {
    /// Accepts verbs without argument; an argument is ignored, as every server does.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "one shape for all parsers of the table"
    )]
    pub(super) fn none(self, command: Command) -> Result<Command, ArgumentError> {
        Ok(command)
    }

    pub(super) fn optional_selection(self) -> Result<Option<Selection>, ArgumentError> {
        if self.0.is_none_or(<[u8]>::is_empty) { Ok(None) } else { self.selection().map(Some) }
    }

    pub(super) fn selection(self) -> Result<Selection, ArgumentError> {
        Selection::parse(self.0)
    }

    /// Parses `n` or `n R n`.
    pub(super) fn allocation(self) -> Result<Command, ArgumentError> {
        let mut words = self.bytes()?.split(|byte| *byte == b' ');
        let size = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(size), None, None, None) => decimal(size),
            (Some(size), Some(b"R" | b"r"), Some(record), None) => {
                decimal::<u64>(record).and_then(|_| decimal(size))
            }
            _ => None,
        };
        size.map(Command::Allocate).ok_or(ArgumentError::Malformed)
    }

    pub(super) fn representation(self) -> Result<Command, ArgumentError> {
        let word = self.word()?.to_ascii_uppercase();
        match word.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            ["A" | "AN"] | ["A", "N"] => Ok(Command::Type(Type::Ascii)),
            ["I" | "L8"] | ["L", "8"] => Ok(Command::Type(Type::Image)),
            ["E" | "L"] | ["A", "T" | "C"] | ["E", "N" | "T" | "C"] => {
                Err(ArgumentError::Unsupported)
            }
            ["L", bits] if decimal::<u8>(bits.as_bytes()).is_some() => {
                Err(ArgumentError::Unsupported)
            }
            _ => Err(ArgumentError::Malformed),
        }
    }

    pub(super) fn mode(self) -> Result<Command, ArgumentError> {
        match self.word()?.to_ascii_uppercase().as_str() {
            "S" => Ok(Command::Mode(Mode::Stream)),
            "B" => Ok(Command::Mode(Mode::Block)),
            "C" | "Z" => Err(ArgumentError::Unsupported),
            _ => Err(ArgumentError::Malformed),
        }
    }

    pub(super) fn mechanism(self) -> Result<Command, ArgumentError> {
        match self.word()?.to_ascii_uppercase().as_str() {
            "TLS" | "TLS-C" => Ok(Command::Authenticate(Mechanism::Tls)),
            "SSL" | "TLS-P" => Ok(Command::Authenticate(Mechanism::WithData)),
            _ => Err(ArgumentError::Unsupported),
        }
    }

    pub(super) fn protection_level(self) -> Result<Command, ArgumentError> {
        match self.word()?.to_ascii_uppercase().as_str() {
            "C" => Ok(Command::Protect(ProtectionLevel::Clear)),
            "P" => Ok(Command::Protect(ProtectionLevel::Private)),
            "S" | "E" => Ok(Command::Protect(ProtectionLevel::Other)),
            _ => Err(ArgumentError::Unsupported),
        }
    }

    /// Parses one letter: the supported one, or one of those that are known.
    pub(super) fn letter(
        self,
        done: &str,
        known: &[&str],
        command: Command,
    ) -> Result<Command, ArgumentError> {
        let word = self.word()?;
        if word.eq_ignore_ascii_case(done) {
            Ok(command)
        } else if known.iter().any(|known| word.eq_ignore_ascii_case(known)) {
            Err(ArgumentError::Unsupported)
        } else {
            Err(ArgumentError::Malformed)
        }
    }

    pub(super) fn host_port(self) -> Result<SocketAddr, ArgumentError> {
        address::parse_host_port(self.bytes()?.trim_ascii()).ok_or(ArgumentError::Malformed)
    }

    pub(super) fn extended_port(self) -> Result<SocketAddr, ArgumentError> {
        address::parse_extended_port(self.bytes()?.trim_ascii()).map_err(|error| match error {
            address::ExtendedPortError::Malformed => ArgumentError::Malformed,
            address::ExtendedPortError::Protocol => ArgumentError::Protocol,
        })
    }

    pub(super) fn extended_passive(self) -> Result<ExtendedPassive, ArgumentError> {
        let Some(word) = self.optional_word()? else { return Ok(ExtendedPassive::Any) };
        if word.eq_ignore_ascii_case("ALL") {
            return Ok(ExtendedPassive::All);
        }
        match Protocol::from_number(word.as_bytes()) {
            Some(protocol) => Ok(ExtendedPassive::Only(protocol)),
            None if decimal::<u32>(word.as_bytes()).is_some() => Err(ArgumentError::Protocol),
            None => Err(ArgumentError::Malformed),
        }
    }

    /// Parses `first last` of RANG; `1 0` cancels a range.
    pub(super) fn range(self) -> Result<Command, ArgumentError> {
        let (first, last) = split_word(self.bytes()?).ok_or(ArgumentError::Malformed)?;
        let number = |digits| Argument(Some(digits)).offset();
        match (number(first)?, number(last)?) {
            (1, 0) => Ok(Command::Range(None)),
            (first, last) if first <= last => Ok(Command::Range(Some(Range { first, last }))),
            _ => Err(ArgumentError::Malformed),
        }
    }

    /// Parses `path`, or `"path" [from [to]]`, or, if only numbers follow its first word, `path from [to]`.
    pub(super) fn checksum(self, algorithm: Algorithm) -> Result<Command, ArgumentError> {
        let bytes = self.bytes()?;
        let whole = (bytes.to_vec(), [].as_slice());
        let (path, rest) = if bytes.starts_with(b"\"") {
            unquote(bytes).ok_or(ArgumentError::Malformed)?
        } else {
            split_word(bytes).map_or(whole, |(path, rest)| (path.to_vec(), rest))
        };
        let numbers: Option<Vec<u64>> =
            rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(decimal).collect();
        let path = Argument(Some(&path)).path()?;
        let (path, from, to) = match numbers.as_deref() {
            Some([]) => (path, 0, None),
            Some([from]) => (path, *from, None),
            Some([from, to]) => (path, *from, Some(*to)),
            _ if bytes.starts_with(b"\"") => return Err(ArgumentError::Malformed),
            _ => (self.path()?, 0, None),
        };
        Ok(Command::Checksum { algorithm, path, from, to })
    }

    /// Parses `time path` of MFMT.
    pub(super) fn time_and_path(self) -> Result<(TimeValue, PathName), ArgumentError> {
        let (time, path) = split_word(self.bytes()?).ok_or(ArgumentError::Malformed)?;
        Ok((TimeValue::parse(time).ok_or(ArgumentError::Malformed)?, Argument(Some(path)).path()?))
    }

    pub(super) fn setting(self) -> Result<Command, ArgumentError> {
        let text = self.word()?;
        let (option, value) = text.split_once(' ').unwrap_or((&text, ""));
        match option.to_ascii_uppercase().as_str() {
            "UTF8" | "UTF-8" => Ok(Command::Set(Setting::Utf8)),
            "HASH" if value.is_empty() => Ok(Command::Set(Setting::Hash(None))),
            "HASH" => Ok(Command::Set(Setting::Hash(Some(value.to_owned())))),
            "MLST" => Ok(Command::Set(Setting::Facts(value.to_owned()))),
            _ => Err(ArgumentError::Malformed),
        }
    }
}

impl Command {
    /// Returns the path of the file or directory that the command names, for the event of a refusal.
    #[must_use]
    #[expect(
        clippy::match_same_arms,
        reason = "the compiler asks for a new command, and rustfmt keeps these lines short"
    )]
    pub fn path(&self) -> Option<&PathName> {
        match self {
            Self::ChangeDirectory(path)
            | Self::Retrieve(path)
            | Self::Store(path)
            | Self::Append(path)
            | Self::Hash(path)
            | Self::Checksum { path, .. }
            | Self::Delete(path)
            | Self::RenameFrom(path)
            | Self::RenameTo(path)
            | Self::MakeDirectory(path)
            | Self::RemoveDirectory(path)
            | Self::Size(path)
            | Self::ModificationTime(path)
            | Self::SetModificationTime { path, .. } => Some(path),
            Self::Site(site) => site.path(),
            Self::StoreUnique(path)
            | Self::Available(path)
            | Self::MachineList(path)
            | Self::MachineListDirectory(path) => path.as_ref(),
            Self::List(selection) | Self::NameList(selection) | Self::Status(Some(selection)) => {
                selection.path.as_ref()
            }
            Self::User(_) | Self::Password(_) | Self::Account | Self::Host(_) => None,
            Self::Authenticate(_) | Self::ProtectionBuffer | Self::Protect(_) => None,
            Self::ClearCommandChannel | Self::Reinitialize | Self::Quit => None,
            Self::ChangeToParent | Self::PrintDirectory => None,
            Self::Type(_) | Self::Structure | Self::Mode(_) => None,
            Self::Port(_) | Self::ExtendedPort(_) | Self::Passive => None,
            Self::ExtendedPassive(_) | Self::Restart(_) | Self::Range(_) => None,
            Self::Allocate(_) | Self::Status(None) | Self::Features | Self::Set(_) => None,
            Self::System | Self::Help(_) | Self::Noop | Self::Abort => None,
            Self::Language(_) | Self::ClientName => None,
        }
    }

    /// Encodes the command for the wire, without line end; Telnet's 0xFF is doubled.
    #[must_use]
    #[rustfmt::skip]
    #[expect(clippy::too_many_lines, reason = "one line a command")]
    pub fn encode(&self) -> Vec<u8> {
        let line = match self {
            Self::User(name) => with("USER", name),
            Self::Authenticate(Mechanism::Tls) => with("AUTH", b"TLS"),
            Self::Authenticate(Mechanism::WithData) => with("AUTH", b"TLS-P"),
            Self::ProtectionBuffer => with("PBSZ", b"0"),
            Self::Protect(ProtectionLevel::Clear) => with("PROT", b"C"),
            Self::Protect(ProtectionLevel::Private) => with("PROT", b"P"),
            Self::Protect(ProtectionLevel::Other) => with("PROT", b"S"),
            Self::ClearCommandChannel => with("CCC", b""),
            Self::Password(Password(password)) => with("PASS", password),
            Self::Account => with("ACCT", b"none"),
            Self::Reinitialize => "REIN".into(),
            Self::Quit => "QUIT".into(),
            Self::ChangeDirectory(path) => with("CWD", &path.0),
            Self::ChangeToParent => "CDUP".into(),
            Self::PrintDirectory => "PWD".into(),
            Self::Type(Type::Ascii) => "TYPE A".into(),
            Self::Type(Type::Image) => "TYPE I".into(),
            Self::Structure => "STRU F".into(),
            Self::Mode(Mode::Stream) => "MODE S".into(),
            Self::Mode(Mode::Block) => "MODE B".into(),
            Self::Port(address) => match address {
                SocketAddr::V4(address) => format!("PORT {}", host_port(*address.ip(), address.port())).into(),
                SocketAddr::V6(_) => format!("EPRT {}", extended_port(*address)).into(),
            },
            Self::ExtendedPort(address) => format!("EPRT {}", extended_port(*address)).into(),
            Self::Passive => "PASV".into(),
            Self::ExtendedPassive(ExtendedPassive::Any) => "EPSV".into(),
            Self::ExtendedPassive(ExtendedPassive::Only(protocol)) => format!("EPSV {protocol}").into(),
            Self::ExtendedPassive(ExtendedPassive::All) => "EPSV ALL".into(),
            Self::Retrieve(path) => with("RETR", &path.0),
            Self::Store(path) => with("STOR", &path.0),
            Self::StoreUnique(path) => optional("STOU", path.as_ref()),
            Self::Append(path) => with("APPE", &path.0),
            Self::Restart(offset) => format!("REST {offset}").into(),
            Self::Range(Some(Range { first, last })) => format!("RANG {first} {last}").into(),
            Self::Range(None) => "RANG 1 0".into(),
            Self::Hash(path) => with("HASH", &path.0),
            Self::Checksum { algorithm, path, from, to } => checksum(*algorithm, &path.0, *from, *to),
            Self::Available(path) => optional("AVBL", path.as_ref()),
            Self::Set(Setting::Hash(None)) => "OPTS HASH".into(),
            Self::Set(Setting::Hash(Some(name))) => format!("OPTS HASH {name}").into(),
            Self::Allocate(size) => format!("ALLO {size}").into(),
            Self::Delete(path) => with("DELE", &path.0),
            Self::RenameFrom(path) => with("RNFR", &path.0),
            Self::RenameTo(path) => with("RNTO", &path.0),
            Self::MakeDirectory(path) => with("MKD", &path.0),
            Self::RemoveDirectory(path) => with("RMD", &path.0),
            Self::List(selection) => select("LIST", selection),
            Self::NameList(selection) => select("NLST", selection),
            Self::MachineList(path) => optional("MLST", path.as_ref()),
            Self::MachineListDirectory(path) => optional("MLSD", path.as_ref()),
            Self::Status(None) => "STAT".into(),
            Self::Status(Some(selection)) => select("STAT", selection),
            Self::Size(path) => with("SIZE", &path.0),
            Self::ModificationTime(path) => with("MDTM", &path.0),
            Self::SetModificationTime { time, path } => with(&format!("MFMT {time}"), &path.0),
            Self::Features => "FEAT".into(),
            Self::Set(Setting::Utf8) => "OPTS UTF8 ON".into(),
            Self::Set(Setting::Facts(facts)) => format!("OPTS MLST {facts}").into(),
            Self::System => "SYST".into(),
            Self::Help(None) => "HELP".into(),
            Self::Help(Some(verb)) => format!("HELP {verb}").into(),
            Self::Noop => "NOOP".into(),
            Self::Abort => "ABOR".into(),
            Self::Host(name) => format!("HOST {name}").into(),
            Self::Language(None) => "LANG".into(),
            Self::Language(Some(tag)) => format!("LANG {tag}").into(),
            Self::Site(site) => site.encode(),
            Self::ClientName => "CLNT poolftpd".into(),
        };
        let mut escaped = Vec::with_capacity(line.len());
        append_escaped(&mut escaped, &line);
        escaped
    }
}

/// Encodes a checksum command. The path is quoted, because numbers may follow it.
fn checksum(algorithm: Algorithm, path: &[u8], from: u64, to: Option<u64>) -> Vec<u8> {
    let mut line = format!("{} \"", algorithm.verb()).into_bytes();
    for byte in path {
        line.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
    }
    line.push(b'"');
    match to {
        Some(to) => line.extend_from_slice(format!(" {from} {to}").as_bytes()),
        None if from > 0 => line.extend_from_slice(format!(" {from}").as_bytes()),
        None => {}
    }
    line
}

fn with(verb: &str, argument: &[u8]) -> Vec<u8> {
    [verb.as_bytes(), b" ", argument].concat()
}

fn optional(verb: &str, path: Option<&PathName>) -> Vec<u8> {
    path.map_or_else(|| verb.into(), |path| with(verb, &path.0))
}

fn select(verb: &str, selection: &Selection) -> Vec<u8> {
    let mut line = verb.as_bytes().to_vec();
    selection.encode(&mut line);
    line
}
