//! HASH (draft-bryan-ftpext-hash), XCRC and similar commands: the checksum of a file, computed some bytes per turn.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::ftp::checksum::{Algorithm, Checksum};
use crate::ftp::command::{PathName, Range};
use crate::ftp::line::Line;
use crate::ftp::{Code, Command, Reply};
use crate::log::Event;
use crate::net::control::Disconnect;

use super::login::Member;
use super::refusal::Refusal;
use super::transfer::{abort_done, aborted};
use super::{Activity, Pending, Polled, Session, Step};

/// Number of bytes digested in one turn; they take well below a millisecond.
const BYTES_PER_TURN: usize = 256 * 1024;

/// A checksum in progress.
#[derive(Debug)]
pub(super) struct Digesting {
    file: File,
    offset: u64,
    end: u64,
    checksum: Checksum,
    answer: Answer,
    buffer: Vec<u8>,
}

/// The format of the reply.
#[derive(Debug)]
enum Answer {
    /// `213 SHA-256 0-9 abc… name`.
    Hash { algorithm: Algorithm, range: Range, name: Vec<u8> },
    /// `250 abc…`.
    Bare,
}

impl Answer {
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

impl Session {
    /// HASH: computes the checksum of the range that RANG set, or of the whole file.
    pub(super) fn hash(
        &mut self,
        path: PathName,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let (member, range) = (self.member()?.clone(), pending.range);
        let name = path.0.clone();
        self.ask(
            now,
            move || open(&member, &path),
            move |session, opened, _| session.hash_opened(opened?, name, range).map(|()| None),
        );
        Ok(())
    }

    fn hash_opened(
        &mut self,
        (file, size): (File, u64),
        name: Vec<u8>,
        wanted: Option<Range>,
    ) -> Result<(), Refusal> {
        let algorithm = self.parameters.algorithm;
        let whole = Range { first: 0, last: size.saturating_sub(1) };
        let range = wanted.unwrap_or(whole);
        // An empty file has no last byte.
        let end = if wanted.is_none() { size } else { range.last.saturating_add(1) };
        if range.first > size || end > size {
            return Err(Refusal::RangeBeyondEnd);
        }
        let answer = Answer::Hash { algorithm, range, name };
        self.digest(file, range.first, end, algorithm, answer);
        Ok(())
    }

    /// XCRC and similar commands: computes the checksum of the bytes from `from` up to, but not including, `to`.
    pub(super) fn checksum(
        &mut self,
        algorithm: Algorithm,
        path: PathName,
        from: u64,
        to: Option<u64>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?.clone();
        self.ask(
            now,
            move || open(&member, &path),
            move |session, opened, _| {
                let (file, size) = opened?;
                let end = to.unwrap_or(size);
                if from > end || end > size {
                    return Err(Refusal::RangeBeyondEnd);
                }
                session.digest(file, from, end, algorithm, Answer::Bare);
                Ok(None)
            },
        );
        Ok(())
    }

    fn digest(&mut self, file: File, offset: u64, end: u64, algorithm: Algorithm, answer: Answer) {
        let checksum = Checksum::new(algorithm);
        let buffer = Vec::new();
        let digesting = Digesting { file, offset, end, checksum, answer, buffer };
        self.enter(Activity::Digesting(Box::new(digesting)));
    }

    pub(super) fn sum_up(
        &mut self,
        mut digesting: Box<Digesting>,
        now: Instant,
    ) -> Result<Step, Disconnect> {
        self.last_activity = now;
        match self.poll_abort() {
            Ok(Polled::Nothing | Polled::TooMuch) => {}
            Ok(Polled::Abort) => {
                self.reply(&aborted());
                self.reply(&abort_done());
                return Ok(Step::More);
            }
            Ok(Polled::PeerClosed) => return Err(Disconnect::Closed),
            Err(disconnect) => return Err(disconnect),
        }
        let until = now + self.service.limits.stall_timeout;
        let advance = move || {
            let advanced = digesting.advance();
            (digesting, advanced)
        };
        self.call(now, until, None, advance, |session, (digesting, advanced), _, _| {
            Ok(session.summed_up(digesting, advanced))
        });
        Ok(Step::More)
    }

    /// Handles the result of one step of a checksum.
    fn summed_up(&mut self, digesting: Box<Digesting>, advanced: io::Result<bool>) -> Step {
        match advanced {
            Ok(false) => {
                self.enter(Activity::Digesting(digesting));
                return Step::Bulk;
            }
            Ok(true) => {
                let Digesting { checksum, answer, .. } = *digesting;
                self.reply(&answer.reply(&checksum.finish()));
            }
            Err(error) => {
                self.log(&Event::Trouble { what: "cannot read a file", error: &error });
                self.reply(&Reply::new(Code::LOCAL_ERROR, "Cannot read the file."));
            }
        }
        self.enter(Activity::Commands);
        Step::More
    }

    /// Reads a command: serves ABOR at once, and holds any other line until the checksum is done.
    fn poll_abort(&mut self) -> Result<Polled, Disconnect> {
        if !self.control.is_open() {
            return Ok(Polled::Nothing);
        }
        let line = match self.control.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(Polled::Nothing),
            Err(Disconnect::Closed) => return Ok(Polled::PeerClosed),
            Err(disconnect) => return Err(disconnect),
        };
        if let Line::Complete(text) = &line
            && matches!(Command::parse(text), Ok(Command::Abort))
        {
            return Ok(Polled::Abort);
        }
        self.control.hold(line);
        Ok(Polled::Nothing)
    }

    /// OPTS HASH: selects the algorithm, if one is named, and returns the selected one.
    pub(super) fn select_hash(&mut self, name: Option<&str>) -> Result<Reply, Refusal> {
        if let Some(name) = name {
            self.parameters.algorithm = Algorithm::named(name).ok_or(Refusal::UnknownAlgorithm)?;
        }
        Ok(Reply::new(Code::OK, self.parameters.algorithm.name()))
    }
}

impl Digesting {
    /// Digests the next bytes; returns `true` at the end.
    fn advance(&mut self) -> io::Result<bool> {
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

/// Opens a file; or, for members who may resume it, its partial upload.
fn open(member: &Member, path: &PathName) -> Result<(File, u64), Refusal> {
    let path = member.resolve(path)?;
    let (file, entry) = match member.root().read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && member.may_resume() => {
            member.root().kept(&path).map_err(|_| error)?
        }
        found => found?,
    };
    Ok((file, entry.size))
}

/// Returns the line of FEAT: every algorithm, with a star after the selected one.
pub(super) fn feature(selected: Algorithm) -> String {
    let names = Algorithm::ALL.map(|algorithm| {
        let star = if algorithm == selected { "*" } else { "" };
        format!("{algorithm}{star}")
    });
    format!("HASH {}", names.join(";"))
}
