//! Every kind of event, and the rule for its fields.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::ftp::VirtualPath;

/// Passes one event of each kind to `check`.
fn each(mut check: impl FnMut(&Event<'_>)) {
    let (peer, path) = ("192.0.2.7:5".parse().unwrap(), VirtualPath::root());
    let (reason, user, seconds) = ("why", b"alice".as_slice(), 5);
    let transfer = TransferEvent {
        verb: "RETR",
        direction: Direction::Download,
        path: path.clone(),
        bytes: 1,
        took: Duration::from_millis(7),
        outcome: Outcome::CutOff,
        reply: Some(426),
        is_text: false,
    };
    let changes = [
        Change::Deleted(path.clone()),
        Change::Renamed { from: path.clone(), to: path.clone() },
        Change::DirectoryMade(path.clone()),
        Change::DirectoryRemoved(path.clone()),
        Change::ModeSet(path.clone(), 0o644),
        Change::TimeSet(path.clone(), Timestamp::UNIX_EPOCH),
    ];
    for change in &changes {
        check(&Event::Changed(change));
    }
    for target in [BannedTarget::User, BannedTarget::Address(Ipv4Addr::LOCALHOST.into())] {
        check(&Event::Banned { target, user, failures: 3, duration: Duration::from_secs(1) });
    }
    let denial = Denial { verb: "DELE", path: Some(&path), reply: 550, reason };
    let (settings, unreachable) = (["a 1 -> 2".to_owned()], [b"bob".to_vec()]);
    let (file, at) = (Path::new("/a.pem"), Timestamp::UNIX_EPOCH);
    let error = io::Error::other("x");
    for event in [
        Event::Listening { address: peer, slave: Some(1) },
        Event::Sandboxed { is_root: true, landlock: true },
        Event::Connect,
        Event::Probe { seconds, reason },
        Event::Login { user },
        Event::LoginFailed { user, reason, cause: LoginFailure::Incorrect },
        Event::Transfer(&transfer),
        Event::Denied(denial),
        Event::CutOff { reason, kept: 1 },
        Event::Infected { path: &path, signature: "Eicar" },
        Event::PartialsRemoved { count: 1 },
        Event::PublicAddress { name: "a", address: Ipv4Addr::LOCALHOST },
        Event::Reloaded {
            users: 1,
            certificates: 1,
            settings: &settings,
            unreachable: &unreachable,
        },
        Event::Warning { message: "what", reason },
        Event::CertificateExpires { file, at, days: -1 },
        Event::NotReloaded { reason },
        Event::Admin { command: "drain 1", by: Some(0), done: true },
        Event::Refused { peer, reason, cause: Refused::Clients },
        Event::DataRefused { from: Some(peer), reason },
        Event::Command { line: b"NOOP" },
        Event::Reply { line: b"200 Done." },
        Event::Activity { from: "a", to: "b" },
        Event::Disconnect { reason, seconds, logs_in: true },
        Event::Error { message: "what", error: &error },
        Event::Probes { address: Ipv4Addr::LOCALHOST.into(), count: 1 },
        Event::LogLinesLost { count: 1 },
        Event::Stopping { sessions: 1 },
        Event::Stopped { in_time: true },
    ] {
        check(&event);
    }
}

/// Programs that read the log rely on this.
#[test]
fn a_field_has_the_same_type_in_every_event_and_appears_once() {
    let mut types: HashMap<&str, &str> = HashMap::new();
    each(|event| {
        assert!(EVENT_NAMES.contains(&event.name()), "{}", event.name());
        let mut seen = Vec::new();
        event.fields(&mut |name, value| {
            assert!(!seen.contains(&name), "{name} appears twice in {}", event.name());
            seen.push(name);
            let found = match value {
                Value::Number(_) | Value::Signed(_) | Value::Seconds(_) => "number",
                Value::Flag(_) => "flag",
                _ => "text",
            };
            let before = *types.entry(name).or_insert(found);
            assert!(before == found, "{name} has another type in {}", event.name());
        });
    });
}
