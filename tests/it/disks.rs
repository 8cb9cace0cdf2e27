//! Power cuts, and file systems without some features: changes that a reply confirmed survive, and uploads work.
//!
//! A power cut is simulated by a copy of a mounted disk image: data that was not written to the disk is not in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::outside::{find, is_root, skip};
use crate::common::raw::RawClient;
use crate::common::{TestServer, ctl, noise, until};
use poolftpd::internal::log::Level;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// A kind of file system: its name, the size of a disk in MiB, and options of mount for a copy of it.
type Kind = (&'static str, u32, &'static str);

const KINDS: [Kind; 2] = [("ext4", 64, "loop"), ("xfs", 320, "loop,nouuid")];

/// A mounted disk image.
struct Disk {
    kind: Kind,
    folder: TempDir,
}

impl Disk {
    /// Creates and mounts a disk; returns `None` where that is not possible.
    fn new(kind: Kind) -> Option<Self> {
        let (name, megabytes, _) = kind;
        let program = find(&format!("mkfs.{name}"))?;
        if !is_root() {
            return None;
        }
        let disk = Self { kind, folder: tempfile::tempdir().unwrap() };
        let size = u64::from(megabytes) << 20;
        fs::File::create(disk.image()).unwrap().set_len(size).unwrap();
        let made = Command::new(program).arg("-q").arg(disk.image()).status().unwrap();
        assert!(made.success());
        disk.mount().then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn mount(&self) -> bool {
        fs::create_dir(self.root()).unwrap();
        let mut command = Command::new("mount");
        command.args(["-o", self.kind.2]).arg(self.image()).arg(self.root());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Returns the disk as a power cut now would leave it.
    fn cut_power(&self) -> Self {
        let copy = Self { kind: self.kind, folder: tempfile::tempdir().unwrap() };
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=never"])
            .args([self.image(), copy.image()])
            .status();
        assert!(copied.unwrap().success() && copy.mount());
        copy
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Mounted(&self.root()));
    }
}

/// A mount that is unmounted when this value is dropped.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Only a server that is still ending can keep it busy.
        let _unmounted =
            Command::new("umount").arg("-l").arg(self.0).stderr(Stdio::null()).status();
    }
}

/// Starts a server of a directory that anonymous may write.
pub(crate) fn serve(root: &Path) -> TestServer {
    let root = root.to_owned();
    TestServer::start(|config| (config.write, config.root) = (true, root))
}

/// A command, or several lines, and a condition on the tree after a power cut that follows the reply.
pub(crate) type Change = (&'static [&'static str], fn(&Path) -> bool);

pub(crate) const CHANGES: &[Change] = &[
    (&["MKD made"], |root| root.join("made").is_dir()),
    (&["RNFR x.tmp", "RNTO x.dat"], |root| {
        !root.join("x.tmp").exists() && fs::read(root.join("x.dat")).unwrap() == b"content"
    }),
    (&["RNFR x.dat", "RNTO made/x.dat"], |root| {
        !root.join("x.dat").exists() && root.join("made/x.dat").exists()
    }),
    (&["MFMT 20200102030405 made/x.dat"], |root| {
        let time = fs::metadata(root.join("made/x.dat")).unwrap().modified().unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() == 1_577_934_245
    }),
    (&["SITE CHMOD 600 made/x.dat"], |root| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(root.join("made/x.dat")).unwrap().permissions().mode() & 0o777 == 0o600
    }),
    (&["DELE made/x.dat"], |root| !root.join("made/x.dat").exists()),
    (&["RMD made"], |root| !root.join("made").exists()),
];

#[test]
fn what_a_reply_confirmed_is_there_after_a_power_cut() {
    for kind in KINDS {
        let Some(disk) = Disk::new(kind) else {
            skip(&format!("in part: {} cannot be made or mounted here (needs root)", kind.0));
            continue;
        };
        let server = serve(&disk.root());
        let mut client = RawClient::log_in(server.address());
        client.store("x.tmp", b"content");
        assert_eq!(fs::read(disk.cut_power().root().join("x.tmp")).unwrap(), b"content");
        for (lines, is_so) in CHANGES {
            for line in *lines {
                let reply = client.ask(line);
                assert!(reply.starts_with('2') || reply.starts_with('3'), "{line}: {reply}");
            }
            assert!(is_so(&disk.cut_power().root()), "{}: {lines:?} is gone", kind.0);
        }
        drop((client, server));
    }
}

#[test]
fn an_upload_is_resumed_after_a_power_cut_behind_what_reached_the_disk() {
    let content = noise(6_000_000);
    for kind in KINDS {
        let Some(disk) = Disk::new(kind) else {
            skip(&format!("in part: {} cannot be made or mounted here (needs root)", kind.0));
            continue;
        };
        let server = serve(&disk.root());
        let mut client = RawClient::log_in(server.address());
        let mut data = client.open_data();
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(&content[..2_000_000]).unwrap();
        let is_recorded = || {
            let names = fs::read_dir(disk.root()).unwrap();
            names.flatten().any(|entry| {
                let name = entry.file_name().into_string().unwrap();
                name.contains("kept") && entry.metadata().is_ok_and(|found| found.len() > 0)
            })
        };
        until("nothing is flushed", is_recorded);
        data.write_all(&content[2_000_000..4_000_000]).unwrap();
        until("it does not arrive", || client.ask("STAT").contains(" 4000000 bytes "));
        let copy = disk.cut_power();
        let after = serve(&copy.root());
        let mut client = RawClient::log_in(after.address());
        let size = client.ask("SIZE a");
        // The record may not have reached the disk yet.
        let kept: usize = size.strip_prefix("213 ").map_or(0, |size| size.parse().unwrap());
        assert!(kept <= 4_000_000, "{size}");
        let mut data = client.open_data();
        assert!(client.ask(&format!("REST {kept}")).starts_with("350 "));
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(&content[kept..]).unwrap();
        drop(data);
        assert_eq!(client.reply(), "226 Transfer complete.");
        assert!(fs::read(copy.root().join("a")).unwrap() == content, "{}: {size}", kind.0);
        drop((client, after, server));
    }
}

#[test]
fn an_append_that_does_not_fit_leaves_the_file_as_it_was() {
    let Some(disk) = Disk::new(KINDS[0]) else {
        return skip("ext4 cannot be made or mounted here (needs root)");
    };
    let server = serve(&disk.root());
    let (old, new) = (noise(30_000_000), noise(15_000_000));
    let mut client = RawClient::log_in(server.address());
    client.store("a", &old);
    for line in ["NOOP", "REST 20000000"] {
        let mut data = client.open_data();
        client.ask(line);
        let verb = if line == "NOOP" { "APPE a" } else { "STOR a" };
        assert!(client.ask(verb).starts_with("150 "));
        // There is room for the new bytes, but not for the copy that the upload needs.
        let _sent = data.write_all(if line == "NOOP" { &new } else { &old });
        drop(data);
        let reply = client.reply();
        assert!(reply.starts_with("452 "), "{line}: {reply}");
        assert!(fs::read(disk.root().join("a")).unwrap() == old, "{line}");
    }
    client.store("b", b"others are served");
    drop((client, server));
}

/// A program that is killed when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Kills the server, too: it outlives a tracer that is killed.
        let _killed = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _waited = self.0.wait();
    }
}

/// Starts a server whose system calls of these names fail with this error.
fn serve_with_faults(root: &Path, calls: &str, error: &str) -> (Running, SocketAddr) {
    serve_traced(root, calls, &[&format!("inject={calls}:error={error}")])
}

/// Starts a server under strace, with these faults in system calls of these names.
fn serve_traced(root: &Path, calls: &str, faults: &[&str]) -> (Running, SocketAddr) {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(faults.iter().flat_map(|fault| ["-e", fault]));
    let server = ftpserver(root);
    serve_with(command.arg(server.get_program()).args(server.get_args()))
}

/// Returns the command of a server of a directory that anonymous may write.
fn ftpserver(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpserver"));
    command.args(["--bind=127.0.0.1", "--port=0", "--write", "--workers=2", "-q", "--root"]);
    command.arg(root);
    command
}

/// Runs a server, and returns its address.
fn serve_with(command: &mut Command) -> (Running, SocketAddr) {
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Running(child), line.trim().rsplit(' ').next().unwrap().parse().unwrap())
}

/// Stores, overwrites, resumes, appends and deletes; asserts that no files are left.
fn tour(address: SocketAddr, root: &Path) {
    let content = noise(300_000);
    let mut client = RawClient::log_in(address);
    for part in [100_000, 300_000, 200_000] {
        client.store("a", &content[..part]);
        assert!(fs::read(root.join("a")).unwrap() == content[..part]);
    }
    client.cut_off("b", &content[..100_000]);
    let size = client.ask("SIZE b");
    assert_eq!(size, "213 100000");
    for (line, from, to) in [("REST 100000", 100_000, 250_000), ("NOOP", 250_000, 300_000)] {
        let mut data = client.open_data();
        client.ask(line);
        let verb = if line == "NOOP" { "APPE b" } else { "STOR b" };
        assert!(client.ask(verb).starts_with("150 "));
        data.write_all(&content[from..to]).unwrap();
        drop(data);
        assert_eq!(client.reply(), "226 Transfer complete.");
    }
    assert!(fs::read(root.join("b")).unwrap() == content);
    client.cut_off("a", b"interrupted");
    for name in ["a", "b"] {
        assert!(client.ask(&format!("DELE {name}")).starts_with("250 "));
    }
    let left: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn uploads_work_where_locks_modes_and_owners_do_not() {
    if find("strace").is_none() {
        return skip("strace is not installed");
    }
    for (calls, error) in [
        ("flock", "ENOLCK"),
        ("flock", "ENOSYS"),
        ("flock", "EOPNOTSUPP"),
        ("fchmod", "EPERM"),
        ("fchmod", "ENOSYS"),
        ("fchmod,fchown", "EACCES"),
        ("fchmod,fchown", "EOPNOTSUPP"),
        ("fchmod,fchown", "ENOENT"),
        ("renameat2", "EINVAL"),
        ("copy_file_range", "EXDEV"),
    ] {
        eprintln!("{calls}: {error}");
        let folder = tempfile::tempdir().unwrap();
        let (_server, address) = serve_with_faults(folder.path(), calls, error);
        tour(address, folder.path());
    }
}

#[test]
fn uploads_work_on_a_mount_that_belongs_to_somebody_else() {
    let (Some(bindfs), true) = (find("bindfs"), is_root()) else {
        return skip("needs bindfs and root");
    };
    let (source, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mounted = Command::new(bindfs)
        .args(["--force-user=root", "-p", "0777", "--chmod-deny", "--chown-deny"])
        .args([source.path(), mount.path()])
        .status();
    if !mounted.unwrap().success() {
        return skip("bindfs cannot mount here");
    }
    let mounted = Mounted(mount.path());
    let server = serve(mounted.0);
    tour(server.address(), mounted.0);
}

/// File systems that other systems made, as on USB disks: the programs that make and mount an image.
const FOREIGN: [(&[&str], &[&str]); 3] = [
    (&["mkfs.ntfs", "-F", "-Q"], &["ntfs-3g", "-o", "umask=000,default_permissions"]),
    (&["mkfs.vfat"], &["mount", "-o", "loop,umask=000"]),
    (&["mkfs.exfat"], &["mount", "-o", "loop,umask=000"]),
];

#[test]
fn uploads_work_on_file_systems_of_other_systems() {
    for (make, mount) in FOREIGN {
        let name = make[0];
        let (Some(program), Some(mount_program), true) = (find(name), find(mount[0]), is_root())
        else {
            skip(&format!("in part: needs {name}, {} and root", mount[0]));
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        fs::create_dir(&root).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let run = |program: &Path, rest: &[&str], places: &[&Path]| {
            let mut command = Command::new(program);
            command.args(rest).args(places).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        assert!(run(&program, &make[1..], &[&image]));
        if !run(&mount_program, &mount[1..], &[&image, &root]) {
            skip(&format!("in part: this system cannot mount what {name} makes"));
            continue;
        }
        let mounted = Mounted(&root);
        let (_server, address) = serve_with(ftpserver(mounted.0).args(["--user", "nobody"]));
        tour(address, mounted.0);
    }
}

/// A file system on which no write completes until this value is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(root: &Path) -> Option<Self> {
        let frozen = Command::new("fsfreeze").arg("-f").arg(root).stderr(Stdio::null()).status();
        frozen.is_ok_and(|status| status.success()).then(|| Self(root.to_owned()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _thawed = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
    }
}

/// More sessions than there are workers.
const HUNG: usize = 20;

/// Uses a healthy disk meanwhile: commands, a login, a listing, a download and an upload.
fn use_another_disk(server: &TestServer, number: usize) {
    let mut client = RawClient::log_in(server.address());
    for _ in 0..20 {
        assert!(client.ask("NOOP").starts_with("200 "));
    }
    assert!(client.ask("CWD /good").starts_with("250 "));
    client.store("listed", b"");
    let data = client.open_data();
    assert!(client.ask("LIST").starts_with("150 "));
    assert!(!crate::common::raw::read_all(data).is_empty());
    assert!(client.reply().starts_with("226 "));
    client.store(&format!("good-{number}"), &noise(200_000));
    assert!(client.retrieve(&format!("good-{number}")) == noise(200_000));
    assert!(client.ask(&format!("DELE good-{number}")).starts_with("250 "));
}

/// A server of a directory in which `bad` is on a disk of its own.
struct TwoDisks {
    server: TestServer,
    bad: PathBuf,
}

impl TwoDisks {
    fn start(folder: &Path, stall: Option<u64>) -> Self {
        let root = folder.to_owned();
        let server = TestServer::start(|config| {
            (config.write, config.root) = (true, root);
            config.workers = std::num::NonZeroUsize::new(4).unwrap();
            if let Some(seconds) = stall {
                config.limits.stall_timeout = std::time::Duration::from_secs(seconds);
            }
        });
        Self { server, bad: folder.join("bad") }
    }

    /// Blocks sessions on a frozen disk: some create directories, others have sent all data of their uploads.
    fn hang(&self, disk: &Disk) -> Option<(Frozen, Vec<RawClient>)> {
        let log_in = || RawClient::log_in(self.server.address());
        let mut makers: Vec<RawClient> = (0..HUNG).map(|_| log_in()).collect();
        let uploads: Vec<_> = (0..HUNG)
            .map(|number| {
                let mut client = log_in();
                let data = client.open_data();
                assert!(client.ask(&format!("STOR /bad/up-{number}")).starts_with("150 "));
                (client, data)
            })
            .collect();
        let frozen = Frozen::freeze(&disk.root())?;
        for (number, client) in makers.iter_mut().enumerate() {
            if number % 2 == 0 {
                assert!(client.ask("CWD /bad").starts_with("250 "));
                client.say(&format!("MKD made-{number}"));
            } else {
                client.say(&format!("MKD /bad/made-{number}"));
            }
        }
        for (client, mut data) in uploads {
            data.write_all(b"content").unwrap();
            makers.push(client);
        }
        Some((frozen, makers))
    }
}

#[test]
fn a_disk_that_hangs_stops_only_those_who_use_it() {
    let Some(disk) = Disk::new(KINDS[0]) else {
        return skip("ext4 cannot be made or mounted here (needs root)");
    };
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::create_dir(folder.path().join("good")).unwrap();
    let bound = Command::new("mount").arg("--bind").args([&disk.root(), &bad]).status();
    assert!(bound.unwrap().success());
    let _mounted = Mounted(&bad);
    for stall in [None, Some(1)] {
        let scene = TwoDisks::start(folder.path(), stall);
        let Some((frozen, mut hung)) = scene.hang(&disk) else {
            return skip("fsfreeze does not work here");
        };
        for number in 0..5 {
            use_another_disk(&scene.server, number);
        }
        let expected = if stall.is_none() {
            drop(frozen);
            ["257 ", "226 "]
        } else {
            ["451 ", "451 "]
        };
        for (number, client) in hung.iter_mut().enumerate() {
            let reply = client.reply();
            assert!(reply.starts_with(expected[number / HUNG]), "{number}: {reply}");
        }
        for client in &mut hung {
            assert!(client.ask("NOOP").starts_with("200 "), "it continues");
        }
        if stall.is_none() {
            for number in 0..HUNG {
                fs::remove_dir(scene.bad.join(format!("made-{number}"))).unwrap();
            }
        }
    }
}

/// A file system in user space that does not respond until this value is dropped.
struct Stopped<'a>(&'a Child);

impl<'a> Stopped<'a> {
    fn stop(child: &'a Child) -> Self {
        kill_process(Pid::from_child(child), Signal::STOP).unwrap();
        Self(child)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _continued = kill_process(Pid::from_child(self.0), Signal::CONT);
    }
}

/// Commands that need a response of the file system, and their replies once it comes.
const QUESTIONS: [(&str, &str); 8] = [
    ("SIZE /bad/file", "213 "),
    ("CWD /bad/directory", "250 "),
    ("RETR /bad/file", "150 "),
    ("LIST /bad", "150 "),
    ("MLST /bad/file", "250 "),
    ("STOR /bad/new", "150 "),
    ("HASH /bad/file", "213 "),
    ("DELE /bad/none", "550 "),
];

#[test]
fn a_file_system_that_answers_nothing_stops_only_those_who_ask_it() {
    let (Some(bindfs), true) = (find("bindfs"), is_root()) else {
        return skip("needs bindfs and root");
    };
    let (source, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bad = folder.path().join("bad");
    for directory in [&bad, &folder.path().join("good"), &source.path().join("directory")] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(source.path().join("file"), noise(1000)).unwrap();
    let mut command = Command::new(bindfs);
    // Nothing is cached, so every request reaches the file system.
    command.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]).args([source.path(), &bad]);
    let running = Running(command.process_group(0).spawn().unwrap());
    let _mounted = Mounted(&bad);
    until("bindfs does not mount", || bad.join("file").exists());
    for stall in [None, Some(1)] {
        let scene = TwoDisks::start(folder.path(), stall);
        let mut asking: Vec<(RawClient, Option<std::net::TcpStream>)> = (0..HUNG)
            .map(|_| {
                let mut client = RawClient::log_in(scene.server.address());
                let data = client.open_data();
                (client, Some(data))
            })
            .collect();
        let stopped = Stopped::stop(&running.0);
        for (number, (client, _)) in asking.iter_mut().enumerate() {
            client.say(QUESTIONS[number % QUESTIONS.len()].0);
        }
        for number in 0..5 {
            use_another_disk(&scene.server, number);
        }
        let stopped = if stall.is_none() {
            drop(stopped);
            None
        } else {
            Some(stopped)
        };
        for (number, (client, data)) in asking.iter_mut().enumerate() {
            let (line, expected) = QUESTIONS[number % QUESTIONS.len()];
            let expected = if stall.is_none() { expected } else { "451 " };
            let reply = client.reply();
            assert!(reply.starts_with(expected), "{line}: {reply}");
            if reply.starts_with("150 ") {
                drop(data.take());
                client.reply();
            }
            assert!(client.ask("NOOP").starts_with("200 "), "it continues");
        }
        drop(stopped);
    }
}

#[test]
fn a_transfer_that_waits_for_a_dead_file_system_ends_with_a_line_in_the_log() {
    let (Some(bindfs), true) = (find("bindfs"), is_root()) else {
        return skip("needs bindfs and root");
    };
    let (source, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bad = folder.path().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::write(source.path().join("file"), noise(64 << 20)).unwrap();
    let mut command = Command::new(bindfs);
    command.args(["-f", "-o", "direct_io"]).args([source.path(), &bad]);
    let running = Running(command.process_group(0).spawn().unwrap());
    let _mounted = Mounted(&bad);
    until("bindfs does not mount", || bad.join("file").exists());
    let root = folder.path().to_owned();
    let server = TestServer::start(|config| {
        (config.root, config.level) = (root, Level::Normal);
        config.limits.stall_timeout = std::time::Duration::from_secs(1);
    });
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("RETR /bad/file").starts_with("150 "));
    data.read_exact(&mut vec![0; 1 << 16]).unwrap();
    let _stopped = Stopped::stop(&running.0);
    std::io::copy(&mut data, &mut std::io::sink()).unwrap();
    assert!(client.reply().starts_with("451 "));
    server.log.expect(&["event=transfer", "verb=RETR", "outcome=failed", "reply=451"]);
    assert!(client.ask("NOOP").starts_with("200 "), "it continues");
}

/// Starts a server without locks, which dies in the last step of an append; returns true if a redo file is left.
fn die_in_an_append(root: &Path, content: &[u8]) -> bool {
    let faults = ["inject=flock:error=ENOLCK", "inject=copy_file_range:signal=KILL"];
    let (server, address) = serve_traced(root, "flock,copy_file_range", &faults);
    let mut client = RawClient::log_in(address);
    client.store("log", &content[..1000]);
    let mut data = client.open_data();
    assert!(client.ask("APPE log").starts_with("150 "));
    data.write_all(&content[1000..2000]).unwrap();
    drop(data);
    assert!(client.is_closed(), "the server does not die");
    drop(server);
    root.join(".poolftpd-redo.log").exists()
}

#[test]
fn an_append_that_a_server_without_locks_died_in_is_carried_out_later() {
    if find("strace").is_none() {
        return skip("strace is not installed");
    }
    let (folder, content) = (tempfile::tempdir().unwrap(), noise(3000));
    if !die_in_an_append(folder.path(), &content) {
        return skip("the file system shares blocks, and appends without a redo file");
    }
    let (_server, address) = serve_with_faults(folder.path(), "flock", "ENOLCK");
    let mut client = RawClient::log_in(address);
    client.open_data();
    let reply = client.ask("APPE log");
    assert!(reply.starts_with("450 "), "another server may be writing it: {reply}");
    let redo = fs::File::open(folder.path().join(".poolftpd-redo.log")).unwrap();
    redo.set_modified(std::time::SystemTime::now() - std::time::Duration::from_mins(2)).unwrap();
    let mut data = client.open_data();
    assert!(client.ask("APPE log").starts_with("150 "));
    data.write_all(&content[2000..]).unwrap();
    drop(data);
    assert!(client.reply().starts_with("226 "));
    assert!(client.retrieve("log") == content);
    assert!(!folder.path().join(".poolftpd-redo.log").exists());
}

#[test]
fn a_root_that_hangs_or_is_not_mounted_any_more_makes_the_server_not_ready_until_it_is_back() {
    let (Some(bindfs), true) = (find("bindfs"), is_root()) else {
        return skip("needs bindfs and root");
    };
    let (source, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bad = folder.path().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::write(source.path().join("file"), noise(1000)).unwrap();
    let mount = || {
        let mut command = Command::new(&bindfs);
        command.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]).args([source.path(), &bad]);
        let running = Running(command.process_group(0).spawn().unwrap());
        until("bindfs does not mount", || bad.join("file").exists());
        (running, Mounted(&bad))
    };
    let (running, mounted) = mount();
    let root = bad.clone();
    let server = TestServer::start(|config| (config.root, config.level) = (root, Level::Normal));
    let ready = || ctl(server.address(), &["ready"]);
    let not_ready = |what: &str| until(what, || ready().1.contains(what));
    assert!(ready().0);
    let stopped = Stopped::stop(&running.0);
    not_ready("does not respond");
    assert!(RawClient::connect(server.address()).line().starts_with("220 "));
    drop(stopped);
    until("the server is ready again", || ready().0);
    drop(mounted);
    drop(running);
    not_ready("has lost its file system");
    let _mounted = mount();
    until("the server is ready after the mount", || ready().0);
    let lines = |word: &str| server.log.text().matches(word).count();
    until("a line at each change", || lines("event=root-available") == 2);
    assert_eq!(lines("event=root-unavailable"), 2);
}
