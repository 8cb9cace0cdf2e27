//! Refused commands: every reason with its reply, and the table *errno → code*.

use std::io;

use rustix::io::Errno;

use crate::ftp::address::Protocol;
use crate::ftp::command::ArgumentError;
use crate::ftp::path::PathTooLong;
use crate::ftp::site;
use crate::ftp::verb::Unserved;
use crate::ftp::{Code, Reply};
use crate::net::connection_limits::NO_DESCRIPTORS;
use crate::net::copy::Fault;
use crate::storage::UploadError;

/// The text of the reply to a command that a permission refuses.
const PERMISSION_DENIED: &str = "Permission denied.";

/// The reason for refusing a command.
#[derive(Debug)]
pub(super) enum Refusal {
    LineTooLong,
    Unserved(Unserved),
    NotLoggedIn,
    LoginIncorrect,
    /// AUTH without certificates.
    NoTls,
    /// USER before AUTH, with `--require-tls`.
    LoginInTheClear,
    /// Data without PROT P, with `--require-tls`; or PROT C.
    DataInTheClear(Code),
    /// PROT S or E.
    ProtectionLevel,
    ClearCommandChannel,
    /// The password was right, but the home cannot be opened.
    NoHome(io::Error),
    /// The user has the maximum number of sessions.
    TooManySessions,
    /// The maximum number of passwords is being checked.
    TooManyLogins,
    /// Not enough memory to check the password.
    OutOfMemory,
    /// The authenticator does not answer as it should.
    Unverified,
    NotPermitted,
    /// HOST of a name that is not served (RFC 7151 §3.1).
    UnknownHost,
    OutOfSequence(&'static str),
    /// No PASV, EPSV, PORT or EPRT was received before.
    NoRoute,
    /// Another command than EPSV, after EPSV ALL (RFC 2428 §4).
    ExtendedPassiveOnly,
    /// PORT to another host than the client, or to a system port (RFC 2577 §3).
    ForeignAddress,
    /// PASV on an IPv6 connection: its reply cannot contain an IPv6 address.
    PassiveNeedsIpv4,
    /// EPSV or EPRT for another protocol than the control connection's.
    OtherProtocol(Protocol),
    NoPassivePort(io::Error),
    /// Few descriptors are free, and the client's address has more than a quarter of all clients.
    FewDescriptors,
    /// REST beyond the end of the file, or in TYPE A.
    Marker(&'static str),
    /// Another upload to this name is in progress.
    UploadUnderWay,
    /// SIZE of, or APPE to, a file that a partial upload is to replace: the command may mean either.
    UploadInterrupted,
    /// RANG, or the range of XCRC, beyond the end of the file.
    RangeBeyondEnd,
    /// OPTS HASH with an unknown algorithm.
    UnknownAlgorithm,
    NotAFile,
    NotADirectory,
    /// MLSD of something that is not a directory (RFC 3659 §7.2.1).
    MachineListOfFile,
    SizeInAscii,
    UnknownLanguage,
    /// MDTM with an invalid time before the name.
    NoSuchTime,
    TheRootItself,
    PathTooLong,
    /// The file system does not respond.
    StorageSilent,
    /// The file system has not responded to earlier commands of this user.
    StorageBusy,
    Storage(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<PathTooLong> for Refusal {
    fn from(_: PathTooLong) -> Self {
        Self::PathTooLong
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Busy => Self::UploadUnderWay,
            UploadError::BeyondEnd => Self::Marker("REST is beyond the end of the stored data."),
            UploadError::Interrupted => Self::UploadInterrupted,
            UploadError::Io(error) => Self::Storage(error),
        }
    }
}

impl From<Unserved> for Refusal {
    fn from(unserved: Unserved) -> Self {
        Self::Unserved(unserved)
    }
}

impl Refusal {
    /// Returns the reply.
    #[rustfmt::skip]
    pub(super) fn reply(&self) -> Reply {
        let (code, text) = match self {
            Self::LineTooLong => (Code::UNKNOWN_COMMAND, "Line too long."),
            Self::Unserved(unserved) => return unserved_reply(*unserved),
            Self::NotLoggedIn => (Code::NOT_LOGGED_IN, "Please log in with USER and PASS."),
            Self::LoginIncorrect => (Code::NOT_LOGGED_IN, "Login incorrect."),
            Self::NoHome(_) => (Code::NOT_LOGGED_IN, "Your home directory is not available."),
            Self::TooManySessions => (Code::NOT_LOGGED_IN, "Too many sessions for this user."),
            Self::TooManyLogins => (Code::NOT_LOGGED_IN, "Too many logins at once; try again later."),
            Self::OutOfMemory => (Code::NOT_LOGGED_IN, "Out of memory; try again later."),
            Self::Unverified => (Code::NOT_LOGGED_IN, "Logins cannot be verified now; try again later."),
            Self::NoTls => (Code::NOT_IMPLEMENTED, "TLS is not configured."),
            Self::LoginInTheClear => (Code::NOT_LOGGED_IN, "TLS is required; send AUTH TLS first."),
            Self::DataInTheClear(code) => (*code, "TLS is required for data connections; send PBSZ 0 and PROT P."),
            Self::ProtectionLevel => (Code::LEVEL_NOT_SUPPORTED, "Only PROT C and PROT P are supported."),
            Self::ClearCommandChannel => (Code::DENIED_BY_POLICY, "CCC is not allowed; the control connection stays encrypted."),
            Self::UnknownHost => (Code::NOT_IMPLEMENTED_FOR_ARGUMENT, "Unknown host."),
            Self::NotPermitted => (Code::UNAVAILABLE, PERMISSION_DENIED),
            Self::OutOfSequence(what) => (Code::BAD_SEQUENCE, *what),
            Self::NoRoute => (Code::DATA_CONNECTION_FAILED, "Use PASV, EPSV, PORT or EPRT first."),
            Self::ExtendedPassiveOnly => (Code::BAD_SEQUENCE, "Only EPSV is allowed after EPSV ALL."),
            Self::ForeignAddress => (Code::NOT_IMPLEMENTED_FOR_ARGUMENT, "Only your own address and ports from 1024 are allowed."),
            Self::PassiveNeedsIpv4 => (Code::DATA_CONNECTION_FAILED, "PASV does not support IPv6; use EPSV."),
            Self::OtherProtocol(Protocol::Ipv4) => (Code::UNSUPPORTED_PROTOCOL, "Network protocol not supported, use (1)"),
            Self::OtherProtocol(Protocol::Ipv6) => (Code::UNSUPPORTED_PROTOCOL, "Network protocol not supported, use (2)"),
            Self::NoPassivePort(error) if error.kind() == io::ErrorKind::AddrInUse => (Code::DATA_CONNECTION_FAILED, "No passive port is free; try again later."),
            Self::NoPassivePort(error) if error.kind() == io::ErrorKind::QuotaExceeded => (Code::DATA_CONNECTION_FAILED, "Too many passive ports are open; try again later."),
            Self::FewDescriptors => (Code::DATA_CONNECTION_FAILED, NO_DESCRIPTORS),
            Self::NoPassivePort(_) => (Code::DATA_CONNECTION_FAILED, "Out of resources; try again later."),
            Self::Marker(what) => (Code::BAD_MARKER, *what),
            Self::UploadUnderWay => (Code::BUSY, "Another upload of this file is in progress; try again later."),
            Self::UploadInterrupted => (Code::UNAVAILABLE, "An upload of this file was interrupted or is in progress; repeat it with STOR."),
            Self::RangeBeyondEnd => (Code::BAD_MARKER, "The range is beyond the end of the file."),
            Self::UnknownAlgorithm => (Code::BAD_ARGUMENT, "Unknown algorithm; FEAT lists the supported ones."),
            Self::NotAFile => (Code::UNAVAILABLE, "Not a regular file."),
            Self::NotADirectory => (Code::UNAVAILABLE, "Not a directory."),
            Self::MachineListOfFile => (Code::BAD_ARGUMENT, "Not a directory; use MLST."),
            Self::SizeInAscii => (Code::UNAVAILABLE, "SIZE is not available in TYPE A; use TYPE I."),
            Self::UnknownLanguage => (Code::NOT_IMPLEMENTED_FOR_ARGUMENT, "Only EN is supported."),
            Self::NoSuchTime => (Code::BAD_ARGUMENT, "Invalid time."),
            Self::TheRootItself => (Code::UNAVAILABLE, "Not allowed for the root directory."),
            Self::PathTooLong => (Code::BAD_NAME, "Path too long."),
            Self::StorageSilent => (Code::LOCAL_ERROR, "The file system does not respond; the result is unknown."),
            Self::StorageBusy => (Code::BUSY, "The file system has not responded to earlier commands; try again later."),
            Self::Storage(error) => storage(error),
        };
        Reply::new(code, text)
    }

    /// Returns whether a rule, a permission or a limit has refused the command, and not the state of the tree or of the
    /// session.
    pub(super) fn is_denial(&self) -> bool {
        match self {
            Self::NotPermitted
            | Self::TheRootItself
            | Self::LoginInTheClear
            | Self::DataInTheClear(_)
            | Self::ForeignAddress => true,
            Self::Storage(error) => {
                let (code, text) = storage(error);
                text == PERMISSION_DENIED || code == Code::NO_SPACE || code == Code::EXCEEDED
            }
            _ => false,
        }
    }

    /// Returns the error for the log, if the client must not see its details.
    pub(super) fn trouble(&self) -> Option<&io::Error> {
        match self {
            Self::NoPassivePort(error) if error.kind() == io::ErrorKind::QuotaExceeded => None,
            Self::NoPassivePort(error) | Self::NoHome(error) => Some(error),
            Self::Storage(error) if storage(error).0 == Code::LOCAL_ERROR => Some(error),
            _ => None,
        }
    }
}

fn unserved_reply(unserved: Unserved) -> Reply {
    let (code, text) = match unserved {
        Unserved::Unknown => (Code::UNKNOWN_COMMAND, "Command not understood.".to_owned()),
        Unserved::NotImplemented => (Code::NOT_IMPLEMENTED, "Command not implemented.".to_owned()),
        Unserved::Argument(verb, error) => match error {
            ArgumentError::Malformed => (Code::BAD_ARGUMENT, format!("Syntax: {}", verb.syntax())),
            ArgumentError::Unsupported => (
                Code::NOT_IMPLEMENTED_FOR_ARGUMENT,
                format!("{} does not support this argument.", verb.name),
            ),
            ArgumentError::Protocol => {
                (Code::UNSUPPORTED_PROTOCOL, "Network protocol not supported, use (1,2)".to_owned())
            }
            ArgumentError::UnknownSite => (
                Code::UNKNOWN_COMMAND,
                format!("SITE command not understood; use {}.", site::names()),
            ),
            ArgumentError::ForeignSite(name) => (
                Code::NOT_IMPLEMENTED_FOR_ARGUMENT,
                format!("SITE {name} is not implemented; use {}.", site::names()),
            ),
        },
    };
    Reply::new(code, text)
}

/// Maps a storage error to a reply: errno → code. No text contains a real path.
#[rustfmt::skip]
fn storage(error: &io::Error) -> (Code, &'static str) {
    let Some(errno) = Errno::from_io_error(error) else {
        // `cap-std` refuses a path that leaves the root with an error of its own.
        return match error.kind() {
            io::ErrorKind::PermissionDenied => (Code::UNAVAILABLE, PERMISSION_DENIED),
            _ => (Code::LOCAL_ERROR, "Local error in processing."),
        };
    };
    match errno {
        Errno::NOENT => (Code::UNAVAILABLE, "No such file or directory."),
        Errno::NOTDIR => (Code::UNAVAILABLE, "Not a directory."),
        Errno::ISDIR => (Code::UNAVAILABLE, "Is a directory."),
        Errno::NXIO | Errno::NODEV => (Code::UNAVAILABLE, "Not a regular file."),
        Errno::EXIST => (Code::UNAVAILABLE, "Already exists."),
        Errno::NOTEMPTY => (Code::UNAVAILABLE, "Directory not empty."),
        Errno::ACCESS | Errno::PERM | Errno::LOOP => (Code::UNAVAILABLE, PERMISSION_DENIED),
        Errno::ROFS => (Code::UNAVAILABLE, "The file system is read-only."),
        Errno::XDEV => (Code::UNAVAILABLE, "Not possible across file systems."),
        Errno::NAMETOOLONG | Errno::INVAL => (Code::BAD_NAME, "File name not allowed."),
        Errno::NOSPC => (Code::NO_SPACE, "Insufficient storage space."),
        Errno::DQUOT => (Code::EXCEEDED, "Quota exceeded."),
        Errno::FBIG => (Code::EXCEEDED, "File too large."),
        Errno::IO | Errno::UCLEAN => (Code::LOCAL_ERROR, "The disk reports an error."),
        Errno::BUSY | Errno::TXTBSY => (Code::BUSY, "File busy; try again later."),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => (Code::BUSY, "Out of resources; try again later."),
        _ => (Code::LOCAL_ERROR, "Local error in processing."),
    }
}

/// Returns the reply to a transfer that failed.
pub(super) fn fault_reply(fault: &Fault) -> Reply {
    match fault {
        Fault::Connection(_) => {
            Reply::new(Code::TRANSFER_ABORTED, "Data connection broken; transfer aborted.")
        }
        Fault::Storage(error) => {
            let (code, text) = storage(error);
            // After 150 only these codes may follow (RFC 959 §5.4).
            let code = if code == Code::NO_SPACE || code == Code::EXCEEDED {
                code
            } else {
                Code::LOCAL_ERROR
            };
            Reply::new(code, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_system_has_its_code() {
        let code = |errno: Errno| Refusal::Storage(errno.into()).reply().code;
        assert_eq!(code(Errno::NOENT), Code(550));
        assert_eq!(code(Errno::NOSPC), Code(452));
        assert_eq!(code(Errno::MFILE), Code(450));
        assert_eq!(code(Errno::ROFS), Code(550));
        assert_eq!(code(Errno::IO), Code(451));
        assert_eq!(fault_reply(&Fault::Storage(Errno::NOSPC.into())).code, Code(452));
        assert_eq!(fault_reply(&Fault::Storage(Errno::NOENT.into())).code, Code(451));
    }
}
