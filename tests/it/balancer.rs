//! The balancer: a master in front, slaves behind it, each new client to the next slave.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use crate::common::outside::{find, run_script, skip};
use crate::common::raw::{RawClient, read_all};
use crate::common::{TestServer, noise, until};
use poolftpd::internal::balancer::{Dispatcher, Load};

fn with_slaves(count: u16) -> TestServer {
    TestServer::start(|config| {
        config.slaves = count;
        config.write = true;
    })
}

/// Connects a client; returns it with its greeting, which names the slave.
fn greeted_by(address: SocketAddr) -> (RawClient, String) {
    let mut client = RawClient::connect(address);
    let line = client.line();
    (client, line)
}

fn loads(server: &TestServer) -> Vec<Load> {
    server.server.as_ref().unwrap().balancer().loads()
}

#[test]
fn clients_one_two_and_three_are_served_by_slaves_one_two_and_one() {
    let server = with_slaves(2);
    let (mut first, line) = greeted_by(server.address());
    assert_eq!(line, "220 slave 1 poolftpd ready.");
    let (_second, line) = greeted_by(server.address());
    assert_eq!(line, "220 slave 2 poolftpd ready.");
    let (_third, line) = greeted_by(server.address());
    assert_eq!(line, "220 slave 1 poolftpd ready.");
    first.say("USER anonymous");
    first.say("PASS x");
    first.say("STAT");
    assert!(first.line().starts_with("331 ") && first.line().starts_with("230 "));
    assert_eq!(first.line(), "211-poolftpd status, slave 1:");
}

#[test]
fn a_slave_has_its_own_port_too() {
    let server = with_slaves(2);
    let listeners = server.server.as_ref().unwrap().listeners().to_vec();
    assert_eq!(
        listeners.iter().map(|listener| listener.slave).collect::<Vec<_>>(),
        [None, Some(1), Some(2)]
    );
    for _ in 0..3 {
        assert_eq!(greeted_by(listeners[2].address).1, "220 slave 2 poolftpd ready.");
    }
}

#[test]
fn slaves_listen_on_the_ports_behind_the_masters() {
    // Finds a free port followed by two free ones by trying.
    let server = (0..100).find_map(|_| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let free = (port..=port.checked_add(2)?)
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        free.then(|| {
            let server = TestServer::start(|config| {
                config.port = port;
                config.slaves = 2;
            });
            (server, port)
        })
    });
    let (server, port) = server.unwrap();
    let ports: Vec<u16> = server
        .server
        .as_ref()
        .unwrap()
        .listeners()
        .iter()
        .map(|listener| listener.address.port())
        .collect();
    assert_eq!(ports, [port, port + 1, port + 2]);
}

#[test]
fn a_hundred_clients_are_shared_evenly_and_byte_exact() {
    let server = with_slaves(4);
    let content = noise(200_000);
    server.write("a", &content);
    let mut clients: Vec<RawClient> =
        (0..100).map(|_| RawClient::log_in(server.address())).collect();
    assert!(loads(&server).iter().all(|load| load.sessions == 25));
    for client in &mut clients {
        assert!(client.retrieve("a") == content);
    }
    assert!(loads(&server).iter().all(|load| load.bytes == 25 * 200_000));
}

#[test]
fn a_slave_that_is_drained_or_full_is_skipped_and_421_says_why_when_none_is_left() {
    let server = TestServer::start(|config| {
        config.slaves = 2;
        config.limits.clients_max = 4;
    });
    let running = server.server.as_ref().unwrap().balancer();
    assert!(running.set_draining(Some(1), true));
    assert!(!running.set_draining(Some(3), true), "there is no slave 3");
    let (_one, line) = greeted_by(server.address());
    assert!(line.starts_with("220 slave 2"), "{line}");
    let (two, line) = greeted_by(server.address());
    assert!(line.starts_with("220 slave 2"), "{line}");
    let (_, line) = greeted_by(server.address());
    assert!(line.starts_with("421 Too many clients"), "slave 2 has its share: {line}");
    assert!(running.set_draining(Some(2), true));
    drop(two);
    until("the place is not given back", || loads(&server)[1].sessions == 1);
    let (_, line) = greeted_by(server.address());
    assert!(line.starts_with("421 This server accepts no new clients"), "{line}");
    assert!(running.set_draining(Some(1), false));
    assert!(greeted_by(server.address()).1.starts_with("220 slave 1"));
}

#[test]
fn transfers_finish_and_idle_clients_are_told_when_a_balanced_server_stops() {
    let mut server = with_slaves(2);
    let content = noise(16 * 1024 * 1024);
    server.write("a", &content);
    let mut busy: Vec<RawClient> = (0..2).map(|_| RawClient::log_in(server.address())).collect();
    let data: Vec<_> = busy
        .iter_mut()
        .map(|client| {
            let data = client.open_data();
            assert!(client.ask("RETR a").starts_with("150 "));
            data
        })
        .collect();
    let running = server.server.take().unwrap();
    let stopping = std::thread::spawn(move || running.stop());
    for (client, data) in busy.iter_mut().zip(data) {
        assert!(read_all(data) == content);
        assert!(client.line().starts_with("226 "));
        assert!(client.line().starts_with("421 "));
    }
    stopping.join().unwrap();
}

#[test]
fn lftp_mirrors_through_the_balancer_over_parallel_connections() {
    if find("lftp").is_none() {
        return skip("lftp is not installed");
    }
    let server = with_slaves(3);
    fs::create_dir(server.path("d")).unwrap();
    for number in 0..30 {
        server.write(&format!("d/{number}"), noise(50_000 + number));
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "lftp -e \"set net:max-retries 2; set net:timeout 20; mirror --parallel=6 d got; mirror -R --parallel=6 got back; bye\" -p $port 127.0.0.1
                  diff -r \"$root/d\" got && diff -r got \"$root/back\"";
    let variables = [
        ("port", &*server.address().port().to_string()),
        ("root", server.root.path().to_str().unwrap()),
    ];
    run_script(script, folder.path(), &variables).unwrap();
    assert!(loads(&server).iter().all(|load| load.bytes > 0), "each slave had its share");
}
