//! Updates: a new process takes the place of a running server, and no client notices.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::common::outside::{can_mount, find, in_own_process, is_root, run_script, skip};
use crate::common::raw::RawClient;
use crate::common::{PATIENCE, noise, until};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// A configuration, and the servers that run with it one after the other.
struct Site {
    folder: TempDir,
    address: SocketAddr,
    /// The server that the test has started itself.
    first: Option<Child>,
    /// The process IDs of its successors.
    successors: Mutex<Vec<u32>>,
}

impl Site {
    /// Writes the configuration of a server that listens on a free port.
    fn new(settings: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::at(listener.local_addr().unwrap(), settings)
    }

    fn at(address: SocketAddr, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(folder.path().join("srv/root")).unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        let site = Self { folder, address, first: None, successors: Mutex::default() };
        site.configure(settings);
        site
    }

    fn configure(&self, settings: &str) {
        let (ip, port) = (self.address.ip(), self.address.port());
        let text = format!(
            "root = \"srv/root\"\nbind = \"{ip}\"\nport = {port}\nwrite = true\nfsync = false\n\
             log-file = \"log/server\"\n{settings}\n"
        );
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Starts the first server, and waits until it serves.
    fn start(mut self) -> Self {
        let mut child = self.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}{}", self.log());
        self.first = Some(child);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log/server")).unwrap_or_default()
    }

    /// Returns the program with these words before the configuration.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SERVER);
        command.args(words).arg("--config").arg(self.path("config.toml"));
        command
    }

    /// Replaces the running server; returns the process ID of the new one.
    fn update(&self) -> u32 {
        let (good, text) = self.try_update(&mut self.command(&["update", "--replace"]));
        assert!(good, "{text}{}", self.log());
        *self.successors.lock().unwrap().last().unwrap()
    }

    /// Runs an update; returns whether it has succeeded, and its words.
    fn try_update(&self, command: &mut Command) -> (bool, String) {
        // The new server keeps standard error open, so a pipe would not end.
        let errors = self.path("errors");
        command.stderr(fs::File::create(&errors).unwrap());
        let Output { status, stdout, .. } = command.output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &fs::read_to_string(errors).unwrap();
        if let Some(process) = text.trim().strip_prefix("replaced by process ") {
            self.successors.lock().unwrap().push(process.parse().unwrap());
        }
        (status.success(), text)
    }

    /// Sends a command of an administrator.
    fn ctl(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.command(&["ctl"]);
        let Output { status, stdout, stderr } = command.args(words).output().unwrap();
        (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// Returns the answer to a command that is carried out.
    fn answer(&self, words: &[&str]) -> String {
        let (good, answer) = self.ctl(words);
        assert!(good, "{answer}");
        answer
    }

    /// Returns the process ID of the first server.
    fn first(&self) -> u32 {
        self.first.as_ref().unwrap().id()
    }

    /// Waits for the end of the first server.
    fn wait_for_first(&mut self) {
        let first = self.first.as_mut().unwrap();
        until("the first server has not ended", || first.try_wait().unwrap().is_some());
        assert!(first.wait().unwrap().success());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for process in self.successors.lock().unwrap().drain(..) {
            let _ended = signal(process, Signal::KILL);
        }
        if let Some(first) = &mut self.first {
            let _killed = first.kill();
            let _waited = first.wait();
        }
    }
}

/// Adds a user to a users file.
fn add_user(file: &Path, name: &str, password: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftppasswd"));
    let mut child = command.arg(file).arg(name).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn signal(process: u32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal)
}

#[test]
fn clients_that_come_and_transfer_during_updates_are_neither_refused_nor_cut() {
    const CLIENTS: usize = 100;
    const UPDATES: usize = 3;
    let site = Site::new("max-per-ip = 10000\nstop-grace = 60").start();
    let content = noise(100_000);
    fs::write(site.path("srv/root/file"), &content).unwrap();
    let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (done, rounds, content, site) = (&done, &rounds, &content, &site);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let mut client = RawClient::log_in(site.address);
                    assert!(client.retrieve("file") == *content);
                    let name = format!("up-{number}");
                    client.store(&name, content);
                    assert!(client.ask("QUIT").starts_with("221 "));
                    assert!(fs::read(site.path("srv/root").join(&name)).unwrap() == *content);
                    rounds.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        for _ in 0..UPDATES {
            let before = rounds.load(Ordering::Acquire);
            until("no client is served", || rounds.load(Ordering::Acquire) >= before + CLIENTS / 2);
            site.update();
        }
        let before = rounds.load(Ordering::Acquire);
        until("no client is served", || rounds.load(Ordering::Acquire) >= before + CLIENTS / 2);
        done.store(true, Ordering::Release);
    });
    assert!(!site.log().contains("level=error"), "{}", site.log());
}

#[test]
fn sessions_of_the_earlier_server_continue_until_the_stop_grace_is_over() {
    let mut site = Site::new("stop-grace = 3").start();
    fs::write(site.path("srv/root/file"), "text").unwrap();
    let mut client = RawClient::log_in(site.address);
    let process = site.update();
    assert_eq!(client.retrieve("file"), b"text");
    assert!(client.ask("NOOP").starts_with("200 "));
    // Commands reach the new server, and the earlier one by its process ID.
    let (good, text) = site.ctl(&["status"]);
    assert!(good && text.contains(&format!("process {process})")), "{text}");
    let first = site.first().to_string();
    assert!(text.contains(&format!("process {first}, finishes its sessions)")), "{text}");
    assert!(!site.ctl(&["who"]).1.contains("anonymous"));
    assert!(site.ctl(&["--process", &first, "who"]).1.contains("anonymous"));
    assert!(site.ctl(&["ready"]).0);
    let (good, text) = site.ctl(&["--process", &first, "reload"]);
    assert!(!good && text.contains("a successor"), "{text}");
    assert_eq!(client.line(), "421 The server is shutting down.");
    assert!(client.is_closed());
    site.wait_for_first();
    assert!(RawClient::log_in(site.address).ask("NOOP").starts_with("200 "));
    let log = site.log();
    assert!(log.contains("event=replaced sessions=1"), "{log}");
    assert!(log.contains("event=admin command=\"take-over\""), "{log}");
}

#[test]
fn a_stop_signal_ends_the_idle_sessions_of_a_server_that_was_replaced() {
    let mut site = Site::new("stop-grace = 600").start();
    let mut client = RawClient::log_in(site.address);
    site.update();
    assert!(client.ask("NOOP").starts_with("200 "));
    signal(site.first(), Signal::TERM).unwrap();
    assert!(client.line().starts_with("421 "));
    site.wait_for_first();
}

#[test]
fn when_the_new_server_cannot_start_the_running_one_continues() {
    let site = Site::new("").start();
    let mut client = RawClient::log_in(site.address);
    // All but the first fail when the new server has the sockets already.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, spool) = (format!("status = \"{port}\""), "hook-spool = \"srv/none\"".to_owned());
    for (settings, reason) in [
        ("max-clients = \"many\"".to_owned(), "max-clients"),
        ("users = \"none\"".to_owned(), "none"),
        (status, "cannot"),
        (spool, "hook-spool"),
    ] {
        site.configure(&settings);
        let (good, text) = site.try_update(&mut site.command(&["update", "--replace"]));
        assert!(!good && text.contains(reason), "{text}");
        assert!(client.ask("NOOP").starts_with("200 "));
        assert!(RawClient::log_in(site.address).ask("NOOP").starts_with("200 "));
    }
    until("nothing is logged", || site.log().contains("the new server has not started"));
    site.configure("");
    site.update();
    assert!(RawClient::log_in(site.address).ask("NOOP").starts_with("200 "));
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn bans_and_lockouts_hold_in_the_new_server() {
    let site = Site::new("lockout-failures = 2\nlogin-delay = 0\n").start();
    assert!(site.ctl(&["ban", "192.0.2.0/24", "1h"]).0);
    assert!(site.ctl(&["ban", "2001:db8::/32"]).0);
    for password in ["a", "b"] {
        let mut client = RawClient::connect(site.address);
        client.line();
        client.ask("USER nobody");
        assert!(client.ask(&format!("PASS {password}")).starts_with("530 "));
    }
    let bans = || site.answer(&["--json", "bans"]);
    let list = || -> Vec<Value> { serde_json::from_str(&bans()).unwrap() };
    let before = list();
    assert_eq!(before.len(), 3, "{before:?}");
    for _ in 0..2 {
        site.update();
        let after = list();
        assert_eq!(after.len(), 3, "{after:?}");
        for (old, new) in before.iter().zip(&after) {
            for name in ["network", "kind", "failures"] {
                assert_eq!(old[name], new[name]);
            }
            let left = |ban: &Value| ban["remaining"].as_u64();
            assert_eq!(left(old).is_none(), left(new).is_none());
            assert!(left(new) <= left(old).map(|left| left + 2), "{old} {new}");
        }
    }
    assert!(site.ctl(&["unban", "192.0.2.0/24"]).0);
}

#[test]
fn lockouts_of_users_hold_in_the_new_server_and_can_be_ended_there() {
    let site = Site::new("users = \"users\"\nlockout-failures = 1\nlogin-delay = 0\n");
    add_user(&site.path("users"), "alice", "right");
    let site = site.start();
    let log_in = |from: u8, password: &str| {
        let mut client = RawClient::connect_from(([127, 0, 0, from], 0).into(), site.address);
        client.line();
        client.ask("USER alice");
        client.ask(&format!("PASS {password}"))
    };
    // The maximum for a user is five times that for an address.
    for from in 2..7 {
        assert!(log_in(from, &from.to_string()).starts_with("530 "));
    }
    let list =
        || -> Vec<Value> { serde_json::from_str(&site.answer(&["--json", "bans"])).unwrap() };
    let users = || {
        let bans =
            list().into_iter().filter(|ban| ban["user"] == "alice" && ban["network"].is_null());
        bans.map(|ban| ban["failures"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(users(), [5]);
        assert!(log_in(98, "right").starts_with("530 "));
        site.update();
    }
    site.answer(&["unban", "user", "alice"]);
    assert!(users().is_empty());
    assert!(log_in(98, "right").starts_with("230 "));
}

#[test]
fn changes_by_an_administrator_hold_in_the_new_server_until_a_reload() {
    let site = Site::new("users = \"users\"\nidle-timeout = 300\n");
    add_user(&site.path("users"), "alice", "right");
    let site = site.start();
    let value = |name: &str| {
        let rows: Vec<Value> =
            serde_json::from_str(&site.answer(&["--json", "limit", name])).unwrap();
        rows[0]["value"].as_str().unwrap().to_owned()
    };
    let rate = || site.answer(&["--json", "limit", "user", "alice"]);
    let (idle, rates) = (value("idle-timeout"), rate());
    assert!(site.ctl(&["limit", "idle-timeout", "77"]).0);
    assert!(site.ctl(&["limit", "max-per-ip", "2"]).0);
    assert!(site.ctl(&["limit", "user", "alice", "down", "3000000"]).0);
    assert!(site.ctl(&["limit", "user", "nobody", "down", "3000000"]).1.contains("no user"));
    let (changed, changed_rates) = (value("idle-timeout"), rate());
    assert!(changed != idle && changed_rates != rates);
    for _ in 0..2 {
        site.update();
        assert_eq!((value("idle-timeout"), rate()), (changed.clone(), changed_rates.clone()));
        assert_eq!(value("max-per-ip"), "2");
    }
    site.answer(&["reload"]);
    assert_eq!((value("idle-timeout"), rate()), (idle.clone(), rates.clone()));
    site.update();
    assert_eq!((value("idle-timeout"), rate()), (idle, rates));
}

#[test]
fn an_append_of_an_earlier_server_that_is_killed_is_absent_or_whole_and_can_be_sent_again() {
    let (old, new) = (noise(200_000), noise(2_000_000));
    let whole = [old.as_slice(), &new].concat();
    let site = Site::new("stop-grace = 600").start();
    let file = site.path("srv/root/log");
    let mut earlier = site.first();
    // The part that is sent before the kill, and the microseconds from its end to the kill.
    for (sent, micros) in
        [(0, 0), (1_000_000, 0), (2_000_000, 0), (2_000_000, 500), (2_000_000, 5000)]
    {
        fs::write(&file, &old).unwrap();
        let mut client = RawClient::log_in(site.address);
        let mut data = client.open_data();
        assert!(client.ask("APPE log").starts_with("150 "));
        data.write_all(&new[..sent]).unwrap();
        let next = site.update();
        let data = (sent < new.len()).then_some(data);
        let (_never, pause) = std::sync::mpsc::channel::<()>();
        let _passed = pause.recv_timeout(std::time::Duration::from_micros(micros));
        // It may have ended by itself.
        let _killed = signal(earlier, Signal::KILL);
        drop(data);
        earlier = next;
        // An append that was complete is carried out when the process has ended.
        let read = || RawClient::log_in(site.address).retrieve("log");
        let mut found = Vec::new();
        until("the file has another length", || {
            found = read();
            found == old || found == whole
        });
        assert!(sent == new.len() || found == old);
        let mut client = RawClient::log_in(site.address);
        let mut again = client.open_data();
        assert!(client.ask("APPE log").starts_with("150 "));
        again.write_all(&new).unwrap();
        drop(again);
        assert!(client.line().starts_with("226 "));
        let expected = [found.as_slice(), &new].concat();
        assert!(read() == expected && fs::read(&file).unwrap() == expected);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn an_update_without_a_new_program_is_a_reload() {
    let site = Site::new("").start();
    let (good, text) = site.try_update(&mut site.command(&["update"]));
    assert!(good && text == "reloaded\n", "{text}");
    // A package puts another file in the place of the program.
    let program = site.path("ftpserver");
    fs::copy(SERVER, &program).unwrap();
    let mut command = Command::new(&program);
    command.arg("update").arg("--config").arg(site.path("config.toml"));
    let (good, text) = site.try_update(&mut command);
    assert!(good && text.starts_with("replaced by process "), "{text}");
    assert!(RawClient::log_in(site.address).ask("NOOP").starts_with("200 "));
    let other = Site::new("");
    let (good, text) = other.try_update(&mut other.command(&["update"]));
    assert!(!good && text.contains("no ftpserver of this user"), "{text}");
}

#[test]
fn ports_of_slaves_the_status_server_and_the_socket_file_are_taken_too() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("status");
    let control = place.path().join("control");
    let settings = format!(
        "slaves = 2\nstatus = \"unix:{}\"\ncontrol = \"{}\"",
        path.display(),
        control.display()
    );
    // The ports that follow the first may be taken.
    let site = (0..100).find_map(|_| {
        let site = Site::new(&settings);
        let ports = [1, 2].map(|next| site.address.port().saturating_add(next));
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        ports.iter().all(is_free).then(|| site.start())
    });
    let site = site.expect("two ports that follow a free one");
    let alive = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        // By the socket file.
        assert!(site.ctl(&["ready"]).0);
    };
    for _ in 0..2 {
        alive();
        // One that cannot start takes nothing away.
        site.configure(&format!("{settings}\nusers = \"none\""));
        assert!(!site.try_update(&mut site.command(&["update", "--replace"])).0);
        alive();
        site.configure(&settings);
        site.update();
    }
    alive();
    let port = site.address.port() + 2;
    assert!(RawClient::connect(([127, 0, 0, 1], port).into()).line().starts_with("220 slave 2 "));
}

#[test]
fn slave_processes_keep_their_clients_and_register_with_the_new_server() {
    let site = Site::new("stop-grace = 600").start();
    let rows = || {
        let (_, text) = site.ctl(&["status"]);
        let new = text.split("server ").find(|part| !part.contains("finishes its sessions"));
        new.unwrap_or_default().lines().filter(|line| line.starts_with("1 ")).count()
    };
    let port = site.address.port();
    let slaves = Command::new(env!("CARGO_BIN_EXE_ftpslaves"))
        .args(["--count=1", &format!("127.0.0.1:{port}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut slaves = Slaves(slaves);
    until("no slave has registered", || rows() == 1);
    let mut client = RawClient::log_in(site.address);
    site.update();
    until("the slave has not registered again", || site.ctl(&["status"]).1.contains("\n1 "));
    assert!(client.ask("NOOP").starts_with("200 "));
    assert!(RawClient::connect(site.address).line().starts_with("220 slave 1 "));
    assert!(slaves.0.try_wait().unwrap().is_none());
}

/// `ftpslaves`, ended in order.
struct Slaves(Child);

impl Drop for Slaves {
    fn drop(&mut self) {
        let _ended = signal(self.0.id(), Signal::TERM);
        let _waited = self.0.wait();
    }
}

#[test]
fn a_server_that_has_given_up_root_is_updated_by_root() {
    if !is_root() {
        return skip("needs root");
    }
    let site = Site::new("user = \"nobody\"");
    fs::set_permissions(site.path("log"), fs::Permissions::from_mode(0o777)).unwrap();
    let site = site.start();
    let mut client = RawClient::log_in(site.address);
    let process = site.update();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(!status.contains("Uid:\t0\t"), "{status}");
    assert!(client.ask("NOOP").starts_with("200 "));
    assert!(RawClient::log_in(site.address).ask("NOOP").starts_with("200 "));
}

/// The socket of a service manager.
struct Manager(UnixDatagram, TempDir);

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket, folder)
    }

    /// Returns the next message that begins with this, and those before it.
    fn expect(&self, start: &str) -> (String, Vec<String>) {
        let (mut bytes, mut others) = ([0; 1024], Vec::new());
        loop {
            let count = self.0.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.starts_with(start) {
                return (text, others);
            }
            others.push(text);
        }
    }
}

#[test]
fn a_service_manager_follows_to_the_new_process_and_its_sockets_are_passed_on() {
    // Children of other tests must not inherit the sockets, and a shell duplicates descriptors below ten only.
    if !in_own_process() {
        return;
    }
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let manager = Manager::new();
    let address = listeners[0].local_addr().unwrap();
    let mut site = Site::at(address, "self-signed = \"log/own.pem\"\nstop-grace = 600");
    for listener in &listeners {
        fcntl_setfd(listener, FdFlags::empty()).unwrap();
    }
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=2 exec {SERVER} --config {} 3<&{} 4<&{}",
        site.path("config.toml").display(),
        listeners[0].as_raw_fd(),
        listeners[1].as_raw_fd()
    );
    let child = Command::new("sh")
        .args(["-c", &script])
        .env("NOTIFY_SOCKET", manager.1.path().join("notify"))
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .spawn();
    site.first = Some(child.unwrap());
    manager.expect("READY=1");
    for listener in &listeners {
        fcntl_setfd(listener, FdFlags::CLOEXEC).unwrap();
    }
    let secure = |site: &Site| {
        // The second socket is for implicit TLS: a client that speaks FTP gets no greeting.
        let mut client = RawClient::connect(listeners[1].local_addr().unwrap());
        client.say("NOOP");
        assert!(!client.line().starts_with("220 "), "{}", site.log());
    };
    let mut client = RawClient::log_in(address);
    secure(&site);
    // A reload closes none of them.
    assert!(site.ctl(&["reload"]).0);
    manager.expect("READY=1");
    secure(&site);
    for _ in 0..2 {
        let mut update = site.command(&["update", "--replace"]);
        update.env("NOTIFY_SOCKET", manager.1.path().join("notify"));
        let (good, text) = site.try_update(&mut update);
        assert!(good, "{text}{}", site.log());
        let process = *site.successors.lock().unwrap().last().unwrap();
        let (main, before) = manager.expect("MAINPID=");
        assert_eq!(main, format!("MAINPID={process}"));
        assert!(!before.iter().any(|text| text.contains("STOPPING")), "{before:?}");
        manager.expect("READY=1");
        secure(&site);
        RawClient::log_in(address);
    }
    // The new server reports its progress in the interval of the first.
    for _ in 0..3 {
        let (_, before) = manager.expect("WATCHDOG=1");
        assert!(!before.iter().any(|text| text.contains("STOPPING")), "{before:?}");
    }
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn another_user_cannot_take_over_a_server() {
    if !is_root() || find("setpriv").is_none() {
        return skip("needs root and setpriv");
    }
    let site = Site::new("").start();
    let port = site.address.port().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1", "--clear-groups", "--", SERVER, "update", "--replace"]);
    command.args(["--bind=127.0.0.1", "--port", &port, "--root=/"]);
    let (good, text) = site.try_update(&mut command);
    assert!(!good && text.contains("no ftpserver of this user"), "{text}");
    RawClient::log_in(site.address);
}

/// Runs a user instance of systemd in a mount namespace, and the unit of the package in it.
const UNDER_SYSTEMD: &str = r#"
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0
unset NOTIFY_SOCKET LISTEN_FDS LISTEN_PID
/usr/lib/systemd/systemd --user --log-target=null >manager 2>&1 &
manager=$!
trap 'systemctl --user stop poolftpd.service poolftpd.socket; kill $manager; wait $manager || true' EXIT
ctl() { systemctl --user "$@"; }
until ctl is-system-running 2>/dev/null | grep -q -e running -e degraded; do
    kill -0 $manager || { echo none; exit 0; }
done
process() { ctl show --value -p MainPID poolftpd.service; }
ctl start poolftpd.socket poolftpd.service
first=$(process)
# A session that begins before the updates, and sends its commands when it is told to.
exec 3<>/dev/tcp/127.0.0.1/$port
say() { printf '%s\r\n' "$1" >&3; read -r reply <&3; echo "$reply"; }
read -r greeting <&3
say "USER anonymous"; say "PASS x"
ctl reload poolftpd.service
[ "$(process)" = "$first" ] || { echo "a reload has replaced the server"; exit 1; }
for turn in 1 2; do
    before=$(process)
    cp ftpserver new && mv new ftpserver
    ctl reload poolftpd.service
    [ "$(process)" != "$before" ] || { echo "the server was not replaced"; exit 1; }
    say NOOP
done
# A mistake changes nothing.
before=$(process)
echo nonsense >>config.toml
cp ftpserver new && mv new ftpserver
! ctl reload poolftpd.service 2>/dev/null || { echo "a reload with a mistake succeeds"; exit 1; }
[ "$(process)" = "$before" ] || { echo "a mistake has replaced the server"; exit 1; }
say NOOP; say QUIT
[ "$(ctl show --value -p NRestarts poolftpd.service)" = 0 ]
ctl is-active poolftpd.service
"#;

#[test]
fn systemd_replaces_a_server_with_a_new_program_at_a_reload() {
    if !can_mount() || ["systemctl", "bash"].iter().any(|program| find(program).is_none()) {
        return skip("needs the right to mount, systemd and bash");
    }
    let site = Site::new("stop-grace = 60");
    fs::copy(SERVER, site.path("ftpserver")).unwrap();
    let units = site.path(".config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    let folder = site.folder.path().to_str().unwrap();
    // Without what a user instance has no right to do: the user, and the restrictions.
    let unit = include_str!("../../dist/systemd/poolftpd.service")
        .lines()
        .filter(|line| {
            let kept =
                ["[", "Type=", "NotifyAccess=", "WatchdogSec=", "Exec", "Requires=", "After="];
            kept.iter().any(|start| line.starts_with(start)) && *line != "[Install]"
        })
        .map(|line| {
            let line = line.replace("/usr/bin/", &format!("{folder}/"));
            line.replace("/etc/poolftpd/poolftpd.toml", &format!("{folder}/config.toml")) + "\n"
        })
        .collect::<String>();
    fs::write(units.join("poolftpd.service"), unit).unwrap();
    let socket = format!("[Socket]\nListenStream={}\n", site.address);
    fs::write(units.join("poolftpd.socket"), socket).unwrap();
    fs::write(site.path("script"), UNDER_SYSTEMD).unwrap();
    let port = site.address.port().to_string();
    let script = "unshare --mount --propagation private bash -eu script";
    let said = run_script(script, site.folder.path(), &[("port", &port)]);
    let said = said.unwrap_or_else(|what| panic!("{what}{}", site.log()));
    if said.contains("none\n") {
        return skip("no user instance of systemd can run here");
    }
    let codes: Vec<&str> = said.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes, ["331", "230", "200", "200", "200", "221", "act"], "{said}");
}
