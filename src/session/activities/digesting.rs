//! The checksum of a file, computed some bytes per turn.

use std::io;
use std::time::Instant;

use crate::events::Event;
use crate::ftp::checksum::{Algorithm, Checksum};
use crate::ftp::command::Range;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::pool::{Class, Watch};
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::storage::{Chunk, Progress, Reader};

use super::closing::dismiss_idle;
use super::ending::{abort_done, aborted};
use super::polling::{Polled, poll_abort};
use super::waiting::call;

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
    /// The time from which it waits for the storage, if it does.
    waits_since: Option<Instant>,
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
                if !cx.control.abort_waits() {
                    cx.reply(&abort_done());
                }
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
        match self.waits_since {
            Some(since) => since + cx.service.limits.stall_timeout,
            None => cx.identity.last_activity + cx.service.limits.idle_timeout,
        }
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if self.waits_since.is_some() {
            return Ok(self.follow(cx, Err(io::ErrorKind::TimedOut.into())));
        }
        Ok(dismiss_idle(cx))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some(storage) = self.file.awaited() {
            watch.readable(storage, Class::Bulk);
        }
    }

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
        let checksum = Checksum::new(algorithm);
        Self { file, offset, end, checksum, format, waits_since: None }
    }

    /// Returns what follows one step.
    fn follow(mut self: Box<Self>, cx: &mut Context, digested: io::Result<Progress>) -> Next {
        match digested {
            Ok(Progress::More) => {
                self.waits_since = None;
                return Next::Bulk(self);
            }
            Ok(Progress::Wait) => {
                self.waits_since.get_or_insert(cx.now);
                return Next::Wait(self);
            }
            Ok(Progress::End) => {
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

    /// Digests the next bytes.
    fn digest(&mut self) -> io::Result<Progress> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        if left > 0 {
            match self.file.bytes(self.offset, left.min(BYTES_PER_TURN))? {
                Chunk::Bytes(bytes) => {
                    self.checksum.update(bytes);
                    self.offset += bytes.len() as u64;
                }
                Chunk::Wait => return Ok(Progress::Wait),
                // The file was truncated meanwhile.
                Chunk::File(_) | Chunk::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(if self.offset == self.end { Progress::End } else { Progress::More })
    }
}
