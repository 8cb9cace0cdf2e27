//! `ftpserver ctl`: what an administrator sees of a running server, and changes in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use crate::common::outside::{find, is_root, skip};
use crate::common::raw::{RawClient, read_all};
use crate::common::{TestServer, ctl, noise, until};
use poolftpd::internal::log::Level;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// A hash of "secret", by mkpasswd of Debian.
const HASH: &str = "$5$6NHIXTqLt58psyBn$c7Tkubuedveg2x5E8QZmKR5APtnAIpuyXjBA9Ev65kA";

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
fn a_root_or_a_mount_that_is_missing_makes_the_server_not_ready_and_clients_are_still_greeted() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, away) = (folder.path().join("shared"), folder.path().join("away"));
    fs::create_dir(&shared).unwrap();
    let server = TestServer::start(|config| {
        config.mounts = vec![format!("/shared,dir={}", shared.display()).parse().unwrap()];
        config.level = Level::Normal;
    });
    let ready = || ctl(server.address(), &["ready"]);
    assert!(ready().0);
    fs::rename(&shared, &away).unwrap();
    until("the server is ready without its mount", || !ready().0);
    assert_eq!(ready().1, format!("ftpserver ctl: not ready: {} is missing.\n", shared.display()));
    assert!(
        ctl(server.address(), &["--json", "status"]).1.contains("\"state\":\"root-unavailable\"")
    );
    server.log.expect(&["level=error", "event=root-unavailable", "shared", "is missing"]);
    RawClient::log_in(server.address());
    // Another directory at the place is as good.
    fs::create_dir(&shared).unwrap();
    until("the server is ready again", || ready().0);
    server.log.expect(&["level=info", "event=root-available", "shared"]);
    let lines = |word: &str| server.log.text().matches(word).count();
    assert_eq!((lines("event=root-unavailable"), lines("event=root-available")), (1, 1));
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

/// Starts a server with the user alice, whose password is "secret", who has a home of her own and these settings.
fn start_with_alice(folder: &Path, settings: &str) -> TestServer {
    fs::create_dir(folder.join("home")).unwrap();
    let home = folder.join("home").display().to_string();
    fs::write(folder.join("users"), format!("alice {HASH} home={home} {settings}\n")).unwrap();
    TestServer::start(|config| {
        config.users = Some(folder.join("users"));
        config.level = Level::Normal;
    })
}

#[test]
fn the_usage_of_a_quota_is_shown_and_counted_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with_alice(folder.path(), "quota=1000 files=7");
    fs::write(folder.path().join("home/a"), [0; 40]).unwrap();
    let usage = || {
        let (good, answer) = ctl(server.address(), &["--json", "quota", "alice"]);
        assert!(good, "{answer}");
        answer
    };
    let row = |bytes: u32, files: u32| {
        format!(
            "[{{\"user\":\"alice\",\"host\":null,\"bytes\":{bytes},\"bytes-limit\":1000,\"files\":{files},\"files-limit\":7}}]\n"
        )
    };
    assert_eq!(usage(), row(40, 1), "without a session");
    let mut client = RawClient::log_in_as(server.address(), "alice", "secret");
    client.store("b", &[1; 60]);
    assert_eq!(usage(), row(100, 2));
    // A change by another program is seen by a new count.
    fs::write(folder.path().join("home/c"), [0; 900]).unwrap();
    assert_eq!(usage(), row(100, 2));
    let (good, answer) = ctl(server.address(), &["recount", "alice"]);
    assert!(good && answer.contains("counted again"), "{answer}");
    assert_eq!(usage(), row(1000, 3));
    server.log.expect(&["event=admin", "recount alice", "done=true"]);
    let data = client.open_data();
    assert!(client.ask("STOR d").starts_with("150 "));
    std::io::Write::write_all(&mut &data, b"x").unwrap();
    drop(data);
    assert!(client.reply().starts_with("552 "));
    let (good, answer) = ctl(server.address(), &["quota"]);
    assert!(good && answer.contains("bytes-limit") && answer.contains("alice"), "{answer}");
    for wrong in [&["quota", "bob"][..], &["recount", "bob"], &["recount"]] {
        assert!(!ctl(server.address(), wrong).0, "{wrong:?}");
    }
}

#[test]
fn several_administrators_who_ask_for_quotas_at_once_all_get_the_usage() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with_alice(folder.path(), "quota=1G files=100000");
    for number in 0..3000 {
        fs::write(folder.path().join(format!("home/{number}")), b"x").unwrap();
    }
    std::thread::scope(|scope| {
        let ask = || ctl(server.address(), &["--json", "quota"]).1;
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for answer in asked {
            let answer = answer.join().unwrap();
            assert!(answer.contains("\"bytes\":3000,"), "{answer}");
        }
    });
}

#[test]
fn a_rate_of_a_user_changes_for_the_transfer_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with_alice(folder.path(), "down=1");
    fs::write(folder.path().join("home/a"), noise(100_000)).unwrap();
    let mut client = RawClient::log_in_as(server.address(), "alice", "secret");
    let data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    let shown =
        |words: &[&str]| ctl(server.address(), &[&["--json", "limit", "user"], words].concat());
    assert_eq!(shown(&["alice"]).1, "[{\"user\":\"alice\",\"down\":1,\"up\":null}]\n");
    assert_eq!(
        shown(&["alice", "down", "0"]).1,
        "[{\"user\":\"alice\",\"down\":null,\"up\":null}]\n"
    );
    assert!(read_all(data) == noise(100_000));
    server.log.expect(&["event=admin", "limit user alice down 0"]);
    for wrong in [&["bob"][..], &["alice", "down"], &["alice", "down", "fast"]] {
        assert!(!shown(wrong).0, "{wrong:?}");
    }
    // The users file decides again.
    assert!(ctl(server.address(), &["reload"]).0);
    assert!(shown(&["alice"]).1.contains("\"down\":1,"));
    let changed =
        fs::read_to_string(folder.path().join("users")).unwrap().replace("down=1", "down=5M");
    fs::write(folder.path().join("users"), changed).unwrap();
    assert!(client.reply().starts_with("226 "));
    let data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    assert!(ctl(server.address(), &["reload"]).0);
    assert!(read_all(data) == noise(100_000));
}

/// Returns the mode and the group of a file.
fn mode_and_group(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.mode() & 0o777, found.gid())
}

/// Sends a command to the server with this socket file, as this user and group.
fn ctl_as(
    program: &Path,
    user: u32,
    groups: &[u32],
    socket: &Path,
    words: &[&str],
) -> (bool, String) {
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let group = groups.first().unwrap();
    let Output { status, stdout, stderr } = Command::new("setpriv")
        .args(["--reuid", &user.to_string(), "--regid", group, "--groups", &groups.join(",")])
        .arg(program)
        .args(["ctl", "--socket"])
        .arg(socket)
        .args(words)
        .output()
        .unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn members_of_the_group_of_the_socket_control_the_server_and_others_do_not() {
    if !is_root() || find("setpriv").is_none() {
        return skip("needs root and setpriv");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program itself may be where only root can read.
    let program = folder.path().join("ftpserver");
    fs::copy(SERVER, &program).unwrap();
    let socket = folder.path().join("control");
    let server = TestServer::start(|config| {
        config.control = Some(socket.clone());
        config.control_group = Some("games".to_owned());
        config.level = Level::Normal;
    });
    let games = mode_and_group(&socket);
    assert_eq!(games.0, 0o660);
    let ask =
        |user: u32, groups: &[u32], words: &[&str]| ctl_as(&program, user, groups, &socket, words);
    let (good, answer) = ask(65534, &[65534, games.1], &["--json", "ready"]);
    assert!(good && answer == "{\"ready\":true}\n", "{answer}");
    let (good, answer) = ask(65534, &[65534, games.1], &["--json", "ban", "192.0.2.7"]);
    assert!(good && answer.starts_with("{\"done\":true,\"message\":\"192.0.2.7/32 is"), "{answer}");
    server.log.expect(&["event=admin", "ban 192.0.2.7", "uid=65534"]);
    let (good, answer) = ask(65534, &[65534], &["ready"]);
    assert!(!good && answer.contains("permission denied"), "{answer}");
    assert!(ask(0, &[0], &["ready"]).0, "root");
}

#[test]
fn a_socket_of_a_server_that_is_gone_is_taken_over_and_a_group_that_is_missing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let start = || {
        let socket = socket.clone();
        TestServer::start(|config| config.control = Some(socket))
    };
    let ask = || {
        let words = ["ctl", "--socket", socket.to_str().unwrap(), "status"];
        Command::new(SERVER).args(words).output().unwrap()
    };
    drop(start());
    let gone = ask();
    assert!(!gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("no server"));
    let _server = start();
    assert_eq!(mode_and_group(&socket).0, 0o600);
    assert!(ask().status.success());
    let root = folder.path().to_str().unwrap();
    let check = Command::new(SERVER)
        .args(["check", "--root", root, "--control", "/c", "--control-group", "no-such-group"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&check.stdout).contains("no such group"), "{check:?}");
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
