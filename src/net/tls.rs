//! TLS over sockets without waiting (RFC 4217), by rustls.
//!
//! A worker passes on received bytes and sends what the socket takes; a handshake takes a few such turns. Before a
//! session is parked, all received bytes are decrypted: bytes left in here would not wake it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::expiry::not_after;
pub use super::resumption::Binding;
use super::resumption::{Accounts, Issuer, Standing};
use crate::ftp::checksum::digits;
use crate::units::unreadable;

/// The maximum number of bytes read from a socket at once.
const CIPHERTEXT_BYTES: usize = 64 * 1024;

/// The maximum number of bytes encrypted at once: the ciphertext is kept until the socket takes it.
pub(super) const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// The maximum size of received data that may hold a password, and is wiped.
const WIPED_BYTES_MAX: usize = 16 * 1024;

/// The maximum number of reads in a row that bring only parts of records, before other sessions have their turn.
const READS_MAX: u32 = 8;

/// The files of a certificate chain and its key, in PEM; both may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate, and the certificates that sign it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The files that a server needs for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// One certificate for each name; the first also serves clients that request another name or none.
    pub keys: Vec<KeyFiles>,
    /// The authorities that must have signed every client's certificate, if clients need one.
    pub client_authorities: Option<PathBuf>,
}

static TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// The newest protocol version offered (`--tls-max`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newest {
    /// TLS 1.2, whose sessions OpenSSL's clients can resume any number of times.
    V1_2,
    /// TLS 1.3.
    #[default]
    V1_3,
}

impl Newest {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::V1_2 => TLS_1_2,
            Self::V1_3 => rustls::ALL_VERSIONS,
        }
    }
}

impl FromStr for Newest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(format!("'{text}' is neither 1.2 nor 1.3")),
        }
    }
}

impl std::fmt::Display for Newest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// The served certificates: their configuration, and the end of each with its file.
type Served = (Arc<ServerConfig>, Vec<(PathBuf, Timestamp)>);

/// An acceptor of TLS connections, whose certificates can be reloaded while it is in use.
pub struct Acceptor {
    files: TlsFiles,
    config: RwLock<Served>,
    /// Kept when certificates are reloaded, so that earlier sessions can still be resumed.
    tickets: Arc<dyn ProducesTickets>,
    accounts: Arc<Accounts>,
    newest: Newest,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Returns one sentence that names the file.
    pub fn open(files: TlsFiles) -> Result<Self, String> {
        Self::open_up_to(files, Newest::default())
    }

    /// Reads certificates and keys, and offers versions up to `newest`.
    ///
    /// # Errors
    /// Returns the errors of [`Acceptor::open`].
    pub fn open_up_to(files: TlsFiles, newest: Newest) -> Result<Self, String> {
        let tickets = ring::Ticketer::new().map_err(|error| format!("TLS: {error}"))?;
        let config = RwLock::new(read_config(&files, newest)?);
        Ok(Self { files, config, tickets, accounts: Arc::default(), newest })
    }

    /// Reads the certificates and keys again, for connections accepted from now on. Returns the number of certificates.
    ///
    /// # Errors
    /// Returns one sentence; then nothing has changed.
    pub fn reload(&self) -> Result<usize, String> {
        let config = read_config(&self.files, self.newest)?;
        *self.config.write() = config;
        Ok(self.files.keys.len())
    }

    /// Returns the file and the end of validity of each served certificate.
    #[must_use]
    pub fn ends(&self) -> Vec<(PathBuf, Timestamp)> {
        self.config.read().1.clone()
    }

    /// Returns the TLS setup that a new control connection from this address shares with its data connections.
    pub fn bind(&self, from: IpAddr) -> Binding {
        let config = Arc::clone(&self.config.read().0);
        Binding::new(config, Arc::clone(&self.tickets), Arc::clone(&self.accounts), from)
    }
}

/// The direction of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says it")]
pub enum Direction {
    ToClient,
    FromClient,
}

fn read_config(files: &TlsFiles, newest: Newest) -> Result<Served, String> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(newest.versions())
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(read_authorities(path)?),
                Arc::new(ring::default_provider()),
            );
            let verifier = verifier.build().map_err(|error| in_file(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let keys = files.keys.iter().map(read_key).collect::<Result<Vec<_>, _>>()?;
    let end = |(files, key): (&KeyFiles, &Arc<CertifiedKey>)| {
        Some((files.certificate.clone(), not_after(key.end_entity_cert().ok()?)?))
    };
    let ends = files.keys.iter().zip(&keys).filter_map(end).collect();
    Ok((Arc::new(builder.with_cert_resolver(Arc::new(Keys(keys)))), ends))
}

/// Returns the SHA-256 of the first certificate of a PEM file, in hexadecimal. Clients identify it by
/// this digest (`ftpclient --pin`).
///
/// # Errors
/// Returns one sentence that names the file.
pub fn fingerprint(path: &Path) -> Result<String, String> {
    let certificates = read_certificates(path)?;
    Ok(certificates.first().map(|certificate| pin_of(certificate)).unwrap_or_default())
}

/// Returns the SHA-256 of a certificate, in hexadecimal.
#[must_use]
pub fn pin_of(certificate: &CertificateDer<'_>) -> String {
    digits(&Sha256::digest(certificate))
}

/// Reads the certificates of a PEM file as authorities to trust.
///
/// # Errors
/// Returns one sentence that names the file.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| in_file(path, &error))?;
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_reader_iter(open(path)?).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| in_file(path, &error))?;
    if found.is_empty() { Err(in_file(path, &"no certificate found")) } else { Ok(found) }
}

fn read_key(files: &KeyFiles) -> Result<Arc<CertifiedKey>, String> {
    let chain = read_certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_reader(open(&files.key)?).map_err(|error| {
        let none = matches!(error, rustls::pki_types::pem::Error::NoItemsFound);
        if none {
            in_file(&files.key, &"no private key found")
        } else {
            in_file(&files.key, &error)
        }
    })?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
    key.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => in_file(
            &files.key,
            &format_args!(
                "the key does not match the certificate in {}",
                files.certificate.display()
            ),
        ),
        error => in_file(&files.certificate, &error),
    })
}

#[allow(clippy::disallowed_methods, reason = "the administrator names this file, no client")]
fn open(path: &Path) -> Result<BufReader<File>, String> {
    File::open(path).map(BufReader::new).map_err(|error| in_file(path, &unreadable(path, &error)))
}

fn in_file(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

/// The keys; each client gets the one for the name that it requests.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let certificate = key.end_entity_cert().ok();
            let parsed = certificate.and_then(|found| ParsedCertificate::try_from(found).ok());
            parsed
                .zip(asked.as_ref())
                .is_some_and(|(parsed, name)| verify_server_name(&parsed, name).is_ok())
        };
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}

/// The outcome of one receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// A number of bytes of plaintext.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// The other end has sent `close_notify`.
    End,
    /// The connection has ended without `close_notify`.
    Torn,
}

/// The server's end of a TLS connection.
pub struct Tls {
    connection: ServerConnection,
    issuer: Arc<Issuer>,
    /// Plaintext received beyond what was requested; `taken` counts its bytes that were taken.
    surplus: Vec<u8>,
    taken: usize,
    /// True while nothing is sent after the handshake until the other end has ended.
    holds_back: bool,
    /// True once the other end has sent `close_notify`.
    ended: bool,
    /// Readable when the owner of the resumed session is known, if a connection waits for that.
    bell: Option<Arc<OwnedFd>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

thread_local! {
    static CIPHERTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static PLAINTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Tls {
    pub(super) fn new(connection: ServerConnection, issuer: Arc<Issuer>, holds_back: bool) -> Self {
        let (surplus, taken, ended, bell) = (Vec::new(), 0, false, None);
        Self { connection, issuer, surplus, taken, holds_back, ended, bell }
    }

    /// Continues the handshake; returns `true` when it is done and everything of ours is sent.
    pub(super) fn shake_hands(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while self.connection.is_handshaking() {
            let mut early = Vec::new();
            let came = self.fill(socket, &mut early)?;
            self.surplus.append(&mut early);
            match came {
                Received::Bytes(_) => {}
                Received::Nothing => break,
                Received::End | Received::Torn => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(self.flush(socket)? && !self.connection.is_handshaking())
    }

    /// Returns `true` while the handshake is not done.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns the proof that its resumed session gives about the client.
    pub(super) fn standing(&mut self) -> io::Result<Standing> {
        if self.connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.issuer.standing(&mut self.bell)
        } else {
            Ok(Standing::Stranger)
        }
    }

    /// Returns the descriptor that becomes readable when the owner of the resumed session is known, if that is waited
    /// for.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(|bell| bell.as_fd())
    }

    /// Trusts the connection: from now on, its sessions prove the client.
    pub(super) fn trust(&self) {
        self.issuer.trust();
    }

    /// Returns the name that the client requested (SNI).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.connection.server_name()
    }

    /// Returns the version and the cipher suite, for people to read.
    #[must_use]
    pub fn describe(&self) -> String {
        let version = self.connection.protocol_version().and_then(|version| version.as_str());
        let suite = self.connection.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        format!("{} {suite}", version.unwrap_or("?"))
    }

    /// Passes received plaintext to `keep`, at most `bytes_max` bytes.
    pub(super) fn receive<T>(
        &mut self,
        socket: &TcpStream,
        bytes_max: usize,
        keep: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<(Received, Option<T>)> {
        if self.taken < self.surplus.len() {
            let rest = self.surplus.get(self.taken..).unwrap_or_default();
            let given = rest.get(..bytes_max).unwrap_or(rest);
            let (count, kept) = (given.len(), keep(given));
            self.taken += count;
            if self.taken == self.surplus.len() {
                // An idle connection keeps no buffer.
                (self.surplus, self.taken) = (Vec::new(), 0);
            }
            return Ok((Received::Bytes(count), Some(kept)));
        }
        PLAINTEXT.with_borrow_mut(|plaintext| {
            plaintext.clear();
            let mut came = Received::Bytes(0);
            for _ in 0..READS_MAX {
                came = self.fill(socket, plaintext)?;
                if !matches!(came, Received::Bytes(0)) {
                    break;
                }
            }
            if plaintext.is_empty() {
                let came = if came == Received::Bytes(0) { Received::Nothing } else { came };
                return Ok((came, None));
            }
            let (given, rest) = plaintext.split_at_checked(bytes_max).unwrap_or((plaintext, &[]));
            self.surplus.extend_from_slice(rest);
            let outcome = (Received::Bytes(given.len()), Some(keep(given)));
            if plaintext.len() <= WIPED_BYTES_MAX {
                plaintext.zeroize();
            }
            Ok(outcome)
        })
    }

    /// Reads once from the socket and appends the decrypted bytes.
    fn fill(&mut self, socket: &TcpStream, plaintext: &mut Vec<u8>) -> io::Result<Received> {
        if self.ended {
            return Ok(Received::End);
        }
        let before = plaintext.len();
        CIPHERTEXT.with_borrow_mut(|ciphertext| {
            ciphertext.resize(CIPHERTEXT_BYTES, 0);
            let mut rest: &[u8] = match recv(socket, ciphertext) {
                Ok(0) => return Ok(Received::Torn),
                Ok(count) => ciphertext.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) => return Err(error),
            };
            while !rest.is_empty() && !self.ended {
                self.connection.read_tls(&mut rest)?;
                self.decrypt(socket, plaintext)?;
            }
            // Sends handshake messages and answers to key updates.
            self.flush(socket)?;
            Ok(Received::Bytes(plaintext.len() - before))
        })
    }

    fn decrypt(&mut self, socket: &TcpStream, plaintext: &mut Vec<u8>) -> io::Result<()> {
        let state = match self.connection.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // Sends the other end an alert with the error, if it still reads.
                let _told = self.flush(socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        };
        self.ended = state.peer_has_closed();
        let before = plaintext.len();
        plaintext.resize(before + state.plaintext_bytes_to_read(), 0);
        self.connection.reader().read_exact(plaintext.get_mut(before..).unwrap_or_default())
    }

    /// Encrypts and sends from the front of `bytes`; returns the number of bytes taken, 0 while the socket takes
    /// nothing.
    pub(super) fn send(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(socket)? {
            return Ok(0);
        }
        let piece = bytes.get(..PLAINTEXT_BYTES_MAX).unwrap_or(bytes);
        let count = self.connection.writer().write(piece)?;
        self.flush(socket)?;
        Ok(count)
    }

    /// Encrypts bytes without sending them, because more follows at once, which is sent with them.
    pub(super) fn queue(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.flush(socket)? { self.connection.writer().write(bytes) } else { Ok(0) }
    }

    /// Sends the encrypted bytes that wait; returns `true` when none is left.
    pub(super) fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while self.wants_to_send() {
            match self.connection.write_tls(&mut Sender(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Returns `true` if encrypted bytes wait to be sent.
    pub(super) fn wants_to_send(&self) -> bool {
        // In TLS 1.2, the last handshake message is still to be sent when the handshake is over for the server.
        let is_over = !self.connection.is_handshaking()
            && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.connection.wants_write() && !(self.holds_back && is_over)
    }

    /// Stops holding back, because an upload has ended and the connection continues (block mode).
    pub(super) fn release(&mut self) {
        self.holds_back = false;
    }

    /// Queues `close_notify`; [`Tls::flush`] sends it.
    pub(super) fn say_end(&mut self) {
        self.holds_back = false;
        self.connection.send_close_notify();
    }

    /// Returns `true` if the other end has sent `close_notify`.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

fn recv(socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match rustix::net::recv(socket, room, RecvFlags::DONTWAIT) {
        Ok((count, _)) => Ok(count),
        Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

/// A writer that sends to a socket as much as possible without waiting.
struct Sender<'a>(&'a TcpStream);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::sendmsg(self.0, pieces, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            sent => Ok(sent?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
