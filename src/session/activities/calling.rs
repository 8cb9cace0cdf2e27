//! Calls of the file system, any of which may hang. The pool holds the session during a call, so that the session's
//! deadline applies even if the call hangs. Usually a call returns at once, and the session continues in the same turn.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::events::Event;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::net::data::DataHandle;
use crate::pool::{Call, Watch};
use crate::session::activity::{Activity, Answer, Listens, Next};
use crate::session::context::Context;
use crate::session::member::Member;
use crate::session::patience::CallWait;
use crate::session::refusal::Refusal;
use crate::session::transfer::BULK_BYTES;

/// Interval at which a session that was woken early checks whether its call has returned.
const RECHECK: Duration = Duration::from_millis(200);

/// The step that follows a call and handles its result.
type Finish = Box<dyn FnOnce(&mut Context, &mut usize) -> Result<Next, Disconnect> + Send>;

/// A file system call, pending or running.
pub(in crate::session) struct Calling {
    call: Option<Call>,
    /// Set by the call when it returns.
    outcome: Arc<Mutex<Option<Finish>>>,
    wait: CallWait,
    /// The data connection that the call uses, if it does.
    data: Option<DataHandle>,
}

impl fmt::Debug for Calling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Calling").field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// Calls the file system for a command; `then` answers it from the result.
pub(in crate::session) fn ask<T: Send + 'static, A: Into<Answer>>(
    cx: &Context,
    work: impl FnOnce() -> T + Send + 'static,
    then: impl FnOnce(&mut Context, T) -> A + Send + 'static,
) -> Answer {
    let Some(patience) = cx.patience() else { return Answer::Refused(Refusal::StorageBusy) };
    let finish = move |cx: &mut Context, found, _: &mut usize| Ok(then(cx, found).into().send(cx));
    call(cx, cx.now + patience, None, work, finish).into()
}

/// Calls the file system for a command of a member; the result is the answer.
pub(in crate::session) fn look(
    cx: &Context,
    work: impl FnOnce(&Member) -> Result<Reply, Refusal> + Send + 'static,
) -> Answer {
    match cx.member() {
        Ok(member) => {
            let member = member.clone();
            ask(cx, move || work(&member), |_, answer| answer)
        }
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// Calls the file system for a step of an activity, over this data connection or without one.
pub(in crate::session) fn call<T: Send + 'static>(
    cx: &Context,
    until: Instant,
    data: Option<DataHandle>,
    work: impl FnOnce() -> T + Send + 'static,
    then: impl FnOnce(&mut Context, T, &mut usize) -> Result<Next, Disconnect> + Send + 'static,
) -> Next {
    let outcome = Arc::new(Mutex::new(None));
    let left = Arc::clone(&outcome);
    let (wait, running) = CallWait::new(&cx.service.unanswered, cx.owner(), cx.now, until);
    let call: Call = Box::new(move || {
        let found = work();
        let finish: Finish = Box::new(move |cx, budget| then(cx, found, budget));
        *left.lock() = Some(finish);
        drop(running);
    });
    Next::go(Calling { call: Some(call), outcome, wait, data })
}

impl Activity for Calling {
    fn name(&self) -> &'static str {
        "calling"
    }

    fn advance(
        mut self: Box<Self>,
        cx: &mut Context,
        budget: &mut usize,
    ) -> Result<Next, Disconnect> {
        if let Some(call) = self.call.take() {
            return Ok(Next::Call(self, call));
        }
        let found = self.outcome.lock().take();
        let Some(finish) = found else {
            return Ok(Next::WaitUntil(self, cx.now + RECHECK));
        };
        // Drops the handle of the data connection, too: the connection must close when the transfer ends.
        drop(self);
        finish(cx, budget)
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.wait.due_at()
    }

    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let is_unanswered = self.call.is_none() && self.outcome.lock().is_none();
        if is_unanswered && self.wait.expire(cx.now) {
            return Ok(self.give_up(cx));
        }
        Ok(Next::Wait(self))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }

    fn bulk_bytes(&self) -> Option<usize> {
        self.data.as_ref().map(|_| BULK_BYTES)
    }
}

impl Calling {
    /// Gives up a call that has not returned in time. Its result is dropped when it returns.
    fn give_up(&self, cx: &mut Context) -> Next {
        let error = &std::io::ErrorKind::TimedOut.into();
        cx.log(&Event::Error { message: "the file system does not respond", error });
        if let Some(data) = &self.data {
            data.end();
            cx.data.route = None;
            let text = "The file system does not respond; transfer aborted.";
            cx.reply(&Reply::new(Code::LOCAL_ERROR, text));
        } else {
            cx.reply(&Refusal::StorageSilent.reply());
        }
        Next::Commands
    }
}
