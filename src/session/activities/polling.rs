//! The commands that are served during an activity: ABOR, STAT, QUIT and NOOP. The first other line is held until its
//! end. Behind it, only ABOR has an effect: it ends the activity, and is replied to in its turn.

use std::task::Poll;

use crate::events::Event;
use crate::ftp::command::Command;
use crate::ftp::line::Line;
use crate::ftp::verb::{Unserved, Urgent, Verb, When};
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::session::activity::Listens;
use crate::session::context::Context;
use crate::session::data::record::AfterTransfer;
use crate::session::refusal::Refusal;

/// The result of reading the control connection during an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polled {
    Nothing,
    Abort,
    /// The client has closed its side.
    PeerClosed,
    /// The client has sent more commands in a second than allowed.
    TooMuch,
}

/// Reads commands during a transfer: serves STAT, QUIT and NOOP, and returns at ABOR.
pub(super) fn poll(
    cx: &mut Context,
    then: &mut AfterTransfer,
    status: impl Fn() -> Reply,
) -> Result<Polled, Disconnect> {
    while reads_now(cx, *then) && !cx.control.is_holding() {
        let line = match cx.control.next_line() {
            Ok(Poll::Ready(line)) => line,
            Ok(Poll::Pending) => break,
            Err(Disconnect::Closed) => return Ok(Polled::PeerClosed),
            Err(disconnect) => return Err(disconnect),
        };
        cx.identity.last_activity = cx.now;
        let command = match &line {
            Line::TooLong => None,
            Line::Complete(text) => {
                let Some(command) = urgent(text) else {
                    cx.control.hold(line);
                    break;
                };
                cx.log(&Event::Command { line: text });
                Some(command)
            }
        };
        match command {
            Some((Urgent::Abort, _)) => return Ok(Polled::Abort),
            Some((Urgent::Quit, _)) => *then = AfterTransfer::Farewell,
            // ABOR and QUIT, which end a transfer, do not count against the limit.
            _ if !cx.admits_command() => {
                *then = AfterTransfer::Dismissal;
                return Ok(Polled::TooMuch);
            }
            None => cx.refuse(&Refusal::LineTooLong),
            Some((Urgent::Status, Ok(Command::Status(None)))) => cx.reply(&status()),
            Some((Urgent::Status, _)) => {
                let what = "STAT with a path is not available during a transfer.";
                cx.refuse(&Refusal::OutOfSequence(what));
            }
            Some((Urgent::Noop, _)) => cx.reply(&Reply::new(Code::OK, "Done.")),
        }
    }
    if *then == AfterTransfer::Commands { poll_behind(cx) } else { Ok(Polled::Nothing) }
}

/// Looks for ABOR behind a line that is held.
fn poll_behind(cx: &mut Context) -> Result<Polled, Disconnect> {
    let aborts = cx.control.is_holding() && cx.control.finds_abort()?;
    Ok(if aborts { Polled::Abort } else { Polled::Nothing })
}

/// Parses a line if its verb is served during a transfer.
fn urgent(line: &[u8]) -> Option<(Urgent, Result<Command, Unserved>)> {
    let (verb, argument) = Verb::split(line).ok()?;
    match verb.when {
        When::Idle => None,
        When::Always(urgent) => Some((urgent, verb.parse(argument))),
    }
}

/// Reads a command: serves ABOR at once, and holds any other line.
pub(super) fn poll_abort(cx: &mut Context) -> Result<Polled, Disconnect> {
    if cx.control.is_open() && !cx.control.is_holding() {
        let line = match cx.control.next_line() {
            Ok(Poll::Ready(line)) => line,
            Ok(Poll::Pending) => return Ok(Polled::Nothing),
            Err(Disconnect::Closed) => return Ok(Polled::PeerClosed),
            Err(disconnect) => return Err(disconnect),
        };
        if let Line::Complete(text) = &line
            && matches!(Command::parse(text), Ok(Command::Abort))
        {
            return Ok(Polled::Abort);
        }
        cx.control.hold(line);
    }
    poll_behind(cx)
}

/// Returns whether commands can be read now.
pub(super) fn reads_now(cx: &Context, then: AfterTransfer) -> bool {
    Listens::during_transfer(then, &cx.control) == Listens::Urgent && !cx.control.is_congested()
}

/// Returns the reply to STAT while an upload is being stored.
pub(super) fn storing() -> Reply {
    Reply::new(Code::STATUS, "Storing the received data.")
}
