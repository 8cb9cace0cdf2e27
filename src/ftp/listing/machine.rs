//! Lines of MLSD and MLST (RFC 3659 §7.2), also those of careless servers.

use super::kind::Kind;
use super::listed::{Listed, Reading};
use crate::ftp::address::decimal;
use crate::ftp::time::TimeValue;

/// Reads a line: facts, a space, and a name. The facts end at the first semicolon with a space behind it.
pub(super) fn facts(line: &[u8]) -> Reading {
    let line = match line {
        // A line without facts begins with the space. A few servers put one in front of the facts, too.
        [b' ', rest @ ..] if !begins_with_fact(rest) => return Reading::Entry(Listed::named(rest)),
        [b' ', rest @ ..] => rest,
        line => line,
    };
    let Some((facts, name)) = split(line) else { return Reading::Unknown };
    let mut listed = Listed::named(name);
    let (mut is_read, mut is_itself) = (false, false);
    for fact in facts.split(|byte| *byte == b';') {
        let Some(equals) = fact.iter().position(|byte| *byte == b'=') else { continue };
        let (fact, value) = fact.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        is_read = true;
        match fact.trim_ascii().to_ascii_lowercase().as_slice() {
            b"type" => match kind(value) {
                Some(kind) => {
                    listed.kind = Some(kind);
                    // ProFTPD sends `OS.unix=slink:/target`; others leave the target out.
                    let target =
                        value.splitn(2, |byte| *byte == b':').nth(1).filter(|_| kind == Kind::Link);
                    listed.target = target.filter(|target| !target.is_empty()).map(<[u8]>::to_vec);
                }
                None if value.trim_ascii().eq_ignore_ascii_case(b"cdir") => is_itself = true,
                None => return Reading::Noise,
            },
            b"unique" => listed.unique = Some(value.to_vec()).filter(|unique| !unique.is_empty()),
            b"size" | b"sizd" => listed.size = decimal(value.trim_ascii()),
            b"unix.mode" => {
                let value = String::from_utf8_lossy(value.trim_ascii());
                // pyftpdlib writes `0o644`.
                let digits = value.strip_prefix("0o").unwrap_or(&value);
                listed.mode = u32::from_str_radix(digits, 8).ok().map(|mode| mode & 0o7777);
            }
            b"modify" => listed.modified = TimeValue::parse(value.trim_ascii()).map(|time| time.0),
            _ => {}
        }
    }
    if is_itself {
        return Reading::Itself(listed.unique);
    }
    if listed.kind.is_none() && listed.size.is_some() {
        listed.kind = Some(Kind::File);
    }
    if listed.kind != Some(Kind::File) {
        listed.size = None;
    }
    if is_read { Reading::Entry(listed) } else { Reading::Unknown }
}

/// Returns the kind that a type fact means; `None` for the directory itself and its parent.
fn kind(value: &[u8]) -> Option<Kind> {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    match value.trim() {
        "file" => Some(Kind::File),
        "dir" => Some(Kind::Directory),
        "cdir" | "pdir" => None,
        value if value.contains("link") => Some(Kind::Link),
        _ => Some(Kind::Other),
    }
}

/// Returns true for a line that begins with a fact of the standard.
pub(super) fn begins_with_fact(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| *byte == b'=').unwrap_or_default();
    let name = line.get(..end).unwrap_or_default().to_ascii_lowercase();
    matches!(name.as_slice(), b"type" | b"size" | b"modify" | b"perm" | b"unique" | b"create")
}

/// Splits a line into its facts and its name.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.windows(2).position(|window| window == b"; ").map(|place| place + 1);
    let end = end.or_else(|| line.iter().position(|byte| *byte == b' '))?;
    Some((line.get(..end)?, line.get(end + 1..)?))
}
