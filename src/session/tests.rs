//! The protocol in virtual time: a session is driven by hand, over loopback, with a clock that the test sets.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads the clock once, and looks at its own files"
)]

mod aborts;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tempfile::TempDir;

use super::{Checkers, Security, Service, Session};
use crate::events::Events;
use crate::log::{Level, Log, Writer};
use crate::net::admitted::AdmittedClient;
use crate::net::connection_limits::ConnectionLimits;
use crate::net::data::Resumption;
use crate::net::tls::self_signed;
use crate::net::tls::{Acceptor, KeyFiles, TlsFiles};
use crate::pool::{Class, FairPool, Task, Turn};
use crate::settings::{Config, Limits};
use crate::storage::{Accounts, Hosts, MemoryTree, Permissions, Root, Store};

/// Maximum number of looks, a millisecond each, for something that the other end must do.
const LOOKS_MAX: u32 = 10_000;

/// The log, in memory.
#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A session and its client, with an invented clock.
struct Pair {
    session: Session,
    client: BufReader<TcpStream>,
    now: Instant,
    /// The end of the last turn.
    last: Option<Turn>,
    log: Captured,
    writer: Writer,
    root: TempDir,
}

impl Pair {
    /// Connects a client, which has read the greeting.
    fn new() -> Self {
        let mut pair = Self::connect(false);
        pair.expect("220 ");
        pair
    }

    /// Connects a client to a server, with TLS if wanted, whose limits are the usual ones.
    fn connect(secure: bool) -> Self {
        Self::connect_to(secure, |root| Arc::new(Root::open(root.path()).unwrap()).into())
    }

    /// Connects a client to a server of this store.
    fn connect_to(secure: bool, store: impl FnOnce(&TempDir) -> Store) -> Self {
        let root = TempDir::new().unwrap();
        let mut config = Config::new(root.path().to_owned());
        config.flush = false;
        let accounts = Accounts::new(store(&root), Some(Permissions::FULL));
        let captured = Captured::default();
        let (log, writer) = Log::start(Level::Normal, captured.clone()).unwrap();
        let service = Service::new(
            &config,
            Hosts::new(accounts, std::collections::BTreeMap::new()),
            secure.then(|| security(&root)),
            Checkers::start(1, 0, 1).unwrap(),
            FairPool::start("scanner", 1, 1).unwrap(),
            None,
            Arc::new(Events::new(vec![Arc::new(log)])),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        let permit = ConnectionLimits::new(1, 1).take(peer.ip()).unwrap();
        let now = Instant::now();
        let admitted = AdmittedClient { stream, peer, permit };
        let session = Session::greet(Arc::new(service), admitted, now).unwrap();
        Self {
            session,
            client: BufReader::new(client),
            now,
            last: None,
            log: captured,
            writer,
            root,
        }
    }

    /// Connects a client that has logged in.
    fn logged_in() -> Self {
        Self::new().log_in()
    }

    fn log_in(self) -> Self {
        let mut pair = self;
        pair.say("USER anonymous\r\nPASS x\r\nTYPE I");
        for code in ["331 ", "230 Logged in.", "200 "] {
            pair.expect(code);
        }
        pair
    }

    /// Fills the sockets with bytes that the client does not read, until some of them wait.
    fn fill_sockets(&mut self) {
        let control = &mut self.session.cx.control;
        set_socket_recv_buffer_size(self.client.get_ref(), 4096).unwrap();
        set_socket_send_buffer_size(control.descriptor(), 4096).unwrap();
        while control.is_flushed() {
            control.write(&[b'x'; 4096]);
            control.flush(self.now).unwrap();
        }
    }

    /// Changes the limits of the session.
    fn limit(&mut self, change: impl FnOnce(&mut Limits)) {
        let service = Arc::make_mut(&mut self.session.cx.service);
        change(Arc::make_mut(&mut service.limits));
    }

    fn limits(&self) -> Limits {
        Limits::clone(&self.session.cx.service.limits)
    }

    /// Sends lines, and waits until they have arrived.
    fn say(&mut self, lines: &str) {
        self.client.get_mut().write_all(format!("{lines}\r\n").as_bytes()).unwrap();
        let control = PollFd::from_borrowed_fd(self.session.cx.control.descriptor(), PollFlags::IN);
        let arrived = poll(&mut [control], Some(&Timespec { tv_sec: 10, tv_nsec: 0 }));
        assert_eq!(arrived.unwrap(), 1, "the line has not arrived");
    }

    /// Gives the session its turns until it parks or ends.
    fn run(&mut self) -> Turn {
        let mut class = Class::Interactive;
        assert_ne!(self.last, Some(Turn::Done), "a session that has ended has no turn");
        loop {
            match self.session.turn(self.now, class) {
                Turn::Again(next) => class = next,
                Turn::Call { .. } => {
                    let call = self.session.take_call().expect("the call that the turn announced");
                    call();
                }
                turn @ (Turn::Park { .. } | Turn::Done) => {
                    self.last = Some(turn);
                    return turn;
                }
            }
        }
    }

    /// Returns whether bytes for the client have arrived.
    fn has_reply(&self) -> bool {
        let client = PollFd::new(self.client.get_ref(), PollFlags::IN);
        let wait = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        !self.client.buffer().is_empty() || poll(&mut [client], Some(&wait)).unwrap() > 0
    }

    /// Returns the next line of a reply. Time does not pass.
    fn reply(&mut self) -> String {
        for _ in 0..LOOKS_MAX {
            if self.has_reply() {
                let mut line = String::new();
                self.client.read_line(&mut line).unwrap();
                return line.trim_end().to_owned();
            }
            self.run();
        }
        panic!("no reply")
    }

    /// Asserts that the next line of a reply begins like this.
    fn expect(&mut self, start: &str) -> String {
        let line = self.reply();
        assert!(line.starts_with(start), "{line}, not {start}");
        line
    }

    /// Returns the time that may pass before the parked session is woken.
    fn patience(&mut self) -> Duration {
        match self.run() {
            Turn::Park { until } => until - self.now,
            turn => panic!("{turn:?}"),
        }
    }

    /// Lets the time pass for which the session waits, and gives it its turns.
    fn pass(&mut self) -> Turn {
        let patience = self.patience();
        self.now += patience;
        self.run()
    }

    /// Asserts that the session has ended and that every reply was read, and returns the log.
    fn end(self) -> String {
        let (unread, log) = self.finish();
        assert_eq!(unread, "");
        log
    }

    /// Asserts that the session has ended, and returns the replies that were not read, and the log.
    fn finish(self) -> (String, String) {
        assert_eq!(self.last, Some(Turn::Done));
        let Self { session, mut client, log, writer, .. } = self;
        // The log is whole when the last session is gone, and then its writer.
        drop(session);
        drop(writer);
        let mut unread = String::new();
        client.read_to_string(&mut unread).unwrap();
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        (unread, log)
    }

    /// Opens a data connection by EPSV.
    fn data(&mut self) -> TcpStream {
        self.say("EPSV");
        let reply = self.expect("229 ");
        let port = reply.rsplit('|').nth(1).unwrap().parse().unwrap();
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap()
    }

    /// Creates a file that has room in no socket.
    fn large_file(&self) {
        let file = std::fs::File::create(self.root.path().join("large")).unwrap();
        file.set_len(64 * 1024 * 1024).unwrap();
    }

    /// Sends a large file to a client that does not read it.
    fn stalled_download(&mut self) -> TcpStream {
        self.large_file();
        let data = self.data();
        self.say("RETR large");
        self.expect("150 ");
        self.drop_spare_port();
        data
    }

    /// Lets the second pass for which the port of a transfer is kept, and in which the transfer moves nothing.
    fn drop_spare_port(&mut self) {
        let second = Duration::from_secs(1);
        assert_eq!(self.patience(), second);
        self.pass();
        assert_eq!(self.patience() + second, self.limits().stall_timeout);
    }
}

fn security(folder: &TempDir) -> Security {
    let path = folder.path().join("certificate.pem");
    self_signed::make(&path).unwrap();
    let keys = vec![KeyFiles { certificate: path.clone(), key: path }];
    let files = TlsFiles { keys, ..TlsFiles::default() };
    Security {
        acceptor: Arc::new(Acceptor::open(files).unwrap()),
        required: false,
        implicit_ports: Vec::new(),
        resumption: Resumption::Required,
    }
}

#[test]
fn a_client_that_does_not_log_in_is_dismissed() {
    let mut pair = Pair::new();
    assert_eq!(pair.patience(), pair.limits().login_timeout);
    // Commands do not prolong it.
    pair.now += Duration::from_secs(50);
    pair.say("NOOP");
    pair.expect("200 ");
    assert_eq!(pair.patience() + Duration::from_secs(50), pair.limits().login_timeout);
    pair.pass();
    pair.expect("421 Login timeout; closing.");
    assert!(
        pair.end().contains("event=disconnect seconds=60 reason=\"closed after the final reply\"")
    );
}

#[test]
fn a_client_that_says_nothing_is_dismissed() {
    let mut pair = Pair::logged_in();
    pair.now += Duration::from_mins(2);
    pair.say("NOOP");
    pair.expect("200 ");
    assert_eq!(pair.patience(), pair.limits().idle_timeout);
    pair.pass();
    pair.expect("421 No command for 300 seconds; closing.");
    assert!(
        pair.end().contains("event=disconnect seconds=420 reason=\"closed after the final reply\"")
    );
}

#[test]
fn a_client_that_is_about_to_transfer_when_the_server_stops_may_do_so() {
    let pair = Pair::new();
    std::fs::write(pair.root.path().join("a"), "text").unwrap();
    pair.session.cx.service.stop();
    let mut pair = pair.log_in();
    let mut data = pair.data();
    pair.say("RETR a");
    pair.expect("150 ");
    pair.expect("226 ");
    let mut text = String::new();
    data.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    pair.expect("421 The server is shutting down.");
    pair.end();
}

#[test]
fn a_client_that_is_quiet_when_the_server_stops_is_dismissed() {
    let mut pair = Pair::logged_in();
    pair.session.cx.service.stop();
    assert_eq!(pair.patience(), Duration::from_secs(1));
    pair.pass();
    pair.expect("421 The server is shutting down.");
    pair.end();
    let mut pair = Pair::logged_in();
    pair.session.cx.service.dismiss();
    pair.expect("421 The server is shutting down.");
    pair.end();
}

#[test]
fn a_client_that_does_not_shake_hands_is_cut_off() {
    let mut pair = Pair::connect(true);
    pair.expect("220 ");
    pair.say("AUTH TLS");
    pair.expect("234 ");
    assert_eq!(pair.patience(), pair.limits().handshake_timeout);
    pair.pass();
    assert!(pair.end().contains("reason=\"TLS handshake timeout\""));
}

#[test]
fn a_client_that_does_not_read_its_replies_is_cut_off() {
    let mut pair = Pair::logged_in();
    pair.fill_sockets();
    assert_eq!(pair.patience(), pair.limits().reply_timeout);
    pair.pass();
    let (_, log) = pair.finish();
    assert!(log.contains("reason=\"the client does not read its replies\""), "{log}");
}

#[test]
fn a_client_that_does_not_read_the_last_reply_is_cut_off_soon() {
    let mut pair = Pair::logged_in();
    pair.say("QUIT");
    pair.fill_sockets();
    assert_eq!(pair.patience(), Duration::from_secs(5));
    pair.pass();
    let (_, log) = pair.finish();
    assert!(log.contains("reason=\"the client does not read its replies\""), "{log}");
}

#[test]
fn the_reply_to_a_wrong_password_is_delayed_more_each_time() {
    let mut pair = Pair::new();
    for (password, delay) in [("a", 1), ("b", 2), ("c", 4)] {
        pair.say(&format!("USER nobody\r\nPASS {password}"));
        pair.expect("331 ");
        assert_eq!(pair.patience(), pair.limits().login_delay * delay);
        assert!(!pair.has_reply());
        pair.pass();
        pair.expect("530 Login incorrect.");
    }
    pair.expect("421 Too many failed logins; closing.");
    let log = pair.end();
    assert_eq!(
        log.matches("event=login-failed user=\"nobody\" reason=\"login incorrect\"").count(),
        3
    );
}

#[test]
fn a_passive_port_that_is_not_used_is_closed() {
    let mut pair = Pair::logged_in();
    pair.say("EPSV");
    pair.expect("229 ");
    assert_eq!(pair.patience(), pair.limits().data_connect_timeout);
    assert!(matches!(pair.pass(), Turn::Park { .. }));
    pair.say("RETR a");
    pair.expect("550 ");
    pair.say("LIST");
    pair.expect("425 Use PASV, EPSV, PORT or EPRT first.");
}

#[test]
fn a_data_connection_that_does_not_come_is_given_up() {
    let mut pair = Pair::logged_in();
    pair.say("EPSV\r\nLIST\r\nNOOP");
    pair.expect("229 ");
    pair.expect("150 ");
    assert_eq!(pair.patience(), pair.limits().data_connect_timeout);
    assert!(matches!(pair.pass(), Turn::Park { .. }));
    pair.expect("200 Done.");
    pair.expect("425 No data connection within 30 seconds.");
    assert!(!pair.has_reply());
}

#[test]
fn a_download_that_stalls_is_aborted() {
    let mut pair = Pair::logged_in();
    let _data = pair.stalled_download();
    assert!(matches!(pair.pass(), Turn::Park { .. }));
    pair.expect("426 No data for 120 seconds; transfer aborted.");
    pair.say("QUIT");
    pair.expect("221 ");
    let log = pair.end();
    assert!(
        log.contains("event=transfer verb=RETR") && log.contains("outcome=\"cut off\""),
        "{log}"
    );
}

#[test]
fn an_upload_that_stalls_is_kept() {
    let mut pair = Pair::logged_in();
    let mut data = pair.data();
    data.write_all(b"begin").unwrap();
    pair.say("STOR a");
    pair.expect("150 ");
    while pair.session.cx.service.meter().bytes() < 5 {
        pair.run();
    }
    pair.drop_spare_port();
    assert!(matches!(pair.pass(), Turn::Park { .. }));
    pair.expect("426 No data for 120 seconds; transfer aborted.");
    pair.say("SIZE a");
    pair.expect("213 5");
    assert!(!pair.root.path().join("a").exists());
}

#[test]
fn an_upload_slower_than_the_least_rate_is_kept_after_a_minute() {
    let mut pair = Pair::logged_in();
    pair.limit(|limits| limits.rate_least = NonZeroU64::new(10));
    let mut data = pair.data();
    pair.say("STOR a");
    pair.expect("150 ");
    let mut sent = 0;
    // The first minute has the bytes that it must have, and the second has one less.
    for (bytes, is_fast) in [(600, true), (599, false)] {
        data.write_all(&vec![b'x'; bytes]).unwrap();
        sent += bytes as u64;
        while pair.session.cx.service.meter().bytes() < sent {
            pair.run();
        }
        let minute = Duration::from_mins(1);
        let begun = pair.now;
        while pair.now < begun + minute {
            let patience = pair.patience().min(begun + minute - pair.now);
            pair.now += patience;
            pair.run();
        }
        assert!(!is_fast || !pair.has_reply());
    }
    pair.expect("426 Fewer than 10 bytes per second for a minute; transfer aborted.");
    pair.say("SIZE a");
    pair.expect("213 1199");
}

#[test]
fn a_session_ends_at_the_maximum_duration_and_its_transfer_does_not() {
    let mut pair = Pair::logged_in();
    pair.limit(|limits| limits.session_time = Duration::from_secs(100));
    assert_eq!(pair.patience(), Duration::from_secs(100));
    let mut data = pair.data();
    pair.say("STOR a");
    pair.expect("150 ");
    pair.now += Duration::from_secs(110);
    data.write_all(b"x").unwrap();
    while pair.session.cx.service.meter().bytes() < 1 {
        pair.run();
    }
    drop(data);
    pair.expect("226 ");
    pair.expect("421 The session has lasted 100 seconds, the maximum; closing.");
    while pair.last != Some(Turn::Done) {
        pair.run();
    }
    pair.end();
}

#[test]
fn logins_beyond_those_of_a_minute_are_refused_until_later() {
    let mut pair = Pair::new();
    pair.limit(|limits| limits.logins_per_minute = 2);
    for (seconds, code) in [(0, "230 "), (0, "230 "), (0, "530 Too many logins"), (30, "230 ")] {
        pair.now += Duration::from_secs(seconds);
        pair.say("REIN");
        pair.expect("220 ");
        pair.say("USER anonymous\r\nPASS x");
        pair.expect("331 ");
        pair.expect(code);
    }
    let trusted = "127.0.0.0/8".parse().unwrap();
    pair.limit(|limits| limits.trusted = vec![trusted]);
    pair.say("REIN\r\nUSER anonymous\r\nPASS x");
    pair.expect("220 ");
    pair.expect("331 ");
    pair.expect("230 ");
}

#[test]
fn a_file_is_stored_and_fetched() {
    let mut pair = Pair::logged_in();
    let mut data = pair.data();
    data.write_all(b"text").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    pair.say("STOR a");
    pair.expect("150 ");
    pair.expect("226 Transfer complete.");
    assert_eq!(std::fs::read(pair.root.path().join("a")).unwrap(), b"text");
    let mut data = pair.data();
    pair.say("RETR a");
    pair.expect("150 Opening BINARY mode data connection for /a (4 bytes).");
    pair.expect("226 Transfer complete.");
    let mut text = String::new();
    data.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
}

#[test]
fn a_beginning_of_abor_that_is_not_completed_does_not_end_an_upload() {
    let mut pair = Pair::logged_in();
    let mut data = pair.data();
    pair.say("STOR a");
    pair.expect("150 ");
    data.write_all(b"text").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    pair.client.get_mut().write_all(b"ABO").unwrap();
    while pair.session.activity.name() != "judging" {
        pair.run();
    }
    pair.now += Duration::from_secs(1);
    pair.expect("226 Transfer complete.");
    assert_eq!(std::fs::read(pair.root.path().join("a")).unwrap(), b"text");
}

#[test]
fn a_request_that_no_thread_answers_is_given_up_after_the_stall_timeout() {
    let mut pair = Pair::connect_to(false, |_| MemoryTree::new(1).into());
    pair.expect("220 ");
    let mut pair = pair.log_in();
    let disks = pair.session.cx.service.disks();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    // All threads that answer for trees in memory wait until `go` is dropped.
    let hanging: Vec<_> = (0..16)
        .map(|_| {
            let gate = gate.clone();
            disks.run(u64::MAX, move || Ok(gate.recv().is_err())).unwrap()
        })
        .collect();
    pair.say("SIZE a");
    let asked = pair.now;
    while !pair.has_reply() {
        pair.pass();
    }
    pair.expect("451 The file system does not respond");
    assert_eq!(pair.now - asked, pair.limits().stall_timeout);
    drop(go);
    assert!(hanging.into_iter().all(|job| job.wait().unwrap()));
    pair.say("SIZE a");
    pair.expect("550 ");
}
