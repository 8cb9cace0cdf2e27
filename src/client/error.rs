//! What can go wrong for the person at the terminal: what happened, the server's own words, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;

use crate::ftp::Reply;
use crate::ftp::path::Escaped;
use crate::units;

/// Who has to act. Its number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server refused a command.
    Refused = 1,
    /// The command line, or a command, cannot be understood.
    Usage = 2,
    /// No connection, or it was lost.
    NoConnection = 3,
    /// The server does not want this user or password.
    Login = 4,
    /// TLS: the server has none, or is not who it should be.
    Tls = 5,
    /// A transfer did not come to its end; what arrived is kept.
    Incomplete = 6,
    /// A local file cannot be read or written.
    Local = 7,
    /// Ctrl-C.
    Interrupted = 130,
}

/// An error, as one sentence.
#[derive(Debug)]
pub struct ClientError {
    /// Who has to act.
    pub kind: Kind,
    message: String,
    more: String,
    /// The server's reply, if it was one.
    pub reply: Option<Reply>,
    /// Whether it was tried again already.
    pub(super) is_final: bool,
}

impl ClientError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), more: String::new(), reply: None, is_final: false }
    }

    pub(super) fn refused(kind: Kind, what: &str, reply: Reply) -> Self {
        Self {
            kind,
            message: what.to_owned(),
            more: String::new(),
            reply: Some(reply),
            is_final: false,
        }
    }

    /// With what the server said of it.
    pub(super) fn answered(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// Not to be tried once more.
    pub(super) fn at_last(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// Of another kind, with more to say behind the server's words.
    pub(super) fn with(self, kind: Kind, more: &str) -> Self {
        Self { kind, more: format!("{}{more}", self.more), ..self }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    pub(super) fn local(path: &Path, error: &io::Error) -> Self {
        Self::new(
            Kind::Local,
            format!("{}: {}", Escaped(path.as_os_str().as_encoded_bytes()), reason(error)),
        )
    }

    /// Whether the control connection can still be used.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        self.kind == Kind::NoConnection
    }

    /// The exit status.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.reply {
            None => Ok(()),
            Some(reply) => {
                write!(formatter, ": {} {}", reply.code, Escaped(reply.text().as_bytes()))
            }
        }?;
        formatter.write_str(&self.more)
    }
}

impl std::error::Error for ClientError {}

/// The same as [`units::reason`], for who waits with a deadline.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => units::reason(error),
    }
}
