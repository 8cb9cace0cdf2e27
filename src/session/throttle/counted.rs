//! Counted failures: as an administrator sees them, and as a server passes them on to its successor.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ftp::path::Escaped;

/// A user of a host: the host's name, which the default host does not have, and the user name that the client sent.
pub(crate) type User = (Option<String>, Vec<u8>);

/// A lockout that has not ended: of an address, of a user, or of a user at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ActiveLockout {
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: Option<User>,
    pub(crate) failures: u32,
    pub(crate) remaining: Duration,
}

impl ActiveLockout {
    /// Returns the host and the name of the user, as they may be shown.
    pub(crate) fn shown_user(&self) -> (Option<&str>, Option<String>) {
        let Some((host, user)) = &self.user else { return (None, None) };
        (host.as_deref(), Some(Escaped(user).to_string()))
    }
}

/// An address, a user, or both, whose failures are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An address, for all users.
    Address(IpAddr),
    /// A user who exists, from all addresses.
    Known(User),
    /// A user name that does not exist, from all addresses.
    Invented(User),
    /// A user who has logged in from this address.
    Familiar(User, IpAddr),
}

/// The failures of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) subject: Subject,
    pub(crate) failures: u32,
    /// Time since the last failure. Without failures, time since the login of a familiar user.
    pub(crate) age: Duration,
}

impl Subject {
    /// Returns the name of the kind, the user and the address.
    fn parts(&self) -> (&'static str, Option<&User>, Option<IpAddr>) {
        match self {
            Self::Address(address) => ("address", None, Some(*address)),
            Self::Known(user) => ("known", Some(user), None),
            Self::Invented(user) => ("invented", Some(user), None),
            Self::Familiar(user, address) => ("familiar", Some(user), Some(*address)),
        }
    }
}

impl Counted {
    /// Returns the lockout of the subject, with the time that is left of it.
    pub(super) fn lockout(&self, remaining: Duration) -> ActiveLockout {
        let (_, user, address) = self.subject.parts();
        ActiveLockout { address, user: user.cloned(), failures: self.failures, remaining }
    }

    /// Returns the failures as a value of JSON.
    pub(crate) fn record(&self) -> Value {
        let (kind, user, address) = self.subject.parts();
        json!({
            "kind": kind,
            "host": user.and_then(|(host, _)| host.as_deref()),
            // Each byte is one character, because a name may be no UTF-8.
            "user": user.map(|(_, name)| name.iter().copied().map(char::from).collect::<String>()),
            "address": address.map(|address| address.to_string()),
            "failures": self.failures,
            "age": u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Returns the failures that [`Counted::record`] has written.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        let number = |name: &str| value.get(name)?.as_u64();
        let address = || text("address")?.parse().ok();
        let user = || {
            let name = text("user")?.chars().map(u8::try_from).collect::<Result<_, _>>().ok()?;
            Some((text("host").map(ToOwned::to_owned), name))
        };
        let subject = match text("kind")? {
            "address" => Subject::Address(address()?),
            "known" => Subject::Known(user()?),
            "invented" => Subject::Invented(user()?),
            "familiar" => Subject::Familiar(user()?, address()?),
            _ => return None,
        };
        let failures = u32::try_from(number("failures")?).ok()?;
        Some(Self { subject, failures, age: Duration::from_millis(number("age")?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_failures_arrive_unchanged_at_the_successor() {
        let user = (Some("a.example".to_owned()), b"J\xf6rg \"\n".to_vec());
        let address = IpAddr::from([192, 0, 2, 1]);
        for subject in [
            Subject::Address("2001:db8::".parse().unwrap()),
            Subject::Known(user.clone()),
            Subject::Invented((None, Vec::new())),
            Subject::Familiar(user, address),
        ] {
            let counted = Counted { subject, failures: 7, age: Duration::from_millis(1234) };
            let text = counted.record().to_string();
            let read = serde_json::from_str(&text).ok().and_then(|value| Counted::parse(&value));
            assert_eq!(read, Some(counted));
        }
        assert_eq!(Counted::parse(&json!({"kind": "address", "failures": 1, "age": 1})), None);
    }
}
