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
    until("the event stays", || scene.spooled().is_empty() && scene.path("out/second").exists());
    let runs =
        |name: &str| fs::read_to_string(scene.path("out").join(name)).unwrap().lines().count();
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
