//! Times of day in the lines of LIST.

use jiff::civil::Time;

use crate::ftp::address::decimal;

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// The time.
    pub(super) time: Time,
    /// True if it has seconds.
    pub(super) has_seconds: bool,
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
    // A leap second becomes second 59.
    let time = Time::new(hour, two_digits(minute)?, second_number.min(59), 0).ok()?;
    Some(Clock { time, has_seconds: second.is_some() })
}

/// Reads `20.59`.
fn dotted(number: &[u8], half: Half) -> Option<Clock> {
    let (hour, minute) = number.split_at_checked(number.iter().position(|byte| *byte == b'.')?)?;
    let minute = minute.get(1..).filter(|minute| minute.len() == 2)?;
    let time = Time::new(half.hour(two_digits(hour)?)?, two_digits(minute)?, 0, 0).ok()?;
    Some(Clock { time, has_seconds: false })
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
        let time = clock.time.with().hour(self.hour(clock.time.hour())?).build().ok()?;
        Some(Clock { time, ..clock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_servers_write_them() {
        let read = |word: &str| {
            clock(word.as_bytes())
                .map(|clock| (clock.time.hour(), clock.time.minute(), clock.has_seconds))
        };
        assert_eq!(read("9:05"), Some((9, 5, false)));
        assert_eq!(read("12:05AM"), Some((0, 5, false)));
        assert_eq!(read("04:11pm"), Some((16, 11, false)));
        assert_eq!(read("6:22p"), Some((18, 22, false)));
        assert_eq!(read("21:22:33.000000000"), Some((21, 22, true)));
        assert_eq!(read("20.59"), Some((20, 59, false)));
        for word in [
            "",
            "1",
            "2001",
            "25:00",
            "12:60",
            "1:2",
            "a:b",
            "1:02:3",
            "25:00PM",
            "1:02:03:04",
            "é",
        ] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
