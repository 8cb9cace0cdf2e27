//! The reason why there is no measurement.

use std::fmt;
use std::io;

use crate::client::ClientError;

/// Reason why there is no measurement.
#[derive(Debug)]
pub enum BenchError {
    /// An error of the server or the network.
    Client(ClientError),
    /// An error of this machine.
    Local(io::Error),
    /// Any other error, as one sentence.
    Wrong(String),
    /// An interrupt before there was anything to measure.
    Interrupted,
}

impl fmt::Display for BenchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(formatter),
            Self::Local(error) => write!(formatter, "{}", crate::units::reason(error)),
            Self::Wrong(what) => formatter.write_str(what),
            Self::Interrupted => formatter.write_str("interrupted"),
        }
    }
}

impl From<ClientError> for BenchError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<rustix::io::Errno> for BenchError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Local(error.into())
    }
}
