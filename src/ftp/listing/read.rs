//! Whole listings, as a client receives them.

use jiff::Timestamp;

use super::dos::{dos, name_first, size_first};
use super::hosts::{as400, cms, eplf, tandem};
use super::listed::{Directory, Reading};
use super::machine::{begins_with_fact, facts};
use super::noise::is_noise;
use super::tables::{Table, data_set_alone};
use super::unix::{netware, numbers, unix};
use super::vms::Versions;

/// Reads the text of LIST. LIST has no standard: each line is read in the forms of many servers, and counted if it has
/// none of them.
///
/// `now` determines the year of a date without one.
#[must_use]
pub fn read_list(text: &[u8], now: Timestamp) -> Directory {
    let mut directory = Directory::default();
    let mut versions = Versions::default();
    let mut table = None;
    for line in lines(text) {
        if let Some(found) = Table::headed(line) {
            table = Some(found);
        } else if let Some(table) = table.filter(|_| !is_noise(line)) {
            directory.add(line, table.line(line, now));
        } else if !versions.add(line, now, &mut directory)
            && !versions.go_on(line, now, &mut directory)
        {
            directory.add(line, one(line, now));
        }
    }
    versions.finish(&mut directory);
    directory
}

/// Reads the text of MLSD.
#[must_use]
pub fn read_facts(text: &[u8]) -> Directory {
    let mut directory = Directory::default();
    for line in lines(text) {
        directory.add(line, facts(line));
    }
    directory
}

/// Reads a line that stands alone.
fn one(line: &[u8], now: Timestamp) -> Reading {
    if is_noise(line) {
        return Reading::Noise;
    }
    if begins_with_fact(line) {
        return facts(line);
    }
    eplf(line)
        .or_else(|| unix(line, now))
        .or_else(|| netware(line, now))
        .or_else(|| as400(line, now))
        .or_else(|| data_set_alone(line))
        .or_else(|| cms(line, now))
        .or_else(|| tandem(line, now))
        .or_else(|| dos(line, now))
        .or_else(|| numbers(line))
        .or_else(|| size_first(line, now))
        .or_else(|| name_first(line, now))
        .into()
}

/// Returns the lines of a text without their ends; blank lines are left out.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty())
}
