//! The client over TLS with certificates and servers as they are found in the field.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use poolftpd::internal::net::tls::{KeyFiles, TlsFiles, fingerprint};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::TestServer;
use crate::common::secure::certificate;

/// Runs the client in `folder`, which is its home, on these commands. Returns its status and its messages.
fn run(folder: &Path, address: SocketAddr, options: &[&str], commands: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpclient"))
        .args(["--timeout", "5", "--retries", "0"])
        .args(options)
        .args(["127.0.0.1", &address.port().to_string()])
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _written = child.stdin.take().unwrap().write_all(commands.as_bytes());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&stderr).into_owned())
}

fn server_with(keys: KeyFiles) -> TestServer {
    TestServer::start(|config| {
        config.tls = TlsFiles { keys: vec![keys], ..TlsFiles::default() };
    })
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_its_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // As `openssl req -x509` makes it: an authority, and for no name that the client uses.
    let mut parameters = CertificateParams::new(["elsewhere".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let made = parameters.self_signed(&key).unwrap();
    let path = |name: &str| folder.path().join(name);
    let keys = KeyFiles { certificate: path("own.crt"), key: path("own.key") };
    fs::write(&keys.certificate, made.pem()).unwrap();
    fs::write(&keys.key, key.serialize_pem()).unwrap();
    let other = certificate(folder.path(), "127.0.0.1");
    let server = server_with(keys);
    let (status, errors) = run(folder.path(), server.address(), &["--ca", "own.crt"], "pwd\n");
    assert_eq!(status, 0, "{errors}");
    let other = other.certificate.to_str().unwrap();
    let (status, errors) = run(folder.path(), server.address(), &["--ca", other], "pwd\n");
    assert_eq!(status, 5, "{errors}");
    assert!(!errors.contains("Other") && !errors.contains("CaUsed"), "{errors}");
}

#[test]
fn a_certificate_that_was_accepted_is_trusted_and_a_changed_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = certificate(folder.path(), "localhost");
    let own = fingerprint(&keys.certificate).unwrap();
    let server = server_with(keys);
    let port = server.address().port();
    let store = folder.path().join(".local/share/ftpclient");
    fs::create_dir_all(&store).unwrap();
    assert_eq!(run(folder.path(), server.address(), &[], "pwd\n").0, 5);
    fs::write(store.join("known_hosts"), format!("127.0.0.1:{port} {own}\n")).unwrap();
    let (status, errors) = run(folder.path(), server.address(), &[], "pwd\n");
    assert!(status == 0 && errors.contains("(TLS 1."), "{errors}");
    let before = "0".repeat(64);
    fs::write(store.join("known_hosts"), format!("127.0.0.1:{port} {before}\n")).unwrap();
    let (status, errors) = run(folder.path(), server.address(), &[], "pwd\n");
    assert_eq!(status, 5, "{errors}");
    for part in ["HAS CHANGED", &own, &before, "known_hosts"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

#[test]
fn a_server_whose_certificate_is_known_is_not_used_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|_| {});
    let port = server.address().port();
    let store = folder.path().join(".local/share/ftpclient");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("known_hosts"), format!("127.0.0.1:{port} {}\n", "0".repeat(64))).unwrap();
    assert_eq!(run(folder.path(), server.address(), &[], "pwd\n").0, 5);
}

/// Starts a server that closes its data connections without `close_notify`, and says that SIZE is `size`.
fn careless_server(keys: &KeyFiles, size: u64) -> SocketAddr {
    let certificates = vec![CertificateDer::from_pem_file(&keys.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&keys.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || serve(stream, &config, size));
        }
    });
    address
}

fn serve(mut stream: TcpStream, config: &Arc<ServerConfig>, size: u64) {
    stream.write_all(b"220 hi\r\n").unwrap();
    let mut auth = [0; 10];
    stream.read_exact(&mut auth).unwrap();
    stream.write_all(b"234 go\r\n").unwrap();
    let secure =
        |stream| StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream);
    let mut control = BufReader::new(secure(stream));
    let mut data = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut line = String::new();
    while control.read_line(&mut line).is_ok_and(|count| count > 0) {
        let reply = match line.split_ascii_whitespace().next().unwrap_or_default() {
            "USER" => "230 in\r\n".to_owned(),
            "PBSZ" | "PROT" | "TYPE" => "200 ok\r\n".to_owned(),
            "SIZE" => format!("213 {size}\r\n"),
            "EPSV" => {
                data = TcpListener::bind("127.0.0.1:0").unwrap();
                format!("229 ok (|||{}|)\r\n", data.local_addr().unwrap().port())
            }
            "RETR" | "LIST" => {
                control.get_mut().write_all(b"150 here\r\n").unwrap();
                let mut stream = secure(data.accept().unwrap().0);
                stream.write_all(b"-rw-r--r-- 1 u g 3 Jan 26 20:59 a\r\n").unwrap();
                stream.flush().unwrap();
                // The TCP connection ends here, in order, and the TLS connection does not.
                drop(stream);
                "226 done\r\n".to_owned()
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "500 what?\r\n".to_owned(),
        };
        control.get_mut().write_all(reply.as_bytes()).unwrap();
        line.clear();
    }
}

#[test]
fn data_without_close_notify_counts_if_its_size_fits() {
    let folder = tempfile::tempdir().unwrap();
    let keys = certificate(folder.path(), "localhost");
    let options = ["--insecure", "--tls", "require"];
    let address = careless_server(&keys, 35);
    let (status, errors) = run(folder.path(), address, &options, "get a\nls\n");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(errors.matches("close_notify").count(), 2, "{errors}");
    assert_eq!(fs::read(folder.path().join("a")).unwrap().len(), 35);
    let address = careless_server(&keys, 36);
    let (status, errors) = run(folder.path(), address, &options, "get b\n");
    assert_eq!(status, 6, "{errors}");
    assert!(!folder.path().join("b").exists());
}
