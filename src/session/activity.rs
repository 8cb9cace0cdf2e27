//! The activities of a session: the interface of each, and the ways in which a step can end.
//!
//! A session has one [`Activity`] at a time. Each step consumes it and returns the [`Next`], so that no step can forget
//! what follows. Not here: the activities, in `activities` and `idle`, and the loop that drives them, in `mod`.

use std::fmt;
use std::time::Instant;

use crate::events::{Change, Event};
use crate::ftp::Reply;
use crate::net::control::{ControlConnection, Disconnect};
use crate::pool::{Call, Watch};

use super::context::Context;
use super::data::record::AfterTransfer;
use super::refusal::Refusal;

/// An activity of a session.
///
/// A trait, not an enum: the activities lead to each other, so that an enum of all of them would close a circle through
/// their files. Its functions have no defaults where a forgotten one would do harm.
pub(super) trait Activity: fmt::Debug + Send {
    /// Returns the name for the log.
    fn name(&self) -> &'static str;

    /// Takes one step. `budget` is the number of bytes that the turn may still move.
    fn advance(self: Box<Self>, cx: &mut Context, budget: &mut usize) -> Result<Next, Disconnect>;

    /// Returns when the activity must act even without an event.
    fn deadline(&self, cx: &Context) -> Instant;

    /// Acts on the deadline, which has passed.
    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect>;

    /// Watches the descriptors that the activity waits for, besides the control connection.
    fn watch<'a>(&'a self, watch: &mut Watch<'a>);

    /// Returns the commands that are read now.
    fn listens(&self, cx: &Context) -> Listens;

    /// Returns the maximum number of bytes per bulk turn, if the activity moves data; the turns of others stay
    /// interactive.
    fn bulk_bytes(&self) -> Option<usize> {
        None
    }

    /// Acts on the end of the session in the middle of the activity.
    fn abandon(self: Box<Self>, _cx: &mut Context) {}
}

/// The end of a step: the activity that follows, and what it needs before its first step.
#[must_use]
pub(super) enum Next {
    /// The activity is over: the session reads commands.
    Commands,
    /// Continues with this activity in the same turn.
    Go(Box<dyn Activity>),
    /// Continues with this activity in a bulk turn.
    Bulk(Box<dyn Activity>),
    /// Makes this call first.
    Call(Box<dyn Activity>, Call),
    /// Waits for a descriptor or for the deadline of the activity.
    Wait(Box<dyn Activity>),
    /// Waits for a descriptor, but no longer than until this time.
    WaitUntil(Box<dyn Activity>, Instant),
    /// The session is over.
    Over,
}

impl Next {
    /// Continues with an activity in the same turn.
    pub(super) fn go(activity: impl Activity + 'static) -> Self {
        Self::Go(Box::new(activity))
    }

    /// Waits with an activity.
    pub(super) fn wait(activity: impl Activity + 'static) -> Self {
        Self::Wait(Box::new(activity))
    }
}

/// The commands that are read during an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listens {
    /// None.
    Nothing,
    /// None, but the client's closing of its side is noticed.
    Close,
    /// ABOR; the first other line is held.
    Abort,
    /// ABOR, STAT, QUIT and NOOP; the first other line is held.
    Urgent,
    /// All.
    All,
}

impl Listens {
    /// Returns the commands that are read during a transfer: the urgent ones, until one of them ends the session, or a
    /// line is held.
    pub(super) fn during_transfer(then: AfterTransfer, control: &ControlConnection) -> Self {
        let reads = then == AfterTransfer::Commands && control.is_open();
        if reads { Self::Urgent } else { Self::Nothing }
    }
}

/// The answer to a command.
#[must_use]
pub(super) enum Answer {
    /// This reply.
    Reply(Reply),
    /// A refusal, which becomes a reply.
    Refused(Refusal),
    /// The reply to a change of the tree, which is reported.
    Changed(Reply, Option<Change>),
    /// None yet: this follows, and replies by itself.
    Later(Next),
}

impl Answer {
    /// Queues the reply, if there is one yet.
    pub(super) fn send(self, cx: &mut Context) -> Next {
        match self {
            Self::Reply(reply) => cx.reply(&reply),
            Self::Refused(refusal) => cx.refuse(&refusal),
            Self::Changed(reply, change) => {
                if let Some(change) = &change {
                    cx.log(&Event::Changed(change));
                }
                cx.reply(&reply);
            }
            Self::Later(next) => return next,
        }
        Next::Commands
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<(Reply, Option<Change>)> for Answer {
    fn from((reply, change): (Reply, Option<Change>)) -> Self {
        Self::Changed(reply, change)
    }
}

impl From<Next> for Answer {
    fn from(next: Next) -> Self {
        Self::Later(next)
    }
}

impl<T: Into<Self>> From<Result<T, Refusal>> for Answer {
    fn from(outcome: Result<T, Refusal>) -> Self {
        outcome.map_or_else(Self::Refused, Into::into)
    }
}
