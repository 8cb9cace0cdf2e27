//! Password guesses, and their effect on clients that do not guess.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::common::TestServer;
use crate::common::raw::RawClient;
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use poolftpd::internal::settings::Config;
use poolftpd::internal::storage::users::{User, UserSettings, Users};
use tempfile::TempDir;

/// Writes a users file in which each password is the name, hashed at this cost.
fn write_users(path: &Path, names: &[&str], passes: u32) {
    let params = Params::new(64, passes, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    for name in names {
        let hash = hasher.hash_password(name.as_bytes()).unwrap().to_string();
        let user = User { hash, settings: UserSettings::default() };
        Users::update(path, |users| Ok(users.0.insert((*name).into(), user))).unwrap();
    }
}

fn start(passes: u32, adjust: impl FnOnce(&mut Config, &Path)) -> (TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    write_users(&users, &["alice", "bob"], passes);
    let server = TestServer::start(|config| {
        config.users = Some(users);
        config.anonymous = false;
        config.limits.login_delay = Duration::ZERO;
        config.limits.login_failures_max = u8::MAX;
        adjust(config, folder.path());
    });
    (folder, server)
}

/// Connects from this address of the machine, and reads the greeting.
fn client_from(last: u8, server: &TestServer) -> RawClient {
    RawClient::greeted_from(SocketAddr::from(([127, 0, 0, last], 0)), server.address())
}

fn try_from(last: u8, server: &TestServer, name: &str, password: &str) -> String {
    client_from(last, server).try_log_in(name, password)
}

#[test]
fn a_flood_of_guesses_from_one_address_leaves_logins_from_others() {
    // Each check takes long enough that 30 of them wait when the other client comes.
    let (_folder, server) = start(2000, |config, _| {
        config.limits.logins_pending_max = 16;
        config.limits.lockout_failures = u32::MAX;
    });
    let mut flood: Vec<RawClient> = (0..30).map(|_| client_from(1, &server)).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        assert!(client.ask("USER alice").starts_with("331 "));
        client.say(&format!("PASS wrong {number}"));
    }
    assert!(try_from(2, &server, "bob", "bob").starts_with("230 "));
    let waiting = flood.iter().filter(|client| !client.has_more()).count();
    assert!(waiting > 0, "those who were first are all answered already");
    for client in &mut flood {
        assert!(client.reply().starts_with("530 "));
    }
}

const LOCKED_OUT: &str = "421 Too many failed logins from your address; try again in 10 minutes.";

/// Guesses from an address, with a different password each time.
fn guess(last: u8, server: &TestServer, name: &str, count: u32) {
    for number in 0..count {
        let reply = try_from(last, server, name, &format!("wrong {last} {number}"));
        assert_eq!(reply, "530 Login incorrect.", "{number}");
    }
}

#[test]
fn an_address_that_is_locked_out_still_gets_in_as_anonymous_and_as_who_was_there_before() {
    let (_folder, server) = start(1, |config, _| {
        config.anonymous = true;
        config.limits.lockout_failures = 4;
    });
    assert!(try_from(1, &server, "bob", "bob").starts_with("230 "));
    guess(1, &server, "alice", 4);
    assert_eq!(try_from(1, &server, "alice", "alice"), LOCKED_OUT);
    for name in ["anonymous", "ftp"] {
        assert!(try_from(1, &server, name, "x").starts_with("230 "));
    }
    assert!(try_from(1, &server, "bob", "bob").starts_with("230 "));
    assert!(try_from(2, &server, "alice", "alice").starts_with("230 "));
}

#[test]
fn a_device_with_an_old_password_locks_out_nothing() {
    let (_folder, server) = start(1, |config, _| config.limits.lockout_failures = 4);
    for _ in 0..30 {
        assert_eq!(try_from(1, &server, "alice", "old"), "530 Login incorrect.");
    }
    assert!(try_from(1, &server, "bob", "bob").starts_with("230 "));
    assert!(try_from(1, &server, "alice", "alice").starts_with("230 "));
}

#[test]
fn what_is_tried_at_one_host_is_not_counted_at_another() {
    let (_folder, server) = start(1, |config, folder| {
        config.limits.lockout_failures = 2;
        let users = folder.join("users of b");
        write_users(&users, &["alice"], 1);
        let place = folder.join("place of both");
        fs::create_dir(&place).unwrap();
        let place = place.display();
        config.virtual_hosts = [
            format!("a.example,root={place},anonymous"),
            format!("b.example,root={place},users={}", users.display()),
        ]
        .map(|host| host.parse().unwrap())
        .to_vec();
    });
    let at_host = |host: &str, last: u8, name: &str, password: &str| {
        let mut client = client_from(last, &server);
        assert!(client.ask(&format!("HOST {host}")).starts_with("220 "));
        client.try_log_in(name, password)
    };
    // Ten failures lock out a user, two an address.
    for last in 10..15 {
        guess(last, &server, "anonymous", 2);
        guess(last + 10, &server, "alice", 2);
        assert!(at_host("b.example", last + 20, "alice", "alice").starts_with("230 "));
    }
    assert!(at_host("a.example", 1, "anonymous", "x").starts_with("230 "));
    assert!(at_host("a.example", 10, "ftp", "x").starts_with("230 "), "a locked address, too");
    assert_eq!(try_from(1, &server, "alice", "alice"), "530 Login incorrect.");
    assert!(at_host("b.example", 1, "alice", "alice").starts_with("230 "));
}
