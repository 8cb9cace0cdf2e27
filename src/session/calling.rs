//! Calls of the file system, any of which may hang. The pool holds the session during a call, so that the session's
//! deadline applies even if the call hangs. Usually a call returns at once, and the session continues in the same turn.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ftp::{Code, Reply};
use crate::log::Event;
use crate::net::control::Gone;
use crate::net::data::DataHandle;
use crate::pool::{Call, Class};
use crate::storage::Owner;

use super::login::Member;
use super::refusal::Refusal;
use super::{Activity, Session, Step};

/// Interval at which a session that was woken early checks whether its call has returned.
const RECHECK: Duration = Duration::from_millis(200);

/// The step that follows a call and handles its result.
type Finish = Box<dyn FnOnce(&mut Session, Instant, &mut usize) -> Result<Step, Gone> + Send>;

/// Maximum number of calls of one user at one address that were given up and have not returned. Above it, further
/// commands of that user are refused at once, because each of those calls holds a thread.
const LATE_MAX: usize = 8;

/// Number of calls that were given up and have not returned, by owner.
#[derive(Debug, Default)]
pub(super) struct LateCalls(Mutex<HashMap<Owner, usize>>);

impl LateCalls {
    fn are_too_many(&self, owner: Owner) -> bool {
        self.0.lock().get(&owner).is_some_and(|late| *late >= LATE_MAX)
    }

    fn add(&self, owner: Owner) {
        *self.0.lock().entry(owner).or_default() += 1;
    }

    fn remove(&self, owner: Owner) {
        let mut late = self.0.lock();
        if let Some(count) = late.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                late.remove(&owner);
            }
        }
    }
}

/// The state of a call's result.
enum Outcome {
    /// The call has not returned.
    Missing,
    /// The call has returned, and left this step.
    Left(Finish),
    /// The session gave up waiting for the call.
    GivenUp,
}

/// A file system call, pending or running.
pub(super) struct Calling {
    call: Option<Call>,
    /// Set by the call when it returns.
    outcome: Arc<Mutex<Outcome>>,
    /// The time at which the session gives up and replies that the file system does not respond.
    until: Instant,
    /// The data connection that the call uses, if any.
    data: Option<DataHandle>,
}

impl fmt::Debug for Calling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Calling").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Calling {
    /// Takes the call, for the pool to run.
    pub(super) fn take(&mut self) -> Option<Call> {
        self.call.take()
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Returns when to check again, if the session is woken before the call has returned.
    pub(super) fn recheck(&self, now: Instant) -> Instant {
        self.until.min(now + RECHECK)
    }

    /// Returns whether the call has started and not returned. Asked once its deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.call.is_none() && matches!(*self.outcome.lock(), Outcome::Missing)
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
        if self.service.late_calls.are_too_many(self.owner()) {
            return self.reply(&Refusal::StorageBusy.reply());
        }
        let until = now + self.service.limits.stall_timeout;
        self.call(until, None, work, move |session, found, now, _| {
            match then(session, found, now) {
                Ok(Some(reply)) => session.reply(&reply),
                Ok(None) => {}
                Err(refusal) => session.refuse(&refusal),
            }
            Ok(Step::More)
        });
    }

    fn owner(&self) -> Owner {
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
        until: Instant,
        data: Option<DataHandle>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Self, T, Instant, &mut usize) -> Result<Step, Gone> + Send + 'static,
    ) {
        let outcome = Arc::new(Mutex::new(Outcome::Missing));
        let (left, owner) = (Arc::clone(&outcome), self.owner());
        let late = Arc::clone(&self.service.late_calls);
        let call: Call = Box::new(move || {
            let found = work();
            let finish: Finish =
                Box::new(move |session, now, budget| then(session, found, now, budget));
            let before = std::mem::replace(&mut *left.lock(), Outcome::Left(finish));
            if matches!(before, Outcome::GivenUp) {
                late.remove(owner);
            }
        });
        let call = Some(call);
        self.enter(Activity::Calling(Box::new(Calling { call, outcome, until, data })));
    }

    pub(super) fn await_call(
        &mut self,
        calling: Box<Calling>,
        now: Instant,
        budget: &mut usize,
    ) -> Result<Step, Gone> {
        if calling.call.is_some() {
            self.enter(Activity::Calling(calling));
            return Ok(Step::Call);
        }
        let found = std::mem::replace(&mut *calling.outcome.lock(), Outcome::Missing);
        let Outcome::Left(finish) = found else {
            self.enter(Activity::Calling(calling));
            return Ok(Step::Wait);
        };
        // Drops the handle of the data connection, too: the connection must close when the transfer ends.
        drop(calling);
        finish(self, now, budget)
    }

    /// Gives up a call that has not returned in time. Its result is dropped when it returns.
    pub(super) fn give_up_call(&mut self, calling: &Calling) {
        let mut outcome = calling.outcome.lock();
        if matches!(*outcome, Outcome::Missing) {
            *outcome = Outcome::GivenUp;
            self.service.late_calls.add(self.owner());
        }
        drop(outcome);
        let error = &std::io::ErrorKind::TimedOut.into();
        self.log(&Event::Trouble { what: "the file system does not answer", error });
        if let Some(data) = &calling.data {
            data.end();
            self.route = None;
            let text = "The file system does not answer; transfer aborted.";
            self.reply(&Reply::new(Code::LOCAL_ERROR, text));
        } else {
            self.reply(&Refusal::StorageSilent.reply());
        }
        self.enter(Activity::Commands);
    }
}
