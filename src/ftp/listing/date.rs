//! Dates in the lines of LIST.

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::clock::{Clock, clock, compact_clock};
use super::month::{may_be_month, month, numbers};
use super::words::Words;
use crate::ftp::address::decimal;
use crate::ftp::time::timestamp;

/// Order of month and day in a date of numbers, such as `04-03-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The month comes first.
    MonthFirst,
    /// Either may come first: the date is unknown unless one of them exceeds 12.
    Unknown,
}

/// A date in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dated {
    /// The time, if it is known.
    pub(super) time: Option<Timestamp>,
    /// Number of words of the date.
    pub(super) words: usize,
    /// True if the date has a time of day.
    pub(super) has_clock: bool,
}

/// A day, as far as a line shows it.
#[derive(Debug, Clone, Copy, Default)]
struct CivilDay {
    year: Option<i16>,
    /// Month and day of the month, unless their order is unknown.
    month_and_day: Option<(i8, i8)>,
}

impl CivilDay {
    /// Returns the time at `clock` of this day. Without a year, that is the last such day that is at most one day ahead.
    fn at(self, clock: Option<Clock>, now: Timestamp) -> Option<Timestamp> {
        let (month, day) = self.month_and_day?;
        let time = clock.map_or(Some(Time::midnight()), |clock| clock.time)?;
        let ends_day = clock.is_some_and(|clock| clock.ends_day);
        let at = |date: Date| {
            let date = if ends_day { date.tomorrow().ok()? } else { date };
            timestamp(date.to_datetime(time))
        };
        if let Some(year) = self.year {
            return at(Date::new(year, month, day).ok()?);
        }
        let this_year = jiff::tz::Offset::UTC.to_datetime(now).year();
        // 29 February may be years back. A server ahead of UTC dates a new file into the next year.
        (-1..8)
            .filter_map(|back| Date::new(this_year - back, month, day).ok())
            .find_map(|date| at(date).filter(|at| at.as_second() <= now.as_second() + 24 * 3600))
    }
}

/// Reads a date of a known form at a word.
pub(super) fn known(words: &Words<'_>, at: usize, order: Order, now: Timestamp) -> Option<Dated> {
    let has_weekday = words.get(at).is_some_and(is_weekday);
    let start = at + usize::from(has_weekday);
    let found = month_and_day(words, start)
        .and_then(|(day, used)| finish(words, start + used, day, now))
        .or_else(|| year_first(words, start, now))
        .or_else(|| joined(words, start, order, now))?;
    Some(Dated { words: found.words - at, ..found })
}

/// Reads a date whose month is a word of an unknown language, or a number.
pub(super) fn loose(words: &Words<'_>, at: usize, now: Timestamp) -> Option<Dated> {
    let (first, second) = (words.get(at)?, words.get(at + 1)?);
    let is_unknown_month = (may_be_month(first) && day_of_month(second).is_some())
        || (may_be_month(second) && day_of_month(first).is_some());
    let found = if is_unknown_month {
        finish(words, at + 2, CivilDay::default(), now)?
    } else {
        let day = CivilDay { year: None, month_and_day: Some((decimal(first)?, decimal(second)?)) };
        let is_valid = matches!(day.month_and_day, Some((1..=12, 1..=31)));
        finish(words, at + 2, day, now).filter(|found| is_valid && found.has_clock)?
    };
    Some(Dated { words: found.words - at, ..found })
}

/// Reads a date of digits alone, such as `20200107`, `20200107T1230` or `20200107123000`, with the time of day behind it.
pub(super) fn compact(words: &Words<'_>, at: usize, now: Timestamp) -> Option<Dated> {
    let (date, rest) = words.get(at)?.split_at_checked("20200107".len())?;
    let (year, rest_of_date) = date.split_at_checked(4)?;
    let (month, day) = rest_of_date.split_at_checked(2)?;
    let day = CivilDay {
        year: Some(self::year(year)?),
        month_and_day: Some((
            decimal(month).filter(|month| (1..=12).contains(month))?,
            day_of_month(day)?,
        )),
    };
    let (glued, behind) = match rest {
        [] => (None, words.get(at + 1).and_then(clock)),
        [b'T' | b't', rest @ ..] => {
            let digits = rest.strip_suffix(b"Z").unwrap_or(rest);
            (Some(compact_clock(digits).or_else(|| clock(rest))?), None)
        }
        digits => (Some(compact_clock(digits)?), None),
    };
    let words = 1 + usize::from(behind.is_some());
    let clock = glued.or(behind);
    Some(Dated { time: day.at(clock, now), words, has_clock: clock.is_some() })
}

/// Reads seconds since 1970, such as `1578355200` or `1578355200.25`.
pub(super) fn seconds(words: &Words<'_>, at: usize) -> Option<Dated> {
    let word = words.get(at)?;
    let whole = word.split(|byte| *byte == b'.').next()?;
    let is_decimal = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    // From 1973 on.
    if !matches!(whole.len(), 9 | 10) || !word.iter().all(is_decimal) {
        return None;
    }
    let time = Timestamp::from_second(decimal(whole)?).ok();
    Some(Dated { time, words: 1, has_clock: true })
}

/// Reads `Jan 26`, `26 Jan`, `8月 10日` or `8月10日`, and returns the number of words.
fn month_and_day(words: &Words<'_>, at: usize) -> Option<(CivilDay, usize)> {
    let first = words.get(at)?;
    let day = |month, day| CivilDay { year: None, month_and_day: Some((month, day)) };
    match numbers(first).as_deref() {
        Some([month @ 1..=12, of_month @ 1..=31]) => {
            return Some((day(i8::try_from(*month).ok()?, i8::try_from(*of_month).ok()?), 1));
        }
        Some([month @ 1..=12]) => {
            return Some((day(i8::try_from(*month).ok()?, day_of_month(words.get(at + 1)?)?), 2));
        }
        _ => {}
    }
    let second = words.get(at + 1)?;
    let (month, of_month) = match month(first) {
        // A damaged file system may have any day, such as `Jan 0`. It is then a day without a time.
        Some(month) => {
            let any_day = || decimal(second).filter(|_| second.len() <= 2);
            (month, day_of_month(second).or_else(any_day)?)
        }
        None => (month(second)?, day_of_month(first)?),
    };
    Some((day(month, of_month), 2))
}

/// Reads the time of day or the year after a day, and returns the position after it in place of the number of words.
fn finish(words: &Words<'_>, at: usize, day: CivilDay, now: Timestamp) -> Option<Dated> {
    let word = words.get(at)?;
    // Behind a month, any number of four digits is a year.
    let any_year = || decimal(word).filter(|_| word.len() == 4 && day.month_and_day.is_some());
    if let Some(year) = year(word).or_else(any_year) {
        let day = CivilDay { year: Some(year), ..day };
        // A comma or an apostrophe belongs to a form with the time behind the year.
        let is_long =
            words.get(at - 1).is_some_and(|word| word.ends_with(b",")) || word.starts_with(b"'");
        let clock = words.get(at + 1).and_then(clock).filter(|_| is_long);
        let words = at + 1 + usize::from(clock.is_some());
        return Some(Dated { time: day.at(clock, now), words, has_clock: clock.is_some() });
    }
    let clock = clock(word)?;
    // `ls -T` writes the year behind the seconds.
    let behind =
        words.get(at + 1).and_then(year).filter(|_| clock.has_seconds && words.len() > at + 2);
    let day = CivilDay { year: behind.or(day.year), ..day };
    let end = at + 1 + usize::from(behind.is_some());
    let end = end + usize::from(has_zone(words, end, Some(clock)));
    Some(Dated { time: day.at(Some(clock), now), words: end, has_clock: true })
}

/// Reads `2019年 3月 7日`, with the time of day behind it. Returns the position after it in place of the number of words.
fn year_first(words: &Words<'_>, at: usize, now: Timestamp) -> Option<Dated> {
    let [year @ 1900..=2200] = *numbers(words.get(at)?)?.as_slice() else { return None };
    let (day, used) = month_and_day(words, at + 1)?;
    let end = at + 1 + used;
    let clock = words.get(end).and_then(clock);
    let time = CivilDay { year: Some(year), ..day }.at(clock, now);
    let has_clock = clock.is_some();
    Some(Dated { time, words: end + usize::from(has_clock), has_clock })
}

/// Reads a date of one word, such as `2005-06-07`, `07.06.2005`, `29-Jan-2001`, `Feb-28-1998` or `06-07`, with the time
/// of day behind it. Returns the position after it in place of the number of words.
fn joined(words: &Words<'_>, at: usize, order: Order, now: Timestamp) -> Option<Dated> {
    let word = words.get(at)?;
    let (date, glued) = match word.iter().position(|byte| *byte == b'T') {
        Some(place) if word.first()?.is_ascii_digit() && place >= 8 => {
            (word.get(..place)?, Some(clock(word.get(place + 1..)?)?))
        }
        _ => (word, None),
    };
    let (day, is_whole) = day_of(date, order)?;
    if !is_whole {
        return finish(words, at + 1, day, now);
    }
    let behind = words.get(at + 1).and_then(clock).filter(|_| glued.is_none());
    let clock = glued.or(behind);
    let mut end = at + 1 + usize::from(behind.is_some());
    end += usize::from(has_zone(words, end, clock));
    Some(Dated { time: day.at(clock, now), words: end, has_clock: clock.is_some() })
}

/// Reads a date of one word; the second value is false if it lacks the year.
fn day_of(word: &[u8], order: Order) -> Option<(CivilDay, bool)> {
    if let Some([year @ 1900..=2200, month @ 1..=12, day @ 1..=31]) = numbers(word).as_deref() {
        let month_and_day = Some((i8::try_from(*month).ok()?, i8::try_from(*day).ok()?));
        return Some((CivilDay { year: Some(*year), month_and_day }, true));
    }
    let separator = *word.iter().find(|byte| matches!(byte, b'-' | b'/' | b'.'))?;
    let parts: Vec<&[u8]> = word.split(|byte| *byte == separator).collect();
    match *parts.as_slice() {
        [first, second] => {
            let (month, day) = (decimal::<i8>(first)?, decimal::<i8>(second)?);
            let is_valid = separator != b'.' && matches!((month, day), (1..=12, 1..=31));
            is_valid.then_some((CivilDay { year: None, month_and_day: Some((month, day)) }, false))
        }
        [year, month, day] if year.len() == 4 => {
            let month = self::month(month)
                .or_else(|| decimal(month).filter(|month| (1..=12).contains(month)))?;
            let day = CivilDay {
                year: self::year(year),
                month_and_day: Some((month, day_of_month(day)?)),
            };
            day.year.map(|_| (day, true))
        }
        [first, second, year] => {
            let year = short_year(year)?;
            let month_and_day = match (month(first), month(second)) {
                (Some(month), _) => Some((month, day_of_month(second)?)),
                (_, Some(month)) => Some((month, day_of_month(first)?)),
                _ => ordered(decimal(first)?, decimal(second)?, separator, order)?,
            };
            Some((CivilDay { year: Some(year), month_and_day }, true))
        }
        _ => None,
    }
}

/// Returns month and day in this order; the outer `None` if the numbers are no date, the inner if the order is unknown.
#[expect(clippy::option_option, reason = "a date that is there, but ambiguous")]
fn ordered(first: i8, second: i8, separator: u8, order: Order) -> Option<Option<(i8, i8)>> {
    match (first, second) {
        (13..=31, 1..=12) => Some(Some((second, first))),
        (1..=12, 1..=12) if separator == b'.' => Some(Some((second, first))),
        (1..=12, 13..=31) => Some(Some((first, second))),
        (1..=12, 1..=12) if order == Order::MonthFirst || first == second => {
            Some(Some((first, second)))
        }
        (1..=12, 1..=12) => Some(None),
        _ => None,
    }
}

/// Reads the day of a month: `7`, `07`, `26.`, `4,`, `10日`.
fn day_of_month(word: &[u8]) -> Option<i8> {
    let digits = word.strip_suffix(b".").or_else(|| word.strip_suffix(b",")).unwrap_or(word);
    let day = match numbers(word).as_deref() {
        Some([day]) => i8::try_from(*day).ok()?,
        None if digits.len() <= 2 => decimal(digits)?,
        Some(_) | None => return None,
    };
    (1..=31).contains(&day).then_some(day)
}

/// Reads a year of four digits, or one such as `'94`.
fn year(word: &[u8]) -> Option<i16> {
    match word {
        [b'\'', digits @ ..] if digits.len() == 2 => short_year(digits),
        digits if digits.len() == 4 => decimal(digits).filter(|year| (1900..2200).contains(year)),
        _ => None,
    }
}

/// Reads a year of two digits, of four, or of the three that count from 1900.
fn short_year(word: &[u8]) -> Option<i16> {
    let number = decimal::<i16>(word)?;
    match (word.len(), number) {
        (2, 0..70) => Some(2000 + number),
        (2, _) | (3, 100..200) => Some(1900 + number),
        (4, 1900..2200) => Some(number),
        _ => None,
    }
}

fn is_weekday(word: &[u8]) -> bool {
    let names: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    let word = word.strip_suffix(b",").unwrap_or(word);
    names.iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// Returns true if an offset from UTC, such as `+0200`, stands between the seconds and the name.
fn has_zone(words: &Words<'_>, at: usize, clock: Option<Clock>) -> bool {
    clock.is_some_and(|clock| clock.has_seconds)
        && words.len() > at + 1
        && words.get(at).is_some_and(is_zone)
}

fn is_zone(word: &[u8]) -> bool {
    matches!(word, [b'+' | b'-', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit))
}
