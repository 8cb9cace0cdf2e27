//! Times of day in the lines of LIST.

use jiff::civil::Time;

use crate::ftp::address::decimal;

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// The time; `None` for an impossible one, such as `12:60`.
    pub(super) time: Option<Time>,
    /// True for `24:00`, the midnight at the end of a day.
    pub(super) ends_day: bool,
    /// True if it has seconds.
    pub(super) has_seconds: bool,
}

impl Clock {
    fn new(hour: i8, minute: i8, second: i8, has_seconds: bool) -> Self {
        let ends_day = (hour, minute, second) == (24, 0, 0);
        let hour = if ends_day { 0 } else { hour };
        // A leap second becomes second 59.
        let second = if second == 60 { 59 } else { second };
        Self { time: Time::new(hour, minute, second, 0).ok(), ends_day, has_seconds }
    }
}

/// Reads `9:05`, `21:22:33.5`, `04:11PM`, `6:22a`, `20.59` or `21:22:33Z`.
pub(super) fn clock(word: &[u8]) -> Option<Clock> {
    let digits = word.iter().rposition(u8::is_ascii_digit)? + 1;
    let (number, suffix) = word.split_at_checked(digits)?;
    let half = Half::parse(suffix)?;
    let mut parts = number.split(|byte| *byte == b':');
    let (hour, minute, second) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    let Some(minute) = minute else { return dotted(hour, half) };
    let (second, fraction) = match second {
        Some(second) => {
            let mut halves = second.splitn(2, |byte| *byte == b'.');
            (Some(halves.next()?), halves.next())
        }
        None => (None, None),
    };
    let second_number =
        second.map_or(Some(0), |second| two_digits(second).filter(|_| second.len() == 2))?;
    if minute.len() != 2 || !fraction.is_none_or(|digits| digits.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let hour = half.hour(two_digits(hour)?)?;
    Some(Clock::new(hour, two_digits(minute)?, second_number, second.is_some()))
}

/// Reads `2359` or `235959`, which is a time of day only behind a date of digits.
pub(super) fn compact_clock(digits: &[u8]) -> Option<Clock> {
    if !matches!(digits.len(), 4 | 6) {
        return None;
    }
    let mut pairs = digits.chunks(2).map(two_digits);
    let (hour, minute, second) = (pairs.next()??, pairs.next()??, pairs.next());
    Some(Clock::new(hour, minute, second.unwrap_or(Some(0))?, second.is_some()))
}

/// Reads `20.59`.
fn dotted(number: &[u8], half: Half) -> Option<Clock> {
    let (hour, minute) = number.split_at_checked(number.iter().position(|byte| *byte == b'.')?)?;
    let minute = minute.get(1..).filter(|minute| minute.len() == 2)?;
    let clock = Clock::new(half.hour(two_digits(hour)?)?, two_digits(minute)?, 0, false);
    clock.time.map(|_| clock)
}

fn two_digits(digits: &[u8]) -> Option<i8> {
    if digits.len() <= 2 { decimal(digits) } else { None }
}

/// Half of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Morning,
    Afternoon,
    /// The hours count to 24.
    None,
}

impl Half {
    /// Reads `AM`, `PM`, `a`, `p.m.`, or the nothing or `Z` behind a time of 24 hours.
    pub(super) fn parse(suffix: &[u8]) -> Option<Self> {
        let letters: Vec<u8> =
            suffix.iter().filter(|byte| **byte != b'.').map(u8::to_ascii_lowercase).collect();
        match letters.as_slice() {
            b"" | b"z" => Some(Self::None),
            b"a" | b"am" => Some(Self::Morning),
            b"p" | b"pm" => Some(Self::Afternoon),
            _ => None,
        }
    }

    /// Returns the hour of 24 for one of 12.
    fn hour(self, hour: i8) -> Option<i8> {
        match self {
            Self::None => Some(hour),
            // Some servers add the half to hours of 24, too.
            Self::Morning => (hour < 24).then_some(hour % 12),
            Self::Afternoon => (hour < 24).then_some(hour % 12 + 12),
        }
    }

    /// Returns the time of day, once its half is known from another word.
    pub(super) fn of(self, clock: Clock) -> Option<Clock> {
        let time = clock.time?;
        let time = time.with().hour(self.hour(time.hour())?).build().ok()?;
        Some(Clock { time: Some(time), ..clock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_servers_write_them() {
        let read = |word: &str| {
            let clock = clock(word.as_bytes())?;
            let time = clock.time?;
            Some((time.hour(), time.minute(), clock.has_seconds))
        };
        assert_eq!(read("9:05"), Some((9, 5, false)));
        assert_eq!(read("12:05AM"), Some((0, 5, false)));
        assert_eq!(read("04:11pm"), Some((16, 11, false)));
        assert_eq!(read("6:22p"), Some((18, 22, false)));
        assert_eq!(read("21:22:33.000000000"), Some((21, 22, true)));
        assert_eq!(read("20.59"), Some((20, 59, false)));
        for word in ["", "1", "2001", "1:2", "a:b", "1:02:3", "25:00PM", "1:02:03:04", "é"] {
            assert_eq!(clock(word.as_bytes()), None, "{word}");
        }
        for word in ["25:00", "12:60", "24:01", "12:00:61"] {
            assert_eq!(clock(word.as_bytes()).map(|clock| clock.time), Some(None), "{word}");
        }
        assert!(clock(b"24:00:00").is_some_and(|clock| clock.ends_day && clock.time.is_some()));
        assert_eq!(compact_clock(b"2359"), Some(Clock::new(23, 59, 0, false)));
        assert_eq!(compact_clock(b"235960"), Some(Clock::new(23, 59, 60, true)));
        assert_eq!(compact_clock(b"12:3"), None);
    }
}
