//! Lines of a listing that describe no entry.

use super::words::{Words, size, trim};

/// Words for `total`, in the languages of `ls`.
const TOTALS: [&str; 17] = [
    "total",
    "totaal",
    "totale",
    "totalt",
    "toplam",
    "insgesamt",
    "gesamt",
    "razem",
    "celkem",
    "celkom",
    "összesen",
    "yhteensä",
    "summa",
    "итого",
    "总用量",
    "総用量",
    "합계",
];

/// Words of headings, of which one line has at least two.
const HEADINGS: [&str; 16] = [
    "name",
    "filename",
    "file",
    "size",
    "date",
    "time",
    "type",
    "owner",
    "group",
    "code",
    "eof",
    "modified",
    "modification",
    "attributes",
    "permissions",
    "rwep",
];

/// Returns true for a line that describes no entry: a total, a heading, a ruler, the name of the directory.
pub(super) fn is_noise(line: &[u8]) -> bool {
    let line = trim(line);
    let words = Words::of(line);
    line.is_empty()
        || is_total(&words)
        || is_ruler(line)
        || is_heading(line, &words)
        || is_remark(line, &words)
}

/// Recognizes `total 12`, `total 1.2M`, `Total of 11 files, 312 blocks.` and `合計 12`.
fn is_total(words: &Words<'_>) -> bool {
    let is_named = words.get(0).is_some_and(|word| {
        let word = String::from_utf8_lossy(word).to_lowercase();
        let word = word.trim_end_matches(':');
        TOTALS.contains(&word) || word == "合計" || word == "всего"
    });
    let has_number = words.get(1).and_then(size).is_some();
    let is_grand = words.is(0, "Grand") && words.is(1, "total");
    (is_named && (has_number || words.is(1, "of"))) || is_grand
}

/// Recognizes lines such as `--------  ----- ----`.
fn is_ruler(line: &[u8]) -> bool {
    line.len() >= 3
        && line
            .iter()
            .all(|byte| matches!(byte, b'-' | b'=' | b'_' | b'*' | b'+' | b'|' | b' ' | b'\t'))
}

/// Recognizes the names of columns.
fn is_heading(line: &[u8], words: &Words<'_>) -> bool {
    let is_column = |at: &usize| HEADINGS.iter().any(|heading| words.is(*at, heading));
    let count = (0..words.len()).filter(is_column).count();
    count >= 2 && count * 2 >= words.len() && !line.iter().any(u8::is_ascii_digit)
}

/// Recognizes what `dir` writes around a listing, and the name of the directory.
fn is_remark(line: &[u8], words: &Words<'_>) -> bool {
    let is_path = line.ends_with(b":") && (line.starts_with(b"/") || line.starts_with(b"."));
    let is_vms = words.is(0, "Directory") && words.len() == 2 && line.ends_with(b"]");
    let is_dos = (words.is(0, "Directory") && words.is(1, "of"))
        || (words.is(0, "Volume") && (words.is(1, "in") || words.is(1, "Serial")));
    let is_sum = words.len() >= 4
        && words.get(0).and_then(size).flatten().is_some()
        && (words.is(1, "File(s)") || words.is(1, "Dir(s)"));
    is_path || is_vms || is_dos || is_sum
}
