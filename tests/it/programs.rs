//! The programs as a person starts them: command lines, messages, signals, exit statuses.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::raw::{RawClient, read_all};
use crate::common::{PATIENCE, TestServer, noise, until};
use poolftpd::ftp::command::Type;
use poolftpd::internal::balancer::handover::Channel;
use poolftpd::internal::client::{Client, Interrupt, Options, Progress};
use poolftpd::internal::net::tls::fingerprint;
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketType};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");
const CLIENT: &str = env!("CARGO_BIN_EXE_ftpclient");

/// `ftpserver` on a port of its own, killed at the end.
struct Program {
    child: Child,
    address: SocketAddr,
    root: TempDir,
}

impl Program {
    fn start(words: &[&str]) -> Self {
        Self::start_by(Command::new(SERVER), words)
    }

    fn start_by(mut command: Command, words: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        command.args(["--bind", "127.0.0.1", "--port", "0", "--root"]).arg(root.path()).args(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .unwrap();
        Self { child, address, root }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Returns the rest of its log, and its exit status, once it has ended.
    fn end(mut self) -> (String, Option<i32>) {
        let mut log = String::new();
        let mut stderr: ChildStderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (log, self.child.wait().unwrap().code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn server_output(words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(SERVER).args(words).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Runs the client in `folder`, with a script.
pub(crate) fn client_in(folder: &Path, words: &[&str], script: &str) -> (i32, String, String) {
    let mut child = Command::new(CLIENT)
        .args(words)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The client may end before it has read everything.
    let _written = child.stdin.take().unwrap().write_all(script.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn sigterm_and_sigint_end_the_server_with_status_0_and_sighup_does_not() {
    for signal in ["TERM", "INT"] {
        let program = Program::start(&[]);
        program.signal("HUP");
        drop(RawClient::log_in(program.address));
        program.signal(signal);
        let (log, status) = program.end();
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("event=stopped in_time=true"), "{log}");
    }
}

/// Runs ftppasswd with this standard input; returns its status and its error message.
fn passwd(words: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftppasswd"))
        .args(words)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn users_are_added_changed_and_removed_and_read_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let users = path.to_str().unwrap();
    assert_eq!(passwd(&[users, "alice"], "secret\n"), (Some(0), String::new()));
    let program = Program::start(&["--users", users]);
    let may = |name: &str, password: &str| {
        RawClient::greeted(program.address).try_log_in(name, password).starts_with("230 ")
    };
    assert!(may("alice", "secret"));
    assert_eq!(passwd(&[users, "bob", "--read-only"], "word").0, Some(0));
    assert_eq!(passwd(&[users, "alice", "--keep-password", "--quota=1M"], "").0, Some(0));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("may=list,read\n") && text.contains("may=all quota=1048576\n"), "{text}");
    assert!(!text.contains("secret"));
    program.signal("HUP");
    until("the new user is not let in", || may("bob", "word"));
    assert!(may("alice", "secret"));
    assert_eq!(passwd(&[users, "bob", "--delete"], "").0, Some(0));
    assert!(!fs::read_to_string(&path).unwrap().contains("bob"));
}

#[test]
fn what_ftppasswd_cannot_do_is_one_line_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let users = path.to_str().unwrap();
    passwd(&[users, "alice"], "secret");
    let before = fs::read(&path).unwrap();
    for (words, status, what) in [
        (vec![users, "bob", "--delete"], 1, "no user bob in "),
        (vec![users, "bob", "--keep-password"], 1, "no user bob in "),
        (vec![users, "bob"], 1, "a password must not be empty"),
        (vec![users, "bob", "--home", "/nonexistent"], 2, "--home: /nonexistent: no such file"),
        (vec![users, "bob", "--quota", "much"], 2, "--quota: 'much' is not a number of bytes"),
        (
            vec![users, "bob", "--may", "fly"],
            2,
            "--may: 'fly' is not a permission; use all, none, or some of list, ",
        ),
        (vec![users, "bob", "--may", "all", "--read-only"], 2, "cannot be used together"),
        (vec![users, "bob", "--from", "x"], 2, "--from: 'x' is not an address or a network"),
        (vec!["/nonexistent/users", "bob"], 1, "/nonexistent/users: no such file"),
    ] {
        let input = if words.len() == 2 && words[0] == users { "" } else { "word" };
        let (code, text) = passwd(&words, input);
        assert_eq!((code, text.lines().count()), (Some(status), 1), "{words:?}: {text}");
        assert!(text.starts_with("ftppasswd: ") && text.contains(what), "{words:?}: {text}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::write(&path, "nonsense").unwrap();
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let (code, text) = server_output(&["--port=0", "--root", root, "--users", users]);
    assert_eq!(code, Some(1));
    assert!(text.contains("line 1: ") && text.contains("ftppasswd"), "{text}");
}

#[test]
fn a_client_knows_its_server_by_a_pin_or_an_authority_and_says_5_where_not() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.pem");
    let own = own.to_str().unwrap();
    let program = Program::start(&["--self-signed", own]);
    fs::write(program.root.path().join("a"), "text").unwrap();
    let (host, port) = ("127.0.0.1", program.address.port().to_string());
    let get = |words: &[&str]| {
        let words = [words, &["-c", "get a", host, &port]].concat();
        let (status, _, said) = client_in(folder.path(), &words, "");
        (status, said)
    };
    let pin = fingerprint(Path::new(own)).unwrap();
    for words in [&["--pin", &pin][..], &["--ca", own], &["--insecure", "--tls", "require"]] {
        let (status, said) = get(words);
        assert_eq!(status, 0, "{said}");
        assert!(said.contains(" (TLS 1.3)."), "{said}");
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"text");
    }
    assert_eq!(get(&["--tls", "off"]).0, 0);
    // The message contains the fingerprint to compare, and the option to use.
    let (status, said) = get(&[]);
    assert_eq!(status, 5, "{said}");
    assert!(said.contains(&pin) && said.contains("--pin") && said.lines().count() == 1, "{said}");
    let (status, said) = get(&["--pin", &"0".repeat(64)]);
    assert!(status == 5 && said.contains(&pin), "{said}");
    assert_eq!(get(&["--pin", "abc"]).0, 2);
    assert_eq!(get(&["--pin", &pin, "--insecure"]).0, 2);
    assert_eq!(get(&["--ca", "/nonexistent"]).0, 7);
    assert_eq!(get(&["--tls", "implicit"]).0, 5, "it is no port of implicit TLS");
}

#[test]
fn a_client_that_requires_tls_goes_nowhere_without() {
    let server = TestServer::start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    let run =
        |tls: &str| client_in(folder.path(), &["--tls", tls, "-c", "pwd", "127.0.0.1", &port], "");
    let (status, _, said) = run("require");
    assert_eq!(status, 5);
    assert!(said.contains("does not offer TLS: 502 TLS is not configured."), "{said}");
    let pinned = ["--pin", &"0".repeat(64), "-c", "pwd", "127.0.0.1", &port];
    assert_eq!(client_in(folder.path(), &pinned, "").0, 5, "a pin means TLS");
    let (status, _, said) = run("auto");
    assert!(status == 0 && said.contains("(no TLS)"), "{said}");
}

#[test]
fn a_transfer_finishes_after_sigterm() {
    let program = Program::start(&[]);
    let content = noise(20_000_000);
    fs::write(program.root.path().join("a"), &content).unwrap();
    let mut client = RawClient::log_in(program.address);
    let data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    program.signal("TERM");
    // Connections are refused once it has stopped listening.
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(program.address).is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
    }
    assert!(read_all(data) == content);
    assert!(client.reply().starts_with("226 "));
    assert_eq!(program.end().1, Some(0));
}

#[test]
fn what_keeps_a_server_from_starting_is_one_line_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    for (words, status, hint) in [
        (vec!["--root", root, "--bind", "127.0.0.1", "--port", &port], 1, "in use"),
        (vec!["--root", "/no/such/directory", "--port", "0"], 1, "--root"),
        (vec!["--root", root, "--bind", "192.0.2.1", "--port", "0"], 1, "--bind"),
        (vec!["--workers", "0"], 2, "workers"),
        (vec!["--workers=x"], 2, "workers"),
        (vec!["--port", "70000"], 2, "port"),
        (vec!["--passive-ports", "9-1"], 2, "LO-HI"),
        (vec!["--root", root, "--public-address", "no-such.invalid"], 1, "--public-address"),
        (vec!["--public-address", "0.0.0.0"], 2, "public-address"),
        (vec!["--public-address", "224.0.0.1"], 2, "public-address"),
        (vec!["--public-address", "255.255.255.255"], 2, "public-address"),
        (vec!["--public-address", "1.2.3"], 2, "public-address"),
        (vec!["--public-address", "192.0.2.1,192.0.2.2"], 2, "public-address"),
        (vec!["--data-from", "x"], 2, "data-from"),
        (vec!["--max-clients", "0"], 2, "--max-clients"),
        (vec!["--idle-timeout", "0"], 2, "--idle-timeout"),
        (vec!["--stall-timeout", "0"], 2, "--stall-timeout"),
        (vec!["--no-such-option"], 2, "no-such-option"),
        (vec!["stray"], 2, "stray"),
        (vec!["-q", "-v"], 2, "cannot be used together"),
    ] {
        let (found, message) = server_output(&words);
        assert_eq!(found, Some(status), "{words:?}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        assert!(message.starts_with("ftpserver: ") && message.contains(hint), "{message}");
    }
}

#[test]
fn help_and_version_are_printed_with_status_0() {
    for program in [SERVER, CLIENT] {
        for (word, expected) in [("--help", "--"), ("--version", "poolftpd")] {
            let Output { status, stdout, .. } = Command::new(program).arg(word).output().unwrap();
            assert!(status.success());
            assert!(String::from_utf8(stdout).unwrap().contains(expected));
        }
    }
}

#[test]
fn the_log_has_a_line_an_event_and_no_name_can_forge_one() {
    let program = Program::start(&["--write"]);
    let mut client = RawClient::log_in(program.address);
    client.store("a\x1b[31m\"b", b"text");
    assert!(client.ask("USER x\rforged").starts_with("331 "));
    assert!(client.ask("PASS secret").starts_with("530 "));
    assert!(client.ask("QUIT").starts_with("221 "));
    program.signal("TERM");
    let (log, _) = program.end();
    for expected in [
        "-1 peer=127.0.0.1:",
        "event=connect",
        "event=login user=\"anonymous\"",
        "event=transfer verb=STOR path=\"/a\\u{1b}[31m\\\"b\" bytes=4 ",
        "outcome=\"assumed complete\"",
        "event=login-failed user=\"x\\u{d}forged\"",
        "event=disconnect",
    ] {
        assert!(log.contains(expected), "{expected} is not in:\n{log}");
    }
    assert!(!log.contains("secret"));
    assert!(
        log.lines().all(|line| line.starts_with("20")
            && line.contains(" level=")
            && line.contains("event=")),
        "{log}"
    );
}

#[test]
fn without_descriptors_clients_hear_why_and_it_recovers_by_itself() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", SERVER]);
    let program = Program::start_by(command, &[]);
    let mut crowd = Vec::new();
    let mut refused = 0;
    // One address alone would be refused before.
    for from in 1..=60 {
        let from = (Ipv4Addr::new(127, 0, 1, from), 0).into();
        let mut client = RawClient::connect_from(from, program.address);
        if client.line().starts_with("421 ") {
            refused += 1;
        }
        crowd.push(client);
    }
    assert!(refused > 0, "40 descriptors are not enough for 60 clients");
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    while !RawClient::connect(program.address).line().starts_with("220 ") {
        assert!(Instant::now() < deadline, "it does not recover");
    }
    program.signal("TERM");
    let (log, _) = program.end();
    let reports = log.matches("raise the limit of open files").count();
    assert_eq!(reports, 1, "one line in a minute: {log}");
}

#[test]
fn one_address_does_not_take_all_descriptors() {
    const TEXT: &str =
        " Too many connections from your address; the server has few file descriptors left.";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 160; exec \"$0\" \"$@\"", SERVER]);
    let program = Program::start_by(command, &["--max-per-ip", "1000"]);
    fs::write(program.root.path().join("file"), "content").unwrap();
    let mut crowd = Vec::new();
    let refused = loop {
        let mut client = RawClient::connect(program.address);
        match client.line() {
            greeting if greeting.starts_with("220 ") => crowd.push(client),
            refused => break refused,
        }
    };
    assert_eq!(refused, format!("421{TEXT}"));
    for client in &mut crowd {
        client.ask("USER anonymous");
        client.ask("PASS x");
    }
    let refused = crowd.iter_mut().find_map(|client| {
        let reply = client.ask("EPSV");
        (!reply.starts_with("229 ")).then_some(reply)
    });
    assert_eq!(refused.unwrap(), format!("425{TEXT}"));
    // Active mode has the same limit.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let last = crowd.last_mut().unwrap();
    assert!(last.ask(&format!("EPRT |1|127.0.0.1|{port}|")).starts_with("200 "));
    assert_eq!(last.ask("RETR file"), format!("425{TEXT}"));
    for last in 1..=5 {
        let ip = Ipv4Addr::new(127, 0, 1, last);
        let mut other = RawClient::connect_from((ip, 0).into(), program.address);
        assert!(other.line().starts_with("220 "));
        other.ask("USER anonymous");
        assert!(other.ask("PASS x").starts_with("230 "));
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(other.ask(&format!("EPRT |1|{ip}|{port}|")).starts_with("200 "));
        assert!(other.ask("RETR file").starts_with("150 "));
        assert_eq!(read_all(listener.accept().unwrap().0), b"content");
        assert!(other.reply().starts_with("226 "));
    }
}

#[test]
fn without_descriptors_the_server_still_answers_to_ctl() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", SERVER]);
    let program = Program::start_by(command, &["--quiet"]);
    let from = |last| (Ipv4Addr::new(127, 0, 1, last), 0).into();
    let mut crowd: Vec<RawClient> =
        (1..=60).map(|last| RawClient::connect_from(from(last), program.address)).collect();
    let refused =
        crowd.iter_mut().filter_map(|client| client.line().strip_prefix("421 ").map(drop));
    assert!(refused.count() > 0, "40 descriptors are not enough for 60 clients");
    let port = program.address.port();
    // Silent connections to the control socket do not block `ftpserver ctl`.
    let mut silent = Vec::new();
    for _ in 0..3 {
        let words = ["ctl", "status", "--port", &port.to_string()];
        let Output { status, stdout, stderr } = Command::new(SERVER).args(words).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        assert!(String::from_utf8(stdout).unwrap().contains("serving"));
        silent.push(Channel::connect(port).unwrap());
    }
}

#[test]
fn a_limit_of_file_size_is_552_and_the_server_lives() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\"", SERVER]);
    let program = Program::start_by(command, &["--write", "--quiet"]);
    fs::write(program.root.path().join("big"), "the old file").unwrap();
    let mut client = RawClient::log_in(program.address);
    let mut data = client.open_data();
    assert!(client.ask("STOR big").starts_with("150 "));
    let _cut = data.write_all(&noise(1_000_000));
    drop(data);
    assert!(client.reply().starts_with("552 "));
    assert_eq!(fs::read(program.root.path().join("big")).unwrap(), b"the old file");
    client.store("small", b"text");
}

#[test]
fn reget_goes_on_behind_what_is_here_and_never_costs_it() {
    let server = TestServer::start(|_| {});
    let content = noise(200_000);
    server.write("a", &content);
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    let local = folder.path().join("a");
    let run = |script: &str| client_in(folder.path(), &["-c", script, "127.0.0.1", &port], "");
    fs::write(&local, "mine").unwrap();
    assert_eq!(run("reget missing a").0, 1);
    assert_eq!(fs::read(&local).unwrap(), b"mine");
    fs::write(&local, &content[..100_000]).unwrap();
    let (status, _, said) = run("reget a");
    assert!(status == 0 && said.contains("resumed at 97.66 KiB"), "{said}");
    assert!(fs::read(&local).unwrap() == content);
    fs::write(&local, noise(300_000)).unwrap();
    let (status, _, said) = run("reget a");
    assert!(status == 0 && said.contains("downloading the whole file again"), "{said}");
    assert!(fs::read(&local).unwrap() == content);
}

#[test]
fn a_client_whose_disk_is_full_keeps_what_arrived_and_goes_on_when_there_is_room() {
    let server = TestServer::start(|_| {});
    let content = noise(1_000_000);
    server.write("big", &content);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("big"), "the old file").unwrap();
    let port = server.address().port().to_string();
    let status = Command::new("sh")
        .args([
            "-c",
            "ulimit -f 100; exec \"$0\" \"$@\"",
            CLIENT,
            "-q",
            "--clobber",
            "-c",
            "get big",
            "127.0.0.1",
            &port,
        ])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(7));
    assert_eq!(fs::read(folder.path().join("big")).unwrap(), b"the old file");
    assert!(fs::metadata(folder.path().join("big.part")).unwrap().len() > 0);
    let words = ["--clobber", "-c", "get big", "127.0.0.1", &port];
    let (status, _, errors) = client_in(folder.path(), &words, "");
    assert_eq!(status, 0, "{errors}");
    assert!(fs::read(folder.path().join("big")).unwrap() == content);
}

#[test]
fn a_script_goes_on_after_a_failure_and_its_first_one_decides_the_status() {
    let server = TestServer::start(|_| {});
    server.write("a.txt", "text");
    let port = server.address().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let words = ["-4", "127.0.0.1", &port];
    let (status, _, errors) =
        client_in(folder.path(), &words, "get nothing\nget a.txt\nnonsense\nbye\n");
    assert_eq!(status, 1, "{errors}");
    assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), b"text");
    assert!(errors.contains("get nothing: 550 No such file or directory."), "{errors}");

    let (status, _, _) =
        client_in(folder.path(), &["-e", "127.0.0.1", &port], "nonsense\nget a.txt other\n");
    assert_eq!(status, 2);
    assert!(!folder.path().join("other").exists());

    let (status, out, _) =
        client_in(folder.path(), &["-c", "ls; cat a.txt; pwd", "127.0.0.1", &port], "");
    assert_eq!((status, out.as_str()), (0, "a.txt\ntext/\n"));
    let (status, _, errors) =
        client_in(folder.path(), &["-c", "lcd nowhere", "127.0.0.1", &port], "");
    assert_eq!(status, 7, "{errors}");
    let (status, _, errors) =
        client_in(folder.path(), &["-c", "put nothing", "127.0.0.1", &port], "");
    assert_eq!(status, 7, "{errors}");
}

#[test]
fn a_quoted_pattern_means_itself() {
    let server = TestServer::writable();
    for name in ["a1.txt", "a[1].txt", "*", "b"] {
        server.write(name, name);
    }
    let port = server.address().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let script = "rm 'a[1].txt' \\*\nmget a*\nget b 'c?'\n";
    let (status, _, errors) = client_in(folder.path(), &["127.0.0.1", &port], script);
    assert_eq!(status, 0, "{errors}");
    assert!(server.path("a1.txt").exists() && server.path("b").exists());
    assert!(!server.path("a[1].txt").exists() && !server.path("*").exists());
    assert!(folder.path().join("a1.txt").exists() && folder.path().join("c?").exists());
}

#[test]
fn output_that_cannot_be_written_is_7() {
    let server = TestServer::start(|_| {});
    let port = server.address().port().to_string();
    for command in ["pwd", "dir; pwd", "lpwd"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let status = Command::new(CLIENT)
            .args(["-c", command, "127.0.0.1", &port])
            .stdout(full)
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(7), "{command}");
    }
}

#[test]
fn a_password_of_the_command_line_is_for_its_host_only() {
    let server = TestServer::start(|_| {});
    let port = server.address().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let open = format!("pwd; open 127.0.0.1 {port}; pwd");
    let (status, out, errors) =
        client_in(folder.path(), &["-u", "ftp:secret", "-v", "-c", &open, "127.0.0.1", &port], "");
    assert_eq!((status, out.as_str()), (0, "/\n/\n"), "{errors}");
    assert_eq!(errors.matches("> USER ftp").count(), 1, "{errors}");
    assert_eq!(errors.matches("> USER anonymous").count(), 1, "{errors}");
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_a_device_is_not_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start(|_| {});
    server.write("a", "new");
    let port = server.address().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("old", folder.path().join("link")).unwrap();
    let (status, _, errors) =
        client_in(folder.path(), &["--clobber", "-c", "get a link", "127.0.0.1", &port], "");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read(&old).unwrap(), b"new");
    assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(folder.path().join("link").is_symlink());
    let (status, _, errors) =
        client_in(folder.path(), &["-c", "get a /dev/null", "127.0.0.1", &port], "");
    assert_eq!(status, 7, "{errors}");
}

#[test]
fn an_upload_that_is_interrupted_is_told_to_the_server_as_such() {
    let program = Program::start(&["--write"]);
    let folder = tempfile::tempdir().unwrap();
    fs::File::create(folder.path().join("endless")).unwrap().set_len(1 << 40).unwrap();
    let mut child = Command::new(CLIENT)
        .args(["-c", "put endless", "127.0.0.1", &program.address.port().to_string()])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let there = program.root.path().join(".poolftpd-part.endless");
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(&there).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "the transfer does not begin");
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    program.signal("TERM");
    let (log, _) = program.end();
    assert!(log.contains("event=transfer verb=STOR") && !log.contains("complete"), "{log}");
    assert!(log.contains("event=cut-off kept_bytes="), "{log}");
}

#[test]
fn files_land_in_clientroot_where_there_is_one() {
    let server = TestServer::start(|_| {});
    server.write("a.txt", "text");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("_CLIENTROOT")).unwrap();
    let url = format!("ftp://127.0.0.1:{}/a.txt", server.address().port());
    let (status, _, errors) = client_in(folder.path(), &[&url], "bye\n");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read(folder.path().join("_CLIENTROOT/a.txt")).unwrap(), b"text");
}

#[test]
fn no_connection_is_3_no_login_is_4_and_each_says_what_to_do() {
    let server = TestServer::start(|_| {});
    let port = server.address().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (status, _, errors) = client_in(folder.path(), &["127.0.0.1", &closed], "");
    assert_eq!(status, 3);
    assert!(
        errors.contains("connection refused (127.0.0.1). Is ftpserver running there?"),
        "{errors}"
    );
    let (status, _, errors) = client_in(folder.path(), &["-u", "joe:x", "127.0.0.1", &port], "");
    assert_eq!(status, 4);
    assert!(errors.contains("login as joe failed: 530"), "{errors}");
    let (status, _, errors) = client_in(folder.path(), &["no-such-host.invalid"], "");
    assert_eq!(status, 3);
    assert!(errors.contains("no such host"), "{errors}");
    for words in
        [&[][..], &["-4", "-6", "h"], &["h", "port"], &["--timeout", "0", "h"], &["http://h"]]
    {
        assert_eq!(client_in(folder.path(), words, "").0, 2, "{words:?}");
    }
    fs::write(folder.path().join(".netrc"), "machine 127.0.0.1 login joe password x\n").unwrap();
    let (status, _, errors) = client_in(folder.path(), &["127.0.0.1", &port], "");
    assert_eq!(status, 4);
    assert!(errors.contains("login as joe"), "{errors}");
}

/// Starts a server that announces a size, sends half of it, and reports success.
fn half_a_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let data = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = data.local_addr().unwrap().port();
        stream.write_all(b"220 hi\r\n").unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap();
            let reply = match line.split(' ').next().unwrap() {
                "SIZE" => "213 10\r\n".to_owned(),
                "EPSV" => format!("229 ok (|||{port}|)\r\n"),
                "RETR" => {
                    stream.write_all(b"150 here\r\n").unwrap();
                    data.accept().unwrap().0.write_all(b"01234").unwrap();
                    "226 complete\r\n".to_owned()
                }
                "USER" => "230 in\r\n".to_owned(),
                "TYPE" => "200 ok\r\n".to_owned(),
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => "500 what?\r\n".to_owned(),
            };
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn half_a_file_is_no_success_whatever_the_reply_said() {
    let folder = tempfile::tempdir().unwrap();
    let port = half_a_server().port().to_string();
    let words = ["--retries", "0", "-c", "get a", "127.0.0.1", &port];
    let (status, _, errors) = client_in(folder.path(), &words, "");
    assert_eq!(status, 6, "{errors}");
    assert!(errors.contains("5 of 10 bytes"), "{errors}");
    assert!(!folder.path().join("a").exists());
    assert_eq!(fs::read(folder.path().join("a.part")).unwrap(), b"01234");
}

#[test]
fn what_a_server_serves_is_no_part_of_another_servers_file() {
    let (theirs, ours) = (TestServer::start(|_| {}), TestServer::start(|_| {}));
    let content = noise(300_000);
    ours.write("f", &content);
    let folder = tempfile::tempdir().unwrap();
    let get = |server: &TestServer, script: &str| {
        let port = server.address().port().to_string();
        client_in(folder.path(), &["-c", script, "127.0.0.1", &port], "")
    };
    // A download of ours would leave this behind, except for its first bytes.
    fs::create_dir(folder.path().join("once")).unwrap();
    let interrupt = Interrupt::default();
    let options = Options { interrupt: interrupt.clone(), ..Options::default() };
    let mut client = Client::connect("127.0.0.1", ours.address().port(), &options).unwrap();
    client.login("anonymous", "x").unwrap();
    let once = folder.path().join("once/f");
    client.fetch(b"f", &once, Type::Image, None, &mut Presser(interrupt)).unwrap_err();
    let identity = fs::read(folder.path().join("once/f.part.id")).unwrap();
    let mut forged = content.get(..200_000).unwrap().to_vec();
    forged.get_mut(..1000).unwrap().fill(b'!');
    theirs.write("f.part", &forged);
    theirs.write("f.part.id", &identity);
    let (status, _, errors) = get(&theirs, "mget *");
    assert_eq!(status, 0, "{errors}");
    let (status, _, errors) = get(&ours, "get f");
    assert_eq!(status, 7, "{errors}");
    assert!(errors.contains("already exists and was not created by ftpclient"), "{errors}");
    assert_eq!(fs::read(folder.path().join("f.part")).unwrap(), forged);
    for name in ["f.part", "f.part.id"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let (status, _, errors) = get(&ours, "get f");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), content);
}

/// Presses Ctrl-C in the middle of a transfer.
struct Presser(Interrupt);

impl Progress for Presser {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if bytes > 0 {
            self.0.flag().store(true, Ordering::SeqCst);
        }
    }
}

/// Starts a server that sends `first`, and then `again` without end.
fn endless(first: &'static str, again: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _sent = stream.write_all(first.as_bytes());
        // Slow enough that no limit of bytes ends it.
        while stream.write_all(again.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    address
}

#[test]
fn a_reply_without_end_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    for (first, again) in
        [("120 soon\r\n", "120 soon\r\n"), ("220-hi\r\n", "220-more\r\n"), ("", "220-one line\r\n")]
    {
        let port = endless(first, again).port().to_string();
        let words = ["--timeout=1", "--retries", "0", "127.0.0.1", &port];
        let (status, _, errors) = client_in(folder.path(), &words, "");
        assert_eq!(status, 3, "{errors}");
    }
}

#[test]
fn a_silent_server_is_given_up_at_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = client_in(folder.path(), &["--timeout=1", "127.0.0.1", &port], "");
    assert_eq!(status, 3);
    assert!(errors.contains("no reply within 1 s"), "{errors}");
}

#[test]
fn small_files_are_asked_for_before_the_one_in_front_has_come() {
    let server = TestServer::start(|_| {});
    fs::create_dir(server.path("many")).unwrap();
    let names = ["a", "b", "c", "d"];
    for name in names {
        server.write(&format!("many/{name}"), name);
    }
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    for (script, into) in [("cd many; mget *", ""), ("get -r many", "many/")] {
        let (status, _, trace) =
            client_in(folder.path(), &["-v", "-c", script, "127.0.0.1", &port], "");
        assert_eq!(status, 0, "{trace}");
        let place = |line: &str| trace.find(line).unwrap_or_else(|| panic!("no {line}: {trace}"));
        // The first request opens the data connection, and shows that block mode works.
        let said = |verb: &str, name: &str| place(&format!("> {verb} {into}{name}\n"));
        let (second, last) = (said("RETR", "b"), said("RETR", "d"));
        assert!(!trace[second..last].contains("\n<"), "{trace}");
        for name in names {
            let local = folder.path().join(into).join(name);
            assert_eq!(fs::read(local).unwrap(), name.as_bytes());
        }
    }
}

#[test]
fn ctrl_c_in_a_transfer_ends_a_script_with_130() {
    let server = TestServer::start(|_| {});
    fs::File::create(server.path("endless")).unwrap().set_len(1 << 40).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(CLIENT)
        .args(["-c", "get endless; get endless", "127.0.0.1", &server.address().port().to_string()])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = folder.path().join("endless.part");
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(&part).map_or(0, |part| part.len()) == 0 {
        assert!(Instant::now() < deadline, "the transfer does not begin");
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_transfer_that_stalls_for_as_long_as_the_command_line_says_is_aborted() {
    let program = Program::start(&["--write", "--stall-timeout=1"]);
    let mut client = RawClient::log_in(program.address);
    let mut data = client.open_data();
    assert!(client.ask("STOR a").starts_with("150 "));
    data.write_all(b"a part of it").unwrap();
    let reply = client.reply();
    assert!(reply.starts_with("426 No data for 1 second"), "{reply}");
}

#[test]
fn a_name_for_the_public_address_is_looked_up() {
    let program = Program::start(&["--public-address", "localhost"]);
    let mut client = RawClient::log_in(program.address);
    assert!(client.ask("PASV").starts_with("227 Entering Passive Mode (127,0,0,1,"));
    program.signal("TERM");
    assert_eq!(program.end().1, Some(0));
}

fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

/// Waits until a process has opened a pipe for reading; it then waits for data that is never written.
fn await_reader(path: &Path) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut opened = None;
    until("nobody reads the pipe", || {
        opened = options.open(path).ok();
        opened.is_some()
    });
    opened.unwrap()
}

#[test]
fn a_stop_is_heard_while_nobody_reads_standard_output() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while (&writer).write(&[0; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(SERVER)
        .args(["--bind", "127.0.0.1", "--port", "0", "--root"])
        .arg(root.path())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = log.find_map(|line| {
        let line = line.unwrap();
        Some(line.split_once("event=listening address=")?.1.parse().unwrap())
    });
    drop(RawClient::log_in(address.unwrap()));
    let program = Program { child, address: address.unwrap(), root };
    program.signal("TERM");
    assert!(log.any(|line| line.unwrap().contains("event=stopped in_time=true")));
    let mut program = program;
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    drop(reader);
}

#[test]
fn a_users_file_that_becomes_a_pipe_is_refused_and_a_stop_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    let name = users.to_str().unwrap();
    assert_eq!(passwd(&[name, "alice"], "secret\n").0, Some(0));
    let program = Program::start(&["--users", name]);
    fs::remove_file(&users).unwrap();
    make_pipe(&users);
    program.signal("HUP");
    let mut client = RawClient::greeted(program.address);
    assert!(client.try_log_in("alice", "secret").starts_with("230 "));
    drop(client);
    program.signal("TERM");
    let (log, status) = program.end();
    assert_eq!(status, Some(0), "{log}");
    // SIGHUP was handled before this signal, or not at all.
    assert!(!log.contains("event=reloaded"), "{log}");
    let (status, message) = server_output(&["--users", name, "--port", "0"]);
    assert_eq!(status, Some(1));
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn a_stop_is_heard_while_a_file_that_is_read_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let pair = folder.path().join("pair.pem");
    let name = pair.to_str().unwrap();
    let program = Program::start(&["--self-signed", name]);
    fs::remove_file(&pair).unwrap();
    make_pipe(&pair);
    program.signal("HUP");
    let held = await_reader(&pair);
    program.signal("HUP");
    drop(RawClient::log_in(program.address));
    program.signal("TERM");
    assert_eq!(program.end().1, Some(0));
    drop(held);
    // A stop must also be handled while the server starts.
    let root = tempfile::tempdir().unwrap();
    let child = Command::new(SERVER)
        .args(["--bind", "127.0.0.1", "--port", "0", "--tls-cert", name, "--root"])
        .arg(root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let program = Program { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), root };
    let held = await_reader(&pair);
    program.signal("TERM");
    assert_eq!(program.end().1, Some(0));
    drop(held);
}

#[test]
fn one_address_does_not_take_every_seat() {
    let program = Program::start(&["--max-clients", "8"]);
    let mut crowd: Vec<RawClient> = (0..8).map(|_| RawClient::connect(program.address)).collect();
    let served = crowd.iter_mut().filter_map(|client| client.line().strip_prefix("220 ").map(drop));
    assert_eq!(served.count(), 2);
    let other = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&other, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    rustix::net::connect(&other, &program.address).unwrap();
    let mut line = String::new();
    BufReader::new(TcpStream::from(other)).read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "), "{line}");
    for (words, seats) in
        [(["--max-clients=2", "-q"], 1), (["--max-clients=8", "--max-per-ip=8"], 8)]
    {
        let program = Program::start(&words);
        let mut crowd: Vec<RawClient> =
            (0..8).map(|_| RawClient::connect(program.address)).collect();
        let served =
            crowd.iter_mut().filter_map(|client| client.line().strip_prefix("220 ").map(drop));
        assert_eq!(served.count(), seats, "{words:?}");
    }
}
