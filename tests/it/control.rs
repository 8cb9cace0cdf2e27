//! `ftpserver ctl`: what an administrator sees of a running server, and changes in it.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::common::raw::RawClient;
use crate::common::{TestServer, noise, until};
use poolftpd::log::Level;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// Sends a command to the server at this address; returns whether it was carried out, and the answer.
fn ctl(address: SocketAddr, words: &[&str]) -> (bool, String) {
    let (port, bind) = (address.port().to_string(), address.ip().to_string());
    let Output { status, stdout, stderr } = Command::new(SERVER)
        .args(["ctl", "--port", &port, "--bind", &bind])
        .args(words)
        .output()
        .unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn start() -> TestServer {
    TestServer::start(|config| {
        config.write = true;
        config.level = Level::Normal;
    })
}

#[test]
fn sessions_are_listed_with_user_and_address() {
    let server = start();
    let client = RawClient::log_in(server.address());
    let (good, answer) = ctl(server.address(), &["who"]);
    assert!(good && answer.starts_with("session "), "{answer}");
    let peer = client.stream.local_addr().unwrap().to_string();
    let row = answer.lines().nth(1).unwrap();
    assert!(row.contains(" anonymous ") && row.contains(&peer), "{answer}");
    let (good, answer) = ctl(server.address(), &["--json", "who"]);
    assert!(good && answer.starts_with("[{\"session\":\""), "{answer}");
    assert!(answer.contains("\"user\":\"anonymous\"") && answer.ends_with("}]\n"), "{answer}");
}

#[test]
fn a_transfer_is_shown_with_its_path() {
    let server = start();
    server.write("big", noise(20_000_000));
    let mut client = RawClient::log_in(server.address());
    let _data = client.open_data();
    assert!(client.ask("RETR big").starts_with("150 "));
    until("no transfer is shown", || ctl(server.address(), &["top"]).1.contains("RETR /big"));
}

#[test]
fn a_session_that_is_kicked_ends_at_once_and_others_stay() {
    let server = start();
    let (mut first, mut second) =
        (RawClient::log_in(server.address()), RawClient::log_in(server.address()));
    let (_, answer) = ctl(server.address(), &["who"]);
    let session = answer.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let (good, answer) = ctl(server.address(), &["kick", &session]);
    assert!(good && answer == "1 session ends\n", "{answer}");
    assert!(first.line().starts_with("421 "));
    assert!(first.is_closed());
    assert!(second.ask("NOOP").starts_with("200 "));
    let (good, answer) = ctl(server.address(), &["kick", &session]);
    assert!(!good && answer.contains("no such session"), "{answer}");
    assert!(ctl(server.address(), &["kick", "user", "anonymous"]).0);
    assert!(second.line().starts_with("421 "));
    server.log.expect(&["event=admin", "kick user anonymous", "done=true"]);
}

#[test]
fn an_upload_that_is_kicked_leaves_the_old_file() {
    let server = start();
    server.write("file", "old");
    let mut client = RawClient::log_in(server.address());
    let data = client.open_data();
    assert!(client.ask("STOR file").starts_with("150 "));
    std::io::Write::write_all(&mut &data, b"half").unwrap();
    assert!(ctl(server.address(), &["kick", "address", "127.0.0.0/8"]).0);
    assert!(client.line().starts_with("421 "));
    assert!(client.is_closed());
    assert_eq!(server.read("file"), b"old");
}

#[test]
fn a_banned_network_is_refused_until_it_is_unbanned() {
    let server = start();
    let mut client = RawClient::log_in(server.address());
    let (good, answer) = ctl(server.address(), &["ban", "127.0.0.1", "1h"]);
    assert!(good && answer == "127.0.0.1/32 is banned; 1 session ends\n", "{answer}");
    assert!(client.line().starts_with("421 "));
    assert!(RawClient::connect(server.address()).line().starts_with("421 "));
    let (_, answer) = ctl(server.address(), &["bans"]);
    assert!(answer.contains("127.0.0.1/32") && answer.contains("59m"), "{answer}");
    assert!(ctl(server.address(), &["unban", "127.0.0.1"]).0);
    assert!(!ctl(server.address(), &["unban", "127.0.0.1"]).0);
    RawClient::log_in(server.address());
    for words in [&["ban", "everybody"][..], &["ban", "127.0.0.1", "soon"], &["ban"]] {
        assert!(!ctl(server.address(), words).0, "{words:?}");
    }
}

#[test]
fn a_lockout_is_listed_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users"), "").unwrap();
    let server = TestServer::start(|config| {
        config.users = Some(folder.path().join("users"));
        config.limits.login_delay = std::time::Duration::ZERO;
        config.limits.lockout_failures = 2;
    });
    for guess in ["one", "two"] {
        let mut client = RawClient::connect(server.address());
        client.line();
        client.ask("USER bob");
        assert!(client.ask(&format!("PASS {guess}")).starts_with("530 "));
    }
    let (_, answer) = ctl(server.address(), &["bans"]);
    assert!(answer.contains("lockout"), "{answer}");
    assert!(ctl(server.address(), &["unban", "127.0.0.0/8"]).0);
    assert!(!ctl(server.address(), &["bans"]).1.contains("lockout"));
}

#[test]
fn a_server_that_is_drained_is_not_ready_and_keeps_its_sessions() {
    let server = start();
    let mut client = RawClient::log_in(server.address());
    assert_eq!(ctl(server.address(), &["ready"]), (true, "ready\n".to_owned()));
    assert!(ctl(server.address(), &["drain"]).0);
    let (good, answer) = ctl(server.address(), &["ready"]);
    assert!(!good && answer.contains("draining"), "{answer}");
    assert!(RawClient::connect(server.address()).line().starts_with("421 "));
    assert!(client.ask("NOOP").starts_with("200 "));
    assert!(ctl(server.address(), &["resume"]).0);
    RawClient::log_in(server.address());
}

#[test]
fn a_limit_changes_until_the_next_reload() {
    let server = start();
    let (_, answer) = ctl(server.address(), &["limit", "max-clients"]);
    assert!(answer.contains("10000"), "{answer}");
    assert!(ctl(server.address(), &["limit", "max-clients", "1"]).0);
    let _only = RawClient::log_in(server.address());
    assert!(RawClient::connect(server.address()).line().starts_with("421 "));
    for words in
        [&["limit", "max-clients", "many"][..], &["limit", "port", "1"], &["limit", "nothing"]]
    {
        assert!(!ctl(server.address(), words).0, "{words:?}");
    }
}

#[test]
fn the_state_is_json_too_and_unknown_commands_are_refused() {
    let server = TestServer::start(|config| config.slaves = 2);
    let (good, answer) = ctl(server.address(), &["--json", "status"]);
    assert!(good && answer.contains("\"state\":\"serving\""), "{answer}");
    assert!(answer.contains("\"slaves\":[{\"slave\":1,\"process\":null,"), "{answer}");
    let (good, answer) = ctl(server.address(), &["explode"]);
    assert!(!good && answer.contains("unknown command 'explode'"), "{answer}");
    assert!(ctl(server.address(), &["certificates"]).0 && ctl(server.address(), &["reopen"]).0);
}
