//! Settings as an administrator gives them: the file, the environment, `ftpserver check`, a reload, and the pages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::common::raw::{RawClient, read_all};
use crate::common::secure::certificate;
use crate::common::{Captured, until};
use poolftpd::internal::settings::pages;
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// A directory with a configuration file and a root, `srv`, that has a file `a`.
struct Scene(TempDir);

impl Scene {
    fn new(file: &str) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("srv")).unwrap();
        fs::write(scene.path("srv/a"), "content").unwrap();
        scene.write(file);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("poolftpd.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), format!("root = 'srv'\nbind = '127.0.0.1'\nport = 0\n{text}"))
            .unwrap();
    }

    /// Returns the exit status and the output of a program with this file.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = Command::new(SERVER);
        command.args(words).arg("--config").arg(self.file()).envs(variables.iter().copied());
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    fn start(&self, words: &[&str]) -> Running {
        let mut command = Command::new(SERVER);
        command.arg("--config").arg(self.file()).args(words);
        Running::start(command)
    }
}

/// `ftpserver`, killed at the end.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Captured,
}

/// Returns what a process writes to standard error.
fn capture(child: &mut Child) -> Captured {
    let (log, mut errors) = (Captured::default(), child.stderr.take().unwrap());
    let mut into = log.clone();
    thread::spawn(move || std::io::copy(&mut errors, &mut into));
    log
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = capture(&mut child);
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

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_server_is_configured_by_a_file_the_environment_and_flags() {
    let scene = Scene::new("write = true\nmax-per-ip = 1\n");
    let server = scene.start(&["--max-per-ip=2"]);
    let mut client = RawClient::log_in(server.address);
    assert_eq!(client.retrieve("a"), b"content");
    let _second = RawClient::greeted(server.address);
    assert!(RawClient::connect(server.address).line().starts_with("421 "));
    let mut command = Command::new(SERVER);
    command.env("POOLFTPD_CONFIG", scene.file()).env("POOLFTPD_MAX_PER_IP", "1");
    let server = Running::start(command);
    let _first = RawClient::greeted(server.address);
    assert!(RawClient::connect(server.address).line().starts_with("421 "));
}

#[test]
fn a_wrong_file_keeps_the_server_from_starting_with_one_line() {
    let scene = Scene::new("pasive-ports = '1-2'\nmax-clients = 'x'\n");
    let (status, message) = scene.run(&[], &[]);
    let place = format!("ftpserver: {}:4:1: pasive-ports is not a setting", scene.file().display());
    assert_eq!((status, message.lines().count()), (Some(1), 1), "{message}");
    assert!(
        message.starts_with(&place) && message.contains("did you mean passive-ports?"),
        "{message}"
    );
    scene.write("");
    for (words, variables, expected, name) in [
        (vec!["--max-clients=0"], vec![], 2, "--max-clients"),
        (vec![], vec![("POOLFTPD_MAX_CLIENTS", "0")], 1, "POOLFTPD_MAX_CLIENTS"),
        (vec!["--require-tls"], vec![], 2, "TLS needs a certificate"),
    ] {
        let (status, message) = scene.run(&words, &variables);
        assert_eq!((status, message.lines().count()), (Some(expected), 1), "{message}");
        assert!(message.contains(name), "{message}");
    }
    fs::remove_file(scene.file()).unwrap();
    let (status, message) = scene.run(&[], &[]);
    assert_eq!(status, Some(1));
    assert!(
        message.contains("poolftpd.toml: cannot read the configuration: no such file"),
        "{message}"
    );
}

#[test]
fn check_reports_everything_that_would_keep_the_server_from_starting() {
    let scene = Scene::new("");
    assert_eq!(scene.run(&["check"], &[]), (Some(0), "ok\n".to_owned()));
    let (one, other) = (certificate(scene.0.path(), "one"), certificate(scene.0.path(), "other"));
    fs::write(scene.path("users"), "no hash\n").unwrap();
    fs::copy(&one.key, scene.path("srv/key")).unwrap();
    scene.write(&format!(
        "users = 'users'\nallow = 'nowhere'\nuser = 'no-such-user'\nport = 1\nidle-time = 1\n\
         [[tls]]\ncert = '{}'\nkey = '{}'\n[[tls]]\ncert = '{}'\nkey = 'srv/key'\n\
         [[host]]\nname = 'a'\nroot = 'gone'\n",
        text(&one.certificate),
        text(&other.key),
        text(&one.certificate),
    ));
    let (status, output) = scene.run(&["check"], &[("POOLFTPD_PROT", "1")]);
    assert_eq!(status, Some(1), "{output}");
    // The file has `port` twice, and is not read any further.
    assert!(
        output.contains(":7:1: ") && output.contains("did you mean POOLFTPD_PORT?"),
        "{output}"
    );
    let file = fs::read_to_string(scene.file()).unwrap().replace("port = 1\nidle-time = 1\n", "");
    fs::write(scene.file(), file).unwrap();
    let (status, output) = scene.run(&["check"], &[]);
    assert_eq!(status, Some(1), "{output}");
    for expected in [
        "poolftpd.toml:4: cannot read the users file",
        "--allow",
        "no such user: no-such-user",
        "the key does not match",
        "the key ",
        "poolftpd.toml:13: cannot serve",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    assert!(output.lines().all(|line| line.starts_with("error: ")), "{output}");
}

#[test]
fn check_shows_the_effective_settings_and_their_sources() {
    let scene = Scene::new("idle-timeout = '10m'\n[[host]]\nname = 'a'\nroot = 'srv'\n");
    let words = ["check", "--show", "--stop-grace", "2m"];
    let (status, shown) = scene.run(&words, &[("POOLFTPD_MAX_CLIENTS", "40")]);
    assert_eq!(status, Some(0), "{shown}");
    for line in [
        format!("root = \"{}\"  # {}:1", text(&scene.path("srv")), text(&scene.file())),
        format!("idle-timeout = \"10m\"  # {}:4", text(&scene.file())),
        "max-clients = 40  # environment POOLFTPD_MAX_CLIENTS".to_owned(),
        "max-per-ip = 10  # default".to_owned(),
        "stop-grace = \"2m\"  # flag --stop-grace".to_owned(),
        "stall-timeout = 120  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    // What is shown is a file with the same settings.
    fs::write(scene.file(), &shown).unwrap();
    let (status, again) = scene.run(&["check", "--show"], &[]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!((status, values(&again)), (Some(0), values(&shown)));
    let (status, json) = scene.run(&["check", "--show", "--json", "--port=x"], &[]);
    assert_eq!(status, Some(1));
    assert!(
        json.starts_with(
            "{\"ok\":false,\"findings\":[{\"severity\":\"error\",\"text\":\"--port: 'x' is"
        ),
        "{json}"
    );
    assert!(json.contains("\"max-clients\":{\"value\":40,\"source\":"), "{json}");
    let (_, json) = scene.run(&["check", "--json"], &[]);
    assert_eq!(json, "{\"ok\":true,\"findings\":[]}\n");
}

#[test]
fn a_reload_applies_the_file_to_new_sessions_and_names_what_needs_a_restart() {
    let scene = Scene::new(
        "max-per-ip = 3\nmax-login-failures = 2\nlogin-delay = 0\nusers = 'users'\nanonymous = true\n",
    );
    fs::write(scene.path("users"), "").unwrap();
    let server = scene.start(&["--stop-grace=1"]);
    let fail = |client: &mut RawClient| client.try_log_in("nobody", "x");
    let mut before = RawClient::greeted(server.address);
    assert!(fail(&mut before).starts_with("530 "));
    scene.write("max-per-ip = 5\nmax-login-failures = 1\nlogin-delay = 0\nusers = 'users'\nanonymous = true\n\
                 log-level = 'verbose'\nworkers = 9\nstop-grace = 7\n");
    server.reload();
    let applied = ["max-per-ip 3 -> 5", "max-login-failures 2 -> 1", "log-level normal -> verbose"];
    server.log.expect(&[&["event=reloaded", "users=0"][..], &applied].concat());
    server.log.expect(&["event=warning", "need a restart", "workers ", "-> 9"]);
    assert!(!server.log.text().contains("stop-grace"), "the flag wins\n{}", server.log.text());
    // A session keeps the limits with which it began.
    let mut after = RawClient::greeted(server.address);
    for client in [&mut after, &mut before] {
        // One wrong password ends the new session, a second one the old.
        assert!(fail(client).starts_with("530 "));
        assert!(client.line().starts_with("421 "));
    }
    let clients: Vec<_> = (0..5).map(|_| RawClient::connect(server.address).line()).collect();
    assert!(clients.iter().filter(|line| line.starts_with("220 ")).count() > 3, "{clients:?}");
    server.log.expect(&["event=reply"]);
}

#[test]
fn a_reload_changes_the_rate_of_a_transfer_that_runs() {
    for name in ["max-rate-down", "max-rate-down-per-ip"] {
        let scene = Scene::new(&format!("{name} = '1K'\n"));
        fs::write(scene.path("srv/large"), vec![b'x'; 8 << 20]).unwrap();
        let server = scene.start(&[]);
        let mut client = RawClient::log_in(server.address);
        let data = client.open_data();
        assert!(client.ask("RETR large").starts_with("150 "));
        scene.write(&format!("{name} = 0\n"));
        server.reload();
        server.log.expect(&["event=reloaded", &format!("{name} 1024 -> 0")]);
        // At the first rate, this would take more than two hours.
        assert_eq!(read_all(data).len(), 8 << 20);
        assert!(client.reply().starts_with("226 "));
    }
}

#[test]
fn a_reload_changes_rules_for_the_logins_that_follow() {
    let scene = Scene::new("");
    let server = scene.start(&[]);
    let mut before = RawClient::log_in(server.address);
    scene.write("[[directory]]\npath = '/a'\nmay = 'list'\n");
    server.reload();
    server.log.expect(&["event=reloaded", "directory none -> /a,may=list"]);
    assert_eq!(before.retrieve("a"), b"content");
    let mut after = RawClient::log_in(server.address);
    assert!(after.ask("RETR a").starts_with("550 "));
    assert!(after.ask("SIZE a").starts_with("213 "));
}

#[test]
fn a_file_inside_the_root_is_refused() {
    let scene = Scene::new("");
    let (status, output) = scene.run(&["check", "--root", text(scene.0.path())], &[]);
    assert_eq!(status, Some(1));
    assert!(
        output.contains("the configuration file") && output.contains("inside the root"),
        "{output}"
    );
}

#[test]
fn new_sessions_use_the_passive_ports_of_a_reload() {
    let scene = Scene::new("");
    let server = scene.start(&[]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.write(&format!("passive-ports = {free}\npublic-address = '192.0.2.7'\n"));
    server.reload();
    server.log.expect(&[
        "event=reloaded",
        "passive-ports none -> ",
        "public-address none -> 192.0.2.7",
    ]);
    let mut client = RawClient::log_in(server.address);
    assert_eq!(client.extended_passive().port(), free);
}

#[test]
fn a_reload_of_a_wrong_file_changes_nothing() {
    let scene = Scene::new("max-per-ip = 1\n");
    let server = scene.start(&[]);
    scene.write("max-per-ip = 7\nidle-timeout = 'x'\n");
    server.reload();
    server.log.expect(&["event=not-reloaded", "poolftpd.toml:5:16", "idle-timeout"]);
    let _first = RawClient::greeted(server.address);
    assert!(RawClient::connect(server.address).line().starts_with("421 "));
    scene.write("max-per-ip = 7\n");
    server.reload();
    server.log.expect(&["event=reloaded", "max-per-ip 1 -> 7"]);
    assert!(RawClient::connect(server.address).line().starts_with("220 "));
}

#[test]
fn slave_processes_get_the_settings_of_a_reload() {
    let scene = Scene::new("login-timeout = 60\n");
    let server = scene.start(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpslaves"));
    command.arg("--count=1").arg(server.address.to_string());
    let mut slaves = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = capture(&mut slaves);
    let slaves = Running { child: slaves, address: server.address, log };
    let greeting = || RawClient::connect(server.address).line();
    until("no slave serves", || greeting().starts_with("220 slave 1"));
    scene.write("login-timeout = '100ms'\n");
    server.reload();
    slaves.log.expect(&["event=reloaded", "login-timeout 60 -> 0.1s"]);
    let mut client = RawClient::connect(server.address);
    assert!(client.line().starts_with("220 slave 1"));
    assert!(client.line().starts_with("421 "));
}

#[test]
fn the_pages_are_those_that_are_generated_from_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (man, administration) = (root.join("man/ftpserver.8"), root.join("docs/administration.md"));
    let page = fs::read_to_string(&administration).unwrap();
    let expected = pages::with_table(&page).unwrap();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::create_dir_all(root.join("man")).unwrap();
        fs::write(&man, pages::man()).unwrap();
        fs::write(&administration, expected).unwrap();
        return;
    }
    assert!(page == expected, "docs/administration.md is not current: run cargo xtask man");
    let found = fs::read_to_string(&man).unwrap();
    assert!(found == pages::man(), "man/ftpserver.8 is not current: run cargo xtask man");
}
