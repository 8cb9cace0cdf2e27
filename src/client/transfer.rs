//! Transfers: data that moves over a data connection, and its end.

use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::net::sockopt;

use crate::ftp::block::{self, Decoder, Item};
use crate::ftp::command::{Command, Mode, Type};
use crate::ftp::dialogue::{Abort, Aborted, Finish, Span};
use crate::ftp::{Code, Reply};

use super::data::{Begun, broken};
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::rate_limit::RateLimit;
use super::stream::{Stream, is_truncated};

/// Lowest rate, in bytes per second, at which a server is expected to hash or store a file; timeouts grow accordingly.
pub(super) const SLOWEST_BYTES_PER_SECOND: u64 = 10 * 1024 * 1024;

/// Maximum number of bytes to read or write at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Distance between two restart markers in block mode, in bytes of the file.
const MARKER_EVERY_BYTES: u64 = 256 * 1024 * 1024;

/// End of the data of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Ending {
    /// The server marked it.
    Marked,
    /// The server closed the connection without TLS `close_notify`, and replied that all was sent. An attacker may
    /// have cut the data, unless its size is known.
    Unmarked,
    /// The connection was reset, and the server replied that all was sent. Bytes may be missing, unless the size is
    /// known.
    Reset,
}

impl Link {
    /// Receives the data of a command for a part of a file, and passes each chunk to `keep`. Changes to stream mode, once,
    /// if the server accepted block mode but does not use it.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the server does not begin, [`ErrorKind::Incomplete`] when it does not finish, and any error
    /// that `keep` returns.
    pub(super) fn receive(
        &mut self,
        command: &Command,
        span: impl Into<Span>,
        what: &str,
        mut keep: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Ending, ClientError> {
        let span = span.into();
        let mut is_kept = false;
        let received = self.receive_once(command, span, what, &mut |chunk: &[u8]| {
            is_kept = true;
            keep(chunk)
        });
        let falls_back = self.settings.stream && self.parameters.mode.is_none();
        if received.is_err() && falls_back && !is_kept && !self.is_dead() {
            return self.receive_once(command, span, what, &mut keep);
        }
        received
    }

    fn receive_once(
        &mut self,
        command: &Command,
        span: Span,
        what: &str,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Ending, ClientError> {
        let begun = self.begin(command, span, what)?;
        let Some(mut stream) = begun.stream else { return Ok(Ending::Marked) };
        let mut is_foreign = false;
        let outcome = match self.mode() {
            Mode::Stream => self.receive_all(&mut stream, keep).inspect(|_| {
                // Over TLS the server waits for our `close_notify`, too. A failure here does not affect the data
                // received.
                let _sent = stream.finish();
            }),
            Mode::Block => self.receive_blocks(&mut stream, keep, &mut is_foreign),
        };
        if begun.reply.is_some() {
            return outcome;
        }
        // The data connection is closed before the wait for the reply, because the server may wait for that close.
        let kept = Some(stream).filter(|_| outcome.is_ok() && self.mode() == Mode::Block);
        let concluded = self.conclude_and_keep(outcome, kept, Duration::ZERO, what);
        if is_foreign && !self.support.proven_blocks {
            self.use_stream();
        }
        concluded
    }

    fn receive_all(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Ending, ClientError> {
        let mut chunk = vec![0; self.chunk()];
        loop {
            let count = match self.receive_some(stream, &mut chunk) {
                Ok(count) => count,
                Err(Unreceived::Truncated) => return Ok(Ending::Unmarked),
                Err(Unreceived::Reset) => return Ok(Ending::Reset),
                Err(Unreceived::Failed(error)) => return Err(error),
            };
            if count == 0 {
                return Ok(Ending::Marked);
            }
            keep(chunk.get(..count).unwrap_or_default())?;
        }
    }

    /// Receives one file in block mode, up to its end and not a byte further. Sets `is_foreign` for data that is not in
    /// blocks.
    fn receive_blocks(
        &self,
        stream: &mut Stream,
        keep: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
        is_foreign: &mut bool,
    ) -> Result<Ending, ClientError> {
        let mut chunk = vec![0; self.chunk()];
        let mut blocks = Decoder::default();
        while !blocks.has_ended() {
            let room = chunk.len().min(blocks.wanted());
            let room = chunk.get_mut(..room).unwrap_or_default();
            let count = match self.receive_some(stream, room) {
                Ok(0) | Err(Unreceived::Truncated) => {
                    return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
                }
                Err(Unreceived::Reset) => {
                    return Err(broken(&io::ErrorKind::ConnectionReset.into()));
                }
                Ok(count) => count,
                Err(Unreceived::Failed(error)) => return Err(error),
            };
            let mut bytes = chunk.get(..count).unwrap_or_default();
            loop {
                match blocks.next(&mut bytes) {
                    Ok(Some(Item::Data(data))) => keep(data)?,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => {
                        *is_foreign = true;
                        return Err(self.no_blocks());
                    }
                }
            }
        }
        Ok(Ending::Marked)
    }

    /// Returns the maximum number of bytes to move at once.
    fn chunk(&self) -> usize {
        RateLimit::chunk(self.settings.limit.as_ref(), CHUNK_BYTES)
    }

    /// Counts bytes that have moved, and waits for the rate limit.
    fn moved(&self, bytes: usize) -> Result<(), ClientError> {
        RateLimit::moved(self.settings.limit.as_ref(), bytes, &self.settings.interrupt)
    }

    fn no_blocks(&self) -> ClientError {
        let error = ClientError::new(ErrorKind::Incomplete, "the server did not send valid blocks");
        if self.support.proven_blocks { error.at_last() } else { error }
    }

    fn receive_some(&self, stream: &mut Stream, room: &mut [u8]) -> Result<usize, Unreceived> {
        loop {
            self.settings.interrupt.check().map_err(Unreceived::Failed)?;
            match stream.read(room) {
                Ok(count) => {
                    return self.moved(count).map(|()| count).map_err(Unreceived::Failed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_truncated(&error) => return Err(Unreceived::Truncated),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Unreceived::Reset);
                }
                Err(error) => return Err(Unreceived::Failed(broken(&error))),
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
        let mut stream = match self.begin(command, offset.into(), what)? {
            Begun { stream: Some(stream), reply: None } => stream,
            Begun { reply, .. } => {
                let error = ClientError::new(
                    ErrorKind::Incomplete,
                    format!("{what}: ended before its data"),
                );
                return Err(reply.map_or(error, |reply| {
                    ClientError::refused(ErrorKind::Incomplete, what, reply)
                }));
            }
        };
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
        let outcome = outcome.map(|()| Ending::Marked);
        self.expect_preliminary(sent / MARKER_EVERY_BYTES);
        // The server may need this time to write the data to its disk.
        let patience = Duration::from_secs(sent / SLOWEST_BYTES_PER_SECOND);
        let concluded = self.conclude_and_keep(outcome, kept, patience, what);
        if self.mode() == Mode::Block && !self.support.proven_blocks {
            // A server that only pretends to use block mode waits for the end of the connection.
            let waits = concluded.as_ref().is_err_and(|error| error.is_unconfirmed);
            self.settings.stream |= waits;
        }
        concluded.map(|_| ())
    }

    fn transmit_all(
        &self,
        stream: &mut Stream,
        offset: u64,
        next: &mut impl FnMut(&mut Vec<u8>, usize) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let (mut chunk, mut framed) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        let mode = self.mode();
        let (mut sent, mut next_marker) = (offset, offset + MARKER_EVERY_BYTES);
        loop {
            chunk.clear();
            next(&mut chunk, self.chunk())?;
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
            self.moved(bytes.len())?;
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
        outcome: Result<Ending, ClientError>,
        stream: Option<Stream>,
        patience: Duration,
        what: &str,
    ) -> Result<Ending, ClientError> {
        let (ending, reply) = self.conclude(outcome, patience, what)?;
        self.open_data = stream.filter(|_| reply.code == Code::FILE_ACTION_DONE);
        Ok(ending)
    }

    /// Reads the final reply in every case, so that the next command does not receive it.
    fn conclude(
        &mut self,
        outcome: Result<Ending, ClientError>,
        patience: Duration,
        what: &str,
    ) -> Result<(Ending, Reply), ClientError> {
        match outcome {
            Err(error) if error.kind == ErrorKind::Interrupted => {
                self.abort()?;
                Err(error)
            }
            outcome => {
                let finished = self.with_patience(patience, |link| link.run(&mut Finish));
                let finished = finished.map_err(|error| {
                    let lost = error.is_connection_lost() && outcome.is_ok();
                    if lost { error.unconfirmed() } else { error }
                })?;
                // A local error is the cause; the server only saw the connection close.
                let ours = outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Local);
                // A server that confirms data without the end of its blocks does not use block mode.
                let is_unended =
                    outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Incomplete);
                if finished.is_ok()
                    && is_unended
                    && !self.support.proven_blocks
                    && self.mode() == Mode::Block
                {
                    self.use_stream();
                }
                match finished {
                    Ok(reply) => outcome.map(|ending| (ending, reply)),
                    Err(refused) if ours => outcome.map(|ending| (ending, refused.reply)),
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

impl Ending {
    /// Describes an end that does not show whether all data has come; `None` for one that does.
    pub(super) fn doubt(self) -> Option<&'static str> {
        match self {
            Self::Marked => None,
            Self::Unmarked => {
                Some("the server closed the data connection without TLS close_notify")
            }
            Self::Reset => Some("the server reset the data connection"),
        }
    }
}

/// Builds the error for data whose end may have been cut off.
pub(super) fn unended(name: &str, doubt: &str) -> ClientError {
    let what = format!("{name}: {doubt}, so bytes may be missing");
    ClientError::new(ErrorKind::Incomplete, what)
}

/// Reason why no bytes were received.
enum Unreceived {
    /// The connection ended without TLS `close_notify`.
    Truncated,
    /// The connection was reset.
    Reset,
    Failed(ClientError),
}
