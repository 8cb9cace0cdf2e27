//! A whole upload: it is flushed and gets its final name, and then the hooks are told.
//!
//! The thread that flushes it asks for another judgement, right before the rename, if the client has sent something or is
//! gone. It reads commands meanwhile, because ABOR stops it; so it does not wait with `waiting`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use crate::events::{Event, Outcome};
use crate::net::control::{Disconnect, has_ended, has_unread};
use crate::pool::{Class, Job, Watch};
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::{AfterTransfer, TransferRecord};
use crate::storage::{ClientState, Committed, Durability, Go, Pending, Writer};

use super::ending::{DecideAgain, Ending, complete, finish};
use super::keeping;
use super::polling::{Polled, poll, reads_now, storing};
use super::waiting::call;

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
    decide_again: DecideAgain,
}

/// Flushes the file and gives it its final name, unless the client intervenes.
pub(super) fn commit(
    cx: &mut Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    outcome: Outcome,
    decide_again: DecideAgain,
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
    let upload = WholeUpload { record, receiver, outcome, client, steps, decide_again };
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
        let Self { mut record, mut receiver, outcome, client, decide_again, .. } = self;
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
                decide_again(cx, record, receiver, client)
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
    let stored = record.stored(cx, member.tree.real_path(&record.path));
    let (until, durability) = (cx.now + cx.service.limits.stall_timeout, cx.service.durability);
    let work = move || spool.put(&stored, durability == Durability::Flushed);
    call(cx, until, None, work, move |cx, put, _| {
        if let Err(error) = &put {
            cx.log(&Event::Error { message: "cannot queue an upload for the hooks", error });
        }
        Ok(finish(cx, record, &complete(cx), outcome))
    })
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

impl Activity for Committing {
    fn name(&self) -> &'static str {
        "committing"
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
