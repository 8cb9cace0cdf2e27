//! The log: one line an event, on standard error, written by a thread of its own so that no worker waits for it.
//!
//! Everything that is logged is an [`Event`]. Names and words of clients are escaped: no client can forge a line.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::ftp::VirtualPath;
use crate::ftp::path::Escaped;

/// How many lines may wait for a standard error that is slow to take them; beyond, lines are lost, and counted.
const LINES_MAX: usize = 8192;

/// How long the last lines may take at the end.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `-q`: only what an administrator must see.
    Quiet,
    /// Connections, logins, transfers, refusals.
    Normal,
    /// `-v`: each command and reply, too.
    Verbose,
}

/// Whom an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// The session's number, from 1 on.
    pub session: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The slave that serves it, where there are slaves.
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

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// To its end.
    Complete,
    /// To the end of the data connection, and nothing says that this was not all.
    AssumedComplete,
    /// By the client's ABOR.
    Aborted,
    /// Because the data connection broke or stalled.
    CutOff,
    /// Because the file could not be read or written any further.
    Failed,
}

/// A transfer that has ended.
#[derive(Debug)]
pub struct TransferEvent {
    /// RETR, STOR, …
    pub verb: &'static str,
    /// What.
    pub path: VirtualPath,
    /// Bytes over the data connection.
    pub bytes: u64,
    /// From 150 to the end.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// What can be logged.
#[derive(Debug)]
#[allow(missing_docs, reason = "each name says it")]
pub enum Event<'a> {
    Listening {
        address: SocketAddr,
        slave: Option<u32>,
    },
    /// What the process has given up.
    Confined {
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
    /// An upload did not come whole; so many bytes are there to resume from.
    CutOff {
        why: &'a str,
        kept: u64,
    },
    /// Parts of uploads that were too old.
    Swept {
        count: u64,
    },
    /// The name of the public address has another one now.
    PublicAddress {
        name: &'a str,
        address: Ipv4Addr,
    },
    /// SIGHUP.
    Reloaded {
        users: usize,
    },
    NotReloaded {
        what: &'a str,
    },
    Refused {
        peer: SocketAddr,
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
    Trouble {
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

impl Event<'_> {
    fn level(&self) -> Level {
        match self {
            Self::Trouble { .. } | Self::NotReloaded { .. } => Level::Quiet,
            Self::Command { .. } | Self::Reply { .. } | Self::Activity { .. } => Level::Verbose,
            _ => Level::Normal,
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
            Self::Confined { is_root, landlock } => {
                write!(formatter, "event=confined root={is_root} landlock={landlock}")?;
                let advice = " advice=\"give up root by --user NAME\"";
                if *is_root { formatter.write_str(advice) } else { Ok(()) }
            }
            Self::Connect => write!(formatter, "event=connect"),
            Self::Login { user } => write!(formatter, "event=login user=\"{}\"", Escaped(user)),
            Self::LoginFailed { user, why } => {
                write!(formatter, "event=login-failed user=\"{}\" why=\"{why}\"", Escaped(user))
            }
            Self::Transfer(transfer) => write!(formatter, "{transfer}"),
            Self::Swept { count } => write!(formatter, "event=swept parts={count}"),
            Self::CutOff { why, kept } => {
                write!(formatter, "event=cut-off kept={kept} why=\"{why}\"")
            }
            Self::PublicAddress { name, address } => {
                write!(formatter, "event=public-address name={name} address={address}")
            }
            Self::Reloaded { users } => write!(formatter, "event=reloaded users={users}"),
            Self::NotReloaded { what } => {
                write!(formatter, "event=not-reloaded what=\"{}\"", Escaped(what.as_bytes()))
            }
            Self::Refused { peer, why } => {
                write!(formatter, "event=refused peer={peer} why=\"{why}\"")
            }
            Self::Command { line } => {
                write!(formatter, "event=command line=\"{}\"", Escaped(without_password(line)))
            }
            Self::Reply { line } => write!(formatter, "event=reply line=\"{}\"", Escaped(line)),
            Self::Activity { from, to } => write!(formatter, "event=activity [{from}] -> [{to}]"),
            Self::Disconnect { why, seconds } => {
                write!(formatter, "event=disconnect seconds={seconds} why=\"{why}\"")
            }
            Self::Trouble { what, error } => {
                write!(formatter, "event=trouble what=\"{what}\" error=\"{error}\"")
            }
            Self::Stopping { sessions } => write!(formatter, "event=stopping sessions={sessions}"),
            Self::Stopped { in_time } => write!(formatter, "event=stopped in_time={in_time}"),
        }
    }
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
            "event=transfer verb={verb} path=\"{path}\" bytes={bytes} seconds={seconds:.3} outcome={outcome}"
        )
    }
}

/// A command line without what stands behind PASS.
fn without_password(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_start();
    match line.split_at_checked(4) {
        Some((verb, _)) if verb.eq_ignore_ascii_case(b"PASS") => b"PASS ***",
        _ => line,
    }
}

/// Where events go.
#[derive(Debug)]
pub struct Log {
    level: Level,
    lines: Sender<String>,
    /// How many lines were lost since the last that was kept.
    lost: Mutex<u64>,
}

/// The thread that writes; ends when the last [`Log`] is dropped.
#[derive(Debug)]
pub struct Writer(Receiver<Infallible>);

impl Log {
    /// Starts the thread that writes to `out`.
    pub fn start(level: Level, mut out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (lines, receiver): (_, Receiver<String>) = bounded(LINES_MAX);
        let (alive, ended) = bounded(0);
        let write = move || {
            // Dropped at the end, by which the other side sees it.
            let _alive: Sender<Infallible> = alive;
            for line in receiver {
                // Nobody is left to be told that standard error is gone.
                let _written = out.write_all(line.as_bytes());
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((Self { level, lines, lost: Mutex::new(0) }, Writer(ended)))
    }

    /// Whether events of this level are kept, for those that cost something to make.
    #[must_use]
    pub fn keeps(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Logs what happened to a session.
    pub fn session(&self, who: Who, event: &Event<'_>) {
        if self.keeps(event.level()) {
            self.line(format_args!("{who} {event}"));
        }
    }

    /// Logs what happened to the server.
    pub fn server(&self, event: &Event<'_>) {
        if self.keeps(event.level()) {
            self.line(format_args!("{event}"));
        }
    }

    fn line(&self, text: fmt::Arguments<'_>) {
        let time = jiff::Timestamp::now();
        let mut lost = self.lost.lock();
        if *lost > 0
            && self.lines.try_send(format!("{time:.3} event=log-lines-lost count={lost}\n")).is_ok()
        {
            *lost = 0;
        }
        if self.lines.try_send(format!("{time:.3} {text}\n")).is_err() {
            *lost += 1;
        }
    }
}

impl Drop for Writer {
    /// Waits until everything is written, or for so long as a reader of standard error may be expected to take.
    fn drop(&mut self) {
        let _ended = self.0.recv_timeout(LAST_LINES_TIMEOUT);
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
            "event=login-failed user=\"x\\\"\\u{d}\\u{a}2026 event=login\" why=\"incorrect\""
        );
        for line in ["PASS secret", "pass secret", "  PASS secret", "PASSsecret"] {
            assert!(
                !Event::Command { line: line.as_bytes() }.to_string().contains("secret"),
                "{line}"
            );
        }
    }
}
