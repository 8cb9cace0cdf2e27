//! The server as a service: what it reports to the service manager, and the Debian package.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::outside::{find, is_root, skip};
use crate::common::raw::RawClient;
use crate::common::{PATIENCE, noise};
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

/// Builds the Debian package of the programs under test. Returns `None`, and reports a skip, where it cannot be built.
fn built(folder: &Path) -> Option<PathBuf> {
    if !is_root() {
        skip("only root can install packages");
        return None;
    }
    for program in ["dpkg-deb", "dpkg", "strip", "systemd-sysusers", "systemd-tmpfiles"] {
        if find(program).is_none() {
            skip(&format!("{program} is not installed"));
            return None;
        }
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_ftpserver")).parent().unwrap();
    let done = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "package", "deb", "--programs"])
        .arg(programs)
        .arg("--out")
        .arg(folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Nothing is sent over a network, so a fast build is worth more than a small file.
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(PathBuf::from(String::from_utf8(done.stdout).unwrap().trim()))
}

/// A directory that dpkg takes for the root of a system.
struct System(TempDir);

impl System {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "srv", "var/log"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dpkg(&self, words: &[&str]) {
        let done = Command::new("dpkg")
            .arg(format!("--root={}", self.0.path().display()))
            .args(["--force-script-chrootless", "--force-depends", "--log=/dev/null"])
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "dpkg {words:?}: {text}");
    }
}

#[test]
fn the_debian_package_is_installed_in_a_clean_root_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = built(folder.path()) else { return };
    let system = System::new();
    system.dpkg(&["--install", package.to_str().unwrap()]);
    for name in [
        "usr/bin/ftpserver",
        "usr/bin/ftpclient",
        "usr/bin/ftppasswd",
        "usr/share/man/man8/ftpserver.8.gz",
        "usr/share/man/man5/poolftpd-users.5.gz",
        "usr/share/doc/poolftpd/copyright",
        "usr/share/doc/poolftpd/administration.md",
        "usr/lib/systemd/system/poolftpd.service",
        "usr/lib/systemd/system/poolftpd.socket",
        "usr/lib/sysctl.d/50-poolftpd.conf",
        "etc/poolftpd/poolftpd.toml",
        "etc/logrotate.d/poolftpd",
        "etc/fail2ban/filter.d/poolftpd.conf",
    ] {
        assert!(system.path(name).is_file(), "{name} is not installed");
    }
    assert_eq!(system.path("usr/bin/ftpserver").metadata().unwrap().mode() & 0o7777, 0o755);
    let passwd = fs::read_to_string(system.path("etc/passwd")).unwrap();
    assert!(passwd.contains("poolftpd:"), "{passwd}");
    let group = fs::read_to_string(system.path("etc/group")).unwrap();
    let admins = group.lines().find(|line| line.starts_with("poolftpd-admin:")).unwrap();
    assert!(admins.ends_with(":poolftpd"), "the server may give the socket to the group: {group}");
    let users = system.path("etc/poolftpd/users").metadata().unwrap();
    assert_eq!(users.mode() & 0o777, 0o640, "root writes the users file, the server reads it");
    let served = system.path("srv/ftp").metadata().unwrap();
    assert!(served.uid() != 0, "the server owns the directory that it serves");
    verify_units(&system);
    check_configuration(&system);

    let settings = system.path("etc/poolftpd/poolftpd.toml");
    let own = fs::read_to_string(&settings).unwrap() + "max-clients = 7\n";
    fs::write(&settings, &own).unwrap();
    let newer = newer(&package, folder.path());
    system.dpkg(&["--force-confold", "--install", newer.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&settings).unwrap(), own, "an update keeps own settings");
    let offered = fs::read_to_string(system.path("etc/poolftpd/poolftpd.toml.dpkg-dist")).unwrap();
    assert!(offered.contains("# New in this version."), "the new file is beside it");
    fs::write(system.path("srv/ftp/report"), noise(100)).unwrap();
    system.dpkg(&["--remove", "poolftpd"]);
    assert!(!system.path("usr/bin/ftpserver").exists());
    assert!(system.path("etc/poolftpd/poolftpd.toml").exists(), "a removal keeps the settings");
    system.dpkg(&["--purge", "poolftpd"]);
    assert!(!system.path("etc/poolftpd").exists(), "a purge removes the settings");
    assert!(system.path("srv/ftp/report").exists(), "served files stay");
}

/// Makes a package of a later version, with another configuration file.
fn newer(package: &Path, folder: &Path) -> PathBuf {
    let unpacked = folder.join("newer");
    let run = |words: &[&str]| {
        assert!(
            Command::new("dpkg-deb").args(words).output().unwrap().status.success(),
            "{words:?}"
        );
    };
    run(&["--raw-extract", package.to_str().unwrap(), unpacked.to_str().unwrap()]);
    let change = |name: &str, change: &dyn Fn(String) -> String| {
        let path = unpacked.join(name);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    };
    change("DEBIAN/control", &|text| text.replace("Version: 0", "Version: 9"));
    change("etc/poolftpd/poolftpd.toml", &|text| text + "# New in this version.\n");
    let newer = folder.join("newer.deb");
    run(&["--build", "--root-owner-group", unpacked.to_str().unwrap(), newer.to_str().unwrap()]);
    newer
}

/// Checks the units as systemd does.
fn verify_units(system: &System) {
    if find("systemd-analyze").is_none() {
        return skip("in part: systemd-analyze is not installed");
    }
    // What ours name: the units of systemd itself, and a shell.
    fs::create_dir_all(system.path("bin")).unwrap();
    fs::copy("/bin/sh", system.path("bin/sh")).unwrap();
    let copied = Command::new("cp")
        .args(["-an", "/usr/lib/systemd/system/."])
        .arg(system.path("usr/lib/systemd/system"))
        .status();
    assert!(copied.unwrap().success());
    for unit in ["poolftpd.service", "poolftpd.socket", "ftpauth-pam.socket", "ftpauth-ldap.socket"]
    {
        let done = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(format!("--root={}", system.0.path().display()))
            .arg(unit)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        let ours: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("poolftpd") || line.contains("ftpauth"))
            .collect();
        assert!(ours.is_empty(), "{unit}: {text}");
    }
}

/// Checks the configuration file of the package with the paths of the system below it.
fn check_configuration(system: &System) {
    let file = system.path("etc/poolftpd/poolftpd.toml");
    let root = format!("\"{}/", system.0.path().display());
    fs::create_dir_all(system.path("var/lib/poolftpd")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let moved = system.path("poolftpd.toml");
    // The group exists in the system only.
    let text = text.replace("\"/", &root).replace("poolftpd-admin\"", "root\"");
    fs::write(&moved, text).unwrap();
    let done = Command::new(system.path("usr/bin/ftpserver"))
        .args(["check", "--config"])
        .arg(&moved)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "ok\n");
}
