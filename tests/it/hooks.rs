//! Hooks after uploads: files in a spool, commands, HTTP, retries, and a queue that survives a restart.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crossbeam_channel::{Receiver, unbounded};
use serde_json::Value;
use tempfile::TempDir;

use super::common::raw::RawClient;
use super::common::{TestServer, until};
use super::scanning::{BAD, Scanner};

/// The real program with hooks, and its folders.
struct Scene {
    folder: TempDir,
}

/// A running server. It is killed at the end.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root", "spool", "out"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a program of sh.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn start(&self, words: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(["--port=0", "--quiet", "--bind=127.0.0.1", "--write", "--root"])
            .arg(self.path("root"))
            .arg("--hook-spool")
            .arg(self.path("spool"))
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Running { child, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// Returns the texts of the events in the spool.
    fn spooled(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.path("spool")).unwrap().map(|entry| entry.unwrap());
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // The helper may have removed it.
            Some((name, fs::read_to_string(path).ok()?))
        };
        entries.filter_map(|entry| read(entry.path())).collect()
    }
}

fn store(address: SocketAddr, name: &str) {
    RawClient::log_in(address).store(name, b"content");
}

#[test]
fn each_complete_upload_is_a_file_in_the_spool_when_its_reply_arrives() {
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|config| {
        config.write = true;
        config.hook_spool = Some(spool.path().to_owned());
    });
    let mut client = RawClient::log_in(server.address());
    client.store("a", b"content");
    let files = || fs::read_dir(spool.path()).unwrap().map(|entry| entry.unwrap().path());
    let [path] = files().collect::<Vec<_>>().try_into().unwrap();
    let event: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (name, value) in [
        ("event", "stored"),
        ("user", "anonymous"),
        ("path", "/a"),
        ("client", "127.0.0.1"),
        ("verb", "STOR"),
    ] {
        assert_eq!(event[name], value, "{event}");
    }
    assert_eq!(event["bytes"], 7);
    assert_eq!(fs::read(event["file"].as_str().unwrap()).unwrap(), b"content");
    client.cut_off("b", b"half");
    client.retrieve("a");
    assert_eq!(files().count(), 1, "only a complete upload is an event");
    fs::remove_dir_all(spool.path()).unwrap();
    client.store("c", b"content");
    server.log.expect(&["event=error", "cannot queue an upload for the hooks"]);
}

#[test]
fn a_command_runs_outside_of_the_sandbox_and_its_event_goes() {
    let scene = Scene::new();
    let out = scene.path("out").display().to_string();
    let hook = scene.script(
        "hook",
        &format!("cat > {out}/event.new; env | sort > {out}/env; mv {out}/event.new {out}/event"),
    );
    let server = scene.start(&["--hook-command", &hook]);
    store(server.address, "na me");
    until("the command has not run", || scene.path("out/event").exists());
    let event: Value =
        serde_json::from_str(&fs::read_to_string(scene.path("out/event")).unwrap()).unwrap();
    assert_eq!(event["path"], "/na me");
    let environment = fs::read_to_string(scene.path("out/env")).unwrap();
    let file = scene.path("root/na me");
    for line in [
        "POOLFTPD_EVENT=stored",
        "POOLFTPD_BYTES=7",
        "POOLFTPD_USER=anonymous",
        &format!("POOLFTPD_FILE={}", file.display()),
    ] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    assert!(!environment.contains("CARGO"), "the environment is clean");
    until("the event stays", || scene.spooled().is_empty());
}

#[test]
fn a_hook_that_fails_is_tried_again_and_given_up_after_its_retries() {
    let scene = Scene::new();
    let out = scene.path("out").display().to_string();
    let second =
        scene.script("second", &format!("echo x >> {out}/second; [ $(wc -l < {out}/second) = 2 ]"));
    let first = scene.script("first", &format!("echo x >> {out}/first"));
    let server = scene.start(&["--hook-command", &first, "--hook-command", &second]);
    store(server.address, "a");
    let runs = |name: &str| {
        fs::read_to_string(scene.path("out").join(name)).map_or(0, |text| text.lines().count())
    };
    until("the event stays", || runs("second") == 2 && scene.spooled().is_empty());
    assert_eq!((runs("first"), runs("second")), (1, 2), "only the hook that failed runs again");
    drop(server);
    // A configuration file has the settings without a flag.
    let file = scene.path("settings.toml");
    fs::write(&file, "hook-retries = 0\n").unwrap();
    let never = scene.script("never", "exit 1");
    let server = scene.start(&["--hook-command", &never, "--config", file.to_str().unwrap()]);
    store(server.address, "b");
    until("the event is not given up", || {
        scene.spooled().iter().any(|(name, text)| name.ends_with(".failed") && text.contains("/b"))
    });
}

#[test]
fn an_event_is_sent_by_post_and_waits_for_a_receiver_over_a_restart() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ftp", listener.local_addr().unwrap());
    let address = listener.local_addr().unwrap();
    drop(listener);
    // Nobody listens: the event stays, and the server with its helper is killed.
    let server = scene.start(&["--hook-post", &url]);
    store(server.address, "a");
    assert_eq!(scene.spooled().len(), 1);
    drop(server);
    let requests = receive(TcpListener::bind(address).unwrap(), &["500 Oops", "204 No Content"]);
    let _server = scene.start(&["--hook-post", &url]);
    for _ in 0..2 {
        let (head, body) = requests.recv().unwrap();
        assert!(head.starts_with("POST /ftp HTTP/1.1"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["path"], "/a");
    }
    until("the event stays", || scene.spooled().is_empty());
}

/// Answers requests, one after the other, with these statuses; returns the heads and the bodies.
fn receive(listener: TcpListener, statuses: &'static [&'static str]) -> Receiver<(String, String)> {
    let (sender, requests) = unbounded();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            sender.send((head, String::from_utf8(body).unwrap())).unwrap();
        }
    });
    requests
}

#[test]
fn a_helper_that_dies_is_reported_and_its_events_wait() {
    let scene = Scene::new();
    let out = scene.path("out").display().to_string();
    // Kills the helper, its parent.
    let hook = scene.script("hook", &format!("echo x >> {out}/runs; kill -9 $PPID"));
    let log = scene.path("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
        .args(["--port=0", "--bind=127.0.0.1", "--write", "--root"])
        .arg(scene.path("root"))
        .arg("--hook-spool")
        .arg(scene.path("spool"))
        .args(["--hook-command", &hook])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    let server = Running { child, address: (Ipv4Addr::LOCALHOST, port).into() };
    store(server.address, "a");
    until("nothing is reported", || {
        fs::read_to_string(&log).unwrap().contains("the helper of the hooks has ended")
    });
    assert_eq!(scene.spooled().len(), 1);
    store(server.address, "b");
    assert_eq!(scene.spooled().len(), 2);
}

#[test]
fn wrong_hooks_keep_the_server_from_starting() {
    let scene = Scene::new();
    let root = scene.path("root");
    fs::create_dir(root.join("inside")).unwrap();
    let inside = root.join("inside").display().to_string();
    for (words, what) in [
        (vec!["--hook-command", "/bin/true"], "need --hook-spool"),
        (vec!["--hook-spool", "/tmp", "--check-command", "/bin/true"], "need --check-socket"),
        (
            vec!["--hook-spool", "/nonexistent/spool"],
            "--hook-spool /nonexistent/spool: no such file",
        ),
        (vec!["--hook-spool", &inside], "the hook spool"),
        (
            vec!["--hook-spool", "/tmp", "--hook-post", "ftp://x"],
            "does not begin with http:// or https://",
        ),
    ] {
        let run = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(["--port=0", "--root"])
            .arg(Path::new(&root))
            .args(&words)
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(!run.status.success() && said.contains(what), "{words:?}: {said}");
    }
}

impl Scene {
    /// Starts a server that asks a helper about each upload.
    fn start_with_checks(&self, words: &[&str]) -> Running {
        let socket = self.path("check.sock").display().to_string();
        self.start(&[&["--check-socket", &socket], words].concat())
    }
}

/// Sends a file, and returns the last reply.
fn try_store(client: &mut RawClient, name: &str, content: &[u8]) -> String {
    let mut data = client.open_data();
    assert!(client.ask(&format!("STOR {name}")).starts_with("150 "));
    data.write_all(content).unwrap();
    drop(data);
    client.reply()
}

#[test]
fn a_command_allows_or_refuses_a_file_before_anyone_sees_it() {
    let scene = Scene::new();
    let out = scene.path("out").display().to_string();
    // The old file is still there while the command runs, and the content is on its standard input.
    let check = scene.script(
        "check",
        &format!(
            "env > {out}/env; ls {} > {out}/seen; case $(cat) in *bad*) echo 'No bad words, please.'; exit 1;; *late*) exit 75;; esac",
            scene.path("root").display()
        ),
    );
    let server = scene.start_with_checks(&["--check-command", &check]);
    let mut client = RawClient::log_in(server.address);
    let stored = try_store(&mut client, "a.txt", b"good words");
    assert!(stored.starts_with("226 "), "{stored}");
    let read = |name: &str| fs::read_to_string(scene.path(name));
    assert_eq!(read("out/seen").unwrap(), "", "the file had no name yet");
    let environment = read("out/env").unwrap();
    for line in ["POOLFTPD_EVENT=check", "POOLFTPD_PATH=/a.txt", "POOLFTPD_BYTES=10"] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    assert_eq!(try_store(&mut client, "a.txt", b"bad words"), "550 No bad words, please.");
    assert_eq!(read("root/a.txt").unwrap(), "good words", "the old file stays");
    assert_eq!(
        try_store(&mut client, "b.txt", &[b'b', b'a', b'd'].repeat(1 << 20)),
        "550 No bad words, please."
    );
    assert!(!scene.path("root/b.txt").exists());
    assert_eq!(
        try_store(&mut client, "c.txt", b"late"),
        "451 The file cannot be checked now; try again later."
    );
    assert!(!scene.path("root/c.txt").exists());
    // What was refused is gone, what could not be checked is kept to be completed.
    assert!(client.ask("SIZE b.txt").starts_with("550 "));
}

#[test]
fn a_command_need_not_read_the_content() {
    let scene = Scene::new();
    let check = scene.script("check", "exit 0");
    let server = scene.start_with_checks(&["--check-command", &check]);
    let mut client = RawClient::log_in(server.address);
    let reply = try_store(&mut client, "large", &vec![7; 5 << 20]);
    assert!(reply.starts_with("226 "), "{reply}");
}

#[test]
fn a_command_may_hang_no_longer_than_its_time() {
    let scene = Scene::new();
    let file = scene.path("settings.toml");
    fs::write(&file, "hook-timeout = 2\n").unwrap();
    let check = scene.script("check", "sleep 60; exit 0");
    let server =
        scene.start_with_checks(&["--check-command", &check, "--config", file.to_str().unwrap()]);
    let reply = try_store(&mut RawClient::log_in(server.address), "hang", b"x");
    assert!(reply.starts_with("451 "), "{reply}");
    assert!(!scene.path("root/hang").exists());
}

#[test]
fn a_url_allows_or_refuses_a_file_and_knows_the_sender_by_its_signature() {
    let scene = Scene::new();
    let key = scene.path("key");
    fs::write(&key, "a-key-of-enough-letters\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/check", listener.local_addr().unwrap());
    let requests = receive(listener, &["200 OK", "403 Forbidden", "503 Busy"]);
    let server =
        scene.start_with_checks(&["--check-post", &url, "--hook-key-file", key.to_str().unwrap()]);
    let mut client = RawClient::log_in(server.address);
    for (name, begins) in
        [("a", "226 "), ("b", "550 Refused: the file is not allowed."), ("c", "451 ")]
    {
        let reply = try_store(&mut client, name, b"content");
        assert!(reply.starts_with(begins), "{name}: {reply}");
        assert_eq!(scene.path("root").join(name).exists(), name == "a");
        let (head, body) = requests.recv().unwrap();
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&event["event"], &event["path"]),
            (&"check".into(), &format!("/{name}").into())
        );
        let sent = head.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("x-poolftpd-signature: ").map(str::to_owned)
        });
        assert_eq!(sent.unwrap(), signature(&key, body.trim_end()), "{head}");
    }
}

/// Returns the signature of a body, by openssl.
fn signature(key: &Path, body: &str) -> String {
    let key = fs::read_to_string(key).unwrap();
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", key.trim()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let text = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    format!("sha256={}", text.trim().rsplit(' ').next().unwrap())
}

#[test]
fn without_the_program_that_decides_no_file_gets_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|config| {
        config.write = true;
        config.check_socket = Some(folder.path().join("nobody"));
    });
    let mut client = RawClient::log_in(server.address());
    let reply = try_store(&mut client, "a", b"content");
    assert!(reply.starts_with("451 "), "{reply}");
    assert!(!server.path("a").exists());
    server.log.expect(&["event=error", "cannot check an upload", "nobody"]);
}

#[test]
fn slave_processes_scan_check_and_queue_uploads_as_their_master_does() {
    let (scene, scanner) = (Scene::new(), Scanner::usual());
    let ran = scene.path("out/ran");
    let check = scene.script("check", "case $(cat) in *unwanted*) echo 'Unwanted.'; exit 1;; esac");
    let hook = scene.script("hook", &format!("echo $POOLFTPD_PATH >> {}", ran.display()));
    let server = scene.start_with_checks(&[
        "--check-command",
        &check,
        "--hook-command",
        &hook,
        "--scan",
        &scanner.address,
    ]);
    let slaves = Command::new(env!("CARGO_BIN_EXE_ftpslaves"))
        .args(["--count=1", &format!("localhost:{}", server.address.port())])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _slaves = Running { child: slaves, address: server.address };
    let is_slave = || RawClient::connect(server.address).line().starts_with("220 slave 1 ");
    until("the slave process does not serve", is_slave);
    let mut client = RawClient::log_in(server.address);
    assert_eq!(
        try_store(&mut client, "b.txt", BAD),
        "550 Refused: the file is infected with Test.Bad."
    );
    assert_eq!(try_store(&mut client, "c.txt", b"unwanted"), "550 Unwanted.");
    assert!(try_store(&mut client, "a.txt", b"good").starts_with("226 "));
    // The file is there before the hook has written to it.
    until("the hook does not run", || fs::read_to_string(&ran).is_ok_and(|text| !text.is_empty()));
    assert_eq!(fs::read_to_string(&ran).unwrap(), "/a.txt\n");
    assert_eq!(fs::read(scene.path("root/a.txt")).unwrap(), b"good");
    assert_eq!(fs::read_dir(scene.path("root")).unwrap().count(), 1);
}
