//! Files and directories of the server, with method names as in `std::fs`.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;

use crate::ftp::command::{Command, Site, Type};
use crate::ftp::time::TimeValue;

use super::connection::Client;
use super::error::ClientError;
use super::link::Link;
use super::names::{about, name, shown};
use super::transfer::unended;

impl Client {
    /// Returns the current directory on the server.
    pub fn current_directory(&mut self) -> Result<Vec<u8>, ClientError> {
        self.repeatable(Link::current_directory)
    }

    /// Makes a directory.
    pub fn create_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        let command = Command::MakeDirectory(name(path)?);
        self.demand_once(&command, &about("mkdir", path))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        let command = Command::RemoveDirectory(name(path)?);
        self.demand_once(&command, &about("rmdir", path))
    }

    /// Removes a file.
    pub fn remove_file(&mut self, path: &[u8]) -> Result<(), ClientError> {
        let command = Command::Delete(name(path)?);
        self.demand_once(&command, &about("rm", path))
    }

    /// Renames a file or a directory.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        let (begin, end) = (Command::RenameFrom(name(from)?), Command::RenameTo(name(to)?));
        self.once(|link| {
            link.demand(begin.clone(), &about("rename", from))?;
            link.demand(end.clone(), &about("rename to", to)).map(drop)
        })
    }

    /// Returns the size of a file in bytes.
    pub fn size(&mut self, path: &[u8]) -> Result<u64, ClientError> {
        self.repeatable(|link| link.size(path))
    }

    /// Returns the modification time of a file.
    pub fn modified(&mut self, path: &[u8]) -> Result<Timestamp, ClientError> {
        self.repeatable(|link| link.modified(path))
    }

    /// Sets the permission bits of a file (SITE CHMOD).
    pub fn set_mode(&mut self, path: &[u8], mode: u32) -> Result<(), ClientError> {
        let command = Command::Site(Site::ChangeMode { mode, path: name(path)? });
        self.repeatable(|link| link.demand(command.clone(), &about("chmod", path)).map(drop))
    }

    /// Sets the modification time of a file (MFMT).
    pub fn set_modified(&mut self, path: &[u8], modified: Timestamp) -> Result<(), ClientError> {
        let command = Command::SetModificationTime { time: TimeValue(modified), path: name(path)? };
        self.repeatable(|link| link.demand(command.clone(), &about("touch", path)).map(drop))
    }

    /// Sends a command that is not repeated if the server may have executed it.
    fn demand_once(&mut self, command: &Command, what: &str) -> Result<(), ClientError> {
        self.once(|link| link.demand(command.clone(), what).map(drop))
    }

    /// Writes a file of the server to `out`, and returns its length in bytes.
    pub fn read(&mut self, path: &[u8], out: &mut impl Write) -> Result<u64, ClientError> {
        let command = Command::Retrieve(name(path)?);
        self.unrepeated(|link| {
            link.set_type(Type::Image)?;
            let mut bytes = 0;
            let to = Path::new("output");
            let ending = link.receive(&command, 0, &about("cat", path), |chunk| {
                bytes += chunk.len() as u64;
                out.write_all(chunk).map_err(|error| ClientError::local(to, &error))
            })?;
            match ending.doubt() {
                Some(doubt) if link.optional(|link| link.size(path))? != Some(bytes) => {
                    Err(unended(&shown(path), doubt))
                }
                _ => Ok(bytes),
            }
        })
    }
}
