//! The events: what happened, with typed fields. One name means one field, in all events and all formats.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::ftp::VirtualPath;

use super::facts::{BannedTarget, Change, Denial, LoginFailure, Refused, TransferEvent};
use super::field::{Value, Visit};

/// The weight of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something failed that should not.
    Error,
    /// Something that an administrator should change.
    Warn,
    /// Connections, logins, transfers, changes, refusals.
    Info,
    /// Each command and reply.
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

/// The names of all events, for settings that choose some.
pub const EVENT_NAMES: &[&str] = &[
    "listening",
    "sandboxed",
    "connect",
    "probe",
    "probes",
    "login",
    "login-failed",
    "banned",
    "transfer",
    "deleted",
    "renamed",
    "directory-made",
    "directory-removed",
    "mode-set",
    "time-set",
    "denied",
    "cut-off",
    "infected",
    "partial-uploads-removed",
    "public-address",
    "root-unavailable",
    "root-available",
    "reloaded",
    "warning",
    "certificate-expires",
    "not-reloaded",
    "admin",
    "connection-refused",
    "data-connection-refused",
    "command",
    "reply",
    "activity",
    "disconnect",
    "error",
    "log-lines-lost",
    "replaced",
    "stopping",
    "stopped",
];

/// An event.
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
    /// A client has gone, or was sent away, without a command.
    Probe {
        seconds: u64,
        reason: &'a str,
    },
    Login {
        user: &'a [u8],
    },
    LoginFailed {
        user: &'a [u8],
        reason: &'a str,
        cause: LoginFailure,
    },
    /// A lockout has begun.
    Banned {
        target: BannedTarget,
        /// The last user name that was tried.
        user: &'a [u8],
        failures: u32,
        duration: Duration,
    },
    Transfer(&'a TransferEvent),
    Changed(&'a Change),
    Denied(Denial<'a>),
    /// An upload is incomplete; `kept` bytes can be resumed from.
    CutOff {
        reason: &'a str,
        kept: u64,
    },
    /// An upload was refused, because the scanner has found this signature in it.
    Infected {
        path: &'a VirtualPath,
        signature: &'a str,
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
    /// A root or a mount cannot be served any more.
    RootUnavailable {
        directory: &'a Path,
        reason: &'a str,
    },
    /// A root or a mount can be served again.
    RootAvailable {
        directory: &'a Path,
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
        message: &'a str,
        reason: &'a str,
    },
    CertificateExpires {
        file: &'a Path,
        at: Timestamp,
        days: i64,
    },
    NotReloaded {
        reason: &'a str,
    },
    /// An administrator has used `ftpserver ctl`.
    Admin {
        command: &'a str,
        /// The user ID, as the kernel reports it.
        by: Option<u32>,
        done: bool,
    },
    /// A connection of a client was refused.
    Refused {
        peer: SocketAddr,
        reason: &'a str,
        cause: Refused,
    },
    /// A data connection was refused; `from` is its other end, if that is not the client.
    DataRefused {
        from: Option<SocketAddr>,
        reason: &'a str,
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
        reason: &'a str,
        seconds: u64,
        /// True if the client has tried to log in.
        logs_in: bool,
    },
    Error {
        message: &'a str,
        error: &'a io::Error,
    },
    /// Connections of an address that ended without a login attempt and were not logged one by one.
    Probes {
        address: IpAddr,
        count: u64,
    },
    /// Lines that an output of the log could not take.
    LogLinesLost {
        count: u64,
    },
    /// A successor has taken the place of the server, which finishes its sessions.
    Replaced {
        sessions: usize,
    },
    Stopping {
        sessions: usize,
    },
    Stopped {
        in_time: bool,
    },
}

impl Event<'_> {
    /// Returns the weight of the event.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Error { .. } | Self::NotReloaded { .. } | Self::RootUnavailable { .. } => {
                Severity::Error
            }
            Self::Warning { .. }
            | Self::CertificateExpires { .. }
            | Self::Banned { .. }
            | Self::Infected { .. }
            | Self::LogLinesLost { .. }
            | Self::Sandboxed { is_root: true, .. } => Severity::Warn,
            Self::Reloaded { unreachable, .. } if !unreachable.is_empty() => Severity::Warn,
            Self::Command { .. } | Self::Reply { .. } | Self::Activity { .. } => Severity::Debug,
            _ => Severity::Info,
        }
    }

    /// Returns the name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listening { .. } => "listening",
            Self::Sandboxed { .. } => "sandboxed",
            Self::Connect => "connect",
            Self::Probe { .. } => "probe",
            Self::Login { .. } => "login",
            Self::LoginFailed { .. } => "login-failed",
            Self::Banned { .. } => "banned",
            Self::Transfer(_) => "transfer",
            Self::Changed(change) => change.name(),
            Self::Denied(_) => "denied",
            Self::CutOff { .. } => "cut-off",
            Self::Infected { .. } => "infected",
            Self::PartialsRemoved { .. } => "partial-uploads-removed",
            Self::PublicAddress { .. } => "public-address",
            Self::RootUnavailable { .. } => "root-unavailable",
            Self::RootAvailable { .. } => "root-available",
            Self::Reloaded { .. } => "reloaded",
            Self::Warning { .. } => "warning",
            Self::CertificateExpires { .. } => "certificate-expires",
            Self::NotReloaded { .. } => "not-reloaded",
            Self::Admin { .. } => "admin",
            Self::Refused { .. } => "connection-refused",
            Self::DataRefused { .. } => "data-connection-refused",
            Self::Command { .. } => "command",
            Self::Reply { .. } => "reply",
            Self::Activity { .. } => "activity",
            Self::Disconnect { .. } => "disconnect",
            Self::Error { .. } => "error",
            Self::Probes { .. } => "probes",
            Self::LogLinesLost { .. } => "log-lines-lost",
            Self::Replaced { .. } => "replaced",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
        }
    }

    /// Passes each field to `visit`, in the order of a line of the log. Values that may be passwords are left out.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each event: the compiler names a missing one"
    )]
    pub fn fields(&self, visit: &mut Visit<'_>) {
        match self {
            Self::Connect => {}
            Self::Listening { address, slave } => {
                visit("address", Value::Endpoint(*address));
                if let Some(slave) = slave {
                    visit("slave", Value::Number((*slave).into()));
                }
            }
            Self::Sandboxed { is_root, landlock } => {
                visit("keeps_root", Value::Flag(*is_root));
                visit("landlock", Value::Flag(*landlock));
                if *is_root {
                    visit("advice", Value::Text("use --user NAME to give up root"));
                }
            }
            Self::Login { user } => visit("user", Value::Client(user)),
            Self::LoginFailed { user, reason, cause } => {
                visit("user", Value::Client(user));
                visit("reason", Value::Text(reason));
                visit("cause", Value::Word(cause.name()));
            }
            Self::Banned { target, user, failures, duration } => {
                banned_fields(*target, user, *failures, *duration, visit);
            }
            Self::Transfer(transfer) => transfer.fields(visit),
            Self::Changed(change) => change.fields(visit),
            Self::Denied(denial) => denial.fields(visit),
            Self::CutOff { reason, kept } => {
                visit("kept_bytes", Value::Number(*kept));
                visit("reason", Value::Text(reason));
            }
            Self::Infected { path, signature } => {
                visit("path", Value::Client(path.as_bytes()));
                visit("signature", Value::Text(signature));
            }
            Self::PartialsRemoved { count } | Self::LogLinesLost { count } => {
                visit("count", Value::Number(*count));
            }
            Self::PublicAddress { name, address } => {
                visit("name", Value::Word(name));
                visit("address", Value::Address((*address).into()));
            }
            Self::RootUnavailable { directory, reason } => {
                visit("directory", Value::File(directory.as_os_str().as_encoded_bytes()));
                visit("reason", Value::Text(reason));
            }
            Self::RootAvailable { directory } => {
                visit("directory", Value::File(directory.as_os_str().as_encoded_bytes()));
            }
            Self::Reloaded { users, certificates, settings, unreachable } => {
                visit("users", Value::Number(*users as u64));
                visit("certificates", Value::Number(*certificates as u64));
                reloaded_fields(settings, unreachable, visit);
            }
            Self::Warning { message, reason } => {
                visit("message", Value::Text(message));
                visit("reason", Value::Text(reason));
            }
            Self::CertificateExpires { file, at, days } => {
                visit("file", Value::File(file.as_os_str().as_encoded_bytes()));
                visit("at", Value::Time(*at));
                visit("days", Value::Signed(*days));
                visit("advice", Value::Text("renew the certificate and reload"));
            }
            Self::NotReloaded { reason } => visit("reason", Value::Text(reason)),
            Self::Admin { command, by, done } => {
                visit("command", Value::Client(command.as_bytes()));
                if let Some(by) = by {
                    visit("uid", Value::Number((*by).into()));
                }
                visit("done", Value::Flag(*done));
            }
            Self::Refused { peer, reason, cause } => {
                visit("peer", Value::Endpoint(*peer));
                visit("reason", Value::Text(reason));
                visit("cause", Value::Word(cause.name()));
            }
            Self::DataRefused { from, reason } => {
                if let Some(from) = from {
                    visit("data_peer", Value::Endpoint(*from));
                }
                visit("reason", Value::Text(reason));
            }
            Self::Command { line } => visit("line", Value::Client(without_password(line))),
            Self::Reply { line } => visit("line", Value::Client(line)),
            Self::Activity { from, to } => {
                visit("from", Value::Text(from));
                visit("to", Value::Text(to));
            }
            Self::Probe { seconds, reason } | Self::Disconnect { reason, seconds, .. } => {
                visit("seconds", Value::Seconds(Duration::from_secs(*seconds)));
                visit("reason", Value::Text(reason));
            }
            Self::Error { message, error } => {
                visit("message", Value::Text(message));
                visit("reason", Value::Text(&error.to_string()));
            }
            Self::Probes { address, count } => {
                visit("address", Value::Address(*address));
                visit("count", Value::Number(*count));
            }
            Self::Replaced { sessions } | Self::Stopping { sessions } => {
                visit("sessions", Value::Number(*sessions as u64));
            }
            Self::Stopped { in_time } => visit("in_time", Value::Flag(*in_time)),
        }
    }
}

fn banned_fields(
    target: BannedTarget,
    user: &[u8],
    failures: u32,
    duration: Duration,
    visit: &mut Visit<'_>,
) {
    let kind = match target {
        BannedTarget::Address(address) => {
            visit("banned_address", Value::Address(address));
            "address"
        }
        BannedTarget::User => "user",
    };
    visit("banned", Value::Word(kind));
    visit("user", Value::Client(user));
    visit("failures", Value::Number(failures.into()));
    visit("seconds", Value::Seconds(duration));
}

/// Passes on the changed settings, and the users whose homes cannot be reached.
fn reloaded_fields(settings: &[String], unreachable: &[Vec<u8>], visit: &mut Visit<'_>) {
    if !settings.is_empty() {
        visit("settings", Value::Text(&settings.join("; ")));
    }
    if !unreachable.is_empty() {
        visit("unreachable", Value::Client(&unreachable.join(&b',')));
        let advice = "restart the server, or start it with --allow DIR for their homes";
        visit("advice", Value::Text(advice));
    }
}

/// Returns a command line without what may be a password: the arguments of PASS, ACCT and SITE PSWD.
#[must_use]
pub fn without_password(line: &[u8]) -> &[u8] {
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

/// Returns whether a line contains a word, ignoring case.
fn contains_word(line: &[u8], word: &[u8]) -> bool {
    line.split(u8::is_ascii_whitespace).any(|found| found.eq_ignore_ascii_case(word))
}
