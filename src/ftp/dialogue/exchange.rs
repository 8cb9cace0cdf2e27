//! One command and its reply.

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::command::Command;
use crate::ftp::reply::Reply;

/// A command that must succeed: its reply is 2yz or 3yz.
#[derive(Debug)]
pub struct Exchange(Command);

impl Exchange {
    /// Creates a dialogue that consists of this command.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self(command)
    }
}

impl Dialogue for Exchange {
    type Outcome = Reply;

    fn start(&mut self) -> Step<Reply> {
        Step::Send(self.0.clone())
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Reply>, Refused> {
        if reply.code.is_preliminary() {
            // It announces a final reply, or belongs to a transfer before.
            Ok(Step::Receive)
        } else if reply.code.is_completion() || reply.code.is_intermediate() {
            Ok(Step::Done(reply))
        } else {
            Err(Refused::at(Stage::Command, reply))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::run;
    use super::*;

    #[test]
    fn a_preliminary_reply_is_no_answer() {
        let transcript = run(Exchange::new(Command::Noop), &[(150, ""), (200, "")]);
        assert_eq!(transcript.end.map(|reply| reply.code.0), Ok(200));
    }

    #[test]
    fn a_command_succeeds_with_2yz_and_3yz() {
        for (code, succeeds) in [(200, true), (350, true), (450, false), (550, false)] {
            let transcript = run(Exchange::new(Command::Noop), &[(code, "")]);
            assert_eq!(transcript.sent, ["NOOP"]);
            assert_eq!(transcript.end.is_ok(), succeeds, "{code}");
        }
    }
}
