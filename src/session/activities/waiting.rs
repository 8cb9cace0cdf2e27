//! Waits for the tree. A request to the tree may hang, or be answered by another thread.
//!
//! The pool holds the session while a request runs, so that the session's deadline applies even if the request hangs.
//! Usually the answer is there at once, and the session continues in the same turn. Otherwise it waits for the thread
//! that answers.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::events::{Change, Event, Outcome};
use crate::ftp::command::PathName;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::net::data::DataHandle;
use crate::pool::{Call, Class, Job, Watch};
use crate::session::activity::{Activity, Answer, Listens, Next};
use crate::session::context::Context;
use crate::session::data::BULK_BYTES;
use crate::session::data::record::TransferRecord;
use crate::session::member::Member;
use crate::session::patience::{CallWait, RunningCall};
use crate::session::refusal::Refusal;
use crate::storage::{Files, Pending};

/// Interval at which a session that was woken early checks whether its call has returned.
const RECHECK: Duration = Duration::from_millis(200);

/// A request to the tree that is not answered yet. `then` is the step that handles the answer.
pub(in crate::session) struct Waiting<T, F> {
    /// The call that makes the request, until it begins.
    call: Option<Call>,
    wait: CallWait<T>,
    /// The work of the thread that answers, once it is known.
    job: Option<Job<T>>,
    then: F,
    silence: Silence,
}

/// The result of a command that may change the tree: the reply and the change, or a refusal.
pub(in crate::session) type Changed = Result<(Reply, Option<Change>), Refusal>;

/// The step that follows a request whose time is over.
enum Silence {
    /// The command is refused.
    Refuse,
    /// The transfer over this data connection, which the call uses, ends.
    EndTransfer(DataHandle, TransferRecord),
    /// The step that handles the answer gets an error, [`io::ErrorKind::TimedOut`].
    Answer,
}

impl<T, F> fmt::Debug for Waiting<T, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_begun = self.call.is_none();
        formatter.debug_struct("Waiting").field("is_begun", &is_begun).finish_non_exhaustive()
    }
}

/// Makes a request for a command of a member; `then` answers the command.
pub(in crate::session) fn ask<T: Send + 'static, A: Into<Answer>>(
    cx: &Context,
    work: impl FnOnce(&Member, &Files<'_>) -> Result<T, Refusal> + Send + 'static,
    then: impl FnOnce(&mut Context, T) -> A + Send + 'static,
) -> Answer {
    let start = move |member: Member, running: RunningCall<_>| {
        member.tree.clone().look(move |files| unless_given_up(&running, || work(&member, files)))
    };
    request(cx, start, then)
}

/// Makes a request for a command of a member; the result is the answer.
pub(in crate::session) fn look(
    cx: &Context,
    work: impl FnOnce(&Member, &Files<'_>) -> Result<Reply, Refusal> + Send + 'static,
) -> Answer {
    ask(cx, work, |_, reply| reply)
}

/// Makes a request that changes `path`, for a command of a member; the result is the answer.
pub(in crate::session) fn change(
    cx: &Context,
    path: PathName,
    work: impl FnOnce(&Member, &Files<'_>, &PathName) -> Changed + Send + 'static,
) -> Answer {
    let start = move |member: Member, running: RunningCall<_>| {
        let tree = member.tree.clone();
        let at = Arc::new((member, path));
        let change = Arc::clone(&at);
        // If there is no such directory, the change itself finds that.
        let place = move |files: &Files<'_>| Some(at.0.resolve(files, &at.1).ok()?.parent());
        tree.change(place, move |files| {
            unless_given_up(&running, || work(&change.0, files, &change.1))
        })
    };
    request(cx, start, |_, changed| changed)
}

/// Does the work of a request, unless the session has given it up before it has begun.
fn unless_given_up<T, U>(
    running: &RunningCall<T>,
    work: impl FnOnce() -> Result<U, Refusal>,
) -> io::Result<Result<U, Refusal>> {
    if running.is_given_up() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(work())
}

/// Makes a request for a command of a member.
fn request<T: Send + 'static, A: Into<Answer>>(
    cx: &Context,
    start: impl FnOnce(Member, RunningCall<Result<T, Refusal>>) -> Pending<Result<T, Refusal>>
    + Send
    + 'static,
    then: impl FnOnce(&mut Context, T) -> A + Send + 'static,
) -> Answer {
    let member = match cx.member() {
        Ok(member) => member.clone(),
        Err(refusal) => return Answer::Refused(refusal),
    };
    let Some(patience) = cx.patience() else { return Answer::Refused(Refusal::StorageBusy) };
    let then = move |cx: &mut Context, found: io::Result<Result<T, Refusal>>, _: &mut usize| {
        let answer = match found.map_err(Refusal::Storage).flatten() {
            Ok(found) => then(cx, found).into(),
            Err(refusal) => Answer::Refused(refusal),
        };
        Ok(answer.send(cx))
    };
    let start = move |running| start(member, running);
    wait(cx, cx.now + patience, Silence::Refuse, start, then).into()
}

/// Takes a step of an activity that uses files, for this transfer over a data connection or without one. The step may
/// hang.
pub(in crate::session) fn call<T: Send + 'static>(
    cx: &Context,
    until: Instant,
    transfer: Option<(DataHandle, TransferRecord)>,
    work: impl FnOnce() -> T + Send + 'static,
    then: impl FnOnce(&mut Context, T, &mut usize) -> Result<Next, Disconnect> + Send + 'static,
) -> Next {
    let end = |(data, record)| Silence::EndTransfer(data, record);
    let silence = transfer.map_or(Silence::Refuse, end);
    let start = move |running| {
        let found = work();
        drop::<RunningCall<T>>(running);
        Pending::Done(Ok(found))
    };
    let then = move |cx: &mut Context, found: io::Result<T>, budget: &mut usize| {
        then(cx, found.map_err(Disconnect::Broken)?, budget)
    };
    wait(cx, until, silence, start, then)
}

/// Waits for the end of an upload. If the tree does not respond, `then` gets [`io::ErrorKind::TimedOut`].
pub(in crate::session) fn wait_for_end<T: Send + 'static>(
    cx: &Context,
    until: Instant,
    start: impl FnOnce() -> Pending<T> + Send + 'static,
    then: impl FnOnce(&mut Context, io::Result<T>) -> Next + Send + 'static,
) -> Next {
    let start = move |running| {
        let answer = start();
        drop::<RunningCall<T>>(running);
        answer
    };
    let then = move |cx: &mut Context, found, _: &mut usize| Ok(then(cx, found));
    wait(cx, until, Silence::Answer, start, then)
}

fn wait<T: Send + 'static>(
    cx: &Context,
    until: Instant,
    silence: Silence,
    start: impl FnOnce(RunningCall<T>) -> Pending<T> + Send + 'static,
    then: impl FnOnce(&mut Context, io::Result<T>, &mut usize) -> Result<Next, Disconnect>
    + Send
    + 'static,
) -> Next {
    let (wait, running) = CallWait::new(&cx.service.unanswered, cx.owner(), cx.now, until);
    let slot = running.slot();
    let call: Call = Box::new(move || slot.fill(start(running)));
    Next::go(Waiting { call: Some(call), wait, job: None, then, silence })
}

impl<T, F> Activity for Waiting<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Context, io::Result<T>, &mut usize) -> Result<Next, Disconnect> + Send + 'static,
{
    fn name(&self) -> &'static str {
        "waiting"
    }

    fn advance(
        mut self: Box<Self>,
        cx: &mut Context,
        budget: &mut usize,
    ) -> Result<Next, Disconnect> {
        if let Some(call) = self.call.take() {
            return Ok(Next::Call(self, call));
        }
        let answer = match (&self.job, self.wait.take_answer()) {
            (Some(job), _) => match job.outcome() {
                Poll::Ready(answer) => answer,
                Poll::Pending => return Ok(Next::Wait(self)),
            },
            (None, None) => return Ok(Next::WaitUntil(self, cx.now + RECHECK)),
            (None, Some(Pending::Done(answer))) => answer,
            (None, Some(Pending::Later(job))) => {
                self.job = Some(job);
                return Ok(Next::Wait(self));
            }
        };
        if self.job.is_some() {
            cx.identity.last_activity = cx.now;
        }
        let Self { then, wait, silence, .. } = *self;
        // The handle of the data connection, too: the connection must close when the transfer ends.
        drop((wait, silence));
        then(cx, answer, budget)
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.wait.due_at()
    }

    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if self.call.is_none() && self.is_silent(cx.now) {
            return self.give_up(cx);
        }
        Ok(Next::Wait(self))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some(job) = &self.job {
            watch.readable(job.descriptor(), Class::Interactive);
        }
    }

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }

    fn bulk_bytes(&self) -> Option<usize> {
        matches!(self.silence, Silence::EndTransfer(..)).then_some(BULK_BYTES)
    }
}

impl<T, F> Waiting<T, F>
where
    F: FnOnce(&mut Context, io::Result<T>, &mut usize) -> Result<Next, Disconnect>,
{
    /// Returns whether the time is over and there is no answer.
    fn is_silent(&mut self, now: Instant) -> bool {
        let is_over = self.wait.expire(now);
        is_over || self.wait.is_over(now) && self.job.as_ref().is_some_and(|job| !job.is_done())
    }

    /// Gives up a request that was not answered in time. Its answer is dropped when it comes.
    fn give_up(self, cx: &mut Context) -> Result<Next, Disconnect> {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        let transfer = match self.silence {
            Silence::Answer => return (self.then)(cx, Err(error), &mut 0),
            Silence::Refuse => None,
            Silence::EndTransfer(data, record) => Some((data, record)),
        };
        cx.log(&Event::Error { message: "the file system does not respond", error: &error });
        if let Some((data, record)) = transfer {
            data.end();
            cx.data.route = None;
            let text = "The file system does not respond; transfer aborted.";
            let reply = Reply::new(Code::LOCAL_ERROR, text);
            record.log(cx, Outcome::Failed, Some(&reply));
            cx.reply(&reply);
        } else {
            cx.reply(&Refusal::StorageSilent.reply());
        }
        Ok(Next::Commands)
    }
}
