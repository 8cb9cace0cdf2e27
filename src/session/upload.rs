//! STOR, APPE and STOU: from the command to the moment when the file has its name.

use std::time::{Duration, Instant};

use crate::ftp::command::{PathName, Type};
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply};
use crate::log::{Event, Outcome};
use crate::net::copy::Fault;
use crate::pool::{Class, Watch};
use crate::storage::{Flushing, Start, Unable, Upload};

use super::incoming::{Client, Incoming, Marker, Verdict};
use super::refusal::{Refusal, fault_reply};
use super::transfer::{Order, Then};
use super::work::Work;
use super::{Activity, Pending, Session, Step};

/// How long a flush may take. It cannot be called back: what becomes of the file then is in the log's hands.
const COMMIT_TIMEOUT: Duration = Duration::from_mins(10);

/// An upload that has come whole and is being flushed.
#[derive(Debug)]
pub(super) struct Committing {
    flushing: Flushing,
    /// To be answered when everything is safe.
    markers: Vec<Marker>,
    order: Order,
    bytes: u64,
    outcome: Outcome,
    pub(super) until: Instant,
}

impl Committing {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.flushing.descriptor(), Class::Interactive);
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
    pub(super) fn conclude_upload(
        &mut self,
        order: Order,
        mut incoming: Incoming,
        bytes: u64,
        now: Instant,
    ) {
        let vanished = self.control.has_ended() && order.then == Then::Commands;
        let client = if vanished { Client::Vanished } else { Client::Present };
        let outcome = match incoming.judge(client) {
            Verdict::Complete => Outcome::Complete,
            Verdict::AssumedComplete => Outcome::AssumedComplete,
            Verdict::CutOff(why) => {
                self.log(&Event::CutOff { why, kept: incoming.kept() });
                // What comes next over it would not be the beginning of a file.
                self.route = None;
                let text = format!("Cut off: {why}. {} bytes are kept.", incoming.kept());
                drop(incoming);
                let reply = Reply::new(Code::TRANSFER_ABORTED, text);
                return self.finish(order, bytes, &reply, Outcome::CutOff, now);
            }
        };
        let markers = incoming.unanswered_markers();
        match incoming.commit() {
            Ok(Some(flushing)) => {
                let until = now + COMMIT_TIMEOUT;
                let committing = Committing { flushing, markers, order, bytes, outcome, until };
                self.enter(Activity::Committing(Box::new(committing)));
            }
            Ok(None) => self.confirm(order, markers, bytes, outcome, now),
            Err(error) => self.fail_to_commit(order, bytes, error, now),
        }
    }

    pub(super) fn await_commit(&mut self, committing: Box<Committing>, now: Instant) -> Step {
        let Some(outcome) = committing.flushing.outcome() else {
            self.enter(Activity::Committing(committing));
            return Step::Wait;
        };
        let Committing { markers, order, bytes, outcome: judged, .. } = *committing;
        match outcome {
            Ok(()) => self.confirm(order, markers, bytes, judged, now),
            Err(error) => self.fail_to_commit(order, bytes, error, now),
        }
        Step::More
    }

    /// The file has its name.
    fn confirm(
        &mut self,
        order: Order,
        markers: impl IntoIterator<Item = Marker>,
        bytes: u64,
        outcome: Outcome,
        now: Instant,
    ) {
        for marker in markers {
            self.reply(&marker.reply());
        }
        self.finish(order, bytes, &self.complete(), outcome, now);
    }

    fn fail_to_commit(&mut self, order: Order, bytes: u64, error: std::io::Error, now: Instant) {
        self.log(&Event::Trouble { what: "an upload could not be stored", error: &error });
        self.route = None;
        self.finish(order, bytes, &fault_reply(&Fault::Storage(error)), Outcome::Failed, now);
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
