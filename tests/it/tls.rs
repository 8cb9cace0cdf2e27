//! FTP over TLS: control and data connections, and attacks from in between.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::common::raw::{RawClient, read_blocks};
use crate::common::secure::{
    SecureClient, SecureStream, certificate, config, finish, finish_at_once, secure,
};
use crate::common::{TestServer, noise};
use poolftpd::internal::log::Level;
use poolftpd::internal::net::data::Resumption;
use poolftpd::internal::net::tls::{KeyFiles, Newest, TlsFiles};
use poolftpd::internal::settings::Config;
use poolftpd::internal::storage::password;
use poolftpd::internal::storage::users::{User, UserSettings, Users};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// A server with a certificate, and the folder of its certificate.
struct Scene {
    _folder: TempDir,
    server: TestServer,
}

impl Scene {
    fn new(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = vec![certificate(folder.path(), "localhost")];
        let server = TestServer::start(|config| {
            config.tls = TlsFiles { keys, ..TlsFiles::default() };
            config.write = true;
            config.limits.login_delay = Duration::ZERO;
            adjust(config);
        });
        Self { _folder: folder, server }
    }

    /// Starts a server with users, each of whom has the name as password.
    fn with_users(names: &[&str]) -> Self {
        Self::new(|config| {
            let place = config.tls.keys[0].key.with_file_name("users");
            Users::update(&place, |users| {
                for name in names {
                    let user = User {
                        hash: password::hash(name.as_bytes())?,
                        settings: UserSettings::default(),
                    };
                    users.0.insert(name.as_bytes().to_vec(), user);
                }
                Ok(())
            })
            .unwrap();
            config.users = Some(place);
        })
    }

    /// Opens a user's control connection, with PROT P.
    fn log_in(
        &self,
        name: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> SecureClient {
        let mut client = SecureClient::connect_with(self.address(), config(versions), "localhost");
        for (line, code) in [
            (format!("USER {name}"), "331 "),
            (format!("PASS {name}"), "230 "),
            ("TYPE I".to_owned(), "200 "),
            ("PBSZ 0".to_owned(), "200 "),
            ("PROT P".to_owned(), "200 "),
        ] {
            let reply = client.ask(&line);
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
        client
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn shown(client: &SecureClient) -> CertificateDer<'static> {
    client.stream.conn.peer_certificates().unwrap()[0].clone()
}

fn read(path: &PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

#[test]
fn files_travel_both_ways_by_every_version_and_resume_the_session() {
    let scene = Scene::new(|_| {});
    let content = noise(3_000_000);
    scene.server.write("a", &content);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client =
            SecureClient::connect_with(scene.address(), config(&[version]), "localhost");
        client.log_in_here();
        assert_eq!(client.retrieve("a"), content);
        let data = client.begin_store("b", &content);
        finish(data);
        let reply = client.reply();
        assert!(reply.starts_with("226 "), "{reply}");
        assert_eq!(scene.server.read("b"), content);
        assert!(client.retrieve("a") == content, "again");
        assert!(client.ask("PROT C").starts_with("200 "));
        let mut data = client.open_plain();
        assert!(client.ask("RETR a").starts_with("150 "));
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, content);
    }
}

#[test]
fn what_is_said_in_plain_behind_auth_is_thrown_away() {
    let scene = Scene::new(|_| {});
    for gap in [false, true] {
        let mut plain = RawClient::greeted(scene.address());
        if gap {
            plain.send(b"AUTH TLS\r\n");
            plain.send(b"USER mallory\r\nPASS x\r\n");
        } else {
            plain.send(b"AUTH TLS\r\nUSER mallory\r\nPASS x\r\n");
        }
        assert!(plain.line().starts_with("234 "));
        let stream = plain.stream.try_clone().unwrap();
        let stream = secure(stream, &config(rustls::ALL_VERSIONS), "localhost");
        let mut client = SecureClient {
            stream,
            config: config(rustls::ALL_VERSIONS),
            name: "localhost".to_owned(),
        };
        if gap {
            // Bytes after the reply are no handshake: the connection may end, but the commands are never executed.
            let _said = client.stream.write_all(b"PASS x\r\n");
            let reply = client.line();
            assert!(reply.is_empty() || reply.starts_with("503 "), "{reply}");
        } else {
            assert!(client.ask("PASS x").starts_with("503 "));
        }
    }
}

#[test]
fn each_word_of_the_security_extensions_has_its_reply() {
    let scene = Scene::new(|_| {});
    let mut plain = RawClient::greeted(scene.address());
    plain.say("FEAT");
    let features: Vec<String> =
        std::iter::from_fn(|| Some(plain.line()).filter(|line| !line.starts_with("211 ")))
            .collect();
    for feature in [" AUTH TLS", " PBSZ", " PROT"] {
        assert!(features.iter().any(|line| line == feature), "{features:?}");
    }
    for (line, code) in [
        ("AUTH KERBEROS_V4", "504 "),
        ("AUTH", "501 "),
        ("PBSZ 0", "503 "),
        ("PROT P", "503 "),
        ("CCC", "503 "),
    ] {
        let reply = plain.ask(line);
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    let mut client = SecureClient::connect(scene.address());
    for (line, code) in [
        ("AUTH TLS", "503 "),
        ("PROT P", "503 "),
        ("PBSZ x", "501 "),
        ("PBSZ 0", "200 PBSZ=0"),
        ("PROT S", "536 "),
        ("PROT E", "536 "),
        ("PROT X", "504 "),
        ("PROT P", "200 "),
        ("CCC", "534 "),
        ("REIN", "220 "),
        ("PROT P", "503 "),
    ] {
        let reply = client.ask(line);
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    let without = TestServer::start(|_| {});
    let mut plain = RawClient::greeted(without.address());
    assert_eq!(plain.ask("AUTH TLS"), "502 TLS is not configured.");
    plain.say("FEAT");
    loop {
        let line = plain.line();
        assert!(!line.contains("AUTH"));
        if line.starts_with("211 ") {
            break;
        }
    }
}

#[test]
fn where_tls_is_required_nobody_logs_in_and_no_data_moves_without() {
    let scene = Scene::new(|config| config.require_tls = true);
    scene.server.write("a", "x");
    let mut plain = RawClient::greeted(scene.address());
    assert_eq!(plain.ask("USER anonymous"), "530 TLS is required; send AUTH TLS first.");
    assert!(plain.ask("PASS x").starts_with("503 "));
    let mut client = SecureClient::connect(scene.address());
    assert!(client.ask("USER anonymous").starts_with("331 "));
    assert!(client.ask("PASS x").starts_with("230 "));
    let _data = client.open_plain();
    for line in ["RETR a", "LIST", "STOR b", "MLSD"] {
        assert_eq!(
            client.ask(line),
            "521 TLS is required for data connections; send PBSZ 0 and PROT P."
        );
    }
    assert!(client.ask("PBSZ 0").starts_with("200 "));
    assert!(client.ask("PROT C").starts_with("534 "));
    assert!(client.ask("PROT P").starts_with("200 "));
    assert_eq!(client.retrieve("a"), b"x");
}

#[test]
fn a_data_connection_that_does_not_resume_this_session_is_closed() {
    let scene = Scene::with_users(&["alice", "bob"]);
    scene.server.write("a", "secret");
    let mut victim = scene.log_in("alice", rustls::ALL_VERSIONS);
    let thief = scene.log_in("bob", rustls::ALL_VERSIONS).config;
    // A ticket of another account's control connection; one that the previous attempt may have brought; and no ticket.
    for theirs in [Arc::clone(&thief), Arc::clone(&thief), config(rustls::ALL_VERSIONS)] {
        let stream = victim.open_plain();
        let mut data = secure(stream, &theirs, "localhost");
        assert!(victim.ask("RETR a").starts_with("150 "));
        let mut bytes = Vec::new();
        let _end = data.read_to_end(&mut bytes);
        assert!(bytes.is_empty());
        let reply = victim.reply();
        assert!(reply.starts_with("522 "), "{reply}");
    }
    assert_eq!(victim.retrieve("a"), b"secret");
    // Nothing can be written into another user's upload either.
    let stream = victim.open_plain();
    let mut data = secure(stream, &thief, "localhost");
    assert!(victim.ask("STOR b").starts_with("150 "));
    let _sent = data.write_all(b"forged");
    assert!(victim.reply().starts_with("522 "));
    assert!(!scene.server.path("b").exists());
}

#[test]
fn connections_of_an_account_resume_each_others_sessions() {
    let scene = Scene::with_users(&["alice", "bob"]);
    scene.server.write("a", "x");
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let mut one = scene.log_in("alice", versions);
        let other = scene.log_in("alice", versions);
        let data = secure(one.open_plain(), &other.config, "localhost");
        assert_eq!(fetch(&mut one, data), (b"x".to_vec(), true));
        // Sessions of a connection that has ended are resumed, too.
        let ended = Arc::clone(&other.config);
        drop(other);
        let data = secure(one.open_plain(), &ended, "localhost");
        assert_eq!(fetch(&mut one, data), (b"x".to_vec(), true));
        // Sessions of a connection that has changed to another account are not.
        let mut changed = scene.log_in("alice", versions);
        assert!(changed.ask("REIN").starts_with("220 "));
        for (line, code) in [("USER bob", "331 "), ("PASS bob", "230 ")] {
            assert!(changed.ask(line).starts_with(code));
        }
        let data = secure(one.open_plain(), &changed.config, "localhost");
        assert_eq!(fetch(&mut one, data), (Vec::new(), false));
    }
}

#[test]
fn a_session_from_before_a_login_waits_for_it() {
    let scene = Scene::with_users(&["alice", "bob"]);
    scene.server.write("a", "x");
    for (name, is_let_in) in [("alice", true), ("bob", false), ("", false)] {
        let mut one = scene.log_in("alice", rustls::ALL_VERSIONS);
        let mut late = SecureClient::connect(scene.address());
        // The tickets have arrived with this reply.
        assert!(late.ask("NOOP").starts_with("200 "));
        let mut data = secure(one.open_plain(), &late.config, "localhost");
        assert!(one.ask("RETR a").starts_with("150 "));
        // The handshake is complete once this loop ends.
        while data.conn.is_handshaking() {
            data.conn.complete_io(&mut data.sock).unwrap();
        }
        assert_eq!(data.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        if name.is_empty() {
            drop(late);
        } else {
            assert!(late.ask(&format!("USER {name}")).starts_with("331 "));
            assert!(late.ask(&format!("PASS {name}")).starts_with("230 "));
        }
        let mut bytes = Vec::new();
        let _end = data.read_to_end(&mut bytes);
        finish(data);
        let reply = one.reply();
        assert_eq!((bytes == b"x", reply.starts_with("226 ")), (is_let_in, is_let_in), "{reply}");
        assert!(is_let_in || reply.starts_with("522 "), "{reply}");
    }
}

/// Fetches over this data connection; returns the bytes received, and whether the transfer was accepted.
fn fetch(client: &mut SecureClient, mut data: SecureStream) -> (Vec<u8>, bool) {
    assert!(client.ask("RETR a").starts_with("150 "));
    let mut bytes = Vec::new();
    let _end = data.read_to_end(&mut bytes);
    finish(data);
    let reply = client.reply();
    assert!(reply.starts_with("226 ") || reply.starts_with("522 "), "{reply}");
    (bytes, reply.starts_with("226 "))
}

#[test]
fn no_version_is_newer_than_allowed_and_a_refusal_names_the_way_out() {
    let scene = Scene::new(|config| {
        config.tls_max = Newest::V1_2;
        config.level = Level::Normal;
    });
    scene.server.write("a", "x");
    let mut client = SecureClient::log_in(scene.address());
    assert_eq!(client.stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    assert_eq!(client.retrieve("a"), b"x");
    let stream = client.open_plain();
    let mut data = secure(stream, &config(rustls::ALL_VERSIONS), "localhost");
    assert!(client.ask("RETR a").starts_with("150 "));
    let _end = data.read_to_end(&mut Vec::new());
    let reply = client.reply();
    let ways = ["--no-tls-reuse", "--tls-max 1.2"];
    assert!(reply.starts_with("522 ") && ways.iter().all(|way| reply.contains(way)), "{reply}");
    scene.server.log.expect(&["event=data-connection-refused", "--no-tls-reuse", "--tls-max 1.2"]);
}

#[test]
fn clients_that_cannot_resume_are_served_where_that_is_said() {
    let scene = Scene::new(|config| config.resumption = Resumption::Optional);
    scene.server.write("a", "x");
    let mut client = SecureClient::log_in(scene.address());
    let stream = client.open_plain();
    let mut data = secure(stream, &config(rustls::ALL_VERSIONS), "localhost");
    assert!(client.ask("RETR a").starts_with("150 "));
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
    finish(data);
    assert!(client.reply().starts_with("226 "));
}

#[test]
fn an_upload_is_complete_when_its_client_says_so_and_cut_off_when_not() {
    let scene = Scene::new(|_| {});
    let mut client = SecureClient::log_in(scene.address());
    drop(client.begin_store("torn", b"half"));
    let reply = client.reply();
    assert!(reply.starts_with("426 Upload incomplete: TLS ended without close_notify"), "{reply}");
    assert!(!scene.server.path("torn").exists());
    // The size proves the end as well.
    assert!(client.ask("ALLO 5").starts_with("200 "));
    drop(client.begin_store("sized", b"whole"));
    assert!(client.reply().starts_with("226 "));
    finish(client.begin_store("whole", b"text"));
    assert!(client.reply().starts_with("226 "));
    assert_eq!(scene.server.read("whole"), b"text");
    // A client that closes at once must have nothing unread, because its close would then be a reset.
    let content = noise(1_000_000);
    finish_at_once(client.begin_store("hasty", &content));
    let reply = client.reply();
    assert!(reply.starts_with("226 "), "{reply}");
    assert_eq!(scene.server.read("hasty"), content);
}

#[test]
fn a_download_ends_with_close_notify_and_waits_for_the_clients_a_moment_only() {
    let scene = Scene::new(|_| {});
    scene.server.write("a", "x");
    let mut client = SecureClient::log_in(scene.address());
    let mut data = client.open_data();
    assert!(client.ask("RETR a").starts_with("150 "));
    let mut bytes = Vec::new();
    // An end without close_notify would be an error.
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
    // The client does not close, and still receives the reply.
    assert!(client.reply().starts_with("226 "));
}

#[test]
fn handshakes_that_stall_or_are_garbage_cost_nobody_else_anything() {
    let scene = Scene::new(|config| {
        config.workers = NonZeroUsize::MIN;
        config.limits.handshake_timeout = Duration::from_secs(1);
    });
    scene.server.write("a", "x");
    let auth = || {
        let mut client = RawClient::greeted(scene.address());
        assert!(client.ask("AUTH TLS").starts_with("234 "));
        client
    };
    let mut stalled: Vec<RawClient> = (0..30).map(|_| auth()).collect();
    for client in &mut stalled {
        // The beginning of a ClientHello.
        client.send(&[22, 3, 1, 2, 0, 1, 0]);
    }
    for garbage in
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), noise(50_000), vec![22; 100], vec![0; 20_000]]
    {
        let mut client = auth();
        let _sent = client.stream.write_all(&garbage);
        let mut rest = Vec::new();
        let _end = client.stream.read_to_end(&mut rest);
    }
    assert_eq!(SecureClient::log_in(scene.address()).retrieve("a"), b"x");
    for client in &mut stalled {
        assert!(client.is_closed());
    }
}

#[test]
fn a_data_handshake_that_stalls_is_ended_and_the_session_goes_on() {
    let scene = Scene::new(|config| {
        config.limits.data_connect_timeout = Duration::from_secs(1);
    });
    scene.server.write("a", "x");
    let mut client = SecureClient::log_in(scene.address());
    let _silent = client.open_plain();
    assert!(client.ask("RETR a").starts_with("150 "));
    assert!(client.ask("NOOP").starts_with("200 "));
    assert!(client.reply().starts_with("425 "));
    let mut noisy = client.open_plain();
    assert!(client.ask("RETR a").starts_with("150 "));
    noisy.write_all(b"this is no handshake at all").unwrap();
    assert!(client.reply().starts_with("522 "));
    assert_eq!(client.retrieve("a"), b"x");
}

#[test]
fn tls_begins_at_once_on_the_port_of_implicit_tls() {
    let scene = Scene::new(|config| config.implicit_tls = Some(0));
    scene.server.write("a", "x");
    let address = scene.server.server.as_ref().unwrap().listeners()[1].address;
    let config = config(rustls::ALL_VERSIONS);
    let stream = secure(TcpStream::connect(address).unwrap(), &config, "localhost");
    let mut client = SecureClient { stream, config, name: "localhost".to_owned() };
    client.stream.flush().unwrap();
    assert!(client.line().starts_with("220 "));
    assert!(client.ask("USER anonymous").starts_with("331 "));
    assert!(client.ask("PASS x").starts_with("230 "));
    // Data is over TLS without PROT.
    assert_eq!(client.retrieve("a"), b"x");
}

#[test]
fn each_name_has_its_certificate_and_they_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["one.example", "two.example"];
    let keys = names.map(|name| certificate(folder.path(), name));
    let scene = Scene::new(|config| config.tls.keys = keys.to_vec());
    let connect = |name: &str| {
        let config = config(rustls::ALL_VERSIONS);
        let mut client = SecureClient::connect_with(scene.address(), config, name);
        assert!(client.ask("NOOP").starts_with("200 "));
        client
    };
    for (name, files) in names.iter().zip(&keys) {
        assert_eq!(shown(&connect(name)), read(&files.certificate));
    }
    assert_eq!(shown(&connect("other.example")), read(&keys[0].certificate));
    let server = scene.server.server.as_ref().unwrap();
    let mut before = connect(names[1]);
    let old = shown(&before);
    fs::write(&keys[1].key, "nonsense").unwrap();
    server.reload();
    assert_eq!(shown(&connect(names[1])), old, "a broken key changes nothing");
    certificate(folder.path(), names[1]);
    server.reload();
    assert_ne!(shown(&connect(names[1])), old);
    before.log_in_here();
    scene.server.write("a", "x");
    // An existing session continues with its old certificate.
    let mut data = before.open_data();
    assert!(before.ask("RETR a").starts_with("150 "));
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
}

#[test]
fn the_name_of_the_handshake_chooses_a_root_as_host_does() {
    let (folder, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = certificate(etc.path(), "own.example");
    fs::write(folder.path().join("a"), "own").unwrap();
    let scene = Scene::new(|config| {
        let (place, KeyFiles { certificate, key }) = (folder.path().display(), &keys);
        let files = format!("cert={},key={}", certificate.display(), key.display());
        config.virtual_hosts = vec![format!("own.example,root={place},{files}").parse().unwrap()];
    });
    scene.server.write("a", "usual");
    for (name, content) in [("own.example", "own"), ("localhost", "usual")] {
        let config = config(rustls::ALL_VERSIONS);
        let mut client = SecureClient::connect_with(scene.address(), config, name);
        client.log_in_here();
        assert_eq!(client.retrieve("a"), content.as_bytes());
        assert_eq!(shown(&client) == read(&keys.certificate), name == "own.example");
    }
}

#[test]
fn where_clients_need_a_certificate_others_are_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let path = folder.path().join("authority.pem");
    fs::write(&path, authority.pem()).unwrap();
    let scene = Scene::new(|config| config.tls.client_authorities = Some(path));
    scene.server.write("a", "x");
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["client".to_owned()]).unwrap();
    let own = own.signed_by(&key, &authority).unwrap();
    let mut with = ClientConfig::clone(&config(rustls::ALL_VERSIONS));
    let (chain, key) =
        (vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    let provider = rustls::crypto::ring::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap();
    with.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let mut client = SecureClient::connect_with(scene.address(), Arc::new(with), "localhost");
    client.log_in_here();
    assert_eq!(client.retrieve("a"), b"x");
    let mut without = SecureClient::connect(scene.address());
    let _said = without.stream.write_all(b"NOOP\r\n");
    assert_eq!(without.line(), "");
}

#[test]
fn block_mode_works_by_tls_and_one_connection_serves_many_files() {
    let scene = Scene::new(|_| {});
    let content = noise(200_000);
    scene.server.write("a", &content);
    let mut client = SecureClient::log_in(scene.address());
    assert!(client.ask("MODE B").starts_with("200 "));
    let mut data = client.open_data();
    for code in ["150 ", "125 "] {
        assert!(client.ask("RETR a").starts_with(code));
        assert_eq!(read_blocks(&mut data), content);
        assert!(client.reply().starts_with("250 "));
    }
    assert!(client.ask("STOR b").starts_with("125 "));
    data.write_all(&[0, 0, 3, b'a', b'b', b'c', 64, 0, 1, b'd']).unwrap();
    assert!(client.reply().starts_with("250 "));
    assert_eq!(scene.server.read("b"), b"abcd");
    // A connection that began with an upload serves downloads afterwards.
    let mut data = client.open_data();
    assert!(client.ask("STOR c").starts_with("150 "));
    data.write_all(&[64, 0, 1, b'e']).unwrap();
    assert!(client.reply().starts_with("250 "));
    assert!(client.ask("RETR b").starts_with("125 "));
    let mut block = [0; 7];
    data.read_exact(&mut block).unwrap();
    assert_eq!(&block[3..], b"abcd");
    assert!(client.reply().starts_with("250 "));
    assert!(client.ask("RETR a").starts_with("125 "));
    data.read_exact(&mut vec![0; content.len()]).unwrap();
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| certificate(folder.path(), name));
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    let open = |certificate: &Path, key: &Path| {
        let keys = vec![KeyFiles { certificate: certificate.into(), key: key.into() }];
        let files = TlsFiles { keys, ..TlsFiles::default() };
        poolftpd::internal::net::tls::Acceptor::open(files).unwrap_err()
    };
    for (certificate, key, what) in [
        (&one.certificate, &two.key, "two.key: the key does not match the certificate in "),
        (&empty, &one.key, "empty: no certificate found"),
        (&one.certificate, &empty, "empty: no private key found"),
        (&one.certificate, &folder.path().join("none"), "none: no such file"),
    ] {
        let told = open(certificate, key);
        assert!(told.contains(what), "{told}");
    }
}

/// The number of overwrites that are aborted in each way.
const ABORT_RUNS: usize = 150;

#[test]
fn an_abor_that_was_sent_before_the_data_ended_wins_over_tls_too() {
    let scene = Scene::new(|_| {});
    scene.server.write("good", "the good file");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        for (name, pieces, before) in [
            ("whole", &[b"ABOR\r\n".as_slice()][..], 1),
            ("behind another", &[b"NOOP\r\n", b"ABOR\r\n"], 2),
            ("split", &[b"AB", b"OR\r\n"], 1),
            ("interrupt first", &[b"\xff\xf4\xff\xf2", b"ABOR\r\n"], 1),
        ] {
            for run in 0..ABORT_RUNS {
                // A new one each time: over TLS 1.3 an aborted upload uses up a ticket and brings none.
                let mut client =
                    SecureClient::connect_with(scene.address(), config(versions), "localhost");
                client.log_in_here();
                // Else the second piece would wait here until the first is acknowledged.
                client.stream.sock.set_nodelay(true).unwrap();
                let data = client.begin_store("good", &noise(run * 7919 % 50_000));
                for piece in &pieces[..before] {
                    client.stream.write_all(piece).unwrap();
                }
                if run % 2 == 0 {
                    finish_at_once(data);
                } else {
                    drop(data);
                }
                for piece in &pieces[before..] {
                    client.stream.write_all(piece).unwrap();
                }
                let mut replies = Vec::new();
                loop {
                    let reply = client.reply();
                    replies.push(reply.clone());
                    assert!(!reply.starts_with("226 Transfer"), "{name}, run {run}: {reply}");
                    assert!(!reply.is_empty(), "{name}, run {run}: {replies:?}");
                    if reply.starts_with("226 ABOR") {
                        break;
                    }
                }
                assert_eq!(scene.server.read("good"), b"the good file", "{name}, run {run}");
            }
        }
    }
}
