//! Calls of the file system, any of which may hang. The pool holds the session during a call, so that the session's
//! deadline applies even if the call hangs. Usually a call returns at once, and the session continues in the same turn.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ftp::{Code, Reply};
use crate::log::Event;
use crate::net::control::Disconnect;
use crate::net::data::DataHandle;
use crate::pool::{Call, Class};
use crate::storage::Owner;

use super::login::Member;
use super::patience::CallWait;
use super::refusal::Refusal;
use super::{Activity, Session, Step};

/// Interval at which a session that was woken early checks whether its call has returned.
const RECHECK: Duration = Duration::from_millis(200);

/// The step that follows a call and handles its result.
type Finish = Box<dyn FnOnce(&mut Session, Instant, &mut usize) -> Result<Step, Disconnect> + Send>;

/// A file system call, pending or running.
pub(super) struct Calling {
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

impl Calling {
    /// Takes the call, for the pool to run.
    pub(super) fn take(&mut self) -> Option<Call> {
        self.call.take()
    }

    /// The time at which the session must look at it although nothing happened.
    pub(super) fn due_at(&self) -> Instant {
        self.wait.due_at()
    }

    /// Returns when to check again, if the session is woken before the call has returned.
    pub(super) fn recheck(&self, now: Instant) -> Instant {
        self.due_at().min(now + RECHECK)
    }

    fn is_unanswered(&self) -> bool {
        self.call.is_none() && self.outcome.lock().is_none()
    }

    /// Returns the class of the turn that follows the call.
    pub(super) fn class(&self, class: Class) -> Class {
        if self.data.is_some() { class } else { Class::Interactive }
    }
}

impl Session {
    /// Calls the file system for a command; `then` handles the result.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        now: Instant,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Self, T, Instant) -> Result<Option<Reply>, Refusal> + Send + 'static,
    ) {
        let Some(patience) = self.patience() else {
            return self.reply(&Refusal::StorageBusy.reply());
        };
        self.call(now, now + patience, None, work, move |session, found, now, _| {
            match then(session, found, now) {
                Ok(Some(reply)) => session.reply(&reply),
                Ok(None) => {}
                Err(refusal) => session.refuse(&refusal),
            }
            Ok(Step::More)
        });
    }

    /// The maximum wait of the next command for the file system; none if it must not be asked.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.service.unanswered.patience(self.owner(), self.service.limits.stall_timeout)
    }

    pub(super) fn owner(&self) -> Owner {
        self.login.member().map_or_else(Owner::default, |member| member.account.owner())
    }

    /// Calls the file system for a command of a member, whose result is its reply.
    pub(super) fn look(
        &mut self,
        now: Instant,
        work: impl FnOnce(&Member) -> Result<Reply, Refusal> + Send + 'static,
    ) -> Result<Option<Reply>, Refusal> {
        let member = self.member()?.clone();
        self.ask(now, move || work(&member), |_, answer, _| answer.map(Some));
        Ok(None)
    }

    /// Calls the file system for a transfer over this data connection, or without one.
    pub(super) fn call<T: Send + 'static>(
        &mut self,
        now: Instant,
        until: Instant,
        data: Option<DataHandle>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Self, T, Instant, &mut usize) -> Result<Step, Disconnect>
        + Send
        + 'static,
    ) {
        let outcome = Arc::new(Mutex::new(None));
        let left = Arc::clone(&outcome);
        let (wait, running) = CallWait::new(&self.service.unanswered, self.owner(), now, until);
        let call: Call = Box::new(move || {
            let found = work();
            let finish: Finish =
                Box::new(move |session, now, budget| then(session, found, now, budget));
            *left.lock() = Some(finish);
            drop(running);
        });
        let call = Some(call);
        self.enter(Activity::Calling(Box::new(Calling { call, outcome, wait, data })));
    }

    pub(super) fn await_call(
        &mut self,
        calling: Box<Calling>,
        now: Instant,
        budget: &mut usize,
    ) -> Result<Step, Disconnect> {
        if calling.call.is_some() {
            self.enter(Activity::Calling(calling));
            return Ok(Step::Call);
        }
        let found = calling.outcome.lock().take();
        let Some(finish) = found else {
            self.enter(Activity::Calling(calling));
            return Ok(Step::Wait);
        };
        // Drops the handle of the data connection, too: the connection must close when the transfer ends.
        drop(calling);
        finish(self, now, budget)
    }

    /// Handles the deadline of a call.
    pub(super) fn expire_call(&mut self, mut calling: Box<Calling>, now: Instant) {
        if calling.is_unanswered() && calling.wait.expire(now) {
            self.give_up_call(&calling);
        } else {
            self.enter(Activity::Calling(calling));
        }
    }

    /// Gives up a call that has not returned in time. Its result is dropped when it returns.
    fn give_up_call(&mut self, calling: &Calling) {
        let error = &std::io::ErrorKind::TimedOut.into();
        self.log(&Event::Trouble { what: "the file system does not respond", error });
        if let Some(data) = &calling.data {
            data.end();
            self.route = None;
            let text = "The file system does not respond; transfer aborted.";
            self.reply(&Reply::new(Code::LOCAL_ERROR, text));
        } else {
            self.reply(&Refusal::StorageSilent.reply());
        }
        self.enter(Activity::Commands);
    }
}
