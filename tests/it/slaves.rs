//! Slave processes: `ftpserver &`, `ftpslaves localhost &`, and their behaviour when one hangs, dies or is stopped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::common::outside::{find, is_root, skip};
use crate::common::raw::{RawClient, read_all};
use crate::common::{noise, until};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");
const SLAVES: &str = env!("CARGO_BIN_EXE_ftpslaves");

/// A process that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

impl Running {
    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    fn status(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

fn signal(process: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([format!("-{name}"), process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// The maximum number of descriptors that the system allows.
const DESCRIPTORS_ANY: u64 = 0;

/// Returns a command that runs a program with this limit of descriptors.
fn limited(program: &str, descriptors: u64) -> Command {
    if descriptors == DESCRIPTORS_ANY {
        return Command::new(program);
    }
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""), program]);
    command
}

fn start_master(root: &TempDir, port: u16) -> (Running, SocketAddr) {
    start_limited_master(root, port, DESCRIPTORS_ANY)
}

fn start_limited_master(root: &TempDir, port: u16, descriptors: u64) -> (Running, SocketAddr) {
    start_master_with(root, port, descriptors, &[])
}

fn start_master_with(
    root: &TempDir,
    port: u16,
    descriptors: u64,
    more: &[&str],
) -> (Running, SocketAddr) {
    let mut command = limited(SERVER, descriptors);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--quiet", "--write", "--root"])
        .arg(root.path())
        .args(more);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
    (Running(child), address)
}

struct Scene {
    // Dropped first, so that the slaves' parent is killed first: its children end with it.
    parent: Running,
    master: Running,
    address: SocketAddr,
    root: TempDir,
}

impl Scene {
    fn start(slaves: usize) -> Self {
        Self::start_with(slaves, DESCRIPTORS_ANY)
    }

    /// Starts the processes with this limit of descriptors each.
    fn start_with(slaves: usize, descriptors: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (master, address) = start_limited_master(&root, 0, descriptors);
        let host = format!("localhost:{}", address.port());
        let child = limited(SLAVES, descriptors)
            .args(["--count", &slaves.to_string(), "--workers", "2", &host])
            .stderr(Stdio::null())
            .spawn();
        let scene = Self { parent: Running(child.unwrap()), master, address, root };
        scene.wait_for(slaves);
        scene
    }

    fn control(&self, words: &[&str]) -> String {
        let output = Command::new(SERVER)
            .arg("ctl")
            .args(words)
            .args(["--port", &self.address.port().to_string()])
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Returns number and process ID of each slave, sorted by number.
    fn slaves(&self) -> Vec<(u32, u32)> {
        let table = self.control(&["status"]);
        let row = |line: &str| {
            let mut words = line.split_ascii_whitespace().map(str::parse);
            Some((words.next()?.ok()?, words.next()?.ok()?))
        };
        let mut slaves: Vec<(u32, u32)> = table.lines().filter_map(row).collect();
        slaves.sort_unstable();
        slaves
    }

    fn process(&self, number: u32) -> u32 {
        self.slaves().iter().find(|slave| slave.0 == number).unwrap().1
    }

    fn wait_for(&self, count: usize) {
        until("the slaves do not register", || self.slaves().len() == count);
    }

    /// Connects a client; returns it with the number of the slave that greeted it, 0 for the master.
    fn connect(&self) -> (RawClient, u32) {
        let mut client = RawClient::connect(self.address);
        let line = client.line();
        let slave = line
            .strip_prefix("220 slave ")
            .map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
        assert!(line.starts_with("220 "), "{line}");
        (client, slave.unwrap_or(0))
    }

    fn log_in(&self) -> (RawClient, u32) {
        let (mut client, slave) = self.connect();
        assert!(client.ask("USER anonymous").starts_with("331 "));
        assert!(client.ask("PASS x").starts_with("230 "));
        assert!(client.ask("TYPE I").starts_with("200 "));
        (client, slave)
    }
}

#[test]
fn clients_go_to_the_next_slave_in_turn_and_every_mode_is_byte_exact() {
    let scene = Scene::start(2);
    let content = noise(1_000_000);
    fs::write(scene.root.path().join("a"), &content).unwrap();
    let mut greeted = Vec::new();
    for _ in 0..4 {
        let (mut client, slave) = scene.log_in();
        greeted.push(slave);
        assert!(client.retrieve("a") == content);
        let listener = client.listen();
        assert!(client.ask("RETR a").starts_with("150 "));
        let (data, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), scene.address.ip());
        assert!(read_all(data) == content);
        assert!(client.reply().starts_with("226 "));
        client.store("b", &content[..1000]);
    }
    assert_eq!(greeted[..2], greeted[2..]);
    assert_ne!(greeted[0], greeted[1]);
    assert_eq!(fs::read(scene.root.path().join("b")).unwrap(), content[..1000]);
}

#[test]
fn a_slave_that_is_killed_loses_its_own_clients_only_and_is_started_again() {
    let scene = Scene::start(2);
    let (mut one, first) = scene.connect();
    let (mut two, second) = scene.connect();
    let killed = scene.process(first);
    signal(killed, "KILL");
    assert!(one.is_closed());
    for _ in 0..5 {
        scene.connect();
    }
    assert!(two.ask("NOOP").starts_with("200 "));
    until("it does not come back", || {
        let slaves = scene.slaves();
        slaves.len() == 2 && slaves.iter().all(|slave| slave.1 != killed)
    });
    let numbers: Vec<u32> = (0..2).map(|_| scene.connect().1).collect();
    assert!(numbers.contains(&first) && numbers.contains(&second), "{numbers:?}");
}

#[test]
fn a_slave_that_hangs_is_skipped_and_its_waiting_clients_go_to_others_once() {
    let scene = Scene::start(2);
    let (_, first) = scene.connect();
    let (_, second) = scene.connect();
    assert_ne!(first, second);
    let hung = scene.process(first);
    signal(hung, "STOP");
    let mut clients = Vec::new();
    for _ in 0..6 {
        let (mut client, slave) = scene.connect();
        assert_eq!(slave, second);
        assert!(client.ask("NOOP").starts_with("200 "), "one server speaks to it");
        clients.push(client);
    }
    signal(hung, "CONT");
    until("it does not serve again", || scene.connect().1 == first);
    for client in &mut clients {
        assert!(client.ask("NOOP").starts_with("200 "), "still the one server");
    }
}

#[test]
fn sigterm_drains_a_slave() {
    let mut scene = Scene::start(1);
    fs::write(scene.root.path().join("a"), noise(16 * 1024 * 1024)).unwrap();
    let (mut client, slave) = scene.log_in();
    assert_eq!(slave, 1);
    let data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    signal(scene.process(1), "TERM");
    until("it goes on taking clients", || scene.connect().1 == 0);
    assert_eq!(read_all(data).len(), 16 * 1024 * 1024);
    assert!(client.line().starts_with("226 "));
    assert_eq!(scene.parent.status(), Some(0), "the only slave ended by itself");
}

#[test]
fn when_the_master_stops_slaves_finish_their_transfers_and_end() {
    let mut scene = Scene::start(2);
    fs::write(scene.root.path().join("a"), noise(16 * 1024 * 1024)).unwrap();
    let (mut client, _) = scene.log_in();
    let data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    scene.master.signal("TERM");
    assert_eq!(read_all(data).len(), 16 * 1024 * 1024);
    assert!(client.line().starts_with("226 "));
    assert_eq!(scene.master.status(), Some(0));
    assert_eq!(scene.parent.status(), Some(0));
}

#[test]
fn slaves_keep_their_clients_when_the_master_is_killed_and_register_with_the_next() {
    let mut scene = Scene::start(2);
    let (mut client, slave) = scene.log_in();
    assert!(slave > 0);
    scene.master.signal("KILL");
    scene.master.status();
    assert!(client.ask("NOOP").starts_with("200 "));
    let (master, address) = start_master(&scene.root, scene.address.port());
    assert_eq!(address, scene.address);
    scene.master = master;
    scene.wait_for(2);
    assert!(scene.connect().1 > 0);
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn an_administrator_drains_and_resumes_a_slave() {
    let scene = Scene::start(2);
    assert_eq!(scene.control(&["drain", "1"]), "slave 1 accepts no new clients\n");
    assert!((0..4).all(|_| scene.connect().1 == 2));
    assert!(scene.control(&["status"]).contains("draining"));
    assert_eq!(scene.control(&["resume", "1"]), "slave 1 accepts new clients\n");
    assert!((0..2).any(|_| scene.connect().1 == 1));
    assert_eq!(scene.control(&["drain", "7"]), "ftpserver ctl: no such slave: 7.\n");
}

#[test]
fn sigterm_to_ftpslaves_ends_all_and_the_master_serves_by_itself() {
    let mut scene = Scene::start(2);
    scene.parent.signal("TERM");
    assert_eq!(scene.parent.status(), Some(0));
    until("the slaves stay registered", || scene.slaves().is_empty());
    assert_eq!(scene.connect().1, 0);
}

/// Far fewer than the connections to come, but more than exist at the same time.
const DESCRIPTORS: u64 = 256;

#[test]
fn after_ten_thousand_connections_descriptors_are_left_in_every_process() {
    let scene = Scene::start_with(2, DESCRIPTORS);
    for _ in 0..10_000 {
        assert!(scene.connect().1 > 0, "a slave serves, and not the master in its place");
    }
    let (mut client, _) = scene.log_in();
    fs::write(scene.root.path().join("a"), "text").unwrap();
    assert_eq!(client.retrieve("a"), b"text");
}

#[test]
fn slave_processes_may_have_ports_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let (_master, address) = start_master(&root, 0);
    // Finds a free port followed by a free one by trying.
    let free = |port: &u16| {
        [*port, port + 1].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    };
    let any = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = std::iter::repeat_with(any).take(100).find(free).unwrap();
    let words = ["--port", &first.to_string(), &format!("localhost:{}", address.port())];
    let _parent = Running(Command::new(SLAVES).args(words).stderr(Stdio::null()).spawn().unwrap());
    for port in [first, first + 1] {
        until("it does not listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let line = RawClient::connect(([127, 0, 0, 1], port).into()).line();
        assert!(line.starts_with("220 slave "), "{line}");
    }
}

#[test]
fn another_user_is_not_let_in() {
    if !is_root() || find("setpriv").is_none() || find("perl").is_none() {
        return skip("needs root, setpriv and perl");
    }
    let scene = Scene::start(1);
    let script = r#"use Socket;
        $SIG{PIPE} = 'IGNORE';
        socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die $!;
        connect($s, pack_sockaddr_un("\0poolftpd/0/$ARGV[0]")) or die $!;
        syswrite($s, 'register');
        print sysread($s, my $answer, 10000) || 0, "\n";"#;
    let mut child = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--clear-groups",
            "--",
            "perl",
            "-e",
            script,
            &scene.address.port().to_string(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "0\n");
    assert_eq!(scene.slaves().len(), 1);
}

#[test]
fn what_keeps_slaves_from_starting_is_one_line() {
    for (words, status, hint) in [
        (&["192.0.2.99"][..], 2, "docs/balancer.md"),
        (&["localhost:1"], 1, "no ftpserver of this user is running on port 1"),
        (&["localhost", "--count", "0"], 2, "--count"),
        (&["localhost:x"], 2, "not a port"),
        (&[], 2, "host"),
    ] {
        let output = Command::new(SLAVES).args(words).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        assert!(message.contains(hint), "{message}");
    }
}

#[test]
fn sessions_of_slave_processes_are_listed_and_ended_through_the_master() {
    let scene = Scene::start(2);
    let mut clients = [scene.connect().0, scene.connect().0];
    let listed = || scene.control(&["who"]);
    until("not all sessions are listed", || listed().lines().count() == 3);
    for client in &clients {
        let address = client.stream.local_addr().unwrap().to_string();
        assert!(listed().contains(&address), "{}", listed());
    }
    let answer = scene.control(&["kick", "address", "127.0.0.0/8"]);
    assert_eq!(answer, "2 sessions end\n");
    for client in &mut clients {
        assert!(client.line().starts_with("421 "));
    }
    // The master bans the network as well, so that it hands over no more of its clients.
    let answer = scene.control(&["ban", "127.0.0.1"]);
    assert!(answer.contains("is banned"), "{answer}");
    assert!(RawClient::connect(scene.address).line().starts_with("421 "));
}

#[test]
fn a_user_whom_a_slave_process_has_locked_out_is_listed_by_the_master_and_on_the_page() {
    let root = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (users, status) = (folder.path().join("users"), folder.path().join("status"));
    let mut password = Command::new(env!("CARGO_BIN_EXE_ftppasswd"))
        .args([users.as_os_str(), "alice".as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    password.stdin.take().unwrap().write_all(b"right").unwrap();
    assert!(password.wait().unwrap().success());
    let status_option = format!("unix:{}", status.display());
    let settings = folder.path().join("settings.toml");
    fs::write(&settings, "lockout-failures = 1\nlogin-delay = 0\n").unwrap();
    let more = ["--config", settings.to_str().unwrap(), "--status", &status_option];
    let users = ["--users", users.to_str().unwrap()];
    let (master, address) =
        start_master_with(&root, 0, DESCRIPTORS_ANY, &[more.as_slice(), &users].concat());
    let child = Command::new(SLAVES)
        .args(["--count", "1", &format!("localhost:{}", address.port())])
        .stderr(Stdio::null())
        .spawn();
    let scene = Scene { parent: Running(child.unwrap()), master, address, root };
    scene.wait_for(1);
    for last in 2..7 {
        let mut client = RawClient::greeted_from(([127, 0, 0, last], 0).into(), address);
        assert!(client.try_log_in("alice", "wrong").starts_with("530 "));
    }
    let listed =
        |text: &str| text.lines().any(|line| line.contains("lockout") && line.contains("alice"));
    assert!(listed(&scene.control(&["bans"])), "{}", scene.control(&["bans"]));
    let page = |path: &str| {
        let mut stream = UnixStream::connect(&status).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let user = "{\"address\":null,\"user\":\"alice\",\"host\":null,\"failures\":5,";
    until("the user is not on the page", || page("/status.json").contains(user));
    assert!(page("/").contains("alice"));
    assert!(page("/metrics").contains("poolftpd_banned_addresses 5"));
    assert!(scene.control(&["unban", "user", "alice"]).contains("not banned any more"));
    assert!(!listed(&scene.control(&["bans"])));
}

#[test]
fn a_slave_that_registers_later_has_the_bans_of_the_master() {
    let scene = Scene::start(1);
    assert!(scene.control(&["ban", "127.0.0.3", "1h"]).contains("is banned"));
    assert!(scene.control(&["ban", "127.0.0.4"]).contains("is banned"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("localhost:{}", scene.address.port());
    let late = Command::new(SLAVES)
        .args(["--count", "1", "--workers", "2", "--port", &port.to_string(), &host])
        .stderr(Stdio::null())
        .spawn();
    let _late = Running(late.unwrap());
    scene.wait_for(2);
    let own = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(TcpStream::connect(own).is_ok(), "a slave is listed before it listens");
    for (from, begins) in [(2, "220 "), (3, "421 "), (4, "421 ")] {
        let from = SocketAddr::from(([127, 0, 0, from], 0));
        let answered = || RawClient::connect_from(from, own);
        until("the ban of the master does not hold", || answered().line().starts_with(begins));
    }
}
