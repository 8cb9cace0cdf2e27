//! Times as the protocol writes them: `YYYYMMDDHHMMSS[.sss]` in UTC (RFC 3659 §2.3), and the dates of LIST.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::address::decimal;

/// How old a file may be for LIST to show its time of day; older ones show the year, as `ls` does.
const RECENT_SECONDS: i64 = 182 * 24 * 3600;

/// A time shown as RFC 3659's `time-val`: `20261122161139`. A fraction is read but not written: no other server writes
/// one, and scripts that take 14 digits are common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeValue(pub Timestamp);

impl TimeValue {
    /// Reads a `time-val`; a fraction of any length is taken, to the nanosecond.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(dot) => (text.get(..dot)?, Some(text.get(dot + 1..)?)),
            None => (text, None),
        };
        let whole = whole.first_chunk::<14>().filter(|digits| digits.len() == whole.len())?;
        let part = |from: usize, to: usize| whole.get(from..to).and_then(decimal::<i8>);
        let year = whole.get(..4).and_then(decimal::<i16>)?;
        // A leap second is the last the calendar here knows.
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
        let at = Offset::UTC.to_datetime(self.0);
        write!(
            formatter,
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

/// A time as `ls -l` shows it, in UTC: `Nov 22 16:11`, or `Nov 22  2024` for one that is not recent.
pub(super) fn list_date(at: Timestamp, now: Timestamp) -> impl fmt::Display {
    fmt::from_fn(move |formatter| {
        let civil = Offset::UTC.to_datetime(at);
        let month = usize::try_from(civil.month() - 1)
            .ok()
            .and_then(|month| MONTHS.get(month))
            .unwrap_or(&"Jan");
        write!(formatter, "{month} {:>2} ", civil.day())?;
        let age = now.as_second() - at.as_second();
        if (-60..RECENT_SECONDS).contains(&age) {
            write!(formatter, "{:02}:{:02}", civil.hour(), civil.minute())
        } else {
            write!(formatter, "{:>5}", civil.year())
        }
    })
}

pub(super) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A calendar time, taken as UTC.
pub(super) fn timestamp(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// A decimal fraction of a second, in nanoseconds.
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
        let shown =
            |text: &str| list_date(TimeValue::parse(text.as_bytes()).unwrap().0, now).to_string();
        assert_eq!(shown("20261103000100"), "Nov  3 00:01");
        assert_eq!(shown("20240229120000"), "Feb 29  2024");
        assert_eq!(shown("20280101120000"), "Jan  1  2028", "a time to come");
    }

    proptest! {
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
