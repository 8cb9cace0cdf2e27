//! STOR, APPE and STOU: from the command until the file has its final name, or is kept to be resumed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::ftp::command::{PathName, Type};
use crate::ftp::line::Unfinished;
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply};
use crate::log::{Event, Outcome};
use crate::net::control::{has_ended, has_unread};
use crate::net::copy::Fault;
use crate::pool::{Class, Job, Watch};
use crate::storage::{
    ABORTED, ClientState, Committed, Completeness, Go, Start, Terms, Unable, Upload, VANISHED,
};

use super::incoming::Incoming;
use super::refusal::{Refusal, fault_reply};
use super::transfer::{AfterTransfer, TransferRequest, abort_done, aborted};
use super::work::Work;
use super::{Activity, Pending, Polled, Session, Step};

/// Maximum wait for the rest of a line that began before the data ended and may be ABOR.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of reads of the control connection after the data has ended.
const READS_MAX: u32 = 256;

/// An upload whose data has ended.
#[derive(Debug)]
pub(super) struct Finishing {
    request: TransferRequest,
    bytes: u64,
    stage: Stage,
    pub(super) until: Instant,
}

#[derive(Debug)]
enum Stage {
    /// A line is arriving that may be ABOR.
    AwaitingLine(Box<Incoming>),
    /// The file is being flushed, and then gets its final name.
    Committing {
        job: Job<Committed>,
        incoming: Box<Incoming>,
        outcome: Outcome,
        aborted: Arc<AtomicBool>,
    },
    /// The upload is incomplete, and what has arrived is being flushed.
    Keeping { job: Job<u64>, ending: Ending },
}

/// The reply to an incomplete upload.
#[derive(Debug)]
pub(super) enum Ending {
    /// A 426 with this reason, and the number of bytes kept.
    CutOff(&'static str),
    /// This reply.
    Failed(Reply, Outcome),
    /// The two replies to ABOR.
    Aborted,
}

impl Finishing {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.stage {
            Stage::AwaitingLine(_) => {}
            Stage::Committing { job, .. } => watch.readable(job.descriptor(), Class::Interactive),
            Stage::Keeping { job, .. } => watch.readable(job.descriptor(), Class::Interactive),
        }
    }

    /// Returns whether commands are read meanwhile.
    pub(super) fn reads_commands(&self) -> bool {
        self.request.then == AfterTransfer::Commands && !matches!(self.stage, Stage::Keeping { .. })
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
        // Checked before the file is touched: an upload without a route must not begin.
        self.check_route()?;
        let member = self.member()?;
        let path = member.resolve(path)?;
        let (root, wanted, terms) =
            (member.account.shared_root(), path.clone(), self.upload_terms()?);
        let pending = pending.clone();
        self.ask(
            now,
            move || Upload::begin(&root, &wanted, start, terms),
            move |session, upload, now| {
                let work = session.incoming(upload?, &pending, now);
                session.begin(work, path, verb, ".", now).map(|()| None)
            },
        );
        Ok(())
    }

    /// STOU: the 150 contains the name (RFC 1123 §4.1.2.9).
    pub(super) fn store_unique(
        &mut self,
        wanted: Option<&PathName>,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.check_route()?;
        let member = self.member()?;
        let (directory, name) = member.wanted_place(wanted)?;
        let terms = self.upload_terms()?;
        let (root, pending) = (member.account.shared_root(), pending.clone());
        self.ask(
            now,
            move || Upload::begin_unique(&root, &directory, name.as_deref(), terms),
            move |session, begun, now| {
                let (upload, path) = begun?;
                let work = session.incoming(upload, &pending, now);
                let text = [b"FILE: ", path.name()].concat();
                session.begin_with(work, path, verb, text, now).map(|()| None)
            },
        );
        Ok(())
    }

    fn upload_terms(&self) -> Result<Terms, Refusal> {
        let owner = self.member()?.account.owner();
        Ok(Terms { owner, durability: self.service.durability })
    }

    fn incoming(&self, upload: Upload, pending: &Pending, now: Instant) -> Work {
        let (ascii, mode) = (self.parameters.representation == Type::Ascii, self.parameters.mode);
        let (service, announced) = (&self.service, pending.allocated);
        let incoming =
            Incoming::new(upload, ascii, mode, announced, service.disks(), service.durability, now);
        Work::Receive(Box::new(incoming))
    }

    /// Concludes an upload whose data has ended in order. Commands that the client sent before count first: an ABOR
    /// that has arrived, or is arriving, wins.
    pub(super) fn conclude_upload(
        &mut self,
        request: TransferRequest,
        incoming: Box<Incoming>,
        now: Instant,
    ) {
        self.await_last_commands(request, incoming, now + LINE_TIMEOUT, now);
    }

    fn await_last_commands(
        &mut self,
        mut request: TransferRequest,
        mut incoming: Box<Incoming>,
        until: Instant,
        now: Instant,
    ) {
        let bytes = incoming.received();
        let client = match self.look_for_abort(&mut request.then, now) {
            Ok(client) => client,
            Err(_) if now < until => {
                let stage = Stage::AwaitingLine(incoming);
                return self.enter_finishing(request, bytes, stage, until);
            }
            // A client that sends a Telnet interrupt means to abort, even if the rest of the command does not arrive.
            Err(Unfinished::Interrupt) => ClientState::Aborted,
            Err(Unfinished::Abort | Unfinished::Other) => ClientState::Present,
        };
        let ended = (request.path.clone(), incoming.position());
        // If the client has sent something meanwhile, the upload is judged again, and the mark must stay.
        incoming.repeated |= self.short_upload.take().is_some_and(|short| short == ended);
        let outcome = match incoming.judge(client) {
            Completeness::Complete => Outcome::Complete,
            Completeness::AssumedComplete => Outcome::AssumedComplete,
            Completeness::CutOff(ABORTED) => {
                return self.keep(request, *incoming, Ending::Aborted, now);
            }
            Completeness::CutOff(why) => {
                if client == ClientState::Present {
                    self.short_upload = Some(ended);
                }
                return self.keep(request, *incoming, Ending::CutOff(why), now);
            }
        };
        self.commit(request, incoming, outcome, now);
    }

    /// Reads the control connection: the client has sent ABOR, is gone, or waits. The error means that a line has begun
    /// that may become ABOR.
    fn look_for_abort(
        &mut self,
        then: &mut AfterTransfer,
        now: Instant,
    ) -> Result<ClientState, Unfinished> {
        for _ in 0..READS_MAX {
            self.control.begin_turn();
            match self.poll_commands(then, storing, now) {
                Ok(Polled::Abort) => return Ok(ClientState::Aborted),
                Ok(Polled::PeerClosed) | Err(_) if *then == AfterTransfer::Commands => {
                    return Ok(ClientState::Vanished);
                }
                _ => {}
            }
            if *then != AfterTransfer::Commands || !self.reads_now() || !self.control.has_unread() {
                break;
            }
        }
        if *then != AfterTransfer::Commands {
            return Ok(ClientState::Present);
        }
        if self.control.has_ended() {
            return Ok(ClientState::Vanished);
        }
        match self.control.unfinished() {
            Unfinished::Other => Ok(ClientState::Present),
            unfinished => Err(unfinished),
        }
    }

    /// Returns whether the client has sent ABOR while its upload is being flushed.
    fn polls_abort(&mut self, then: &mut AfterTransfer, now: Instant) -> bool {
        let polled = self.poll_commands(then, storing, now);
        if polled.is_err() {
            // The outcome of the upload must still be logged, but no more commands are read.
            *then = AfterTransfer::Farewell;
        }
        matches!(polled, Ok(Polled::Abort))
    }

    /// Returns whether commands can be read now.
    fn reads_now(&self) -> bool {
        self.control.is_open() && !self.control.is_congested()
    }

    /// Flushes the file and gives it its final name, unless the client intervenes.
    fn commit(
        &mut self,
        request: TransferRequest,
        mut incoming: Box<Incoming>,
        outcome: Outcome,
        now: Instant,
    ) {
        let bytes = incoming.received();
        let assumes =
            outcome == Outcome::AssumedComplete && request.then == AfterTransfer::Commands;
        let reads_now = request.then == AfterTransfer::Commands && self.reads_now();
        let aborted = Arc::default();
        let go = go_on(self.control.watched().ok(), reads_now, assumes, Arc::clone(&aborted));
        match incoming.commit(go) {
            Ok(Ok(committed)) => {
                self.conclude_commit(request, incoming, outcome, Ok(committed), now);
            }
            Ok(Err(job)) => {
                let stage = Stage::Committing { job, incoming, outcome, aborted };
                self.enter_finishing(
                    request,
                    bytes,
                    stage,
                    now + self.service.limits.stall_timeout,
                );
            }
            Err(error) => self.conclude_commit(request, incoming, outcome, Err(error), now),
        }
    }

    fn enter_finishing(
        &mut self,
        request: TransferRequest,
        bytes: u64,
        stage: Stage,
        until: Instant,
    ) {
        self.enter(Activity::Finishing(Box::new(Finishing { request, bytes, stage, until })));
    }

    pub(super) fn finish_upload(&mut self, finishing: Finishing, now: Instant) -> Step {
        let Finishing { mut request, bytes, stage, until } = finishing;
        match stage {
            Stage::AwaitingLine(incoming) => {
                self.await_last_commands(request, incoming, until, now);
                if self.awaits_line() {
                    return Step::Wait;
                }
            }
            Stage::Committing { job, incoming, outcome, aborted } => {
                if self.polls_abort(&mut request.then, now) {
                    aborted.store(true, Ordering::Release);
                }
                let Some(committed) = job.outcome() else {
                    let stage = Stage::Committing { job, incoming, outcome, aborted };
                    self.enter_finishing(request, bytes, stage, until);
                    return Step::Wait;
                };
                let is_aborted = aborted.load(Ordering::Acquire);
                match committed {
                    Ok(Committed::Stopped { kept }) if is_aborted => {
                        self.conclude_keep(request, bytes, Ending::Aborted, kept, now);
                    }
                    Ok(Committed::Asked(upload)) if is_aborted => {
                        let mut incoming = incoming;
                        incoming.take_back(*upload);
                        self.keep(request, *incoming, Ending::Aborted, now);
                    }
                    committed => {
                        self.conclude_commit(request, incoming, outcome, committed, now);
                        if is_aborted {
                            // The ABOR came too late.
                            self.reply(&abort_done());
                        }
                    }
                }
            }
            Stage::Keeping { job, ending } => {
                let Some(kept) = job.outcome() else {
                    self.enter_finishing(request, bytes, Stage::Keeping { job, ending }, until);
                    return Step::Wait;
                };
                self.conclude_keep(request, bytes, ending, kept.unwrap_or_default(), now);
            }
        }
        Step::More
    }

    fn awaits_line(&self) -> bool {
        matches!(&self.activity, Activity::Finishing(finishing) if matches!(finishing.stage, Stage::AwaitingLine(_)))
    }

    fn conclude_commit(
        &mut self,
        request: TransferRequest,
        mut incoming: Box<Incoming>,
        outcome: Outcome,
        committed: io::Result<Committed>,
        now: Instant,
    ) {
        let bytes = incoming.received();
        match committed {
            Ok(Committed::Stored) => {
                for marker in incoming.unanswered_markers() {
                    self.reply(&marker.reply());
                }
                self.finish(request, bytes, &self.complete(), outcome, now);
            }
            Ok(Committed::Asked(upload)) => {
                incoming.take_back(*upload);
                self.await_last_commands(request, incoming, now + LINE_TIMEOUT, now);
            }
            Ok(Committed::Stopped { kept }) => {
                self.conclude_keep(request, bytes, Ending::CutOff(VANISHED), kept, now);
            }
            Err(error) => self.fail_to_commit(request, bytes, error, now),
        }
    }

    /// Ends an incomplete upload: flushes what has arrived, and then replies.
    pub(super) fn keep(
        &mut self,
        request: TransferRequest,
        incoming: Incoming,
        ending: Ending,
        now: Instant,
    ) {
        let bytes = incoming.received();
        match incoming.settle() {
            Ok(kept) => self.conclude_keep(request, bytes, ending, kept, now),
            Err(job) => {
                let stage = Stage::Keeping { job, ending };
                self.enter_finishing(
                    request,
                    bytes,
                    stage,
                    now + self.service.limits.stall_timeout,
                );
            }
        }
    }

    fn conclude_keep(
        &mut self,
        request: TransferRequest,
        bytes: u64,
        ending: Ending,
        kept: u64,
        now: Instant,
    ) {
        let why = match &ending {
            Ending::CutOff(why) => why,
            Ending::Failed(..) => "the transfer did not finish",
            Ending::Aborted => ABORTED,
        };
        self.log(&Event::CutOff { why, kept });
        // The next data on this connection would not be the beginning of a file.
        self.route = None;
        let is_aborted = matches!(ending, Ending::Aborted);
        let (reply, outcome) = match ending {
            Ending::CutOff(why) => {
                let text = format!("Upload incomplete: {why}; {kept} bytes kept.");
                (Reply::new(Code::TRANSFER_ABORTED, text), Outcome::CutOff)
            }
            Ending::Failed(reply, outcome) => (reply, outcome),
            Ending::Aborted => (aborted(), Outcome::Aborted),
        };
        let then = request.then;
        self.finish(
            TransferRequest { then: AfterTransfer::Commands, ..request },
            bytes,
            &reply,
            outcome,
            now,
        );
        if is_aborted {
            self.reply(&abort_done());
        }
        self.continue_after(then, now);
    }

    /// Gives up on a disk that has not responded for the stall timeout. It may still do so: it is unknown whether the
    /// file is stored.
    pub(super) fn give_up_finishing(&mut self, finishing: Finishing, now: Instant) {
        let Finishing { request, bytes, stage, until } = finishing;
        match stage {
            Stage::AwaitingLine(incoming) => {
                self.await_last_commands(request, incoming, until, now);
            }
            Stage::Committing { .. } | Stage::Keeping { .. } => {
                self.fail_to_commit(request, bytes, io::ErrorKind::TimedOut.into(), now);
            }
        }
    }

    fn fail_to_commit(
        &mut self,
        request: TransferRequest,
        bytes: u64,
        error: io::Error,
        now: Instant,
    ) {
        self.route = None;
        let reply = if Errno::from_io_error(&error) == Some(Errno::BUSY) {
            Reply::new(Code::LOCAL_ERROR, "Another upload has replaced this one.")
        } else {
            self.log(&Event::Trouble { what: "cannot store an upload", error: &error });
            fault_reply(&Fault::Storage(error))
        };
        self.finish(request, bytes, &reply, Outcome::Failed, now);
    }
}

/// Returns the reply to STAT while an upload is being stored.
fn storing() -> Reply {
    Reply::new(Code::STATUS, "Storing the received data.")
}

/// Decides, once everything is flushed, whether the file gets its final name. It does not if the client has sent
/// something that may be ABOR; nor if the client is gone and nothing proves that the upload is complete.
fn go_on(
    control: Option<OwnedFd>,
    reads_now: bool,
    assumes: bool,
    aborted: Arc<AtomicBool>,
) -> impl FnOnce() -> Go + Send + 'static {
    move || match control {
        _ if aborted.load(Ordering::Acquire) => Go::Stop,
        Some(control) if reads_now && has_unread(control.as_fd()) => Go::Ask,
        Some(control) if assumes && has_ended(control.as_fd()) => Go::Stop,
        _ => Go::On,
    }
}

impl From<Unable> for Refusal {
    fn from(unable: Unable) -> Self {
        match unable {
            Unable::Busy => Self::UploadUnderWay,
            Unable::BeyondEnd => Self::Marker("REST is beyond the end of the stored data."),
            Unable::Interrupted => Self::UploadInterrupted,
            Unable::Io(error) => Self::Storage(error),
        }
    }
}
