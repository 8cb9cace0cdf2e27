//! Uploads that a virus scanner looks at before they get their names.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::common::outside::skip;
use super::common::raw::RawClient;
use super::common::{TestServer, noise, until};

/// The content that this scanner finds.
pub(crate) const BAD: &[u8] = b"BAD-CONTENT";

/// A scanner that speaks the protocol of clamd, and finds [`BAD`].
pub(crate) struct Scanner {
    pub(crate) address: String,
    scanned: Arc<AtomicUsize>,
}

impl Scanner {
    /// Answers each file by a function of its content; none is no answer.
    fn answering(answer: impl Fn(&[u8]) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let scanned = Arc::<AtomicUsize>::default();
        let (count, answer) = (Arc::clone(&scanned), Arc::new(answer));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut command = [0; 10];
                    stream.read_exact(&mut command).unwrap();
                    assert_eq!(&command, b"zINSTREAM\0");
                    let mut content = Vec::new();
                    loop {
                        let mut length = [0; 4];
                        stream.read_exact(&mut length).unwrap();
                        let length = u32::from_be_bytes(length) as usize;
                        if length == 0 {
                            break;
                        }
                        let start = content.len();
                        content.resize(start + length, 0);
                        stream.read_exact(&mut content[start..]).unwrap();
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    match answer(&content) {
                        Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                        // Waits until the server gives up.
                        None => drop(stream.read(&mut [0])),
                    }
                });
            }
        });
        Self { address, scanned }
    }

    pub(crate) fn usual() -> Self {
        Self::answering(|content| {
            let is_bad = content.windows(BAD.len()).any(|part| part == BAD);
            Some(if is_bad { "stream: Test.Bad FOUND\0" } else { "stream: OK\0" })
        })
    }

    fn server(&self, adjust: impl FnOnce(&mut poolftpd::internal::settings::Config)) -> TestServer {
        let address = self.address.parse().unwrap();
        TestServer::start(|config| {
            config.write = true;
            config.scan = Some(address);
            adjust(config);
        })
    }
}

/// Sends a file; returns the final reply.
fn send(client: &mut RawClient, command: &str, bytes: &[u8]) -> String {
    let mut data = client.open_data();
    let reply = client.ask(command);
    assert!(reply.starts_with("150 "), "{reply}");
    data.write_all(bytes).unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    drop(data);
    client.reply()
}

fn names(server: &TestServer) -> Vec<String> {
    let entries = fs::read_dir(server.root.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_infected_file_never_gets_its_name_and_the_old_one_stays() {
    let scanner = Scanner::usual();
    for flush in [true, false] {
        let server = scanner.server(|config| config.flush = flush);
        let mut client = RawClient::log_in(server.address());
        let large = noise(300_000);
        assert!(send(&mut client, "STOR good", &large).starts_with("226 "));
        assert_eq!(server.read("good"), large);
        let bad = [noise(100_000), BAD.to_vec(), noise(100_000)].concat();
        for command in ["STOR bad", "STOR good", "STOU"] {
            let reply = send(&mut client, command, &bad);
            assert_eq!(reply, "550 Refused: the file is infected with Test.Bad.", "{command}");
        }
        assert_eq!(server.read("good"), large);
        assert_eq!(names(&server), ["good"], "nothing is left of the infected files");
        assert!(client.ask("SIZE bad").starts_with("550 "));
    }
}

#[test]
fn the_parts_of_an_infected_file_are_found_when_they_come_together() {
    let scanner = Scanner::usual();
    let server = scanner.server(|_| {});
    let mut client = RawClient::log_in(server.address());
    let (first, second) = BAD.split_at(4);
    assert!(send(&mut client, "STOR a", first).starts_with("226 "));
    assert!(send(&mut client, "APPE a", second).starts_with("550 "));
    assert_eq!(server.read("a"), first);
    assert!(client.ask("REST 4").starts_with("350 "));
    assert!(send(&mut client, "STOR a", second).starts_with("550 "));
    assert_eq!(server.read("a"), first);
    // An upload that was cut off and is resumed is scanned as a whole.
    client.cut_off("b", first);
    assert!(client.ask("REST 4").starts_with("350 "));
    assert!(send(&mut client, "STOR b", second).starts_with("550 "));
    assert_eq!(names(&server), ["a"]);
    assert!(send(&mut client, "APPE a", b"good").starts_with("226 "));
    assert_eq!(server.read("a"), b"BAD-good");
}

#[test]
fn a_file_that_cannot_be_scanned_is_kept_for_later_and_not_seen() {
    for answer in [Some("INSTREAM size limit exceeded. ERROR\0"), Some("what?\0"), None] {
        let scanner = Scanner::answering(move |_| answer);
        let server = scanner.server(|config| {
            config.limits.scan_timeout = Duration::from_millis(200);
        });
        let mut client = RawClient::log_in(server.address());
        let reply = send(&mut client, "STOR a", b"content");
        assert_eq!(reply, "451 The file cannot be checked now; try again later.");
        assert!(!server.path("a").exists());
        server.log.expect(&["event=error", "cannot check an upload"]);
        assert_eq!(client.ask("SIZE a"), "213 7", "what has arrived is kept");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let down = Scanner { address, scanned: Arc::default() }.server(|_| {});
    let mut client = RawClient::log_in(down.address());
    assert!(send(&mut client, "STOR a", b"content").starts_with("451 "));
}

#[test]
fn abor_during_a_scan_wins_and_the_session_goes_on() {
    let scanner = Scanner::answering(|_| None);
    let server = scanner.server(|_| {});
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("STOR a").starts_with("150 "));
    data.write_all(b"content").unwrap();
    drop(data);
    until("nothing is scanned", || scanner.scanned.load(Ordering::Relaxed) == 1);
    assert!(client.ask("STAT").starts_with("211 "));
    assert!(client.ask("ABOR").starts_with("426 "));
    assert!(client.reply().starts_with("226 "));
    assert!(!server.path("a").exists());
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn an_infected_upload_is_in_the_audit_log_with_its_reason() {
    let (scanner, folder) = (Scanner::usual(), tempfile::tempdir().unwrap());
    let audit = folder.path().join("audit");
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
        .args(["--port=0", "--bind=127.0.0.1", "--write", "--scan", &scanner.address, "--root"])
        .arg(&root)
        .arg(format!("--log-also={},format=json,events=audit", audit.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Running)
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
    let mut client = RawClient::log_in(address);
    assert!(send(&mut client, "STOR b.txt", BAD).starts_with("550 "));
    let read = || fs::read_to_string(&audit).unwrap_or_default();
    let infected = || read().lines().find(|line| line.contains("\"infected\"")).map(str::to_owned);
    until("the audit log has no line", || infected().is_some());
    let line = infected().unwrap();
    for part in [
        "\"level\":\"warn\"",
        "\"user\":\"anonymous\"",
        "\"path\":\"/b.txt\"",
        "\"signature\":\"Test.Bad\"",
        "127.0.0.1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn clamd_finds_what_its_signatures_name() {
    if !Path::new("/usr/sbin/clamd").is_file() {
        return skip("clamd is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    fs::create_dir(folder.path().join("db")).unwrap();
    // The test file of EICAR, in two halves, so that no scanner finds it here.
    let eicar =
        [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    let digits: String =
        eicar.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    fs::write(folder.path().join("db/own.ndb"), format!("Own.Eicar:0:*:{digits}\n")).unwrap();
    fs::write(
        folder.path().join("clamd.conf"),
        format!("LocalSocket {place}/clamd\nDatabaseDirectory {place}/db\nForeground yes\nStreamMaxLength 1M\n"),
    )
    .unwrap();
    let _clamd = Command::new("/usr/sbin/clamd")
        .arg("--config-file")
        .arg(folder.path().join("clamd.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Running)
        .unwrap();
    let socket = folder.path().join("clamd");
    until("clamd does not listen", || UnixStream::connect(&socket).is_ok());
    let server = TestServer::start(|config| {
        config.write = true;
        config.scan = Some(socket.to_str().unwrap().parse().unwrap());
    });
    let mut client = RawClient::log_in(server.address());
    assert!(send(&mut client, "STOR good", &noise(500_000)).starts_with("226 "));
    let reply = send(&mut client, "STOR eicar.com", eicar.as_bytes());
    assert!(reply.starts_with("550 Refused: the file is infected with Own.Eicar"), "{reply}");
    assert_eq!(names(&server), ["good"]);
    server.log.expect(&["event=infected", "/eicar.com", "Own.Eicar"]);
    // More than clamd accepts: its own limit is the reason.
    assert!(send(&mut client, "STOR large", &noise(3_000_000)).starts_with("451 "));
    server.log.expect(&["StreamMaxLength"]);
}
