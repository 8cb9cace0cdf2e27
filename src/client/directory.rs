//! Directories of the server: MLSD, LIST and NLST, whichever the server answers.

use std::io;

use jiff::Timestamp;

use crate::ftp::Code;
use crate::ftp::command::{Command, Mode, PathName, Selection, Type};
use crate::ftp::listing::{Directory, Kind as EntryKind, Listed, read_facts, read_list};

use super::connection::Client;
use super::data::broken;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::names::{about, lines, name, shown};
use super::transfer::Ending;

/// Maximum size of a directory listing, in bytes.
const LISTING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Maximum number of entries of a directory listing: each takes some hundred bytes of memory.
const LISTING_ENTRIES_MAX: usize = 1_000_000;

/// Texts of replies that refuse a listing because the directory is empty.
const EMPTY: [&str; 7] =
    ["no files", "no such file", "not found", "empty", "no entries", "no match", "nothing"];

impl Client {
    /// Returns the entries of a directory (the current one for an empty path), sorted by name, without `.` and `..`.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when lines of the listing cannot be read; [`Client::read_directory`] returns the others.
    pub fn read_dir(&mut self, path: &[u8]) -> Result<Vec<Listed>, ClientError> {
        let directory = self.read_directory(path)?;
        unread(path, &directory).map_or(Ok(directory.entries), Err)
    }

    /// Returns a directory as [`Client::read_dir`] does, with the lines of the listing that cannot be read.
    pub fn read_directory(&mut self, path: &[u8]) -> Result<Directory, ClientError> {
        let mut directory = self.repeatable(|link| link.directory(path))?;
        directory.entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(directory)
    }

    /// Returns true if listings contain exact sizes and times (MLSD), unlike those of `ls`.
    #[must_use]
    pub fn lists_exactly(&self) -> bool {
        self.features().is_some_and(|features| features.machine_listing)
    }

    /// Returns the text of a listing as the server sends it.
    pub fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
        self.repeatable(|link| link.listing(command, what))
    }

    /// Returns true if the path is a directory that can be entered.
    pub fn is_directory(&mut self, path: &[u8]) -> Result<bool, ClientError> {
        self.repeatable(|link| link.can_enter(path))
    }
}

/// Returns the error for the lines of a listing that could not be read; `None` if all could.
pub(super) fn unread(path: &[u8], directory: &Directory) -> Option<ClientError> {
    let first = directory.unread.first()?;
    let (lines, its) = match directory.unread.len() {
        1 => ("1 line".to_owned(), "it is"),
        count => (format!("{count} lines"), "the first is"),
    };
    let what = about("of the listing", path);
    let message = format!("{lines} {what} cannot be read; {its} \"{}\"", shown(first));
    Some(ClientError::new(ErrorKind::Incomplete, message).at_last())
}

impl Link {
    /// Reads a directory by MLSD, or else by LIST. Where lines cannot be read, adds the names of NLST.
    fn directory(&mut self, path: &[u8]) -> Result<Directory, ClientError> {
        let at = if path.is_empty() { None } else { Some(name(path)?) };
        let mut directory = self.entries(path, at.as_ref())?;
        for entry in &mut directory.entries {
            entry.name = without_directory(&entry.name, path).to_vec();
        }
        if directory.unread.is_empty() {
            return Ok(directory);
        }
        let command = Command::NameList(Selection { path: at, ..Selection::default() });
        let names = self.optional(|link| link.listing(&command, &about("ls", path)))?;
        for name in lines(&names.unwrap_or_default()) {
            let name = without_directory(name, path);
            if !matches!(name, b"." | b"..") {
                add_name(&mut directory, name);
            }
        }
        Ok(directory)
    }

    fn entries(&mut self, path: &[u8], at: Option<&PathName>) -> Result<Directory, ClientError> {
        if !self.features.machine_listing {
            return self.list(path, at);
        }
        let command = Command::MachineListDirectory(at.cloned());
        let refused = match self.listing(&command, &about("ls", path)) {
            Err(error) if error.is_refused_for_good() => error,
            listed => return listed.map(|text| read_facts(&text)),
        };
        // An empty LIST proves nothing: many servers answer it for a name that does not exist.
        let unavailable =
            refused.reply.as_ref().is_some_and(|reply| reply.code == Code::UNAVAILABLE);
        match self.list(path, at) {
            Ok(directory) if unavailable && directory.entries.is_empty() => Err(refused),
            Err(error) if error.kind == ErrorKind::Refused => Err(refused),
            listed => {
                self.features.machine_listing = false;
                listed
            }
        }
    }

    /// Reads a directory by LIST, with hidden files where the server knows the flag for them.
    fn list(&mut self, path: &[u8], at: Option<&PathName>) -> Result<Directory, ClientError> {
        let what = about("ls", path);
        let command =
            |hidden| Command::List(Selection { hidden, path: at.cloned(), ..Selection::default() });
        let now = Timestamp::now();
        if self.support.hidden_files {
            let first = match self.listing(&command(true), &what) {
                Ok(text) => {
                    let directory = read_list(&text, now);
                    // Text without an entry is that of an empty directory, unless the flag was taken for a name.
                    let is_plain = directory.unread.is_empty() && !text.trim_ascii().is_empty();
                    if is_plain || !directory.entries.is_empty() {
                        return Ok(directory);
                    }
                    Some(directory)
                }
                Err(error) if error.kind == ErrorKind::Refused => None,
                Err(error) => return Err(error),
            };
            let second = self.plain_list(&command(false), path);
            // A refusal may be due to this directory only, but then the second one is refused, too.
            self.support.hidden_files &=
                first.is_some() && second.as_ref().map_or(true, |second| second.entries.is_empty());
            return match (first, second) {
                (Some(first), Err(error)) if error.kind == ErrorKind::Refused => Ok(first),
                (Some(first), Ok(second)) if second == Directory::default() => Ok(first),
                (_, second) => second,
            };
        }
        self.plain_list(&command(false), path)
    }

    /// Reads a directory by LIST. Some servers refuse to list an empty directory.
    fn plain_list(&mut self, command: &Command, path: &[u8]) -> Result<Directory, ClientError> {
        let refused = match self.listing(command, &about("ls", path)) {
            Err(error) if error.kind == ErrorKind::Refused => error,
            listed => return listed.map(|text| read_list(&text, Timestamp::now())),
        };
        let says_empty = refused.reply.as_ref().is_some_and(|reply| {
            let text = reply.text().to_lowercase();
            matches!(reply.code, Code::UNAVAILABLE | Code::BUSY)
                && EMPTY.iter().any(|words| text.contains(words))
        });
        if says_empty && (path.is_empty() || self.can_enter(path)?) {
            return Ok(Directory::default());
        }
        let is_busy = refused.reply.as_ref().is_some_and(|reply| reply.code == Code::BUSY);
        Err(if is_busy { refused.at_last() } else { refused })
    }

    /// Returns true if the path is a directory that can be entered, and stays in the current directory.
    fn can_enter(&mut self, path: &[u8]) -> Result<bool, ClientError> {
        // Without PWD there would be no way back.
        let Some(here) = self.optional(Self::current_directory)? else { return Ok(false) };
        if self.optional(|link| link.change_directory(path))?.is_none() {
            return Ok(false);
        }
        if let Err(error) = self.change_directory(&here) {
            // No command may run in another directory than the user's.
            self.give_up();
            return Err(error);
        }
        Ok(true)
    }

    /// Returns the text of a listing as the server sends it.
    fn listing(&mut self, command: &Command, what: &str) -> Result<Vec<u8>, ClientError> {
        let representation = self.support.text_listings.then_some(Type::Ascii);
        self.foresee_transfer(representation, command, 0.into(), Vec::new())?;
        if self.support.text_listings {
            // A server without TYPE A lists in the type that it has.
            self.support.text_listings =
                self.optional(|link| link.set_type(Type::Ascii))?.is_some();
        }
        let (mut text, mut entries) = (Vec::new(), 0_usize);
        let ending = self.receive(command, 0, what, |chunk| {
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
        if ending == Ending::Reset {
            // The size of a listing is not known.
            return Err(broken(&io::ErrorKind::ConnectionReset.into()));
        }
        self.support.proven_blocks |= self.mode() == Mode::Block;
        if ending == Ending::Unmarked && !std::mem::replace(&mut self.support.unmarked_ends, true) {
            self.settings.notices.show(
                "the server closes data connections without TLS close_notify; listings may lack lines",
            );
        }
        Ok(self.decoded(text))
    }
}

/// Returns a name of a listing without the directory, which some servers put in front of it.
fn without_directory<'a>(name: &'a [u8], directory: &[u8]) -> &'a [u8] {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let inside = name.strip_prefix(directory).filter(|_| !directory.is_empty());
    let rest = inside.and_then(|name| name.strip_prefix(b"/")).or_else(|| name.strip_prefix(b"./"));
    match rest {
        Some(rest) if !rest.is_empty() => rest,
        _ if name.starts_with(b"/") => {
            let last =
                name.trim_ascii_end().rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
            last.unwrap_or(name)
        }
        _ => name,
    }
}

/// Adds a name of NLST for a line that could not be read. Names of other lines are known already.
fn add_name(directory: &mut Directory, name: &[u8]) {
    if directory.entries.iter().any(|entry| entry.name == name) {
        return;
    }
    let is_in = |line: &Vec<u8>| line.windows(name.len().max(1)).any(|window| window == name);
    let Some(place) = directory.unread.iter().position(is_in) else { return };
    let marked = directory.unread.remove(place);
    // The one thing that is sure about a line of an unknown form: this mark means a directory.
    let is_directory = marked.windows(5).any(|window| window.eq_ignore_ascii_case(b"<DIR>"));
    let kind = is_directory.then_some(EntryKind::Directory);
    directory.entries.push(Listed { kind, ..Listed::named(name) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_without_its_directory() {
        for (name, directory, expected) in [
            ("a", "", "a"),
            ("./a", "", "a"),
            ("d/a", "d", "a"),
            ("d/a", "d/", "a"),
            ("/x/d/a", "/x/d", "a"),
            ("/y/a", "/x", "a"),
            ("A.FILE/B.MBR", "", "A.FILE/B.MBR"),
        ] {
            let found = without_directory(name.as_bytes(), directory.as_bytes());
            assert_eq!(found, expected.as_bytes(), "{name} in {directory}");
        }
    }

    #[test]
    fn names_take_the_place_of_the_lines_that_have_them() {
        let mut directory =
            read_list(b"odd a.txt\nodd b <DIR>\nodd header\n", Timestamp::UNIX_EPOCH);
        for name in [b"a.txt".as_slice(), b"b", b"a.txt", b"unlisted"] {
            add_name(&mut directory, name);
        }
        let kinds: Vec<_> = directory.entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [None, Some(EntryKind::Directory)]);
        assert_eq!(directory.unread, [b"odd header".to_vec()]);
    }
}
