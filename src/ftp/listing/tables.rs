//! Listings of z/OS: data sets, the members of one, and jobs. Their heading determines what the lines mean.

use jiff::Timestamp;

use super::date::{Order, known};
use super::kind::Kind;
use super::listed::{Listed, Reading};
use super::words::Words;

/// A table, as its heading shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Data sets (MVS).
    DataSets,
    /// Members of a partitioned data set.
    Members,
    /// Jobs (JES).
    Jobs,
}

impl Table {
    /// Recognizes the heading of a table.
    pub(super) fn headed(line: &[u8]) -> Option<Self> {
        let words = Words::of(line);
        if words.contains("Dsname") && (words.contains("Volume") || words.contains("Dsorg")) {
            Some(Self::DataSets)
        } else if words.is(0, "Name") && (words.contains("VV.MM") || words.contains("TTR")) {
            Some(Self::Members)
        } else if words.is(0, "JOBNAME") && words.is(1, "JOBID") {
            Some(Self::Jobs)
        } else {
            None
        }
    }

    /// Reads a line below the heading.
    pub(super) fn line(self, line: &[u8], now: Timestamp) -> Reading {
        let words = Words::of(line);
        match self {
            Self::DataSets => data_set(&words).into(),
            Self::Members => member(&words, now).into(),
            Self::Jobs => match words.get(1) {
                Some(job) => Reading::Entry(Listed::of_kind(job, Kind::File)),
                None => Reading::Unknown,
            },
        }
    }
}

/// Reads `WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  NAME`, in a listing without its heading.
pub(super) fn data_set_alone(line: &[u8]) -> Option<Listed> {
    let words = Words::of(line);
    let referred = words.get(2)?;
    let is_date = referred.len() == 10
        && matches!((referred.get(4), referred.get(7)), (Some(b'/'), Some(b'/')));
    let is_whole = words.len() >= 9 && (is_date || referred == b"**NONE**");
    if is_whole { data_set(&words) } else { None }
}

/// Reads a data set: its organization is the last word but one, its name the last.
fn data_set(words: &Words<'_>) -> Option<Listed> {
    let name = words.last()?;
    let name = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'")).unwrap_or(name);
    let kind = match words.get(words.len().checked_sub(2)?) {
        _ if words.is(0, "Pseudo") => Some(Kind::Directory),
        _ if words.is(0, "Migrated") || words.is(0, "ARCIVE") || words.is(0, "ARCHIVE") => None,
        Some(b"PO" | b"PO-E" | b"POU" | b"PDSE") => Some(Kind::Directory),
        Some(b"PS" | b"PS-E" | b"PSU" | b"DA" | b"IS") => Some(Kind::File),
        Some(b"VSAM" | b"VS" | b"GDG" | b"PATH") => Some(Kind::Other),
        // Such as `Error determining attributes`.
        _ => None,
    };
    let may_be_name = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'$' | b'#' | b'@' | b'-' | b'{')
    };
    name.iter().all(may_be_name).then(|| Listed { kind, ..Listed::named(name) })
}

/// Reads `NAME 01.01 2004/06/22 2004/06/22 16:32  128  128  0 OWNER`, or a name alone.
fn member(words: &Words<'_>, now: Timestamp) -> Option<Listed> {
    let name = words.get(0).filter(|name| name.len() <= 8)?;
    let modified = known(words, 3, Order::Unknown, now).and_then(|dated| dated.time);
    Some(Listed { modified, ..Listed::of_kind(name, Kind::File) })
}
