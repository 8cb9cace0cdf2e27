//! Blocks and recovery under faults: cables cut at random bytes, clients and servers killed at random moments, files
//! that change meanwhile. Each time the result is exact to the byte, and no incomplete file ever has its final name.
//!
//! A failure names its seed; `FAULT_SEED=N cargo test --test it faults` runs that seed alone.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::common::dice::{Dice, seeds};
use crate::common::proxy::Cable;
use crate::common::raw::RawClient;
use crate::common::{PATIENCE, TestServer, noise};
use poolftpd::ftp::command::Type;
use poolftpd::ftp::listing::Listed;
use poolftpd::internal::client::{
    Client, ClientError, FileRequest, Interrupt, Options, Progress, RemoteMetadata, UploadStart,
};
use rustix::process::{Pid, Signal, kill_process};

/// More bytes than the overlap that is compared, and several blocks.
const SIZE: usize = 300_000;
/// Number of cuts or kills in each test.
const FAULTS: u64 = 100;

/// Checks a final name repeatedly: it must be absent, or have one of these contents.
struct Eye<'a> {
    path: PathBuf,
    whole: Vec<&'a [u8]>,
    notes: Vec<String>,
}

impl<'a> Eye<'a> {
    fn on(path: PathBuf, whole: &[&'a [u8]]) -> Self {
        Self { path, whole: whole.to_vec(), notes: Vec::new() }
    }

    fn look(&self) {
        if let Ok(found) = fs::read(&self.path) {
            let torn = !self.whole.contains(&found.as_slice());
            assert!(!torn, "{} has {} bytes, torn", self.path.display(), found.len());
        }
    }
}

impl Progress for Eye<'_> {
    fn progress(&mut self, _: u64, _: Option<u64>) {
        self.look();
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

fn options() -> Options {
    Options {
        retries: 1000,
        first_wait: Duration::from_millis(1),
        timeout: PATIENCE,
        ..Options::default()
    }
}

fn log_in(address: SocketAddr) -> Client {
    log_in_with(address, &options())
}

fn log_in_with(address: SocketAddr, options: &Options) -> Client {
    let mut client = Client::connect(&address.ip().to_string(), address.port(), options).unwrap();
    client.login("anonymous", "x").unwrap();
    client
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Cuts the cable at a random byte, and usually again after the client has reconnected.
fn cut_now_and_again(cable: &Cable, dice: &mut Dice) -> impl Drop {
    struct Stop(mpsc::Sender<()>);
    impl Drop for Stop {
        fn drop(&mut self) {
            let _gone = self.0.send(());
        }
    }
    let (stop, stopped) = mpsc::channel();
    let cable = cable.clone();
    let places: Vec<u64> = (0..3).map(|_| dice.below(SIZE as u64)).collect();
    cable.cut_after(places[0]);
    thread::spawn(move || {
        for (number, place) in (1_u32..).zip(&places[1..]) {
            while cable.cuts() < number {
                if stopped.recv_timeout(Duration::from_millis(1)).is_ok() {
                    return;
                }
            }
            cable.cut_after(*place);
        }
    });
    Stop(stop)
}

#[test]
fn a_download_whose_cable_is_cut_at_random_bytes_comes_whole() {
    let server = TestServer::start(|_| {});
    let content = noise(SIZE);
    server.write("a", &content);
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let (mut dice, cable) = (Dice::new(seed), Cable::to(server.address()));
        if seed % 2 == 1 {
            cable.refuse_block_mode();
        }
        let local = folder.path().join("a");
        let old = b"the old file";
        if seed % 3 == 0 {
            fs::write(&local, old).unwrap();
        }
        let mut client = log_in(cable.address);
        let mut eye = Eye::on(local.clone(), &[old, &content]);
        let _cutter = cut_now_and_again(&cable, &mut dice);
        let bytes = client.fetch(b"a", &local, Type::Image, None, &mut eye).unwrap();
        assert!(bytes == SIZE as u64 && fs::read(&local).unwrap() == content, "{:?}", eye.notes);
        assert_eq!(names(folder.path()), ["a"]);
        fs::remove_file(&local).unwrap();
    }
}

#[test]
fn an_upload_whose_cable_is_cut_at_random_bytes_comes_whole() {
    let server = TestServer::writable();
    let content = noise(SIZE);
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("a");
    fs::write(&local, &content).unwrap();
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let (mut dice, cable) = (Dice::new(seed), Cable::to(server.address()));
        if seed % 2 == 1 {
            cable.refuse_block_mode();
        }
        let old = b"the old file";
        if seed % 3 == 0 {
            server.write("a", old);
        }
        let mut client = log_in(cable.address);
        let mut eye = Eye::on(server.path("a"), &[old, &content]);
        let _cutter = cut_now_and_again(&cable, &mut dice);
        client.send(&local, b"a", Type::Image, UploadStart::Beginning, &mut eye).unwrap();
        assert!(server.read("a") == content, "{:?}", eye.notes);
        cable.hold();
        client.remove_file(b"a").unwrap();
        // A lost session may still flush and keep data, which the next DELE removes.
        let deadline = Instant::now() + PATIENCE;
        while !names(server.root.path()).is_empty() {
            let left = names(server.root.path());
            assert!(Instant::now() < deadline, "{left:?}; {:?}", eye.notes);
            let _gone = client.remove_file(b"a");
        }
    }
}

/// Number of files that are fetched in a row.
const FILES: u64 = 40;

/// An incident with one of many files while the files after it are already requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    None,
    /// The file is no longer on the server.
    Gone,
    /// The file is longer than its listing.
    Changed,
    /// An object of the user has its local name.
    InTheWay,
    /// A partial download of another file exists under its name.
    PartThere,
    /// Ctrl-C after this number of progress reports.
    Interrupted(u64),
    /// Ctrl-C repeatedly, from the middle of the file on, also while the first one is handled.
    Hammered,
}

impl Mishap {
    fn roll(dice: &mut Dice) -> Self {
        match dice.below(15) {
            0 => Self::Gone,
            1 => Self::Changed,
            2 => Self::InTheWay,
            3 => Self::PartThere,
            4 => Self::Interrupted(dice.below(3)),
            5 => Self::Hammered,
            _ => Self::None,
        }
    }

    /// Applied before any file is requested.
    fn befall_there(self, server: &TestServer, name: &str, content: &mut Vec<u8>) {
        match self {
            Self::Gone => fs::remove_file(server.path(name)).unwrap(),
            Self::Changed => {
                content.extend_from_slice(b"more");
                server.write(name, content);
            }
            Self::None
            | Self::InTheWay
            | Self::PartThere
            | Self::Interrupted(_)
            | Self::Hammered => {}
        }
    }

    /// Applied when it is this file's turn, after it was requested.
    fn befall_here(self, local: &Path) {
        match self {
            Self::InTheWay => fs::create_dir(local).unwrap(),
            Self::PartThere => {
                fs::write(local.with_extension("part"), "of another").unwrap();
                let identity = "ftpclient: what the .part beside this is a part of\nanother\n";
                fs::write(local.with_extension("part.id"), identity).unwrap();
                for extension in ["part", "part.id"] {
                    // The mark of files that ftpclient created itself.
                    let marked = fs::Permissions::from_mode(0o1644);
                    fs::set_permissions(local.with_extension(extension), marked).unwrap();
                }
            }
            Self::None | Self::Gone | Self::Changed | Self::Interrupted(_) | Self::Hammered => {}
        }
    }
}

/// Presses Ctrl-C after a number of progress reports.
struct Presser {
    interrupt: Interrupt,
    hammers: bool,
    hammer: Option<thread::JoinHandle<()>>,
    ended: Arc<AtomicBool>,
    left: Option<u64>,
    notes: Vec<String>,
}

impl Progress for Presser {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if self.hammers && bytes > 0 {
            self.hammers = false;
            let (flag, ended) = (self.interrupt.flag(), Arc::clone(&self.ended));
            self.hammer = Some(thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    flag.store(true, Ordering::SeqCst);
                }
            }));
        }
        if self.left == Some(0) {
            self.interrupt.flag().store(true, Ordering::SeqCst);
        }
        self.left = self.left.and_then(|left| left.checked_sub(1));
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

/// Fetches a file, and again if Ctrl-C was pressed. Returns the notes with the result.
fn fetch(
    client: &mut Client,
    interrupt: &Interrupt,
    file: &FileRequest,
    mishap: Mishap,
) -> (Result<u64, ClientError>, Vec<String>) {
    let FileRequest { path, local, known } = file;
    let left = match mishap {
        Mishap::Interrupted(left) => Some(left),
        _ => None,
    };
    let mut presser = Presser {
        interrupt: interrupt.clone(),
        hammers: mishap == Mishap::Hammered,
        hammer: None,
        ended: Arc::default(),
        left,
        notes: Vec::new(),
    };
    let mut outcome = client.fetch(path, local, Type::Image, *known, &mut presser);
    presser.ended.store(true, Ordering::SeqCst);
    if let Some(hammer) = presser.hammer.take() {
        hammer.join().unwrap();
    }
    interrupt.clear();
    if outcome.as_ref().is_err_and(|error| error.status() == 130) {
        outcome = client.fetch(path, local, Type::Image, *known, &mut presser);
    }
    (outcome, presser.notes)
}

#[test]
fn of_files_that_are_asked_for_ahead_each_comes_whole_whatever_becomes_of_the_others() {
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
        let (mut dice, cable) = (Dice::new(seed), Cable::to(server.address()));
        let mut files: Vec<(Mishap, Vec<u8>)> = Vec::new();
        for number in 0..FILES {
            let mishap = Mishap::roll(&mut dice);
            // Several blocks, if the interrupt must come in the middle.
            let least = if mishap == Mishap::Hammered { 200_000 } else { 0 };
            let size = usize::try_from(least + dice.below(9000)).unwrap();
            files.push((mishap, [format!("{number} "), "x".repeat(size)].concat().into()));
        }
        let name = |number: usize| format!("f{number:02}");
        for (number, (_, content)) in files.iter().enumerate() {
            server.write(&name(number), content);
        }
        let options = options();
        let mut client = log_in_with(cable.address, &options);
        let listed = client.read_dir(b"").unwrap();
        let coming = |number: usize| {
            let Listed { name, size, modified, .. } = listed[number].clone();
            let (path, local) = (name.clone(), folder.path().join(OsStr::from_bytes(&name)));
            FileRequest { path, local, known: Some(RemoteMetadata { size, modified }) }
        };
        for (number, (mishap, content)) in files.iter_mut().enumerate() {
            mishap.befall_there(&server, &name(number), content);
        }
        let is_cut = seed % 2 == 1;
        if is_cut {
            cable.cut_after(dice.below(FILES * 4500));
        }
        for (number, (mishap, content)) in files.iter().enumerate() {
            client.pipeline((number..files.len()).map(coming), Type::Image);
            let file = coming(number);
            mishap.befall_here(&file.local);
            let (outcome, notes) = fetch(&mut client, &options.interrupt, &file, *mishap);
            match mishap {
                Mishap::Gone => assert_eq!(outcome.unwrap_err().status(), 1),
                Mishap::InTheWay => assert_eq!(outcome.unwrap_err().status(), 7),
                _ => {
                    outcome.unwrap();
                    assert!(&fs::read(&file.local).unwrap() == content, "{number} {mishap:?}");
                }
            }
            // No file suffers from the incidents of those before it.
            let is_told = matches!(mishap, Mishap::Changed | Mishap::PartThere);
            assert!(is_cut || is_told || notes.is_empty(), "{number} {mishap:?}: {notes:?}");
            assert!(is_cut || !client.is_lost(), "{number} {mishap:?}");
        }
        // No reply of an earlier request is left.
        server.write("last", "of all");
        assert_eq!(client.size(b"last").unwrap(), 6);
        let gone = files.iter().filter(|(mishap, _)| *mishap == Mishap::Gone).count();
        assert_eq!(names(folder.path()).len(), files.len() - gone, "{:?}", names(folder.path()));
    }
}

/// A program that is killed when this value is dropped.
struct Program(Child);

impl Program {
    fn client(folder: &Path, script: &str, address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpclient"));
        command.args(["-q", "--clobber", "-c", script, "127.0.0.1", &address.port().to_string()]);
        command.current_dir(folder).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Serves a directory on a port; 0 means any.
    fn server(root: &Path, port: u16) -> (Self, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpserver"));
        command.args(["--bind", "127.0.0.1", "--write", "-q", "--port", &port.to_string()]);
        command.arg("--root").arg(root).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Kills the program after this time unless it ends before; returns whether it ended by itself with success.
    fn ends_within(mut self, time: Duration) -> bool {
        let process = Pid::from_child(&self.0);
        let (ended, wait) = mpsc::channel();
        let killer = thread::spawn(move || {
            if wait.recv_timeout(time).is_err() {
                let _killed = kill_process(process, Signal::KILL);
            }
        });
        // Not reaped before the killer has finished, so that the process ID is not reused.
        let watched = rustix::process::waitid(
            rustix::process::WaitId::Pid(process),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        watched.unwrap();
        let _sent = ended.send(());
        killer.join().unwrap();
        self.0.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Runs a client and kills it at a random moment, at least once, and then lets it finish. `begin` restores the initial
/// state.
fn kill_and_run_again(
    folder: &Path,
    script: &str,
    address: SocketAddr,
    dice: &mut Dice,
    eye: &Eye<'_>,
    begin: impl Fn(),
) {
    begin();
    // In microseconds; halved if a run was over before its moment came.
    let mut longest = 60_000;
    loop {
        let moment = Duration::from_micros(dice.below(longest));
        let finished = Program::client(folder, script, address).ends_within(moment);
        eye.look();
        if finished {
            longest = longest / 2 + 1;
            begin();
        } else if dice.below(2) == 0 {
            break;
        }
    }
    assert!(Program::client(folder, script, address).ends_within(PATIENCE));
}

#[test]
fn a_client_killed_at_random_moments_of_a_download_finishes_it_the_next_time() {
    let server = TestServer::start(|_| {});
    let (content, old) = (noise(4_000_000), b"the old file");
    server.write("a", &content);
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let local = folder.path().join("a");
        let begin = || {
            let _removed = fs::remove_file(&local);
            if seed % 2 == 0 {
                fs::write(&local, old).unwrap();
            }
        };
        let eye = Eye::on(local.clone(), &[old, &content]);
        let mut dice = Dice::new(seed);
        kill_and_run_again(folder.path(), "get a", server.address(), &mut dice, &eye, begin);
        assert!(fs::read(&local).unwrap() == content);
        assert!(!names(folder.path()).contains(&"a.part".to_owned()));
        fs::remove_file(&local).unwrap();
    }
}

#[test]
fn a_client_killed_at_random_moments_of_an_upload_finishes_it_the_next_time() {
    let server = TestServer::writable();
    let (content, old) = (noise(4_000_000), b"the old file");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), &content).unwrap();
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let begin = || {
            let _removed = fs::remove_file(server.path("a"));
            if seed % 2 == 0 {
                server.write("a", old);
            }
        };
        let eye = Eye::on(server.path("a"), &[old, &content]);
        let script = if seed % 4 < 2 { "put a" } else { "reput a" };
        let mut dice = Dice::new(seed);
        kill_and_run_again(folder.path(), script, server.address(), &mut dice, &eye, begin);
        assert!(server.read("a") == content);
        fs::remove_file(server.path("a")).unwrap();
    }
}

#[test]
fn a_server_killed_at_random_moments_of_uploads_loses_nothing_that_it_confirmed() {
    let (content, root) = (noise(4_000_000), tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("a");
    fs::write(&local, &content).unwrap();
    let (mut server, address) = Program::server(root.path(), 0);
    for seed in seeds(FAULTS) {
        eprintln!("seed {seed}");
        let mut dice = Dice::new(seed);
        let cable = Cable::to(address);
        if seed % 2 == 1 {
            cable.refuse_block_mode();
        }
        let eye = Eye::on(root.path().join("a"), &[&content]);
        let mut client = log_in(cable.address);
        let source = local.clone();
        let upload = thread::spawn(move || {
            client.send(&source, b"a", Type::Image, UploadStart::Beginning, &mut ()).unwrap();
        });
        let moment = Duration::from_micros(dice.below(50_000));
        let (_never, pause) = mpsc::channel::<()>();
        let _passed = pause.recv_timeout(moment);
        server.kill();
        eye.look();
        server = Program::server(root.path(), address.port()).0;
        upload.join().unwrap();
        server.kill();
        assert!(fs::read(root.path().join("a")).unwrap() == content, "what was confirmed is gone");
        fs::remove_file(root.path().join("a")).unwrap();
        server = Program::server(root.path(), address.port()).0;
    }
}

#[test]
fn a_server_killed_at_random_moments_of_an_append_leaves_the_old_length_or_the_new() {
    let (old, new) = (noise(200_000), noise(2_000_000));
    let root = tempfile::tempdir().unwrap();
    let whole = [old.as_slice(), &new].concat();
    for seed in seeds(FAULTS).step_by(2) {
        eprintln!("seed {seed}");
        let mut dice = Dice::new(seed);
        fs::write(root.path().join("log"), &old).unwrap();
        let (mut server, address) = Program::server(root.path(), 0);
        let mut client = RawClient::log_in(address);
        let mut data = client.open_data();
        assert!(client.ask("APPE log").starts_with("150 "));
        let new = new.clone();
        let sender = thread::spawn(move || {
            let _sent = std::io::Write::write_all(&mut data, &new);
        });
        let moment = Duration::from_micros(dice.below(20_000));
        let (_never, pause) = mpsc::channel::<()>();
        let _passed = pause.recv_timeout(moment);
        server.kill();
        sender.join().unwrap();
        // The first content that a client sees on the next server is one of the two.
        let (_server, address) = Program::server(root.path(), 0);
        let found = RawClient::log_in(address).retrieve("log");
        assert!(found == old || found == whole, "{} bytes", found.len());
        assert!(fs::read(root.path().join("log")).unwrap() == found);
    }
}

/// Cuts the cable in the middle of a file, and replaces the file on the server once the client notices the cut.
struct Changer<'a> {
    server: &'a TestServer,
    cable: Cable,
    new: Option<Vec<u8>>,
    time: SystemTime,
    notes: Vec<String>,
}

impl Progress for Changer<'_> {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if bytes > 0 && self.cable.cuts() == 0 {
            self.cable.cut();
        }
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
        if let Some(new) = self.new.take() {
            self.server.write("a", new);
            let file = fs::File::options().write(true).open(self.server.path("a")).unwrap();
            file.set_modified(self.time).unwrap();
        }
    }
}

#[test]
fn a_file_that_changes_between_two_tries_is_fetched_again() {
    // More than the buffers of all sockets hold, so that the cut comes in the middle.
    const LARGE: usize = 16 * 1024 * 1024;
    let server = TestServer::start(|_| {});
    let (old, new) = (noise(LARGE), noise(LARGE + 1)[1..].to_vec());
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("a");
    for same_time in [false, true] {
        server.write("a", &old);
        let time = fs::metadata(server.path("a")).unwrap().modified().unwrap();
        let cable = Cable::to(server.address());
        let mut client = log_in(cable.address);
        let later = time + Duration::from_secs(if same_time { 0 } else { 60 });
        let (new_file, notes) = (Some(new.clone()), Vec::new());
        let mut changer = Changer { server: &server, cable, new: new_file, time: later, notes };
        client.fetch(b"a", &local, Type::Image, None, &mut changer).unwrap();
        assert!(fs::read(&local).unwrap() == new, "{:?}", changer.notes);
        let told = if same_time { "differs from the partial download" } else { "has changed" };
        assert!(changer.notes.iter().any(|note| note.contains(told)), "{:?}", changer.notes);
    }
}

/// Changes a local file, but not its size, once part of it was sent.
struct Scribble<'a>(&'a Path);

impl Progress for Scribble<'_> {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if bytes > 0 {
            let file = fs::File::options().write(true).open(self.0).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"scribble", 0).unwrap();
        }
    }
}

/// Shortens a local file once part of it was sent.
struct Shrink<'a>(&'a Path);

impl Progress for Shrink<'_> {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if bytes > 0 {
            fs::File::options().write(true).open(self.0).unwrap().set_len(1000).unwrap();
        }
    }
}

#[test]
fn a_local_file_that_changes_while_it_is_sent_is_no_success_and_stands_nowhere_torn() {
    let server = TestServer::writable();
    server.write("a", "the old file");
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("a");
    fs::write(&local, noise(3_000_000)).unwrap();
    let mut client = log_in(server.address());
    let error = client.send(&local, b"a", Type::Image, UploadStart::Beginning, &mut Shrink(&local));
    assert_eq!(error.unwrap_err().status(), 7);
    assert_eq!(server.read("a"), b"the old file");
    fs::write(&local, noise(3_000_000)).unwrap();
    let error =
        client.send(&local, b"a", Type::Image, UploadStart::Beginning, &mut Scribble(&local));
    assert_eq!(error.unwrap_err().status(), 7);
    assert_eq!(server.read("a"), b"the old file");
}
