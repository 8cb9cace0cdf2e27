//! Commands whose answer takes as long as a disk: the work is done on another thread, and the session waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::ftp::Reply;
use crate::pool::{Class, Watch};
use crate::storage::{Durability, Errand};

use super::login::Member;
use super::refusal::Refusal;
use super::{Activity, Session, Step};

/// A command that is carried out elsewhere.
#[derive(Debug)]
pub(super) struct Waiting {
    job: Errand<Result<Reply, Refusal>>,
    /// Set when it is given up: what has not begun then is not done any more.
    given_up: Arc<AtomicBool>,
    pub(super) until: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Release);
    }
}

impl Waiting {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }
}

impl Session {
    /// Changes something in the tree. What is flushed before it is answered is done elsewhere; `None` until then.
    pub(super) fn change(
        &mut self,
        now: Instant,
        work: impl FnOnce(&Member) -> Result<Reply, Refusal> + Send + 'static,
    ) -> Result<Option<Reply>, Refusal> {
        let member = self.member()?;
        if self.service.durability == Durability::Cached {
            return work(member).map(Some);
        }
        let member = member.clone();
        let given_up: Arc<AtomicBool> = Arc::default();
        let is_given_up = Arc::clone(&given_up);
        let job = self.service.disks.run(member.device, move || {
            if is_given_up.load(Ordering::Acquire) {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            Ok(work(&member))
        })?;
        let until = now + self.service.limits.stall_timeout;
        self.enter(Activity::Waiting(Box::new(Waiting { job, given_up, until })));
        Ok(None)
    }

    pub(super) fn await_answer(&mut self, waiting: Box<Waiting>, now: Instant) -> Step {
        let Some(outcome) = waiting.job.outcome() else {
            self.enter(Activity::Waiting(waiting));
            return Step::Wait;
        };
        self.heard_at = now;
        match outcome.map_err(Refusal::Storage).flatten() {
            Ok(reply) => self.reply(&reply),
            Err(refusal) => self.refuse(&refusal),
        }
        self.enter(Activity::Commands);
        Step::More
    }

    /// The file system has not answered in time. It may still do so: whether the command was carried out is not known.
    pub(super) fn give_up_waiting(&mut self) {
        self.refuse(&Refusal::StorageSilent);
        self.enter(Activity::Commands);
    }
}
