//! The test driver: answers a dialogue from a list of replies.

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::reply::{Code, Reply};

/// The commands that a dialogue sent, and its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transcript<T> {
    pub(super) sent: Vec<String>,
    pub(super) end: Result<T, (Stage, u16)>,
}

impl<T> Transcript<T> {
    pub(super) fn new(sent: &[&str], end: Result<T, (Stage, u16)>) -> Self {
        Self { sent: sent.iter().map(ToString::to_string).collect(), end }
    }
}

/// Runs a dialogue to its end. All replies must be used.
pub(super) fn run<D: Dialogue>(mut dialogue: D, replies: &[(u16, &str)]) -> Transcript<D::Outcome> {
    let first = dialogue.start();
    resume(&mut dialogue, first, replies)
}

/// Runs a dialogue from a step to its end. All replies must be used.
pub(super) fn resume<D: Dialogue>(
    dialogue: &mut D,
    mut step: Step<D::Outcome>,
    replies: &[(u16, &str)],
) -> Transcript<D::Outcome> {
    let mut sent = Vec::new();
    let mut replies = replies.iter();
    let end = loop {
        match step {
            Step::Done(outcome) => break Ok(outcome),
            Step::Send(command) => sent.push(String::from_utf8(command.encode()).unwrap()),
            Step::Receive => {}
        }
        let (code, text) = replies.next().expect("the dialogue needs another reply");
        step = match dialogue.reply(reply(*code, text)) {
            Ok(step) => step,
            Err(Refused { stage, reply }) => break Err((stage, reply.code.0)),
        };
    };
    assert_eq!(replies.next(), None, "the dialogue ended too early");
    Transcript { sent, end }
}

/// Makes a reply; each line of the text becomes one of the reply.
fn reply(code: u16, text: &str) -> Reply {
    let lines = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
    Reply::multiline(Code(code), lines)
}
