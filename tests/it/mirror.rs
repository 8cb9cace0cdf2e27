//! Mirrors: only what differs is transferred, interrupts and cuts at random moments lose nothing, and the next run
//! completes the copy.
//!
//! A failure names its seed; `FAULT_SEED=N cargo test --test it mirror` runs that seed alone.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::common::dice::{Dice, seeds};
use crate::common::proxy::Cable;
use crate::common::{TestServer, noise};
use poolftpd::ftp::command::Type;
use poolftpd::internal::client::{
    Client, Interrupt, Mirror, MirrorAction, MirrorEvent, MirrorReport, Options, Progress, TlsMode,
    TransferEvent,
};

/// Number of random moments.
const MOMENTS: u64 = 50;

fn connect(port: u16, interrupt: &Interrupt) -> Client {
    let options = Options {
        tls: TlsMode::Off,
        interrupt: interrupt.clone(),
        first_wait: Duration::ZERO,
        retries: 1,
        ..Options::default()
    };
    let mut client = Client::connect("127.0.0.1", port, &options).unwrap();
    client.login("anonymous", "x").unwrap();
    client
}

fn client_of(server: &TestServer) -> Client {
    connect(server.address().port(), &Interrupt::default())
}

/// Runs a mirror, which must be complete.
fn run(client: &mut Client, mirror: &Mirror) -> MirrorReport {
    let plan = client.plan_mirror(mirror, &mut |_| {}).unwrap();
    let report = client.run_mirror(&plan, &mut |_| {}).unwrap();
    assert!(report.is_complete(), "{:?}", report.errors);
    report
}

/// Returns the actions of a mirror as text.
fn actions(client: &mut Client, mirror: &Mirror) -> Vec<String> {
    let plan = client.plan_mirror(mirror, &mut |_| {}).unwrap();
    plan.actions().iter().map(MirrorAction::to_string).collect()
}

/// Path, content, time in seconds, and mode of each file and directory; the content of a link is its target.
type Snapshot = BTreeMap<String, (Vec<u8>, u64, u32)>;

fn snapshot(root: &Path) -> Snapshot {
    fn walk(root: &Path, folder: &Path, found: &mut Snapshot) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // The server may be about to keep or remove an upload that was interrupted.
            let is_partial =
                path.file_name().unwrap().as_encoded_bytes().starts_with(b".poolftpd-");
            let data = match path.symlink_metadata() {
                Err(_) if is_partial => continue,
                data => data.unwrap(),
            };
            let content = if data.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes().to_vec()
            } else if data.is_dir() {
                walk(root, &path, found);
                Vec::new()
            } else {
                match fs::read(&path) {
                    Err(_) if is_partial => continue,
                    content => content.unwrap(),
                }
            };
            let time = data.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let time = if data.is_file() { time.as_secs() } else { 0 };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let mode = if data.is_file() { data.permissions().mode() & 0o777 } else { 0 };
            found.insert(name, (content, time, mode));
        }
    }
    let mut found = Snapshot::new();
    walk(root, root, &mut found);
    found
}

fn set(path: &Path, content: &[u8], second: u64, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Writes a tree of small and larger files.
fn plant(root: &Path, dice: &mut Dice, files: u64) {
    for number in 0..files {
        let folder = ["", "a/", "a/b/", "c d/"][usize::try_from(dice.below(4)).unwrap()];
        let size = if dice.below(8) == 0 { 300_000 } else { dice.below(3000) };
        let content = &noise(400_000)[usize::try_from(dice.below(1000)).unwrap()..];
        let mode = [0o644, 0o600, 0o755][usize::try_from(dice.below(3)).unwrap()];
        let second = 1_600_000_000 + dice.below(1_000_000);
        let path = root.join(format!("{folder}{number}"));
        set(&path, &content[..usize::try_from(size).unwrap()], second, mode);
    }
}

#[test]
fn a_second_run_transfers_nothing_and_the_next_only_what_differs() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    plant(server.root.path(), &mut Dice::new(1), 200);
    fs::create_dir(server.path("empty")).unwrap();
    let local = folder.path().join("copy");
    let mut client = client_of(&server);
    for connections in [1, 3] {
        let mirror = Mirror::download("/", &local).delete(true).parallel(connections);
        let report = run(&mut client, &mirror);
        assert_eq!(report.transferred, if connections == 1 { 200 } else { 0 });
        assert_eq!(snapshot(&local), snapshot(server.root.path()));
        assert_eq!(actions(&mut client, &mirror), Vec::<String>::new());
    }
    let mirror = Mirror::download("/", &local).parallel(2);
    set(&server.path("0"), b"changed", 1_700_000_000, 0o640);
    set(&server.path("new"), b"new", 1_700_000_000, 0o644);
    set(&local.join("own"), b"mine", 1, 0o644);
    set(&local.join("1x"), b"mine", 1, 0o644);
    assert_eq!(
        actions(&mut client, &mirror),
        ["transfer 0 (7 bytes)", "transfer new (3 bytes)"].map(str::to_owned)
    );
    assert_eq!(run(&mut client, &mirror).transferred, 2);
    assert_eq!(fs::read(local.join("own")).unwrap(), b"mine");
    let kept = Mirror::download("/", &local).delete(true).exclude("own").unwrap();
    assert_eq!(actions(&mut client, &kept), ["rm 1x"]);
    assert_eq!(run(&mut client, &kept.exclude("1*").unwrap()).removed, 0);
    assert_eq!(run(&mut client, &mirror.delete(true)).removed, 2);
    assert_eq!(snapshot(&local), snapshot(server.root.path()));
}

#[test]
fn an_upload_makes_the_remote_tree_like_the_local_one() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    let local = folder.path().join("tree");
    plant(&local, &mut Dice::new(2), 60);
    fs::create_dir(local.join("empty")).unwrap();
    let mut client = client_of(&server);
    let mirror = Mirror::upload(&local, "up").delete(true).parallel(3);
    assert_eq!(run(&mut client, &mirror).transferred, 60);
    assert_eq!(snapshot(&local), snapshot(&server.path("up")));
    assert_eq!(actions(&mut client, &mirror), Vec::<String>::new());
    set(&local.join("0"), b"changed", 1_700_000_000, 0o600);
    fs::write(server.path("up/extra"), "x").unwrap();
    fs::create_dir(server.path("up/old")).unwrap();
    let report = run(&mut client, &mirror);
    assert_eq!((report.transferred, report.removed), (1, 2));
    assert_eq!(snapshot(&local), snapshot(&server.path("up")));
}

#[test]
fn links_are_not_followed_and_not_sent() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    let local = folder.path().join("tree");
    set(&local.join("f"), b"f", 1_600_000_000, 0o644);
    symlink("/etc", local.join("etc")).unwrap();
    let mut client = client_of(&server);
    let mirror = Mirror::upload(&local, "up");
    let plan = client.plan_mirror(&mirror, &mut |_| {}).unwrap();
    let report = client.run_mirror(&plan, &mut |_| {}).unwrap();
    assert!(report.errors[0].to_string().starts_with("etc: not copied"), "{:?}", report.errors);
    assert_eq!((report.transferred, report.errors.len()), (1, 1));
    // A link in the place of a directory is not followed by a download either.
    fs::create_dir(server.path("d")).unwrap();
    server.write("d/passwd", "evil");
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, copy.join("d")).unwrap();
    let mirror = Mirror::download("/", &copy).exclude("up/").unwrap();
    let plan = client.plan_mirror(&mirror, &mut |_| {}).unwrap();
    let report = client.run_mirror(&plan, &mut |_| {}).unwrap();
    assert!(report.errors[0].to_string().starts_with("d: not copied"), "{:?}", report.errors);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let report = run(&mut client, &mirror.delete(true));
    assert_eq!((report.transferred, report.removed), (1, 1));
    assert!(copy.join("d").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn checksums_find_a_change_that_size_and_time_hide() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    plant(server.root.path(), &mut Dice::new(3), 20);
    let mut client = client_of(&server);
    let mirror = Mirror::download("/", folder.path()).parallel(2);
    run(&mut client, &mirror);
    set(&server.path("hidden"), b"one", 1_600_000_000, 0o644);
    set(&folder.path().join("hidden"), b"two", 1_600_000_000, 0o644);
    assert_eq!(run(&mut client, &mirror).transferred, 0);
    let report = run(&mut client, &mirror.checksum(true));
    assert_eq!((report.transferred, report.unchanged), (1, 20));
    assert_eq!(fs::read(folder.path().join("hidden")).unwrap(), b"one");
}

#[test]
fn an_empty_source_removes_nothing() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("mine"), "mine").unwrap();
    let mut client = client_of(&server);
    let mirror = Mirror::download("/", folder.path()).delete(true);
    let error = client.plan_mirror(&mirror, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("the source is empty"), "{error}");
    let missing = Mirror::upload(folder.path().join("missing"), "/").delete(true);
    assert_eq!(client.plan_mirror(&missing, &mut |_| {}).unwrap_err().status(), 7);
}

#[test]
fn a_server_that_accepts_few_connections_gets_no_more() {
    let server = TestServer::start(|config| config.limits.max_per_ip = 2);
    let folder = tempfile::tempdir().unwrap();
    plant(server.root.path(), &mut Dice::new(4), 100);
    let mut client = client_of(&server);
    let mirror = Mirror::download("/", folder.path()).parallel(6);
    let mut notes = Vec::new();
    let plan = client.plan_mirror(&mirror, &mut |_| {}).unwrap();
    let report = client
        .run_mirror(&plan, &mut |event| {
            if let MirrorEvent::Note(note) = event {
                notes.push((*note).to_owned());
            }
        })
        .unwrap();
    assert!(report.is_complete(), "{:?}", report.errors);
    assert!(notes.iter().any(|note| note.contains("continuing with")), "{notes:?}");
    assert_eq!(snapshot(folder.path()), snapshot(server.root.path()));
}

/// Runs a mirror that is stopped at a random moment: by the user, or by the network.
fn disturbed(server: &TestServer, dice: &mut Dice, mirror: &Mirror) {
    let (cable, interrupt) = (Cable::to(server.address()), Interrupt::default());
    let mut client = connect(cable.address.port(), &interrupt);
    let by_user = dice.below(2) == 0;
    let moment = dice.below(if by_user { 60 } else { 1_500_000 });
    if !by_user {
        cable.cut_after(moment);
    }
    let mut events = 0;
    let mut count = |_: &MirrorEvent<'_>| {
        events += 1;
        if by_user && events == moment {
            interrupt.set();
        }
    };
    // Each outcome is right, because the next run decides.
    let _outcome = client
        .plan_mirror(mirror, &mut count)
        .and_then(|plan| client.run_mirror(&plan, &mut count));
}

#[test]
fn a_mirror_that_stops_at_any_moment_is_completed_by_the_next() {
    for seed in seeds(MOMENTS) {
        eprintln!("seed {seed}");
        let mut dice = Dice::new(seed);
        let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        let is_download = dice.below(3) > 0;
        let (source, target) =
            if is_download { (server.path("source"), copy) } else { (source, server.path("up")) };
        plant(&source, &mut dice, 40);
        // The target has older files, files of its own, and a directory in the place of a file.
        plant(&target, &mut dice, 20);
        set(&target.join("own/file"), b"only here", 1_500_000_000, 0o600);
        let connections = usize::try_from(1 + dice.below(3)).unwrap();
        let mirror = if is_download {
            Mirror::download("source", &target)
        } else {
            Mirror::upload(&source, "up")
        };
        let mirror = mirror.parallel(connections);
        let before = snapshot(&target);
        disturbed(&server, &mut dice, &mirror);
        // Nothing is lost, and nothing is torn: each file is the old one or the new one.
        let (wanted, now) = (snapshot(&source), snapshot(&target));
        for (name, (content, ..)) in &before {
            let found = &now.get(name).unwrap_or_else(|| panic!("{name} is gone")).0;
            let new = wanted.get(name).map(|(content, ..)| content);
            assert!(found == content || Some(found) == new, "{name} is torn");
        }
        assert_eq!(now["own/file"].0, b"only here");
        let mut client = client_of(&server);
        run(&mut client, &mirror);
        let mut now = snapshot(&target);
        assert_eq!(now.remove("own/file").unwrap().0, b"only here");
        let mirror = mirror.delete(true);
        run(&mut client, &mirror);
        assert_eq!(snapshot(&target), wanted, "seed {seed}");
        assert_eq!(actions(&mut client, &mirror), Vec::<String>::new());
    }
}

/// Interrupts when this number of bytes has come.
struct StopAt(Interrupt, u64);

impl Progress for StopAt {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if bytes >= self.1 {
            self.0.set();
        }
    }
}

#[test]
fn a_file_that_is_fetched_in_ranges_is_resumed_by_any_download() {
    let (server, content) = (TestServer::start(|_| {}), noise(40_000_000));
    server.write("big", &content);
    for (number, connections) in [(0, 1), (1, 2), (2, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("big");
        let interrupt = Interrupt::default();
        let mut client = connect(server.address().port(), &interrupt);
        client.set_limit(NonZeroU64::new(60_000_000));
        let mut stop = StopAt(interrupt.clone(), 8_000_000 + number * 3_000_000);
        let error = client.download_in_ranges(b"big", &local, 4, &mut stop).unwrap_err();
        assert_eq!(error.status(), 130, "{error}");
        assert!(!local.exists());
        let note = fs::read_to_string(folder.path().join("big.part.id")).unwrap();
        assert_eq!(note.lines().filter(|line| line.starts_with("missing ")).count(), 4, "{note}");
        client.set_limit(None);
        interrupt.clear();
        let mut first = First(None);
        if connections == 1 {
            client.fetch(b"big", &local, Type::Image, None, &mut first).unwrap();
        } else {
            client.download_in_ranges(b"big", &local, connections, &mut first).unwrap();
        }
        assert!(first.0.unwrap() > 1_000_000, "it began again");
        assert!(fs::read(&local).unwrap() == content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// A kill between the rename of a part and the removal of its identity leaves the identity.
#[test]
fn an_identity_that_a_kill_has_left_is_removed_and_the_file_is_unchanged() {
    let server = TestServer::start(|_| {});
    server.write("f", noise(3_000_000));
    let modified = fs::metadata(server.path("f")).unwrap().modified().unwrap();
    for script in ["mirror . copy", "lcd copy; get f"] {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("copy/f");
        fs::create_dir(folder.path().join("copy")).unwrap();
        let interrupt = Interrupt::default();
        let mut client = connect(server.address().port(), &interrupt);
        client.set_limit(NonZeroU64::new(30_000_000));
        let mut stop = StopAt(interrupt, 1_000_000);
        client.fetch(b"f", &local, Type::Image, None, &mut stop).unwrap_err();
        fs::remove_file(local.with_extension("part")).unwrap();
        fs::copy(server.path("f"), &local).unwrap();
        File::open(&local).unwrap().set_modified(modified).unwrap();
        let port = server.address().port().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpclient"));
        command.args(["--tls", "off", "-c", script, "127.0.0.1", &port]);
        let left = local.with_extension("part.id");
        assert!(left.exists());
        assert!(command.current_dir(folder.path()).status().unwrap().success());
        assert!(fs::read(&local).unwrap() == server.read("f") && !left.exists(), "{script}");
        assert_eq!(fs::read_dir(local.parent().unwrap()).unwrap().count(), 1, "{script}");
    }
}

/// Notes where a transfer begins.
struct First(Option<u64>);

impl Progress for First {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        self.0.get_or_insert(bytes);
    }
}

#[test]
fn a_request_transfers_one_file() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    server.write("a", noise(5_000_000));
    let local = folder.path().join("b");
    let mut client = client_of(&server);
    let mut last = None;
    let mut observe = |event: TransferEvent<'_>| last = Some(format!("{event:?}"));
    let bytes = client.download("a").to(&local).parallel(3).observe(&mut observe).run().unwrap();
    assert_eq!((bytes, last.as_deref()), (5_000_000, Some("Bytes(5000000, Some(5000000))")));
    assert!(fs::read(&local).unwrap() == server.read("a"));
    assert_eq!(client.upload(&local).to("c").run().unwrap(), 5_000_000);
    assert_eq!(client.upload(&local).run().unwrap(), 5_000_000);
    assert!(server.read("c") == server.read("a") && server.read("b") == server.read("a"));
}

#[test]
fn the_program_copies_trees_and_several_files() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    fs::create_dir(server.path("tree")).unwrap();
    plant(&server.path("tree"), &mut Dice::new(5), 29);
    set(&server.path("tree/fixed"), b"fixed", 1_600_000_000, 0o644);
    server.write("big", noise(5_000_000));
    let run = |script: &str| {
        let port = server.address().port().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_ftpclient"))
            .args(["--tls", "off", "--parallel", "3", "-c", script, "127.0.0.1", &port])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (status, text) = run("mirror --dry-run tree");
    assert!(status == 0 && text.contains("transfer fixed (5 bytes)"), "{text}");
    assert!(!folder.path().join("tree").exists());
    for (sum, script) in [
        ("30 files", "mirror tree"),
        ("0 files, 0 B transferred; 30 unchanged", "mirror -P 1 tree"),
        ("30 files", "mirror -R tree up"),
        ("-> big", "pget -n 3 big"),
    ] {
        let (status, text) = run(script);
        assert!(status == 0 && text.contains(sum), "{script}: {text}");
    }
    assert_eq!(snapshot(&folder.path().join("tree")), snapshot(&server.path("tree")));
    assert_eq!(snapshot(&server.path("up")), snapshot(&server.path("tree")));
    assert!(fs::read(folder.path().join("big")).unwrap() == server.read("big"));
    fs::remove_file(folder.path().join("tree/fixed")).unwrap();
    fs::create_dir_all(folder.path().join("tree/fixed/mine")).unwrap();
    let (status, text) = run("mirror tree");
    assert!(
        status == 6 && text.contains("1 not done") && text.contains("fixed: not copied"),
        "{text}"
    );
    let (status, text) = run("mirror --exclude '[' tree");
    assert_eq!(status, 2, "{text}");
}
