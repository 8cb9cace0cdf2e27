//! Commands that wait for a disk: another thread does the work, and the session waits for its answer.

use std::time::Instant;

use crate::ftp::Reply;
use crate::ftp::command::PathName;
use crate::pool::{Class, Job, Watch};
use crate::storage::Durability;

use super::login::Member;
use super::patience::CallWait;
use super::refusal::Refusal;
use super::{Activity, Session, Step};

/// A command that runs on another thread.
#[derive(Debug)]
pub(super) struct Waiting {
    job: Job<Result<Reply, Refusal>>,
    pub(super) wait: CallWait,
}

impl Waiting {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }
}

impl Session {
    /// Changes `path` in the tree. A change that is flushed before it is answered is made by a thread of the disk of its
    /// directory; returns `None` until then.
    pub(super) fn change(
        &mut self,
        path: PathName,
        now: Instant,
        work: impl FnOnce(&Member, &PathName) -> Result<Reply, Refusal> + Send + 'static,
    ) -> Result<Option<Reply>, Refusal> {
        if self.service.durability == Durability::Cached {
            return self.look(now, move |member| work(member, &path));
        }
        let member = self.member()?;
        let (root, directory) = (member.account.shared_root(), member.resolve(&path)?.parent());
        // If there is no such directory, the change itself finds that.
        let find_disk =
            move || root.look(&directory).map_or_else(|_| root.device(), |found| found.identity.0);
        self.ask(now, find_disk, move |session, device, now| {
            session.change_on(device, now, move |member| work(member, &path)).map(|()| None)
        });
        Ok(None)
    }

    fn change_on(
        &mut self,
        device: u64,
        now: Instant,
        work: impl FnOnce(&Member) -> Result<Reply, Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        let member = self.member()?.clone();
        let until = now + self.patience().ok_or(Refusal::StorageBusy)?;
        let (wait, running) = CallWait::new(&self.service.unanswered, self.owner(), now, until);
        let job = self.service.disks.run(device, move || {
            // A change that has not begun when it is given up is not made any more.
            if running.is_given_up() {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            Ok(work(&member))
        })?;
        self.enter(Activity::Waiting(Box::new(Waiting { job, wait })));
        Ok(())
    }

    pub(super) fn await_answer(&mut self, waiting: Box<Waiting>, now: Instant) -> Step {
        let Some(outcome) = waiting.job.outcome() else {
            self.enter(Activity::Waiting(waiting));
            return Step::Wait;
        };
        self.last_activity = now;
        match outcome.map_err(Refusal::Storage).flatten() {
            Ok(reply) => self.reply(&reply),
            Err(refusal) => self.refuse(&refusal),
        }
        self.enter(Activity::Commands);
        Step::More
    }

    /// Handles the deadline of a change. A change that is given up may still be made.
    pub(super) fn expire_waiting(&mut self, mut waiting: Box<Waiting>, now: Instant) {
        if waiting.wait.expire(now) {
            self.refuse(&Refusal::StorageSilent);
            self.enter(Activity::Commands);
        } else {
            self.enter(Activity::Waiting(waiting));
        }
    }
}
