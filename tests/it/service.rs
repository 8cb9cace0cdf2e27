//! The server as a service: what it reports to the service manager.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::raw::RawClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server, and the socket of its service manager.
struct Managed {
    child: Child,
    manager: UnixDatagram,
    folder: TempDir,
}

impl Managed {
    /// Starts a server under a manager that watches it every so many microseconds.
    fn start(watchdog: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        fs::create_dir_all(folder.path().join("srv/root")).unwrap();
        fs::write(folder.path().join("config.toml"), "root = \"srv/root\"\n").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(["--bind=127.0.0.1", "--port=0", "--quiet", "--config"])
            .arg(folder.path().join("config.toml"))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, manager, folder }
    }

    /// Returns the next message that begins with this.
    fn expect(&self, start: &str) -> String {
        let (mut bytes, deadline) = ([0; 1024], Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < deadline, "no message begins with {start}");
            let count = self.manager.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

#[test]
fn the_manager_is_told_of_the_start_progress_reloads_and_the_stop() {
    let mut server = Managed::start(400_000);
    let ready = server.expect("READY=1");
    assert!(ready.contains("STATUS=Serving: 0 sessions"), "{ready}");
    let mut client = RawClient::log_in(server.address());
    client.ask("NOOP");
    let status = server.expect("STATUS=");
    assert!(status.contains("1 sessions"), "{status}");
    for _ in 0..3 {
        server.expect("WATCHDOG=1");
    }
    server.signal(Signal::HUP);
    let reloading = server.expect("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(server.expect("READY=1"), "READY=1\nSTATUS=Reloaded");
    fs::write(server.folder.path().join("config.toml"), "rot = \"srv/root\"\n").unwrap();
    server.signal(Signal::HUP);
    server.expect("RELOADING=1");
    let failed = server.expect("READY=1");
    assert!(failed.contains("STATUS=Not reloaded: ") && failed.contains("rot"), "{failed}");
    server.signal(Signal::TERM);
    let stopping = server.expect("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=40000000"), "{stopping}");
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_server_that_is_stopped_by_a_debugger_makes_no_progress() {
    let server = Managed::start(400_000);
    server.expect("WATCHDOG=1");
    server.signal(Signal::STOP);
    // What was sent before the signal is read first.
    server.manager.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut bytes = [0; 1024];
    let messages = (0..100).take_while(|_| server.manager.recv(&mut bytes).is_ok()).count();
    assert!(messages < 100, "a stopped process sends messages");
    server.signal(Signal::CONT);
    server.manager.set_read_timeout(Some(PATIENCE)).unwrap();
    server.expect("WATCHDOG=1");
}
