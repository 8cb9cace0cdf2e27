//! Guesses at passwords, and what they cost those who do not guess.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes its own files"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use common::TestServer;
use common::raw::RawClient;
use poolftpd::config::Config;
use poolftpd::storage::users::{User, UserSettings, Users};
use tempfile::TempDir;

/// A users file in which the password of each is the name, at this cost.
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

/// A client that connects from this address of the machine, greeted.
fn client_from(last: u8, server: &TestServer) -> RawClient {
    RawClient::greeted_from(SocketAddr::from(([127, 0, 0, last], 0)), server.address())
}

fn try_from(last: u8, server: &TestServer, name: &str, password: &str) -> String {
    client_from(last, server).try_log_in(name, password)
}

#[test]
fn a_flood_of_guesses_from_one_address_leaves_logins_from_others() {
    // Each takes a while: 30 of them wait when the other comes.
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
