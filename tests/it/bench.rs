//! `ftpbench` against our server, and against one that sends less than it announces: counts only what was transferred.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::common::TestServer;
use rustix::process::{Pid, Signal, kill_process};

/// Runs ftpbench for a short time; returns its status, its lines of JSON and its error messages.
fn bench(address: SocketAddr, words: &[&str]) -> (Option<i32>, Vec<String>, String) {
    outcome(command(address, "0.1", words).output().unwrap())
}

fn command(address: SocketAddr, seconds: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpbench"));
    command.args(["--json", "-t", seconds]).args(words);
    command.args([address.ip().to_string(), address.port().to_string()]);
    command
}

fn outcome(output: Output) -> (Option<i32>, Vec<String>, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let lines = text(output.stdout).lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(output.stderr))
}

/// Returns the whole number after a name in a line of JSON.
fn number(line: &str, name: &str) -> u64 {
    let behind = line.split(&format!("\"{name}\":")).nth(1).unwrap();
    behind.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn every_load_is_done_without_a_failure_and_leaves_nothing_behind() {
    let server = TestServer::writable();
    let process = std::process::id().to_string();
    let loads = "download,upload,small,login,burst,idle,crowd,interactive,mix,list,mlsd";
    let words = ["-l", loads, "-n", "3", "-s", "200K", "--pid", &process];
    let (status, lines, complaints) = bench(server.address(), &words);
    assert_eq!((status, complaints.as_str()), (Some(0), ""));
    // Three loads have more than one row: burst, interactive, mix.
    assert_eq!(lines.len(), 11 + 1 + 1 + 2, "{lines:#?}");
    for line in &lines {
        assert!(number(line, "failed") == 0, "{line}");
        let slow = line.contains("\"what\":\"slow readers\"");
        assert!(slow || number(line, "done") > 0, "{line}");
    }
    let download = lines.iter().find(|line| line.contains("\"load\":\"download\"")).unwrap();
    assert!(number(download, "bytes") >= number(download, "done") * 204_800, "{download}");
    assert_eq!(fs::read_dir(server.root.path()).unwrap().count(), 0);
}

#[test]
fn ctrl_c_ends_the_measurement_shows_it_and_leaves_nothing_behind() {
    let server = TestServer::writable();
    let words = ["-l", "upload,list", "-n", "3", "-s", "200K"];
    let child = command(server.address(), "3600", &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    crate::common::until("the last of its clients stores nothing", || {
        server.path("ftpbench-2.bin").exists()
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (status, lines, complaints) = outcome(child.wait_with_output().unwrap());
    assert_eq!((status, complaints.as_str()), (Some(130), ""));
    assert_eq!(lines.len(), 1, "the load that was under way, and none after it: {lines:#?}");
    // A file on the disk does not mean that its reply has arrived.
    assert!(
        number(&lines[0], "bytes") >= 204_800 && number(&lines[0], "failed") == 0,
        "{lines:#?}"
    );
    assert_eq!(fs::read_dir(server.root.path()).unwrap().count(), 0);
}

#[test]
fn files_are_fetched_in_block_mode_too() {
    let server = TestServer::start(|_| {});
    server.write("file", vec![7; 100_000]);
    for ahead in ["0", "1", "20"] {
        let words = ["-l", "small", "-n", "2", "--block", "--ahead", ahead, "--path", "/file"];
        let (status, lines, complaints) = bench(server.address(), &words);
        assert_eq!((status, complaints.as_str()), (Some(0), ""), "{ahead}");
        let (done, bytes) = (number(&lines[0], "done"), number(&lines[0], "bytes"));
        // The last files may be in transit, and an incomplete file is not counted.
        assert!(done > 0 && bytes >= done * 100_000, "{ahead}: {lines:?}");
    }
}

#[test]
fn in_block_mode_the_file_to_download_is_uploaded_in_stream_mode() {
    let server = TestServer::writable();
    let (status, lines, complaints) =
        bench(server.address(), &["-l", "download", "-n", "2", "-s", "100K", "--block"]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""));
    assert!(number(&lines[0], "done") > 0, "{lines:?}");
    assert_eq!(fs::read_dir(server.root.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_measured_is_one_line_that_says_why() {
    let server = TestServer::start(|_| {});
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, words, what) in [
        (server.address(), ["-l", "download", "-s", "1K"].as_slice(), "--path"),
        (server.address(), &["-l", "small", "--path", "/missing"], "550 "),
        (server.address(), &["-l", "login", "-u", "joe:wrong"], "530 "),
        (server.address(), &["-l", "login", "--pid", "4194305"], "no process 4194305"),
        (closed, &["-l", "login"], "connection refused"),
    ] {
        let (status, _, complaints) = bench(address, words);
        assert_eq!(status, Some(1), "{words:?}");
        assert!(complaints.starts_with("ftpbench: ") && complaints.contains(what), "{complaints}");
        assert_eq!(complaints.lines().count(), 1, "{complaints}");
    }
    for words in [["-l", "nonsense"], ["-t", "0"], ["-n", "0"], ["--ahead", "1"]] {
        assert_eq!(bench(closed, &words).0, Some(2), "{words:?}");
    }
}

/// Starts a server that sends half of the announced size.
fn liar() -> SocketAddr {
    fn converse(control: &TcpStream) -> Option<()> {
        let say = |line: &str| (&*control).write_all(format!("{line}\r\n").as_bytes()).ok();
        let mut passive = None;
        say("220 half")?;
        for line in BufReader::new(control).lines() {
            match line.ok()?.split(' ').next()? {
                "USER" => say("331 go on")?,
                "PASS" => say("230 go on")?,
                "TYPE" => say("200 fine")?,
                "SIZE" => say("213 100")?,
                "EPSV" => {
                    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                    say(&format!("229 here (|||{}|)", listener.local_addr().ok()?.port()))?;
                    passive = Some(listener);
                }
                "RETR" => {
                    say("150 now")?;
                    passive.take()?.accept().ok()?.0.write_all(&[0; 50]).ok()?;
                    say("226 done")?;
                }
                _ => say("500 no")?,
            }
        }
        Some(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || converse(&client));
        }
    });
    address
}

#[test]
fn half_a_file_is_a_failure_whatever_the_reply_said() {
    let (status, lines, complaints) = bench(liar(), &["-l", "small", "-n", "1", "--path", "/file"]);
    assert_eq!(status, Some(1));
    assert_eq!(number(&lines[0], "failed"), 1, "{lines:?}");
    assert!(complaints.contains("50 bytes of 100"), "{complaints}");
}
