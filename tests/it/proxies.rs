//! The client through proxies: SOCKS5 and HTTP CONNECT carry the control connection and the data connections.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common::{TestServer, noise};
use poolftpd::internal::client::{Client, Options, Proxy, ProxyKind, TlsMode};

/// A proxy, and the number of connections that it has made.
struct TestProxy {
    address: SocketAddr,
    made: Arc<AtomicUsize>,
}

impl TestProxy {
    fn start(kind: ProxyKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, made) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&made);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let port = match kind {
                        ProxyKind::Socks5 => accept_socks(&client),
                        ProxyKind::Http => accept_http(&client),
                    };
                    let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    relay(client, server);
                });
            }
        });
        Self { address, made }
    }
}

/// Answers a SOCKS5 client, and returns the port that it wants.
fn accept_socks(mut client: &TcpStream) -> u16 {
    let mut methods = [0; 3];
    client.read_exact(&mut methods).unwrap();
    assert_eq!(methods, [5, 1, 0]);
    client.write_all(&[5, 0]).unwrap();
    let mut head = [0; 5];
    client.read_exact(&mut head).unwrap();
    assert_eq!(head[..4], [5, 1, 0, 3], "the name of the server");
    let mut rest = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut rest).unwrap();
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    u16::from_be_bytes([rest[rest.len() - 2], rest[rest.len() - 1]])
}

/// Answers an HTTP client, and returns the port that it wants.
fn accept_http(mut client: &TcpStream) -> u16 {
    let lines = BufReader::new(client.try_clone().unwrap()).lines();
    let head: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let place = head[0].strip_prefix("CONNECT ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    place.rsplit(':').next().unwrap().parse().unwrap()
}

fn relay(client: TcpStream, server: TcpStream) {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        let _copied = std::io::copy(&mut from, &mut to);
        let _closed = to.shutdown(std::net::Shutdown::Write);
    };
    let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || pass(up, down));
    pass(server, client);
}

#[test]
fn files_move_through_a_proxy() {
    let server = TestServer::writable();
    server.write("a", noise(3_000_000));
    let folder = tempfile::tempdir().unwrap();
    for kind in [ProxyKind::Socks5, ProxyKind::Http] {
        let proxy = TestProxy::start(kind);
        let options = Options {
            tls: TlsMode::Off,
            stream: true,
            proxy: Some(Proxy::new(kind, "127.0.0.1", proxy.address.port(), None)),
            ..Options::default()
        };
        // Only the proxy knows this name.
        let port = server.address().port();
        let mut client = Client::connect("server.invalid", port, &options).unwrap();
        client.login("anonymous", "x").unwrap();
        let local = folder.path().join("b");
        client.download("a").to(&local).run().unwrap();
        assert!(fs::read(&local).unwrap() == server.read("a"));
        client.upload(&local).to("c").run().unwrap();
        assert!(server.read("c") == server.read("a"));
        assert!(proxy.made.load(Ordering::SeqCst) >= 3, "{kind:?}");
        fs::remove_file(local).unwrap();
        client.set_active(true);
        let error = client.read_dir(b"").unwrap_err();
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}

#[test]
fn the_program_takes_its_proxy_from_the_environment() {
    let server = TestServer::start(|_| {});
    server.write("a", "content");
    let proxy = TestProxy::start(ProxyKind::Socks5);
    let port = server.address().port().to_string();
    let run = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpclient"));
        for name in ["ALL_PROXY", "all_proxy", "ftp_proxy", "FTP_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        let words = ["--retries", "0", "--timeout", "5", "-c", "cat a", "server.invalid", &port];
        let output = command.env(name, value).args(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (status, text) = run("ALL_PROXY", &format!("socks5://{}", proxy.address));
    assert!(status == 0 && text.contains("content"), "{text}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, text) = run("ftp_proxy", &format!("http://{closed}"));
    assert!(status == 3 && text.contains("ftp_proxy"), "{text}");
    let (status, text) = run("ftp_proxy", "gopher://x");
    assert!(status == 2 && text.contains("gopher"), "{text}");
}
