//! The client on a terminal: a pseudo-terminal, a real server, and keys.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::common::outside::skip;
use crate::common::secure::certificate;
use crate::common::{PATIENCE, TestServer, until};
use crate::odd_servers::OddServer;
use poolftpd::internal::net::tls::TlsFiles;

/// The client on a pseudo-terminal, and all that it has written there.
pub(crate) struct Terminal {
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    client: Child,
    pub(crate) home: TempDir,
}

impl Terminal {
    pub(crate) fn start(server: &TestServer, columns: u16, words: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        Self::start_in(server, columns, words, home)
    }

    /// Starts the client with this home, which is the working directory, too.
    pub(crate) fn start_in(
        server: &TestServer,
        columns: u16,
        words: &[&str],
        home: TempDir,
    ) -> Self {
        Self::start_at(server.address(), columns, words, home, &[])
    }

    /// Starts the client with a server at this address, and with more variables of the environment.
    pub(crate) fn start_at(
        server: SocketAddr,
        columns: u16,
        words: &[&str],
        home: TempDir,
        variables: &[(&str, &str)],
    ) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keys, size).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let end: OwnedFd = File::options().read(true).write(true).open(name).unwrap().into();
        let stdio = || Stdio::from(end.try_clone().unwrap());
        let client = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_ftpclient")])
            .args(words)
            .args([server.ip().to_string(), server.port().to_string()])
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("TERM", "xterm")
            .env_remove("LS_COLORS")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("NO_COLOR")
            .env_remove("PAGER")
            .envs(variables.iter().copied())
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, seen) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { keys, screen, client, home }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the text appears behind the first `from` bytes of the screen.
    pub(crate) fn expect(&self, from: usize, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().get(from..).is_some_and(|screen| screen.contains(text)) {
            assert!(Instant::now() < deadline, "'{text}' does not appear in:\n{}", self.text());
            thread::yield_now();
        }
    }

    /// Waits for the end of the client, and returns its home and its exit status.
    pub(crate) fn end(mut self) -> (TempDir, Option<i32>) {
        let client = &mut self.client;
        until("the client ends", || client.try_wait().unwrap().is_some());
        (self.home, self.client.wait().unwrap().code())
    }
}

/// Returns twenty commands that leave a trace each, and their traces in order.
fn twenty() -> (String, Vec<String>) {
    let names: Vec<String> = (0..20).map(|number| format!("made{number:02}")).collect();
    let lines: Vec<String> = names.iter().map(|name| format!("mkdir {name}\r")).collect();
    (lines.concat(), names)
}

fn is_there(server: &TestServer, name: &str) -> bool {
    server.root.path().join(name).is_dir()
}

/// Returns the positions on the screen at which these words first appear.
fn positions(screen: &str, words: &[String]) -> Vec<Option<usize>> {
    words.iter().map(|word| screen.find(word.as_str())).collect()
}

#[test]
fn lines_that_are_pasted_at_once_all_run_in_order() {
    let server = TestServer::start(|config| config.write = true);
    let mut terminal = Terminal::start(&server, 100, &[]);
    terminal.expect(0, "> ");
    let (lines, names) = twenty();
    terminal.press(&format!("{lines}bye\r"));
    let screen = Arc::clone(&terminal.screen);
    let (_, status) = terminal.end();
    assert_eq!(status, Some(0));
    for name in &names {
        assert!(is_there(&server, name), "{name}");
    }
    let screen = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
    assert!(positions(&screen, &names).is_sorted(), "{screen}");
}

#[test]
fn lines_that_are_typed_while_a_transfer_runs_all_run_behind_it() {
    let server = TestServer::start(|config| config.write = true);
    fs::write(server.root.path().join("slow.bin"), vec![7; 400_000]).unwrap();
    let mut terminal = Terminal::start(&server, 100, &["--limit", "200K"]);
    terminal.expect(0, "> ");
    terminal.press("get slow.bin\r");
    let part = terminal.home.path().join("slow.bin.part");
    until("the transfer runs", || part.exists());
    let (lines, names) = twenty();
    terminal.press(&lines);
    terminal.press("bye\r");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert_eq!(fs::metadata(home.path().join("slow.bin")).unwrap().len(), 400_000);
    assert!(names.iter().all(|name| is_there(&server, name)));
}

#[test]
fn a_paste_in_brackets_runs_as_well() {
    let server = TestServer::start(|config| config.write = true);
    let mut terminal = Terminal::start(&server, 100, &[]);
    terminal.expect(0, "> ");
    let (lines, names) = twenty();
    // A terminal sends these marks if the program has asked for them.
    let asked = terminal.text().contains("\x1b[?2004h");
    let (begin, end) = if asked { ("\x1b[200~", "\x1b[201~") } else { ("", "") };
    terminal.press(&format!("{begin}{lines}{end}\rbye\r"));
    let (_, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert!(names.iter().all(|name| is_there(&server, name)));
}

#[test]
fn an_answer_that_was_typed_ahead_runs_as_a_command() {
    let server = TestServer::start(|config| config.write = true);
    server.write("a", "theirs");
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("a"), "mine").unwrap();
    let mut terminal = Terminal::start_in(&server, 100, &[], home);
    terminal.expect(0, "> ");
    let (lines, names) = twenty();
    terminal.press(&format!("get a\r{lines}bye\r"));
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert!(names.iter().all(|name| is_there(&server, name)));
    assert_eq!(fs::read_to_string(home.path().join("a")).unwrap(), "mine");
}

#[test]
fn the_user_decides_about_a_file_that_differs() {
    let server = TestServer::start(|_| {});
    server.write("a", "theirs");
    for (answer, expected) in [("n", "mine"), ("y", "theirs")] {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("a"), "mine").unwrap();
        let mut terminal = Terminal::start_in(&server, 100, &[], home);
        terminal.expect(0, "> ");
        terminal.press("get a\r");
        terminal.expect(0, "Replace it?");
        terminal.press(&format!("{answer}\rbye\r"));
        let (home, _) = terminal.end();
        assert_eq!(fs::read_to_string(home.path().join("a")).unwrap(), expected);
    }
}

#[test]
fn no_line_is_wider_than_a_narrow_terminal() {
    let server = TestServer::start(|_| {});
    let name = "a name that is long and has 中文 in it.bin";
    server.write(name, vec![7; 300_000]);
    for columns in [40, 60, 100] {
        let mut terminal = Terminal::start(&server, columns, &["--limit", "200K"]);
        terminal.expect(0, "> ");
        terminal.press(&format!("get '{name}'\r"));
        terminal.expect(0, "%");
        terminal.expect(0, "-> ");
        terminal.press("bye\r");
        let screen = Arc::clone(&terminal.screen);
        terminal.end();
        let screen = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
        let lines = screen.split(['\r', '\n']).filter(|line| line.contains('%'));
        for line in lines.map(without_escapes) {
            let width = unicode_width::UnicodeWidthStr::width(line.as_str());
            assert!(width <= usize::from(columns), "{columns}: {line}");
        }
    }
}

#[test]
fn the_total_of_a_tree_moves_in_one_line_of_a_narrow_terminal() {
    let server = TestServer::start(|_| {});
    fs::create_dir(server.root.path().join("中文 tree")).unwrap();
    for number in 0..12 {
        server.write(&format!("中文 tree/文{number}"), vec![7; 30_000]);
    }
    for (columns, command) in [(40, "get -r"), (40, "mirror"), (20, "get -P 2 -r"), (100, "get -r")]
    {
        let mut terminal = Terminal::start(&server, columns, &["--limit", "300K"]);
        terminal.expect(0, "> ");
        terminal.press(&format!("{command} '中文 tree'\r"));
        terminal.expect(0, " of 12 ");
        terminal.expect(0, "12 files, ");
        terminal.press("bye\r");
        let screen = Arc::clone(&terminal.screen);
        terminal.end();
        let screen = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
        let lines = screen.split(['\r', '\n']).map(without_escapes);
        for line in lines.filter(|line| line.contains(" of 12 ")) {
            let width = unicode_width::UnicodeWidthStr::width(line.as_str());
            assert!(width <= usize::from(columns), "{columns}: {line}");
        }
        assert_eq!(screen.matches("files, ").count(), 1, "{screen}");
    }
}

/// Removes the control sequences of a terminal.
fn without_escapes(line: &str) -> String {
    let mut text = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            letters.find(char::is_ascii_alphabetic);
        } else {
            text.push(letter);
        }
    }
    text
}

#[test]
fn the_history_is_kept_over_sessions_without_passwords() {
    let server = TestServer::start(|config| config.write = true);
    let mut terminal = Terminal::start(&server, 100, &[]);
    terminal.expect(0, "> ");
    terminal.press("mkdir once\ruser ftp topsecret\rbye\r");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    let history = home.path().join(".local/state/ftpclient/history");
    let text = fs::read_to_string(&history).unwrap();
    assert!(text.contains("mkdir once") && !text.contains("topsecret"), "{text}");
    fs::remove_dir(server.root.path().join("once")).unwrap();
    let mut terminal = Terminal::start_in(&server, 100, &[], home);
    terminal.expect(0, "> ");
    // Up twice, past `bye`.
    terminal.press("\x1b[A\x1b[A\r");
    terminal.expect(0, "mkdir once");
    until("the command of the earlier session runs", || is_there(&server, "once"));
    terminal.press("bye\r");
    terminal.end();
}

#[test]
fn the_prompt_shows_the_server_and_the_directory() {
    let server = TestServer::start(|_| {});
    fs::create_dir(server.root.path().join("music")).unwrap();
    let mut terminal = Terminal::start(&server, 100, &[]);
    let place = format!("127.0.0.1:{}", server.address().port());
    terminal.expect(0, &format!("{place}:/ ftp> "));
    terminal.press("cd music\r");
    terminal.expect(0, &format!("{place}:/music ftp> "));
    terminal.press("bye\r");
    terminal.end();
}

#[test]
fn names_options_and_commands_are_completed_also_inside_of_quotes() {
    use std::os::unix::ffi::OsStrExt;
    let server = TestServer::start(|config| config.write = true);
    server.write("two words.txt", "in quotes");
    let latin = std::ffi::OsStr::from_bytes(b"latin\xe9.txt");
    fs::write(server.root.path().join(latin), "one byte").unwrap();
    let mut terminal = Terminal::start(&server, 100, &[]);
    terminal.expect(0, "> ");
    terminal.press("get \"two\t\r");
    terminal.expect(0, "get \"two words.txt\"");
    terminal.press("get lat\t\r");
    terminal.expect(0, "get latin\\xe9.txt");
    terminal.press("help mkd\t\r");
    terminal.expect(0, "help mkdir");
    terminal.expect(0, "Example: mkdir");
    let from = terminal.text().find("Example: mkdir").unwrap();
    terminal.expect(from, "ftp> ");
    terminal.press("get --no\t\x15");
    terminal.expect(0, "get --no-clobber");
    terminal.press("bye\r");
    let (home, _) = terminal.end();
    assert_eq!(fs::read_to_string(home.path().join("two words.txt")).unwrap(), "in quotes");
    assert_eq!(fs::read_to_string(home.path().join(latin)).unwrap(), "one byte");
}

#[test]
fn names_have_the_colours_of_ls_colors() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start(|_| {});
    fs::create_dir(server.root.path().join("music")).unwrap();
    for name in ["a.tar", "plain", "中文.tar", "run"] {
        server.write(name, name);
    }
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(server.root.path().join("run"), mode).unwrap();
    let colors = ("LS_COLORS", "di=01;34:ex=01;32:*.tar=01;31");
    for (variables, is_colored) in
        [([colors].as_slice(), true), (&[colors, ("NO_COLOR", "1")], false), (&[], false)]
    {
        let home = TempDir::new().unwrap();
        let mut terminal = Terminal::start_at(server.address(), 100, &[], home, variables);
        terminal.expect(0, "> ");
        terminal.press("ls\rbye\r");
        let screen = Arc::clone(&terminal.screen);
        terminal.end();
        let screen = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
        for (style, name) in
            [("1;34", "music/"), ("1;32", "run"), ("1;31", "a.tar"), ("1;31", "中文.tar")]
        {
            let painted = format!("\x1b[{style}m{name}\x1b[0m");
            assert_eq!(screen.contains(&painted), is_colored, "{name}: {screen:?}");
        }
        let line = screen.lines().map(without_escapes).find(|line| line.contains("music/"));
        assert_eq!(line.unwrap().trim_end(), "a.tar  music/  plain  run  中文.tar");
    }
}

#[test]
fn a_file_is_paged() {
    let server = TestServer::start(|_| {});
    server.write("poem", "one\ntwo\n");
    for (command, pager) in [
        ("more", "sed s/^/page:/"),
        ("less", "sed s/^/page:/"),
        ("page", "grep -v none | sed s/^/page:/"),
    ] {
        let home = TempDir::new().unwrap();
        let mut terminal =
            Terminal::start_at(server.address(), 100, &[], home, &[("PAGER", pager)]);
        terminal.expect(0, "> ");
        terminal.press(&format!("{command} poem\rpwd\rbye\r"));
        terminal.expect(0, "page:one\r\npage:two\r\n");
        let (_, status) = terminal.end();
        assert_eq!(status, Some(0));
    }
    // A pager that ends before it has read everything is no error.
    server.write("long", vec![b'x'; 2_000_000]);
    let home = TempDir::new().unwrap();
    let variables = [("PAGER", "head -c 5")];
    let mut terminal = Terminal::start_at(server.address(), 100, &[], home, &variables);
    terminal.expect(0, "> ");
    terminal.press("more long\rmkdir x\rbye\r");
    terminal.expect(0, "xxxxx");
    let screen = Arc::clone(&terminal.screen);
    terminal.end();
    let screen = String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
    assert!(!screen.contains("roken pipe"), "{screen}");
}

#[test]
fn a_certificate_is_trusted_by_the_user_and_a_changed_one_is_refused() {
    let folder = TempDir::new().unwrap();
    let keys = certificate(folder.path(), "127.0.0.1");
    let server = TestServer::start(|config| {
        config.tls = TlsFiles { keys: vec![keys], ..TlsFiles::default() };
    });
    let start = |home| Terminal::start_in(&server, 100, &[], home);
    // Without an agreement, the client does not connect.
    let mut terminal = start(TempDir::new().unwrap());
    terminal.expect(0, "Trust it for");
    terminal.press("no\r");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(5));
    let known = home.path().join(".local/share/ftpclient/known_hosts");
    assert!(!known.exists());
    let mut terminal = start(home);
    terminal.expect(0, "Its SHA-256 is ");
    terminal.expect(0, "[y/N]");
    terminal.press("y\r");
    terminal.expect(0, "ftp> ");
    terminal.press("bye\r");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    // It is remembered.
    let mut terminal = start(home);
    terminal.expect(0, "ftp> ");
    assert!(!terminal.text().contains("Trust it"), "{}", terminal.text());
    terminal.press("bye\r");
    let (home, _) = terminal.end();
    // Another certificate is remembered than the server has: no question, but a refusal.
    let text = fs::read_to_string(&known).unwrap();
    let (place, _) = text.split_once(' ').unwrap();
    fs::write(&known, format!("{place} {}\n", "ab".repeat(32))).unwrap();
    let terminal = start(home);
    terminal.expect(0, "THE CERTIFICATE OF THIS SERVER HAS CHANGED");
    terminal.expect(0, "known_hosts");
    let screen = terminal.text();
    let (_, status) = terminal.end();
    assert_eq!(status, Some(5), "{screen}");
    assert!(!screen.contains("Trust it") && !screen.contains("ftp> "), "{screen}");
}

#[test]
fn a_line_that_was_typed_ahead_is_no_password() {
    let server = OddServer::start(|on, line| match line {
        "USER anna" => on.say("331 password\r\n"),
        "PASS good" => on.say("230 in\r\n"),
        line if line.starts_with("PASS") => on.say("530 wrong\r\n"),
        "MKD made" => on.say("257 made\r\n"),
        // The lines are typed while this command runs.
        "DELE slow" => {
            thread::sleep(std::time::Duration::from_millis(500));
            on.say("250 gone\r\n")
        }
        _ => false,
    });
    let home = TempDir::new().unwrap();
    let mut terminal = Terminal::start_at(server.address, 100, &[], home, &[]);
    terminal.expect(0, "> ");
    terminal.press("quote DELE slow\r");
    until("the command runs", || server.count("DELE") == 1);
    terminal.press("user anna\rmkdir made\r");
    terminal.expect(0, "Password for anna: ");
    terminal.press("good\rbye\r");
    let (_, status) = terminal.end();
    assert_eq!(status, Some(0));
    let lines = server.lines.lock().unwrap().join("\n");
    assert!(lines.contains("USER anna\nPASS good\n") && lines.contains("MKD made"), "{lines}");
}

/// Runs a script in a network of its own; `None` where that cannot be made.
fn in_own_network(script: &str) -> Option<std::process::Output> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]);
        command
    };
    let works = unshare().args(["ip", "link", "set", "lo", "up"]).output().ok()?;
    if !works.status.success() {
        return None;
    }
    Some(unshare().args(["sh", "-c", script]).output().unwrap())
}

#[test]
fn without_a_port_the_client_tries_2121_and_then_21() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    let (server, client) = (env!("CARGO_BIN_EXE_ftpserver"), env!("CARGO_BIN_EXE_ftpclient"));
    for (ports, expected, status) in [
        ([21].as_slice(), "using port 21", 0),
        (&[2121], "Connected to 127.0.0.1:2121", 0),
        (&[21, 2121], "Connected to 127.0.0.1:2121", 0),
        (&[], "Port 21 does not answer, either", 3),
    ] {
        let servers: String = ports
            .iter()
            .map(|port| {
                format!(
                    "rm -f line; mkfifo line; {server} --root root --bind 127.0.0.1 --port {port} \
                     --quiet >line 2>>log & read -r ready <line; pids=\"$pids $!\"\n"
                )
            })
            .collect::<Vec<_>>()
            .concat();
        let script = format!(
            "cd {}; ip link set lo up; pids=; {servers}HOME=. {client} --tls off --retries 0 \
             -c pwd 127.0.0.1; status=$?; [ -z \"$pids\" ] || kill $pids; exit $status",
            folder.path().display()
        );
        let Some(output) = in_own_network(&script) else {
            return skip("networks cannot be made here");
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{ports:?}: {errors}");
        assert!(errors.contains(expected), "{ports:?}: {errors}");
    }
}
