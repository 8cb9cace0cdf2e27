//! Commands that wait for a disk: another thread does the work, and the session waits for its answer.

use std::time::Instant;

use crate::events::Change;
use crate::ftp::Reply;
use crate::ftp::command::PathName;
use crate::net::control::Disconnect;
use crate::pool::{Class, Job, Watch};
use crate::session::activity::{Activity, Answer, Listens, Next};
use crate::session::context::Context;
use crate::session::member::Member;
use crate::session::patience::CallWait;
use crate::session::refusal::Refusal;
use crate::storage::Durability;

use super::calling::ask;

/// The result of a command that may change the tree: the reply and the change, or a refusal.
pub(in crate::session) type Changed = Result<(Reply, Option<Change>), Refusal>;

/// A command that runs on another thread.
#[derive(Debug)]
pub(in crate::session) struct Waiting {
    job: Job<Changed>,
    wait: CallWait,
}

/// Changes `path` in the tree. A change that is flushed before it is answered is made by a thread of the disk of its
/// directory.
pub(in crate::session) fn change(
    cx: &Context,
    path: PathName,
    work: impl FnOnce(&Member, &PathName) -> Changed + Send + 'static,
) -> Answer {
    if cx.service.durability == Durability::Cached {
        return match cx.member() {
            Ok(member) => {
                let member = member.clone();
                ask(cx, move || work(&member, &path), |_, changed| changed)
            }
            Err(refusal) => Answer::Refused(refusal),
        };
    }
    let place = cx
        .member()
        .and_then(|member| Ok((member.account.shared_root(), member.resolve(&path)?.parent())));
    let (root, directory) = match place {
        Ok(place) => place,
        Err(refusal) => return Answer::Refused(refusal),
    };
    // If there is no such directory, the change itself finds that.
    let find_disk =
        move || root.look(&directory).map_or_else(|_| root.device(), |found| found.identity.0);
    ask(cx, find_disk, move |cx, device| change_on(cx, device, move |member| work(member, &path)))
}

fn change_on(
    cx: &Context,
    device: u64,
    work: impl FnOnce(&Member) -> Changed + Send + 'static,
) -> Result<Next, Refusal> {
    let member = cx.member()?.clone();
    let until = cx.now + cx.patience().ok_or(Refusal::StorageBusy)?;
    let (wait, running) = CallWait::new(&cx.service.unanswered, cx.owner(), cx.now, until);
    let job = cx.service.disks.run(device, move || {
        // A change that has not begun when it is given up is not made any more.
        if running.is_given_up() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        Ok(work(&member))
    })?;
    Ok(Next::go(Waiting { job, wait }))
}

impl Activity for Waiting {
    fn name(&self) -> &'static str {
        "waiting"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let Some(outcome) = self.job.outcome() else { return Ok(Next::Wait(self)) };
        cx.identity.last_activity = cx.now;
        Ok(Answer::from(outcome.map_err(Refusal::Storage).flatten()).send(cx))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.wait.due_at()
    }

    /// Gives the change up, once its time is over. It may still be made.
    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if self.wait.expire(cx.now) {
            return Ok(Answer::Refused(Refusal::StorageSilent).send(cx));
        }
        Ok(Next::Wait(self))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }
}
