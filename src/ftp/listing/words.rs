//! Words of a line, and the numbers in them.

use crate::ftp::address::decimal;

/// Maximum number of words of a line that are looked at. All that follows belongs to the name.
const WORDS_MAX: usize = 48;

/// The first words of a line, without the spaces and tabs between them.
#[derive(Debug)]
pub(super) struct Words<'a> {
    line: &'a [u8],
    /// Start and end of each word in the line.
    places: Vec<(usize, usize)>,
}

impl<'a> Words<'a> {
    /// Splits a line.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut places = Vec::new();
        let mut end = 0;
        while places.len() < WORDS_MAX {
            let rest = line.get(end..).unwrap_or_default();
            let Some(gap) = rest.iter().position(|byte| !is_blank(*byte)) else { break };
            let start = end + gap;
            let rest = line.get(start..).unwrap_or_default();
            end = start + rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
            places.push((start, end));
        }
        Self { line, places }
    }

    /// Returns the number of words.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns a word by its position, from 0.
    pub(super) fn get(&self, position: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.places.get(position)?;
        self.line.get(start..end)
    }

    /// Returns the last word.
    pub(super) fn last(&self) -> Option<&'a [u8]> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Returns the line after the first `count` words.
    pub(super) fn after(&self, count: usize) -> &'a [u8] {
        let end = count.checked_sub(1).and_then(|last| self.places.get(last)).map_or(0, |at| at.1);
        self.line.get(end..).unwrap_or_default()
    }

    /// Returns the line after the first `count` words, without the blanks around it.
    pub(super) fn name_after(&self, count: usize) -> &'a [u8] {
        trim(self.after(count))
    }

    /// Returns true if any word is `word`, in any case.
    pub(super) fn contains(&self, word: &str) -> bool {
        (0..self.len()).any(|at| self.is(at, word))
    }

    /// Returns true if the word at this position is `word`, in any case.
    pub(super) fn is(&self, position: usize, word: &str) -> bool {
        self.get(position).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Removes the blanks at both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Parses a size. Returns `None` for a word that is no size, and `Some(None)` for an inexact or impossible size: `-1`
/// of a counter of 32 bits, `4.0K`, `?`, `-`, the device numbers `8,0`.
#[expect(clippy::option_option, reason = "a size that is there, but unknown")]
pub(super) fn size(word: &[u8]) -> Option<Option<u64>> {
    if !word.is_empty() && word.iter().all(u8::is_ascii_digit) {
        return Some(decimal(word));
    }
    match word {
        b"-" | b"?" => return Some(None),
        [b'-', digits @ ..] => return digits.iter().all(u8::is_ascii_digit).then_some(None),
        [first, ..] if first.is_ascii_digit() => {}
        _ => return None,
    }
    let groups: Vec<&[u8]> = word
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|group| !group.is_empty())
        .collect();
    let (first, others) = groups.split_first()?;
    let are_digits = groups.iter().all(|group| group.iter().all(u8::is_ascii_digit));
    if are_digits
        && !others.is_empty()
        && first.len() <= 3
        && others.iter().all(|group| group.len() == 3)
    {
        return Some(decimal(&groups.concat()));
    }
    let unit = word.iter().position(u8::is_ascii_alphabetic).unwrap_or(word.len());
    let (number, unit) = word.split_at_checked(unit)?;
    let is_number = number.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    let is_unit =
        matches!(unit.first(), None | Some(b'K' | b'k' | b'M' | b'G' | b'T' | b'P' | b'E' | b'B'))
            && unit.len() <= 3;
    (is_number && is_unit && groups.len() <= 2).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_servers_write_them() {
        for (word, expected) in [
            ("0", Some(Some(0))),
            ("5368709120", Some(Some(5_368_709_120))),
            ("3,507,912", Some(Some(3_507_912))),
            ("1.234", Some(Some(1234))),
            ("9'730", Some(Some(9730))),
            ("9\u{a0}730", Some(Some(9730))),
            ("-1215752192", Some(None)),
            ("99999999999999999999999", Some(None)),
            ("4.0K", Some(None)),
            ("12MB", Some(None)),
            ("8,0", Some(None)),
            ("8,", Some(None)),
            ("?", Some(None)),
            ("-", Some(None)),
            ("12:30", None),
            ("a1", None),
            ("1a", None),
            ("", None),
            ("2005-06-07", None),
        ] {
            assert_eq!(size(word.as_bytes()), expected, "{word}");
        }
    }
}
