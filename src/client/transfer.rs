//! Transfers: data that moves over a data connection, and its end.

use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::net::sockopt;

use crate::ftp::block::{self, Decoder, Item};
use crate::ftp::command::{Command, Mode, Type};
use crate::ftp::dialogue::{Abort, Aborted, Finish};
use crate::ftp::{Code, Reply};

use super::data::broken;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::rate_limit::RateLimit;
use super::stream::Stream;

/// Lowest rate, in bytes per second, at which a server is expected to hash or store a file; timeouts grow accordingly.
pub(super) const SLOWEST_BYTES_PER_SECOND: u64 = 10 * 1024 * 1024;

/// Maximum number of bytes to read or write at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Distance between two restart markers in block mode, in bytes of the file.
const MARKER_EVERY_BYTES: u64 = 256 * 1024 * 1024;

impl Link {
    /// Receives the data of a command from an offset on, and passes each chunk to `keep`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the server does not begin, [`ErrorKind::Incomplete`] when it does not finish, and any error
    /// that `keep` returns.
    pub(super) fn receive(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
        mut keep: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut stream = self.begin(command, offset, what)?;
        let outcome = match self.mode() {
            Mode::Stream => self.receive_all(&mut stream, &mut keep).inspect(|()| {
                // Over TLS the server waits for our `close_notify`, too. A failure here does not affect the data
                // received.
                let _sent = stream.finish();
            }),
            Mode::Block => self.receive_blocks(&mut stream, &mut keep),
        };
        // The data connection is closed before the wait for the reply, because the server may wait for that close.
        let kept = Some(stream).filter(|_| outcome.is_ok() && self.mode() == Mode::Block);
        self.conclude_and_keep(outcome, kept, Duration::ZERO, what)
    }

    fn receive_all(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.settings.limit);
        let mut chunk = vec![0; rate_limit.chunk(CHUNK_BYTES)];
        loop {
            let count = self.receive_some(stream, &mut chunk, &mut rate_limit)?;
            if count == 0 {
                return Ok(());
            }
            keep(chunk.get(..count).unwrap_or_default())?;
        }
    }

    /// Receives one file in block mode, up to its end and not a byte further.
    fn receive_blocks(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.settings.limit);
        let mut chunk = vec![0; rate_limit.chunk(CHUNK_BYTES)];
        let mut blocks = Decoder::default();
        while !blocks.has_ended() {
            let room = chunk.len().min(blocks.wanted());
            let room = chunk.get_mut(..room).unwrap_or_default();
            let count = self.receive_some(stream, room, &mut rate_limit)?;
            if count == 0 {
                return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
            }
            let mut bytes = chunk.get(..count).unwrap_or_default();
            while let Some(item) = blocks.next(&mut bytes).map_err(|_| no_blocks())? {
                if let Item::Data(data) = item {
                    keep(data)?;
                }
            }
        }
        Ok(())
    }

    fn receive_some(
        &self,
        stream: &mut Stream,
        room: &mut [u8],
        rate_limit: &mut RateLimit,
    ) -> Result<usize, ClientError> {
        loop {
            self.settings.interrupt.check()?;
            match stream.read(room) {
                Ok(count) => {
                    rate_limit.moved(count, &self.settings.interrupt)?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Sends the chunks that `next` appends to its first argument, until a chunk is empty. The second argument of
    /// `next` is the maximum size of a chunk in bytes.
    pub(super) fn transmit(
        &mut self,
        command: &Command,
        offset: u64,
        what: &str,
        mut next: impl FnMut(&mut Vec<u8>, usize) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut stream = self.begin(command, offset, what)?;
        let mut sent = 0;
        let outcome = self.transmit_all(&mut stream, offset, &mut |chunk, room| {
            next(chunk, room).inspect(|()| sent += chunk.len() as u64)
        });
        // Ends the connection after complete data, and resets it after incomplete data: after an orderly close the
        // server would take half a file for a whole one. Either call fails only when the server has closed the
        // connection, and then its reply gives the reason.
        let _sent = match &outcome {
            Ok(()) if self.mode() == Mode::Block => Ok(()),
            Ok(()) => stream.finish(),
            Err(_) => sockopt::set_socket_linger(stream.socket(), Some(Duration::ZERO))
                .map_err(io::Error::from),
        };
        let kept = Some(stream).filter(|_| outcome.is_ok() && self.mode() == Mode::Block);
        self.expect_preliminary(sent / MARKER_EVERY_BYTES);
        // The server may need this time to write the data to its disk.
        let patience = Duration::from_secs(sent / SLOWEST_BYTES_PER_SECOND);
        self.conclude_and_keep(outcome, kept, patience, what)
    }

    fn transmit_all(
        &self,
        stream: &mut Stream,
        offset: u64,
        next: &mut impl FnMut(&mut Vec<u8>, usize) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rate_limit = RateLimit::new(self.settings.limit);
        let (mut chunk, mut framed) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        let mode = self.mode();
        let (mut sent, mut next_marker) = (offset, offset + MARKER_EVERY_BYTES);
        loop {
            chunk.clear();
            next(&mut chunk, rate_limit.chunk(CHUNK_BYTES))?;
            let bytes = match mode {
                Mode::Stream => &chunk,
                Mode::Block => {
                    framed.clear();
                    block::encode(&chunk, &mut framed);
                    if chunk.is_empty() {
                        block::encode_end(&mut framed);
                    }
                    sent += chunk.len() as u64;
                    if sent >= next_marker && self.parameters.representation == Some(Type::Image) {
                        block::encode_marker(sent, &mut framed);
                        next_marker = sent + MARKER_EVERY_BYTES;
                    }
                    &framed
                }
            };
            self.send_all(stream, bytes)?;
            rate_limit.moved(bytes.len(), &self.settings.interrupt)?;
            if chunk.is_empty() {
                return Ok(());
            }
        }
    }

    fn send_all(&self, stream: &mut Stream, mut unsent: &[u8]) -> Result<(), ClientError> {
        while !unsent.is_empty() {
            self.settings.interrupt.check()?;
            match stream.write(unsent) {
                Ok(count) => unsent = unsent.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(())
    }

    /// Reads the final reply. Keeps the data connection of block mode for the next transfer, if the server has not
    /// closed it (226).
    fn conclude_and_keep(
        &mut self,
        outcome: Result<(), ClientError>,
        stream: Option<Stream>,
        patience: Duration,
        what: &str,
    ) -> Result<(), ClientError> {
        let reply = self.conclude(outcome, patience, what)?;
        self.open_data = stream.filter(|_| reply.code == Code::FILE_ACTION_DONE);
        Ok(())
    }

    /// Reads the final reply in every case, so that the next command does not receive it.
    fn conclude(
        &mut self,
        outcome: Result<(), ClientError>,
        patience: Duration,
        what: &str,
    ) -> Result<Reply, ClientError> {
        match outcome {
            Err(error) if error.kind == ErrorKind::Interrupted => {
                self.abort()?;
                Err(error)
            }
            outcome => {
                let finished = self.with_patience(patience, |link| link.run(&mut Finish))?;
                // A local error is the cause; the server only saw the connection close.
                let ours = outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Local);
                match finished {
                    Ok(reply) => outcome.map(|()| reply),
                    Err(refused) if ours => outcome.map(|()| refused.reply),
                    Err(refused) => {
                        Err(ClientError::refused(ErrorKind::Incomplete, what, refused.reply))
                    }
                }
            }
        }
    }

    /// Aborts the transfer and reads all replies to it.
    pub(super) fn abort(&mut self) -> Result<(), ClientError> {
        self.settings.interrupt.clear();
        self.open_data = None;
        // To each file requested ahead the server replies that there is no data connection any more.
        let abandoned = self.abandon_pipeline();
        match self.run_at_once(&mut Abort::new(abandoned))? {
            Ok(Aborted::InStep) => self.settle(),
            Ok(Aborted::OutOfStep) | Err(_) => self.give_up(),
        }
        Ok(())
    }
}

fn no_blocks() -> ClientError {
    ClientError::new(ErrorKind::Incomplete, "the server did not send valid blocks").at_last()
}
