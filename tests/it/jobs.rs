//! Commands in the background: `&`, `queue`, `jobs`, `wait`, `kill`, Ctrl-Z, and leaving with running transfers.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::outside::{run_script, skip};
use crate::common::{TestServer, until};
use crate::odd_servers::OddServer;
use crate::programs::client_in;
use crate::terminal::Terminal;

fn run(server: &TestServer, folder: &Path, words: &[&str], script: &str) -> (i32, String, String) {
    let port = server.address().port().to_string();
    client_in(folder, &[words, &["127.0.0.1", &port]].concat(), script)
}

fn content(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[test]
fn a_script_waits_for_what_it_has_started() {
    let server = TestServer::start(|config| config.write = true);
    for name in ["a", "b", "c"] {
        server.write(name, name);
    }
    for script in [
        "get a & get b &\nget c\n",
        "get a&\nget b&; get c\nwait\n",
        "queue get a\nqueue get b\nget c &\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (status, _, errors) = run(&server, folder.path(), &[], script);
        assert_eq!(status, 0, "{script}: {errors}");
        for name in ["a", "b", "c"] {
            assert_eq!(content(folder.path(), name), name, "{script}");
        }
        assert!(errors.contains("get a (done)"), "{errors}");
    }
}

#[test]
fn a_job_that_fails_decides_the_status() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    server.write("a", "a");
    let (status, _, errors) = run(&server, folder.path(), &[], "get missing &\nwait\nget a\n");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("get missing (failed)"), "{errors}");
    assert_eq!(content(folder.path(), "a"), "a");
    let (status, _, errors) =
        run(&server, folder.path(), &["-e", "--clobber"], "get missing &\nwait\nget a again\n");
    assert_eq!(status, 1, "{errors}");
    assert!(!folder.path().join("again").exists());
    for script in ["open x &\n", "ls &\n", "queue pwd\n", "wait 7\n", "kill 7\n", "&\n", "get &\n"]
    {
        assert_eq!(run(&server, folder.path(), &[], script).0, 2, "{script}");
    }
}

#[test]
fn queued_commands_run_one_after_the_other() {
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let server = OddServer::start(move |on, line| {
        if !line.starts_with("RETR") {
            return false;
        }
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let sent = on.transfer("abc");
        running.fetch_sub(1, Ordering::SeqCst);
        sent
    });
    let folder = tempfile::tempdir().unwrap();
    let script: String =
        (0..8).map(|number| format!("queue get f{number}\n")).collect::<Vec<_>>().concat();
    let (status, _, errors) = server.run_in(folder.path(), &[], &script);
    assert_eq!(status, 0, "{errors}");
    let lines = server.lines.lock().unwrap().clone();
    let order: Vec<String> = lines.into_iter().filter(|line| line.starts_with("RETR")).collect();
    let expected: Vec<String> = (0..8).map(|number| format!("RETR f{number}")).collect();
    assert_eq!((order, seen.load(Ordering::SeqCst)), (expected, 1));
}

fn has_bytes(part: &Path) -> bool {
    fs::metadata(part).is_ok_and(|found| found.len() > 0)
}

/// Starts a download that takes long, and returns its terminal.
fn slow(server: &TestServer, commands: &str) -> Terminal {
    fs::write(server.root.path().join("slow.bin"), vec![7; 400_000]).unwrap();
    let mut terminal = Terminal::start(server, 100, &["--limit", "100K"]);
    terminal.expect(0, "> ");
    terminal.press(commands);
    let part = terminal.home.path().join("slow.bin.part");
    until("the transfer runs", || has_bytes(&part));
    terminal
}

#[test]
fn the_user_browses_while_transfers_run() {
    let server = TestServer::start(|config| config.write = true);
    server.write("small", "small");
    let mut terminal = slow(&server, "get slow.bin &\r");
    terminal.press("mkdir made; get small; jobs\r");
    until("the other commands run", || terminal.home.path().join("small").exists());
    terminal.expect(0, "[1] get slow.bin (running");
    assert!(server.root.path().join("made").is_dir());
    assert!(!terminal.home.path().join("slow.bin").exists(), "the transfer has ended before");
    terminal.press("wait\rbye\r");
    terminal.expect(0, "[1] get slow.bin (done)");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert_eq!(fs::metadata(home.path().join("slow.bin")).unwrap().len(), 400_000);
}

/// As in a container that was entered: the shell, its group and its session are outside of the PID namespace, so that
/// the kernel gives each the number 0.
#[test]
fn the_client_runs_where_its_session_has_no_number() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    server.write("a", "a");
    let namespace = "unshare --pid --fork --mount-proc";
    if run_script(&format!("{namespace} true"), folder.path(), &[]).is_err() {
        return skip("needs unshare and root");
    }
    let (client, port) = (env!("CARGO_BIN_EXE_ftpclient"), server.address().port());
    let script = format!("{namespace} '{client}' 127.0.0.1 {port} <commands 2>&1");
    fs::write(folder.path().join("commands"), "get a &\nwait\nget a b\n").unwrap();
    run_script(&script, folder.path(), &[]).unwrap();
    assert_eq!(content(folder.path(), "b"), "a");
}

#[test]
fn ctrl_z_puts_the_running_transfer_into_the_background() {
    let server = TestServer::start(|config| config.write = true);
    for command in ["get slow.bin\r", "get -r . .\r"] {
        let mut terminal = slow(&server, command);
        terminal.press("\x1a");
        terminal.expect(0, "(in the background)");
        terminal.press("mkdir made\r");
        until("the next command runs", || server.root.path().join("made").is_dir());
        assert!(!terminal.home.path().join("slow.bin").exists(), "the transfer has ended before");
        terminal.press("wait\rbye\r");
        terminal.expect(0, "(done)");
        let (home, status) = terminal.end();
        assert_eq!(status, Some(0));
        assert_eq!(fs::metadata(home.path().join("slow.bin")).unwrap().len(), 400_000);
        fs::remove_dir(server.root.path().join("made")).unwrap();
    }
}

#[test]
fn ctrl_c_ends_the_command_in_the_foreground_only() {
    let server = TestServer::start(|_| {});
    server.write("other.bin", vec![7; 400_000]);
    let mut terminal = slow(&server, "get slow.bin &\r");
    terminal.press("get other.bin\r");
    let part = terminal.home.path().join("other.bin.part");
    until("the second transfer runs", || has_bytes(&part));
    terminal.press("\x03");
    terminal.expect(0, "get it again to resume");
    terminal.press("wait\rbye\r");
    terminal.expect(0, "[1] get slow.bin (done)");
    let (home, _) = terminal.end();
    assert!(home.path().join("slow.bin").exists() && !home.path().join("other.bin").exists());
}

#[test]
fn leaving_with_running_transfers_asks_first() {
    let server = TestServer::start(|_| {});
    for (answer, is_complete) in [("w", true), ("y", false)] {
        let mut terminal = slow(&server, "get slow.bin &\r");
        terminal.press("bye\r");
        terminal.expect(0, "Leave?");
        terminal.press("n\r");
        terminal.press("pwd\r");
        terminal.expect(0, "\n/\r");
        let from = terminal.text().len();
        terminal.press("quit\r");
        terminal.expect(from, "Leave?");
        terminal.press(&format!("{answer}\r"));
        let (home, status) = terminal.end();
        assert_eq!(status, Some(0));
        assert_eq!(home.path().join("slow.bin").exists(), is_complete, "{answer}");
        assert_eq!(home.path().join("slow.bin.part").exists(), !is_complete, "{answer}");
    }
}

#[test]
fn a_job_is_stopped_by_its_number_and_keeps_its_part() {
    let server = TestServer::start(|_| {});
    let mut terminal = slow(&server, "get slow.bin &\r");
    terminal.press("queue get slow.bin again\rqueue get slow.bin third\rkill 3\r");
    terminal.expect(0, "[3] get slow.bin third (stopped)");
    terminal.press("kill 1; wait 1\r");
    terminal.expect(0, "[1] get slow.bin (stopped)");
    terminal.press("kill all; wait\rbye\r");
    let (home, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert!(home.path().join("slow.bin.part").exists());
    for name in ["slow.bin", "again", "third"] {
        assert!(!home.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_question_of_a_transfer_is_answered_at_the_prompt_or_not_asked_in_the_background() {
    let server = TestServer::start(|_| {});
    server.write("a", "theirs");
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a"), "mine").unwrap();
    let mut terminal = Terminal::start_in(&server, 100, &[], home);
    terminal.expect(0, "> ");
    terminal.press("get a &\rwait\r");
    terminal.expect(0, "[1] get a (failed)");
    assert_eq!(content(terminal.home.path(), "a"), "mine");
    terminal.press("get a\r");
    terminal.expect(0, "Replace it?");
    terminal.press("y\rbye\r");
    let (home, _) = terminal.end();
    assert_eq!(content(home.path(), "a"), "theirs");
}

#[test]
fn ctrl_z_at_the_prompt_does_not_stop_a_client_that_nobody_could_continue() {
    let server = TestServer::start(|config| config.write = true);
    // The client leads its session, so there is no shell with job control.
    let mut terminal = Terminal::start(&server, 100, &[]);
    terminal.expect(0, "> ");
    terminal.press("\x1amkdir made\rbye\r");
    let (_, status) = terminal.end();
    assert_eq!(status, Some(0));
    assert!(server.root.path().join("made").is_dir());
}
