//! The activity of a session that reads commands.

use std::task::Poll;
use std::time::Instant;

use crate::net::control::Disconnect;
use crate::pool::Watch;

use super::activities::closing::{
    close, dismiss_at_stop, dismiss_flood, dismiss_idle, dismiss_old,
};
use super::activity::{Activity, Listens, Next};
use super::context::Context;
use super::gate;

/// Returns whether the server stops, and the session has had its time.
fn ends_with_server(cx: &Context) -> bool {
    cx.service.stop.ends_at(cx.identity.last_activity).is_some_and(|end| end <= cx.now)
}

/// Reads commands, one a step.
#[derive(Debug)]
pub(super) struct Idle;

impl Activity for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        if ends_with_server(cx) {
            return Ok(dismiss_at_stop(cx));
        }
        if cx.session_ends_at().is_some_and(|end| end <= cx.now) {
            return Ok(dismiss_old(cx));
        }
        if cx.control.is_congested() {
            return Ok(Next::Wait(self));
        }
        let line = match cx.control.next_line() {
            Ok(Poll::Ready(line)) => line,
            Ok(Poll::Pending) => return Ok(Next::Wait(self)),
            // The client has sent everything, and may still read the replies.
            Err(Disconnect::Closed) if !cx.control.is_flushed() => return Ok(close(cx)),
            Err(disconnect) => return Err(disconnect),
        };
        cx.identity.last_activity = cx.now;
        if !cx.admits_command() {
            return Ok(dismiss_flood(cx));
        }
        Ok(gate::serve(cx, line))
    }

    fn deadline(&self, cx: &Context) -> Instant {
        let (limits, identity) = (&cx.service.limits, &cx.identity);
        let idle = identity.last_activity + limits.idle_timeout;
        let idle = cx.session_ends_at().map_or(idle, |end| end.min(idle));
        let stop = cx.service.stop.ends_at(identity.last_activity);
        let idle = stop.map_or(idle, |end| end.min(idle));
        match cx.member() {
            Ok(_) => idle,
            Err(_) => idle.min(identity.logged_out_since + limits.login_timeout),
        }
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if ends_with_server(cx) {
            return Ok(dismiss_at_stop(cx));
        }
        if cx.session_ends_at().is_some_and(|end| end <= cx.now) {
            return Ok(dismiss_old(cx));
        }
        Ok(dismiss_idle(cx))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, cx: &Context) -> Listens {
        if cx.control.is_congested() { Listens::Nothing } else { Listens::All }
    }
}
