//! The identity of a part: `NAME.part.id`, which describes the remote file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::ftp::command::Type;
use crate::ftp::path::Escaped;

use super::endpoint::Endpoint;
use super::error::ClientError;
use super::mark::{Marks, NEW_MODE, is_marked};

/// First line of every identity.
const FIRST_LINE: &str = "ftpclient: what the .part beside this is a part of";

/// Maximum size of an identity to read, in bytes: a path has at most 4 KiB, and at most six times that when escaped.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// Beginning of the line about a range of bytes that is missing in the part, behind the lines of the identity.
const MISSING: &str = "missing ";

/// Number of bytes of the local part that are fetched again and compared before a download continues.
pub(super) const OVERLAP_BYTES: usize = 64 * 1024;

/// Identity of a remote file: its server and path, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    text: String,
    /// The file is longer than the overlap, so that a download that continues saves anything.
    pub(super) can_resume: bool,
}

impl Identity {
    /// Describes a file as a download with this representation type makes it.
    pub(super) fn new(
        server: &Endpoint,
        path: &[u8],
        size: Option<u64>,
        modified: Option<Timestamp>,
        representation: Type,
    ) -> Self {
        let kind = match representation {
            Type::Ascii => "Ascii",
            Type::Image => "Image",
        };
        let place = format!("server {server}\npath {}\n", Escaped(path));
        let mut text = format!("{FIRST_LINE}\n{place}type {kind}\n");
        if let Some(size) = size {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "size {size}");
        }
        if let Some(modified) = modified {
            // In whole seconds, because MLSD and MDTM of one server may differ in the fraction.
            let _written = writeln!(text, "modified {}", modified.as_second());
        }
        let can_resume = size.is_none_or(|size| size > OVERLAP_BYTES as u64);
        Self { text, can_resume }
    }

    /// Returns the content of `NAME.part.id`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the content of `NAME.part.id` for a part in which these ranges are missing. The length of the text does
    /// not depend on the ranges.
    pub(super) fn text_with_missing(&self, missing: &[Range<u64>]) -> String {
        let line = |range: &Range<u64>| format!("{MISSING}{:020} {:020}\n", range.start, range.end);
        missing.iter().fold(self.text.clone(), |text, range| text + &line(range))
    }
}

/// An identity as found on disk.
#[derive(Debug)]
pub(super) struct Note {
    text: String,
    pub(super) is_marked: bool,
}

impl Note {
    /// Reads the file under the name of an identity; `None` if there is none. A file that cannot be read as an identity
    /// is not ours, and gets the text `?`.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut options = File::options();
        options.read(true);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let read = || -> io::Result<Self> {
            let file = options.open(path)?;
            let found = file.metadata()?;
            if !found.is_file() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut text = String::new();
            file.take(IDENTITY_BYTES_MAX).read_to_string(&mut text)?;
            Ok(Self { text, is_marked: is_marked(&found) })
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.unwrap_or_else(|_| Self { text: "?".to_owned(), is_marked: false })),
        }
    }

    /// Returns true if this is the identity of that file in that state.
    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        self.text == identity.text
    }

    /// Returns the ranges that are missing in the part, if this is the identity of that file with such ranges.
    pub(super) fn missing(&self, identity: &Identity) -> Option<Vec<Range<u64>>> {
        let lines = self.text.strip_prefix(identity.text()).filter(|rest| !rest.is_empty())?;
        let range = |line: &str| {
            let (start, end) = line.strip_prefix(MISSING)?.split_once(' ')?;
            Some(start.parse().ok()?..end.parse().ok()?)
        };
        lines.lines().map(range).collect()
    }

    /// Returns true for the text of an identity, even if its writing was cut off.
    pub(super) fn is_of_ours(&self) -> bool {
        self.text.is_empty() || self.text.starts_with(FIRST_LINE)
    }

    /// Returns true if the identity is one of ours, even if its writing was cut off.
    pub(super) fn is_ours(&self, marks: Marks) -> bool {
        self.is_of_ours() && (self.is_marked || !marks.are_held)
    }
}

/// Writes the content of an identity.
pub(super) fn write_identity(path: &Path, text: &str) -> Result<(), ClientError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(NEW_MODE);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| ClientError::local(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_mark_is_held_a_part_is_unproven() {
        let marks = Marks { length: 4, mode: 0o644, is_marked: false, are_held: false };
        let note = |text: &str| Note { text: text.to_owned(), is_marked: false };
        assert!(note(FIRST_LINE).is_ours(marks) && !note("mine").is_ours(marks));
        assert!(!note(FIRST_LINE).is_ours(Marks { are_held: true, ..marks }));
    }

    #[test]
    fn an_identity_on_disk_keeps_its_bytes() {
        let server = Endpoint { host: "host".to_owned(), port: 21 };
        let begins =
            "ftpclient: what the .part beside this is a part of\nserver host:21\npath /a b\n";
        let modified = Some(Timestamp::UNIX_EPOCH);
        let image = Identity::new(&server, b"/a b", Some(9), modified, Type::Image);
        assert_eq!(image.text(), format!("{begins}type Image\nsize 9\nmodified 0\n"));
        let note = |text| Note { text, is_marked: true };
        let missing = [3..5, 8..9];
        let ranged = note(image.text_with_missing(&missing));
        assert_eq!(ranged.missing(&image), Some(missing.into()));
        assert_eq!(note(image.text().to_owned()).missing(&image), None);
        assert_eq!(note(format!("{}missing 3 x\n", image.text())).missing(&image), None);
        let ascii = Identity::new(&server, b"/a b", None, None, Type::Ascii);
        assert_eq!(ranged.missing(&ascii), None);
        assert_eq!(ascii.text(), format!("{begins}type Ascii\n"));
    }
}
