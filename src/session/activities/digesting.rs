//! The checksum of a file, computed some bytes per turn.

use std::io;
use std::time::Instant;

use crate::events::Event;
use crate::ftp::checksum::{Algorithm, Checksum};
use crate::ftp::command::Range;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::pool::Watch;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::storage::Reader;

use super::calling::call;
use super::closing::dismiss_idle;
use super::ending::{abort_done, aborted};
use super::polling::{Polled, poll_abort};

/// Number of bytes digested in one turn; they take well below a millisecond.
const BYTES_PER_TURN: usize = 256 * 1024;

/// A checksum in progress.
#[derive(Debug)]
pub(in crate::session) struct Digesting {
    file: Reader,
    offset: u64,
    end: u64,
    checksum: Checksum,
    format: ReplyFormat,
    buffer: Vec<u8>,
}

/// The format of the reply.
#[derive(Debug)]
pub(in crate::session) enum ReplyFormat {
    /// `213 SHA-256 0-9 abc… name`.
    Hash { algorithm: Algorithm, range: Range, name: Vec<u8> },
    /// `250 abc…`.
    Bare,
}

impl ReplyFormat {
    fn reply(&self, sum: &str) -> Reply {
        match self {
            Self::Bare => Reply::new(Code::FILE_ACTION_DONE, sum),
            Self::Hash { algorithm, range: Range { first, last }, name } => {
                let text = format!("{algorithm} {first}-{last} {sum} ");
                Reply::new(Code::FILE_STATUS, [text.as_bytes(), name].concat())
            }
        }
    }
}

impl Activity for Digesting {
    fn name(&self) -> &'static str {
        "digesting"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        cx.identity.last_activity = cx.now;
        match poll_abort(cx)? {
            Polled::Nothing | Polled::TooMuch => {}
            Polled::Abort => {
                cx.reply(&aborted());
                cx.reply(&abort_done());
                return Ok(Next::Commands);
            }
            Polled::PeerClosed => return Err(Disconnect::Closed),
        }
        let until = cx.now + cx.service.limits.stall_timeout;
        let digest = move || {
            let digested = self.digest();
            (self, digested)
        };
        Ok(call(cx, until, None, digest, |cx, (digesting, digested), _| {
            Ok(digesting.follow(cx, digested))
        }))
    }

    fn deadline(&self, cx: &Context) -> Instant {
        cx.identity.last_activity + cx.service.limits.idle_timeout
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        Ok(dismiss_idle(cx))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, cx: &Context) -> Listens {
        if cx.control.is_open() { Listens::Abort } else { Listens::Nothing }
    }
}

impl Digesting {
    /// Returns the checksum of the bytes from `offset` up to, but not including, `end`.
    pub(in crate::session) fn new(
        file: Reader,
        (offset, end): (u64, u64),
        algorithm: Algorithm,
        format: ReplyFormat,
    ) -> Self {
        let (checksum, buffer) = (Checksum::new(algorithm), Vec::new());
        Self { file, offset, end, checksum, format, buffer }
    }

    /// Returns what follows one step.
    fn follow(self: Box<Self>, cx: &mut Context, digested: io::Result<bool>) -> Next {
        match digested {
            Ok(false) => return Next::Bulk(self),
            Ok(true) => {
                let Self { checksum, format, .. } = *self;
                cx.reply(&format.reply(&checksum.finish()));
            }
            Err(error) => {
                cx.log(&Event::Error { message: "cannot read a file", error: &error });
                cx.reply(&Reply::new(Code::LOCAL_ERROR, "Cannot read the file."));
            }
        }
        Next::Commands
    }

    /// Digests the next bytes; returns `true` at the end.
    fn digest(&mut self) -> io::Result<bool> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        self.buffer.resize(left.min(BYTES_PER_TURN), 0);
        if !self.buffer.is_empty() {
            let count = self.file.read_at(&mut self.buffer, self.offset)?;
            if count == 0 {
                // The file was truncated meanwhile.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.checksum.update(self.buffer.get(..count).unwrap_or_default());
            self.offset += count as u64;
        }
        Ok(self.offset == self.end)
    }
}
