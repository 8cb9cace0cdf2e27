//! Live sessions as lines of JSON, by which a slave process passes its sessions on to the master.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::board::{ClientFacts, CurrentTransfer, Scoreboard, Seen};
use crate::events::SessionId;
use crate::ftp::VirtualPath;
use crate::ftp::verb::Verb;

/// Maximum number of sessions that a process passes on.
const RECORDS_MAX: usize = 1000;

/// The TLS versions of control connections.
const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

impl Scoreboard {
    /// Returns a line for each session, the oldest first, at most [`RECORDS_MAX`].
    pub(crate) fn records(&self, now: Instant) -> String {
        let seen = self.all(now);
        seen.iter().take(RECORDS_MAX).map(|seen| record(seen, now) + "\n").collect()
    }
}

/// Returns the sessions of the lines that [`Scoreboard::records`] has written. Other lines are left out.
pub(crate) fn from_records(text: &str, now: Instant) -> Vec<Seen> {
    text.lines().take(RECORDS_MAX).filter_map(|line| parse(line, now)).collect()
}

fn record(seen: &Seen, now: Instant) -> String {
    let client = seen.client.as_ref().map(|client| {
        json!({
            "user": String::from_utf8_lossy(&client.user),
            "host": client.host.as_deref(),
            "tls": client.tls,
        })
    });
    let transfer = seen.transfer.as_ref().map(|transfer| {
        json!({
            "verb": transfer.verb,
            "path": String::from_utf8_lossy(transfer.path.beneath_root()),
            "size": transfer.size,
            "age": millis(now.saturating_duration_since(transfer.begun)),
            "bytes": transfer.bytes,
        })
    });
    let record = json!({
        "session": seen.session.to_string(),
        "peer": seen.peer.to_string(),
        "since": seen.since.to_string(),
        "idle": millis(seen.idle),
        "client": client,
        "transfer": transfer,
    });
    record.to_string()
}

fn parse(line: &str, now: Instant) -> Option<Seen> {
    let record: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| record.get(name)?.as_str();
    Some(Seen {
        session: SessionId::parse(text("session")?)?,
        peer: text("peer")?.parse().ok()?,
        since: text("since")?.parse::<Timestamp>().ok()?,
        idle: time(record.get("idle")?)?,
        client: record.get("client").and_then(client),
        transfer: record.get("transfer").and_then(|value| transfer(value, now)),
    })
}

fn client(value: &Value) -> Option<ClientFacts> {
    let tls = value.get("tls").and_then(Value::as_str);
    Some(ClientFacts {
        user: value.get("user")?.as_str()?.as_bytes().into(),
        host: value.get("host").and_then(Value::as_str).map(Arc::from),
        tls: TLS_VERSIONS.into_iter().find(|version| tls == Some(version)),
    })
}

fn transfer(value: &Value, now: Instant) -> Option<CurrentTransfer> {
    let path = value.get("path")?.as_str()?.split('/').map(str::as_bytes);
    Some(CurrentTransfer {
        verb: Verb::find(value.get("verb")?.as_str()?.as_bytes())?.name,
        path: path
            .filter(|name| !name.is_empty())
            .try_fold(VirtualPath::root(), |path, name| path.join(name))
            .ok()?,
        size: value.get("size").and_then(Value::as_u64),
        begun: now.checked_sub(time(value.get("age")?)?).unwrap_or(now),
        bytes: value.get("bytes")?.as_u64()?,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn time(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;
    use crate::events::ServerId;

    #[test]
    fn a_session_of_a_slave_process_arrives_whole_at_the_master() {
        let (board, now) = (Arc::new(Scoreboard::default()), Instant::now());
        let session = |number| SessionId { server: ServerId::of_now(), slave: Some(4), number };
        let _new = board.enter(session(1), "[2001:db8::7]:5".parse().unwrap(), now);
        let mut busy = board.enter(session(2), "192.0.2.7:5".parse().unwrap(), now);
        busy.set_client(Some(ClientFacts {
            user: b"J\xf6rg \"\n".as_slice().into(),
            host: Some("a.example".into()),
            tls: Some("1.3"),
        }));
        let path = VirtualPath::root().join(b"in").and_then(|path| path.join(b"a\nb")).unwrap();
        busy.set_progress(7, || CurrentTransfer {
            verb: "STOR",
            path,
            size: None,
            begun: now,
            bytes: 0,
        });
        let later = now + Duration::from_secs(3);
        let mut sent = board.all(later);
        // Only UTF-8 is passed on; a session is shown, and not looked up, by this name.
        sent[1].client.as_mut().unwrap().user = "J\u{fffd}rg \"\n".as_bytes().into();
        let received = from_records(&board.records(later), later);
        assert_eq!(received, sent);
    }

    #[test]
    fn other_lines_are_left_out() {
        let now = Instant::now();
        assert_eq!(from_records("\n{}\n[1]\n{\"session\":\"x\",\"peer\":\"y\"}\nnull", now), []);
    }
}
