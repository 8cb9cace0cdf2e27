//! Clients behind a proxy that names them by a PROXY header.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use poolftpd::internal::log::Level;
use poolftpd::internal::settings::Config;
use poolftpd::internal::units::networks;

use crate::common::outside::{find, skip};
use crate::common::raw::{RawClient, read_all};
use crate::common::{TestServer, noise, until};

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// A server whose proxy is at 127.0.0.1.
fn start(adjust: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(|config| {
        config.level = Level::Normal;
        config.proxy_from = networks("127.0.0.1").unwrap();
        adjust(config);
    })
}

/// The header of version 2 for a client with this address.
fn binary(client: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(client) = client else { panic!("{client}") };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(client.ip().octets());
    header.extend([127, 0, 0, 1]);
    header.extend(client.port().to_be_bytes());
    header.extend(21_u16.to_be_bytes());
    header
}

fn text(client: SocketAddr) -> Vec<u8> {
    format!("PROXY TCP4 {} 127.0.0.1 {} 21\r\n", client.ip(), client.port()).into_bytes()
}

/// Connects as a proxy that sends these bytes first.
fn behind(server: SocketAddr, header: &[u8]) -> RawClient {
    let mut client = RawClient::connect(server);
    client.send(header);
    client
}

fn address(ip: [u8; 4]) -> SocketAddr {
    SocketAddr::from((ip, 5000))
}

#[test]
fn the_client_of_the_header_is_the_client_of_the_session() {
    let server = start(|config| config.limits.max_per_ip = 1);
    let mut clients = Vec::new();
    for header in [text(address([192, 0, 2, 7])), binary(address([192, 0, 2, 8]))] {
        let mut client = behind(server.address(), &header);
        assert!(client.line().starts_with("220 "));
        assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
        clients.push(client);
    }
    server.log.expect(&["event=login", "peer=192.0.2.7:5000"]);
    server.log.expect(&["event=login", "peer=192.0.2.8:5000"]);
    // The limit counts each client, and not the proxy.
    let mut second = behind(server.address(), &text(address([192, 0, 2, 7])));
    assert!(second.line().starts_with("421 "));
    server.log.expect(&["event=connection-refused", "peer=192.0.2.7:5000", "cause=address"]);
    // A ban holds for the client.
    let port = server.address().port().to_string();
    let ban = ["ctl", "--port", &port, "--bind=127.0.0.1", "ban", "192.0.2.8"];
    assert!(Command::new(SERVER).args(ban).output().unwrap().status.success());
    assert!(clients[1].line().starts_with("421 "));
    assert!(behind(server.address(), &binary(address([192, 0, 2, 8]))).line().starts_with("421 "));
    assert!(clients[0].ask("NOOP").starts_with("200 "));
}

#[test]
fn a_header_may_come_in_pieces_with_the_first_commands_behind_it() {
    let server = start(|_| {});
    for header in [text(address([192, 0, 2, 7])), binary(address([192, 0, 2, 7]))] {
        let mut client = RawClient::connect(server.address());
        client.stream.set_nodelay(true).unwrap();
        let (last, first) = header.split_last().unwrap();
        for byte in first {
            client.send(&[*byte]);
        }
        client.send(&[&[*last][..], b"USER anonymous\r\nPASS x\r\nNOOP\r\n"].concat());
        for code in ["220 ", "331 ", "230 ", "200 "] {
            assert!(client.line().starts_with(code));
        }
    }
}

#[test]
fn a_proxy_without_a_header_is_refused_and_others_need_none() {
    let server = start(|_| {});
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat();
    for bytes in [&b"USER anonymous\r\n"[..], b"PROXY TCP4 nonsense\r\n", &long] {
        assert!(behind(server.address(), bytes).is_closed());
    }
    server.log.expect(&["event=connection-refused", "peer=127.0.0.1", "cause=proxy-header"]);
    server.log.expect(&["event=connection-refused", "too long"]);
    let mut other =
        RawClient::greeted_from(SocketAddr::from(([127, 0, 0, 2], 0)), server.address());
    assert!(other.try_log_in("anonymous", "x").starts_with("230 "));
    // A header of another end is a command that does not exist.
    let mut other =
        RawClient::greeted_from(SocketAddr::from(([127, 0, 0, 2], 0)), server.address());
    other.send(&text(address([192, 0, 2, 7])));
    assert!(other.line().starts_with("500 "));
}

#[test]
fn a_proxy_that_sends_nothing_is_given_up() {
    let server = start(|_| {});
    let mut silent = RawClient::connect(server.address());
    let mut slow = behind(server.address(), b"PROXY ");
    assert_eq!((silent.line(), slow.line()), (String::new(), String::new()));
    server.log.expect(&["event=connection-refused", "has not arrived in time"]);
}

#[test]
fn a_health_check_of_the_proxy_itself_is_greeted() {
    let server = start(|_| {});
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] {
        assert!(behind(server.address(), header).line().starts_with("220 "));
    }
}

/// Connects to a data port from this address.
fn data_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let family = rustix::net::AddressFamily::INET;
    let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((ip, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

#[test]
fn data_connections_come_from_the_client_or_from_named_networks() {
    let server = start(|_| {});
    server.write("file", "text");
    let mut client = behind(server.address(), &text(address([127, 0, 0, 3])));
    assert!(client.line().starts_with("220 "));
    assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
    // The reply has the address at which the proxy has reached the server.
    let reply = client.ask("PASV");
    assert!(reply.contains("(127,0,0,1,"), "{reply}");
    let port = client.extended_passive();
    let data = data_from([127, 0, 0, 3], port);
    assert!(client.ask("RETR file").starts_with("150 "));
    assert_eq!(read_all(data), b"text");
    assert!(client.reply().starts_with("226 "));
    let port = client.extended_passive();
    let _proxy = data_from([127, 0, 0, 1], port);
    assert!(client.ask("RETR file").starts_with("150 "));
    assert!(client.reply().starts_with("425 "));
    server.log.expect(&["event=data-connection-refused", "data_peer=127.0.0.1"]);
    let server = start(|config| config.data_from = networks("127.0.0.1").unwrap());
    server.write("file", "text");
    let mut client = behind(server.address(), &text(address([127, 0, 0, 3])));
    assert!(client.line().starts_with("220 "));
    assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
    let port = client.extended_passive();
    let data = data_from([127, 0, 0, 1], port);
    assert!(client.ask("RETR file").starts_with("150 "));
    assert_eq!(read_all(data), b"text");
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn a_slave_process_gets_the_address_of_the_client() {
    let server = start(|config| {
        config.slaves = 0;
    });
    let port = server.address().port();
    let ctl = |words: &[&str]| {
        let mut command = Command::new(SERVER);
        command.args(["ctl", "--bind=127.0.0.1", "--port", &port.to_string()]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let slaves = Command::new(env!("CARGO_BIN_EXE_ftpslaves"))
        .args(["--count=1", &format!("127.0.0.1:{port}")])
        .stderr(Stdio::null())
        .spawn();
    let slaves = slaves.unwrap();
    until("no slave has registered", || ctl(&["status"]).contains("\n1 "));
    let mut client = behind(server.address(), &text(address([192, 0, 2, 7])));
    assert!(client.line().starts_with("220 slave 1 "));
    assert!(ctl(&["who"]).contains("192.0.2.7:5000"));
    let process = rustix::process::Pid::from_raw(slaves.id().cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let mut slaves = Running(slaves);
    until("the slave has not ended", || slaves.0.try_wait().unwrap().is_some());
}

#[test]
fn haproxy_names_its_clients() {
    let Some(program) = find("haproxy") else { return skip("haproxy is not installed") };
    let content = noise(300_000);
    for version in ["send-proxy", "send-proxy-v2"] {
        let server = start(|_| {});
        server.write("file", &content);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let check = format!("check-{version}").replace("send-proxy-v2", "send-proxy");
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen ftp\n bind {front}\n option tcp-check\n tcp-check expect rstring ^220\n \
             server one {} {version} check {check}\n",
            server.address()
        );
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let child = Command::new(&program)
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _running = Running(child.unwrap());
        until("HAProxy does not listen", || TcpStream::connect(front).is_ok());
        let mut client = RawClient::greeted(front);
        assert!(client.try_log_in("anonymous", "x").starts_with("230 "));
        assert!(client.ask("TYPE I").starts_with("200 "));
        let own = client.stream.local_addr().unwrap();
        assert_eq!(own.ip(), IpAddr::from([127, 0, 0, 1]));
        server.log.expect(&["event=login", &format!("peer={own}")]);
        let reply = client.ask("EPSV");
        let port = reply.rsplit('|').nth(1).unwrap().parse::<u16>().unwrap();
        let mut data = TcpStream::connect(("127.0.0.1", port)).unwrap();
        data.flush().unwrap();
        assert!(client.ask("RETR file").starts_with("150 "));
        assert!(read_all(data) == content);
        assert!(client.reply().starts_with("226 "));
    }
}
