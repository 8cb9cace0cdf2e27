//! The commands about live sessions: `who`, `top` and `kick`.

use std::time::Instant;

use ipnet::IpNet;

use crate::balancer::request::Answer;
use crate::ftp::path::Escaped;
use crate::scoreboard::{ClientFacts, Entry, Seen};

use super::output::{Cell, Form, row};
use super::scope::Scope;

/// The columns of `who` and `top`.
const COLUMNS: [&str; 9] =
    ["session", "user", "host", "address", "tls", "connected", "idle", "doing", "rate"];

/// Returns a row for each session, the oldest first.
fn rows(form: Form, seen: &[Seen], now: Instant) -> Vec<String> {
    seen.iter().map(|seen| row(form, &COLUMNS, &cells(seen, now))).collect()
}

/// Returns a row for each transfer, the fastest first.
fn transfers(form: Form, mut seen: Vec<Seen>, now: Instant) -> Vec<String> {
    seen.retain(|seen| seen.transfer.is_some());
    seen.sort_by_key(|seen| std::cmp::Reverse(rate(seen, now)));
    rows(form, &seen, now)
}

fn cells(seen: &Seen, now: Instant) -> [Cell; COLUMNS.len()] {
    let client = seen.client.as_ref();
    let doing = seen.transfer.as_ref().map(|transfer| {
        let path = Escaped(transfer.path.as_bytes());
        let part = match transfer.size {
            Some(size) if size > 0 => format!(" {}%", transfer.bytes.saturating_mul(100) / size),
            _ => String::new(),
        };
        format!("{} {path}{part}", transfer.verb)
    });
    [
        Cell::text(&seen.session),
        Cell::optional(client.map(|client| Escaped(&client.user))),
        Cell::optional(client.and_then(|client| client.host.as_deref())),
        Cell::text(&seen.peer),
        Cell::optional(client.and_then(|client| client.tls)),
        Cell::text(&format_args!("{:.0}", seen.since)),
        Cell::Time(seen.idle),
        Cell::optional(doing),
        rate(seen, now).map_or(Cell::None, Cell::Number),
    ]
}

/// Returns the mean rate of the transfer of a session, in bytes per second.
fn rate(seen: &Seen, now: Instant) -> Option<u64> {
    let transfer = seen.transfer.as_ref()?;
    let millis = now.saturating_duration_since(transfer.begun).as_millis().max(1);
    u64::try_from(u128::from(transfer.bytes) * 1000 / millis).ok()
}

/// The sessions that `kick` ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kicked<'a> {
    Session(&'a str),
    User(&'a str),
    Network(IpNet),
}

impl Kicked<'_> {
    /// Returns whether this is one of them.
    fn contains(&self, entry: &Entry, client: Option<&ClientFacts>) -> bool {
        match self {
            Self::Session(name) => entry.session.to_string() == **name,
            Self::User(name) => client.is_some_and(|client| *client.user == *name.as_bytes()),
            Self::Network(network) => network.contains(&entry.peer.ip()),
        }
    }
}

impl Scope<'_> {
    pub(super) fn who(&self) -> String {
        let seen = self.controls.service.scoreboard.all(self.now);
        self.joined(&COLUMNS, rows(self.form, &seen, self.now))
    }

    pub(super) fn top(&self) -> String {
        let seen = self.controls.service.scoreboard.all(self.now);
        self.joined(&COLUMNS, transfers(self.form, seen, self.now))
    }

    /// Ends sessions; their transfers are cut off.
    pub(super) fn kick(&self, kicked: &Kicked<'_>) -> Answer {
        let controls = self.controls;
        let here = controls.service.scoreboard.kick(|entry, client| kicked.contains(entry, client));
        if here > 0 {
            controls.backends.iter().for_each(|backend| backend.pool().wake_all());
        }
        let count = here + self.count_of_slaves();
        match count {
            _ if self.is_part => Ok(count.to_string()),
            0 => Err("no such session.".to_owned()),
            1 => Ok("1 session ends\n".to_owned()),
            count => Ok(format!("{count} sessions end\n")),
        }
    }
}
