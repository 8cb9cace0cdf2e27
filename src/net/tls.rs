//! TLS over sockets that are never waited for (RFC 4217), by rustls.
//!
//! A worker hands over what has come and sends what can be sent; a handshake is a few such turns. Before a session is parked
//! everything that came is decrypted: what is left in here would wake nobody.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection};

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::expiry::not_after;
use crate::ftp::checksum::digits;
use crate::units::unreadable;

/// How much is taken from a socket at once.
const CIPHERTEXT_BYTES: usize = 64 * 1024;

/// How much is encrypted at once: what it becomes is kept until the socket takes it.
pub(super) const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// How many sessions of a control connection can be resumed: its own, and the last that data connections began.
const OWN_SESSIONS_MAX: usize = 4;

/// How many tickets a client gets with its control connection. Most use one again and again, some each only once.
const CONTROL_TICKETS: usize = 4;

/// What is no longer than this may have been a password, and is wiped.
const WIPED_BYTES_MAX: usize = 16 * 1024;

/// How often is read in vain, because only parts of records came, before others have their turn.
const READS_MAX: u32 = 8;

/// Files of a certificate chain and its key, in PEM; they may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate, and those that it is signed by.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What a server needs for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// One for each name, the first for clients that ask for another name or none.
    pub keys: Vec<KeyFiles>,
    /// The authorities of which every client must have a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// The certificates that are served: their configuration, and the end of each with its file.
type Served = (Arc<ServerConfig>, Vec<(PathBuf, Timestamp)>);

/// Takes TLS connections, with certificates that can be read anew while it is in use.
pub struct Acceptor {
    files: TlsFiles,
    config: RwLock<Served>,
    /// Stays when certificates are read anew: sessions of before can still be resumed.
    tickets: Arc<dyn ProducesTickets>,
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
    /// One sentence, with the file.
    pub fn open(files: TlsFiles) -> Result<Self, String> {
        let tickets = ring::Ticketer::new().map_err(|error| format!("TLS: {error}"))?;
        let config = RwLock::new(read_config(&files)?);
        Ok(Self { files, config, tickets })
    }

    /// Reads them anew, for connections that come from now on. Returns how many there are.
    ///
    /// # Errors
    /// One sentence; then nothing has changed.
    pub fn reload(&self) -> Result<usize, String> {
        let config = read_config(&self.files)?;
        *self.config.write() = config;
        Ok(self.files.keys.len())
    }

    /// Returns the file and the end of each certificate that is served.
    #[must_use]
    pub fn ends(&self) -> Vec<(PathBuf, Timestamp)> {
        self.config.read().1.clone()
    }

    /// What a new control connection and its data connections have in common.
    pub fn bind(&self) -> Binding {
        let config = Arc::clone(&self.config.read().0);
        Binding { config, tickets: Arc::clone(&self.tickets), own: Arc::default() }
    }
}

/// How a control connection and its data connections take TLS: by one certificate, and by sessions of their own.
#[derive(Clone)]
pub struct Binding {
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    own: Arc<Mutex<Own>>,
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Binding").finish_non_exhaustive()
    }
}

/// A number that nobody else knows.
type Mark = [u8; 16];

/// What a connection can resume to be known as the client's own.
#[derive(Debug, Default)]
struct Own {
    /// Marks of tickets.
    marks: VecDeque<Mark>,
    /// Sessions by number, for clients that have no tickets (curl, by TLS 1.2).
    sessions: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Own {
    fn take_over(&mut self, other: &mut Self) {
        self.marks.append(&mut other.marks);
        self.sessions.append(&mut other.sessions);
        // The first are the control connection's; of the others the last are used again.
        while self.marks.len() > OWN_SESSIONS_MAX {
            self.marks.remove(1);
        }
        while self.sessions.len() > OWN_SESSIONS_MAX {
            self.sessions.remove(1);
        }
    }
}

impl Binding {
    /// The server's end of the control connection, whose sessions can be resumed at once.
    pub fn accept_control(&self) -> io::Result<Tls> {
        let tls = self.accept(CONTROL_TICKETS)?;
        tls.trust();
        Ok(tls)
    }

    /// The server's end of a data connection. What it begins can be resumed once it is trusted, and not before: else whoever
    /// found the port first would get what makes it known as the client.
    ///
    /// The ticket of TLS 1.3 comes when the handshake is over. A client that only sends could close over it unread, and by
    /// that reset the connection and lose what it sent: there the ticket is held back until the client has said its end.
    pub fn accept_data(&self, direction: Direction) -> io::Result<Tls> {
        let tls = self.accept(1)?;
        Ok(Tls { holds_back: direction == Direction::FromClient, ..tls })
    }

    fn accept(&self, tickets: usize) -> io::Result<Tls> {
        let mut mark = Mark::default();
        let filled = ring::default_provider().secure_random.fill(&mut mark);
        filled.map_err(|_| io::Error::other("there are no random bytes"))?;
        let begun = Own { marks: [mark].into(), sessions: VecDeque::new() };
        let issuer = Arc::new(Issuer {
            mark,
            tickets: Arc::clone(&self.tickets),
            own: Arc::clone(&self.own),
            begun: Mutex::new(begun),
            trusted: AtomicBool::new(false),
        });
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = Arc::clone(&issuer) as _;
        config.session_storage = Arc::clone(&issuer) as _;
        config.send_tls13_tickets = tickets;
        let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        Ok(Tls {
            connection,
            issuer,
            surplus: Vec::new(),
            taken: 0,
            holds_back: false,
            ended: false,
        })
    }
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says it")]
pub enum Direction {
    ToClient,
    FromClient,
}

/// Gives out the sessions of one connection, and knows those of its control connection.
///
/// SECURITY: the mark is inside of the encrypted ticket, so a ticket of another control connection is none here.
struct Issuer {
    mark: Mark,
    tickets: Arc<dyn ProducesTickets>,
    own: Arc<Mutex<Own>>,
    /// What this connection began; resumed by nobody before it is trusted.
    begun: Mutex<Own>,
    trusted: AtomicBool,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issuer").finish_non_exhaustive()
    }
}

impl ProducesTickets for Issuer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&[self.mark.as_slice(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.tickets.decrypt(cipher)?;
        let own = self.own.lock();
        own.marks.iter().find_map(|mark| plain.strip_prefix(mark.as_slice())).map(<[u8]>::to_vec)
    }
}

impl StoresServerSessions for Issuer {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        // One connection begins one session.
        let mut begun = Own { sessions: [(key, value)].into(), ..Own::default() };
        if self.trusted.load(Ordering::Acquire) {
            self.own.lock().take_over(&mut begun);
        } else {
            self.begun.lock().sessions = begun.sessions;
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let own = self.own.lock();
        own.sessions.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

fn read_config(files: &TlsFiles) -> Result<Served, String> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
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

/// The SHA-256 of the first certificate of a PEM file, in hexadecimal digits: by it clients know it (`ftpclient --pin`).
///
/// # Errors
/// One sentence, with the file.
pub fn fingerprint(path: &Path) -> Result<String, String> {
    let certificates = read_certificates(path)?;
    Ok(certificates.first().map(|certificate| pin_of(certificate)).unwrap_or_default())
}

/// The SHA-256 of a certificate, in hexadecimal digits.
#[must_use]
pub fn pin_of(certificate: &CertificateDer<'_>) -> String {
    digits(&Sha256::digest(certificate))
}

/// Reads the certificates of a PEM file as authorities to trust.
///
/// # Errors
/// One sentence, with the file.
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
    if found.is_empty() { Err(in_file(path, &"there is no certificate in it")) } else { Ok(found) }
}

fn read_key(files: &KeyFiles) -> Result<Arc<CertifiedKey>, String> {
    let chain = read_certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_reader(open(&files.key)?).map_err(|error| {
        let none = matches!(error, rustls::pki_types::pem::Error::NoItemsFound);
        if none {
            in_file(&files.key, &"there is no private key in it")
        } else {
            in_file(&files.key, &error)
        }
    })?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
    key.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => in_file(
            &files.key,
            &format_args!("this key is not that of {}", files.certificate.display()),
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

/// The keys, of which each client gets that of the name it asks for.
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

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes of plain text.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// The other end has said that this was all.
    End,
    /// The connection has ended, and nobody said that this was all.
    Torn,
}

/// The server's end of a TLS connection.
pub struct Tls {
    connection: ServerConnection,
    issuer: Arc<Issuer>,
    /// Plain text that came beyond what was asked for, and how much of it was taken.
    surplus: Vec<u8>,
    taken: usize,
    /// After the handshake nothing is sent before the other end has ended.
    holds_back: bool,
    /// The other end has said that this was all.
    ended: bool,
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
    /// Goes on with the handshake; `true` when it is done and all of ours has left.
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

    /// Whether the handshake is not done.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether its session is one that another connection of the same binding began.
    pub(super) fn has_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// From now on, what it began is known as the client's own.
    pub(super) fn trust(&self) {
        self.issuer.trusted.store(true, Ordering::Release);
        self.issuer.own.lock().take_over(&mut self.issuer.begun.lock());
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.connection.server_name()
    }

    /// The version and the cipher, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let version = self.connection.protocol_version().and_then(|version| version.as_str());
        let suite = self.connection.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        format!("{} {suite}", version.unwrap_or("?"))
    }

    /// Gives what is here to `keep`, so many bytes at most.
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

    /// Takes once from the socket and appends what that becomes in plain.
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
            // Parts of a handshake, answers to a change of keys.
            self.flush(socket)?;
            Ok(Received::Bytes(plaintext.len() - before))
        })
    }

    fn decrypt(&mut self, socket: &TcpStream, plaintext: &mut Vec<u8>) -> io::Result<()> {
        let state = match self.connection.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // An alert tells the other end what was wrong, if it still listens.
                let _told = self.flush(socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        };
        self.ended = state.peer_has_closed();
        let before = plaintext.len();
        plaintext.resize(before + state.plaintext_bytes_to_read(), 0);
        self.connection.reader().read_exact(plaintext.get_mut(before..).unwrap_or_default())
    }

    /// Encrypts and sends from the front of `bytes`; how many were taken, none while the socket takes nothing.
    pub(super) fn send(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(socket)? {
            return Ok(0);
        }
        let piece = bytes.get(..PLAINTEXT_BYTES_MAX).unwrap_or(bytes);
        let count = self.connection.writer().write(piece)?;
        self.flush(socket)?;
        Ok(count)
    }

    /// Encrypts what more will follow at once, and sends it with that.
    pub(super) fn queue(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.flush(socket)? { self.connection.writer().write(bytes) } else { Ok(0) }
    }

    /// Sends what waits here; `true` when nothing does any more.
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

    /// Whether something waits here to be sent.
    pub(super) fn wants_to_send(&self) -> bool {
        // By TLS 1.2 the last words of a handshake are still sent when it is over for us.
        let is_over = !self.connection.is_handshaking()
            && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.connection.wants_write() && !(self.holds_back && is_over)
    }

    /// An upload has ended, and the connection goes on (block mode): what was held back may go.
    pub(super) fn release(&mut self) {
        self.holds_back = false;
    }

    /// Says that this was all; sent by [`Tls::flush`].
    pub(super) fn say_end(&mut self) {
        self.holds_back = false;
        self.connection.send_close_notify();
    }

    /// Whether the other end has said that this was all.
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

/// Writes to a socket as far as that is possible at once.
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
