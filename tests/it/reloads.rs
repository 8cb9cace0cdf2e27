//! A reload takes everything or nothing: settings, listeners, users and certificates.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use poolftpd::internal::log::Level;
use poolftpd::internal::net::tls::KeyFiles;
use poolftpd::internal::settings::{Config, Listen};
use poolftpd::internal::storage::users::Users;

use crate::common::outside::{is_root, skip};
use crate::common::raw::RawClient;
use crate::common::secure::{SecureClient, certificate};
use crate::common::{TestServer, ctl, until};

/// A server with a users file and a certificate, whose settings change at a reload.
struct Scene {
    folder: tempfile::TempDir,
    files: KeyFiles,
    server: TestServer,
    /// The listener that the new settings add.
    second: SocketAddr,
}

/// Users whose passwords are their names, by the hash of a password that is quick to check.
fn users(names: &[&str]) -> String {
    let line = |name: &&str| {
        let entries = [format!("{name}:{name}")];
        let Users(users) = Users::of_entries(entries.iter()).unwrap();
        format!("{name} {}\n", users[name.as_bytes()].hash)
    };
    names.iter().map(line).collect()
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users"), users(&["alice"])).unwrap();
        let files = certificate(folder.path(), "localhost");
        // Free for the moment: nothing else binds this port at 127.0.0.4.
        let free = TcpListener::bind("127.0.0.4:0").unwrap();
        let second = free.local_addr().unwrap();
        drop(free);
        let (path, keys) = (folder.path().join("users"), vec![files.clone()]);
        let server = TestServer::start(|config| {
            config.level = Level::Normal;
            config.users = Some(path);
            config.tls.keys = keys;
        });
        server.server.as_ref().unwrap().read_settings_from(Box::new(move |now| {
            let first = Listen { address: now.bind, port: now.port, tls: false };
            let listen = Listen { address: Some(second.ip()), port: second.port(), tls: false };
            let mut new = Config { listen: vec![first, listen], ..now.clone() };
            new.limits.clients_max = 3;
            Ok(new)
        }));
        Self { folder, files, server, second }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn reload(&self) {
        self.server.server.as_ref().unwrap().reload();
    }

    /// Returns the certificate that clients get.
    fn served(&self) -> Vec<u8> {
        let mut client = SecureClient::connect(self.server.address());
        assert!(client.ask("NOOP").starts_with("200 "));
        client.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    fn logs_in(&self, name: &str) -> bool {
        RawClient::greeted(self.server.address()).try_log_in(name, name).starts_with("230 ")
    }

    /// Writes the files of another certificate in the place of those that are served.
    fn renew(&self) {
        let other = self.path("other");
        fs::create_dir_all(&other).unwrap();
        let new = certificate(&other, "localhost");
        fs::rename(new.certificate, &self.files.certificate).unwrap();
        fs::rename(new.key, &self.files.key).unwrap();
    }
}

fn is_named(scene: &Scene, path: &Path, what: &str) {
    scene.server.log.expect(&["event=not-reloaded", path.to_str().unwrap(), what]);
}

#[test]
fn one_wrong_file_changes_nothing_and_is_named_with_its_line() {
    let scene = Scene::new();
    let before = scene.served();
    let unchanged = |scene: &Scene| {
        assert_eq!(scene.served(), before, "the certificate");
        assert!(!scene.logs_in("bob") && scene.logs_in("alice"), "the users");
        assert!(TcpStream::connect(scene.second).is_err(), "the listeners");
        let running = scene.server.server.as_ref().unwrap();
        let _clients = [(); 4].map(|()| RawClient::greeted(scene.server.address()));
        assert!(!running.is_full(), "the limits");
        assert!(!scene.server.log.text().contains("event=reloaded"));
    };
    // All is new and right, but the key.
    scene.renew();
    fs::write(scene.path("users"), users(&["alice", "bob"])).unwrap();
    let key = fs::read(&scene.files.key).unwrap();
    fs::write(&scene.files.key, "nonsense").unwrap();
    scene.reload();
    is_named(&scene, &scene.files.key, "no private key found");
    unchanged(&scene);
    // All is new and right, but a line of the users file.
    fs::write(&scene.files.key, key).unwrap();
    let right = users(&["alice", "bob"]);
    fs::write(scene.path("users"), format!("{right}carol\n")).unwrap();
    scene.reload();
    is_named(&scene, &scene.path("users"), "line 3");
    unchanged(&scene);
    fs::write(scene.path("users"), right).unwrap();
    scene.reload();
    scene.server.log.expect(&["event=reloaded", "users=2", "certificates=1", "max-clients"]);
    assert_ne!(scene.served(), before);
    assert!(scene.logs_in("bob"));
    RawClient::greeted(scene.second);
}

#[test]
fn every_mistake_of_a_reload_is_logged() {
    let scene = Scene::new();
    fs::write(scene.path("users"), "carol\n").unwrap();
    fs::write(&scene.files.certificate, "").unwrap();
    scene.reload();
    is_named(&scene, &scene.path("users"), "line 1");
    is_named(&scene, &scene.files.certificate, "no certificate found");
}

#[test]
fn users_of_a_wrong_reload_keep_the_groups_that_they_had() {
    use poolftpd::internal::storage::Group;
    use poolftpd::internal::storage::users::UserSettings;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let line = |group: &str| users(&["alice"]).replace('\n', &format!(" group={group}\n"));
    fs::write(&path, line("staff")).unwrap();
    let group = |home: PathBuf| {
        let settings = UserSettings { home: Some(home), ..UserSettings::default() };
        vec![Group { name: "staff".to_owned(), settings }]
    };
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join(name), "").unwrap();
    }
    let (one, two) = (group(folder.path().join("one")), group(folder.path().join("two")));
    let server = TestServer::start(|config| {
        config.level = Level::Normal;
        config.users = Some(path.clone());
        config.groups = one;
    });
    let is_second = Arc::new(AtomicBool::new(false));
    let (reads, groups) = (Arc::clone(&is_second), Mutex::new(two));
    server.server.as_ref().unwrap().read_settings_from(Box::new(move |now| {
        reads.store(true, Ordering::Release);
        Ok(Config { groups: groups.lock().unwrap().clone(), ..now.clone() })
    }));
    let has = |name: &str| {
        let mut client = RawClient::log_in_as(server.address(), "alice", "alice");
        client.ask(&format!("SIZE {name}")).starts_with("213 ")
    };
    fs::write(&path, format!("{}wrong\n", line("staff"))).unwrap();
    server.server.as_ref().unwrap().reload();
    assert!(is_second.load(Ordering::Acquire) && has("one"));
    fs::write(&path, line("staff")).unwrap();
    server.server.as_ref().unwrap().reload();
    assert!(has("two"));
}

/// The names of the directories and links of certbot.
const LIVE: &str = "letsencrypt/live/localhost";
const ARCHIVE: &str = "letsencrypt/archive/localhost";

/// Puts a new certificate with this number in the place of the earlier one, as certbot does, with a key for root alone.
fn renew_as_certbot(folder: &Path, number: u32) {
    for name in [LIVE, ARCHIVE] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let made = certificate(&folder.join(ARCHIVE), &format!("localhost{number}"));
    for (file, name) in [(made.certificate, "fullchain"), (made.key, "privkey")] {
        let archived = folder.join(ARCHIVE).join(format!("{name}{number}.pem"));
        fs::rename(file, &archived).unwrap();
        fs::set_permissions(&archived, fs::Permissions::from_mode(0o600)).unwrap();
        let link = folder.join(LIVE).join(format!("{name}.new"));
        symlink(format!("../../archive/localhost/{name}{number}.pem"), &link).unwrap();
        fs::rename(link, folder.join(LIVE).join(format!("{name}.pem"))).unwrap();
    }
}

/// A server of root that becomes the user nobody.
struct Nobody {
    child: Child,
    address: SocketAddr,
}

impl Nobody {
    fn start(folder: &Path, certificate: &Path, key: &Path) -> Self {
        fs::create_dir_all(folder.join("root")).unwrap();
        fs::create_dir_all(folder.join("log")).unwrap();
        fs::set_permissions(folder.join("log"), fs::Permissions::from_mode(0o777)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(["--bind=127.0.0.1", "--port=0", "--user=nobody", "--root"])
            .arg(folder.join("root"))
            .arg("--log-file")
            .arg(folder.join("log/server"))
            .arg("--tls-cert")
            .arg(certificate)
            .arg("--tls-key")
            .arg(key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().parse();
        Self { child, address: address.unwrap_or_else(|_| panic!("{line}")) }
    }

    fn reload(&self) -> (bool, String) {
        let port = self.address.port().to_string();
        let done = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(["ctl", "--port", &port, "reload"])
            .output()
            .unwrap();
        (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    }

    fn served(&self) -> Vec<u8> {
        let mut client = SecureClient::connect(self.address);
        assert!(client.ask("NOOP").starts_with("200 "));
        client.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

#[test]
fn a_renewed_key_that_only_root_can_read_is_served_after_a_reload() {
    if !is_root() {
        return skip("needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    renew_as_certbot(folder.path(), 1);
    // As certbot has it: nobody but root can enter.
    let archive = folder.path().join("letsencrypt/archive");
    fs::set_permissions(archive, fs::Permissions::from_mode(0o700)).unwrap();
    let live = folder.path().join(LIVE);
    let running =
        Nobody::start(folder.path(), &live.join("fullchain.pem"), &live.join("privkey.pem"));
    let mut served = running.served();
    for number in 2..4 {
        renew_as_certbot(folder.path(), number);
        let (good, text) = running.reload();
        assert!(good, "{text}");
        let new = running.served();
        assert_ne!(new, served);
        served = new;
    }
    // Half of a renewal changes nothing.
    fs::remove_file(live.join("privkey.pem")).unwrap();
    let (good, text) = running.reload();
    assert!(!good && text.contains("privkey.pem"), "{text}");
    assert_eq!(running.served(), served);
}

#[test]
fn a_link_of_the_user_of_the_server_leads_to_no_file_of_root() {
    if !is_root() {
        return skip("needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (own, secret) = (folder.path().join("own"), folder.path().join("secret"));
    for place in [&own, &secret] {
        fs::create_dir(place).unwrap();
    }
    let files = certificate(&own, "localhost");
    let other = certificate(&secret, "localhost");
    for file in [&other.certificate, &other.key] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    chown(&own, Some(65534), None).unwrap();
    let running = Nobody::start(folder.path(), &files.certificate, &files.key);
    let served = running.served();
    for (link, target) in [(&files.certificate, &other.certificate), (&files.key, &other.key)] {
        fs::remove_file(link).unwrap();
        symlink(target, link).unwrap();
    }
    let (good, text) = running.reload();
    assert!(!good && text.contains("others than root can change"), "{text}");
    assert_eq!(running.served(), served);
}

#[test]
fn a_reload_that_hangs_holds_no_other_command_and_is_answered_in_time() {
    let scene = Scene::new();
    let (path, address) = (scene.files.key.clone(), scene.server.address());
    let key = fs::read(&path).unwrap();
    fs::write(scene.path("users"), users(&["alice", "bob"])).unwrap();
    // Nobody writes: whoever opens this file for reading waits, as behind a file system that hangs.
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let first = std::thread::spawn(move || ctl(address, &["reload"]));
    // One reload waits, whichever comes first; the other is refused at once.
    let second = ctl(address, &["reload"]);
    let (refused, waiting) = if second.1.contains("under way") {
        (second, first.join().unwrap())
    } else {
        (first.join().unwrap(), second)
    };
    assert!(!refused.0 && refused.1.contains("another reload is under way"), "{}", refused.1);
    assert!(!waiting.0 && waiting.1.contains("a file does not respond"), "{}", waiting.1);
    for words in [&["status"][..], &["who"], &["certificates"], &["ban", "192.0.2.7"], &["quota"]] {
        let (good, text) = ctl(address, words);
        assert!(good, "{words:?}: {text}");
    }
    assert!(ctl(address, &["reload"]).1.contains("another reload is under way"));
    // The file responds: the reload ends, and is logged, and the next one is let in.
    let pipe = path.clone();
    let writer = std::thread::spawn(move || fs::write(pipe, key));
    scene.server.log.expect(&["event=reloaded", "users=2"]);
    writer.join().unwrap().unwrap();
    assert!(scene.logs_in("bob"));
    scene.renew();
    until("the next reload is let in", || ctl(address, &["reload"]).0);
}
