//! Commands that wait for a disk: another thread does the work, and the session waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::ftp::Reply;
use crate::pool::{Class, Watch};
use crate::storage::{Durability, Errand};

use super::login::Member;
use super::refusal::Refusal;
use super::{Activity, Session, Step};

/// A command that runs on another thread.
#[derive(Debug)]
pub(super) struct Waiting {
    job: Errand<Result<Reply, Refusal>>,
    /// Set when the session gives up: work that has not begun then is not done.
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
    /// Changes the tree. Where changes are flushed before the reply, another thread does the work, and the result is
    /// `None`.
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

    /// Gives up on a file system that has not responded in time. It may still do so: it is unknown whether the command
    /// took effect.
    pub(super) fn give_up_waiting(&mut self) {
        self.refuse(&Refusal::StorageSilent);
        self.enter(Activity::Commands);
    }
}
