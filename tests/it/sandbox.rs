//! The sandbox of the process of a server. A sandbox cannot be undone, so these tests sandbox a thread that ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::outside::{in_own_process, is_root, skip};
use crate::common::raw::{RawClient, read_all};
use poolftpd::ftp::command::Type;
use poolftpd::internal::client::{Client, Options, Progress, UploadStart};
use poolftpd::internal::net::public::look_up;
use poolftpd::internal::net::tls::KeyFiles;
use poolftpd::internal::sandbox::sandbox;
use poolftpd::internal::settings::Config;
use rustix::io::{FdFlags, fcntl_setfd};

struct Silent;

impl Progress for Silent {
    fn progress(&mut self, _: u64, _: Option<u64>) {}
}

#[test]
fn the_file_system_is_closed_but_for_what_is_served() {
    // Confinement applies to the thread, and to those that it starts.
    std::thread::spawn(sandbox_and_look).join().unwrap();
}

fn sandbox_and_look() {
    let folder = tempfile::tempdir().unwrap();
    let [root, home] = ["srv/root", "home/alice"].map(|name| folder.path().join(name));
    for directory in [&root, &home] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other/secret"), "x").unwrap();
    let users = folder.path().join("etc/users");
    fs::create_dir(users.parent().unwrap()).unwrap();
    fs::write(&users, "").unwrap();
    let mut config = Config::new(root.clone());
    config.users = Some(users.clone());
    config.public_name = Some("localhost".to_owned());
    look_up("localhost").unwrap();
    let sandboxed = sandbox(&config, &[root.clone(), home.clone()]).unwrap();
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    assert!(status.is_empty() || status.contains("NoNewPrivs:\t1"), "{status}");
    fs::write(root.join("a"), "x").unwrap();
    fs::write(home.join("a"), "x").unwrap();
    fs::rename(root.join("a"), root.join("b")).unwrap();
    // A root that was replaced is open, too.
    fs::rename(&root, folder.path().join("srv/old")).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "x").unwrap();
    assert!(fs::read(&users).is_ok());
    assert!(look_up("localhost").is_ok());
    if !sandboxed.landlock {
        return skip("in part: this kernel has no Landlock");
    }
    assert!(fs::read(folder.path().join("other/secret")).is_err());
    assert!(fs::read("/etc/passwd").is_err());
    assert!(fs::write(&users, "forged").is_err());
    assert!(Command::new("/bin/true").status().is_err(), "nothing can be executed");
}

#[test]
fn what_is_beside_a_root_for_the_administrator_alone_cannot_be_written() {
    std::thread::spawn(sandbox_and_look_beside).join().unwrap();
}

fn sandbox_and_look_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["srv/root", "homes/alice", "homes/etc", "tls/root", "elsewhere"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    // A file beside a root; one below the directory of a home; and a link beside a root that leads elsewhere.
    for name in ["srv/users", "homes/etc/key.pem", "elsewhere/cert.pem"] {
        fs::write(path(name), "x").unwrap();
    }
    symlink(path("elsewhere/cert.pem"), path("tls/cert.pem")).unwrap();
    let mut config = Config::new(path("srv/root"));
    config.users = Some(path("srv/users"));
    config.tls.keys =
        vec![KeyFiles { certificate: path("tls/cert.pem"), key: path("homes/etc/key.pem") }];
    let places = ["srv/root", "homes/alice", "tls/root"].map(path);
    let sandboxed = sandbox(&config, &places).unwrap();
    for place in &places {
        fs::write(place.join("a"), "x").unwrap();
    }
    for name in ["srv/users", "homes/etc/key.pem", "tls/cert.pem"] {
        assert!(fs::read(path(name)).is_ok(), "{name}");
    }
    if !sandboxed.landlock {
        return skip("in part: this kernel has no Landlock");
    }
    for name in ["srv/users", "homes/etc/key.pem", "tls/cert.pem", "elsewhere/cert.pem"] {
        assert!(fs::write(path(name), "forged").is_err(), "{name}");
        assert!(fs::remove_file(path(name)).is_err(), "{name}");
        let from = places.first().unwrap().join("a");
        assert!(fs::rename(&from, path(name)).is_err(), "{name}");
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Starts a server that becomes the user nobody. Returns its port.
fn start_as_nobody(root: &Path) -> (Running, u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
        .args(["--bind=127.0.0.1", "--port=0", "--write", "--user=nobody", "--root"])
        .arg(root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Running(child), line.trim().rsplit(':').next().unwrap().parse().unwrap())
}

#[test]
fn a_server_that_is_started_as_root_takes_another_identity_for_good() {
    if !is_root() {
        return skip("needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    chown(&root, Some(nobody.uid.as_raw()), None).unwrap();
    let (running, port) = start_as_nobody(&root);
    let own = |what: &str| format!("{what}:\t{0}\t{0}\t{0}\t{0}", nobody.uid.as_raw());
    for task in fs::read_dir(format!("/proc/{}/task", running.0.id())).unwrap() {
        let mut status = String::new();
        let path = task.unwrap().path().join("status");
        fs::File::open(path).unwrap().read_to_string(&mut status).unwrap();
        assert!(status.contains(&own("Uid")), "{status}");
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000000000000"));
    }
    let mut client = Client::connect("127.0.0.1", port, &Options::default()).unwrap();
    client.login("anonymous", "x").unwrap();
    let local = folder.path().join("local");
    fs::write(&local, "text").unwrap();
    client.send(&local, b"a", Type::Image, UploadStart::Beginning, &mut Silent).unwrap();
    assert_eq!(fs::metadata(root.join("a")).unwrap().uid(), nobody.uid.as_raw());
    client.quote("SITE CHMOD 600 a").unwrap();
    assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn perm_facts_are_those_of_the_user_that_the_server_has_become() {
    if !is_root() {
        return skip("needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let bits = |path: &Path, bits| {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    };
    for (name, mode) in [("", 0o777), ("shut", 0o700), ("read", 0o755), ("enter", 0o711)] {
        fs::create_dir(root.join(name)).unwrap();
        bits(&root.join(name), mode);
    }
    for (name, mode) in [("secret", 0o600), ("public", 0o644), ("open", 0o666), ("read/a", 0o666)] {
        fs::write(root.join(name), "x").unwrap();
        bits(&root.join(name), mode);
    }
    bits(folder.path(), 0o755);
    let (_running, port) = start_as_nobody(&root);
    let mut client = RawClient::log_in((Ipv4Addr::LOCALHOST, port).into());
    for (name, perm) in [
        ("/", "celmp"),
        ("secret", "df"),
        ("public", "dfr"),
        ("open", "adfrw"),
        ("shut", "df"),
        ("read", "defl"),
        ("enter", "def"),
        // A file in a directory without write permission stays, even if the file itself may be written.
        ("read/a", "r"),
    ] {
        client.say(&format!("MLST {name}"));
        assert!(client.line().starts_with("250-"));
        let facts = client.line();
        assert!(facts.contains(&format!("perm={perm};")), "{name}: {facts}");
        client.line();
    }
    let data = client.open_data();
    assert!(client.ask("MLSD").starts_with("150 "));
    let listed = String::from_utf8(read_all(data)).unwrap();
    let secret = listed.lines().find(|line| line.ends_with(" secret")).unwrap();
    assert!(secret.contains("perm=df;"), "{listed}");
}

/// Sets an access control list that gives a user these rights, and the group none; the mode shows the rights of both.
fn share_with(path: &Path, user: u32, rights: u16) {
    const NO_ID: u32 = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 6_u16, NO_ID),
        (2, rights, user),
        (4, 0, NO_ID),
        (0x10, 7, NO_ID),
        (0x20, 0, NO_ID),
    ] {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    rustix::fs::setxattr(path, name, &list, rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn perm_facts_follow_access_control_lists() {
    if !is_root() {
        return skip("needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    for (name, rights) in [("drop", 7), ("look", 5), ("shut", 0)] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("a"), "x").unwrap();
        share_with(&root.join(name), nobody, rights);
    }
    for (name, rights) in [("mine", 6), ("read", 4), ("none", 0)] {
        fs::write(root.join(name), "x").unwrap();
        share_with(&root.join(name), nobody, rights);
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let (_running, port) = start_as_nobody(&root);
    let mut client = RawClient::log_in((Ipv4Addr::LOCALHOST, port).into());
    let data = client.open_data();
    assert!(client.ask("MLSD").starts_with("150 "));
    let listed = String::from_utf8(read_all(data)).unwrap();
    client.line();
    for (name, perm) in [
        ("drop", "cdeflmp"),
        ("look", "defl"),
        ("shut", "df"),
        ("mine", "adfrw"),
        ("read", "dfr"),
        ("none", "df"),
    ] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        assert!(line.contains(&format!("perm={perm};")), "{perm}: {line}");
        client.say(&format!("MLST {name}"));
        assert!(client.line().starts_with("250-"));
        let facts = client.line();
        assert!(facts.contains(&format!("perm={perm};")), "{name}: {facts}");
        client.line();
    }
    // What the facts promise is so.
    assert!(client.ask("DELE drop/a").starts_with("250 "));
    assert!(client.ask("DELE look/a").starts_with("550 "));
    assert_eq!(client.retrieve("read"), b"x");
    client.say("MLST look/a");
    client.line();
    let facts = client.line();
    assert!(facts.contains("perm=r;"), "{facts}");
}

#[test]
fn sockets_that_systemd_has_opened_are_taken() {
    // Children of other tests must not inherit the socket, and a shell duplicates descriptors below ten only.
    if !in_own_process() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {} --root {} 3<&{}",
        env!("CARGO_BIN_EXE_ftpserver"),
        folder.path().display(),
        listener.as_raw_fd()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _running = Running(child);
    let address = listener.local_addr().unwrap();
    assert_eq!(line, format!("listening on {address}\n"));
    let mut client = Client::connect("127.0.0.1", address.port(), &Options::default()).unwrap();
    client.login("anonymous", "x").unwrap();
}
