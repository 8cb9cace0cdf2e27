//! A transfer: the command that starts it, and the reply that ends it. The data moves between the two.

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::command::{Command, Range};
use crate::ftp::reply::Reply;

/// The part of a file that a transfer moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// From an offset in bytes to the end (REST).
    From(u64),
    /// A range, both ends included (RANG).
    Range(Range),
}

impl From<u64> for Span {
    fn from(offset: u64) -> Self {
        Self::From(offset)
    }
}

/// The start of a transfer: REST for an offset other than 0 or RANG, the command, and its 1yz. Some servers reply 2yz at
/// once; that is the final reply.
#[derive(Debug)]
pub struct Begin {
    command: Command,
    before: Option<Command>,
}

impl Begin {
    /// Creates the start of a transfer of a part of a file.
    #[must_use]
    pub fn new(command: Command, span: impl Into<Span>) -> Self {
        let before = match span.into() {
            Span::From(0) => None,
            Span::From(offset) => Some(Command::Restart(offset)),
            Span::Range(range) => Some(Command::Range(Some(range))),
        };
        Self { command, before }
    }

    /// Returns the first command of the transfer.
    #[must_use]
    pub fn first(&self) -> Command {
        self.before.as_ref().unwrap_or(&self.command).clone()
    }

    /// Returns all commands of the transfer, in their order.
    pub fn commands(self) -> impl Iterator<Item = Command> {
        self.before.into_iter().chain([self.command])
    }
}

impl Dialogue for Begin {
    type Outcome = Option<Reply>;

    fn start(&mut self) -> Step<Option<Reply>> {
        Step::Send(self.first())
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Option<Reply>>, Refused> {
        if self.before.take().is_some() {
            return if reply.code.is_intermediate() {
                Ok(Step::Send(self.command.clone()))
            } else {
                Err(Refused::at(Stage::Restart, reply))
            };
        }
        if reply.code.is_preliminary() {
            Ok(Step::Done(None))
        } else if reply.code.is_completion() {
            Ok(Step::Done(Some(reply)))
        } else {
            Err(Refused::at(Stage::Command, reply))
        }
    }
}

/// The end of a transfer: its final reply. Before it, a 110 confirms that the data up to a restart marker is stored.
#[derive(Debug, Default)]
pub struct Finish;

impl Dialogue for Finish {
    type Outcome = Reply;

    fn start(&mut self) -> Step<Reply> {
        Step::Receive
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Reply>, Refused> {
        if reply.code.is_preliminary() {
            Ok(Step::Receive)
        } else if reply.code.is_completion() {
            Ok(Step::Done(reply))
        } else {
            Err(Refused::at(Stage::Command, reply))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{Transcript, run};
    use super::*;
    use crate::ftp::command::PathName;

    fn begin(offset: u64) -> Begin {
        Begin::new(Command::Retrieve(PathName(b"a".to_vec())), offset)
    }

    #[test]
    fn a_transfer_begins_with_1yz() {
        assert_eq!(run(begin(0), &[(150, "")]), Transcript::new(&["RETR a"], Ok(None)));
        let finished = run(begin(0), &[(226, "")]).end.map(|reply| reply.map(|reply| reply.code.0));
        assert_eq!(finished, Ok(Some(226)));
        let refused = Transcript::new(&["RETR a"], Err((Stage::Command, 550)));
        assert_eq!(run(begin(0), &[(550, "no")]), refused);
    }

    #[test]
    fn an_offset_is_sent_first() {
        let resumed = Transcript::new(&["REST 9", "RETR a"], Ok(None));
        assert_eq!(run(begin(9), &[(350, ""), (125, "")]), resumed);
        let refused = Transcript::new(&["REST 9"], Err((Stage::Restart, 502)));
        assert_eq!(run(begin(9), &[(502, "no")]), refused);
    }

    #[test]
    fn a_transfer_ends_with_its_final_reply() {
        let finish = |replies| run(Finish, replies).end.map(|reply| reply.code.0);
        assert_eq!(finish(&[(226, "")]), Ok(226));
        assert_eq!(finish(&[(110, "MARK"), (110, "MARK"), (250, "")]), Ok(250));
        assert_eq!(finish(&[(426, "")]), Err((Stage::Command, 426)));
    }
}
