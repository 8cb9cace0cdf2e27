//! Situations of an administrator: homes created later, several servers on a port, misplaced keys, warnings.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::common::outside::{find, is_root, skip};
use crate::common::raw::{RawClient, read_all};
use crate::common::secure::certificate;
use crate::common::{Captured, until};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// `ftpserver`, killed at the end.
struct Running {
    child: Child,
    address: SocketAddr,
    log: Captured,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, mut errors) = (Captured::default(), child.stderr.take().unwrap());
        let mut into = log.clone();
        thread::spawn(move || std::io::copy(&mut errors, &mut into));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().parse();
        let address = address.unwrap_or_else(|_| panic!("{line}{}", log.text()));
        Self { child, address, log }
    }

    fn reload(&self) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn server(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(SERVER);
    command.arg("--root").arg(root).args(words);
    command
}

/// Creates a directory with these in it.
fn folder(names: &[&str]) -> (TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = folder.path().to_owned();
    for name in names {
        fs::create_dir_all(place.join(name)).unwrap();
    }
    (folder, move |name: &str| place.join(name))
}

/// Adds a user whose password is the name.
fn add_user(file: &Path, name: &str, home: Option<&Path>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftppasswd"));
    command.arg(file).arg(name).stdin(Stdio::piped());
    if let Some(home) = home {
        command.arg("--home").arg(home);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(name.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_home_that_comes_after_the_start_is_refused_with_a_remedy_or_is_allowed() {
    let (_folder, path) = folder(&["srv/root", "etc", "homes"]);
    let users = path("etc/users");
    add_user(&users, "alice", None);
    let start = |words: &[&str]| {
        let words = [&["--bind=127.0.0.1", "--port=0", "--users", text(&users)], words].concat();
        Running::start(server(&path("srv/root"), &words))
    };
    let (closed, allowed) = (start(&[]), start(&["--allow", text(&path("homes"))]));
    closed.log.expect(&["event=sandboxed"]);
    fs::create_dir(path("homes/bob")).unwrap();
    fs::write(path("homes/bob/a"), "x").unwrap();
    add_user(&users, "bob", Some(&path("homes/bob")));
    for server in [&closed, &allowed] {
        server.reload();
        server.log.expect(&["event=reloaded", "users=2"]);
    }
    assert!(!allowed.log.text().contains("unreachable"), "{}", allowed.log.text());
    let mut client = RawClient::greeted(allowed.address);
    assert!(client.try_log_in("bob", "bob").starts_with("230 "));
    let data = client.open_data();
    assert!(client.ask("NLST").starts_with("150 "));
    assert_eq!(read_all(data), b"a\r\n");
    if closed.log.text().contains("landlock=false") {
        return skip("in part: this kernel has no Landlock");
    }
    closed.log.expect(&["event=reloaded", "unreachable=\"bob\"", "--allow"]);
    let reply = RawClient::greeted(closed.address).try_log_in("bob", "bob");
    assert_eq!(reply, "530 Your home directory is not available.");
    closed.log.expect(&["event=login-failed", "user=\"bob\"", "--allow"]);
    assert!(RawClient::greeted(closed.address).try_log_in("alice", "alice").starts_with("230 "));
}

#[test]
fn keys_and_users_beneath_what_is_served_are_refused() {
    let (_folder, path) = folder(&["srv/deep", "other", "etc", "home"]);
    for users in ["srv/users", "etc/users", "home/users"] {
        add_user(&path(users), "alice", Some(&path("home")));
    }
    let files = certificate(&path("srv/deep"), "localhost");
    let (srv, other) = (path("srv"), path("other"));
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    let host = format!("a.example,root={},cert={certificate},key={key}", srv.display());
    for (root, words, kind, beneath) in [
        (&srv, vec!["--users", text(&path("srv/users"))], "the users file ", &srv),
        (&srv, vec!["--tls-cert", certificate, "--tls-key", key], "the key ", &srv),
        (&srv, vec!["--self-signed", text(&path("srv/own.pem"))], "the key ", &srv),
        (&other, vec!["--virtual-host", &host], "the key ", &srv),
        (&other, vec!["--users", text(&path("home/users"))], "the users file ", &path("home")),
    ] {
        let Output { status, stderr, .. } =
            server(root, &[&["--port=0"][..], &words].concat()).output().unwrap();
        let message = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), message.lines().count()), (Some(1), 1), "{words:?}: {message}");
        assert!(message.contains(kind) && message.contains(text(beneath)), "{words:?}: {message}");
    }
    assert!(!path("srv/own.pem").exists(), "made where clients could fetch it");
    // A home that is created later.
    let users = path("etc/users");
    let words = ["--bind=127.0.0.1", "--port=0", "--users", text(&users)];
    let running = Running::start(server(&path("other"), &words));
    add_user(&users, "bob", Some(&path("etc")));
    running.reload();
    running.log.expect(&["event=not-reloaded", "the home of bob", "etc/users"]);
    let reply = RawClient::greeted(running.address).try_log_in("bob", "bob");
    assert!(reply.starts_with("530 "), "{reply}");
}

/// Returns a port that is free at both addresses.
fn free_port() -> u16 {
    loop {
        let one = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = one.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.3", port)).is_ok() {
            return port;
        }
    }
}

fn ctl(words: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } =
        Command::new(SERVER).arg("ctl").args(words).output().unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn two_servers_of_a_port_are_both_asked_and_the_second_stays_when_the_first_is_gone() {
    let (_folder, path) = folder(&["one", "two"]);
    let port = free_port().to_string();
    let start = |name: &str, address: &str| {
        Running::start(server(&path(name), &["--bind", address, "--port", &port, "--slaves=0"]))
    };
    let (first, second) = (start("one", "127.0.0.2"), start("two", "127.0.0.3"));
    let (good, answer) = ctl(&["--port", &port, "status"]);
    assert!(good && answer.contains("127.0.0.2:") && answer.contains("127.0.0.3:"), "{answer}");
    for address in ["127.0.0.2", "127.0.0.3"] {
        let (good, answer) = ctl(&["--port", &port, "--bind", address, "status"]);
        assert!(good && !answer.contains("server "), "{answer}");
    }
    let (good, answer) = ctl(&["--port", &port, "drain", "1"]);
    assert!(!good && answer.contains("--bind"), "{answer}");
    let slaves = Command::new(env!("CARGO_BIN_EXE_ftpslaves"))
        .args(["--count=1", &format!("127.0.0.3:{port}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _slaves = Running { child: slaves, address: second.address, log: Captured::default() };
    let rows =
        |address: &str| ctl(&["--port", &port, "--bind", address, "status"]).1.lines().count();
    until("no slave of the second", || rows("127.0.0.3") == 3);
    assert_eq!(rows("127.0.0.2"), 2);
    drop(first);
    let (good, answer) = ctl(&["--port", &port, "status"]);
    assert!(good && !answer.contains("server "), "{answer}");
}

#[test]
fn root_asks_the_server_of_another_user() {
    if !is_root() || find("setpriv").is_none() {
        return skip("needs root and setpriv");
    }
    let (_folder, path) = folder(&["root"]);
    let port = free_port().to_string();
    let words = ["--bind=127.0.0.2", "--user=nobody", "--port", &port];
    let _running = Running::start(server(&path("root"), &words));
    let (good, answer) = ctl(&["--port", &port, "status"]);
    assert!(good && answer.contains("serving"), "{answer}");
    // One user cannot control the server of another.
    let Output { status, .. } = Command::new("setpriv")
        .args(["--reuid=1", "--clear-groups", "--", SERVER, "ctl", "--port", &port, "status"])
        .output()
        .unwrap();
    assert!(!status.success());
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_owner_and_the_remedy() {
    if !is_root() {
        return skip("needs root");
    }
    let (_folder, path) = folder(&["root", "etc"]);
    let users = path("etc/users");
    add_user(&users, "alice", None);
    let files = certificate(&path("etc"), "localhost");
    chown(&files.key, Some(65534), None).unwrap();
    let words = [
        "--bind=127.0.0.1",
        "--port=0",
        "--user=nobody",
        "--users",
        text(&users),
        "--tls-cert",
        text(&files.certificate),
        "--tls-key",
        text(&files.key),
    ];
    let running = Running::start(server(&path("root"), &words));
    running.reload();
    running.log.expect(&["event=not-reloaded", "etc/users", "permission denied", "chown "]);
    chown(&users, Some(65534), None).unwrap();
    running.reload();
    running.log.expect(&["event=reloaded", "users=1", "certificates=1"]);
}

#[test]
fn what_an_administrator_should_change_is_warned_of() {
    let (_folder, path) = folder(&["root", "etc"]);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(2001, 2, 3);
    let pem = [params.self_signed(&key).unwrap().pem(), key.serialize_pem()].concat();
    fs::write(path("etc/own.pem"), pem).unwrap();
    let own = path("etc/own.pem");
    let words =
        ["--bind=127.0.0.1", "--port=0", "--tls-cert", text(&own), "--passive-ports=1025-65535"];
    let running = Running::start(server(&path("root"), &words));
    running.log.expect(&["event=certificate-expires", "own.pem", "at=2001-02-03T00:00:00Z"]);
    running.log.expect(&["event=warning", "--passive-ports", "30000-30999"]);
}

#[test]
fn a_range_of_passive_ports_that_is_taken_is_named_in_the_log() {
    let (_folder, path) = folder(&["root"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let range = format!("{port}-{port}");
    let words = ["--bind=127.0.0.1", "--port=0", "--passive-ports", &range];
    let running = Running::start(server(&path("root"), &words));
    let mut client = RawClient::log_in(running.address);
    assert!(client.ask("EPSV").starts_with("425 "));
    running.log.expect(&["event=error", &range, "tried 1 of 1, all in use"]);
}
