//! An upload whose data has ended in order: it is judged, flushed, and gets its final name.
//!
//! [`decide`] alone judges whether the upload is whole. The thread that flushes it asks again, right before the rename,
//! if the client has sent something or is gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::events::{Denial, Event, Outcome};
use crate::ftp::line::Unfinished;
use crate::ftp::{Code, Reply};
use crate::net::client_of;
use crate::net::control::{Disconnect, has_ended, has_unread};
use crate::pool::{Class, Job, Watch};
use crate::scan::Finding;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::{AfterTransfer, TransferRecord};
use crate::spool::Stored;
use crate::storage::{
    ABORTED, ClientState, Committed, Completeness, Content, Durability, Go, Pending, Writer,
};

use super::ending::{Ending, complete, finish};
use super::keeping::{self, keep};
use super::polling::{Polled, poll};
use super::waiting::call;

/// Maximum wait for the rest of a line that began before the data ended and may be ABOR.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of reads of the control connection after the data has ended.
const READS_MAX: u32 = 256;

/// An upload whose data has ended, while a line arrives that may be ABOR.
#[derive(Debug)]
struct AwaitingLine {
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    until: Instant,
}

/// An upload that was judged to be whole: its content is being scanned.
#[derive(Debug)]
struct Scanning {
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    job: Job<Finding>,
    until: Instant,
}

/// An upload that was judged to be whole: it is being flushed, and then gets its final name.
#[derive(Debug)]
struct Committing {
    upload: WholeUpload,
    job: Job<Committed<Writer>>,
    /// Tells the thread not to rename the file.
    stop: Arc<AtomicBool>,
    /// The number of steps at the last look, and the time until which there must be another.
    seen: u64,
    until: Instant,
}

/// An upload that was judged to be whole.
#[derive(Debug)]
struct WholeUpload {
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    outcome: Outcome,
    /// The state of the client since.
    client: ClientState,
    /// The number of steps that the commit has done.
    steps: Arc<AtomicU64>,
}

/// Concludes an upload whose data has ended in order. Commands that the client sent before count first: an ABOR that
/// has arrived, or is arriving, wins.
pub(super) fn conclude(
    cx: &mut Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
) -> Next {
    let until = cx.now + LINE_TIMEOUT;
    decide(cx, record, receiver, ClientState::Present, until)
}

/// Decides whether an upload is whole, whatever the sign: ABOR, ALLO, the end of the data, the state of the client, of
/// which `known` is known already. Waits until `until` for the rest of a line that may be ABOR. A whole upload is
/// committed, any other kept.
fn decide(
    cx: &mut Context,
    mut record: TransferRecord,
    mut receiver: Box<FileReceiver>,
    known: ClientState,
    until: Instant,
) -> Next {
    record.bytes = receiver.received();
    let client = match known {
        ClientState::Present => look_for_abort(cx, &mut record.then),
        known => Ok(known),
    };
    let client = match client {
        Ok(client) => client,
        Err(_) if cx.now < until => return Next::wait(AwaitingLine { record, receiver, until }),
        // A client that sends a Telnet interrupt means to abort, even if the rest of the command does not arrive.
        Err(Unfinished::Interrupt) => ClientState::Aborted,
        Err(Unfinished::Abort | Unfinished::Other) => ClientState::Present,
    };
    let ended = (record.path.clone(), receiver.position());
    // If the client has sent something meanwhile, the upload is judged again, and the mark must stay.
    receiver.repeated |= cx.data.short_upload.take().is_some_and(|short| short == ended);
    match receiver.judge(client) {
        Completeness::Complete | Completeness::AssumedComplete
            if cx.service.checks_uploads() && !receiver.scanned =>
        {
            inspect(cx, record, receiver)
        }
        Completeness::Complete => commit(cx, record, receiver, Outcome::Complete),
        Completeness::AssumedComplete => commit(cx, record, receiver, Outcome::AssumedComplete),
        Completeness::CutOff(ABORTED) => keep(cx, record, *receiver, Ending::Aborted),
        Completeness::CutOff(why) => {
            if client == ClientState::Present {
                cx.data.short_upload = Some(ended);
            }
            keep(cx, record, *receiver, Ending::CutOff(why))
        }
    }
}

/// Reads the control connection: the client has sent ABOR, is gone, or waits. The error means that a line has begun
/// that may become ABOR.
fn look_for_abort(cx: &mut Context, then: &mut AfterTransfer) -> Result<ClientState, Unfinished> {
    for _ in 0..READS_MAX {
        cx.control.begin_turn();
        match poll(cx, then, storing) {
            Ok(Polled::Abort) => return Ok(ClientState::Aborted),
            Ok(Polled::PeerClosed) | Err(_) if *then == AfterTransfer::Commands => {
                return Ok(ClientState::Vanished);
            }
            _ => {}
        }
        if !reads_now(cx, *then) || !cx.control.has_unread() {
            break;
        }
    }
    if *then != AfterTransfer::Commands {
        return Ok(ClientState::Present);
    }
    if cx.control.has_ended() {
        return Ok(ClientState::Vanished);
    }
    match cx.control.unfinished() {
        Unfinished::Other => Ok(ClientState::Present),
        unfinished => Err(unfinished),
    }
}

/// Returns whether commands can be read now.
fn reads_now(cx: &Context, then: AfterTransfer) -> bool {
    Listens::during_transfer(then, &cx.control) == Listens::Urgent && !cx.control.is_congested()
}

/// Scans the content of the file, and asks whether it is allowed. Afterwards the upload is judged again, because the client may have intervened.
fn inspect(cx: &Context, record: TransferRecord, mut receiver: Box<FileReceiver>) -> Next {
    let until = cx.now + cx.service.limits.stall_timeout;
    let work = move || {
        let content = receiver.content();
        (receiver, content)
    };
    call(cx, until, None, work, move |cx, (receiver, content), _| {
        Ok(begin_inspection(cx, record, receiver, content))
    })
}

fn begin_inspection(
    cx: &Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    content: io::Result<Content>,
) -> Next {
    let (scanner, approver) = (cx.service.scanner.clone(), cx.service.approver.clone());
    let from = client_of(cx.control.peer().ip());
    let about = stored(cx, &record, None).line("check");
    let run = |mut content: Content| {
        let inspect = move || {
            if let Some(scanner) = scanner {
                match scanner.scan(&mut content.try_clone()?)? {
                    Finding::Clean => {}
                    found => return Ok(found),
                }
            }
            approver.map_or(Ok(Finding::Clean), |approver| approver.ask(&about, &mut content))
        };
        cx.service
            .scanners
            .try_run(from, inspect)
            .unwrap_or_else(|| Err(io::Error::other("too many files wait for the scanner")))
    };
    match content.and_then(run) {
        Ok(job) => {
            // Two times: files that wait before this one, and this one.
            let until = cx.now + cx.service.check_time() * 2;
            Next::go(Scanning { record, receiver, job, until })
        }
        Err(error) => unscanned(cx, record, *receiver, &error),
    }
}

/// Ends an upload that could not be scanned. It is kept, so that the client can complete it later.
fn unscanned(
    cx: &Context,
    record: TransferRecord,
    receiver: FileReceiver,
    error: &io::Error,
) -> Next {
    cx.log(&Event::Error { message: "cannot check an upload", error });
    let reply = Reply::new(Code::LOCAL_ERROR, "The file cannot be checked now; try again later.");
    keep(cx, record, receiver, Ending::Failed(reply, Outcome::Failed))
}

/// Removes an infected upload, and then replies.
fn refuse_infected(
    cx: &mut Context,
    record: TransferRecord,
    receiver: FileReceiver,
    signature: &str,
) -> Next {
    cx.log(&Event::Infected { path: &record.path, signature });
    let text = format!("Refused: the file is infected with {}.", signature.escape_debug());
    refuse(cx, record, receiver, text)
}

/// Removes an upload that is not allowed, and then replies.
fn refuse_unwanted(
    cx: &mut Context,
    record: TransferRecord,
    receiver: FileReceiver,
    reason: &str,
) -> Next {
    let text = if reason.is_empty() { "Refused: the file is not allowed." } else { reason };
    let (verb, path) = (record.verb.name, Some(&record.path));
    cx.log(&Event::Denied(Denial { verb, path, reply: Code::UNAVAILABLE.0, reason: text }));
    refuse(cx, record, receiver, text.to_owned())
}

fn refuse(cx: &mut Context, record: TransferRecord, receiver: FileReceiver, text: String) -> Next {
    cx.data.route = None;
    let reply = Reply::new(Code::UNAVAILABLE, text);
    let until = cx.now + cx.service.limits.stall_timeout;
    call(
        cx,
        until,
        None,
        move || receiver.discard(),
        move |cx, removed, _| {
            if let Err(error) = &removed {
                cx.log(&Event::Error { message: "cannot remove a refused upload", error });
            }
            Ok(finish(cx, record, &reply, Outcome::Failed))
        },
    )
}

/// Flushes the file and gives it its final name, unless the client intervenes.
fn commit(
    cx: &mut Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    outcome: Outcome,
) -> Next {
    let watched = Watched {
        control: cx.control.watched().ok(),
        reads: reads_now(cx, record.then),
        assumes: outcome == Outcome::AssumedComplete && record.then == AfterTransfer::Commands,
    };
    let (stop, until) = (Arc::<AtomicBool>::default(), cx.now + cx.service.limits.stall_timeout);
    let go = watched.go_on(Arc::clone(&stop));
    let client = ClientState::Present;
    let steps = receiver.steps();
    let upload = WholeUpload { record, receiver, outcome, client, steps };
    if upload.receiver.commits_at_once() {
        let work = move || upload.commit(go);
        return call(cx, until, None, work, move |cx, (upload, committed), _| {
            Ok(upload.wait(cx, committed, stop, until))
        });
    }
    let (upload, committed) = upload.commit(go);
    upload.wait(cx, committed, stop, until)
}

impl WholeUpload {
    fn commit(
        mut self,
        go: impl FnOnce() -> Go + Send + 'static,
    ) -> (Self, Pending<Committed<Writer>>) {
        let committed = self.receiver.commit(go);
        (self, committed)
    }

    /// Waits until the file is stored.
    fn wait(
        self,
        cx: &mut Context,
        committed: Pending<Committed<Writer>>,
        stop: Arc<AtomicBool>,
        until: Instant,
    ) -> Next {
        match committed {
            Pending::Done(committed) => self.conclude(cx, committed),
            Pending::Later(job) => Next::go(Committing { upload: self, job, stop, seen: 0, until }),
        }
    }

    fn conclude(self, cx: &mut Context, committed: io::Result<Committed<Writer>>) -> Next {
        let Self { mut record, mut receiver, outcome, client, .. } = self;
        // An ABOR that came too late has its reply, too.
        record.aborted = client == ClientState::Aborted;
        match committed {
            Ok(Committed::Stored) => {
                for marker in receiver.unanswered_markers() {
                    cx.reply(&marker.reply());
                }
                queue_for_hooks(cx, record, outcome)
            }
            Ok(Committed::Asked(writer)) => {
                receiver.take_back(*writer);
                let until = cx.now + LINE_TIMEOUT;
                decide(cx, record, receiver, client, until)
            }
            // Only ABOR stops it.
            Ok(Committed::Stopped { kept }) => keeping::conclude(cx, record, Ending::Aborted, kept),
            Err(error) => keeping::fail(cx, record, error),
        }
    }
}

/// Queues a stored file for the hooks, if there are any, and then replies: the event is as safe as the file.
fn queue_for_hooks(cx: &mut Context, record: TransferRecord, outcome: Outcome) -> Next {
    let (spool, member) = (cx.service.spool.clone(), cx.identity.login.member());
    let (Some(spool), Some(member)) = (spool, member) else {
        return finish(cx, record, &complete(cx), outcome);
    };
    let stored = stored(cx, &record, member.tree.real_path(&record.path));
    let (until, durability) = (cx.now + cx.service.limits.stall_timeout, cx.service.durability);
    let work = move || spool.put(&stored, durability == Durability::Flushed);
    call(cx, until, None, work, move |cx, put, _| {
        if let Err(error) = &put {
            cx.log(&Event::Error { message: "cannot queue an upload for the hooks", error });
        }
        Ok(finish(cx, record, &complete(cx), outcome))
    })
}

/// Describes an upload for programs of the administrator; `file` is its path on this machine.
fn stored(cx: &Context, record: &TransferRecord, file: Option<PathBuf>) -> Stored {
    Stored {
        time: Timestamp::now(),
        session: cx.identity.session.to_string(),
        user: cx.identity.user.as_deref().unwrap_or_default().to_vec(),
        host: cx.identity.served_host.as_deref().map(str::to_owned),
        client: cx.identity.peer.ip(),
        verb: record.verb.name,
        path: record.path.as_bytes().to_vec(),
        file,
        bytes: record.bytes,
    }
}

/// Returns the reply to STAT while an upload is being scanned.
fn scanning() -> Reply {
    Reply::new(Code::STATUS, "Scanning the received data.")
}

/// Returns the reply to STAT while an upload is being stored.
fn storing() -> Reply {
    Reply::new(Code::STATUS, "Storing the received data.")
}

/// State of the client, as the thread that commits an upload sees it.
struct Watched {
    control: Option<OwnedFd>,
    /// Commands are read meanwhile.
    reads: bool,
    /// Nothing but the presence of the client indicates that the upload is whole.
    assumes: bool,
}

impl Watched {
    /// Returns the look at the client, once everything is flushed: the session must decide again if the client has sent
    /// something that may be ABOR, or if it is gone and nothing proves that the upload is whole.
    fn go_on(self, stop: Arc<AtomicBool>) -> impl FnOnce() -> Go + Send + 'static {
        let Self { control, reads, assumes } = self;
        move || match control {
            _ if stop.load(Ordering::Acquire) => Go::Stop,
            Some(control) if reads && has_unread(control.as_fd()) => Go::Ask,
            Some(control) if assumes && has_ended(control.as_fd()) => Go::Ask,
            _ => Go::On,
        }
    }
}

impl Activity for AwaitingLine {
    fn name(&self) -> &'static str {
        "finishing"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let Self { record, receiver, until } = *self;
        Ok(decide(cx, record, receiver, ClientState::Present, until))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let Self { record, receiver, until } = *self;
        Ok(decide(cx, record, receiver, ClientState::Present, until))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.record.then, &cx.control)
    }
}

impl Activity for Scanning {
    fn name(&self) -> &'static str {
        "scanning"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let (polled, found) = (poll(cx, &mut self.record.then, scanning), self.job.outcome());
        if polled.is_err() {
            // The outcome of the upload must still be logged, but no more commands are read.
            self.record.then = AfterTransfer::Farewell;
        }
        let aborted = matches!(polled, Ok(Polled::Abort));
        if !aborted && found.is_pending() {
            return Ok(Next::Wait(self));
        }
        let Self { record, mut receiver, .. } = *self;
        let until = cx.now + LINE_TIMEOUT;
        Ok(match found {
            _ if aborted => decide(cx, record, receiver, ClientState::Aborted, until),
            Poll::Ready(Ok(Finding::Clean)) => {
                receiver.scanned = true;
                decide(cx, record, receiver, ClientState::Present, until)
            }
            Poll::Ready(Ok(Finding::Infected(signature))) => {
                refuse_infected(cx, record, *receiver, &signature)
            }
            Poll::Ready(Ok(Finding::Refused(reason))) => {
                refuse_unwanted(cx, record, *receiver, &reason)
            }
            Poll::Ready(Err(error)) => unscanned(cx, record, *receiver, &error),
            Poll::Pending => unscanned(cx, record, *receiver, &io::ErrorKind::Interrupted.into()),
        })
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let Self { record, receiver, .. } = *self;
        Ok(unscanned(cx, record, *receiver, &io::ErrorKind::TimedOut.into()))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.record.then, &cx.control)
    }
}

impl Activity for Committing {
    fn name(&self) -> &'static str {
        "finishing"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let then = &mut self.upload.record.then;
        match poll(cx, then, storing) {
            Ok(Polled::Abort) => {
                self.upload.client = ClientState::Aborted;
                self.stop.store(true, Ordering::Release);
            }
            Ok(Polled::Nothing | Polled::PeerClosed | Polled::TooMuch) => {}
            // The outcome of the upload must still be logged, but no more commands are read.
            Err(_) => *then = AfterTransfer::Farewell,
        }
        let Poll::Ready(committed) = self.job.outcome() else { return Ok(Next::Wait(self)) };
        Ok(self.upload.conclude(cx, committed))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    /// Gives up on a disk that has done no step for the stall timeout. It may still do so: it is unknown whether the
    /// file is stored.
    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let steps = self.upload.steps.load(Ordering::Acquire);
        if steps > self.seen {
            (self.seen, self.until) = (steps, cx.now + cx.service.limits.stall_timeout);
            return Ok(Next::Wait(self));
        }
        Ok(self.upload.conclude(cx, Err(io::ErrorKind::TimedOut.into())))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.upload.record.then, &cx.control)
    }
}
