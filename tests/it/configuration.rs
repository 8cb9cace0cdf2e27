//! The configuration file as several files: include, listeners, rules for directories, and `ftpserver check`.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::common::TestServer;
use crate::common::raw::{RawClient, read_all};
use crate::common::secure::{certificate, config, secure};
use crate::settings::Running;
use poolftpd::internal::log::Level;
use poolftpd::internal::settings::{Config, Listen};

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// A directory with files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the exit status and the output of `ftpserver check` with the file `a.toml`.
    fn check(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(SERVER);
        command.arg("check").arg("--config").arg(self.path("a.toml")).args(words);
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn included_files_add_their_settings_and_tables_in_the_order_of_their_names() {
    let folder = Folder::new(&[
        ("srv/x", ""),
        (
            "a.toml",
            "include = ['b.toml', 'conf.d/*.toml']\nroot = 'srv'\n[[directory]]\npath = '/a'\nmay = 'all'",
        ),
        ("b.toml", "max-clients = 7\n"),
        ("conf.d/20.toml", "[[directory]]\npath = '/c'\nmay = 'none'\n"),
        ("conf.d/10.toml", "include = 'deep.inc'\n[[directory]]\npath = '/b'\nmay = 'list'\n"),
        ("conf.d/deep.inc", "idle-timeout = 9\n"),
        ("conf.d/.hidden.toml", "nonsense"),
        ("conf.d/old.toml~", "nonsense"),
    ]);
    let (status, text) = folder.check(&["--show"]);
    assert_eq!(status, Some(0), "{text}");
    for line in [
        format!("max-clients = 7  # {}:1\n", shown(&folder.path("b.toml"))),
        format!("idle-timeout = 9  # {}:1\n", shown(&folder.path("conf.d/deep.inc"))),
        "directory = [\"/a,may=all\", \"/b,may=list\", \"/c,may=none\"]".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[test]
fn a_mistake_in_an_include_is_named_with_its_place() {
    let file = |text: &'static str| ("a.toml", text);
    for (files, expected) in [
        (vec![file("include = 'no.toml'")], "no.toml: cannot read the configuration"),
        (vec![file("root = '/'\ninclude = 'a.toml'")], "a.toml:2:11: include: "),
        (
            vec![file("include = 'b.toml'"), ("b.toml", "include = 'a.toml'")],
            "b.toml:1:11: include: ",
        ),
        (vec![file("include = '*/b.toml'")], "a.toml:1:11: include: only the name of a file"),
        (vec![file("include = [1]")], "a.toml:1:12: include: found the number 1"),
        (vec![file("include = 'b.toml'"), ("b.toml", "\nprot = 1")], "b.toml:2:1: prot is not"),
        (
            vec![file("include = 'b.toml'\nport = 1"), ("b.toml", "port = 2")],
            "b.toml:1:1: port is set already at ",
        ),
    ] {
        let folder = Folder::new(&files);
        let (status, text) = folder.check(&[]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn files_are_included_to_a_bounded_depth() {
    let name =
        |number: u32| if number == 0 { "a.toml".to_owned() } else { format!("{number}.toml") };
    let chain = |length: u32| {
        let folder = Folder::new(&[]);
        for number in 0..=length {
            let text = if number == length {
                String::new()
            } else {
                format!("include = '{}'", name(number + 1))
            };
            fs::write(folder.path(&name(number)), text).unwrap();
        }
        folder.check(&["--root=/etc/ssl"])
    };
    assert_eq!(chain(8).0, Some(0));
    let (status, text) = chain(9);
    assert!(
        status == Some(1)
            && text.contains("8.toml:1:11: include: ")
            && text.contains("8 files deep"),
        "{text}"
    );
}

#[test]
fn each_listener_accepts_clients_and_those_with_tls_begin_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|config| {
        let listen = |text: &str| text.parse::<Listen>().unwrap();
        config.listen =
            vec![listen("127.0.0.1:0"), listen("127.0.0.1:0,tls"), listen("127.0.0.1:0")];
        config.tls.keys.push(certificate(folder.path(), "localhost"));
    });
    let listeners = server.server.as_ref().unwrap().listeners().to_vec();
    assert_eq!(listeners.len(), 3);
    for index in [0, 2] {
        RawClient::log_in(listeners[index].address);
    }
    let config = config(rustls::ALL_VERSIONS);
    let connection = TcpStream::connect(listeners[1].address).unwrap();
    let mut stream = secure(connection, &config, "localhost");
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
}

#[test]
fn a_reload_opens_and_closes_listeners_and_one_that_cannot_be_opened_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    // Free for the moment: nothing else binds these ports at 127.0.0.3.
    let free = TcpListener::bind("127.0.0.3:0").unwrap();
    let second: SocketAddr = format!("127.0.0.3:{}", port(&free)).parse().unwrap();
    drop(free);
    let server = TestServer::start(|config| config.level = Level::Normal);
    let running = server.server.as_ref().unwrap();
    let wanted = Arc::new(Mutex::new(Vec::<String>::new()));
    let source = Arc::clone(&wanted);
    running.read_settings_from(Box::new(move |now| {
        let more = source.lock().unwrap().clone();
        let mut listen = vec![Listen { address: now.bind, port: now.port, tls: false }];
        listen.extend(more.iter().map(|text| text.parse::<Listen>().unwrap()));
        Ok(Config { listen, ..now.clone() })
    }));
    let first = server.address();
    *wanted.lock().unwrap() = vec![second.to_string()];
    running.reload();
    let mut kept = RawClient::log_in(second);
    RawClient::log_in(first);
    *wanted.lock().unwrap() = vec![format!("127.0.0.1:{}", port(&taken))];
    running.reload();
    server.log.expect(&["event=not-reloaded", "cannot listen on"]);
    RawClient::log_in(second);
    wanted.lock().unwrap().clear();
    running.reload();
    assert!(TcpStream::connect(second).is_err(), "the listener is closed");
    assert!(kept.ask("NOOP").starts_with("200 "), "its sessions stay");
    RawClient::log_in(first);
}

#[test]
fn listeners_and_the_settings_that_they_replace_exclude_each_other() {
    for (text, expected) in [
        (
            "listen = ['127.0.0.1:0']\nport = 1",
            "listen takes the place of bind, port and implicit-tls",
        ),
        ("listen = ['21', '127.0.0.1:21,tls']\nself-signed = 'x'", "one port cannot be both"),
        ("[[listen]]\nport = 990\ntls = true", "TLS needs a certificate"),
        (
            "[[listen]]\naddress = 'host:21'",
            "2:11: [[listen]]: address: 'host:21' is not an address",
        ),
        ("[[listen]]\ntls = true", "1:1: [[listen]]: port is missing"),
        ("[[listen]]\nport = 70000", "2:8: [[listen]]: port: '70000' is not a number"),
    ] {
        let folder = Folder::new(&[("a.toml", text)]);
        let (status, found) = folder.check(&["--root=/etc/ssl"]);
        assert!(status == Some(1) && found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn connections_beyond_those_of_a_minute_are_refused() {
    let server = TestServer::start(|config| config.limits.connects_per_minute = 2);
    let connect = || RawClient::connect(server.address()).line();
    assert!(connect().starts_with("220 ") && connect().starts_with("220 "));
    assert_eq!(
        connect(),
        "421 Too many connections per minute from your address; try again later."
    );
}

#[test]
fn a_mount_is_part_of_the_tree_with_permissions_of_its_own() {
    let folder = Folder::new(&[("share/a", "text"), ("share/sub/c", "text"), ("in/x", "")]);
    std::os::unix::fs::symlink(folder.path("in"), folder.path("share/out")).unwrap();
    let mounts = [
        format!(r"/share,dir={},may=list\,read", shown(&folder.path("share"))),
        format!("/work/in,dir={},may=all", shown(&folder.path("in"))),
    ];
    let server = TestServer::start(|config| {
        config.write = true;
        config.mounts = mounts.iter().map(|mount| mount.parse().unwrap()).collect();
        config.directories = vec!["/share/sub,may=none".parse().unwrap()];
    });
    fs::create_dir(server.path("work")).unwrap();
    fs::create_dir(server.path("share")).unwrap();
    server.write("share/hidden", "");
    server.write("own", "text");
    let mut client = RawClient::log_in(server.address());
    let list = |client: &mut RawClient, command: &str| {
        let data = client.open_data();
        assert!(client.ask(command).starts_with("150 "), "{command}");
        let text = String::from_utf8(read_all(data)).unwrap();
        assert!(client.reply().starts_with("226 "));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(list(&mut client, "NLST"), ["own", "share", "work"]);
    assert_eq!(list(&mut client, "NLST share"), ["share/a", "share/out", "share/sub"]);
    assert_eq!(list(&mut client, "NLST work"), ["work/in"]);
    assert!(client.ask("OPTS MLST type;perm;").starts_with("200 "));
    let facts = list(&mut client, "MLSD");
    assert!(facts.contains(&"type=dir;perm=el; share".to_owned()), "{facts:?}");
    let facts = list(&mut client, "MLSD share");
    assert!(facts.contains(&"type=file;perm=r; a".to_owned()), "{facts:?}");
    assert!(facts.contains(&"type=dir;perm=; sub".to_owned()), "{facts:?}");
    for (line, reply) in [
        ("CWD share", "250 "),
        ("PWD", "257 \"/share\" "),
        ("SIZE a", "213 4"),
        ("CDUP", "250 "),
        ("PWD", "257 \"/\" "),
        ("CWD share/../share/sub", "550 "),
        ("CWD work/in", "250 "),
        ("CWD ..", "250 "),
        ("PWD", "257 \"/work\" "),
        ("CWD /", "250 "),
        ("DELE share/a", "550 "),
        ("MKD share/new", "550 "),
        ("RETR share/out/x", "550 "),
        ("RETR share/hidden", "550 "),
        ("RMD share", "550 "),
        ("RMD work/in", "550 "),
        ("RMD work", "550 "),
        ("RNFR share", "550 "),
        ("RNFR own", "350 "),
        ("RNTO work/in/own", "550 Not possible across file systems."),
        ("RNFR work", "350 "),
        ("RNTO other", "550 "),
        ("RNFR work/in/x", "350 "),
        ("RNTO work/in/y", "250 "),
        ("MKD work/in/new", "257 "),
    ] {
        let found = client.ask(line);
        assert!(found.starts_with(reply), "{line}: {found}");
    }
    assert_eq!(client.retrieve("share/a"), b"text");
    client.store("work/in/stored", b"data");
    assert_eq!(fs::read(folder.path("in/stored")).unwrap(), b"data");
    assert!(folder.path("in/new").is_dir() && folder.path("in/y").exists());
    assert!(server.path("own").exists() && server.path("share/hidden").exists());
}

#[test]
fn a_rule_that_lets_anonymous_write_is_enough_for_an_upload() {
    let folder = Folder::new(&[
        ("srv/in/x", ""),
        (
            "a.toml",
            "root = 'srv'\nbind = '127.0.0.1'\nport = 0\n[[directory]]\npath = '/in'\nmay = 'create'\n",
        ),
    ]);
    let mut command = Command::new(SERVER);
    command.arg("--config").arg(folder.path("a.toml"));
    let server = Running::start(command);
    let mut client = RawClient::log_in(server.address);
    client.store("in/new", b"data");
    assert_eq!(fs::read(folder.path("srv/in/new")).unwrap(), b"data");
}

#[test]
fn a_user_has_the_home_and_the_permissions_of_the_group() {
    let folder = Folder::new(&[
        ("homes/alice/a", "text"),
        ("homes/bob/b", ""),
        ("users", "alice:alice:group=staff"),
    ]);
    let home = folder.path("homes/%u");
    let group = format!(r"staff,home={},may=list\,read,sessions=1", shown(&home));
    let server = TestServer::start(|config| {
        config.groups = vec![group.parse().unwrap()];
        config.user_entries = vec!["alice:alice:group=staff".parse().unwrap()];
        config.anonymous = false;
        config.directories = vec!["/b,may=all,groups=staff".parse().unwrap()];
    });
    fs::create_dir(folder.path("homes/alice/b")).unwrap();
    let mut alice = RawClient::log_in_as(server.address(), "alice", "alice");
    assert_eq!(alice.retrieve("a"), b"text");
    assert!(alice.ask("DELE a").starts_with("550 "));
    alice.store("b/new", b"data");
    let mut again = RawClient::greeted(server.address());
    assert!(again.try_log_in("alice", "alice").starts_with("530 "), "one session");
}

#[test]
fn in_a_strict_check_a_warning_is_an_error() {
    let folder = Folder::new(&[("a.toml", "passive-ports = '40000-40100'\nroot = '/etc/ssl'\n")]);
    let (status, text) = folder.check(&[]);
    assert!(status == Some(0) && text.starts_with("warning: "), "{text}");
    assert_eq!(folder.check(&["--strict"]).0, Some(1));
}

#[test]
fn check_explains_what_a_user_may_do_and_which_rule_decides() {
    let folder = Folder::new(&[
        ("srv/in/x", ""),
        ("org/in/x", ""),
        (
            "a.toml",
            "root = 'srv'\n\n[[directory]]\npath = '/in'\nmay = 'create'\n\n[[host]]\nname = 'org.example'\nroot = 'org'\n\
             [[directory]]\npath = '/in'\nmay = ['list', 'read', 'delete']\nhosts = ['org.example']\nanonymous = true\n",
        ),
    ]);
    std::os::unix::fs::symlink("in", folder.path("srv/way")).unwrap();
    let file = shown(&folder.path("a.toml"));
    for (user, path, expected) in [
        (
            "anonymous",
            "/",
            "anonymous may list,read at /: the permissions of anonymous\n".to_owned(),
        ),
        (
            "anonymous",
            "/way/x",
            format!("anonymous may create at /in/x: directory \"/in\", {file}:3\n"),
        ),
        (
            "anonymous@org.example",
            "/in/x",
            format!(
                "anonymous@org.example may list,read,delete at /in/x: directory \"/in\", {file}:10\n"
            ),
        ),
    ] {
        let (status, text) = folder.check(&["--as", user, path]);
        assert_eq!((status, text), (Some(0), expected), "{user} {path}");
    }
    let (status, text) = folder.check(&["--as", "nobody", "/"]);
    assert!(status == Some(1) && text.contains("there is no user nobody"), "{text}");
    assert_eq!(folder.check(&["--as", "anonymous"]).0, Some(2));
    let (_, text) = folder.check(&["--json", "--as", "anonymous", "/in"]);
    assert!(text.contains("\"may\":\"create\""), "{text}");
}

#[test]
fn ctl_finds_the_server_by_its_configuration_file() {
    let folder = Folder::new(&[("srv/a", "")]);
    let file = |port: u16| {
        let text = format!("root = 'srv'\n[[listen]]\naddress = '127.0.0.1'\nport = {port}\n");
        fs::write(folder.path("a.toml"), text).unwrap();
    };
    file(0);
    let mut command = Command::new(SERVER);
    command.arg("--config").arg(folder.path("a.toml"));
    let server = Running::start(command);
    file(server.address.port());
    let ask = || {
        let mut command = Command::new(SERVER);
        command.arg("ctl").arg("--config").arg(folder.path("a.toml")).arg("status");
        command.output().unwrap()
    };
    let output = ask();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(folder.path("a.toml"), "prot = 1").unwrap();
    let output = ask();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("a.toml:1:1: prot is not"), "{text}");
}
