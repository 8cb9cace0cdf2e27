//! Errors for the person at the terminal: a message, the server's reply, and advice on what to do next.

use std::fmt;
use std::io;
use std::path::Path;

use crate::ftp::path::Escaped;
use crate::ftp::{Code, Reply};
use crate::units;

/// Kind of an error, by who has to act. Its number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server refused a command.
    Refused = 1,
    /// The command line, or a command, cannot be understood.
    Usage = 2,
    /// No connection, or it was lost.
    NoConnection = 3,
    /// The server refused the user or password.
    Login = 4,
    /// TLS failed: the server does not offer it, or its certificate was not accepted.
    Tls = 5,
    /// A transfer did not complete; the bytes that arrived are kept.
    Incomplete = 6,
    /// A local file cannot be read or written.
    Local = 7,
    /// An interrupt by the user (Ctrl-C).
    Interrupted = 130,
}

/// An error, as one sentence.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each marks an error for another decision")]
pub struct ClientError {
    /// Kind of the error.
    pub kind: ErrorKind,
    message: String,
    more: String,
    /// The server's reply, if one caused the error.
    pub reply: Option<Reply>,
    /// Set if the command must not be retried: a retry cannot help, or was the last one allowed.
    pub(super) is_final: bool,
    /// Set if no connection to the port of the server was made.
    pub(super) is_unreached: bool,
    /// Set if the server has not executed the command: it never got the line, or closed the connection in its place.
    pub(super) is_unsent: bool,
    /// Set if all data moved and ended in order, and only the final reply is missing.
    pub(super) is_unconfirmed: bool,
    /// Set if the server sent a line that is no reply of FTP.
    pub(super) is_foreign: bool,
    /// A certificate that the user may accept for this server.
    certificate: Option<Box<Unaccepted>>,
}

/// A certificate that is not signed by a trusted authority for its server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unaccepted {
    /// Its SHA-256, in hexadecimal digits, for [`Trust::Pin`](super::Trust::Pin).
    pub fingerprint: String,
    /// The reason, as a sentence without its end.
    pub why: String,
}

impl ClientError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            more: String::new(),
            reply: None,
            is_final: false,
            is_unreached: false,
            is_unsent: false,
            is_unconfirmed: false,
            is_foreign: false,
            certificate: None,
        }
    }

    pub(super) fn refused(kind: ErrorKind, what: &str, reply: Reply) -> Self {
        Self::new(kind, what).answered(reply)
    }

    /// Adds the server's reply.
    pub(super) fn answered(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// Marks the error as final: it is not retried.
    pub(super) fn at_last(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// Marks the error of a port that was not reached.
    pub(super) fn unreached(self) -> Self {
        Self { is_unreached: true, ..self }
    }

    /// Marks the error as one of a command that the server has not executed.
    pub(super) fn unsent(self) -> Self {
        Self { is_unsent: true, ..self }
    }

    /// Names the certificate that was not accepted.
    pub(super) fn about_certificate(self, fingerprint: &str, why: &str) -> Self {
        let certificate = Unaccepted { fingerprint: fingerprint.to_owned(), why: why.to_owned() };
        Self { certificate: Some(Box::new(certificate)), ..self }
    }

    /// Returns the certificate of the server, if the connection failed because no trusted authority has signed it.
    #[must_use]
    pub fn unaccepted_certificate(&self) -> Option<&Unaccepted> {
        self.certificate.as_deref()
    }

    /// Marks the error as one of a transfer that lacks nothing but the final reply.
    pub(super) fn unconfirmed(self) -> Self {
        Self { is_unconfirmed: true, ..self }
    }

    /// Changes the kind, and appends text after the server's reply.
    pub(super) fn with(self, kind: ErrorKind, more: &str) -> Self {
        Self { kind, more: format!("{}{more}", self.more), ..self }
    }

    /// Reports a lost control connection.
    pub(super) fn lost(why: &str) -> Self {
        Self::new(ErrorKind::NoConnection, format!("connection lost: {why}"))
    }

    /// Reports a control connection over which another protocol than FTP came, with its first line.
    pub(super) fn foreign(line: &[u8]) -> Self {
        let (server, hint) = protocol(line);
        let what = format!("{server}: received \"{}\"{hint}", Escaped(line));
        Self { is_foreign: true, ..Self::lost(&what) }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    pub(super) fn local(path: &Path, error: &io::Error) -> Self {
        Self::new(
            ErrorKind::Local,
            format!("{}: {}", Escaped(path.as_os_str().as_encoded_bytes()), reason(error)),
        )
    }

    /// Returns true if the server refused with a permanent reply (5xx).
    pub(super) fn is_refused_for_good(&self) -> bool {
        let permanent = |reply: &Reply| !reply.code.is_transient();
        self.kind == ErrorKind::Refused && self.reply.as_ref().is_some_and(permanent)
    }

    /// Returns true if a retry may succeed: the connection was lost, or the server replied 4xx. A 5xx reply, a full
    /// disk, and errors of login, TLS or this machine are final.
    pub(super) fn is_worth_another_try(&self) -> bool {
        let code = self.reply.as_ref().map(|reply| reply.code);
        if self.is_final {
            return false;
        }
        let transient = code.is_none_or(|code| code.is_transient() && code != Code::NO_SPACE);
        match self.kind {
            ErrorKind::NoConnection | ErrorKind::Incomplete => transient,
            ErrorKind::Refused => code.is_some() && transient,
            ErrorKind::Usage
            | ErrorKind::Login
            | ErrorKind::Tls
            | ErrorKind::Local
            | ErrorKind::Interrupted => false,
        }
    }

    /// Returns true if the server has closed the connection with 421 in place of a greeting or another reply.
    pub(super) fn is_server_full(&self) -> bool {
        let code = self.reply.as_ref().map(|reply| reply.code);
        self.kind == ErrorKind::NoConnection && code == Some(Code::SERVICE_NOT_AVAILABLE)
    }

    /// Returns true if the control connection can no longer be used.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        self.kind == ErrorKind::NoConnection
    }

    /// Returns the exit status.
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

/// Returns a description of the server that sends this line, and the advice on what to use for it.
fn protocol(line: &[u8]) -> (&'static str, &'static str) {
    const SERVERS: [(&[u8], &str, &str); 8] = [
        (b"ssh-", "this is an SSH server, not an FTP server", ". For SFTP, use sftp or scp"),
        (b"http/", "this is a web server, not an FTP server", ". For HTTP, use curl or a browser"),
        (b"<", "this is a web server, not an FTP server", ". For HTTP, use curl or a browser"),
        (b"+ok", "this is a POP3 server, not an FTP server", ""),
        (b"* ok", "this is an IMAP server, not an FTP server", ""),
        (b"rfb ", "this is a VNC server, not an FTP server", ""),
        (b"@rsyncd:", "this is an rsync server, not an FTP server", ". Use rsync"),
        (b"\xff", "this is a Telnet server, not an FTP server", ""),
    ];
    let begins = |start: &[u8]| {
        line.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    let found = SERVERS.into_iter().find(|(start, ..)| begins(start));
    found.map_or(("not an FTP server", ""), |(_, server, hint)| (server, hint))
}

/// Describes an I/O error as [`units::reason`] does, but an expired deadline as `timed out`.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => units::reason(error),
    }
}
