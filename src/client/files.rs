//! Files and directories of the server, with method names as in `std::fs`.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;

use crate::ftp::command::{Command, Selection, Site, Type};
use crate::ftp::listing::{Listed, parse_facts, parse_list};

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::names::{about, lines, name};

/// Maximum size of a directory listing, in bytes.
const LISTING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Maximum number of entries of a directory listing: each takes some hundred bytes of memory.
const LISTING_ENTRIES_MAX: usize = 1_000_000;

impl Client {
    /// Returns the current directory on the server.
    pub fn current_directory(&mut self) -> Result<Vec<u8>, ClientError> {
        self.link()?.current_directory()
    }

    /// Makes a directory.
    pub fn create_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.link()?.demand(Command::MakeDirectory(name(path)?), &about("mkdir", path)).map(drop)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.link()?.demand(Command::RemoveDirectory(name(path)?), &about("rmdir", path)).map(drop)
    }

    /// Removes a file.
    pub fn remove_file(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.link()?.demand(Command::Delete(name(path)?), &about("rm", path)).map(drop)
    }

    /// Renames a file or a directory.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        self.link()?.demand(Command::RenameFrom(name(from)?), &about("rename", from))?;
        self.link()?.demand(Command::RenameTo(name(to)?), &about("rename to", to)).map(drop)
    }

    /// Returns the size of a file in bytes.
    pub fn size(&mut self, path: &[u8]) -> Result<u64, ClientError> {
        self.link()?.size(path)
    }

    /// Returns the modification time of a file.
    pub fn modified(&mut self, path: &[u8]) -> Result<Timestamp, ClientError> {
        self.link()?.modified(path)
    }

    /// Sets the permission bits of a file (SITE CHMOD).
    pub fn set_mode(&mut self, path: &[u8], mode: u32) -> Result<(), ClientError> {
        let command = Command::Site(Site::ChangeMode { mode, path: name(path)? });
        self.link()?.demand(command, &about("chmod", path)).map(drop)
    }

    /// Returns the entries of a directory (the current one for an empty path), sorted by name, without `.` and `..`.
    pub fn read_dir(&mut self, path: &[u8]) -> Result<Vec<Listed>, ClientError> {
        let link = self.link()?;
        let at = if path.is_empty() { None } else { Some(name(path)?) };
        let facts = link.features.machine_listing;
        let what = about("ls", path);
        let text = if facts {
            link.listing(&Command::MachineListDirectory(at), &what)?
        } else {
            let all = Selection { hidden: true, path: at.clone(), ..Selection::default() };
            match link.listing(&Command::List(all), &what) {
                // Some servers take the flag for a file name.
                Err(error) if error.kind == ErrorKind::Refused => link.listing(
                    &Command::List(Selection { path: at, ..Selection::default() }),
                    &what,
                )?,
                listed => listed?,
            }
        };
        let now = Timestamp::now();
        let parse = |line| if facts { parse_facts(line) } else { parse_list(line, now) };
        let mut entries: Vec<Listed> = lines(&text).filter_map(parse).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Returns true if listings contain exact sizes and times (MLSD), unlike those of `ls`.
    #[must_use]
    pub fn lists_exactly(&self) -> bool {
        self.features().is_some_and(|features| features.machine_listing)
    }

    /// Returns the text of a listing as the server sends it.
    pub fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
        self.link()?.listing(command, what)
    }

    /// Writes a file of the server to `out`, and returns its length in bytes.
    pub fn read(&mut self, path: &[u8], out: &mut impl Write) -> Result<u64, ClientError> {
        let link = self.link()?;
        link.set_type(Type::Image)?;
        let mut bytes = 0;
        let to = Path::new("output");
        link.receive(&Command::Retrieve(name(path)?), 0, &about("cat", path), |chunk| {
            bytes += chunk.len() as u64;
            out.write_all(chunk).map_err(|error| ClientError::local(to, &error))
        })?;
        Ok(bytes)
    }
}

impl Link {
    /// Returns the text of a listing as the server sends it.
    fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
        self.set_type(Type::Ascii)?;
        let (mut text, mut entries) = (Vec::new(), 0_usize);
        self.receive(command, 0, what, |chunk| {
            entries += chunk.split(|byte| *byte == b'\n').count() - 1;
            if entries > LISTING_ENTRIES_MAX {
                let what = format!("the listing has more than {LISTING_ENTRIES_MAX} entries");
                return Err(ClientError::new(ErrorKind::Incomplete, what).at_last());
            }
            if text.len() + chunk.len() > LISTING_BYTES_MAX {
                let error = ClientError::new(ErrorKind::Incomplete, "the listing is too long");
                return Err(error.at_last());
            }
            text.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(text)
    }
}
