//! Times in the forms of the protocol: `YYYYMMDDHHMMSS[.sss]` in UTC (RFC 3659 §2.3), and the dates of LIST.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::address::decimal;

/// The maximum age, in seconds, of a file whose time of day LIST shows; older files show the year, as `ls` does.
const RECENT_SECONDS: i64 = 182 * DAY_SECONDS;
const DAY_SECONDS: i64 = 24 * 3600;

/// A time in the form of RFC 3659's `time-val`: `20261122161139`. A fraction is read but not written: no other server
/// writes one, and many scripts expect 14 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeValue(pub Timestamp);

impl TimeValue {
    /// Parses a `time-val`; a fraction may have any length, and counts to the nanosecond.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(dot) => (text.get(..dot)?, Some(text.get(dot + 1..)?)),
            None => (text, None),
        };
        let whole = whole.first_chunk::<14>().filter(|digits| digits.len() == whole.len())?;
        let part = |from: usize, to: usize| whole.get(from..to).and_then(decimal::<i8>);
        let year = whole.get(..4).and_then(decimal::<i16>)?;
        // A leap second becomes second 59, because the calendar used here has no second 60.
        let second = part(12, 14)?;
        let second = if second == 60 { 59 } else { second };
        let nanosecond = fraction.map_or(Some(0), nanoseconds)?;
        let date = Date::new(year, part(4, 6)?, part(6, 8)?).ok()?;
        let time = Time::new(part(8, 10)?, part(10, 12)?, second, nanosecond).ok()?;
        timestamp(date.to_datetime(time)).map(Self)
    }
}

impl fmt::Display for TimeValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        Days::default().time_value(self.0, &mut text);
        formatter.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// A writer of times that caches the day of the last one. The files of a directory are often from one day, and
/// computing the day takes longer than all the rest.
#[derive(Debug, Default, Clone, Copy)]
pub struct Days(Option<Day>);

/// A day, counted from 1970, and its written form.
#[derive(Debug, Clone, Copy)]
struct Day {
    number: i64,
    date: Date,
    /// The digits of year, month and day, in pairs.
    text: [[u8; 2]; 4],
}

impl Day {
    fn new(number: i64, date: Date) -> Self {
        let year = u64::from(date.year().unsigned_abs());
        let [month, day] = [date.month(), date.day()].map(|part| u64::from(part.unsigned_abs()));
        let text = [year / 100, year % 100, month, day].map(two_digits);
        Self { number, date, text }
    }
}

impl Days {
    /// Appends a `time-val`: `20261122161139`.
    pub fn time_value(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let (day, of_day) = self.split(at);
        let time = [of_day / 3600, of_day / 60 % 60, of_day % 60].map(two_digits);
        out.extend_from_slice(day.text.as_flattened());
        out.extend_from_slice(time.as_flattened());
    }

    /// Appends a time as `ls -l` shows it, in UTC: `Nov 22 16:11`, or `Nov 22  2024` for one that is not recent.
    pub fn list_date(&mut self, at: Timestamp, now: Timestamp, out: &mut Vec<u8>) {
        let (Day { date, .. }, of_day) = self.split(at);
        let month = usize::from(date.month().unsigned_abs()).saturating_sub(1);
        out.extend_from_slice(MONTHS.get(month).unwrap_or(&"Jan").as_bytes());
        out.push(b' ');
        push_number(out, date.day().unsigned_abs().into(), 2, b' ');
        out.push(b' ');
        let age = now.as_second() - at.as_second();
        if (-60..RECENT_SECONDS).contains(&age) {
            push_number(out, of_day / 3600, 2, b'0');
            out.push(b':');
            push_number(out, of_day / 60 % 60, 2, b'0');
        } else {
            push_number(out, date.year().unsigned_abs().into(), 5, b' ');
        }
    }

    /// Returns the day, and the second of that day.
    fn split(&mut self, at: Timestamp) -> (Day, u64) {
        let second = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
        let number = second.div_euclid(DAY_SECONDS);
        let day = match self.0 {
            Some(day) if day.number == number => day,
            _ => Day::new(number, Offset::UTC.to_datetime(at).date()),
        };
        self.0 = Some(day);
        (day, second.rem_euclid(DAY_SECONDS).unsigned_abs())
    }
}

/// Returns the last two digits of a number.
#[allow(clippy::cast_possible_truncation, reason = "below 10 each")]
fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Appends a number in decimal, padded to at least `width`. Each line of a listing has several of these.
#[allow(clippy::cast_possible_truncation, reason = "below 10 each")]
pub(super) fn push_number(out: &mut Vec<u8>, number: u64, width: usize, pad: u8) {
    let mut digits = [pad; 20];
    let (mut left, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        (left, count) = (left / 10, count + 1);
        if left == 0 {
            break;
        }
    }
    let shown = digits.len() - count.max(width.min(digits.len()));
    out.extend_from_slice(digits.get(shown..).unwrap_or_default());
}

pub(super) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Converts a calendar time, taken as UTC.
pub(super) fn timestamp(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// Parses a decimal fraction of a second, in nanoseconds.
fn nanoseconds(fraction: &[u8]) -> Option<i32> {
    if fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut digits = [b'0'; 9];
    digits.iter_mut().zip(fraction).for_each(|(digit, given)| *digit = *given);
    decimal(&digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_value_is_read_to_the_letter() {
        let read = |text: &str| TimeValue::parse(text.as_bytes()).map(|time| time.to_string());
        assert_eq!(read("20261122161139"), Some("20261122161139".to_owned()));
        assert_eq!(read("20261122161139.25"), Some("20261122161139".to_owned()));
        for text in [
            "",
            "2026112216113",
            "20261322161139",
            "20261122161139.",
            "2026112216113x",
            "202611221611390",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_date_has_the_year_when_it_is_not_recent() {
        let now = TimeValue::parse(b"20261122161139").unwrap().0;
        let shown = |text: &str| {
            let (at, mut out) = (TimeValue::parse(text.as_bytes()).unwrap().0, Vec::new());
            Days::default().list_date(at, now, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown("20261103000100"), "Nov  3 00:01");
        assert_eq!(shown("20240229120000"), "Feb 29  2024");
        assert_eq!(shown("20280101120000"), "Jan  1  2028", "a time to come");
    }

    #[test]
    fn a_number_is_as_wide_as_asked_for_at_least() {
        let shown = |number, width, pad| {
            let mut out = Vec::new();
            push_number(&mut out, number, width, pad);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0, 1, b'0'), "0");
        assert_eq!(shown(7, 3, b' '), "  7");
        assert_eq!(shown(12345, 2, b'0'), "12345");
        assert_eq!(shown(u64::MAX, 30, b' '), u64::MAX.to_string());
    }

    proptest! {
        #[test]
        fn the_day_of_before_changes_nothing(seconds in proptest::collection::vec(-200_000_i64..200_000, 1..8)) {
            let mut days = Days::default();
            for second in seconds {
                let (at, mut out) = (Timestamp::new(second, 0).unwrap(), Vec::new());
                days.time_value(at, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), TimeValue(at).to_string());
            }
        }

        #[test]
        fn what_is_written_is_read_back(second in -62_135_596_800_i64..253_402_207_200) {
            let time = TimeValue(Timestamp::new(second, 0).unwrap());
            prop_assert_eq!(TimeValue::parse(time.to_string().as_bytes()), Some(time));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _read = TimeValue::parse(&bytes);
        }
    }
}
