//! The facts of an event: the outcome of a transfer, a change of the tree, the reason of a refusal.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::ftp::VirtualPath;

use super::field::{Value, Visit};

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

impl Outcome {
    /// Returns the word of the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::AssumedComplete => "assumed complete",
            Self::Aborted => "aborted",
            Self::CutOff => "cut off",
            Self::Failed => "failed",
        }
    }

    /// Returns whether the whole file was transferred, as far as the server knows.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::AssumedComplete)
    }
}

/// The kind of data in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A file from the client.
    Upload,
    /// A file to the client.
    Download,
    /// A listing to the client.
    Listing,
}

/// A transfer that has ended.
#[derive(Debug)]
pub struct TransferEvent {
    /// The verb: RETR, STOR, …
    pub verb: &'static str,
    /// The kind of data.
    pub direction: Direction,
    /// The path of the file or directory.
    pub path: VirtualPath,
    /// Number of bytes over the data connection.
    pub bytes: u64,
    /// Time from the 150 to the end.
    pub took: Duration,
    /// The outcome.
    pub outcome: Outcome,
    /// The code of the last reply, if there was one.
    pub reply: Option<u16>,
    /// True for TYPE A.
    pub is_text: bool,
}

/// A change of the tree that a client made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file was deleted.
    Deleted(VirtualPath),
    /// A file or directory got another name.
    Renamed {
        /// The path before.
        from: VirtualPath,
        /// The path now.
        to: VirtualPath,
    },
    /// A directory was made.
    DirectoryMade(VirtualPath),
    /// A directory was removed.
    DirectoryRemoved(VirtualPath),
    /// A mode was set.
    ModeSet(VirtualPath, u32),
    /// A modification time was set.
    TimeSet(VirtualPath, Timestamp),
}

/// A command that was refused by a rule, a permission or a limit.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// The verb.
    pub verb: &'a str,
    /// The path of the file or directory, if the command names one.
    pub path: Option<&'a VirtualPath>,
    /// The code of the reply.
    pub reply: u16,
    /// The text of the reply.
    pub reason: &'a str,
}

/// The reason why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// The name or the password is wrong.
    Incorrect,
    /// The address or the user is locked out.
    LockedOut,
    /// The home cannot be opened.
    NoHome,
    /// The user has the maximum number of sessions.
    TooManySessions,
    /// The server is out of memory, or checks too many passwords.
    Overloaded,
    /// The authenticator does not answer as it should.
    Unverified,
}

impl LoginFailure {
    /// Returns the word of the log and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Incorrect => "incorrect",
            Self::LockedOut => "locked-out",
            Self::NoHome => "no-home",
            Self::TooManySessions => "sessions",
            Self::Overloaded => "overloaded",
            Self::Unverified => "unverified",
        }
    }
}

/// The reason why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The maximum number of clients is connected.
    Clients,
    /// The maximum number of clients from one address is connected.
    Address,
    /// The address has more than a quarter of all clients, and few descriptors are free.
    Descriptors,
    /// The maximum number of connections per minute from one address is reached.
    Frequency,
    /// No slave takes clients.
    NoSlave,
    /// An administrator has banned the address.
    Banned,
    /// The connection of a proxy does not begin with a PROXY header.
    ProxyHeader,
}

impl Refused {
    /// Returns the word of the log and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Address => "address",
            Self::Descriptors => "descriptors",
            Self::Frequency => "frequency",
            Self::NoSlave => "no-slave",
            Self::Banned => "banned",
            Self::ProxyHeader => "proxy-header",
        }
    }
}

/// The client or user that is locked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BannedTarget {
    /// All users from the client's address.
    Address(IpAddr),
    /// The user whose name the client sent, from all addresses or from the client's.
    User,
}

impl TransferEvent {
    pub(super) fn fields(&self, visit: &mut Visit<'_>) {
        let Self { verb, path, bytes, took, outcome, reply, .. } = self;
        visit("verb", Value::Word(verb));
        visit("path", Value::Client(path.as_bytes()));
        visit("bytes", Value::Number(*bytes));
        visit("seconds", Value::Seconds(*took));
        visit("outcome", Value::Word(outcome.name()));
        if let Some(reply) = reply {
            visit("reply", Value::Number((*reply).into()));
        }
    }
}

impl Change {
    /// Returns the name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deleted(_) => "deleted",
            Self::Renamed { .. } => "renamed",
            Self::DirectoryMade(_) => "directory-made",
            Self::DirectoryRemoved(_) => "directory-removed",
            Self::ModeSet(..) => "mode-set",
            Self::TimeSet(..) => "time-set",
        }
    }

    pub(super) fn fields(&self, visit: &mut Visit<'_>) {
        let path = match self {
            Self::Deleted(path)
            | Self::DirectoryMade(path)
            | Self::DirectoryRemoved(path)
            | Self::ModeSet(path, _)
            | Self::TimeSet(path, _)
            | Self::Renamed { from: path, .. } => path,
        };
        visit("path", Value::Client(path.as_bytes()));
        match self {
            Self::Renamed { to, .. } => visit("new_path", Value::Client(to.as_bytes())),
            Self::ModeSet(_, mode) => visit("mode", Value::Mode(*mode)),
            Self::TimeSet(_, time) => visit("modified", Value::Time(*time)),
            Self::Deleted(_) | Self::DirectoryMade(_) | Self::DirectoryRemoved(_) => {}
        }
    }
}

impl Denial<'_> {
    pub(super) fn fields(&self, visit: &mut Visit<'_>) {
        visit("verb", Value::Word(self.verb));
        if let Some(path) = self.path {
            visit("path", Value::Client(path.as_bytes()));
        }
        visit("reply", Value::Number(self.reply.into()));
        visit("reason", Value::Text(self.reason));
    }
}
