//! Users with passwords: logins, roots and permissions, and what happens to clients that guess.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::raw::{RawClient, read_all};
use crate::common::{TestServer, noise, until};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use poolftpd::internal::storage::password;
use poolftpd::internal::storage::users::{User, UserSettings, Users};
use tempfile::TempDir;

/// A server with a users file, and the folder of both.
struct Scene {
    folder: TempDir,
    server: TestServer,
}

impl Scene {
    /// Starts a server with users given as `name settings`; the password of each is its name.
    fn new(users: &[&str], adjust: impl FnOnce(&mut poolftpd::internal::settings::Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        for line in users {
            add(&path, &line.replace("HOMES", folder.path().to_str().unwrap()));
        }
        let server = TestServer::start(|config| {
            config.users = Some(path);
            config.anonymous = false;
            config.limits.login_delay = Duration::ZERO;
            adjust(config);
        });
        Self { folder, server }
    }

    fn home(&self, name: &str) -> PathBuf {
        let home = self.folder.path().join(name);
        fs::create_dir_all(&home).unwrap();
        home
    }

    fn log_in(&self, name: &str) -> RawClient {
        RawClient::log_in_as(self.server.address(), name, name)
    }

    fn try_log_in(&self, name: &str, password: &str) -> String {
        RawClient::greeted(self.server.address()).try_log_in(name, password)
    }
}

fn add(path: &Path, line: &str) {
    let (name, words) = line.split_once(' ').unwrap_or((line, ""));
    let mut settings = UserSettings::default();
    words.split_ascii_whitespace().for_each(|word| settings.set(word).unwrap());
    let hash = password::hash(name.as_bytes()).unwrap();
    let user = User { hash, settings };
    Users::update(path, |users| Ok(users.0.insert(name.into(), user))).unwrap();
}

#[test]
fn each_user_has_a_root_and_permissions_of_its_own() {
    let scene = Scene::new(
        &["alice home=HOMES/alice", "bob home=HOMES/bob may=list,read", "carol may=list,write"],
        |_| {},
    );
    fs::write(scene.home("bob").join("b"), "bob's").unwrap();
    let home = scene.home("alice");
    let mut alice = scene.log_in("alice");
    alice.store("a", b"alice's");
    assert_eq!(fs::read(home.join("a")).unwrap(), b"alice's");
    assert!(alice.ask("SIZE b").starts_with("550 "));
    assert!(alice.ask("SIZE ../bob/b").starts_with("550 "));
    let mut bob = scene.log_in("bob");
    assert_eq!(bob.retrieve("b"), b"bob's");
    assert_eq!(bob.ask("DELE b"), "550 Permission denied.");
    // A user without a home gets the server's root.
    scene.server.write("shared", "x");
    let mut carol = scene.log_in("carol");
    assert_eq!(carol.ask("SIZE shared"), "213 1");
    assert_eq!(carol.ask("RETR shared"), "550 Permission denied.");
    assert_eq!(carol.ask("RNFR shared"), "550 Permission denied.");
    assert_eq!(carol.ask("APPE shared"), "550 Permission denied.");
    carol.store("new", b"y");
}

#[test]
fn anonymous_is_let_in_beside_users_only_when_that_is_said() {
    let without = Scene::new(&["alice"], |_| {});
    assert_eq!(without.try_log_in("anonymous", "x"), "530 Login incorrect.");
    let with = Scene::new(&["alice"], |config| config.anonymous = true);
    assert!(with.try_log_in("anonymous", "x").starts_with("230 "));
    assert!(with.try_log_in("alice", "alice").starts_with("230 "));
    assert_eq!(with.try_log_in("alice", "x"), "530 Login incorrect.");
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    let scene = Scene::new(&["alice", "far from=192.0.2.0/24"], |_| {});
    let mut known = RawClient::greeted(scene.server.address());
    let mut unknown = RawClient::greeted(scene.server.address());
    for _ in 0..2 {
        assert_eq!(known.try_log_in("alice", "x"), "530 Login incorrect.");
        assert_eq!(unknown.try_log_in("nobody", "x"), "530 Login incorrect.");
    }
    for client in [&mut known, &mut unknown] {
        assert_eq!(client.try_log_in("far", "far"), "530 Login incorrect.");
        assert_eq!(client.line(), "421 Too many failed logins; closing.");
        assert!(client.is_closed());
    }
}

#[test]
fn a_home_that_is_missing_is_a_refusal_until_it_is_there() {
    let scene = Scene::new(&["alice home=HOMES/alice"], |_| {});
    let mut client = RawClient::greeted(scene.server.address());
    assert_eq!(client.try_log_in("alice", "alice"), "530 Your home directory is not available.");
    assert!(client.ask("LIST").starts_with("530 "));
    scene.home("alice");
    assert!(client.try_log_in("alice", "alice").starts_with("230 "));
}

#[test]
fn an_address_that_guesses_is_locked_out_and_a_trusted_one_is_not() {
    let guess = |scene: &Scene| {
        for password in ["a", "b", "c", "d"] {
            assert_eq!(scene.try_log_in("alice", password), "530 Login incorrect.");
        }
        scene.try_log_in("alice", "alice")
    };
    let strict = Scene::new(&["alice"], |config| config.limits.lockout_failures = 4);
    assert_eq!(
        guess(&strict),
        "421 Too many failed logins from your address; try again in 10 minutes."
    );
    let trusting = Scene::new(&["alice"], |config| {
        config.limits.lockout_failures = 4;
        config.limits.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    });
    assert!(guess(&trusting).starts_with("230 "));
}

#[test]
fn the_sessions_of_a_user_are_limited_and_places_are_given_back() {
    let scene = Scene::new(&["alice sessions=2"], |_| {});
    let mut first = scene.log_in("alice");
    let _second = scene.log_in("alice");
    assert_eq!(scene.try_log_in("alice", "alice"), "530 Too many sessions for this user.");
    // Another login in the same session does not count as another session.
    assert!(first.ask("REIN").starts_with("220 "));
    assert!(first.try_log_in("alice", "alice").starts_with("230 "));
    assert!(first.ask("QUIT").starts_with("221 "));
    until("the place is not given back", || scene.try_log_in("alice", "alice").starts_with("230 "));
}

#[test]
fn a_flood_of_logins_leaves_those_served_who_are_in() {
    let scene = Scene::new(&["alice"], |config| {
        config.workers = NonZeroUsize::MIN;
        config.limits.logins_pending_max = 8;
    });
    scene.server.write("a", noise(100_000));
    let mut member = scene.log_in("alice");
    // Each check takes much work.
    let costly = Params::new(19456, 50, 1, None).unwrap();
    let costly = Argon2::new(Algorithm::Argon2id, Version::V0x13, costly);
    let hash = costly.hash_password(b"alice").unwrap().to_string();
    let change = |users: &mut Users| {
        users.0.get_mut(b"alice".as_slice()).unwrap().hash = hash;
        Ok(())
    };
    Users::update(&scene.folder.path().join("users"), change).unwrap();
    scene.server.server.as_ref().unwrap().reload();
    let mut flood: Vec<RawClient> = (0..30)
        .map(|_| {
            let mut client = RawClient::greeted(scene.server.address());
            assert!(client.ask("USER alice").starts_with("331 "));
            client
        })
        .collect();
    for client in &mut flood {
        client.say("PASS alice");
    }
    assert_eq!(member.retrieve("a"), noise(100_000));
    assert!(flood.iter().any(|client| !client.has_more()), "some are still being checked");
    let replies = flood.iter_mut().map(RawClient::reply);
    let (let_in, told): (Vec<_>, Vec<_>) = replies.partition(|reply| reply.starts_with("230 "));
    // Two are checked at a time, and eight wait.
    assert!(let_in.len() >= 8 && !told.is_empty(), "{} and {}", let_in.len(), told.len());
    for reply in told {
        assert_eq!(reply, "530 Too many logins at once; try again later.");
    }
}

#[test]
fn a_rate_holds_a_transfer_back_and_costs_no_worker() {
    let scene = Scene::new(&["alice down=10K up=10K", "bob"], |config| {
        config.workers = NonZeroUsize::MIN;
    });
    scene.server.write("a", noise(1 << 20));
    let mut slow = scene.log_in("alice");
    let mut data = slow.open_data();
    assert!(slow.ask("RETR a").starts_with("150 "));
    std::io::Read::read_exact(&mut data, &mut [0; 100]).unwrap();
    assert_eq!(scene.log_in("bob").retrieve("a"), noise(1 << 20));
    // At this rate the whole file would take a hundred seconds.
    assert!(slow.ask("STAT").starts_with("211 RETR: "));
    assert!(slow.ask("ABOR").starts_with("426 "));
    assert!(slow.reply().starts_with("226 "));
    assert!(read_all(data).len() < 1 << 20);
}

#[test]
fn users_are_read_again_and_a_broken_file_changes_nothing() {
    let scene = Scene::new(&["alice"], |_| {});
    let server = scene.server.server.as_ref().unwrap();
    let path = scene.folder.path().join("users");
    let mut alice = scene.log_in("alice");
    add(&path, "bob");
    assert_eq!(scene.try_log_in("bob", "bob"), "530 Login incorrect.");
    server.reload();
    assert!(scene.try_log_in("bob", "bob").starts_with("230 "));
    fs::write(&path, "nonsense\n").unwrap();
    server.reload();
    assert!(scene.try_log_in("bob", "bob").starts_with("230 "));
    assert!(alice.ask("PWD").starts_with("257 "));
    fs::write(&path, "").unwrap();
    server.reload();
    assert_eq!(scene.try_log_in("alice", "alice"), "530 Login incorrect.");
}

#[test]
fn a_quota_of_bytes_and_files_is_552_and_goes_by_what_is_there() {
    let scene = Scene::new(&["alice home=HOMES/alice quota=100000 files=3"], |_| {});
    let home = scene.home("alice");
    fs::write(home.join("old"), noise(40_000)).unwrap();
    let mut alice = scene.log_in("alice");
    assert_eq!(alice.ask("AVBL"), "213 60000");
    let mut data = alice.open_data();
    assert!(alice.ask("STOR large").starts_with("150 "));
    let _sent = std::io::Write::write_all(&mut data, &noise(60_001));
    drop(data);
    assert_eq!(alice.reply(), "552 Quota exceeded.");
    assert!(!home.join("large").exists());
    // Data that arrived before the refusal may be kept.
    let _removed = alice.ask("DELE large");
    alice.store("new", &noise(60_000));
    // Replacing a file by one of its size needs no further quota.
    alice.store("old", &noise(40_000));
    assert!(alice.ask("DELE old").starts_with("250 "));
    for name in ["one", "two"] {
        alice.store(name, b"x");
    }
    alice.open_data();
    assert_eq!(alice.ask("STOR three"), "552 Quota exceeded.");
    assert!(alice.ask("RNFR one").starts_with("350 "));
    assert!(alice.ask("RNTO two").starts_with("250 "));
    alice.store("three", b"y");
}

#[test]
fn a_root_that_is_replaced_while_the_server_runs_is_served_to_who_logs_in() {
    let server = TestServer::start(|_| {});
    server.write("a", "old");
    let mut before = RawClient::log_in(server.address());
    fs::rename(server.root.path(), server.root.path().with_extension("old")).unwrap();
    assert!(before.ask("SIZE a").starts_with("213 "), "who is in stays where it is");
    let mut nowhere = RawClient::log_in(server.address());
    assert!(nowhere.ask("NOOP").starts_with("200 "));
    fs::create_dir(server.root.path()).unwrap();
    server.write("a", "another");
    assert_eq!(RawClient::log_in(server.address()).retrieve("a"), b"another");
    fs::remove_dir_all(server.root.path().with_extension("old")).unwrap();
    assert!(before.ask("SIZE a").starts_with("550 "));
}

#[test]
fn host_chooses_a_root_and_the_users_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a"), name).unwrap();
    }
    let users = folder.path().join("users");
    add(&users, "alice");
    let place = folder.path().display();
    let server = TestServer::start(|config| {
        config.limits.login_delay = Duration::ZERO;
        config.virtual_hosts = [
            format!("One.example,root={place}/one"),
            format!("two.example,root={place}/two,users={}", users.display()),
        ]
        .map(|host| host.parse().unwrap())
        .to_vec();
    });
    server.write("a", "usual");
    assert_eq!(RawClient::log_in(server.address()).retrieve("a"), b"usual");
    let mut client = RawClient::greeted(server.address());
    assert_eq!(client.ask("HOST three.example"), "504 Unknown host.");
    assert!(client.ask("HOST ONE.EXAMPLE").starts_with("220 "));
    assert!(client.try_log_in("alice", "alice").starts_with("530 "));
    assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
    assert!(client.ask("HOST two.example").starts_with("503 "));
    assert_eq!(client.retrieve("a"), b"one");
    assert!(client.ask("REIN").starts_with("220 "));
    assert!(client.ask("HOST two.example").starts_with("220 "));
    assert!(client.try_log_in("anonymous", "x").starts_with("530 "));
    assert!(client.try_log_in("alice", "alice").starts_with("230 "));
    assert_eq!(client.retrieve("a"), b"two");
    assert!(client.ask("REIN").starts_with("220 "));
    assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
    assert_eq!(client.retrieve("a"), b"usual");
}

#[test]
fn sessions_of_users_who_are_deleted_or_disabled_end_with_the_reload() {
    let scene = Scene::new(&["alice", "bob", "carol"], |_| {});
    let users = scene.folder.path().join("users");
    let [mut alice, mut bob, mut carol] = ["alice", "bob", "carol"].map(|name| scene.log_in(name));
    Users::update(&users, |users| Ok(users.0.remove(&b"alice"[..]))).unwrap();
    add(&users, "bob disabled");
    scene.server.server.as_ref().unwrap().reload();
    for client in [&mut alice, &mut bob] {
        assert!(client.line().starts_with("421 "));
        assert!(client.is_closed());
    }
    assert!(carol.ask("NOOP").starts_with("200 "));
}
