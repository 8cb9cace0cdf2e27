//! The events of sessions, as the log shows them.

use std::time::Duration;

use poolftpd::internal::log::Level;
use poolftpd::internal::storage::password;
use poolftpd::internal::storage::users::{User, UserSettings, Users};

use crate::common::TestServer;
use crate::common::raw::RawClient;

/// A server with the user alice, who may do everything but delete, and whose password is her name.
fn server() -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let mut settings = UserSettings::default();
    settings.set("may=list,read,write,append,rename,mkdir,chmod").unwrap();
    let user = User { hash: password::hash(b"alice").unwrap(), settings };
    Users::update(&path, |users| Ok(users.0.insert("alice".into(), user))).unwrap();
    let server = TestServer::start(|config| {
        config.users = Some(path);
        config.level = Level::Normal;
        config.limits.login_delay = Duration::ZERO;
        config.limits.lockout_failures = 2;
    });
    (folder, server)
}

#[test]
fn each_change_of_the_tree_is_an_event_with_its_user_and_its_full_path() {
    let server = TestServer::start(|config| (config.write, config.level) = (true, Level::Normal));
    let mut client = RawClient::log_in(server.address());
    client.ask("MKD in");
    client.ask("CWD in");
    server.write("in/a", "x");
    for (line, words) in [
        (
            "MFMT 20200102030405 a",
            &["event=time-set", "path=\"/in/a\"", "modified=2020-01-02T03:04:05Z"][..],
        ),
        ("MDTM 20200102030406 a", &["event=time-set", "modified=2020-01-02T03:04:06Z"]),
        ("SITE CHMOD 640 a", &["event=mode-set", "path=\"/in/a\"", "mode=0640"]),
        ("RNFR a", &[]),
        ("RNTO ../b", &["event=renamed", "path=\"/in/a\"", "new_path=\"/b\""]),
        ("DELE /b", &["event=deleted", "path=\"/b\""]),
        ("CDUP", &[]),
        ("RMD in", &["event=directory-removed", "path=\"/in\""]),
    ] {
        let reply = client.ask(line);
        assert!(reply.starts_with(['2', '3']), "{line}: {reply}");
        let known = [&["user=\"anonymous\"", "peer=127.0.0.1:", "session="], words].concat();
        if !words.is_empty() {
            server.log.expect(&known);
        }
    }
    server.log.expect(&["event=directory-made", "path=\"/in\""]);
    client.ask("MDTM nothing");
    client.ask("QUIT");
    server.log.expect(&["event=disconnect", "user=\"anonymous\""]);
    assert_eq!(server.log.text().matches("event=time-set").count(), 2, "{}", server.log.text());
}

#[test]
fn what_a_permission_or_the_system_refuses_is_an_event_and_what_does_not_exist_is_none() {
    let (_folder, server) = server();
    let mut client = RawClient::log_in_as(server.address(), "alice", "alice");
    server.write("a", "x");
    client.ask("CWD /");
    assert!(client.ask("DELE a").starts_with("550 "));
    server.log.expect(&[
        "event=denied",
        "user=\"alice\"",
        "verb=DELE",
        "path=\"/a\"",
        "reply=550",
        "reason=",
    ]);
    assert!(client.ask("RNFR /").starts_with("550 "));
    server.log.expect(&["event=denied", "verb=RNFR", "path=\"/\"", "reply=550"]);
    assert!(client.ask("SIZE nothing").starts_with("550 "));
    assert!(client.ask("PORT 192,0,2,7,1,1").starts_with('5'));
    server.log.expect(&["event=denied", "verb=PORT"]);
    client.ask("QUIT");
    server.log.expect(&["event=disconnect"]);
    assert_eq!(server.log.text().matches("event=denied").count(), 3, "{}", server.log.text());
}

#[test]
fn a_lockout_that_begins_is_one_event() {
    let (_folder, server) = server();
    for number in 0..4 {
        RawClient::greeted(server.address()).try_log_in("alice", &format!("wrong {number}"));
    }
    let words =
        ["level=warn", "event=banned", "banned_address=127.0.0.1", "failures=2", "seconds=600"];
    server.log.expect(&words);
    server.log.expect(&["event=login-failed", "cause=locked-out"]);
    assert_eq!(server.log.text().matches("event=banned").count(), 1, "{}", server.log.text());
}
