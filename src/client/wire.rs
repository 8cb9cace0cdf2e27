//! A connection as bytes: in plain or by TLS, with the socket's own timeouts.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// How much ciphertext is taken from the socket at once.
const CIPHERTEXT_BYTES: usize = 64 * 1024;

/// How long the other end may take to say its end when we have said ours.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How often is read in a handshake, and at the end, each time for as long as the socket waits: a server that sends a byte at
/// a time is given up.
const HANDSHAKE_READS_MAX: u32 = 64;
const END_READS_MAX: u32 = 16;

/// How TLS is spoken with one server: the data connections resume the session of the control connection.
#[derive(Clone)]
pub(super) struct Secrecy {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl fmt::Debug for Secrecy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secrecy").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection.
pub(super) struct Wire {
    socket: BufReader<TcpStream>,
    tls: Option<Box<ClientConnection>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wire")
            .field("socket", self.socket.get_ref())
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// In plain.
    pub(super) fn new(socket: TcpStream) -> Self {
        // Plain bytes are read into the caller's buffer at once.
        Self { socket: BufReader::with_capacity(0, socket), tls: None }
    }

    /// By TLS from now on. The handshake is done here.
    pub(super) fn secure(&mut self, secrecy: &Secrecy) -> io::Result<()> {
        let (config, name) = (Arc::clone(&secrecy.config), secrecy.name.clone());
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
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake has no end"));
        }
        flush(&mut tls, &self.socket)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// The socket, for its options.
    pub(super) fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// The version of TLS, if it is by TLS: `TLS 1.3`.
    pub(super) fn version(&self) -> Option<String> {
        let version = self.tls.as_ref()?.protocol_version()?.as_str()?;
        Some(version.replace('_', ".").replace("TLSv", "TLS "))
    }

    /// Says that this was all. By TLS the other end says the same, and on the way there may be what the next connection
    /// resumes by.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket().shutdown(Shutdown::Write) };
        tls.send_close_notify();
        flush(tls, &self.socket)?;
        self.socket().shutdown(Shutdown::Write)?;
        self.socket().set_read_timeout(Some(END_TIMEOUT))?;
        // It has told its end already, or does so now, or its end does not matter any more.
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

/// Takes once from the socket.
fn fill(tls: &mut ClientConnection, socket: &mut BufReader<TcpStream>) -> io::Result<()> {
    if tls.read_tls(socket)? == 0 && tls.is_handshaking() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match tls.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => {
            // An alert tells the other end why.
            let _told = flush(tls, socket);
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}

impl Read for Wire {
    /// By TLS, an end that nobody has said is an error: somebody may have cut the connection.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(room) };
        loop {
            match tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(error.kind(), "cut off: no end was said by TLS"));
                }
                outcome => return outcome,
            }
            fill(tls, &mut self.socket)?;
            flush(tls, &self.socket)?;
            if !tls.wants_read() {
                continue;
            }
            // Who waits looks whether it still wants to: a record may come byte by byte, or have nothing in it.
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.get_ref().write(bytes) };
        // What could not be sent before a signal came goes first.
        flush(tls, &self.socket)?;
        let count = tls.writer().write(bytes)?;
        match flush(tls, &self.socket) {
            // It is on its way: the next call sends it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(count),
            outcome => outcome.map(|()| count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| flush(tls, &self.socket))
    }
}
