//! Lines in the style of `ls -l`, of any locale, and those of NetWare.

use jiff::Timestamp;

use super::date::{Dated, Order, compact, known, loose, seconds};
use super::kind::Kind;
use super::listed::Listed;
use super::words::{Words, size, trim};
use crate::ftp::address::decimal;

/// Number of question marks that `ls` writes for an entry whose attributes it cannot read.
const UNKNOWN_FIELDS: usize = 5;

/// Position of the date behind the mode, the number of links, the owner, the group and the size.
const DATE_COLUMN: usize = 4;

/// Reads `-rw-r--r--   1 owner group  1234 Nov 22 16:11 name`. Columns may be missing, and names of owners may have
/// blanks: the first size with a date behind it divides the line.
pub(super) fn unix(line: &[u8], now: Timestamp) -> Option<Listed> {
    let line = without_inode(line);
    let (kind, rest) = mode(line)?;
    let words = Words::of(rest);
    if (0..UNKNOWN_FIELDS).all(|at| words.is(at, "?")) {
        return entry(kind, rest_of_name(words.after(UNKNOWN_FIELDS))?, None, None);
    }
    let (size, dated, start) = divide(&words, now)?;
    let name = rest_of_name(words.after(start + dated.words))?;
    // Without a time of day, `ls --time-style=iso` writes a second space.
    let is_iso =
        !dated.has_clock && words.get(start).is_some_and(|date| date.len() == "2005-06-07".len());
    let name = if is_iso { name.strip_prefix(b" ").unwrap_or(name) } else { name };
    Some(Listed { mode: permissions(line), ..entry(kind, name, size, dated.time)? })
}

/// Reads `- [R----F--] owner  1234  Oct 20 15:27    name` and `d [RWCEAFMS] …`.
pub(super) fn netware(line: &[u8], now: Timestamp) -> Option<Listed> {
    let (kind, rest) = match line {
        [b'-', rest @ ..] => (Kind::File, rest),
        [b'd', rest @ ..] => (Kind::Directory, rest),
        _ => return None,
    };
    let rights = trim(rest).strip_prefix(b"[")?;
    let end = rights.iter().position(|byte| *byte == b']')?;
    let is_right = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b' ');
    if !rights.get(..end)?.iter().all(is_right) {
        return None;
    }
    let words = Words::of(rights.get(end + 1..)?);
    let (size, dated, start) = divide(&words, now)?;
    entry(Some(kind), words.name_after(start + dated.words), size, dated.time)
}

/// Reads `0100644   500  101   12345    123456789       name`: mode, owner, group, size, and time in seconds.
pub(super) fn numbers(line: &[u8]) -> Option<Listed> {
    let words = Words::of(line);
    let mode = words.get(0).filter(|mode| (6..=7).contains(&mode.len()))?;
    let mode = u32::from_str_radix(str::from_utf8(mode).ok()?, 8).ok()?;
    let kind = match mode >> 12 {
        0o10 => Kind::File,
        0o4 => Kind::Directory,
        0o12 => Kind::Link,
        0o1 | 0o2 | 0o6 | 0o14 => Kind::Other,
        _ => return None,
    };
    let [_, _, size, seconds] = [1, 2, 3, 4].map(|at| words.get(at).and_then(decimal::<u64>));
    let time = Timestamp::from_second(i64::try_from(seconds?).ok()?).ok();
    entry(Some(kind), words.name_after(5), size, time)
}

/// Removes the inode number and the number of blocks that `ls -is` writes in front of the mode.
fn without_inode(line: &[u8]) -> &[u8] {
    let words = Words::of(line);
    let is_number = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    let count = (0..2).take_while(|at| words.get(*at).is_some_and(is_number)).count();
    words.after(count).trim_ascii_start()
}

/// Reads the mode, `drwxr-xr-x+`, and returns the kind and the rest of the line. The number of links may follow without
/// a space.
fn mode(line: &[u8]) -> Option<(Option<Kind>, &[u8])> {
    let kind = match line.first()? {
        b'-' | b'f' | b'C' | b'm' | b'M' => Some(Kind::File),
        b'd' => Some(Kind::Directory),
        b'l' => Some(Kind::Link),
        b'b' | b'c' | b'p' | b's' | b'D' | b'=' | b'|' => Some(Kind::Other),
        b'?' => None,
        _ => return None,
    };
    let rest = line.get(1..)?;
    let is_right = |byte: &u8| {
        matches!(byte, b'r' | b'w' | b'x' | b's' | b't' | b'l' | b'a' | b'-' | b'?')
            || byte.is_ascii_uppercase()
    };
    let end = rest.iter().position(|byte| !is_right(byte)).unwrap_or(rest.len());
    let (rights, rest) = rest.split_at_checked(end)?;
    // A mark shows that there are further rights.
    let marked = rest.split_first().filter(|(mark, _)| b"+.@*".contains(mark));
    let rest = marked.map_or(rest, |(_, rest)| rest);
    let ends =
        rest.first().is_none_or(|byte| matches!(byte, b' ' | b'\t') || byte.is_ascii_digit());
    let is_mode =
        rights.len() >= 3 && rights.iter().any(|byte| matches!(byte, b'-' | b'r' | b'x' | b'?'));
    (ends && is_mode).then_some((kind, rest))
}

/// Finds the size and the date, and returns the position of the date. A date of a known form goes before others, and
/// one behind a size before one without.
fn divide(words: &Words<'_>, now: Timestamp) -> Option<(Option<u64>, Dated, usize)> {
    let behind_size = |read: &dyn Fn(usize) -> Option<Dated>| {
        (1..words.len()).find_map(|at| {
            let size = words.get(at - 1).and_then(size)?;
            Some((size, read(at)?, at))
        })
    };
    let known_at = |at| known(words, at, Order::Unknown, now);
    behind_size(&known_at)
        .or_else(|| behind_size(&|at| loose(words, at, now)))
        .or_else(|| divide_numbers(words, now))
        .or_else(|| (0..words.len()).find_map(|at| Some((None, known_at(at)?, at))))
}

/// Finds the size and a date of digits alone. Owners may be numbers of the same form, so the usual column of the date goes
/// before the others.
fn divide_numbers(words: &Words<'_>, now: Timestamp) -> Option<(Option<u64>, Dated, usize)> {
    (DATE_COLUMN..words.len())
        .take(1)
        .chain((1..DATE_COLUMN).rev())
        .chain(DATE_COLUMN + 1..words.len())
        .find_map(|at| {
            let size = words.get(at - 1).and_then(size)?;
            let dated = compact(words, at, now).or_else(|| seconds(words, at))?;
            let has_name = words.len() > at + dated.words;
            // Behind the numbers of links, owner and group, this one may be the size of a line without a date.
            let is_doubtful = at + 1 == DATE_COLUMN
                && (0..at).all(|at| {
                    words.get(at).is_some_and(|word| word.iter().all(u8::is_ascii_digit))
                });
            let found = if is_doubtful {
                (None, Dated { time: None, ..dated }, at)
            } else {
                (size, dated, at)
            };
            has_name.then_some(found)
        })
}

/// Returns the name behind a date. One space separates it; further spaces belong to it.
fn rest_of_name(rest: &[u8]) -> Option<&[u8]> {
    rest.strip_prefix(b" ").or_else(|| rest.strip_prefix(b"\t"))
}

fn entry(
    kind: Option<Kind>,
    name: &[u8],
    size: Option<u64>,
    modified: Option<Timestamp>,
) -> Option<Listed> {
    let (name, target) = match kind {
        Some(Kind::Link) => split_target(name, size),
        // `ls -F` marks directories.
        Some(Kind::Directory) => (name.strip_suffix(b"/").unwrap_or(name), None),
        _ => (name, None),
    };
    let size = size.filter(|_| kind == Some(Kind::File));
    let target = target.filter(|target| !target.is_empty()).map(<[u8]>::to_vec);
    (!name.is_empty()).then(|| Listed { kind, size, modified, target, ..Listed::named(name) })
}

/// Splits off the target of a link. Both names may contain an arrow; the size of a link is the length of its target.
fn split_target(name: &[u8], size: Option<u64>) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    let arrows = || {
        let places = name.windows(ARROW.len()).enumerate();
        places.filter(|(_, window)| *window == ARROW).map(|(place, _)| place)
    };
    let fits = |place: &usize| size == Some((name.len() - place - ARROW.len()) as u64);
    match arrows().find(fits).or_else(|| arrows().next()) {
        Some(place) => (name.get(..place).unwrap_or(name), name.get(place + ARROW.len()..)),
        None => (name, None),
    }
}

/// Parses the permissions of `-rwxr-x---`, as `ls -l` writes them.
fn permissions(line: &[u8]) -> Option<u32> {
    let letters = line.get(1..10)?;
    let bit = |letter: &u8, set: u8| match *letter {
        b'-' | b'S' | b'T' => Some(0),
        // Both set-user-ID and execute.
        b's' | b't' if set == b'x' => Some(1),
        letter if letter == set => Some(1),
        _ => None,
    };
    letters
        .iter()
        .zip(b"rwx".iter().cycle())
        .try_fold(0, |mode, (letter, set)| Some(mode << 1 | bit(letter, *set)?))
}
