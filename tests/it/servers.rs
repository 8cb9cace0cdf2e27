//! Our client against servers of others: lists, gets, puts, renames and deletes, passive and active, and resumes when
//! the cable is cut. A server that is not installed is skipped, and counted as skipped. `.ci/run` unpacks those that
//! cannot be installed side by side.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::outside::{Case, find, is_root, run_each, run_script, unpacked};
use crate::common::proxy::Cable;
use crate::common::raw::RawClient;
use crate::common::secure::certificate;
use crate::common::{PATIENCE, noise};
use poolftpd::ftp::command::Type;
use poolftpd::internal::client::{Client, ClientError, Options, Progress, TlsMode, UploadStart};
use tempfile::TempDir;

/// A server: its name, how to log in, how to find it, and the command that serves `root` on `port`. The user who logs
/// in may write into `root/up`.
struct RealServer {
    name: &'static str,
    login: &'static str,
    program: fn() -> Option<PathBuf>,
    tls: bool,
    /// True if only root can start it; it then serves as nobody.
    needs_root: bool,
    command: fn(program: &Path, root: &Path, port: u16, scratch: &Path) -> Command,
}

const SERVERS: &[RealServer] = &[
    RealServer {
        name: "vsftpd",
        login: "",
        program: || find("vsftpd"),
        tls: true,
        needs_root: true,
        command: vsftpd,
    },
    RealServer {
        name: "ProFTPD",
        login: "",
        program: || find("proftpd"),
        tls: false,
        needs_root: true,
        command: proftpd,
    },
    RealServer {
        name: "Pure-FTPd",
        login: "-u joe:secret",
        program: || find("pure-ftpd"),
        tls: true,
        needs_root: true,
        command: pure_ftpd,
    },
    RealServer {
        name: "pyftpdlib",
        login: "",
        program: pyftpdlib_program,
        tls: false,
        needs_root: false,
        command: pyftpdlib,
    },
];

fn vsftpd(program: &Path, root: &Path, port: u16, scratch: &Path) -> Command {
    let file = scratch.join("vsftpd.conf");
    let empty = scratch.join("empty");
    let tls = certificate(scratch, "localhost");
    fs::create_dir_all(&empty).unwrap();
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         anon_root={}\nwrite_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n\
         anon_umask=022\nsecure_chroot_dir={}\nftp_username=bin\nnopriv_user=nobody\nport_enable=YES\n\
         connect_from_port_20=NO\nseccomp_sandbox=NO\n\
         ssl_enable=YES\nallow_anon_ssl=YES\nforce_local_data_ssl=NO\nforce_local_logins_ssl=NO\nssl_tlsv1=YES\n\
         ssl_ciphers=HIGH\nrequire_ssl_reuse=YES\nrsa_cert_file={}\nrsa_private_key_file={}\n",
        root.display(),
        empty.display(),
        tls.certificate.display(),
        tls.key.display(),
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg(file);
    command
}

fn proftpd(program: &Path, root: &Path, port: u16, scratch: &Path) -> Command {
    let file = scratch.join("proftpd.conf");
    let text = format!(
        "ServerName test\nServerType standalone\nPort {port}\nDefaultAddress 127.0.0.1\nUseIPv6 off\nUser nobody\nGroup nogroup\n\
         PidFile {0}/pid\nScoreboardFile {0}/scoreboard\nDelayTable {0}/delay\nWtmpLog off\nTransferLog none\nSystemLog none\n\
         UseReverseDNS off\nRequireValidShell off\nUseFtpUsers off\n<Anonymous {1}>\nUser nobody\nGroup nogroup\nUserAlias anonymous nobody\n\
         RequireValidShell off\nAnonRequirePassword off\nAllowOverwrite on\nAllowStoreRestart on\n\
         AllowRetrieveRestart on\n</Anonymous>\n",
        scratch.display(),
        root.display()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-n").arg("-c").arg(file);
    command
}

fn pure_ftpd(program: &Path, root: &Path, port: u16, scratch: &Path) -> Command {
    // Its anonymous needs a system user called ftp; a user of its own file needs none.
    let file = scratch.join("users");
    let database = scratch.join("users.pdb");
    let (root, file, database) =
        (root.to_str().unwrap(), file.to_str().unwrap(), database.to_str().unwrap());
    let script = format!(
        "printf 'secret\nsecret\n' | {} useradd joe -u nobody -g nogroup -d {root} -f {file} -F {database} -m",
        find("pure-pw").unwrap().display()
    );
    let made = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let mut command = Command::new(program);
    // -A chroot, -H no names, -4 IPv4.
    command.args([
        "-A",
        "-H",
        "-4",
        "-S",
        &format!("127.0.0.1,{port}"),
        "-l",
        &format!("puredb:{database}"),
    ]);
    command.args(["-g", scratch.join("pid").to_str().unwrap()]);
    let tls = certificate(scratch, "localhost");
    command.args(["-Y", "1", "-2"]);
    command.arg(format!("{},{}", tls.certificate.display(), tls.key.display()));
    command
}

fn pyftpdlib_program() -> Option<PathBuf> {
    let python = find("python3")?;
    let mut command = Command::new(&python);
    command.args(["-c", "import pyftpdlib"]).env("PYTHONPATH", unpacked().join("python"));
    command.stderr(Stdio::null()).status().ok()?.success().then_some(python)
}

fn pyftpdlib(program: &Path, root: &Path, port: u16, _: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-m", "pyftpdlib", "-w", "-i", "127.0.0.1", "-p", &port.to_string(), "-d"])
        .arg(root);
    command.env("PYTHONPATH", unpacked().join("python"));
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Declares a test for each server.
macro_rules! servers {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                run_each(cases($name));
            }
        )*

        #[test]
        fn each_server_has_a_test() {
            for server in SERVERS {
                assert!([$($name),*].contains(&server.name), "{}", server.name);
            }
        }
    };
}

servers! {
    with_vsftpd "vsftpd"
    with_proftpd "ProFTPD"
    with_pure_ftpd "Pure-FTPd"
    with_pyftpdlib "pyftpdlib"
}

/// Returns a case for each deed of our client at this server.
fn cases(name: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for server in SERVERS.iter().filter(|server| server.name == name) {
        let over_tls: &[(&str, Deed)] = if server.tls { TLS_DEEDS } else { &[] };
        for (what, play) in DEEDS.iter().chain(over_tls) {
            let program = (server.program)();
            let title = format!("ftpclient {what} {}", server.name);
            let missing = match &program {
                None => Some("not installed"),
                Some(_) if server.needs_root && !is_root() => Some("needs root"),
                Some(_) => None,
            };
            let play = move || play(server, &Scene::start(server, &program.unwrap())?);
            cases.push(Case { title, missing, play: Box::new(play) });
        }
    }
    cases
}

type Deed = fn(&RealServer, &Scene) -> Result<(), String>;

const DEEDS: &[(&str, Deed)] = &[
    ("in passive mode with", |server, scene| play(server, scene, "--tls off")),
    ("in active mode with", |server, scene| play(server, scene, "--tls off --active")),
    ("recovers downloads from", recover_downloads),
    ("recovers uploads to", recover_uploads),
];

const TLS_DEEDS: &[(&str, Deed)] = &[
    ("over TLS with", |server, scene| play(server, scene, "--tls require --insecure")),
    ("over TLS in active mode with", |server, scene| {
        play(server, scene, "--tls require --insecure --active")
    }),
];

/// A running server, and a folder for the client.
struct Scene {
    place: TempDir,
    folder: TempDir,
    port: u16,
    _running: Running,
}

impl Scene {
    fn start(server: &RealServer, program: &Path) -> Result<Self, String> {
        let (place, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = place.path().join("root");
        let up = root.join("up");
        fs::create_dir_all(&up).unwrap();
        // The servers serve as the user nobody; vsftpd requires a root without write permission.
        for (path, bits) in [(place.path(), 0o755), (root.as_path(), 0o755), (up.as_path(), 0o777)]
        {
            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = (server.command)(program, &root, port, place.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let running = Running(child.map_err(|error| error.to_string())?);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not come up", server.name));
            }
            std::thread::yield_now();
        }
        Ok(Self { place, folder, port, _running: running })
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }
}

/// Logs a client in through a cable that is cut repeatedly.
fn log_in(server: &RealServer, cable: &Cable) -> Result<Client, String> {
    let options = Options {
        tls: TlsMode::Off,
        retries: 20,
        first_wait: Duration::from_millis(1),
        ..Options::default()
    };
    let text = |error: ClientError| error.to_string();
    let mut client = Client::connect("127.0.0.1", cable.address.port(), &options).map_err(text)?;
    let (user, password) =
        server.login.trim_start_matches("-u ").split_once(':').unwrap_or(("anonymous", "x@"));
    client.login(user, password).map_err(text)?;
    Ok(client)
}

/// Cuts the cable at each number of bytes once, and records the notes.
struct Cutter<'a>(&'a Cable, Vec<u64>, Vec<String>);

impl Progress for Cutter<'_> {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        if self.1.last().is_some_and(|place| bytes >= *place) {
            self.1.pop();
            self.0.cut_after(1);
        }
    }

    fn note(&mut self, text: &str) {
        self.2.push(text.to_owned());
    }
}

/// Numbers of bytes at which the cable is cut, in descending order, further apart than a socket buffer.
const CUTS: [u64; 3] = [10_000_000, 5_000_000, 1];
const SIZE: usize = 15_000_001;

fn recover_downloads(server: &RealServer, scene: &Scene) -> Result<(), String> {
    let content = noise(SIZE);
    fs::write(scene.root().join("big.bin"), &content).unwrap();
    let cable = Cable::to(([127, 0, 0, 1], scene.port).into());
    let mut client = log_in(server, &cable)?;
    let mut cutter = Cutter(&cable, CUTS.to_vec(), Vec::new());
    let local = scene.folder.path().join("big.bin");
    client
        .fetch(b"big.bin", &local, Type::Image, None, &mut cutter)
        .map_err(|error| format!("{error}; {:?}", cutter.2))?;
    check(&local, &content, &cable, &cutter)
}

fn recover_uploads(server: &RealServer, scene: &Scene) -> Result<(), String> {
    let content = noise(SIZE);
    let local = scene.folder.path().join("big.bin");
    fs::write(&local, &content).unwrap();
    let cable = Cable::to(([127, 0, 0, 1], scene.port).into());
    let mut client = log_in(server, &cable)?;
    let mut cutter = Cutter(&cable, CUTS.to_vec(), Vec::new());
    client
        .send(&local, b"up/big.bin", Type::Image, UploadStart::Beginning, &mut cutter)
        .map_err(|error| format!("{error}; {:?}", cutter.2))?;
    check(&scene.root().join("up/big.bin"), &content, &cable, &cutter)
}

fn check(path: &Path, content: &[u8], cable: &Cable, cutter: &Cutter<'_>) -> Result<(), String> {
    let same = fs::read(path).unwrap_or_default() == content;
    let restarted = cutter.2.iter().any(|note| note.contains("the whole file again"));
    if same && cable.cuts() == 3 && !restarted {
        Ok(())
    } else {
        Err(format!("same: {same}, cuts: {}, notes: {:?}", cable.cuts(), cutter.2))
    }
}

fn play(server: &RealServer, scene: &Scene, mode: &str) -> Result<(), String> {
    let (root, folder, port) = (scene.root(), &scene.folder, scene.port);
    let up = root.join("up");
    let (big, local) = (noise(3_000_000), noise(2_000_001));
    fs::write(root.join("big.bin"), &big).unwrap();
    fs::write(folder.path().join("local.bin"), &local).unwrap();
    let script = "$ftpclient $mode $login -4 -e -c 'ls; dir; get big.bin; cd up; put local.bin; rename local.bin moved.bin; \
                  size moved.bin; mget m*.bin; ls; cd ..; get -r up tree; bye' 127.0.0.1 $port
                  $ftpclient -q $mode $login -c 'get nothing' 127.0.0.1 $port && exit 9
                  [ $? = 1 ]";
    let port_text = port.to_string();
    let variables = [
        ("mode", mode),
        ("login", server.login),
        ("port", &port_text),
        ("ftpclient", env!("CARGO_BIN_EXE_ftpclient")),
    ];
    let said = run_script(script, folder.path(), &variables)?;
    let here = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
    for (what, found, expected) in [
        ("get", here("big.bin"), &big),
        ("mget", here("moved.bin"), &local),
        ("get -r", here("tree/moved.bin"), &local),
        ("put and rename", fs::read(up.join("moved.bin")).unwrap_or_default(), &local),
    ] {
        if found != *expected {
            return Err(format!(
                "{what}: {} bytes instead of {}; the client said:\n{said}",
                found.len(),
                expected.len()
            ));
        }
    }
    let said_size = said.lines().any(|line| line == local.len().to_string());
    let served_on = RawClient::connect(([127, 0, 0, 1], port).into()).line().starts_with("220");
    if said_size && served_on {
        Ok(())
    } else {
        Err(format!("size {said_size}, serves on {served_on}:\n{said}"))
    }
}
