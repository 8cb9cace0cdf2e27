//! The text of one value: the parser, the printer, and the words for what is expected.

use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::log::{Format, Level, Output};
use crate::net::data::Resumption;
use crate::net::place::Place;
use crate::net::public::AddressOrName;
use crate::net::tls::Newest;
use crate::scan::ScannerAddress;
use crate::storage::{DirectoryRule, Group, Mount};
use crate::units;

use super::host::VirtualHost;
use super::kind::Kind;
use super::listen::Listen;
use super::ports::passive_ports;
use super::user_entry::UserEntry;

/// The maximum time: a century stands for never, and does not overflow.
const TIME_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// None, or a count.
    One,
    /// Seconds.
    Seconds,
    /// Hours.
    Hours,
}

impl Unit {
    /// Returns the name of the unit.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Seconds => "seconds",
            Self::Hours => "hours",
        }
    }

    fn duration(self) -> Duration {
        match self {
            Self::One | Self::Seconds => Duration::from_secs(1),
            Self::Hours => Duration::from_hours(1),
        }
    }
}

/// The bounds of a value, and the unit of a bare number.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The unit of a bare number.
    pub unit: Unit,
    /// The minimum of a number. For a time, any minimum but 0 excludes only 0.
    pub least: u64,
}

/// A value of one text.
pub(super) trait Value: Sized {
    /// The type in a file.
    const KIND: Kind;
    /// The separator of several values in one text.
    const SEPARATOR: Option<char> = None;

    /// Returns the words for a valid value: "a number", "an IP address".
    fn expected(rules: Rules) -> String;

    /// Parses a value.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    fn parse(text: &str, rules: Rules) -> Result<Self, String>;

    /// Returns the text that [`Value::parse`] reads.
    fn text(&self, rules: Rules) -> String;
}

/// Parses a time greater than 0: a number of seconds, or one with a suffix.
///
/// # Errors
/// A clause with what was found and what is expected.
pub fn time(text: &str) -> Result<Duration, String> {
    Duration::parse(text, Rules { unit: Unit::Seconds, least: 1 })
}

/// Parses a rate in bytes per second; `None` means no limit.
///
/// # Errors
/// A clause with what was found and what is expected.
pub fn rate(text: &str) -> Result<Option<NonZeroU64>, String> {
    Value::parse(text, Rules { unit: Unit::One, least: 0 })
}

/// Returns the clause for a text that is not what is expected.
fn wrong<T: Value>(text: &str, rules: Rules) -> String {
    format!("'{text}' is not {}", T::expected(rules))
}

/// Implements [`Value`] for integers.
macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl Value for $type {
            const KIND: Kind = Kind::Number;

            fn expected(rules: Rules) -> String {
                let least = rules.least.max(u64::from(<$type>::MIN.to_string() != "0"));
                if <$type>::BITS > 16 {
                    format!("a number of at least {least}")
                } else {
                    format!("a number from {least} to {}", <$type>::MAX)
                }
            }

            fn parse(text: &str, rules: Rules) -> Result<Self, String> {
                let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let is_enough = || text.parse().is_ok_and(|number: u64| number >= rules.least);
                let number = text.parse().ok().filter(|_| is_number && is_enough());
                number.ok_or_else(|| wrong::<Self>(text, rules))
            }

            fn text(&self, _: Rules) -> String {
                self.to_string()
            }
        }
    )* };
}

numbers!(u8 u16 u32 usize NonZeroUsize);

/// Implements [`Value`] by `FromStr` and `Display`.
macro_rules! texts {
    ($($type:ty, $kind:ident, $separator:expr, $expected:literal;)*) => { $(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;
            const SEPARATOR: Option<char> = $separator;

            fn expected(_: Rules) -> String {
                $expected.to_owned()
            }

            fn parse(text: &str, rules: Rules) -> Result<Self, String> {
                Self::from_str(text).map_err(|_| wrong::<Self>(text, rules))
            }

            fn text(&self, _: Rules) -> String {
                self.to_string()
            }
        }
    )* };
}

texts! {
    bool, Switch, None, "true or false";
    IpAddr, Text, None, "an IP address";
    Newest, Text, None, "1.2 or 1.3";
    Resumption, Text, None, "required or optional";
    Level, Text, None, "quiet, normal or verbose";
    Format, Text, None, "text, json or xferlog";
}

/// Implements [`Value`] by a parser whose error is a clause.
macro_rules! parsed {
    ($($type:ty, $kind:ident, $expected:literal;)*) => { $(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn expected(_: Rules) -> String {
                $expected.to_owned()
            }

            fn parse(text: &str, _: Rules) -> Result<Self, String> {
                Self::from_str(text)
            }

            fn text(&self, _: Rules) -> String {
                self.to_string()
            }
        }
    )* };
}

parsed! {
    AddressOrName, Text, "an IPv4 address or a name";
    VirtualHost, Text, "a host such as NAME,root=DIR";
    Group, Text, "a group such as NAME,home=/srv/%u";
    Mount, Text, "a mount such as PATH,dir=DIR";
    Place, Text, "a place such as unix:/run/poolftpd/status, 9121 or 192.0.2.7:9121";
    Listen, Text, "an address such as ADDR:PORT or ADDR:PORT,tls";
    DirectoryRule, Text, "a rule such as PATH,may=list\\,read";
    ScannerAddress, Text, "the path of a socket, or HOST:PORT";
    UserEntry, Text, "a user such as NAME:PASSWORD";
    Output, Text, "an output such as FILE,format=json,events=audit";
}

impl Value for IpNet {
    const KIND: Kind = Kind::Text;
    const SEPARATOR: Option<char> = Some(',');

    fn expected(_: Rules) -> String {
        "a network such as 10.0.0.0/8, or an address".to_owned()
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().ok().map(Self::from);
        text.parse().ok().or_else(address).ok_or_else(|| wrong::<Self>(text, rules))
    }

    fn text(&self, _: Rules) -> String {
        self.to_string()
    }
}

impl Value for RangeInclusive<u16> {
    const KIND: Kind = Kind::Text;

    fn expected(_: Rules) -> String {
        "a range of ports written as LO-HI, such as 30000-30999".to_owned()
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        passive_ports(text).ok_or_else(|| wrong::<Self>(text, rules))
    }

    fn text(&self, _: Rules) -> String {
        format!("{}-{}", self.start(), self.end())
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn expected(_: Rules) -> String {
        "a name".to_owned()
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        let is_name = !text.is_empty() && !text.contains(['\n', '\r', '\0']);
        is_name.then(|| text.to_owned()).ok_or_else(|| wrong::<Self>(text, rules))
    }

    fn text(&self, _: Rules) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: Kind = Kind::Path;

    fn expected(_: Rules) -> String {
        "a path".to_owned()
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        if text.is_empty() { Err(wrong::<Self>(text, rules)) } else { Ok(text.into()) }
    }

    fn text(&self, _: Rules) -> String {
        self.display().to_string()
    }
}

impl Value for Option<NonZeroU64> {
    const KIND: Kind = Kind::Size;

    fn expected(_: Rules) -> String {
        "a number of bytes, such as 500K, 20M or 1G; 0 means no limit".to_owned()
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        units::bytes(text).map(NonZeroU64::new).map_err(|_| wrong::<Self>(text, rules))
    }

    fn text(&self, _: Rules) -> String {
        self.map_or(0, NonZeroU64::get).to_string()
    }
}

/// The suffixes of times.
const SUFFIXES: [(&str, Duration); 5] = [
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_mins(1)),
    ("h", Duration::from_hours(1)),
    ("d", Duration::from_hours(24)),
];

impl Value for Duration {
    const KIND: Kind = Kind::Time;

    fn expected(rules: Rules) -> String {
        let least = if rules.least > 0 { " greater than 0" } else { "" };
        format!("a number of {}{least}, or a time such as 90s, 10m or 24h", rules.unit.name())
    }

    fn parse(text: &str, rules: Rules) -> Result<Self, String> {
        let found = SUFFIXES
            .iter()
            .find_map(|(suffix, duration)| Some((text.strip_suffix(suffix)?, *duration)));
        let (digits, unit) = found.unwrap_or_else(|| (text, rules.unit.duration()));
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number = digits.parse::<f64>().ok().filter(|number| is_number && number.is_finite());
        let number = number.filter(|number| rules.least == 0 || *number > 0.0);
        let seconds = number.ok_or_else(|| wrong::<Self>(text, rules))? * unit.as_secs_f64();
        Ok(Self::try_from_secs_f64(seconds).unwrap_or(TIME_MAX).min(TIME_MAX))
    }

    fn text(&self, rules: Rules) -> String {
        let unit = rules.unit.duration();
        if self.subsec_nanos() == 0 && self.as_secs().is_multiple_of(unit.as_secs()) {
            return (self.as_secs() / unit.as_secs()).to_string();
        }
        format!("{}s", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Rules = Rules { unit: Unit::Seconds, least: 1 };

    #[test]
    fn a_time_is_a_number_in_its_unit_or_has_a_suffix() {
        let hours = Rules { unit: Unit::Hours, least: 0 };
        for (text, rules, seconds) in [
            ("90", SECONDS, 90.0),
            ("1.5", SECONDS, 1.5),
            ("90s", hours, 90.0),
            ("250ms", hours, 0.25),
            ("10m", SECONDS, 600.0),
            ("24h", SECONDS, 86_400.0),
            ("2d", SECONDS, 172_800.0),
            ("24", hours, 86_400.0),
            ("0", hours, 0.0),
        ] {
            let found = Duration::parse(text, rules).unwrap();
            assert_eq!(found, Duration::from_secs_f64(seconds), "{text}");
            assert_eq!(Duration::parse(&found.text(rules), rules), Ok(found), "{text}");
        }
        assert_eq!(Duration::parse("99999999999999999999", SECONDS), Ok(TIME_MAX));
        for text in ["", "s", "0", "-1", "1e3", "inf", "1 h", "1h30m", "x"] {
            assert!(Duration::parse(text, SECONDS).unwrap_err().contains("90s"), "{text}");
        }
    }

    #[test]
    fn a_number_has_digits_alone_and_keeps_its_bounds() {
        assert_eq!(u16::parse("2121", SECONDS), Ok(2121));
        for text in ["", "0", "+1", "-1", "65536", "1.0", "x"] {
            let wrong = u16::parse(text, SECONDS).unwrap_err();
            assert_eq!(wrong, format!("'{text}' is not a number from 1 to 65535"));
        }
    }

    #[test]
    fn a_network_is_an_address_with_or_without_its_bits() {
        assert_eq!(IpNet::parse("::1", SECONDS).unwrap().to_string(), "::1/128");
        assert!(IpNet::parse("10.0.0.0/33", SECONDS).is_err());
    }
}
