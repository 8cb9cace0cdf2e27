//! The outputs of the log: files, their formats and filters, reopening, and the filter of fail2ban.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::outside::{can_mount, find, run_script, skip};
use crate::common::raw::RawClient;
use crate::common::until;

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// The real server, with its root and a folder for its logs.
struct Running {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Running {
    fn start(words: &[&str]) -> Self {
        Self::start_in("UTC", words)
    }

    /// Starts the server in a time zone.
    fn start_in(zone: &str, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        let words = words
            .iter()
            .map(|word| word.replace("LOG", folder.path().join("log").to_str().unwrap()));
        let mut child = Command::new(SERVER)
            .args(["--bind", "127.0.0.1", "--port", "0", "--write", "--root"])
            .arg(folder.path().join("root"))
            .args(words)
            .env("TZ", zone)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address, folder }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("log").join(name)).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until a file of the log contains a word.
    fn expect(&self, name: &str, word: &str) {
        until(&format!("{word} in {name}"), || self.log(name).contains(word));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Stores and deletes a file.
fn work(address: SocketAddr, name: &str) {
    let mut client = RawClient::log_in(address);
    client.store(name, b"four");
    assert!(client.ask(&format!("DELE {name}")).starts_with("250 "));
    assert!(client.ask("QUIT").starts_with("221 "));
}

#[test]
fn each_output_has_its_format_and_its_events() {
    let server = Running::start(&[
        "--log-file",
        "LOG/main.log",
        "--log-also",
        "LOG/audit.json,format=json,events=audit,without=login",
        "--log-also",
        "LOG/xferlog,format=xferlog",
        "--log-also",
        "LOG/all,level=verbose,events=command",
    ]);
    work(server.address, "a b");
    server.expect("main.log", "event=disconnect");
    server.expect("audit.json", "\"event\":\"deleted\"");
    server.expect("xferlog", " d a anonymous ftp 0 * c\n");
    server.expect("all", "event=command line=\"QUIT\"");
    assert!(!server.log("main.log").contains("event=command"), "the level is one of each output");
    assert!(!server.log("all").contains("event=connect"));
    let audit = server.log("audit.json");
    let lines: Vec<&str> = audit.lines().collect();
    assert_eq!(lines.len(), 2, "{audit}");
    for word in [
        "{\"time\":\"",
        "\"event\":\"transfer\"",
        "\"verb\":\"STOR\"",
        "\"path\":\"/a b\"",
        "\"bytes\":4",
        "\"user\":\"anonymous\"",
        "\"peer_ip\":\"127.0.0.1\"",
    ] {
        assert!(lines[0].contains(word), "{word}: {audit}");
    }
    let xferlog = server.log("xferlog");
    assert!(
        xferlog.lines().all(|line| line.split(' ').filter(|word| !word.is_empty()).count() == 18)
    );
    assert!(xferlog.contains(" 127.0.0.1 4 /a_b b _ i a anonymous ftp 0 * c\n"), "{xferlog}");
    let mode =
        fs::metadata(server.folder.path().join("log/audit.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "others can read the log");
}

#[test]
fn the_transfer_log_has_local_times_which_its_readers_expect() {
    // Five and a half hours east of Greenwich.
    let words = ["--log-file", "LOG/main", "--log-also", "LOG/xferlog,format=xferlog"];
    let server = Running::start_in("IST-5:30", &words);
    work(server.address, "a");
    server.expect("main", "event=disconnect");
    server.expect("xferlog", " d a anonymous");
    let main = server.log("main");
    let line = main.lines().find(|line| line.contains("event=transfer")).unwrap();
    let at: jiff::Timestamp = line.split(' ').next().unwrap().parse().unwrap();
    let zone = jiff::tz::TimeZone::fixed(
        jiff::tz::offset(5).saturating_add(jiff::SignedDuration::from_mins(30)),
    );
    let expected = at.to_zoned(zone).strftime("%a %b %e %H:%M:%S %Y").to_string();
    assert!(server.log("xferlog").starts_with(&expected), "{expected}: {}", server.log("xferlog"));
}

#[test]
fn a_file_that_was_moved_is_opened_again_and_no_line_is_lost() {
    let server = Running::start(&["--log-file", "LOG/a"]);
    let folder = server.folder.path().join("log");
    RawClient::log_in(server.address).ask("QUIT");
    server.expect("a", "event=disconnect");
    fs::rename(folder.join("a"), folder.join("a.1")).unwrap();
    server.signal("-USR1");
    until("the file is there again", || folder.join("a").exists());
    RawClient::log_in(server.address).ask("QUIT");
    server.expect("a", "event=disconnect");
    let both = server.log("a.1") + &server.log("a");
    assert_eq!(both.matches("event=login ").count(), 2, "{both}");
    // A directory that was taken away leaves the open file in use.
    fs::rename(&folder, server.folder.path().join("moved")).unwrap();
    server.signal("-USR1");
    let moved = server.folder.path().join("moved/a");
    until("the reason is in the old file", || {
        fs::read_to_string(&moved).unwrap().contains("cannot open the log file again")
    });
    assert!(RawClient::log_in(server.address).ask("NOOP").starts_with("200 "));
}

fn refusal(words: &[&str]) -> String {
    let output = Command::new(SERVER).args(words).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_log_that_clients_could_fetch_or_that_cannot_be_opened_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let inside = folder.path().join("log");
    let text = refusal(&["--port", "0", "--root", root, "--log-file", inside.to_str().unwrap()]);
    assert!(text.contains("the log file") && text.contains(root), "{text}");
    let text = refusal(&["--port", "0", "--root", root, "--log-file", "/nowhere/log"]);
    assert!(text.contains("cannot log to /nowhere/log"), "{text}");
    let text = refusal(&["--port", "0", "--root", root, "--log-also", "a,events=colour"]);
    assert!(text.contains("'colour' is no event"), "{text}");
}

#[test]
fn clients_that_leave_without_a_command_do_not_fill_the_log() {
    let server = Running::start(&["--log-file", "LOG/a"]);
    for _ in 0..200 {
        let mut client = RawClient::greeted(server.address);
        // The session is over before the login, after which the next probe has a line again.
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_closed());
    }
    RawClient::log_in(server.address).ask("QUIT");
    server.expect("a", "event=login");
    // The count is logged with the end of the window, here that of the log.
    server.signal("-TERM");
    server.expect("a", "event=stopped");
    let is_counted = || server.log("a").contains("event=probes address=127.0.0.1 count=");
    until("the number of the others is logged", is_counted);
    let text = server.log("a");
    assert!(text.matches("event=probe ").count() <= 3, "{text}");
    assert!(text.lines().count() < 20, "{text}");
}

/// Lines of failed logins, each with the address that fail2ban must find; and lines in which it must find none.
fn lines() -> (Vec<String>, Vec<String>) {
    let now = jiff::Timestamp::now();
    let head = format!("{now:.3} level=info session=6bq4c0f2-7 peer=");
    let wrong = r#"event=login-failed user="alice" reason="login incorrect" cause=incorrect"#;
    let found = vec![
        format!("{head}192.0.2.7:5000 {wrong}"),
        format!("{head}[2001:db8::7]:5000 tls=1.3 {wrong}"),
        format!("{head}192.0.2.7:5000 user=\"bob\" host=\"a.example\" tls=1.2 {wrong}"),
        format!(
            "{now:.3} level=info slave=2 session=6bq4c0f2.2-7 peer=192.0.2.7:5000 event=login-failed \
             user=\"a\\\"b\\\\\" reason=\"user locked out\" cause=locked-out"
        ),
    ];
    let none = vec![
        format!("{head}192.0.2.7:5000 event=login user=\"event=login-failed\""),
        format!(
            "{head}192.0.2.7:5000 event=login-failed user=\"a\" reason=\"too many sessions\" cause=sessions"
        ),
        format!(
            "{head}192.0.2.7:5000 user=\"x\\\" event=login-failed user=\\\"a\" event=deleted path=\"/\\\" {}\"",
            wrong.replace('"', "\\\"")
        ),
    ];
    (found, none)
}

#[test]
fn fail2ban_finds_failed_logins_and_nothing_else() {
    if find("fail2ban-regex").is_none() {
        return skip("fail2ban is not installed");
    }
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/fail2ban/filter.conf");
    let matched = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log"), text).unwrap();
        let script = format!("fail2ban-regex log {}", filter.display());
        let output = run_script(&script, folder.path(), &[]).unwrap();
        let line = output.lines().find(|line| line.starts_with("Lines:")).unwrap_or_default();
        line.split(", ").find_map(|part| part.strip_suffix(" matched")).unwrap_or("?").to_owned()
    };
    let (found, none) = lines();
    for line in &found {
        assert_eq!(matched(&format!("{line}\n")), "1", "{line}");
    }
    assert_eq!(matched(&(none.join("\n") + "\n")), "0");
    // A line of the server itself.
    let server = Running::start(&["--log-file", "LOG/a"]);
    let reply = RawClient::greeted(server.address).try_log_in("no\"body", "x");
    assert!(reply.starts_with("530 "), "{reply}");
    server.expect("a", "event=login-failed");
    assert_eq!(matched(&server.log("a")), "1", "{}", server.log("a"));
}

/// Runs a journal of its own in a mount namespace, a server that logs to it, and prints what journalctl finds.
const JOURNAL_SCRIPT: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal "$1/root"
/lib/systemd/systemd-journald >"$1/journald" 2>&1 &
journald=$!
trap 'kill $journald' EXIT
while [ ! -S /run/systemd/journal/socket ]; do kill -0 $journald; done
"$2" --root "$1/root" --write --port 0 --bind 127.0.0.1 --log-also journal >"$1/out" 2>/dev/null &
server=$!
while ! grep -q listening "$1/out"; do kill -0 $server; done
port=$(sed 's/.*://' "$1/out")
echo content | curl -s -T - "ftp://127.0.0.1:$port/report.pdf"
curl -s -o "$1/list" -Q "DELE report.pdf" "ftp://127.0.0.1:$port/"
kill $server && wait $server
journalctl --no-pager -q -D /run/log/journal FTP_EVENT=deleted FTP_USER=anonymous -o json
"#;

#[test]
fn the_journal_finds_events_by_their_fields() {
    let missing = ["curl", "journalctl"].into_iter().find(|name| find(name).is_none());
    if missing.is_some() || !can_mount() || !Path::new("/lib/systemd/systemd-journald").exists() {
        return skip("needs the right to mount, curl and journald");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "timeout", "60", "bash", "-c", JOURNAL_SCRIPT, "script"]);
    let output = command.arg(folder.path()).arg(SERVER).output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = found.lines().next().unwrap_or_else(|| panic!("nothing in the journal: {errors}"));
    let fields: serde_json::Value = serde_json::from_str(line).unwrap();
    for (name, value) in
        [("FTP_PATH", "/report.pdf"), ("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "ftpserver")]
    {
        assert_eq!(fields[name], value, "{fields}");
    }
    assert!(fields["FTP_SESSION"].is_string() && fields["FTP_PEER"].is_string(), "{fields}");
}
