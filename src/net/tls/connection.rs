//! The server's end of a TLS connection, over a socket that never waits.
//!
//! A worker passes on received bytes and sends what the socket takes; a handshake takes a few such turns. Before a
//! session is parked, all received bytes are decrypted: bytes left in here would not wake it.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use zeroize::Zeroize;

use super::resumption::{Issuer, ResumptionProof};
use crate::sys::Wakeup;

/// The maximum number of bytes read from a socket at once.
const CIPHERTEXT_BYTES: usize = 64 * 1024;

/// The maximum number of bytes encrypted at once: the ciphertext is kept until the socket takes it.
pub(in crate::net) const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// The maximum size of received data that may hold a password, and is wiped.
const WIPED_BYTES_MAX: usize = 16 * 1024;

/// The maximum number of reads in a row that bring only parts of records, before other sessions have their turn.
const READS_MAX: u32 = 8;

/// The direction of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says it")]
pub enum Direction {
    ToClient,
    FromClient,
}

/// The outcome of one receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Received {
    /// A number of bytes of plaintext.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// The other end has sent `close_notify`.
    End,
    /// The connection has ended without `close_notify`.
    Truncated,
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
    decided: Option<Arc<Wakeup>>,
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
        let (surplus, taken, ended, decided) = (Vec::new(), 0, false, None);
        Self { connection, issuer, surplus, taken, holds_back, ended, decided }
    }

    /// Continues the handshake, until it is done and everything of ours is sent.
    pub(in crate::net) fn handshake(&mut self, socket: &TcpStream) -> io::Result<Poll<()>> {
        while self.connection.is_handshaking() {
            let mut early = Vec::new();
            let came = self.fill(socket, &mut early)?;
            self.surplus.append(&mut early);
            match came {
                Received::Bytes(_) => {}
                Received::Nothing => break,
                Received::End | Received::Truncated => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let flushed = self.flush(socket)?;
        Ok(if self.connection.is_handshaking() { Poll::Pending } else { flushed })
    }

    /// Returns `true` while the handshake is not done.
    pub(in crate::net) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns the proof that its resumed session gives about the client.
    pub(in crate::net) fn proof(&mut self) -> io::Result<ResumptionProof> {
        if self.connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.issuer.proof(&mut self.decided)
        } else {
            Ok(ResumptionProof::Stranger)
        }
    }

    /// Returns the descriptor that becomes readable when the owner of the resumed session is known, if that is waited
    /// for.
    pub(in crate::net) fn decided(&self) -> Option<BorrowedFd<'_>> {
        self.decided.as_ref().map(|decided| decided.as_fd())
    }

    /// Trusts the connection: from now on, its sessions prove the client.
    pub(in crate::net) fn trust(&self) {
        self.issuer.trust();
    }

    /// Returns the name that the client requested (SNI).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.connection.server_name()
    }

    /// Returns the certificate of the client, if it has sent one.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Returns the version, such as `1.3`.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            _ => None,
        }
    }

    /// Returns the name of the cipher suite.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.connection.negotiated_cipher_suite()?.suite().as_str()
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
    pub(in crate::net) fn receive<T>(
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
                Ok(0) => return Ok(Received::Truncated),
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
            let _sent = self.flush(socket)?;
            Ok(Received::Bytes(plaintext.len() - before))
        })
    }

    fn decrypt(&mut self, socket: &TcpStream, plaintext: &mut Vec<u8>) -> io::Result<()> {
        let state = match self.connection.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // Sends the other end an alert with the error, if it still reads.
                let _sent = self.flush(socket);
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
    pub(in crate::net) fn send(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.flush(socket)?.is_pending() {
            return Ok(0);
        }
        let piece = bytes.get(..PLAINTEXT_BYTES_MAX).unwrap_or(bytes);
        let count = self.connection.writer().write(piece)?;
        let _sent = self.flush(socket)?;
        Ok(count)
    }

    /// Encrypts bytes without sending them, because more follows at once, which is sent with them.
    pub(in crate::net) fn queue(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.flush(socket)?.is_pending() {
            return Ok(0);
        }
        self.connection.writer().write(bytes)
    }

    /// Sends the encrypted bytes that wait.
    pub(in crate::net) fn flush(&mut self, socket: &TcpStream) -> io::Result<Poll<()>> {
        while self.wants_to_send() {
            match self.connection.write_tls(&mut Sender(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Poll::Pending);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Returns `true` if encrypted bytes wait to be sent.
    pub(in crate::net) fn wants_to_send(&self) -> bool {
        // In TLS 1.2, the last handshake message is still to be sent when the handshake is over for the server.
        let is_over = !self.connection.is_handshaking()
            && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.connection.wants_write() && !(self.holds_back && is_over)
    }

    /// Stops holding back, because an upload has ended and the connection continues (block mode).
    pub(in crate::net) fn release(&mut self) {
        self.holds_back = false;
    }

    /// Queues `close_notify`; [`Tls::flush`] sends it.
    pub(in crate::net) fn send_close_notify(&mut self) {
        self.holds_back = false;
        self.connection.send_close_notify();
    }

    /// Returns `true` if the other end has sent `close_notify`.
    pub(in crate::net) fn has_ended(&self) -> bool {
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
