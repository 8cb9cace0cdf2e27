//! Lines of OpenVMS: `NAME.TXT;3  12/15  19-NOV-2001 21:41:05 [OWNER] (RWED,RWED,RE,)`, of which the attributes may
//! stand on the next line.

use jiff::Timestamp;

use super::date::{Order, known};
use super::kind::Kind;
use super::listed::{Directory, Listed};
use super::words::{Words, trim};
use crate::ftp::address::decimal;

/// Versions of the files of a listing. The newest of each has its name without a version, so that it is the file that
/// a command without a version means.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<(usize, u32)>);

impl Versions {
    /// Reads a line that begins with a name and a version, and adds its entry. Returns false for any other line.
    pub(super) fn add(&mut self, line: &[u8], now: Timestamp, to: &mut Directory) -> bool {
        let Some((name, version, rest)) = split(line) else { return false };
        let kind = kind(name);
        let name = if kind == Kind::Directory { without_suffix(name) } else { name };
        self.0.push((to.entries.len(), version));
        to.entries.push(Listed { modified: modified(rest, now), ..Listed::of_kind(name, kind) });
        true
    }

    /// Reads the attributes of the last entry, if a line consists of them.
    pub(super) fn go_on(&self, line: &[u8], now: Timestamp, to: &mut Directory) -> bool {
        let is_last = self.0.last().is_some_and(|(place, _)| place + 1 == to.entries.len());
        let is_indented = line.first().is_some_and(u8::is_ascii_whitespace);
        let Some(last) = to.entries.last_mut().filter(|_| is_last && is_indented) else {
            return false;
        };
        if last.modified.is_some() || !is_attributes(line) {
            return false;
        }
        last.modified = modified(line, now);
        true
    }

    /// Adds the version to the names of all but the newest.
    pub(super) fn finish(self, of: &mut Directory) {
        let mut newest = std::collections::HashMap::<Vec<u8>, u32>::new();
        let name =
            |of: &Directory, place: usize| of.entries.get(place).map(|entry| entry.name.clone());
        for (place, version) in &self.0 {
            let Some(name) = name(of, *place) else { continue };
            let found = newest.entry(name).or_default();
            *found = (*found).max(*version);
        }
        for (place, version) in &self.0 {
            let Some(entry) = of.entries.get_mut(*place) else { continue };
            if entry.kind == Some(Kind::File)
                && newest.get(&entry.name).is_some_and(|newest| newest > version)
            {
                entry.name.extend_from_slice(format!(";{version}").as_bytes());
            }
        }
    }
}

/// Splits off a name and its version.
fn split(line: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let words = Words::of(line);
    let word = words.get(0)?;
    let place = word.iter().rposition(|byte| *byte == b';')?;
    let (name, version) = word.split_at_checked(place)?;
    let version = version.get(1..).filter(|version| version.len() <= 5).and_then(decimal)?;
    let rest = words.after(1);
    let is_file = trim(rest).is_empty() || is_attributes(rest) || is_complaint(rest);
    // A directory in front of the name is that of the listing.
    let name = name.get(name.iter().rposition(|byte| *byte == b']').map_or(0, |end| end + 1)..)?;
    (is_file && !name.is_empty()).then_some((name, version, rest))
}

/// Returns true for the attributes of a file: a number of blocks, or a date.
fn is_attributes(text: &[u8]) -> bool {
    let words = Words::of(text);
    let is_blocks = |word: &[u8]| {
        let mut halves = word.split(|byte| *byte == b'/');
        halves.next().and_then(decimal::<u64>).is_some()
            && halves.next().is_none_or(|allocated| decimal::<u64>(allocated).is_some())
            && halves.next().is_none()
    };
    words.get(0).is_some_and(is_blocks) && words.len() >= 2 || date_in(&words).is_some()
}

/// Returns true for a message in place of the attributes.
fn is_complaint(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    [b"privilege".as_slice(), b"protection", b"%rms"]
        .iter()
        .any(|word| text.windows(word.len()).any(|window| window == *word))
}

fn modified(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    let words = Words::of(text);
    known(&words, date_in(&words)?, Order::Unknown, now)?.time
}

/// Returns the position of a date such as `19-NOV-2001`.
fn date_in(words: &Words<'_>) -> Option<usize> {
    let is_date = |word: &[u8]| {
        let parts: Vec<&[u8]> = word.split(|byte| *byte == b'-').collect();
        matches!(*parts.as_slice(), [day, month, year] if day.len() <= 2 && year.len() == 4
            && decimal::<u8>(day).is_some() && super::month::month(month).is_some())
    };
    (0..words.len()).find(|at| words.get(*at).is_some_and(is_date))
}

fn kind(name: &[u8]) -> Kind {
    if name.to_ascii_uppercase().ends_with(b".DIR") { Kind::Directory } else { Kind::File }
}

fn without_suffix(name: &[u8]) -> &[u8] {
    name.get(..name.len() - b".DIR".len()).unwrap_or(name)
}
