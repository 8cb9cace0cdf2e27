//! Clients that do more than send commands: many at once, slow ones, rude ones, and those that vanish.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::outside::{has_ipv6, skip};
use crate::common::raw::{RawClient, read_all, read_blocks};
use crate::common::{PATIENCE, TestServer, noise, until};
use poolftpd::internal::units::networks;
use rustix::net::{AddressFamily, SendFlags, SocketType};

fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// More bytes than any socket buffer holds.
const LARGE: usize = 16 * 1024 * 1024;

#[test]
fn a_hundred_clients_on_one_worker_all_get_their_file() {
    let server = TestServer::start(|config| config.workers = workers(1));
    let content = noise(300_000);
    server.write("a", &content);
    let mut clients: Vec<RawClient> =
        (0..100).map(|_| RawClient::log_in(server.address())).collect();
    let mut data: Vec<TcpStream> = clients.iter_mut().map(RawClient::open_data).collect();
    for client in &mut clients {
        client.say("RETR a");
    }
    for (client, data) in clients.iter_mut().zip(data.drain(..)) {
        assert!(client.reply().starts_with("150 "));
        assert_eq!(read_all(data), content);
        assert!(client.reply().starts_with("226 "));
    }
}

#[test]
fn clients_that_say_nothing_or_read_nothing_cost_no_worker() {
    let server = TestServer::start(|config| config.workers = workers(1));
    server.write("large", noise(LARGE));
    server.write("small", "text");
    let _silent: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut readers: Vec<RawClient> =
        (0..20).map(|_| RawClient::log_in(server.address())).collect();
    let _unread: Vec<TcpStream> = readers
        .iter_mut()
        .map(|client| {
            let data = client.open_data();
            assert!(client.ask("RETR large").starts_with("150 "));
            data
        })
        .collect();
    let mut client = RawClient::log_in(server.address());
    for _ in 0..20 {
        assert_eq!(client.retrieve("small"), b"text");
    }
}

#[test]
fn a_client_that_reads_no_replies_holds_no_memory_and_no_worker() {
    let server = TestServer::start(|config| config.workers = workers(1));
    let mut rude = RawClient::log_in(server.address());
    rude.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let line = b"HELP\r\n".repeat(1000);
    // Until the server receives no more, because it waits for this client to read.
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 {
        match rude.stream.write(&line) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < 64 * 1024 * 1024, "the server took everything");
    let mut client = RawClient::log_in(server.address());
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn a_client_that_reads_late_gets_every_reply_and_its_last_line_is_heard() {
    let server = TestServer::start(|config| config.workers = workers(1));
    let client = RawClient::log_in(server.address());
    let (mut sender, mut reader) = (client.stream.try_clone().unwrap(), client.stream);
    let speaking = thread::spawn(move || {
        sender.write_all(&b"HELP\r\n".repeat(20_000)).unwrap();
        sender.write_all(b"QUIT\r\n").unwrap();
    });
    // Enough time for the replies to fill every buffer on the way, so that the server waits.
    thread::park_timeout(Duration::from_millis(500));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    speaking.join().unwrap();
    assert_eq!(text.matches("214-").count(), 20_000);
    assert!(text.ends_with("221 Goodbye.\r\n"));
}

#[test]
fn stat_of_a_large_directory_comes_whole_to_a_client_that_reads_late() {
    let server = TestServer::start(|_| {});
    let count = 20_000;
    fs::create_dir(server.path("d")).unwrap();
    for number in 0..count {
        server.write(&format!("d/a-name-that-is-somewhat-longer-than-others-{number:05}"), "");
    }
    let mut client = RawClient::log_in(server.address());
    for _ in 0..4 {
        client.say("STAT d");
    }
    client.say("NOOP");
    // Enough time for the server to fill every buffer on the way, and wait.
    thread::park_timeout(Duration::from_millis(500));
    for _ in 0..4 {
        let mut lines = 0;
        while !client.line().starts_with("213 ") {
            lines += 1;
        }
        assert_eq!(lines, count + 1);
    }
    assert!(client.line().starts_with("200 "));
}

#[test]
fn a_pattern_may_be_as_nested_or_long_as_it_likes() {
    let server = TestServer::start(|_| {});
    server.write("a{b", "");
    let mut client = RawClient::log_in(server.address());
    let reply = client.ask(&format!("STAT {}*{}", "{".repeat(260), "}".repeat(260)));
    assert!(reply.starts_with("213 "), "{reply}");
    client.say("STAT a{*");
    assert!(client.line().starts_with("213-"));
    assert!(client.line().ends_with(" a{b"));
}

#[test]
fn a_member_may_log_in_again_at_any_time_and_a_stranger_cannot_stay() {
    let server =
        TestServer::start(|config| config.limits.login_timeout = Duration::from_millis(400));
    let mut member = RawClient::log_in(server.address());
    let mut stranger = RawClient::connect(server.address());
    assert!(stranger.line().starts_with("220 "));
    // REIN does not extend the login time: the client is disconnected while it keeps sending it.
    loop {
        stranger.say("REIN");
        let line = stranger.line();
        if line.starts_with("421 ") {
            break;
        }
        assert!(line.starts_with("220 "), "{line}");
    }
    assert!(member.ask("USER anonymous").starts_with("331 "));
    assert!(member.ask("PASS x").starts_with("230 "));
}

#[test]
fn an_upload_that_never_begins_leaves_the_old_file_as_it_was() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.limits.data_connect_timeout = Duration::from_millis(200);
    });
    server.write("a", "precious");
    let mut client = RawClient::log_in(server.address());
    client.extended_passive();
    assert!(client.ask("STOR a").starts_with("150 "));
    assert!(client.line().starts_with("425 "));
    assert_eq!(server.read("a"), b"precious");
}

#[test]
fn files_over_four_gibibytes_are_sent_from_any_offset() {
    let server = TestServer::start(|_| {});
    let size = 5 * 1024 * 1024 * 1024_u64;
    fs::File::create(server.path("sparse")).unwrap().set_len(size).unwrap();
    let mut client = RawClient::log_in(server.address());
    assert_eq!(client.ask("SIZE sparse"), format!("213 {size}"));
    assert!(client.ask(&format!("REST {}", size - 10)).starts_with("350 "));
    assert_eq!(client.retrieve("sparse"), [0; 10]);
}

#[test]
fn in_block_mode_files_of_any_size_come_whole_over_one_connection_also_to_a_late_reader() {
    let server = TestServer::start(|config| config.workers = workers(1));
    let mut client = RawClient::log_in(server.address());
    client.ask("MODE B");
    let mut data = client.open_data();
    // Sizes around a block, a single send, the bytes of a turn, and the distance of markers.
    let around = [1, 0xFFFF, 64 * 1024, 2 * 0xFFFF, 128 * 1024, LARGE]
        .map(|size| [size - 1, size, size + 1]);
    for size in around.into_iter().flatten() {
        let content = noise(size);
        server.write("a", &content);
        client.say("RETR a");
        assert!(client.reply().starts_with('1'));
        assert!(read_blocks(&mut data) == content, "{size}");
        assert!(client.reply().starts_with("250 "), "{size}");
    }
    let content = noise(64 * 1024);
    server.write("a", &content);
    // The commands are sent at once, and nothing is read before the connection is full.
    for _ in 0..LARGE / content.len() {
        client.say("RETR a");
    }
    for _ in 0..LARGE / content.len() {
        assert!(client.reply().starts_with("125 "));
        assert!(read_blocks(&mut data) == content);
        assert!(client.reply().starts_with("250 "));
    }
}

#[test]
fn abor_ends_a_download_an_upload_and_a_wait_for_the_data_connection() {
    let server = TestServer::writable();
    server.write("large", noise(LARGE));
    let mut client = RawClient::log_in(server.address());

    let data = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    client.send(b"\xFF\xF4");
    rustix::net::send(&client.stream, b"\xFF", SendFlags::OOB).unwrap();
    client.send(b"\xF2ABOR\r\n");
    assert!(client.reply().starts_with("426 "));
    assert!(client.reply().starts_with("226 "));
    drop(data);

    let mut data = client.open_data();
    assert!(client.ask("STOR up").starts_with("150 "));
    data.write_all(b"some").unwrap();
    client.say("ABOR");
    assert!(client.reply().starts_with("426 "));
    assert!(client.reply().starts_with("226 "));

    client.extended_passive();
    assert!(client.ask("RETR large").starts_with("150 "));
    client.say("ABOR");
    assert!(client.reply().starts_with("426 "));
    assert!(client.reply().starts_with("226 "));
    assert_eq!(client.retrieve("large").len(), LARGE);
}

#[test]
fn stat_noop_and_quit_are_served_during_a_transfer_and_others_wait_for_its_end() {
    let server = TestServer::start(|_| {});
    server.write("large", noise(LARGE));
    let mut client = RawClient::log_in(server.address());
    let data = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    assert!(client.ask("NOOP").starts_with("200 "));
    assert!(client.ask("STAT").starts_with("211 RETR"));
    client.say("PWD");
    client.say("QUIT");
    assert_eq!(read_all(data).len(), LARGE);
    assert!(client.reply().starts_with("226 "));
    assert!(client.reply().starts_with("257 "));
    assert!(client.reply().starts_with("221 "));
    assert!(client.is_closed());

    let mut client = RawClient::log_in(server.address());
    let data = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    client.say("QUIT");
    assert_eq!(read_all(data).len(), LARGE, "QUIT lets the transfer finish");
    assert!(client.reply().starts_with("226 "));
    assert!(client.reply().starts_with("221 "));
}

#[test]
fn a_client_that_vanished_in_an_upload_has_completed_it_only_if_something_says_so() {
    let server = TestServer::writable();
    let content = noise(1_000_000);
    let upload = |name: &str, before: &str, during: &str| {
        let mut client = RawClient::log_in(server.address());
        if !before.is_empty() {
            assert!(client.ask(before).starts_with("200 "));
        }
        let mut data = client.open_data();
        assert!(client.ask(&format!("STOR {name}")).starts_with("150 "));
        if !during.is_empty() {
            client.say(during);
        }
        client.stream.shutdown(Shutdown::Write).unwrap();
        data.write_all(&content).unwrap();
        drop(data);
        client.reply()
    };
    assert!(upload("announced", "ALLO 1000000", "").starts_with("226 "));
    assert_eq!(server.read("announced"), content);
    assert!(upload("quit", "", "QUIT").starts_with("226 "));
    assert_eq!(server.read("quit"), content);
    for (name, before) in [("unknown", ""), ("short", "ALLO 1000001")] {
        assert!(upload(name, before, "").starts_with("426 "));
        assert!(!server.path(name).exists());
        let mut client = RawClient::log_in(server.address());
        assert_eq!(client.ask(&format!("SIZE {name}")), "213 1000000");
    }
}

#[test]
fn a_client_that_is_killed_has_not_completed_its_upload() {
    let server = TestServer::writable();
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("STOR a").starts_with("150 "));
    data.write_all(b"half").unwrap();
    // The kernel closes the descriptors of a killed process in this way: one after the other, at once.
    drop(client);
    drop(data);
    let mut other = RawClient::log_in(server.address());
    until("it is not kept", || other.ask("SIZE a") == "213 4");
    assert!(!server.path("a").exists());
}

#[test]
fn a_pipelining_client_that_is_killed_has_not_completed_its_upload() {
    let server = TestServer::writable();
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("STOR a").starts_with("150 "));
    client.say("PWD");
    data.write_all(b"half").unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    drop(data);
    assert!(client.reply().starts_with("426 "));
    assert!(!server.path("a").exists());
}

#[test]
fn what_is_kept_of_an_upload_is_nowhere_to_be_seen_and_resumed_by_rest_or_appe() {
    let server = TestServer::writable();
    let mut client = RawClient::log_in(server.address());
    for (name, resume) in [("rest", "REST 4"), ("append", "NOOP")] {
        client.cut_off(name, b"0123");
        assert_eq!(client.ask(&format!("SIZE {name}")), "213 4");
        assert!(client.ask(&format!("MLST {name}")).starts_with("550 "));
        let data = client.open_data();
        assert!(client.ask("LIST -a").starts_with("150 "));
        assert!(!String::from_utf8(read_all(data)).unwrap().contains("part"));
        assert!(client.reply().starts_with("226 "));
        let mut data = client.open_data();
        client.ask(resume);
        let verb = if name == "rest" { "STOR" } else { "APPE" };
        assert!(client.ask(&format!("{verb} {name}")).starts_with("150 "));
        data.write_all(b"56").unwrap();
        drop(data);
        assert!(client.reply().starts_with("226 "));
        assert_eq!(server.read(name), b"012356");
    }
    // Clients without permission to write cannot see the partial upload.
    client.cut_off("secret", b"x");
    let root = server.root.path().to_owned();
    let reader = TestServer::start(|config| config.root = root);
    assert!(RawClient::log_in(reader.address()).ask("SIZE secret").starts_with("550 "));
}

#[test]
fn a_download_ends_with_its_control_connection() {
    let server = TestServer::start(|_| {});
    server.write("large", noise(LARGE));
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    let mut received = Vec::new();
    // It is closed or reset, depending on the kernel.
    let _end = data.read_to_end(&mut received);
    assert!(received.len() < LARGE);
}

#[test]
fn abor_gives_a_reserved_port_back() {
    let server = TestServer::start(|_| {});
    let mut client = RawClient::log_in(server.address());
    let address = client.extended_passive();
    assert!(client.ask("ABOR").starts_with("225 "));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn only_the_client_itself_is_let_in_to_a_passive_port() {
    let server = TestServer::start(|_| {});
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    let address = client.extended_passive();
    let thief = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&thief, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    rustix::net::connect(&thief, &address).unwrap();
    let mut thief = TcpStream::from(thief);
    thief.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(client.ask("RETR a").starts_with("150 "));
    assert!(matches!(thief.read(&mut [0; 4]), Ok(0) | Err(_)), "the thief gets nothing");
    let own = TcpStream::connect(address).unwrap();
    assert_eq!(read_all(own), b"text");
    assert!(client.reply().starts_with("226 "));
}

#[test]
fn one_passive_port_serves_one_transfer_after_the_other_and_tells_when_it_is_taken() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let server = TestServer::start(|config| config.passive_ports = Some(port..=port));
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    for _ in 0..20 {
        assert_eq!(client.retrieve("a"), b"text");
    }
    client.extended_passive();
    client.extended_passive();
    let mut other = RawClient::log_in(server.address());
    assert!(other.ask("EPSV").starts_with("425 "));
    // The port is free again once it was used or replaced.
    assert!(client.ask("REIN").starts_with("220 "));
    assert_eq!(other.retrieve("a"), b"text");
}

#[test]
fn the_public_address_is_told_in_pasv() {
    let pasv = |trusted: &str| {
        let server = TestServer::start(|config| {
            config.public_address = Some(Ipv4Addr::new(192, 0, 2, 7));
            config.limits.trusted = networks(trusted).unwrap();
        });
        RawClient::log_in(server.address()).ask("PASV")
    };
    // Clients of a trusted gateway come from outside; other clients on the inside get the inside address.
    assert!(pasv("127.0.0.1").starts_with("227 Entering Passive Mode (192,0,2,7,"));
    assert!(pasv("192.0.2.0/24").starts_with("227 Entering Passive Mode (127,0,0,1,"));
}

#[test]
fn ipv4_and_ipv6_clients_are_served_by_one_listener() {
    let server = TestServer::start(|config| config.bind = None);
    server.write("a", "text");
    let port = server.address().port();
    let addresses: &[&str] = if has_ipv6() { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
    if addresses.len() == 1 {
        skip("in part: this machine has no IPv6");
    }
    for address in addresses {
        let address: IpAddr = address.parse().unwrap();
        let mut client = RawClient::log_in(SocketAddr::new(address, port));
        assert_eq!(client.retrieve("a"), b"text", "{address}");
        let pasv = client.ask("PASV");
        assert!(pasv.starts_with(if address.is_ipv4() { "227 " } else { "425 " }), "{pasv}");
    }
}

#[test]
fn active_mode_connects_to_the_client_and_says_so_when_it_cannot() {
    let server = TestServer::writable();
    server.write("large", noise(LARGE));
    let mut client = RawClient::log_in(server.address());
    let listener = client.listen();
    assert!(client.ask("RETR large").starts_with("150 "));
    let (data, _) = listener.accept().unwrap();
    assert_eq!(read_all(data).len(), LARGE);
    assert!(client.reply().starts_with("226 "));
    drop(client.listen());
    let reply = client.ask("RETR large");
    let reply = if reply.starts_with("150 ") { client.reply() } else { reply };
    assert!(reply.starts_with("425 "), "{reply}");
}

#[test]
fn limits_of_clients_are_told_in_421_and_places_are_given_back() {
    let server = TestServer::start(|config| {
        config.limits.clients_max = 3;
        config.limits.max_per_ip = 2;
    });
    let first = RawClient::log_in(server.address());
    let _second = RawClient::log_in(server.address());
    let mut third = RawClient::connect(server.address());
    assert!(third.line().starts_with("421 Too many connections from your address"));
    assert!(third.is_closed());
    drop(first);
    // The server may notice the close only later: retry until then.
    let deadline = Instant::now() + PATIENCE;
    while RawClient::connect(server.address()).line().starts_with("421 ") {
        assert!(Instant::now() < deadline, "the place is not given back");
    }
}

#[test]
fn a_client_that_says_too_much_in_a_second_is_dismissed_and_others_are_served() {
    let server = TestServer::start(|config| config.limits.commands_per_second_max = 1000);
    let mut other = RawClient::log_in(server.address());
    let mut client = RawClient::log_in(server.address());
    let mut writer = client.stream.try_clone().unwrap();
    let writing =
        thread::spawn(move || while writer.write_all(&b"NOOP\r\n".repeat(1000)).is_ok() {});
    let last = std::iter::from_fn(|| Some(client.line())).find(|line| !line.starts_with("200 "));
    let last = last.unwrap();
    // The last replies may be lost with the connection.
    assert!(last.is_empty() || last == "421 Too many commands per second; closing.", "{last}");
    drop(client);
    writing.join().unwrap();
    assert!(other.ask("NOOP").starts_with("200 "));
}

#[test]
fn passive_ports_that_wait_are_limited_in_all_and_given_back() {
    let server = TestServer::start(|config| config.limits.passive_ports_open_max = 2);
    let [mut first, mut second, mut third] = [(); 3].map(|()| RawClient::log_in(server.address()));
    // One client has one port, however often it asks.
    for _ in 0..5 {
        assert!(first.ask("EPSV").starts_with("229 "));
    }
    assert!(second.ask("PASV").starts_with("227 "));
    assert_eq!(third.ask("PASV"), "425 Too many passive ports are open; try again later.");
    assert!(second.ask("ABOR").starts_with("225 "));
    assert!(third.ask("PASV").starts_with("227 "));
}

#[test]
fn a_path_may_be_long_or_deep_but_not_endless() {
    let server = TestServer::writable();
    let mut client = RawClient::log_in(server.address());
    for _ in 0..300 {
        if !client.ask("MKD d").starts_with("257 ") {
            break;
        }
        assert!(client.ask("CWD d").starts_with("250 "));
    }
    assert_eq!(client.ask("MKD d"), "553 Path too long.");
    assert_eq!(client.ask(&format!("MKD {}", "x/".repeat(3000))), "553 Path too long.");
    server.write("a", "x");
    client.open_data();
    assert!(client.ask("REST 9223372036854775807").starts_with("350 "));
    assert!(client.ask("RETR /a").starts_with("554 "));
    for number in ["9223372036854775808", "18446744073709551616", &"9".repeat(100)] {
        assert!(client.ask(&format!("REST {number}")).starts_with("501 "));
    }
    assert!(client.ask(&format!("ALLO {}", u64::MAX)).starts_with("200 "));
    assert!(client.ask("ALLO 18446744073709551616").starts_with("501 "));
}

#[test]
fn deadlines_end_what_does_not_go_on() {
    let short = Duration::from_millis(300);
    let server = TestServer::start(|config| {
        config.limits.login_timeout = short;
        config.limits.idle_timeout = short;
        config.limits.data_connect_timeout = short;
        config.limits.stall_timeout = short;
    });
    server.write("large", noise(LARGE));
    let mut stranger = RawClient::connect(server.address());
    assert!(stranger.line().starts_with("220 "));
    assert!(stranger.line().starts_with("421 "));
    assert!(stranger.is_closed());

    let mut idle = RawClient::log_in(server.address());
    assert!(idle.line().starts_with("421 "));

    let mut client = RawClient::log_in(server.address());
    client.extended_passive();
    assert!(client.ask("RETR large").starts_with("150 "));
    assert!(client.line().starts_with("425 "), "no data connection came");
    let _unread = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    assert!(client.line().starts_with("426 "), "nobody read");
    assert!(client.ask("NOOP").starts_with("200 "), "the session lives");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_that_transfer_and_nothing_else() {
    let server = TestServer::start(|_| {});
    server.write("large", noise(LARGE));
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("RETR large").starts_with("150 "));
    data.read_exact(&mut [0; 1000]).unwrap();
    fs::File::options().write(true).open(server.path("large")).unwrap().set_len(2000).unwrap();
    assert!(read_all(data).len() < LARGE);
    let reply = client.reply();
    assert!(reply.starts_with("451 ") || reply.starts_with("426 "), "{reply}");
    assert!(client.ask("NOOP").starts_with("200 "));
}

#[test]
fn a_pipe_in_the_root_holds_nobody() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.workers = workers(1);
    });
    assert!(
        std::process::Command::new("mkfifo").arg(server.path("pipe")).status().unwrap().success()
    );
    std::os::unix::fs::symlink("pipe", server.path("link")).unwrap();
    let mut client = RawClient::log_in(server.address());
    let _data = client.open_data();
    for command in [
        "RETR pipe",
        "STOR pipe",
        "APPE pipe",
        "SIZE pipe",
        "SITE CHMOD 600 pipe",
        "SITE CHMOD 600 link",
    ] {
        assert!(client.ask(command).starts_with("550 "), "{command}");
    }
}

#[test]
fn a_mode_that_allows_nothing_can_be_changed_again() {
    let server = TestServer::writable();
    let mut client = RawClient::log_in(server.address());
    client.store("file", b"x");
    assert!(client.ask("MKD directory").starts_with("257 "));
    for name in ["file", "directory"] {
        for mode in ["0", "750"] {
            let reply = client.ask(&format!("SITE CHMOD {mode} {name}"));
            assert!(reply.starts_with("200 "), "{mode} {name}: {reply}");
        }
        let mode = fs::metadata(server.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o750, "{name}");
    }
}

#[test]
fn every_name_that_linux_allows_is_served_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt;
    let server = TestServer::writable();
    let mut names: Vec<Vec<u8>> = (1..=255_u8)
        .filter(|byte| !b"/\r\n".contains(byte))
        .map(|byte| vec![b'x', byte, b'y'])
        .collect();
    names.extend([
        b" lead".to_vec(),
        b"trail ".to_vec(),
        b"-la".to_vec(),
        b"\"q\"".to_vec(),
        b"\xFF\xFE\xFD".to_vec(),
        "дом ☃".into(),
    ]);
    for name in &names {
        fs::write(server.root.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let mut client = RawClient::log_in(server.address());
    for name in &names {
        let data = client.open_data();
        // 0xFF is not doubled: most clients send it like this.
        client.send(&[b"RETR ".as_slice(), name, b"\r\n"].concat());
        let reply = client.reply();
        assert!(reply.starts_with("150 "), "{name:?}: {reply}");
        assert_eq!(&read_all(data), name);
        assert!(client.reply().starts_with("226 "));
    }
    let data = client.open_data();
    assert!(client.ask("MLSD").starts_with("150 "));
    let listing = read_all(data);
    let listed: Vec<&[u8]> =
        listing.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(listed.len(), names.len());
    for name in &names {
        let end = [b"; ".as_slice(), name, b"\r"].concat();
        assert!(listed.iter().any(|line| line.ends_with(&end)), "{name:?}");
    }
}

#[test]
fn a_large_directory_is_listed_whole_and_others_are_served_meanwhile() {
    let server = TestServer::start(|config| config.workers = workers(1));
    let count = 10_000;
    for number in 0..count {
        server.write(&format!("file-{number:05}"), "");
    }
    let mut client = RawClient::log_in(server.address());
    let data = client.open_data();
    assert!(client.ask("LIST").starts_with("150 "));
    let mut other = RawClient::log_in(server.address());
    assert!(other.ask("NOOP").starts_with("200 "));
    let listing = String::from_utf8(read_all(data)).unwrap();
    let mut names: Vec<&str> =
        listing.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(client.reply().starts_with("226 "));
}

#[test]
fn stop_lets_a_transfer_finish_and_tells_idle_clients() {
    let mut server = TestServer::start(|_| {});
    server.write("large", noise(LARGE));
    let address = server.address();
    let mut busy = RawClient::log_in(address);
    let mut idle = RawClient::log_in(address);
    let data = busy.open_data();
    assert!(busy.ask("RETR large").starts_with("150 "));
    let running = server.server.take().unwrap();
    let (done, stopped) = mpsc::channel();
    let stopping = thread::spawn(move || {
        running.stop();
        done.send(()).unwrap();
    });
    assert!(idle.line().starts_with("421 "));
    assert!(idle.is_closed());
    assert!(TcpStream::connect(address).is_err(), "no new clients");
    assert!(stopped.try_recv().is_err(), "it waits for the transfer");
    assert_eq!(read_all(data).len(), LARGE);
    assert!(busy.line().starts_with("226 "));
    assert!(busy.line().starts_with("421 "));
    stopped.recv_timeout(PATIENCE).unwrap();
    stopping.join().unwrap();
}

#[test]
fn a_hash_of_ten_gibibytes_holds_no_worker_and_abor_ends_it() {
    let server = TestServer::start(|config| config.workers = workers(1));
    fs::File::create(server.path("huge")).unwrap().set_len(10 << 30).unwrap();
    server.write("small", "text");
    let mut summing = RawClient::log_in(server.address());
    summing.say("HASH huge");
    let mut other = RawClient::log_in(server.address());
    for _ in 0..20 {
        assert!(other.ask("NOOP").starts_with("200 "));
        assert_eq!(other.retrieve("small"), b"text");
    }
    // The hash is not done yet, because the next line is not its reply.
    summing.say("ABOR");
    assert!(summing.reply().starts_with("426 "));
    assert!(summing.reply().starts_with("226 "));
    assert!(summing.ask("NOOP").starts_with("200 "));
}

#[test]
fn a_full_disk_is_452_and_the_session_lives() {
    let directory = tempfile::tempdir().unwrap();
    let mount = |target: &str| {
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs", target])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let place = directory.path().to_str().unwrap();
    if !mount(place) {
        return skip("a small file system cannot be mounted here (needs root)");
    }
    let root = directory.path().to_owned();
    let server = TestServer::start(|config| {
        config.write = true;
        config.root = root;
    });
    let mut client = RawClient::log_in(server.address());
    let mut data = client.open_data();
    assert!(client.ask("STOR big").starts_with("150 "));
    // The server closes the data connection in the middle.
    let _cut = data.write_all(&noise(1_000_000));
    drop(data);
    let reply = client.reply();
    let size = client.ask("SIZE big");
    assert!(client.ask("DELE big").starts_with("250 "));
    client.store("small", b"text");
    drop(client);
    drop(server);
    let unmounted = std::process::Command::new("umount").arg(place).status();
    assert!(reply.starts_with("452 "), "{reply}");
    assert!(size.starts_with("213 "), "nothing is kept: {size}");
    assert!(unmounted.unwrap().success());
}

/// Bytes of a client, and true if they are sent as urgent data.
type Piece = (&'static [u8], bool);

/// The forms in which clients send ABOR (RFC 959 §4.1.3): the bytes before it, the pieces, and which are urgent.
const ABORTS: [(&str, &[Piece]); 6] = [
    ("plain", &[(b"ABOR\r\n", false)]),
    ("Synch", &[(b"\xff\xf4\xff", true), (b"\xf2ABOR\r\n", false)]),
    ("Synch in one", &[(b"\xff\xf4\xff\xf2ABOR\r\n", true)]),
    ("interrupt first", &[(b"\xff\xf4", false), (b"\xff\xf2", true), (b"abor\r\n", false)]),
    ("split", &[(b"AB", false), (b"OR\r", false), (b"\n", false)]),
    ("behind others", &[(b"NOOP\r\nSTAT\r\n", false), (b" ABOR\r\n", false)]),
];

/// Number of runs of each test with ABOR.
const ABORT_RUNS: u64 = 1000;

/// Overwrites a file and aborts the transfer. The first `before` pieces of ABOR are sent before the data connection is
/// closed, the others after it.
fn abort_an_overwrite(client: &mut RawClient, pieces: &[Piece], before: usize, size: usize) {
    let mut data = client.open_data();
    assert!(client.ask("STOR good").starts_with("150 "));
    data.write_all(&vec![b'x'; size]).unwrap();
    let send = |client: &RawClient, (bytes, urgent): &Piece| {
        let flags = if *urgent { SendFlags::OOB } else { SendFlags::empty() };
        rustix::net::send(&client.stream, bytes, flags).unwrap();
    };
    pieces[..before].iter().for_each(|piece| send(client, piece));
    drop(data);
    pieces[before..].iter().for_each(|piece| send(client, piece));
    loop {
        let reply = client.reply();
        assert!(!reply.starts_with("226 Transfer"), "{reply}");
        if reply.starts_with("226 ABOR") {
            break;
        }
    }
}

#[test]
fn an_abor_that_was_sent_before_the_data_ended_always_wins() {
    for flush in [true, false] {
        let server = TestServer::start(|config| (config.write, config.flush) = (true, flush));
        server.write("good", "the good file");
        for (name, pieces) in ABORTS {
            let mut client = RawClient::log_in(server.address());
            for run in 0..ABORT_RUNS / 2 {
                let size = usize::try_from(run * 7919 % 100_000).unwrap();
                // If ABOR comes in pieces, the first one alone must suffice.
                let before = if name == "behind others" || run % 3 > 0 { pieces.len() } else { 1 };
                abort_an_overwrite(&mut client, pieces, before, size);
                assert_eq!(server.read("good"), b"the good file", "{name}, run {run}");
            }
        }
    }
}

#[test]
fn quit_and_half_a_line_at_the_end_of_the_data_abort_nothing() {
    let server = TestServer::writable();
    for run in 0..50 {
        let mut client = RawClient::log_in(server.address());
        let mut data = client.open_data();
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(b"whole").unwrap();
        client.send(if run % 2 == 0 { b"QUIT\r\n" } else { b"NO" });
        if run % 4 == 0 {
            client.stream.shutdown(Shutdown::Write).unwrap();
        }
        drop(data);
        let reply = client.reply();
        assert!(reply.starts_with("226 Transfer"), "{reply}");
        assert_eq!(server.read("a"), b"whole");
        fs::remove_file(server.path("a")).unwrap();
    }
}

/// Stores these bytes with REST and ALLO, waits for the end, and returns the reply.
fn store_announced(
    client: &mut RawClient,
    offset: usize,
    announced: usize,
    bytes: &[u8],
) -> String {
    let mut data = client.open_data();
    assert!(client.ask(&format!("ALLO {announced}")).starts_with("200 "));
    assert!(client.ask(&format!("REST {offset}")).starts_with("350 "));
    assert!(client.ask("STOR a").starts_with("150 "));
    data.write_all(bytes).unwrap();
    drop(data);
    client.reply()
}

#[test]
fn a_resumed_upload_that_lost_its_end_is_not_complete() {
    let server = TestServer::writable();
    let content = noise(100);
    let mut client = RawClient::log_in(server.address());
    client.cut_off("a", &content[..40]);
    let mut data = client.open_data();
    for line in ["ALLO 60", "REST 40"] {
        client.ask(line);
    }
    assert!(client.ask("STOR a").starts_with("150 "));
    data.write_all(&content[40..60]).unwrap();
    // The client is killed once the bytes sent in all reach the announced number.
    drop((client, data));
    let mut client = RawClient::log_in(server.address());
    until("what has come is kept", || client.ask("SIZE a") == "213 60");
    assert!(!server.path("a").exists());
    assert_eq!(store_announced(&mut client, 60, 40, &content[60..]), "226 Transfer complete.");
    assert_eq!(server.read("a"), content);
}

#[test]
fn a_client_that_announces_more_than_it_sends_can_complete() {
    let server = TestServer::writable();
    let content = noise(4000);
    for resumes in [true, false] {
        let mut client = RawClient::log_in(server.address());
        let reply = store_announced(&mut client, 0, 4096, &content);
        let told = "426 Upload incomplete: fewer bytes than ALLO announced; 4000 bytes kept.";
        assert_eq!(reply, told);
        assert_eq!(client.ask("SIZE a"), "213 4000");
        let reply = if resumes {
            store_announced(&mut client, 4000, 4096, b"")
        } else {
            store_announced(&mut client, 0, 4096, &content)
        };
        assert_eq!((reply.as_str(), server.read("a")), ("226 Transfer complete.", content.clone()));
        assert!(client.ask("DELE a").starts_with("250 "));
        // An upload that ends at another length is not the same upload again.
        store_announced(&mut client, 0, 4096, &content);
        assert!(store_announced(&mut client, 0, 4096, &content[1..]).starts_with("426 "));
        assert!(client.ask("DELE a").starts_with("250 "));
    }
}

/// Many file systems store no year above 2446 or 2038.
#[test]
fn the_reply_to_mfmt_is_the_time_that_is_stored() {
    let server = TestServer::writable();
    server.write("f", "");
    let mut client = RawClient::log_in(server.address());
    for time in ["20200102030405", "99981231235958", "20991231235959"] {
        let reply = client.ask(&format!("MFMT {time} f"));
        let stored = reply.strip_prefix("213 Modify=").and_then(|rest| rest.strip_suffix("; f"));
        assert_eq!(client.ask("MDTM f"), format!("213 {}", stored.unwrap()), "{reply}");
    }
}
