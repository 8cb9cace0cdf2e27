//! The users file: hashes of other systems, imports, lists, and users who may not log in for now.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::common::TestServer;
use super::common::raw::RawClient;

/// Hashes of "secret" by mkpasswd of Debian.
const HASHES: [(&str, &str); 5] = [
    (
        "sha512",
        "$6$rounds=20000$dnLBECHBdodHZQK9$sJGB8ucLh/Uxyb13pUWI4ZBe2Z6LzjWXTCwOT8Bm/cG2sSZsTu.d5yzf6SERCqbsXPYtPdOhxjk.TCLuXbNwS/",
    ),
    ("sha256", "$5$6NHIXTqLt58psyBn$c7Tkubuedveg2x5E8QZmKR5APtnAIpuyXjBA9Ev65kA"),
    ("yescrypt", "$y$j9T$oK.VEr7knAqZ8/HmsA4TM0$idRHMCdyEP8SPig6MS50UXAnl7OuRYZcSYIXtMZu0.4"),
    ("bcrypt", "$2b$05$oIa8JxTXtkPNONF4XhYhXOeI6X7FTCp.K9yIjSMF.6tXQk9PZa0DC"),
    ("htpasswd", "$2y$05$oIa8JxTXtkPNONF4XhYhXOeI6X7FTCp.K9yIjSMF.6tXQk9PZa0DC"),
];

/// A users file, and the folder for it and the homes.
struct File {
    folder: TempDir,
    path: PathBuf,
}

/// The outcome of ftppasswd.
struct Ran {
    status: Option<i32>,
    out: String,
    errors: String,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("users"), folder }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs ftppasswd on the file.
    fn run(&self, words: &[&str], input: &str) -> Ran {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ftppasswd"))
            .arg(&self.path)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may end before it has read everything.
        let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: status.code(), out: text(stdout), errors: text(stderr) }
    }

    fn serve(&self) -> TestServer {
        let users = self.path.clone();
        TestServer::start(|config| {
            config.users = Some(users);
            config.anonymous = false;
            config.limits.login_delay = Duration::ZERO;
        })
    }
}

fn lets_in(server: &TestServer, name: &str, password: &str) -> bool {
    RawClient::greeted(server.address()).try_log_in(name, password).starts_with("230 ")
}

#[test]
fn the_hashes_of_other_systems_log_in_and_are_checked_as_strictly() {
    let file = File::new();
    let lines: Vec<String> = HASHES.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect();
    fs::write(&file.path, lines.concat()).unwrap();
    let server = file.serve();
    for (name, _) in HASHES {
        assert!(!lets_in(&server, name, "Secret"), "{name}");
        assert!(lets_in(&server, name, "secret"), "{name}");
    }
}

#[test]
fn a_hash_that_costs_too_much_is_refused_at_the_start_and_by_check() {
    let file = File::new();
    let hash = HASHES[0].1.replace("rounds=20000", "rounds=999999999");
    fs::write(&file.path, format!("alice {}\nbob {hash}\n", HASHES[3].1)).unwrap();
    let root = file.folder.path().join("root");
    fs::create_dir(&root).unwrap();
    for words in [&[][..], &["check"]] {
        let run = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
            .args(words)
            .args(["--port=0", "--root"])
            .arg(&root)
            .arg("--users")
            .arg(&file.path)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(1), "{run:?}");
        let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
        for what in ["line 2", "bob", "rounds=999999999 is above the limit 1000000"] {
            assert!(said.contains(what), "{said}");
        }
    }
}

#[test]
fn shadow_and_passwd_are_imported_one_after_the_other() {
    let file = File::new();
    let shadow = file.write(
        "shadow",
        &format!("daemon:*:1:0:99999:7:::\nalice:{}:1::::::\nold:$1$a$b:1::::::\n", HASHES[2].1),
    );
    let Ran { status, out, errors } = file.run(&["--import", "passwd", &shadow], "");
    assert_eq!(out, "imported 1 user, 1 entries without a password, 1 not imported\n");
    assert_eq!(status, Some(1), "one user was not imported");
    assert!(errors.contains("line 3: user old: the hash is md5-crypt"), "{errors}");
    let home = file.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("a"), "hers").unwrap();
    let passwd = format!("alice:x:1:1::{}:/bin/sh\ndaemon:x:1:1::/x:/bin/sh\n", home.display());
    assert_eq!(file.run(&["--import", "passwd"], &passwd).status, Some(0));
    let server = file.serve();
    let mut alice = RawClient::log_in_as(server.address(), "alice", "secret");
    assert_eq!(alice.retrieve("a"), b"hers");
    assert!(!lets_in(&server, "daemon", "*"));
}

#[test]
fn htpasswd_and_csv_are_imported_and_a_wrong_csv_changes_nothing() {
    let file = File::new();
    let htpasswd = file.write("htpasswd", &format!("web:{}\n", HASHES[4].1));
    assert_eq!(file.run(&["--import", "htpasswd", &htpasswd], "").status, Some(0));
    let csv = file.write(
        "csv",
        "name,password,may,group,expires\nann,\"a,b\",\"list,read\",staff,2099-12-31\nben,9yQ2,,,\n",
    );
    let Ran { status, errors, .. } = file.run(&["--import=csv", &csv], "");
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let before = fs::read_to_string(&file.path).unwrap();
    assert!(!before.contains("a,b") && !before.contains("9yQ2"), "{before}");
    for (text, what) in [
        ("name,colour\nx,blue\n", "line 2: unknown setting 'colour'"),
        ("name,password,quota\nx,y,1\nz,y,much\n", "line 3: 'much' is not a number of bytes"),
        ("x,y\n", "no column 'name'"),
    ] {
        let Ran { status, errors, .. } = file.run(&["--import", "csv", "-"], text);
        assert_eq!((status, errors.lines().count()), (Some(1), 1), "{errors}");
        assert!(errors.contains(what), "{errors}");
    }
    for words in [&["--import", "xml", "-"][..], &["alice", "--list"], &["--json"], &[]] {
        assert_eq!(file.run(words, "").status, Some(2), "{words:?}");
    }
    assert_eq!(fs::read_to_string(&file.path).unwrap(), before);
    let server = file.serve();
    for (name, password) in [("web", "secret"), ("ann", "a,b"), ("ben", "9yQ2")] {
        assert!(lets_in(&server, name, password), "{name}");
    }
}

#[test]
fn a_list_shows_each_user_as_text_and_as_json() {
    let file = File::new();
    let words =
        ["alice", "--group", "sta ff", "--umask", "027", "--expires", "2020-01-31", "--quota=1K"];
    assert_eq!(file.run(&words, "secret").status, Some(0));
    assert_eq!(file.run(&["bob", "--comment", "who?"], "word").status, Some(0));
    assert_eq!(file.run(&["bob", "--disable"], "").status, Some(0));
    let Ran { status, out, .. } = file.run(&["--list"], "");
    assert_eq!(status, Some(0));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("alice  expired   argon2id"), "{out}");
    assert!(lines[1].ends_with("group=sta%20ff umask=027 expires=2020-01-31"), "{out}");
    assert!(lines[2].starts_with("bob    disabled  argon2id"), "{out}");
    let listed: serde_json::Value =
        serde_json::from_str(&file.run(&["--list", "--json"], "").out).unwrap();
    assert_eq!(listed[0]["name"], "alice");
    assert_eq!(listed[0]["quota"], 1024);
    assert_eq!(listed[0]["group"], "sta ff");
    assert_eq!(listed[1]["state"], "disabled");
    assert_eq!(listed[1]["comment"], "who?");
    assert!(!out.contains("$argon2id$"));
    assert_eq!(
        file.run(&["alice", "--keep-password", "--unset", "group", "--unset=umask"], "").status,
        Some(0)
    );
    let text = fs::read_to_string(&file.path).unwrap();
    assert!(
        !text.contains("group=") && !text.contains("umask=") && text.contains("expires="),
        "{text}"
    );
}

#[test]
fn a_user_who_is_disabled_or_expired_gets_the_reply_to_a_wrong_password() {
    let file = File::new();
    for (name, words) in [
        ("off", &["--comment=x"][..]),
        ("old", &["--expires=2020-02-29"]),
        ("new", &["--expires=2099-01-01"]),
    ] {
        assert_eq!(file.run(&[&[name], words].concat(), "secret").status, Some(0));
    }
    assert_eq!(file.run(&["off", "--disable"], "").status, Some(0));
    let server = file.serve();
    let reply = |name: &str| RawClient::greeted(server.address()).try_log_in(name, "secret");
    assert_eq!(reply("off"), "530 Login incorrect.");
    assert_eq!(reply("old"), "530 Login incorrect.");
    assert!(reply("new").starts_with("230 "));
    assert_eq!(file.run(&["off", "--enable"], "").status, Some(0));
    server.server.as_ref().unwrap().reload();
    assert!(reply("off").starts_with("230 "));
}

#[test]
fn the_umask_of_a_user_decides_the_modes_of_new_files_and_directories() {
    let file = File::new();
    let home = file.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let home_word = home.to_str().unwrap();
    for (name, umask) in [("open", "0"), ("closed", "077")] {
        let words = [name, "--home", home_word, "--umask", umask];
        assert_eq!(file.run(&words, "secret").status, Some(0));
    }
    let server = file.serve();
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    for (name, of_file, of_directory) in [("open", 0o664, 0o775), ("closed", 0o600, 0o700)] {
        let mut client = RawClient::log_in_as(server.address(), name, "secret");
        client.store(&format!("{name}.txt"), b"x");
        assert!(client.ask(&format!("MKD {name}")).starts_with("257 "));
        assert_eq!(mode(&format!("{name}.txt")), of_file);
        assert_eq!(mode(name), of_directory);
    }
    // A file that is replaced keeps its mode.
    RawClient::log_in_as(server.address(), "closed", "secret").store("open.txt", b"y");
    assert_eq!(mode("open.txt"), 0o664);
    assert!(Path::new(home_word).is_dir());
}
