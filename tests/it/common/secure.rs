//! A client of raw TLS sockets: sends given lines, and returns what it receives.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use poolftpd::internal::net::tls::KeyFiles;
use rcgen::{CertificateParams, KeyPair};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    StreamOwned,
};

use super::PATIENCE;

pub(crate) type SecureStream = StreamOwned<ClientConnection, TcpStream>;

/// Creates a self-signed certificate for this name.
pub(crate) fn certificate(folder: &Path, name: &str) -> KeyFiles {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |kind: &str| folder.join(format!("{name}.{kind}"));
    let files = KeyFiles { certificate: path("crt"), key: path("key") };
    fs::write(&files.certificate, made.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// Accepts every certificate: these tests do not check the server's identity.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Creates a client's configuration, with its own session cache.
pub(crate) fn config(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}

/// Begins TLS on a connection.
pub(crate) fn secure(stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> SecureStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// A control connection over TLS.
pub(crate) struct SecureClient {
    pub(crate) stream: SecureStream,
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: String,
}

impl SecureClient {
    /// Connects, reads the greeting, and sends AUTH TLS.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, config(rustls::ALL_VERSIONS), "localhost")
    }

    pub(crate) fn connect_with(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(plain_line(&mut stream).starts_with("220 "));
        stream.write_all(b"AUTH TLS\r\n").unwrap();
        let reply = plain_line(&mut stream);
        assert!(reply.starts_with("234 "), "{reply}");
        Self { stream: secure(stream, &config, name), config, name: name.to_owned() }
    }

    /// Connects over TLS, logs in, and sets TYPE I and PROT P.
    pub(crate) fn log_in(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.log_in_here();
        client
    }

    pub(crate) fn log_in_here(&mut self) {
        for (line, code) in [
            ("USER anonymous", "331 "),
            ("PASS x", "230 "),
            ("TYPE I", "200 "),
            ("PBSZ 0", "200 "),
            ("PROT P", "200 "),
        ] {
            let reply = self.ask(line);
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Sends a line, and returns the last line of its reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.reply()
    }

    /// Returns the last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let line = self.line();
            if line.as_bytes().get(3) != Some(&b'-') && !line.starts_with(' ') {
                return line;
            }
        }
    }

    /// Returns the next line, without its end; empty if the server has closed the connection.
    pub(crate) fn line(&mut self) -> String {
        plain_line(&mut self.stream)
    }

    /// Opens a plain connection to a port opened by EPSV.
    pub(crate) fn open_plain(&mut self) -> TcpStream {
        let reply = self.ask("EPSV");
        let port = reply.rsplit('|').nth(1).unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
        let address = SocketAddr::new(self.stream.sock.peer_addr().unwrap().ip(), port);
        TcpStream::connect(address).unwrap()
    }

    /// Opens a data connection that resumes this session.
    pub(crate) fn open_data(&mut self) -> SecureStream {
        let stream = self.open_plain();
        secure(stream, &self.config, &self.name)
    }

    /// Fetches a file; asserts that the data connection has resumed a session.
    pub(crate) fn retrieve(&mut self, name: &str) -> Vec<u8> {
        let mut data = self.open_data();
        let reply = self.ask(&format!("RETR {name}"));
        assert!(reply.starts_with("150 "), "{reply}");
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert_eq!(data.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        finish(data);
        let reply = self.reply();
        assert!(reply.starts_with("226 "), "{reply}");
        bytes
    }

    /// Begins to store a file.
    pub(crate) fn begin_store(&mut self, name: &str, bytes: &[u8]) -> SecureStream {
        let mut data = self.open_data();
        let reply = self.ask(&format!("STOR {name}"));
        assert!(reply.starts_with("150 "), "{reply}");
        data.write_all(bytes).unwrap();
        data.flush().unwrap();
        data
    }
}

/// Sends `close_notify` and waits for that of the other side, because a new ticket may come first.
pub(crate) fn finish(mut data: SecureStream) {
    data.conn.send_close_notify();
    let _sent = data.conn.write_tls(&mut data.sock);
    let _ended = data.read_to_end(&mut Vec::new());
}

/// Sends `close_notify` without waiting: what the other side has sent stays unread.
pub(crate) fn finish_at_once(mut data: SecureStream) {
    data.conn.send_close_notify();
    let _sent = data.conn.write_tls(&mut data.sock);
}

fn plain_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count == 1) && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()
}
