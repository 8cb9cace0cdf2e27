//! Clients with more than one address, clients that others obstruct, and clients that exceed their share.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::raw::{RawClient, read_all};
use crate::common::{PATIENCE, TestServer, until};
use poolftpd::internal::log::Level;
use poolftpd::internal::units::networks;
use rustix::net::{AddressFamily, SocketType};

/// Connects from another address of this machine.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn data_from_another_address_is_refused_with_the_reason() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.level = Level::Normal;
        // A longer time than any test waits.
        config.limits.data_connect_timeout = PATIENCE * 10;
    });
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    for line in ["RETR a", "STOR b", "LIST"] {
        let mut stranger = connect_from([127, 0, 0, 2], client.extended_passive());
        let reply = client.ask(line);
        assert!(reply.starts_with("150 "), "{line}: {reply}");
        let reply = client.reply();
        let both = reply.contains("127.0.0.2") && reply.contains("127.0.0.1");
        assert!(reply.starts_with("425 ") && both, "{line}: {reply}");
        assert!(matches!(stranger.read(&mut [0; 4]), Ok(0) | Err(_)), "{line}");
    }
    server.log.expect(&["event=data-connection-refused", "127.0.0.2", "127.0.0.1", "--data-from"]);
    assert_eq!(client.retrieve("a"), b"text");
}

#[test]
fn a_stranger_who_is_first_does_not_take_the_transfer_from_the_client() {
    let server = TestServer::writable();
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    let address = client.extended_passive();
    let _strangers = [2, 3, 4].map(|last| connect_from([127, 0, 0, last], address));
    let own = TcpStream::connect(address).unwrap();
    assert!(client.ask("RETR a").starts_with("150 "));
    assert_eq!(read_all(own), b"text");
    assert!(client.reply().starts_with("226 "));
    // The client may also connect after its command.
    let address = client.extended_passive();
    let mut stranger = connect_from([127, 0, 0, 2], address);
    assert!(client.ask("STOR b").starts_with("150 "));
    assert!(matches!(stranger.read(&mut [0; 4]), Ok(0) | Err(_)));
    TcpStream::connect(address).unwrap().write_all(b"own").unwrap();
    assert!(client.reply().starts_with("226 "));
    assert_eq!(server.read("b"), b"own");
}

#[test]
fn data_comes_from_the_networks_that_are_named() {
    let server = TestServer::start(|config| {
        config.data_from = networks("127.0.0.2,192.0.2.0/24").unwrap();
    });
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    let data = connect_from([127, 0, 0, 2], client.extended_passive());
    assert!(client.ask("RETR a").starts_with("150 "));
    assert_eq!(read_all(data), b"text");
    assert!(client.reply().starts_with("226 "));
    assert_eq!(client.retrieve("a"), b"text", "its own address stays");
    let _data = connect_from([127, 0, 0, 3], client.extended_passive());
    assert!(client.ask("RETR a").starts_with("150 "));
    assert!(client.reply().starts_with("425 "));
}

#[test]
fn commands_during_a_transfer_count_and_what_has_come_of_an_upload_is_kept() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.level = Level::Normal;
        config.limits.commands_per_second_max = 1000;
    });
    for words in [&b"NOOP\r\n"[..], b"STAT\r\n"] {
        let mut client = RawClient::log_in(server.address());
        let mut data = client.open_data();
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(b"part").unwrap();
        until("the bytes do not arrive", || client.ask("STAT").contains(" 4 bytes "));
        let mut writer = client.stream.try_clone().unwrap();
        let writing = thread::spawn(move || while writer.write_all(&words.repeat(1000)).is_ok() {});
        let is_last = |line: &String| !line.starts_with("200 ") && !line.starts_with("211 ");
        let mut replies = std::iter::from_fn(|| Some(client.line()));
        // The last replies may be lost with the connection.
        let last = replies.find(is_last).unwrap();
        assert!(last.is_empty() || last.starts_with("426 "), "{last}");
        let last = if last.is_empty() { last } else { client.line() };
        assert!(last.is_empty() || last == "421 Too many commands per second; closing.", "{last}");
        drop((client, data));
        writing.join().unwrap();
        let mut other = RawClient::log_in(server.address());
        until("the part is not kept", || other.ask("SIZE a") == "213 4");
        assert!(other.ask("DELE a").starts_with("250 "));
    }
    server.log.expect(&["event=transfer", "verb=STOR", "cut off"]);
}

#[test]
fn abor_and_quit_end_a_transfer_whatever_was_said_before() {
    let server = TestServer::start(|config| {
        config.write = true;
        // The commands of the login, and one more.
        config.limits.commands_per_second_max = 6;
    });
    for (word, replies) in [("ABOR", ["426 ", "226 "]), ("QUIT", ["226 ", "221 "])] {
        let mut client = RawClient::log_in(server.address());
        let data = client.open_data();
        assert!(client.ask("STOR a").starts_with("150 "));
        client.say(word);
        if word == "QUIT" {
            drop(data);
        }
        for reply in replies {
            let line = client.reply();
            assert!(line.starts_with(reply), "{word}: {line}");
        }
    }
}

#[test]
fn empty_blocks_and_markers_are_no_progress() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.limits.stall_timeout = Duration::from_millis(200);
    });
    for blocks in [&[0_u8, 0, 0][..], &[128, 0, 0], &[16, 0, 1, b'7']] {
        let mut client = RawClient::log_in(server.address());
        assert!(client.ask("MODE B").starts_with("200 "));
        let mut data = client.open_data();
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(&[0, 0, 4]).unwrap();
        data.write_all(b"part").unwrap();
        let blocks = blocks.repeat(100);
        let writing = thread::spawn(move || while data.write_all(&blocks).is_ok() {});
        let markers = |line: &String| !line.starts_with("110 ");
        let last = std::iter::from_fn(|| Some(client.line())).find(markers).unwrap();
        assert!(last.starts_with("426 No data"), "{last}");
        writing.join().unwrap();
        assert!(client.ask("NOOP").starts_with("200 "));
    }
}

#[test]
fn a_client_that_has_gone_behind_a_line_that_waits_is_noticed() {
    let server = TestServer::start(|config| {
        config.write = true;
        // A longer time than any test waits.
        config.limits.data_connect_timeout = PATIENCE * 10;
    });
    server.write("a", "text");
    let mut crowd = Vec::new();
    for line in ["LIST", "RETR a", "STOR b", "STOU"] {
        for behind in ["PWD\r\n", "QUIT\r\n", "LIST\r\nLIST\r\n", ""] {
            let mut client = RawClient::log_in(server.address());
            client.extended_passive();
            client.send(format!("{line}\r\n{behind}").as_bytes());
            let reply = client.line();
            assert!(reply.starts_with("150 ") || reply.starts_with("450 "), "{line}: {reply}");
            crowd.push(client);
        }
    }
    drop(crowd);
    let clients = || server.server.as_ref().unwrap().clients();
    until("the seats are not given back", || clients() == 0);
}

#[test]
fn a_client_that_has_said_everything_and_listens_is_served() {
    let server = TestServer::writable();
    server.write("a", "text");
    let mut client = RawClient::log_in(server.address());
    let data = client.open_data();
    client.send(b"RETR a\r\nPWD\r\nQUIT\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(data), b"text");
    for reply in ["150 ", "226 ", "257 ", "221 "] {
        assert!(client.line().starts_with(reply));
    }
}
