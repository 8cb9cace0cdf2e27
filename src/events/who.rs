//! The session that an event belongs to.

use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::field::{Value, Visit};

/// The digits of base 32, without the letters that look like digits.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The time from which the starts of processes are counted, in milliseconds since 1970: the year 2020.
const EPOCH: i64 = 1_577_836_800_000;

/// The part that the names of all sessions of one server have in common: the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(u64);

impl ServerId {
    /// Returns the name of a server that starts now.
    #[must_use]
    pub fn of_now() -> Self {
        Self(u64::try_from(Timestamp::now().as_millisecond() - EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        let bits = u64::BITS - number.leading_zeros();
        (0..bits.div_ceil(5).max(1)).rev().try_for_each(|place| {
            let index = usize::try_from((number >> (5 * place)) & 31).unwrap_or_default();
            formatter.write_str(
                DIGITS
                    .get(index..=index)
                    .and_then(|digit| str::from_utf8(digit).ok())
                    .unwrap_or("0"),
            )
        })
    }
}

/// The name of a session. No other session has it, not even after a restart or in a slave process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The server's part of the name.
    pub server: ServerId,
    /// The slave that serves the session, if there are slaves.
    pub slave: Option<u32>,
    /// The number of the session, from 1 on.
    pub number: u64,
}

impl SessionId {
    /// Parses the name of a session as it is displayed.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (process, number) = name.split_once('-')?;
        let (server, slave) = match process.split_once('.') {
            Some((server, slave)) => (server, Some(slave.parse().ok()?)),
            None => (process, None),
        };
        let mut bits = 0_u64;
        for digit in server.bytes() {
            let value = DIGITS.iter().position(|known| *known == digit)?;
            bits = bits.checked_mul(32)?.checked_add(u64::try_from(value).ok()?)?;
        }
        Some(Self { server: ServerId(bits), slave, number: number.parse().ok()? })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, slave, number } = self;
        match slave {
            Some(slave) => write!(formatter, "{server}.{slave}-{number}"),
            None => write!(formatter, "{server}-{number}"),
        }
    }
}

/// The session that an event belongs to, with what is known of its client.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The session.
    pub session: SessionId,
    /// The client's address.
    pub peer: SocketAddr,
    /// The user who is logged in.
    pub user: Option<&'a [u8]>,
    /// The virtual host that the client selected.
    pub host: Option<&'a str>,
    /// The TLS version of the control connection, such as `1.3`.
    pub tls: Option<&'a str>,
    /// The cipher suite of the control connection.
    pub cipher: Option<&'a str>,
}

impl Who<'_> {
    /// Passes each field that is known to `visit`.
    pub fn fields(&self, visit: &mut Visit<'_>) {
        let Self { session, peer, user, host, tls, cipher } = self;
        if let Some(slave) = session.slave {
            visit("slave", Value::Number(slave.into()));
        }
        visit("session", Value::Word(&session.to_string()));
        visit("peer", Value::Endpoint(*peer));
        if let Some(user) = user {
            visit("user", Value::Client(user));
        }
        if let Some(host) = host {
            visit("host", Value::Text(host));
        }
        if let Some(tls) = tls {
            visit("tls", Value::Word(tls));
        }
        if let Some(cipher) = cipher {
            visit("cipher", Value::Word(cipher));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_has_the_start_of_its_server_its_slave_and_its_number() {
        let server = ServerId(32 * 32 + 31);
        assert_eq!(SessionId { server, slave: None, number: 7 }.to_string(), "10z-7");
        assert_eq!(SessionId { server, slave: Some(2), number: 7 }.to_string(), "10z.2-7");
        assert_eq!(ServerId(0).to_string(), "0");
        assert_eq!(ServerId(u64::MAX).to_string(), "fzzzzzzzzzzzz");
    }
}
