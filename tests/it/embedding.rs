//! The server and the client inside another program.

use poolftpd::{Client, ErrorKind, Server, TlsMode};

use crate::common::raw::RawClient;
use crate::common::secure::certificate;
use crate::common::{Captured, until};

#[test]
fn a_server_takes_three_lines_and_ends_when_it_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::builder(root.path()).bind("127.0.0.1:0").writable(true).start().unwrap();
    let mut client = Client::builder("127.0.0.1").port(server.port()).connect().unwrap();
    client.create_dir(b"new").unwrap();
    assert!(root.path().join("new").is_dir());
    let mut idle = RawClient::log_in(server.address());
    let address = server.address();
    drop(server);
    assert!(idle.is_closed());
    until("the port is free again", || std::net::TcpListener::bind(address).is_ok());
}

#[test]
fn users_tls_and_any_setting_are_given_to_the_builder() {
    let folder = tempfile::tempdir().unwrap();
    let keys = certificate(folder.path(), "localhost");
    let log = Captured::default();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let server = Server::builder(&root)
        .bind("127.0.0.1:0")
        .tls(&keys.certificate, &keys.key)
        .set("require-tls", "true")
        .set("idle-timeout", "60")
        .workers(1)
        .log(log.clone())
        .start()
        .unwrap();
    let client = |mode| Client::builder("127.0.0.1").port(server.port()).tls(mode);
    let refused = client(TlsMode::Off).connect().unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Login, "{refused}");
    let trusting = client(TlsMode::Require).trust(poolftpd::Trust::Anybody);
    assert_eq!(trusting.connect().unwrap().tls_version().as_deref(), Some("TLS 1.3"));
    drop(server);
    assert!(log.text().contains("event=login"), "{}", log.text());
}

#[test]
fn a_wrong_value_is_reported_with_its_setting() {
    let root = tempfile::tempdir().unwrap();
    let start = |name, value| {
        let builder = Server::builder(root.path()).bind("127.0.0.1:0");
        builder.set(name, value).start().unwrap_err().to_string()
    };
    assert!(start("idle-timeout", "soon").starts_with("idle-timeout: "));
    assert!(start("idel-timeout", "1").starts_with("idel-timeout: no setting has this name"));
    assert!(Server::builder(root.path()).bind("nowhere").start().is_err());
}
