//! The state that a server passes on to its successor: bans, failed logins, and what administrators have changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::net::connection_limits::ConnectionLimits;
use crate::reload::Live;
use crate::session::{Counted, Service};
use crate::settings::{Change, rate, row as setting};
use crate::units::network;

use super::scope::Scope;

impl Scope<'_> {
    /// Returns the state for a successor, in JSON.
    pub(super) fn handed_state(&self) -> String {
        let bans = self.controls.live.connection_limits().bans().all(self.now);
        let bans = bans.iter().map(|(network, left)| {
            json!({"network": network.to_string(), "remaining": left.map(|left| left.as_secs())})
        });
        let failures = self.service().failures(self.now);
        json!({
            "bans": bans.collect::<Vec<_>>(),
            "failures": failures.iter().map(Counted::record).collect::<Vec<_>>(),
            "adjustments": self.controls.live.adjustments().all(),
        })
        .to_string()
    }
}

/// Adopts the state of the server whose place this one takes, before any client is served.
pub(crate) fn adopt(state: &str, service: &Service, live: &Live, now: Instant) {
    let state: Value = serde_json::from_str(state).unwrap_or_default();
    let list = |name: &str| state.get(name).and_then(Value::as_array).into_iter().flatten();
    for value in list("bans") {
        adopt_ban(value, live.connection_limits(), now);
    }
    for counted in list("failures").filter_map(Counted::parse) {
        service.adopt_failures(counted, now);
    }
    for words in list("adjustments").filter_map(Value::as_array) {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        adjust(&words, service, live);
    }
}

fn adopt_ban(value: &Value, limits: &ConnectionLimits, now: Instant) {
    let text = value.get("network").and_then(Value::as_str);
    let Some(network) = text.and_then(|text| network(text).ok()) else { return };
    // A part of a second counts as a whole one.
    let left = value.get("remaining").and_then(Value::as_u64);
    let left = left.map(|seconds| Duration::from_secs(seconds.saturating_add(1)));
    // The list of the other server was not longer.
    let _added = limits.bans().add(network, left.and_then(|left| now.checked_add(left)), now);
}

/// Repeats a change of an administrator. A setting or a user that the new server does not have is left out.
fn adjust(words: &[&str], service: &Service, live: &Live) {
    let Some((value, subject)) = words.split_last() else { return };
    match subject {
        [name] => {
            let Some(row) = setting(name).filter(|row| row.change != Change::Restart) else {
                return;
            };
            if live.set(row, value).is_err() {
                return;
            }
        }
        ["user", user, direction] => {
            let Ok(new) = rate(value).map(Some) else { return };
            let (down, up) = if *direction == "down" { (new, None) } else { (None, new) };
            let _rates = service.hosts.set_rates(user.as_bytes(), down, up);
        }
        _ => return,
    }
    live.adjustments().remember(subject, value);
}
