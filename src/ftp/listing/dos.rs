//! Lines of MS-DOS and Windows, and of other small systems: OS/2, VxWorks, VShell, SuperTCP.

use jiff::Timestamp;

use super::clock::{Half, clock};
use super::date::{Order, compact, known};
use super::kind::Kind;
use super::listed::Listed;
use super::words::{Words, size, trim};

/// Reads `11-22-26  04:11PM       <DIR>          name`.
pub(super) fn dos(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let (modified, mut next) = moment(&words, now)?;
    let kind = words.get(next)?;
    next += 1;
    let name = words.name_after(next);
    let listed = |name: &[u8], kind, size| {
        (!name.is_empty()).then(|| Listed { size, modified, ..Listed::of_kind(name, kind) })
    };
    match kind {
        b"<DIR>" | b"<dir>" => listed(name, Kind::Directory, None),
        // The target of a link follows in brackets.
        [b'<', .., b'>'] => {
            let target = name
                .windows(2)
                .rposition(|window| window == b" [")
                .filter(|_| name.ends_with(b"]"));
            listed(trim(name.get(..target.unwrap_or(name.len()))?), Kind::Link, None)
        }
        word => listed(name, Kind::File, size(word)?),
    }
}

/// Reads the date and the time in front of a line, and returns the number of their words. AM and PM may be a word of
/// their own, also in another language.
fn moment(words: &Words<'_>, now: Timestamp) -> Option<(Option<Timestamp>, usize)> {
    let is_date = |word: &[u8]| word.first().is_some_and(u8::is_ascii_digit);
    words.get(0).filter(|word| is_date(word))?;
    let dated = known(words, 0, Order::MonthFirst, now).or_else(|| compact(words, 0, now))?;
    if !dated.has_clock {
        // 上午 09:52
        let is_foreign = words.get(1).is_some_and(|word| !word.is_ascii());
        return (dated.words == 1 && is_foreign && words.get(2).and_then(clock).is_some())
            .then_some((None, 3));
    }
    let half = words.get(dated.words).and_then(Half::parse);
    let clock = words.get(dated.words - 1).and_then(clock);
    match (half, clock, dated.time) {
        (Some(half), Some(clock), Some(time)) => {
            let civil =
                jiff::tz::Offset::UTC.to_datetime(time).date().to_datetime(half.of(clock)?.time?);
            Some((crate::ftp::time::timestamp(civil), dated.words + 1))
        }
        (Some(_), ..) => Some((None, dated.words + 1)),
        _ => Some((dated.time, dated.words)),
    }
}

/// Reads `1234    Mar-05-2019    10:00:02   name  <DIR>` (VxWorks), `0  DIR  02-11-103  16:15  name` (OS/2) and
/// `206876  Apr 04, 2000  21:06 name/` (VShell).
pub(super) fn size_first(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let size = words.get(0).and_then(size)?;
    let is_attribute = |word: &[u8]| word.len() <= 4 && word.iter().all(u8::is_ascii_uppercase);
    let attributes =
        (1..words.len()).take_while(|at| words.get(*at).is_some_and(is_attribute)).count();
    let at = 1 + attributes;
    let dated = known(&words, at, Order::MonthFirst, now).or_else(|| compact(&words, at, now));
    let dated = dated.filter(|dated| dated.has_clock)?;
    let name = words.name_after(at + dated.words);
    let is_marked = (1..at).any(|word| words.is(word, "DIR"));
    let (name, is_directory) = match (name.strip_suffix(b"<DIR>"), name.strip_suffix(b"/")) {
        (Some(name), _) => (trim(name), true),
        (_, Some(name)) => (name, true),
        _ => (name, is_marked),
    };
    let kind = if is_directory { Kind::Directory } else { Kind::File };
    (!name.is_empty()).then(|| Listed {
        size: size.filter(|_| !is_directory),
        modified: dated.time,
        ..Listed::of_kind(name, kind)
    })
}

/// Reads `CMT  <DIR>  11-21-94  10:17` and `DESIGN1.DOC  11264  05-11-95  14:20`: SuperTCP and Chameleon.
pub(super) fn name_first(line: &[u8], now: Timestamp) -> Option<Listed> {
    let words = Words::of(line);
    let name = words.get(0)?;
    let kind = words.get(1)?;
    let dated = known(&words, 2, Order::MonthFirst, now)?;
    // Anything behind the date makes this another form.
    if words.len() != 2 + dated.words || !dated.has_clock {
        return None;
    }
    let (kind, size) =
        if kind == b"<DIR>" { (Kind::Directory, None) } else { (Kind::File, size(kind)?) };
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    Some(Listed { size, modified: dated.time, ..Listed::of_kind(name, kind) })
}
