//! Questions about remote files: size and time, and the current directory.

use jiff::Timestamp;

use crate::ftp::address::decimal;
use crate::ftp::command::{Command, Type};
use crate::ftp::time::TimeValue;

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::names::{about, name};

/// Size and time of a remote file from a listing (MLSD), so that the client need not ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each name says it")]
pub struct RemoteMetadata {
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
}

impl Client {
    /// Asks for size and time of a file, as far as the server reports them.
    pub(super) fn metadata(&mut self, path: &[u8]) -> Result<RemoteMetadata, ClientError> {
        self.link()?.metadata(path)
    }
}

impl Link {
    /// Asks for size and time. A server without SIZE or MDTM replies 5xx; then only the end of the data marks the end
    /// of the file.
    pub(super) fn metadata(&mut self, path: &[u8]) -> Result<RemoteMetadata, ClientError> {
        let (size, modified) = (Command::Size(name(path)?), Command::ModificationTime(name(path)?));
        self.foresee_typed(Some(Type::Image), [size, modified])?;
        let size = self.optional(|link| link.size(path))?;
        Ok(RemoteMetadata { size, modified: self.optional(|link| link.modified(path))? })
    }

    /// Asks for the size of a file in bytes.
    pub(super) fn size(&mut self, path: &[u8]) -> Result<u64, ClientError> {
        self.set_type(Type::Image)?;
        let what = about("size", path);
        let reply = self.demand(Command::Size(name(path)?), &what)?;
        decimal(reply.text().trim().as_bytes())
            .ok_or_else(|| ClientError::refused(ErrorKind::Refused, &what, reply))
    }

    /// Asks for the modification time of a file.
    pub(super) fn modified(&mut self, path: &[u8]) -> Result<Timestamp, ClientError> {
        let what = about("modtime", path);
        let reply = self.demand(Command::ModificationTime(name(path)?), &what)?;
        let time = TimeValue::parse(reply.text().trim().as_bytes());
        time.map(|time| time.0)
            .ok_or_else(|| ClientError::refused(ErrorKind::Refused, &what, reply))
    }

    /// Changes the current directory; sends CDUP for `..`. Returns the new directory, if the server reports it.
    pub(super) fn change_directory(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        let command = if path == b".." {
            Command::ChangeToParent
        } else {
            Command::ChangeDirectory(name(path)?)
        };
        self.foresee(&[command.clone(), Command::PrintDirectory])?;
        self.demand(command, &about("cd", path))?;
        self.optional(Self::current_directory)
    }

    /// Returns the current directory.
    pub(super) fn current_directory(&mut self) -> Result<Vec<u8>, ClientError> {
        let reply = self.demand(Command::PrintDirectory, "pwd")?;
        reply.path().ok_or_else(|| ClientError::refused(ErrorKind::Refused, "pwd", reply))
    }
}
