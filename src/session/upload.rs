//! STOR, APPE and STOU: from the command to the moment when the file has its name.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::ftp::command::{PathName, Type};
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply};
use crate::log::{Event, Outcome};
use crate::net::control::has_ended;
use crate::net::copy::Fault;
use crate::pool::{Class, Watch};
use crate::storage::{Committed, Errand, Start, Unable, Upload};

use super::incoming::{Client, Commit, Incoming, Marker, VANISHED, Verdict};
use super::refusal::{Refusal, fault_reply};
use super::transfer::{Order, Then, abort_done};
use super::work::Work;
use super::{Activity, Heard, Pending, Session, Step};

/// How long a flush may take. It cannot be called back.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_mins(10);

/// An upload that has come whole and is being flushed.
#[derive(Debug)]
pub(super) struct Committing {
    flushing: Errand<Committed>,
    /// To be answered when everything is safe.
    markers: Vec<Marker>,
    order: Order,
    bytes: u64,
    outcome: Outcome,
    /// ABOR came too late; it is answered all the same.
    aborted: bool,
    pub(super) until: Instant,
}

impl Committing {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.flushing.descriptor(), Class::Interactive);
    }

    /// Whether commands are heard meanwhile.
    pub(super) fn hears(&self) -> bool {
        self.order.then == Then::Commands
    }
}

impl Session {
    pub(super) fn store(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let start = match self.marker(pending)? {
            0 => Start::Overwrite,
            offset => Start::At(offset),
        };
        self.receive(path, start, verb, pending, now)
    }

    pub(super) fn append(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.receive(path, Start::End, verb, pending, now)
    }

    fn receive(
        &mut self,
        path: &PathName,
        start: Start,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        // Before the file is touched: without a way for the data there is nothing to begin.
        self.check_route()?;
        let member = self.member()?;
        let path = member.resolve(path)?;
        let upload = Upload::begin(member.root(), &path, start)?;
        let work = self.incoming(upload, pending);
        self.begin(work, path, verb, ".", now)
    }

    /// STOU: the name stands in the 150 (RFC 1123 §4.1.2.9).
    pub(super) fn store_unique(
        &mut self,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.check_route()?;
        let member = self.member()?;
        let (upload, path) = Upload::begin_unique(member.root(), &member.directory)?;
        let work = self.incoming(upload, pending);
        let text = [b"FILE: ", path.name()].concat();
        self.begin_with(work, path, verb, text, now)
    }

    fn incoming(&self, upload: Upload, pending: &Pending) -> Work {
        let (ascii, mode) = (self.parameters.representation == Type::Ascii, self.parameters.mode);
        let flusher = self.service.flusher.clone();
        Work::Receive(Box::new(Incoming::new(upload, ascii, mode, pending.allocated, flusher)))
    }

    /// The data has ended in order.
    pub(super) fn conclude_upload(&mut self, order: Order, mut incoming: Incoming, now: Instant) {
        let (bytes, quits) = (incoming.received(), order.then == Then::Farewell);
        let vanished = !quits && self.control.has_ended();
        let client = if vanished { Client::Vanished } else { Client::Present };
        let outcome = match incoming.judge(client) {
            Verdict::Complete => Outcome::Complete,
            Verdict::AssumedComplete => Outcome::AssumedComplete,
            Verdict::CutOff(why) => {
                let kept = incoming.settle();
                return self.cut_off(order, bytes, why, kept, now);
            }
        };
        let markers = incoming.unanswered_markers();
        // While it is flushed, a client that was killed shows.
        let assumes = outcome == Outcome::AssumedComplete && !quits;
        let watched = if assumes { self.control.watched().ok() } else { None };
        let go_on = move || watched.is_none_or(|control| !has_ended(control.as_fd()));
        let committed = match incoming.commit(go_on) {
            Ok(Commit::Done(committed)) => Ok(committed),
            Err(error) => Err(error),
            Ok(Commit::UnderWay(flushing)) => {
                let (aborted, until) = (false, now + FLUSH_TIMEOUT);
                let committing =
                    Committing { flushing, markers, order, bytes, outcome, aborted, until };
                return self.enter(Activity::Committing(Box::new(committing)));
            }
        };
        self.conclude_commit(order, markers, bytes, outcome, committed, now);
    }

    pub(super) fn await_commit(&mut self, mut committing: Box<Committing>, now: Instant) -> Step {
        let storing = || Reply::new(Code::STATUS, "Storing what has come.");
        match self.hear_during_transfer(&mut committing.order.then, storing, now) {
            Ok(Heard::Abort) => committing.aborted = true,
            Ok(Heard::HangUp | Heard::Nothing) => {}
            // What becomes of the file is still to be logged; nothing more is heard.
            Err(_) => committing.order.then = Then::Farewell,
        }
        let Some(committed) = committing.flushing.outcome() else {
            self.enter(Activity::Committing(committing));
            return Step::Wait;
        };
        let Committing { markers, order, bytes, outcome, aborted, .. } = *committing;
        self.conclude_commit(order, markers, bytes, outcome, committed, now);
        if aborted {
            self.reply(&abort_done());
        }
        Step::More
    }

    fn conclude_commit(
        &mut self,
        order: Order,
        markers: Vec<Marker>,
        bytes: u64,
        outcome: Outcome,
        committed: io::Result<Committed>,
        now: Instant,
    ) {
        match committed {
            Ok(Committed::Yes) => {
                for marker in markers {
                    self.reply(&marker.reply());
                }
                self.finish(order, bytes, &self.complete(), outcome, now);
            }
            Ok(Committed::No { kept }) => self.cut_off(order, bytes, VANISHED, kept, now),
            Err(error) => self.fail_to_commit(order, bytes, error, now),
        }
    }

    fn cut_off(&mut self, order: Order, bytes: u64, why: &str, kept: u64, now: Instant) {
        self.log(&Event::CutOff { why, kept });
        // What comes next over it would not be the beginning of a file.
        self.route = None;
        let text = format!("Cut off: {why}. {kept} bytes are kept.");
        let reply = Reply::new(Code::TRANSFER_ABORTED, text);
        self.finish(order, bytes, &reply, Outcome::CutOff, now);
    }

    /// The disk has not answered for very long. It may still do so: whether the file is stored is not known.
    pub(super) fn give_up_commit(&mut self, committing: Committing, now: Instant) {
        let Committing { order, bytes, .. } = committing;
        self.fail_to_commit(order, bytes, io::ErrorKind::TimedOut.into(), now);
    }

    fn fail_to_commit(&mut self, order: Order, bytes: u64, error: io::Error, now: Instant) {
        self.route = None;
        let reply = if Errno::from_io_error(&error) == Some(Errno::BUSY) {
            Reply::new(Code::LOCAL_ERROR, "Another upload of this file has taken over.")
        } else {
            self.log(&Event::Trouble { what: "an upload could not be stored", error: &error });
            fault_reply(&Fault::Storage(error))
        };
        self.finish(order, bytes, &reply, Outcome::Failed, now);
    }
}

impl From<Unable> for Refusal {
    fn from(unable: Unable) -> Self {
        match unable {
            Unable::Busy => Self::UploadUnderWay,
            Unable::BeyondEnd => Self::Marker("REST is beyond the end of what is there."),
            Unable::Interrupted => Self::UploadInterrupted,
            Unable::Io(error) => Self::Storage(error),
        }
    }
}
