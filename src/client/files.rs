//! Files and directories of the server, with method names as in `std::fs`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::ftp::address::decimal;
use crate::ftp::command::{Command, PathName, Selection, Site, Type};
use crate::ftp::listing::{Kind as EntryKind, Listed, parse_facts, parse_list};
use crate::ftp::time::TimeValue;

use super::{Client, ClientError, ErrorKind};

/// Maximum size of a directory listing, in bytes.
const LISTING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Maximum number of entries of a directory listing: each takes some hundred bytes of memory.
const LISTING_ENTRIES_MAX: usize = 1_000_000;

/// An observer of a transfer. It receives the number of bytes so far, the total where that is known, and notes for the
/// user.
pub trait Progress {
    /// Called at the beginning and after each chunk.
    fn progress(&mut self, bytes: u64, total: Option<u64>);

    /// Receives a note for the user, such as a retry after a lost connection, or a file that is fetched again.
    fn note(&mut self, text: &str) {
        let _ = text;
    }
}

impl Progress for () {
    fn progress(&mut self, _: u64, _: Option<u64>) {}
}

impl Client {
    /// Returns the current directory on the server.
    pub fn current_directory(&mut self) -> Result<Vec<u8>, ClientError> {
        let reply = self.demand(&Command::PrintDirectory, "pwd")?;
        reply.quoted_path().ok_or_else(|| ClientError::refused(ErrorKind::Refused, "pwd", reply))
    }

    /// Makes a directory.
    pub fn create_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.demand(&Command::MakeDirectory(name(path)?), &about("mkdir", path)).map(drop)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.demand(&Command::RemoveDirectory(name(path)?), &about("rmdir", path)).map(drop)
    }

    /// Removes a file.
    pub fn remove_file(&mut self, path: &[u8]) -> Result<(), ClientError> {
        self.demand(&Command::Delete(name(path)?), &about("rm", path)).map(drop)
    }

    /// Renames a file or a directory.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        self.demand(&Command::RenameFrom(name(from)?), &about("rename", from))?;
        self.demand(&Command::RenameTo(name(to)?), &about("rename to", to)).map(drop)
    }

    /// Returns the size of a file in bytes.
    pub fn size(&mut self, path: &[u8]) -> Result<u64, ClientError> {
        self.set_type(Type::Image)?;
        let reply = self.demand(&Command::Size(name(path)?), &about("size", path))?;
        decimal(reply.text().trim().as_bytes())
            .ok_or_else(|| ClientError::refused(ErrorKind::Refused, &about("size", path), reply))
    }

    /// Returns the modification time of a file.
    pub fn modified(&mut self, path: &[u8]) -> Result<Timestamp, ClientError> {
        let reply =
            self.demand(&Command::ModificationTime(name(path)?), &about("modtime", path))?;
        let time = TimeValue::parse(reply.text().trim().as_bytes());
        time.map(|time| time.0)
            .ok_or_else(|| ClientError::refused(ErrorKind::Refused, &about("modtime", path), reply))
    }

    /// Sets the permission bits of a file (SITE CHMOD).
    pub fn set_mode(&mut self, path: &[u8], mode: u32) -> Result<(), ClientError> {
        let command = Command::Site(Site::ChangeMode { mode, path: name(path)? });
        self.demand(&command, &about("chmod", path)).map(drop)
    }

    /// Returns the entries of a directory (the current one for an empty path), sorted by name, without `.` and `..`.
    pub fn read_dir(&mut self, path: &[u8]) -> Result<Vec<Listed>, ClientError> {
        let at = if path.is_empty() { None } else { Some(name(path)?) };
        let facts = self.features.machine_listing;
        let what = about("ls", path);
        let text = if facts {
            self.listing(&Command::MachineListDirectory(at), &what)?
        } else {
            let all = Selection { hidden: true, path: at.clone(), ..Selection::default() };
            match self.listing(&Command::List(all), &what) {
                // Some servers take the flag for a file name.
                Err(error) if error.kind == ErrorKind::Refused => self.listing(
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
        self.features.machine_listing
    }

    /// Returns the text of a listing as the server sends it.
    pub fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
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

    /// Writes a file of the server to `out`, and returns its length in bytes.
    pub fn read(&mut self, path: &[u8], out: &mut impl Write) -> Result<u64, ClientError> {
        self.set_type(Type::Image)?;
        let mut bytes = 0;
        let to = Path::new("output");
        self.receive(&Command::Retrieve(name(path)?), 0, &about("cat", path), |chunk| {
            bytes += chunk.len() as u64;
            out.write_all(chunk).map_err(|error| ClientError::local(to, &error))
        })?;
        Ok(bytes)
    }

    /// Asks for something that a server need not support; returns `None` if the server refuses it.
    pub(super) fn optional<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        match ask(self) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the path that a download gets: the target of a symbolic link, and never a directory, device or pipe.
pub(super) fn destination(local: &Path) -> Result<PathBuf, ClientError> {
    match fs::metadata(local) {
        Ok(found) if found.is_file() => {
            local.canonicalize().map_err(|error| ClientError::local(local, &error))
        }
        Ok(_) => Err(ClientError::new(
            ErrorKind::Local,
            format!("{}: not a regular file", shown_path(local)),
        )),
        Err(_) => Ok(local.to_owned()),
    }
}

/// Escapes a local path for printing, because a server may have chosen its name.
pub(super) fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}

/// Returns the last name of a remote path as a local file name.
///
/// SECURITY: a server chooses these names; none may lead out of the local directory.
pub(super) fn local_name(path: &[u8]) -> Result<&OsStr, ClientError> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match path.rsplit(|byte| *byte == b'/').next().unwrap_or_default() {
        b"" | b"." | b".." => {
            Err(ClientError::usage(format!("{} is not a name for a local file", shown(path))))
        }
        name if name.contains(&b'\0') => Err(ClientError::usage("a name must not contain NUL")),
        name => Ok(OsStr::from_bytes(name)),
    }
}

pub(super) fn is_directory(entry: &Listed) -> bool {
    entry.kind == EntryKind::Directory
}

pub(super) fn name(path: &[u8]) -> Result<PathName, ClientError> {
    if path.is_empty() {
        Err(ClientError::usage("missing name"))
    } else {
        Ok(PathName(path.to_vec()))
    }
}

pub(super) fn about(what: &str, path: &[u8]) -> String {
    format!("{what} {}", shown(path)).trim_end().to_owned()
}

/// Escapes a remote name for printing.
pub(super) fn shown(path: &[u8]) -> String {
    crate::ftp::path::Escaped(path).to_string()
}

/// Returns the lines of a listing without their line ends; empty lines are left out.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_server_leads_out_of_the_local_directory() {
        assert_eq!(local_name(b"a/b c").unwrap(), "b c");
        assert_eq!(local_name(b"../../etc/passwd").unwrap(), "passwd");
        assert_eq!(local_name(b"dir/").unwrap(), "dir");
        for path in [b"..".as_slice(), b"a/..", b"/", b".", b"a\0b", b""] {
            assert!(local_name(path).is_err(), "{path:?}");
        }
    }
}
