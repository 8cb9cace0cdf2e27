//! Clients that have more than one address, and those that others stand in the way of.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes its own files"
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::raw::{RawClient, read_all};
use common::{PATIENCE, TestServer};
use poolftpd::log::Level;
use poolftpd::units::networks;
use rustix::net::{AddressFamily, SocketType};

/// A connection from another address of this machine.
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
        // Longer than any test waits.
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
    server.log.expect(&["event=refused", "127.0.0.2", "127.0.0.1", "--data-from"]);
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
    // The same where the client comes after its command.
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
