//! Attacks: the server answers, serves other clients, and touches nothing outside its root.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::TestServer;
use crate::common::raw::{RawClient, read_all};
use poolftpd::ftp::verb::VERBS;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Returns the names in a directory, with the content of the files.
fn snapshot(place: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    found.sort();
    found
}

/// Tries to fetch a file; returns the bytes received.
fn try_retrieve(client: &mut RawClient, name: &str) -> Option<Vec<u8>> {
    let data = client.open_data();
    if !client.ask(&format!("RETR {name}")).starts_with("150 ") {
        return None;
    }
    let bytes = read_all(data);
    client.reply();
    Some(bytes)
}

#[test]
fn a_link_that_is_swapped_all_the_time_never_leads_out() {
    const TRIES: usize = 200;
    let server = TestServer::start(|config| {
        config.write = true;
        config.flush = false;
    });
    let outside = tempfile::tempdir().unwrap();
    for name in ["file", "other"] {
        fs::write(outside.path().join(name), "secret").unwrap();
    }
    let before = snapshot(outside.path());
    // `there` is alternately a directory inside the root and a link that leads out of it.
    fs::create_dir(server.path("there")).unwrap();
    server.write("there/file", "inside");
    symlink(outside.path(), server.path("out")).unwrap();
    let stop = AtomicBool::new(false);
    let swaps = AtomicUsize::new(0);
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (one, two) = (server.path("there"), server.path("out"));
                renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
                // Lets the other threads run, too.
                for _ in 0..50 {
                    thread::yield_now();
                }
            }
        });
        let attackers: Vec<_> = (0..4)
            .map(|number| {
                let (server, swaps) = (&server, &swaps);
                scope.spawn(move || {
                    let mut client = RawClient::log_in(server.address());
                    let mut turn = 0;
                    while turn < TRIES / 4 || swaps.load(Ordering::Relaxed) < TRIES {
                        turn += 1;
                        for name in ["there/file", "out/file"] {
                            if let Some(found) = try_retrieve(&mut client, name) {
                                assert_eq!(found, b"inside");
                            }
                            assert!(!client.ask(&format!("SIZE {name}")).ends_with(" 7"));
                            client.ask(&format!("HASH {name}"));
                        }
                        for name in ["there", "out"] {
                            let own = format!("{name}/new{number}");
                            let mut data = client.open_data();
                            if client.ask(&format!("STOR {own}")).starts_with("150 ") {
                                let _sent = data.write_all(b"forged");
                                drop(data);
                                client.reply();
                            }
                            client.ask(&format!("MKD {name}/dir{number}"));
                            client.ask(&format!("RNFR {own}"));
                            client.ask(&format!("RNTO {name}/moved{number}.{turn}"));
                            client.ask(&format!("DELE {name}/other"));
                            client.ask(&format!("SITE CHMOD 600 {name}/file"));
                            client.ask(&format!("MFMT 20200101000000 {name}/file"));
                            client.ask(&format!("RMD {name}/dir{number}"));
                        }
                    }
                })
            })
            .collect();
        for attacker in attackers {
            attacker.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
    });
    assert_eq!(snapshot(outside.path()), before, "what is outside is as it was");
}

/// Random numbers, reproducible by their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }

    /// Returns a line that resembles a command.
    fn line(&mut self) -> Vec<u8> {
        const ARGUMENTS: &[&[u8]] = &[
            b"",
            b"a",
            b"d",
            b"/",
            b"..",
            b"../../../etc/passwd",
            b"/etc/passwd",
            b"out/secret",
            b"\"",
            b"-la *",
            b"*/../*/..",
            b"[",
            b"{a,b}",
            b"%s%n",
            b"\0",
            b"\xFF\xFE",
            b"-1",
            b"0",
            b"99999999999999999999",
            b"127,0,0,1,0,21",
            b"|1|127.0.0.1|21|",
            b"|2|::|99999|",
            b"I",
            b"A N",
            b"L 8",
            b"F",
            b"S",
            b"B",
            b"UTF8 ON",
            b"HASH MD5",
            b"CHMOD 7777 a",
            b"UTIME x y",
            b"1 2 3",
            b"20200101000000 a",
            b"TLS",
            b"P",
            b"~root",
            b"a\xE2\x80\xAEb",
            b".poolftpd-part.a",
            b"a b",
            b" a",
            b"$(reboot)",
            b";reboot",
        ];
        let verb = match self.below(20) {
            0 => b"".as_slice(),
            1 => b"XYZZY",
            2 => b"GET",
            _ => VERBS[self.below(VERBS.len())].name.as_bytes(),
        };
        // QUIT would end the session.
        let verb = if verb == b"QUIT" { b"NOOP" } else { verb };
        let mut line = [verb, b" ".as_slice(), self.pick(ARGUMENTS)].concat();
        for _ in 0..self.below(3) {
            let at = self.below(line.len() + 1);
            match self.below(4) {
                0 if at < line.len() => line[at] = u8::try_from(self.below(256)).unwrap(),
                1 => line.truncate(at),
                2 => drop(line.splice(at..at, vec![b'A'; self.below(300)])),
                _ => line.insert(at, u8::try_from(self.below(256)).unwrap()),
            }
        }
        line.retain(|byte| *byte != b'\n');
        line
    }
}

#[test]
fn a_hundred_thousand_lines_of_nonsense_do_no_harm() {
    const CLIENTS: usize = 20;
    const LINES: usize = 5_000;
    let server = TestServer::start(|config| {
        config.write = true;
        config.limits.login_delay = Duration::ZERO;
        config.limits.login_failures_max = u8::MAX;
        config.limits.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        // No client connects to the ports that it requests.
        config.limits.data_connect_timeout = Duration::from_millis(5);
        config.limits.commands_per_second_max = u32::MAX;
    });
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), server.path("out")).unwrap();
    let before = snapshot(outside.path());
    thread::scope(|scope| {
        for seed in 1..=CLIENTS as u64 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let mut said = 0;
                while said < LINES {
                    let mut client = RawClient::log_in(server.address());
                    let mut reader = client.stream.try_clone().unwrap();
                    // Replies are read, because the server would otherwise wait for this client.
                    let reading = thread::spawn(move || {
                        let mut all = Vec::new();
                        let _end = reader.read_to_end(&mut all);
                        all
                    });
                    for _ in 0..250 {
                        said += 1;
                        let line = [random.line(), b"\r\n".to_vec()].concat();
                        if client.stream.write_all(&line).is_err() {
                            break;
                        }
                    }
                    let _closed = client.stream.shutdown(Shutdown::Write);
                    let replies = reading.join().unwrap();
                    assert!(!replies.windows(6).any(|window| window == b"secret"));
                }
            });
        }
    });
    assert_eq!(snapshot(outside.path()), before);
    let mut client = RawClient::log_in(server.address());
    // No data connection: its port would be closed after the five milliseconds above.
    assert!(client.ask("MKD still-served").starts_with("257 "));
    assert!(server.path("still-served").is_dir());
}

#[test]
fn hundreds_who_dribble_leave_the_one_worker_to_others() {
    let server = TestServer::start(|config| config.workers = NonZeroUsize::MIN);
    server.write("a", "text");
    // One address alone gets no more than five eighths of the descriptors.
    let from = |number: u8| (Ipv4Addr::new(127, 0, 1, number % 8 + 1), 0).into();
    let connect = |number| RawClient::connect_from(from(number), server.address()).stream;
    let mut crowd: Vec<TcpStream> = (0..200).chain(0..200).map(connect).collect();
    for byte in b"USER anonym" {
        for client in &mut crowd {
            client.write_all(&[*byte]).unwrap();
        }
        assert_eq!(RawClient::log_in(server.address()).retrieve("a"), b"text");
    }
    // A client that continues is served like all others.
    crowd[7].write_all(b"ous\r\n").unwrap();
    let mut text = vec![0; 100];
    let mut said = String::new();
    while !said.contains("331 ") {
        let count = crowd[7].read(&mut text).unwrap();
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&text[..count]));
    }
}

#[test]
fn a_reload_in_the_middle_of_transfers_costs_none_of_them() {
    let server = TestServer::writable();
    let content = crate::common::noise(8_000_000);
    server.write("a", &content);
    let mut clients: Vec<RawClient> = (0..4).map(|_| RawClient::log_in(server.address())).collect();
    let mut data: Vec<TcpStream> = clients.iter_mut().map(RawClient::open_data).collect();
    for (client, data) in clients.iter_mut().zip(&mut data) {
        assert!(client.ask("RETR a").starts_with("150 "));
        data.read_exact(&mut [0; 1000]).unwrap();
    }
    for _ in 0..20 {
        server.server.as_ref().unwrap().reload();
    }
    for (client, data) in clients.iter_mut().zip(data) {
        assert_eq!(read_all(data), content[1000..]);
        assert!(client.reply().starts_with("226 "));
    }
}

#[test]
fn who_waits_at_a_port_before_it_is_told_again_is_turned_away() {
    let server = TestServer::start(|_| {});
    server.write("a", "the content");
    let mut client = RawClient::log_in(server.address());
    let first = client.extended_passive();
    let data = TcpStream::connect(first).unwrap();
    client.ask("RETR a");
    assert_eq!(read_all(data), b"the content");
    client.reply();
    // The port may still be open, for the next transfer of this client.
    let early = TcpStream::connect(first);
    assert_eq!(client.retrieve("a"), b"the content");
    if let Ok(early) = early {
        let mut early = early;
        // It is closed or reset, and gets nothing.
        assert!(matches!(early.read(&mut [0; 100]), Ok(0) | Err(_)));
    }
}

#[test]
fn a_port_of_a_range_is_free_for_others_once_its_connection_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = TestServer::start(|config| config.passive_ports = Some(port..=port));
    server.write("a", "the content");
    let mut one = RawClient::log_in(server.address());
    let mut other = RawClient::log_in(server.address());
    for _ in 0..3 {
        assert_eq!(one.retrieve("a"), b"the content");
        assert_eq!(other.retrieve("a"), b"the content");
    }
}
