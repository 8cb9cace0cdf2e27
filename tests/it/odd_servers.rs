//! The client against servers that do what real servers do, but no standard says.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const CLIENT: &str = env!("CARGO_BIN_EXE_ftpclient");

/// An invented server. A script answers what makes it odd, and the rest is answered as usual.
pub(crate) struct OddServer {
    pub(crate) address: SocketAddr,
    /// The lines of all clients.
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    /// The lines that had come before the reply to the line in front of them.
    pub(crate) early: Arc<Mutex<Vec<String>>>,
}

/// One connection to an invented server.
pub(crate) struct Conversation {
    control: TcpStream,
    pub(crate) data: TcpListener,
    /// Number of connections before this one.
    pub(crate) number: usize,
    /// Set by a script that has heard of the next transfer.
    pub(crate) is_announced: bool,
}

impl Conversation {
    /// Sends lines as they are.
    pub(crate) fn say(&mut self, text: &str) -> bool {
        self.control.write_all(text.as_bytes()).is_ok()
    }

    /// Accepts the data connection, sends bytes and closes it.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let (mut data, _) = self.data.accept().unwrap();
        let _sent = data.write_all(bytes);
    }

    /// Sends a listing or a file, with its replies.
    pub(crate) fn transfer(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.say("150 here\r\n");
        self.send(bytes.as_ref());
        self.say("226 done\r\n")
    }

    /// Stores a file, with its replies, and returns it.
    pub(crate) fn store(&mut self) -> Vec<u8> {
        self.say("150 go\r\n");
        let mut bytes = Vec::new();
        let (mut data, _) = self.data.accept().unwrap();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        self.say("226 stored\r\n");
        bytes
    }

    /// Answers as a small server without extensions does.
    fn usual(&mut self, line: &str) -> bool {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let reply = match verb {
            "USER" => "230 in\r\n".to_owned(),
            "TYPE" | "NOOP" => "200 ok\r\n".to_owned(),
            "EPSV" => {
                self.data = TcpListener::bind("127.0.0.1:0").unwrap();
                format!("229 ok (|||{}|)\r\n", self.data.local_addr().unwrap().port())
            }
            "PWD" => "257 \"/\"\r\n".to_owned(),
            "CWD" if !argument.contains("none") => "250 there\r\n".to_owned(),
            "QUIT" => "221 bye\r\n".to_owned(),
            "CWD" | "DELE" | "RETR" => "550 no\r\n".to_owned(),
            _ => "500 what?\r\n".to_owned(),
        };
        self.say(&reply)
    }
}

impl OddServer {
    /// Starts a server. `script` answers a line and returns true, or returns false for the usual answer. A script that
    /// shuts its connection down ends it.
    pub(crate) fn start(
        script: impl Fn(&mut Conversation, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::greeting(|_| "220 odd\r\n", script)
    }

    /// Starts a server with its own greeting for each connection, by their number.
    pub(crate) fn greeting(
        greeting: impl Fn(usize) -> &'static str + Send + Sync + 'static,
        script: impl Fn(&mut Conversation, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let early = Arc::<Mutex<Vec<String>>>::default();
        let (script, log, early_log) = (Arc::new(script), Arc::clone(&lines), Arc::clone(&early));
        thread::spawn(move || {
            for (number, control) in listener.incoming().flatten().enumerate() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                let early = Arc::clone(&early_log);
                let greeting = greeting(number);
                thread::spawn(move || {
                    let data = TcpListener::bind("127.0.0.1:0").unwrap();
                    let mut reader = BufReader::new(control.try_clone().unwrap());
                    let mut conversation =
                        Conversation { control, data, number, is_announced: false };
                    conversation.say(greeting);
                    let mut is_early = false;
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            break;
                        }
                        let line = line.trim_end().to_owned();
                        log.lock().unwrap().push(line.clone());
                        if is_early {
                            early.lock().unwrap().push(line.clone());
                        }
                        is_early = !reader.buffer().is_empty();
                        if !script(&mut conversation, &line) && !conversation.usual(&line) {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, lines, early }
    }

    /// Runs the client in `folder` on these commands. Returns its status, and both of its outputs.
    pub(crate) fn run_in(
        &self,
        folder: &Path,
        options: &[&str],
        commands: &str,
    ) -> (i32, String, String) {
        let retries: &[&str] =
            if options.contains(&"--retries") { &[] } else { &["--retries", "1"] };
        let mut child = Command::new(CLIENT)
            .args(["--timeout", "2"])
            .args(retries)
            .args(options)
            .args(["127.0.0.1", &self.address.port().to_string()])
            .current_dir(folder)
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _written = child.stdin.take().unwrap().write_all(commands.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    pub(crate) fn run(&self, commands: &str) -> (i32, String, String) {
        self.run_in(tempfile::tempdir().unwrap().path(), &[], commands)
    }

    /// Returns the number of lines that begin with these words.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(words)).count()
    }
}

const ENTRY: &str = "-rw-r--r-- 1 u g 3 Jan 26 20:59 a\r\n";

#[test]
fn a_listing_that_cannot_be_read_gets_its_names_from_nlst() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a" => {
            on.transfer("@@ ONE 17\r\n-rw-r--r-- 1 u g 3 Jan 26 20:59 two\r\n@@ SUB -\r\n")
        }
        "NLST" => on.transfer("ONE\r\ntwo\r\nSUB\r\n"),
        "LIST -a SUB" => on.transfer("-rw-r--r-- 1 u g 3 Jan 26 20:59 deep\r\n"),
        "RETR ./ONE" | "RETR ./two" | "RETR SUB/deep" | "RETR ONE" | "RETR two" => {
            on.transfer("abc")
        }
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let (status, out, errors) = server.run_in(folder.path(), &[], "ls\nmget [Ot]*\n");
    assert_eq!((status, out.as_str()), (0, "ONE\nSUB\ntwo\n"), "{errors}");
    assert_eq!(fs::read(folder.path().join("ONE")).unwrap(), b"abc");
}

#[test]
fn what_is_a_directory_is_found_out_where_the_listing_does_not_show_it() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a d" => on.transfer("@@ one\r\n@@ sub\r\n"),
        "NLST d" => on.transfer("d/one\r\nd/sub\r\n"),
        "LIST -a d/sub" => on.transfer(ENTRY),
        "RETR d/one" | "RETR d/sub/a" => on.transfer("abc"),
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = server.run_in(folder.path(), &[], "get -r d\n");
    assert_eq!(status, 0, "{errors}");
    for name in ["d/one", "d/sub/a"] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"abc");
    }
}

#[test]
fn lines_that_nothing_explains_are_reported_and_the_status_is_not_0() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a" | "LIST -a d" | "LIST" => on.transfer([ENTRY, "@@ ONE 17\r\n"].concat()),
        "RETR a" | "RETR d/a" => on.transfer("abc"),
        "DELE a" => on.say("250 gone\r\n"),
        _ => false,
    });
    for commands in ["ls\n", "get -r d\n", "mget *\n", "rm *\n"] {
        let (status, _, errors) = server.run(commands);
        assert_eq!(status, 6, "{commands}: {errors}");
        assert!(errors.contains("1 line of the listing"), "{errors}");
        assert!(errors.contains("\"@@ ONE 17\""), "{errors}");
    }
    assert_eq!((server.count("RETR d/a"), server.count("DELE a")), (1, 1));
}

#[test]
fn a_flag_that_is_taken_for_a_name_is_left_out_from_then_on() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a" => on.transfer(""),
        "LIST" => on.transfer(ENTRY),
        _ => false,
    });
    let (status, out, errors) = server.run("ls\nls\n");
    assert_eq!((status, out.as_str()), (0, "a\na\n"), "{errors}");
    assert_eq!((server.count("LIST -a"), server.count("LIST")), (1, 3));
}

#[test]
fn mlsd_that_does_not_work_is_replaced_by_list() {
    let server = OddServer::start(|on, line| match line {
        "FEAT" => on.say("211-Features\r\n MLST type*;size*;\r\n211 End\r\n"),
        "MLSD" => on.say("502 not implemented\r\n"),
        "LIST -a" => on.transfer(ENTRY),
        _ => false,
    });
    let (status, out, errors) = server.run("ls\nls\n");
    assert_eq!((status, out.as_str()), (0, "a\na\n"), "{errors}");
    assert_eq!(server.count("MLSD"), 1);
}

#[test]
fn mlsd_of_no_directory_is_an_error_also_where_list_is_empty() {
    let server = OddServer::start(|on, line| match line {
        "FEAT" => on.say("211-Features\r\n MLST type*;size*;\r\n211 End\r\n"),
        "MLSD none" => on.say("550 no such directory\r\n"),
        "MLSD" => on.transfer("type=cdir; .\r\ntype=file;size=1; b\r\ntype=dir; ..\r\n"),
        _ if line.starts_with("LIST") => on.transfer(""),
        _ => false,
    });
    let (status, out, errors) = server.run("ls none\nls\n");
    assert_eq!((status, out.as_str()), (1, "b\n"), "{errors}");
    assert!(errors.contains("550 no such directory"), "{errors}");
}

#[test]
fn an_empty_directory_that_is_refused_is_empty() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a d" | "LIST d" => on.say("450 No files found\r\n"),
        "LIST -a e" | "LIST e" => on.say("550 Directory is empty\r\n"),
        "LIST -a none" | "LIST none" => on.say("550 not found\r\n"),
        _ => false,
    });
    let (status, out, errors) = server.run("ls d\nls e\n");
    assert_eq!((status, out.as_str()), (0, ""), "{errors}");
    assert_eq!(server.run("ls none\n").0, 1);
}

#[test]
fn a_server_without_type_a_lists_in_the_type_that_it_has() {
    let server = OddServer::start(|on, line| match line {
        "TYPE A" => on.say("504 only I\r\n"),
        "LIST -a" => on.transfer(ENTRY),
        _ => false,
    });
    let (status, out, errors) = server.run("ls\nls\n");
    assert_eq!((status, out.as_str()), (0, "a\na\n"), "{errors}");
    assert_eq!(server.count("TYPE A"), 1);
}

#[test]
fn a_reply_too_many_is_not_taken_for_the_next_command() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a" => on.transfer(ENTRY) && on.say("226 again\r\n"),
        "RETR a" => on.transfer("abc") && on.say("226 again\r\n"),
        "PWD" => on.say("150 stray\r\n257 \"/\"\r\n"),
        _ => false,
    });
    for commands in ["ls\nrm precious\n", "ls\npwd\nrm precious\n"] {
        let (status, out, errors) = server.run(commands);
        assert_eq!(status, 1, "{errors}");
        assert!(errors.contains("rm precious: 550 no"), "{errors}");
        assert!(out.starts_with("a\n"), "{out}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) =
        server.run_in(folder.path(), &[], "get a\nls\nget --clobber a\npwd\n");
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_late_reply_of_a_transfer_is_not_taken_for_that_of_rm() {
    // The second 226 comes after the command that follows it was sent.
    let server = OddServer::start(|on, line| match line {
        "LIST -a" => on.transfer(ENTRY),
        "DELE precious" => on.say("226 again\r\n") && on.say("550 no\r\n"),
        "DELE gone" => on.say("226 deleted\r\n"),
        _ => false,
    });
    let (status, _, errors) = server.run("ls\nrm precious\n");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("rm precious: 550 no"), "{errors}");
    assert_eq!(server.run("rm gone\n").0, 0);
}

#[test]
fn a_listing_without_1yz_is_what_came_over_the_data_connection() {
    let server = OddServer::start(|on, line| match line {
        "LIST -a" | "LIST" => on.say("226 nothing\r\n"),
        "LIST -a d" => {
            on.say("226 done\r\n");
            on.send(ENTRY.as_bytes());
            true
        }
        _ => false,
    });
    let (status, out, errors) = server.run("ls\nls d\npwd\n");
    assert_eq!((status, out.as_str()), (0, "a\n/\n"), "{errors}");
}

#[test]
fn servers_that_are_careless_with_block_mode_get_stream_mode() {
    type Script = fn(&mut Conversation, &str) -> bool;
    fn files(on: &mut Conversation, line: &str) -> bool {
        match line {
            "LIST -a" => on.transfer(ENTRY),
            // The first bytes pass for the header of a block.
            "RETR a" => on.transfer("P\0\x02abcdefg"),
            "SIZE a" => on.say("213 10\r\n"),
            "MODE S" => on.say("200 stream\r\n"),
            _ => false,
        }
    }
    let agrees: Script =
        |on, line| if line == "MODE B" { on.say("200 ok\r\n") } else { files(on, line) };
    let hangs_up: Script = |on, line| {
        if line == "MODE B" {
            on.control.shutdown(std::net::Shutdown::Both).unwrap();
            return true;
        }
        files(on, line)
    };
    let is_silent: Script = |on, line| line == "MODE B" || files(on, line);
    for script in [agrees, hangs_up, is_silent] {
        let server = OddServer::start(script);
        for commands in ["ls\nget a\n", "get a\nls\n"] {
            let folder = tempfile::tempdir().unwrap();
            let (status, out, errors) = server.run_in(folder.path(), &[], commands);
            assert_eq!((status, out.as_str()), (0, "a\n"), "{errors}");
            assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"P\0\x02abcdefg");
        }
    }
}

#[test]
fn an_upload_to_a_server_that_is_careless_with_block_mode_arrives_as_it_is() {
    for with_size in [true, false] {
        let stored = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&stored);
        let server = OddServer::start(move |on, line| match line {
            "MODE B" | "MODE S" => on.say("200 ok\r\n"),
            "STOR up" => {
                *seen.lock().unwrap() = on.store();
                true
            }
            "SIZE up" if with_size => {
                let reply = format!("213 {}\r\n", seen.lock().unwrap().len());
                on.say(&reply)
            }
            _ => false,
        });
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("up"), "content").unwrap();
        let (status, _, errors) = server.run_in(folder.path(), &[], "put up\n");
        assert_eq!(status, 0, "{errors}");
        assert_eq!(*stored.lock().unwrap(), b"content");
    }
}

#[test]
fn a_file_whose_end_is_never_confirmed_is_complete_if_it_fits() {
    let server = OddServer::start(|on, line| match line {
        "SIZE a" => on.say("213 3\r\n"),
        "SIZE b" => on.say("213 4\r\n"),
        "RETR a" | "RETR b" => {
            on.say("150 here\r\n");
            on.send(b"abc");
            true
        }
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = server.run_in(folder.path(), &[], "get a\n");
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("did not confirm the end"), "{errors}");
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"abc");
    assert_eq!(server.count("RETR a"), 1);
    let (status, _, errors) = server.run_in(folder.path(), &["--retries", "0"], "get b\n");
    assert_eq!(status, 6, "{errors}");
    assert!(!folder.path().join("b").exists());
}

#[test]
fn a_server_that_wants_pret_gets_it() {
    let server = OddServer::start(|on, line| match line {
        "EPSV" if on.is_announced => {
            on.is_announced = false;
            false
        }
        "EPSV" | "PASV" => on.say("500 You need to use a client supporting PRET\r\n"),
        "PRET LIST -a" => {
            on.is_announced = true;
            on.say("200 planning\r\n")
        }
        "LIST -a" => on.transfer(ENTRY),
        _ => false,
    });
    let (status, out, errors) = server.run("ls\n");
    assert_eq!((status, out.as_str()), (0, "a\n"), "{errors}");
}

/// Returns a server whose first connection ends before this line, in this way.
fn hangs_up_before(first: &'static str, farewell: &'static str) -> OddServer {
    OddServer::start(move |on, line| {
        if on.number == 0 && line == "NOOP" {
            return true;
        }
        if on.number == 0 && line.starts_with(first) {
            on.say(farewell);
            on.control.shutdown(std::net::Shutdown::Both).unwrap();
            return true;
        }
        match line {
            "CWD sub" | "CWD /sub" => on.say("250 there\r\n"),
            "PWD" => on.say("257 \"/sub\"\r\n"),
            "LIST -a" => on.transfer(ENTRY),
            "SIZE a" => on.say("213 3\r\n"),
            "RETR a" => on.transfer("abc"),
            "DELE a" | "MKD m" | "RNTO b" => on.say("250 done\r\n"),
            "RNFR a" => on.say("350 to\r\n"),
            _ => false,
        }
    })
}

#[test]
fn every_command_reconnects_and_returns_to_its_directory() {
    let farewell = "421 idle for too long\r\n";
    for (command, first) in [
        ("ls", "TYPE A"),
        ("cd sub", "CWD sub"),
        ("size a", "TYPE I"),
        ("get a", "SIZE"),
        ("rm a", "DELE"),
        ("rename a b", "RNFR"),
        ("mkdir m", "MKD"),
        ("quote NOOP2", "NOOP2"),
    ] {
        let server = hangs_up_before(first, farewell);
        let folder = tempfile::tempdir().unwrap();
        let before = if command == "cd sub" { "" } else { "cd sub\n" };
        let commands = format!("{before}{command}\npwd\n");
        let (status, out, errors) = server.run_in(folder.path(), &[], &commands);
        assert_eq!(status, i32::from(command.starts_with("quote")), "{command}: {errors}");
        assert!(out.ends_with("/sub\n"), "{command}: {out}");
        assert_eq!(errors.matches("reconnected to 127.0.0.1").count(), 1, "{command}: {errors}");
        assert_eq!(server.count("CWD /sub"), usize::from(!before.is_empty()), "{command}");
    }
}

#[test]
fn what_may_have_been_done_is_not_repeated() {
    for (command, first) in [("rm a", "DELE"), ("rename a b", "RNTO"), ("mkdir m", "MKD")] {
        let server = hangs_up_before(first, "");
        let (status, out, errors) = server.run(&format!("{command}\npwd\n"));
        assert_eq!((status, out.as_str()), (3, "/sub\n"), "{command}: {errors}");
        assert!(errors.contains("may have executed"), "{command}: {errors}");
        assert_eq!(server.count(first), 1, "{command}");
    }
}

#[test]
fn too_many_connections_at_the_greeting_are_tried_again() {
    let full = "421 too many connections\r\n";
    let server = OddServer::greeting(
        move |number| if number < 1 { full } else { "220 hi\r\n" },
        |_, _| false,
    );
    let (status, out, errors) = server.run("pwd\n");
    assert_eq!((status, out.as_str()), (0, "/\n"), "{errors}");
    assert!(errors.contains("retrying in 1 s (1 of 1)"), "{errors}");
    let server = OddServer::greeting(move |_| full, |_, _| false);
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = server.run_in(folder.path(), &["--retries", "0"], "pwd\n");
    assert_eq!(status, 3);
    assert!(errors.contains("try again later") && !errors.contains("implicit"), "{errors}");
}

#[test]
fn a_server_that_fails_at_auth_tls_gets_the_hint_at_tls_off() {
    type Script = fn(&mut Conversation, &str) -> bool;
    let hangs_up: Script = |on, line| {
        let is_auth = line == "AUTH TLS";
        if is_auth {
            on.control.shutdown(std::net::Shutdown::Both).unwrap();
        }
        is_auth
    };
    let is_silent: Script = |_, line| line == "AUTH TLS";
    let agrees: Script = |on, line| {
        if line == "AUTH TLS" {
            on.say("234 go\r\n");
            on.control.shutdown(std::net::Shutdown::Both).unwrap();
            return true;
        }
        false
    };
    let odd: Script = |on, line| {
        if line == "AUTH TLS" {
            return on.say("200 whatever\r\n");
        }
        on.control.shutdown(std::net::Shutdown::Both).unwrap();
        true
    };
    for script in [hangs_up, is_silent, agrees, odd] {
        let (_, _, errors) = OddServer::start(script).run("pwd\n");
        assert!(errors.contains("--tls off"), "{errors}");
    }
}

#[test]
fn the_port_of_a_data_connection_is_found_in_any_text() {
    type Form = fn(u16) -> String;
    fn pair(port: u16, between: &str) -> String {
        format!("{}{between}{}", port / 256, port % 256)
    }
    let forms: [Form; 8] = [
        |port| format!("227 Entering Passive Mode (127, 0, 0, 1, {})\r\n", pair(port, ", ")),
        |port| format!("227 Entering Passive Mode ( 127 ,0 ,0 ,1 ,{} )\r\n", pair(port, " ,")),
        |port| format!("227 Entering Passive Mode 127,0,0,1,{}.\r\n", pair(port, ",")),
        |port| format!("227 =127,0,0,1,{}\r\n", pair(port, ",")),
        |port| format!("227 Passive mode on 127 0 0 1 {}\r\n", pair(port, " ")),
        |port| format!("227 Entering Passive Mode (::1,{})\r\n", pair(port, ",")),
        |port| format!("227 Entering Passive Mode (|||{port}|)\r\n"),
        |port| format!("227 Entering Passive Mode (10.9.8.7:{port})\r\n"),
    ];
    for form in forms {
        let server = OddServer::start(move |on, line| match line {
            "EPSV" => on.say("500 what?\r\n"),
            "PASV" => {
                on.data = TcpListener::bind("127.0.0.1:0").unwrap();
                let text = form(on.data.local_addr().unwrap().port());
                on.say(&text)
            }
            "LIST -a" => on.transfer(ENTRY),
            _ => false,
        });
        let (status, out, errors) = server.run("ls\n");
        assert_eq!((status, out.as_str()), (0, "a\n"), "{}{errors}", form(1025));
    }
}

#[test]
fn a_directory_is_reported_also_without_quotes() {
    for (text, path) in [
        ("257 /a b is current directory\r\n", "/a b"),
        ("257 /a\r\n", "/a"),
        ("257 Current directory is /a\r\n", "/a"),
        ("257 '/a' is cwd\r\n", "/a"),
    ] {
        let server = OddServer::start(move |on, line| line == "PWD" && on.say(text));
        let (status, out, errors) = server.run("pwd\ncd sub\npwd\n");
        assert_eq!((status, out), (0, format!("{path}\n{path}\n")), "{text}: {errors}");
    }
}

#[test]
fn a_file_whose_data_connection_is_reset_is_complete_if_it_fits_and_was_confirmed() {
    let reset = |on: &mut Conversation, reply: &str| {
        on.say("150 here\r\n");
        let (mut data, _) = on.data.accept().unwrap();
        data.write_all(b"abc").unwrap();
        rustix::net::sockopt::set_socket_linger(&data, Some(std::time::Duration::ZERO)).unwrap();
        drop(data);
        on.say(reply)
    };
    let server = OddServer::start(move |on, line| match line {
        "SIZE a" | "SIZE refused" => on.say("213 3\r\n"),
        "SIZE long" => on.say("213 4\r\n"),
        "RETR a" | "RETR long" | "RETR unknown" | "LIST -a" | "LIST" => reset(on, "226 done\r\n"),
        "RETR refused" => reset(on, "426 aborted\r\n"),
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &str| server.run_in(folder.path(), &["--retries", "0"], command);
    let (status, _, errors) = run("get a\n");
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("reset the data connection; the size fits"), "{errors}");
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"abc");
    let (status, out, errors) = run("cat a\n");
    assert_eq!((status, out.as_str()), (0, "abc"), "{errors}");
    for command in ["get long", "get unknown", "get refused", "cat long", "ls"] {
        let (status, _, errors) = run(&format!("{command}\n"));
        assert_eq!(status, 6, "{command}: {errors}");
    }
    for name in ["long", "unknown", "refused"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_server_of_another_protocol_is_named() {
    for (greeting, named) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "an SSH server"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        ("<!DOCTYPE html>\r\n", "a web server"),
        ("+OK POP3 ready\r\n", "a POP3 server"),
        ("* OK IMAP4 ready\r\n", "an IMAP server"),
        ("hello there\r\n", "not an FTP server"),
    ] {
        let server = OddServer::greeting(move |_| greeting, |_, _| true);
        let (status, _, errors) = server.run("pwd\n");
        assert_eq!(status, 3, "{greeting}: {errors}");
        assert!(errors.contains(named), "{greeting}: {errors}");
        assert!(!errors.contains("implicit") && !errors.contains("retrying"), "{errors}");
    }
}

#[test]
fn a_mirror_repeats_no_command_that_may_have_been_executed() {
    use std::sync::atomic::{AtomicBool, Ordering};
    // Hangs up in place of the reply to `line`, once, after the server has executed it or not.
    let mirror = |line: &'static str, is_executed: bool| {
        let (is_made, hangs_up) = (AtomicBool::new(false), AtomicBool::new(true));
        let server = OddServer::start(move |on, asked| {
            if asked == line && hangs_up.swap(false, Ordering::Relaxed) {
                is_made.fetch_or(is_executed, Ordering::Relaxed);
                on.control.shutdown(std::net::Shutdown::Both).unwrap();
                return true;
            }
            match asked {
                "CWD copy/sub" if !is_made.load(Ordering::Relaxed) => on.say("550 no\r\n"),
                "LIST -a copy" => on.transfer(
                    "-rw-r--r-- 1 u g 3 Jan 26 2020 old\r\n-rw-r--r-- 1 u g 3 Jan 26 2020 older\r\n",
                ),
                "MKD copy" => on.say("550 exists\r\n"),
                "MKD copy/sub" | "DELE copy/old" | "DELE copy/older" => on.say("250 done\r\n"),
                "STOR copy/sub/a" => on.store() == b"abc",
                _ => false,
            }
        });
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("here/sub")).unwrap();
        fs::write(folder.path().join("here/sub/a"), "abc").unwrap();
        let (status, _, errors) =
            server.run_in(folder.path(), &[], "mirror -R --delete here copy\n");
        (status, errors, server)
    };
    for (is_executed, count) in [(true, 1), (false, 2)] {
        let (status, errors, server) = mirror("MKD copy/sub", is_executed);
        assert_eq!((status, server.count("MKD copy/sub")), (0, count), "{errors}");
        assert_eq!(server.count("DELE"), 2, "{errors}");
    }
    let (status, errors, server) = mirror("DELE copy/old", true);
    assert_eq!(status, 3, "{errors}");
    assert!(errors.contains("may have executed"), "{errors}");
    let lines = server.lines.lock().unwrap().clone();
    let count = |line: &str| lines.iter().filter(|sent| *sent == line).count();
    assert_eq!((count("DELE copy/old"), count("DELE copy/older")), (1, 1), "{lines:?}");
}
