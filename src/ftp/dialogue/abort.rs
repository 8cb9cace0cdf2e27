//! The end of a transfer that is not wanted any more (ABOR).
//!
//! Servers answer the transfer and ABOR with two replies or with one. So a NOOP is sent after the first reply; its own
//! reply cannot belong to a transfer, and marks the end. (Pure-FTPd discards input that comes right after ABOR.)

use super::step::{Dialogue, Refused, Step};
use crate::ftp::command::Command;
use crate::ftp::reply::Reply;

/// Maximum number of replies to one transfer and its ABOR.
const REPLIES_MAX: u32 = 8;

/// Result of ABOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// All replies have come; the next one belongs to the next command.
    InStep,
    /// Further replies cannot be matched to commands, so the connection cannot be used any more.
    OutOfStep,
}

/// ABOR, and NOOP to find the last reply to it.
#[derive(Debug)]
pub struct Abort {
    /// Number of final replies to come before NOOP is sent.
    outstanding: u32,
    /// Number of replies since NOOP was sent.
    after_noop: u32,
}

impl Abort {
    /// Creates a dialogue that aborts a transfer. The server also replies to each of the `abandoned` requests that were
    /// sent after it.
    #[must_use]
    pub fn new(abandoned: u32) -> Self {
        Self { outstanding: abandoned.saturating_add(1), after_noop: 0 }
    }
}

impl Dialogue for Abort {
    type Outcome = Aborted;

    fn start(&mut self) -> Step<Aborted> {
        Step::Send(Command::Abort)
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Aborted>, Refused> {
        if reply.code.is_preliminary() {
            return Ok(Step::Receive);
        }
        if self.outstanding > 0 {
            self.outstanding -= 1;
            let last = self.outstanding == 0;
            return Ok(if last { Step::Send(Command::Noop) } else { Step::Receive });
        }
        self.after_noop += 1;
        Ok(match reply.code.0 {
            200 => Step::Done(Aborted::InStep),
            225 | 226 | 250 | 425 | 426 | 450 | 451 if self.after_noop <= REPLIES_MAX => {
                Step::Receive
            }
            // This reply may belong to the ABOR or to the NOOP. No connection is better than a mismatched reply.
            _ => Step::Done(Aborted::OutOfStep),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{Transcript, run};
    use super::*;

    const SENT: [&str; 2] = ["ABOR", "NOOP"];

    #[test]
    fn the_reply_to_noop_marks_the_end() {
        let in_step = Transcript::new(&SENT, Ok(Aborted::InStep));
        assert_eq!(run(Abort::new(0), &[(426, ""), (226, ""), (200, "")]), in_step);
        assert_eq!(run(Abort::new(0), &[(226, ""), (200, "")]), in_step);
        let abandoned = [(426, ""), (425, ""), (150, ""), (550, ""), (226, ""), (200, "")];
        assert_eq!(run(Abort::new(2), &abandoned), in_step);
    }

    #[test]
    fn a_reply_that_fits_neither_ends_the_connection() {
        let out_of_step = Transcript::new(&SENT, Ok(Aborted::OutOfStep));
        assert_eq!(run(Abort::new(0), &[(426, ""), (502, "")]), out_of_step);
        let endless = [(226, ""); REPLIES_MAX as usize + 2];
        assert_eq!(run(Abort::new(0), &endless), out_of_step);
    }
}
