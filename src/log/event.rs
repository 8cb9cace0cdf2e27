//! The events, and the line of each. Names and lines of clients are escaped, so no client can forge a line.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::ftp::VirtualPath;
use crate::ftp::path::Escaped;

/// Number of bytes that are logged of a long name or line, at its beginning and at its end.
const HEAD_BYTES: usize = 256;
const TAIL_BYTES: usize = 128;

/// The amount that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// `-q`: only errors and warnings.
    Quiet,
    /// Connections, logins, transfers, refusals.
    #[default]
    Normal,
    /// `-v`: also each command and reply.
    Verbose,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quiet" => Ok(Self::Quiet),
            "normal" => Ok(Self::Normal),
            "verbose" => Ok(Self::Verbose),
            _ => Err(format!("'{text}' is none of quiet, normal, verbose")),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Quiet => "quiet",
            Self::Normal => "normal",
            Self::Verbose => "verbose",
        })
    }
}

/// The session that an event belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// The session's number, from 1 on.
    pub session: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The slave that serves the session, if there are slaves.
    pub slave: Option<u32>,
}

impl fmt::Display for Who {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(slave) = self.slave {
            write!(formatter, "slave={slave} ")?;
        }
        write!(formatter, "session={} peer={}", self.session, self.peer)
    }
}

/// The outcome of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All data was transferred.
    Complete,
    /// The data connection ended in order, and no sign contradicts that all data came.
    AssumedComplete,
    /// The client sent ABOR.
    Aborted,
    /// The data connection broke or stalled, or the upload is incomplete.
    CutOff,
    /// A file could not be read or written, or the data connection could not be opened.
    Failed,
}

/// A transfer that has ended.
#[derive(Debug)]
pub struct TransferEvent {
    /// The verb: RETR, STOR, …
    pub verb: &'static str,
    /// The path of the file or directory.
    pub path: VirtualPath,
    /// Number of bytes over the data connection.
    pub bytes: u64,
    /// Time from the 150 to the end.
    pub took: Duration,
    /// The outcome.
    pub outcome: Outcome,
}

/// An event that can be logged.
#[derive(Debug)]
#[expect(missing_docs, reason = "each name says it")]
pub enum Event<'a> {
    Listening {
        address: SocketAddr,
        slave: Option<u32>,
    },
    /// The sandbox of the process.
    Sandboxed {
        is_root: bool,
        landlock: bool,
    },
    Connect,
    Login {
        user: &'a [u8],
    },
    LoginFailed {
        user: &'a [u8],
        why: &'a str,
    },
    Transfer(&'a TransferEvent),
    /// An upload is incomplete; `kept` bytes can be resumed from.
    CutOff {
        why: &'a str,
        kept: u64,
    },
    /// Old partial uploads were removed.
    PartialsRemoved {
        count: u64,
    },
    /// The name of the public address has a new address.
    PublicAddress {
        name: &'a str,
        address: Ipv4Addr,
    },
    /// Users and certificates were read again (SIGHUP).
    Reloaded {
        users: usize,
        certificates: usize,
        /// The settings that have changed.
        settings: &'a [String],
        /// The users whose homes cannot be reached.
        unreachable: &'a [Vec<u8>],
    },
    /// A setting that an administrator should change.
    Warning {
        what: &'a str,
        why: &'a str,
    },
    CertificateExpires {
        file: &'a Path,
        at: Timestamp,
        days: i64,
    },
    NotReloaded {
        what: &'a str,
    },
    /// A connection of a client was refused.
    Refused {
        peer: SocketAddr,
        why: &'a str,
    },
    /// A data connection was refused; `from` is its other end, if that is not the client.
    DataRefused {
        from: Option<SocketAddr>,
        why: &'a str,
    },
    Command {
        line: &'a [u8],
    },
    Reply {
        line: &'a [u8],
    },
    Activity {
        from: &'a str,
        to: &'a str,
    },
    Disconnect {
        why: &'a str,
        seconds: u64,
    },
    Error {
        what: &'a str,
        error: &'a io::Error,
    },
    Stopping {
        sessions: usize,
    },
    Stopped {
        in_time: bool,
    },
}

/// The value of `level=` in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warn,
    Info,
    Debug,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl Event<'_> {
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::Error { .. } | Self::NotReloaded { .. } => Severity::Error,
            Self::Warning { .. }
            | Self::CertificateExpires { .. }
            | Self::Sandboxed { is_root: true, .. } => Severity::Warn,
            Self::Reloaded { unreachable, .. } if !unreachable.is_empty() => Severity::Warn,
            Self::Command { .. } | Self::Reply { .. } | Self::Activity { .. } => Severity::Debug,
            _ => Severity::Info,
        }
    }

    /// Returns the smallest amount of logging that includes this event.
    pub(super) fn level(&self) -> Level {
        match self.severity() {
            Severity::Error | Severity::Warn => Level::Quiet,
            Severity::Info => Level::Normal,
            Severity::Debug => Level::Verbose,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { address, slave: None } => {
                write!(formatter, "event=listening address={address}")
            }
            Self::Listening { address, slave: Some(slave) } => {
                write!(formatter, "event=listening address={address} slave={slave}")
            }
            Self::Sandboxed { is_root, landlock } => {
                write!(formatter, "event=sandboxed keeps_root={is_root} landlock={landlock}")?;
                let advice = " advice=\"use --user NAME to give up root\"";
                if *is_root { formatter.write_str(advice) } else { Ok(()) }
            }
            Self::Connect => write!(formatter, "event=connect"),
            Self::Login { user } => write!(formatter, "event=login user=\"{}\"", Shortened(user)),
            Self::LoginFailed { user, why } => {
                let user = Shortened(user);
                write!(formatter, "event=login-failed user=\"{user}\" reason=\"{why}\"")
            }
            Self::Transfer(transfer) => write!(formatter, "{transfer}"),
            Self::PartialsRemoved { count } => {
                write!(formatter, "event=partial-uploads-removed count={count}")
            }
            Self::CutOff { why, kept } => {
                write!(formatter, "event=cut-off kept_bytes={kept} reason=\"{why}\"")
            }
            Self::PublicAddress { name, address } => {
                write!(formatter, "event=public-address name={name} address={address}")
            }
            Self::Reloaded { users, certificates, settings, unreachable } => {
                write!(formatter, "event=reloaded users={users} certificates={certificates}")?;
                write_reloaded(formatter, settings, unreachable)
            }
            Self::Warning { what, why } => {
                let why = Escaped(why.as_bytes());
                write!(formatter, "event=warning message=\"{what}\" reason=\"{why}\"")
            }
            Self::CertificateExpires { file, at, days } => write!(
                formatter,
                "event=certificate-expires file=\"{}\" at={at} days={days} advice=\"renew the certificate and reload\"",
                Escaped(file.as_os_str().as_encoded_bytes())
            ),
            Self::NotReloaded { what } => {
                write!(formatter, "event=not-reloaded reason=\"{}\"", Escaped(what.as_bytes()))
            }
            Self::Refused { peer, why } => {
                write!(formatter, "event=connection-refused peer={peer} reason=\"{why}\"")
            }
            Self::DataRefused { from, why } => write_data_refused(formatter, *from, why),
            Self::Command { line } => {
                write!(formatter, "event=command line=\"{}\"", Shortened(without_password(line)))
            }
            Self::Reply { line } => write!(formatter, "event=reply line=\"{}\"", Shortened(line)),
            Self::Activity { from, to } => {
                write!(formatter, "event=activity from=\"{from}\" to=\"{to}\"")
            }
            Self::Disconnect { why, seconds } => {
                write!(formatter, "event=disconnect seconds={seconds} reason=\"{why}\"")
            }
            Self::Error { what, error } => {
                write!(formatter, "event=error message=\"{what}\" reason=\"{error}\"")
            }
            Self::Stopping { sessions } => write!(formatter, "event=stopping sessions={sessions}"),
            Self::Stopped { in_time } => write!(formatter, "event=stopped in_time={in_time}"),
        }
    }
}

/// Writes the refusal of a data connection, with its other end if that is not the client.
fn write_data_refused(
    formatter: &mut fmt::Formatter<'_>,
    from: Option<SocketAddr>,
    why: &str,
) -> fmt::Result {
    formatter.write_str("event=data-connection-refused")?;
    if let Some(from) = from {
        write!(formatter, " data_peer={from}")?;
    }
    write!(formatter, " reason=\"{why}\"")
}

/// Writes the users whose homes cannot be reached.
fn write_unreachable(formatter: &mut fmt::Formatter<'_>, users: &[Vec<u8>]) -> fmt::Result {
    let names: Vec<String> = users.iter().map(|name| Escaped(name).to_string()).collect();
    write!(
        formatter,
        " unreachable=\"{}\" advice=\"restart the server, or start it with --allow DIR for their homes\"",
        Shortened(names.join(",").as_bytes())
    )
}

impl fmt::Display for TransferEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, path, bytes, took, outcome } = self;
        let outcome = match outcome {
            Outcome::Complete => "complete",
            Outcome::Aborted => "aborted",
            Outcome::AssumedComplete => "\"assumed complete\"",
            Outcome::CutOff => "\"cut off\"",
            Outcome::Failed => "failed",
        };
        let seconds = took.as_secs_f64();
        write!(
            formatter,
            "event=transfer verb={verb} path=\"{}\" bytes={bytes} seconds={seconds:.3} outcome={outcome}",
            Shortened(path.as_bytes())
        )
    }
}

/// Returns a command line without what may be a password: the arguments of PASS, ACCT and SITE PSWD.
fn without_password(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_start();
    let begins_with = |words: &[u8]| {
        line.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
    };
    if begins_with(b"PASS") {
        b"PASS ***"
    } else if begins_with(b"ACCT") {
        b"ACCT ***"
    } else if begins_with(b"SITE") && contains_word(line, b"PSWD") {
        b"SITE PSWD ***"
    } else {
        line
    }
}

/// Writes the changed settings, and the users whose homes cannot be reached.
fn write_reloaded(
    formatter: &mut fmt::Formatter<'_>,
    settings: &[String],
    unreachable: &[Vec<u8>],
) -> fmt::Result {
    if !settings.is_empty() {
        write!(formatter, " settings=\"{}\"", Escaped(settings.join("; ").as_bytes()))?;
    }
    if unreachable.is_empty() { Ok(()) } else { write_unreachable(formatter, unreachable) }
}

/// Returns whether a line contains a word, ignoring case.
fn contains_word(line: &[u8], word: &[u8]) -> bool {
    line.split(u8::is_ascii_whitespace).any(|found| found.eq_ignore_ascii_case(word))
}

/// A name or line of a client, cut in the middle if it is long. The end stays, because it identifies the file.
struct Shortened<'a>(&'a [u8]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let ends = bytes.len().checked_sub(TAIL_BYTES).filter(|tail| *tail > HEAD_BYTES);
        match ends.and_then(|tail| Some((bytes.get(..HEAD_BYTES)?, bytes.get(tail..)?))) {
            None => Escaped(bytes).fmt(formatter),
            Some((head, tail)) => write!(formatter, "{}...{}", Escaped(head), Escaped(tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_forges_a_line_and_no_password_is_told() {
        let forged = Event::LoginFailed { user: b"x\"\r\n2026 event=login", why: "incorrect" };
        assert_eq!(
            forged.to_string(),
            "event=login-failed user=\"x\\\"\\u{d}\\u{a}2026 event=login\" reason=\"incorrect\""
        );
        for line in [
            "PASS secret",
            "pass secret",
            "  PASS secret",
            "PASSsecret",
            "acct secret",
            "SITE PSWD old secret",
            "site  pswd secret",
        ] {
            assert!(
                !Event::Command { line: line.as_bytes() }.to_string().contains("secret"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_long_name_is_cut_in_the_middle() {
        let name = [b"head".as_slice(), &[b'x'; 4000], b"tail"].concat();
        let text = Event::Login { user: &name }.to_string();
        assert!(text.len() < 500 && text.contains("\"head") && text.ends_with("tail\""), "{text}");
        assert!(text.contains("x...x"), "{text}");
        let whole = vec![b'x'; HEAD_BYTES + TAIL_BYTES];
        assert!(!Event::Login { user: &whole }.to_string().contains("..."));
    }
}
