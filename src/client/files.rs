//! Files and directories of the server, named as in `std::fs`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::ftp::address::decimal;
use crate::ftp::ascii::{FromWire, ToWire};
use crate::ftp::command::{Command, PathName, Selection, Site, Type};
use crate::ftp::listing::{Kind as EntryKind, Listed, parse_facts, parse_list};
use crate::ftp::time::TimeValue;

use super::{Client, ClientError, Kind};

/// The suffix of a file that is not complete.
const PART_SUFFIX: &str = ".part";

/// The longest file name that Linux takes, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How much of a local file is read at once.
const CHUNK_BYTES: u64 = 128 * 1024;

/// The longest directory listing that is taken, in bytes.
const LISTING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a transfer tells as it goes on: bytes so far, and in all, where that is known.
pub trait Watcher {
    /// Called at the beginning and after each chunk.
    fn progress(&mut self, bytes: u64, total: Option<u64>);
}

impl Watcher for () {
    fn progress(&mut self, _: u64, _: Option<u64>) {}
}

impl Client {
    /// Where we are on the server.
    pub fn current_directory(&mut self) -> Result<Vec<u8>, ClientError> {
        let reply = self.demand(&Command::PrintDirectory, "pwd")?;
        reply.quoted_path().ok_or_else(|| ClientError::refused(Kind::Refused, "pwd", reply))
    }

    /// Goes to another directory; `..` is asked for by CDUP.
    pub fn change_directory(&mut self, path: &[u8]) -> Result<(), ClientError> {
        let command = if path == b".." {
            Command::ChangeToParent
        } else {
            Command::ChangeDirectory(name(path)?)
        };
        self.demand(&command, &about("cd", path)).map(drop)
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

    /// Renames.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        self.demand(&Command::RenameFrom(name(from)?), &about("rename", from))?;
        self.demand(&Command::RenameTo(name(to)?), &about("rename to", to)).map(drop)
    }

    /// Bytes in a file.
    pub fn size(&mut self, path: &[u8]) -> Result<u64, ClientError> {
        self.set_type(Type::Image)?;
        let reply = self.demand(&Command::Size(name(path)?), &about("size", path))?;
        decimal(reply.text().trim().as_bytes())
            .ok_or_else(|| ClientError::refused(Kind::Refused, &about("size", path), reply))
    }

    /// When a file was last changed.
    pub fn modified(&mut self, path: &[u8]) -> Result<Timestamp, ClientError> {
        let reply =
            self.demand(&Command::ModificationTime(name(path)?), &about("modtime", path))?;
        let time = TimeValue::parse(reply.text().trim().as_bytes());
        time.map(|time| time.0)
            .ok_or_else(|| ClientError::refused(Kind::Refused, &about("modtime", path), reply))
    }

    /// Sets the permission bits.
    pub fn set_mode(&mut self, path: &[u8], mode: u32) -> Result<(), ClientError> {
        let command = Command::Site(Site::ChangeMode { mode, path: name(path)? });
        self.demand(&command, &about("chmod", path)).map(drop)
    }

    /// What is in a directory (the current one for an empty path), sorted by name, without `.` and `..`.
    pub fn read_dir(&mut self, path: &[u8]) -> Result<Vec<Listed>, ClientError> {
        let at = if path.is_empty() { None } else { Some(name(path)?) };
        let facts = self.features.machine_listing;
        let what = about("ls", path);
        let text = if facts {
            self.listing(&Command::MachineListDirectory(at), &what)?
        } else {
            let all = Selection { hidden: true, path: at.clone(), ..Selection::default() };
            match self.listing(&Command::List(all), &what) {
                // Some servers take the flag for a name.
                Err(error) if error.kind == Kind::Refused => self.listing(
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

    /// The text of a listing, as the server writes it.
    pub fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
        self.set_type(Type::Ascii)?;
        let mut text = Vec::new();
        self.receive(command, 0, what, |chunk| {
            if text.len() + chunk.len() > LISTING_BYTES_MAX {
                return Err(ClientError::new(Kind::Incomplete, "the listing is too long"));
            }
            text.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(text)
    }

    /// Writes a file of the server to `out`; returns how many bytes.
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

    /// Fetches a file into `local`. It takes that name when it is complete; until then it is `local` with `.part` behind.
    ///
    /// # Errors
    /// [`Kind::Incomplete`] when fewer bytes came than the server said there are, whatever its last reply was.
    pub fn download(
        &mut self,
        path: &[u8],
        local: &Path,
        representation: Type,
        watcher: &mut impl Watcher,
    ) -> Result<u64, ClientError> {
        // A server without SIZE says 5xx: then the end of the data is all that is known.
        let total = self.optional(|client| client.size(path))?;
        let modified = self.optional(|client| client.modified(path))?;
        self.set_type(representation)?;
        let local = &destination(local)?;
        let permissions = fs::metadata(local).ok().map(|metadata| metadata.permissions());
        let part = part_of(local);
        let failed = |error| ClientError::local(&part, &error);
        // SECURITY: a link that somebody put under the part's name is replaced, not followed.
        let _removed = fs::remove_file(&part);
        let mut file = File::options().write(true).create_new(true).open(&part).map_err(failed)?;
        let total = total.filter(|_| representation == Type::Image);
        let (mut bytes, mut converter, mut text) = (0, FromWire::default(), Vec::new());
        watcher.progress(0, total);
        self.receive(&Command::Retrieve(name(path)?), 0, &about("get", path), |chunk| {
            bytes += chunk.len() as u64;
            watcher.progress(bytes, total);
            let chunk = match representation {
                Type::Image => chunk,
                Type::Ascii => {
                    text.clear();
                    converter.convert(chunk, &mut text);
                    &text
                }
            };
            file.write_all(chunk).map_err(failed)
        })
        .map_err(|error| keep_or_remove(error, &part))?;
        text.clear();
        converter.finish(&mut text);
        file.write_all(&text).map_err(failed)?;
        if let Some(total) = total
            && total != bytes
        {
            let message = format!(
                "{}: {bytes} of {total} bytes arrived; kept as {}",
                shown(path),
                shown_path(&part)
            );
            return Err(ClientError::new(Kind::Incomplete, message));
        }
        if let Some(modified) = modified {
            // The time is a courtesy: a file system that cannot keep it does not make the file incomplete.
            let _set = file.set_modified(modified.into());
        }
        if let Some(permissions) = permissions {
            // As those of the file that it replaces; who may not set them keeps the new file's own.
            let _set = file.set_permissions(permissions);
        }
        drop(file);
        fs::rename(&part, local).map_err(|error| ClientError::local(local, &error))?;
        Ok(bytes)
    }

    /// Sends a local file; its time of change goes along where the server can keep it.
    pub fn upload(
        &mut self,
        local: &Path,
        path: &[u8],
        representation: Type,
        watcher: &mut impl Watcher,
    ) -> Result<u64, ClientError> {
        let failed = |error| ClientError::local(local, &error);
        #[allow(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let file = File::open(local).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(ClientError::new(
                Kind::Local,
                format!("{}: not a regular file", shown_path(local)),
            ));
        }
        self.set_type(representation)?;
        let total = Some(metadata.len());
        let (mut bytes, mut converter, mut raw) = (0, ToWire::default(), Vec::new());
        watcher.progress(0, total);
        self.transmit(&Command::Store(name(path)?), &about("put", path), |chunk| {
            watcher.progress(bytes, total);
            raw.clear();
            bytes += (&file).take(CHUNK_BYTES).read_to_end(&mut raw).map_err(failed)? as u64;
            match representation {
                Type::Image => chunk.append(&mut raw),
                Type::Ascii => converter.convert(&raw, chunk),
            }
            Ok(())
        })?;
        if self.features.set_modified
            && let Ok(modified) = metadata
                .modified()
                .map_err(drop)
                .and_then(|time| Timestamp::try_from(time).map_err(drop))
        {
            // A courtesy, as above: a server that refuses has the file all the same.
            let _reply = self.ask(&Command::SetModificationTime {
                time: TimeValue(modified),
                path: name(path)?,
            })?;
        }
        Ok(bytes)
    }

    /// Asks for something that a server need not have.
    fn optional<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        match ask(self) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind == Kind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where a file is while it is not complete: its name, cut where the file system would not take it with the suffix.
fn part_of(local: &Path) -> PathBuf {
    let name = local.file_name().unwrap_or_default().as_encoded_bytes();
    let kept = name.get(..NAME_BYTES_MAX - PART_SUFFIX.len()).unwrap_or(name);
    local.with_file_name(OsStr::from_bytes(&[kept, PART_SUFFIX.as_bytes()].concat()))
}

/// A transfer that never began leaves nothing behind; one that ended early leaves its part, and says so.
fn keep_or_remove(error: ClientError, part: &Path) -> ClientError {
    let begun = fs::metadata(part).is_ok_and(|part| part.len() > 0);
    match error.kind {
        Kind::Refused => {
            let _removed = fs::remove_file(part);
            error
        }
        Kind::NoConnection | Kind::Incomplete if begun => ClientError::new(
            Kind::Incomplete,
            format!("{error}; what arrived is kept as {}", shown_path(part)),
        ),
        _ => error,
    }
}

/// Where a file lands in the end: where a symbolic link leads, and never on a directory, device or pipe.
fn destination(local: &Path) -> Result<PathBuf, ClientError> {
    match fs::metadata(local) {
        Ok(found) if found.is_file() => {
            local.canonicalize().map_err(|error| ClientError::local(local, &error))
        }
        Ok(_) => {
            Err(ClientError::new(Kind::Local, format!("{}: not a regular file", shown_path(local))))
        }
        Err(_) => Ok(local.to_owned()),
    }
}

/// A local path, safe to print: a server may have chosen its name.
pub(super) fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}

/// The last name of a remote path, as a local one.
///
/// SECURITY: a server chooses these names; none may lead out of the local directory.
pub(super) fn local_name(path: &[u8]) -> Result<&OsStr, ClientError> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match path.rsplit(|byte| *byte == b'/').next().unwrap_or_default() {
        b"" | b"." | b".." => {
            Err(ClientError::usage(format!("{} is no name for a local file", shown(path))))
        }
        name if name.contains(&b'\0') => Err(ClientError::usage("a name with a NUL in it")),
        name => Ok(OsStr::from_bytes(name)),
    }
}

pub(super) fn is_directory(entry: &Listed) -> bool {
    entry.kind == EntryKind::Directory
}

fn name(path: &[u8]) -> Result<PathName, ClientError> {
    if path.is_empty() {
        Err(ClientError::usage("a name is missing"))
    } else {
        Ok(PathName(path.to_vec()))
    }
}

fn about(what: &str, path: &[u8]) -> String {
    format!("{what} {}", shown(path)).trim_end().to_owned()
}

/// A remote name, safe to print.
pub(super) fn shown(path: &[u8]) -> String {
    crate::ftp::path::Escaped(path).to_string()
}

/// The lines of a listing, without their ends.
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
