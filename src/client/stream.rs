//! A byte stream, plain or over TLS, with the timeouts of its socket.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::sys::{Interest, wait};

/// Maximum number of bytes of ciphertext to read from the socket at once.
const CIPHERTEXT_BYTES: usize = 64 * 1024;

/// Maximum time that a read waits for the peer's `close_notify` after ours was sent.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of reads in a handshake, and after our `close_notify`. Each may take the timeout of the socket; a
/// server that sends one byte at a time is given up.
const HANDSHAKE_READS_MAX: u32 = 64;
const END_READS_MAX: u32 = 16;

/// The end of a TLS connection without `close_notify`.
#[derive(Debug)]
struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("closed without TLS close_notify")
    }
}

impl std::error::Error for Truncated {}

/// Returns true for the error of a TLS connection that ended without `close_notify`.
pub(super) fn is_truncated(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Truncated>()).is_some()
}

/// TLS parameters for one server. Data connections resume the session of the control connection.
#[derive(Clone)]
pub(super) struct TlsContext {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection, plain or over TLS.
pub(super) struct Stream {
    socket: BufReader<TcpStream>,
    tls: Option<Box<ClientConnection>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Stream")
            .field("socket", self.socket.get_ref())
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Wraps a socket, without TLS.
    pub(super) fn new(socket: TcpStream) -> Self {
        // Plain bytes are read into the caller's buffer directly.
        Self { socket: BufReader::with_capacity(0, socket), tls: None }
    }

    /// Switches to TLS and performs the handshake.
    pub(super) fn secure(&mut self, tls_context: &TlsContext) -> io::Result<()> {
        let (config, name) = (Arc::clone(&tls_context.config), tls_context.name.clone());
        let mut tls = Box::new(ClientConnection::new(config, name).map_err(io::Error::other)?);
        let socket = self.socket.get_ref().try_clone()?;
        self.socket = BufReader::with_capacity(CIPHERTEXT_BYTES, socket);
        for _ in 0..HANDSHAKE_READS_MAX {
            flush(&mut tls, &self.socket)?;
            if !tls.is_handshaking() {
                break;
            }
            fill(&mut tls, &mut self.socket)?;
        }
        if tls.is_handshaking() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the TLS handshake does not finish",
            ));
        }
        flush(&mut tls, &self.socket)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Returns the socket, for setting its options.
    pub(super) fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Returns the TLS version, such as `TLS 1.3`; `None` without TLS.
    pub(super) fn version(&self) -> Option<String> {
        let version = self.tls.as_ref()?.protocol_version()?.as_str()?;
        Some(version.replace('_', ".").replace("TLSv", "TLS "))
    }

    /// Returns true if a read can continue without waiting, within this time: bytes have come, or the end. Records of TLS
    /// may turn out to hold no bytes.
    pub(super) fn is_readable(&mut self, within: Duration) -> bool {
        let has_plain = self.tls.as_mut().is_some_and(|tls| {
            tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
        });
        let arrives = || {
            let socket = self.socket.get_ref().as_fd();
            wait(socket, Interest::Readable, within).is_ok_and(|ready| ready)
        };
        has_plain || !self.socket.buffer().is_empty() || arrives()
    }

    /// Ends our direction of the connection. Over TLS, reads until the peer's `close_notify`; session tickets for the
    /// next connection may arrive before it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket().shutdown(Shutdown::Write) };
        tls.send_close_notify();
        flush(tls, &self.socket)?;
        self.socket().shutdown(Shutdown::Write)?;
        self.socket().set_read_timeout(Some(END_TIMEOUT))?;
        // The peer has sent its `close_notify` already, sends it now, or it does not matter any more.
        for _ in 0..END_READS_MAX {
            match self.read(&mut [0; 1024]) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        Ok(())
    }
}

fn flush(tls: &mut ClientConnection, socket: &BufReader<TcpStream>) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut socket.get_ref())?;
    }
    Ok(())
}

/// Reads once from the socket and processes the records.
fn fill(tls: &mut ClientConnection, socket: &mut BufReader<TcpStream>) -> io::Result<()> {
    if tls.read_tls(socket)? == 0 && tls.is_handshaking() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match tls.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => {
            // An alert reports the reason to the peer.
            let _sent = flush(tls, socket);
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}

impl Read for Stream {
    /// Reads bytes. Over TLS, an end without `close_notify` is an error, because somebody may have cut the connection.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(room) };
        loop {
            match tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(error.kind(), Truncated));
                }
                outcome => return outcome,
            }
            fill(tls, &mut self.socket)?;
            flush(tls, &self.socket)?;
            if !tls.wants_read() {
                continue;
            }
            // The caller can check for an interrupt here: a record may arrive byte by byte, or be empty.
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.get_ref().write(bytes) };
        // Records that a signal left unsent go first.
        flush(tls, &self.socket)?;
        let count = tls.writer().write(bytes)?;
        match flush(tls, &self.socket) {
            // The bytes are buffered; the next call sends them.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(count),
            outcome => outcome.map(|()| count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| flush(tls, &self.socket))
    }
}
