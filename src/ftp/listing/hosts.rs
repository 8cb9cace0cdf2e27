//! Lines of AS/400, z/VM, Tandem and of EPLF, each of which is known by its own shape.

use jiff::Timestamp;

use super::date::{Order, known};
use super::kind::Kind;
use super::listed::Listed;
use super::words::{Words, size, trim};
use crate::ftp::address::decimal;

/// Reads EPLF: `+i8388621.48594,m825718503,r,s280,\tname`.
pub(super) fn eplf(line: &[u8]) -> Option<Listed> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = (line.get(..tab)?.strip_prefix(b"+")?, line.get(tab + 1..)?);
    let mut listed = Listed::named(name);
    for fact in facts.split(|byte| *byte == b',') {
        match fact {
            b"/" => listed.kind = Some(Kind::Directory),
            b"r" => listed.kind = listed.kind.or(Some(Kind::File)),
            [b's', digits @ ..] => listed.size = decimal(digits),
            [b'm', digits @ ..] => {
                listed.modified =
                    decimal(digits).and_then(|second| Timestamp::from_second(second).ok());
            }
            _ => {}
        }
    }
    if listed.kind == Some(Kind::Directory) {
        listed.size = None;
    }
    Some(listed)
}

/// Reads AS/400: `QSYS  77824 02/23/00 15:09:55 *DIR  QOpenSys/`. A member has neither size nor date.
pub(super) fn as400(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let at = (1..6).find(|at| words.get(*at).is_some_and(is_object_type))?;
    let name = words.name_after(at + 1);
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let kind = match words.get(at)? {
        b"*DIR" | b"*DDIR" | b"*LIB" | b"*FLR" => Kind::Directory,
        // A database file is a directory of members.
        b"*FILE" if !name.to_ascii_uppercase().ends_with(b".SAVF") => Kind::Directory,
        b"*LINK" | b"*SYMLNK" => Kind::Link,
        b"*BLKSF" | b"*SOCKET" | b"*CHRSF" | b"*FIFO" => Kind::Other,
        _ => Kind::File,
    };
    let size = words.get(1).and_then(size).flatten().filter(|_| kind == Kind::File && at > 2);
    let modified = known(&words, 2, Order::Unknown, now).and_then(|dated| dated.time);
    (!name.is_empty()).then(|| Listed { size, modified, ..Listed::of_kind(name, kind) })
}

fn is_object_type(word: &[u8]) -> bool {
    matches!(word, [b'*', letters @ ..] if letters.len() >= 3 && letters.iter().all(u8::is_ascii_uppercase))
}

/// Reads z/VM: `README   ANONYMOU V  71  26  1 1997-04-02 12:33:20 TCP291`, and its directories, whose format is DIR.
pub(super) fn cms(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let format = words.get(2)?;
    let is_number = |at: usize| words.get(at).and_then(size).is_some();
    if !(3..6).all(is_number) {
        return None;
    }
    let dated = known(&words, 6, Order::MonthFirst, now)?;
    let is_directory = words.is(1, "DIR") && format == b"-";
    if !is_directory && !matches!(format, b"F" | b"V") {
        return None;
    }
    let (name, kind) = if is_directory {
        (words.get(0)?.to_vec(), Kind::Directory)
    } else {
        ([words.get(0)?, words.get(1)?].join(&b'.'), Kind::File)
    };
    Some(Listed { modified: dated.time, ..Listed::of_kind(&name, kind) })
}

/// Reads Tandem: `EMAIL  101  8192  8-Mar-26 14:58:27  255,255 "nunu"`.
pub(super) fn tandem(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let name = words.get(0).filter(|name| name.iter().all(u8::is_ascii_alphanumeric))?;
    let code = words.get(1)?;
    decimal::<u32>(code.strip_suffix(b"O").unwrap_or(code))?;
    let size = words.get(2).and_then(decimal::<u64>)?;
    let dated = known(&words, 3, Order::Unknown, now).filter(|dated| dated.has_clock)?;
    let owner = words.get(3 + dated.words)?;
    let rights = words.name_after(4 + dated.words);
    // The owner may be written as `1,  5`.
    let rights = trim(rights.strip_prefix(b"\"").or_else(|| quoted_behind(rights))?);
    (owner.contains(&b',') && rights.ends_with(b"\"")).then(|| Listed {
        size: Some(size),
        modified: dated.time,
        ..Listed::of_kind(name, Kind::File)
    })
}

fn quoted_behind(text: &[u8]) -> Option<&[u8]> {
    text.get(text.iter().position(|byte| *byte == b'"')? + 1..)
}
