//! Steps of a dialogue, and the trait that all dialogues implement.

use crate::ftp::command::Command;
use crate::ftp::reply::Reply;

/// Action that a dialogue requests from its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// Send this command, then pass its reply to [`Dialogue::reply`].
    Send(Command),
    /// Send nothing, and pass the next reply to [`Dialogue::reply`].
    Receive,
    /// The dialogue is complete.
    Done(T),
}

/// A sequence of commands and replies with one purpose.
pub trait Dialogue {
    /// Result of the complete dialogue.
    type Outcome;

    /// Returns the first step.
    fn start(&mut self) -> Step<Self::Outcome>;

    /// Returns the next step after a reply.
    ///
    /// # Errors
    /// The reply, if it ends the dialogue without success.
    fn reply(&mut self, reply: Reply) -> Result<Step<Self::Outcome>, Refused>;
}

/// Part of a dialogue that the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The connection, in place of a greeting.
    Greeting,
    /// AUTH.
    Authentication,
    /// USER, PASS or ACCT.
    Login,
    /// PROT.
    Protection,
    /// PASV, or EPSV where PASV cannot replace it.
    Passive,
    /// REST.
    Restart,
    /// The command that the dialogue is about.
    Command,
}

/// A reply that ended a dialogue without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Part of the dialogue that the reply belongs to.
    pub stage: Stage,
    /// The reply.
    pub reply: Reply,
}

impl Refused {
    /// Refuses a stage with this reply.
    pub(super) fn at(stage: Stage, reply: Reply) -> Self {
        Self { stage, reply }
    }
}
