//! Failures of single clients, which a load counts.

use rustix::io::Errno;

use crate::ftp::Reply;
use crate::ftp::dialogue::Refused;

/// Reason why a client cannot continue.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server sent this reply.
    Refused(Reply),
    /// The connection broke.
    Broken(Errno),
    /// The server did something unexpected.
    Nonsense(&'static str),
    /// The number of bytes is not the expected one.
    Bytes { came: u64, expected: u64 },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reply) => reply.fmt(formatter),
            Self::Broken(error) => {
                formatter.write_str(&crate::units::reason(&std::io::Error::from(*error)))
            }
            Self::Nonsense(what) => formatter.write_str(what),
            Self::Bytes { came, expected } => {
                write!(
                    formatter,
                    "received {came} bytes of {expected}, although the server reported success"
                )
            }
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Broken(error)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.reply)
    }
}
