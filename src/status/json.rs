//! The state as JSON: flat, with numbers as numbers. Names of clients are escaped.

use std::fmt::Write;

use crate::log::escape;
use crate::scoreboard::Seen;
use crate::storage::PlaceHealth;

use super::snapshot::{SHOWN_MAX, Snapshot};

/// Returns `/status.json`.
pub(super) fn status(snapshot: &Snapshot) -> String {
    let facts = &snapshot.facts;
    let (state, because) = snapshot.state();
    let rates = snapshot.rates();
    let because: Vec<String> = because.iter().map(|word| format!("\"{word}\"")).collect();
    let mut text = format!(
        "{{\"version\":\"{}\",\"time\":\"{:.3}\",\"state\":\"{state}\",\"ready\":{},\"because\":[{}],\"clients\":{},\
         \"clients_max\":{},\"transfers\":{},\"bytes_in\":{},\"bytes_out\":{},\"in_per_second\":{},\"out_per_second\":{},\
         \"workers\":{},\"workers_busy\":{},\"parked\":{},\"waiting\":{},\"stalls\":{},\"log_lines_lost\":{}",
        env!("CARGO_PKG_VERSION"),
        snapshot.time,
        because.is_empty(),
        because.join(","),
        facts.clients,
        facts.clients_max,
        facts.transfers,
        facts.bytes_in,
        facts.bytes_out,
        rates.incoming,
        rates.outgoing,
        facts.pool.workers,
        facts.pool.busy,
        facts.pool.parked,
        facts.pool.waiting_interactive + facts.pool.waiting_bulk,
        facts.pool.stalls,
        facts.log_lines_lost,
    );
    list(&mut text, "listeners", facts.listeners.iter(), |text, listener| string(text, listener));
    list(&mut text, "slaves", facts.slaves.iter(), |text, slave| {
        let _ = write!(
            text,
            "{{\"slave\":{},\"process\":{},\"sessions\":{},\"transfers\":{},\"bytes\":{},\"draining\":{}}}",
            slave.slave.unwrap_or_default(),
            slave.process.unwrap_or_default(),
            slave.sessions,
            slave.transfers,
            slave.bytes,
            slave.draining
        );
    });
    list(&mut text, "bans", facts.bans.iter().take(SHOWN_MAX), |text, ban| {
        text.push_str("{\"address\":");
        optional(text, ban.address.map(|address| address.to_string()).as_deref());
        text.push_str(",\"user\":");
        optional(text, ban.user.as_deref());
        text.push_str(",\"host\":");
        optional(text, ban.host.as_deref());
        let (failures, seconds) = (ban.failures, ban.remaining.as_secs());
        let _ = write!(text, ",\"failures\":{failures},\"seconds\":{seconds}}}");
    });
    list(&mut text, "certificates", facts.certificates.iter(), |text, (file, until)| {
        text.push_str("{\"file\":");
        string(text, file);
        let _ = write!(text, ",\"until\":\"{until}\"}}");
    });
    list(&mut text, "roots", facts.roots.iter(), root);
    text.push_str("}\n");
    text
}

/// Returns the part of `/readyz` about roots that cannot be served; nothing if all can.
pub(super) fn problems(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut roots = snapshot.facts.roots.iter().filter(|root| root.problem.is_some()).peekable();
    if roots.peek().is_some() {
        list(&mut text, "roots", roots, root);
    }
    text
}

fn optional(text: &mut String, value: Option<&str>) {
    match value {
        Some(value) => string(text, value),
        None => text.push_str("null"),
    }
}

fn root(text: &mut String, root: &PlaceHealth) {
    text.push_str("{\"directory\":");
    string(text, &root.directory.to_string_lossy());
    text.push_str(",\"problem\":");
    optional(text, root.problem.as_deref());
    if let Some(free) = root.free {
        let _ = write!(text, ",\"free\":{free}");
    }
    text.push('}');
}

/// Returns `/sessions.json`: at most [`SHOWN_MAX`] sessions, the oldest first.
pub(super) fn sessions(snapshot: &Snapshot) -> String {
    let mut text = format!("{{\"time\":\"{:.3}\"", snapshot.time);
    let shown = snapshot.facts.sessions.iter().take(SHOWN_MAX);
    list(&mut text, "sessions", shown, |text, seen| session(text, seen, snapshot));
    text.push_str("}\n");
    text
}

fn session(text: &mut String, seen: &Seen, snapshot: &Snapshot) {
    let _ = write!(
        text,
        "{{\"session\":\"{}\",\"peer_ip\":\"{}\",\"peer_port\":{},\"since\":\"{:.3}\",\"idle_seconds\":{}",
        seen.session,
        seen.peer.ip(),
        seen.peer.port(),
        seen.since,
        seen.idle.as_secs()
    );
    if let Some(client) = &seen.client {
        text.push_str(",\"user\":");
        string(text, &String::from_utf8_lossy(&client.user));
        if let Some(host) = &client.host {
            text.push_str(",\"host\":");
            string(text, host);
        }
        if let Some(tls) = client.tls {
            let _ = write!(text, ",\"tls\":\"{tls}\"");
        }
    }
    let state = match (&seen.transfer, &seen.client) {
        (Some(_), _) => "transfer",
        (None, Some(_)) => "idle",
        (None, None) => "login",
    };
    let _ = write!(text, ",\"state\":\"{state}\"");
    if let Some(transfer) = &seen.transfer {
        let _ = write!(text, ",\"verb\":\"{}\",\"bytes\":{}", transfer.verb, transfer.bytes);
        if let Some(size) = transfer.size {
            let _ = write!(text, ",\"size\":{size}");
        }
        let rate = snapshot.session_rates.get(&seen.session).copied().unwrap_or_default();
        let _ = write!(text, ",\"per_second\":{rate}");
        if snapshot.facts.shows_paths {
            text.push_str(",\"path\":");
            string(text, &String::from_utf8_lossy(transfer.path.as_bytes()));
        }
    }
    text.push('}');
}

fn string(text: &mut String, letters: &str) {
    // Writing to a String cannot fail.
    let _written = escape(text, letters);
}

fn list<T>(
    text: &mut String,
    name: &str,
    items: impl Iterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    let _ = write!(text, ",\"{name}\":[");
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, item);
    }
    text.push(']');
}
