//! The farewell: the last reply is being sent.

use std::time::{Duration, Instant};

use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::pool::Watch;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::record::AfterTransfer;

/// Maximum time for the client to receive the last replies.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// The end of a session, once its last replies are sent.
#[derive(Debug)]
pub(in crate::session) struct Closing {
    until: Instant,
}

/// Closes the session as the client has asked.
pub(in crate::session) fn quit(cx: &mut Context) -> Next {
    farewell(cx, &Reply::new(Code::CLOSING, "Goodbye."))
}

/// Closes the session with a 421 reply.
pub(in crate::session) fn dismiss(cx: &mut Context, reason: &str) -> Next {
    farewell(cx, &Reply::new(Code::SERVICE_NOT_AVAILABLE, reason))
}

/// Closes the session because the server stops.
pub(in crate::session) fn dismiss_at_stop(cx: &mut Context) -> Next {
    dismiss(cx, "The server is shutting down.")
}

/// Closes the session of a client that sends more commands in a second than allowed.
pub(in crate::session) fn dismiss_flood(cx: &mut Context) -> Next {
    dismiss(cx, "Too many commands per second; closing.")
}

/// Closes a session that has waited too long for a command.
pub(in crate::session) fn dismiss_idle(cx: &mut Context) -> Next {
    if cx.member().is_err() {
        return dismiss(cx, "Login timeout; closing.");
    }
    let idle = cx.service.limits.idle_timeout.as_secs();
    dismiss(cx, &format!("No command for {idle} seconds; closing."))
}

/// Closes a session that has reached the maximum duration.
pub(in crate::session) fn dismiss_old(cx: &mut Context) -> Next {
    let seconds = cx.service.limits.session_time.as_secs();
    dismiss(cx, &format!("The session has lasted {seconds} seconds, the maximum; closing."))
}

fn farewell(cx: &mut Context, reply: &Reply) -> Next {
    cx.reply(reply);
    close(cx)
}

/// Closes the session once the queued replies are sent.
pub(in crate::session) fn close(cx: &Context) -> Next {
    Next::go(Closing { until: cx.now + FAREWELL_TIMEOUT })
}

/// Does what was requested during a transfer, now that it has ended.
pub(in crate::session) fn after_transfer(cx: &mut Context, then: AfterTransfer) -> Next {
    match then {
        AfterTransfer::Commands if cx.service.is_stopping() => dismiss_at_stop(cx),
        AfterTransfer::Commands => Next::Commands,
        AfterTransfer::Farewell => quit(cx),
        AfterTransfer::Dismissal => dismiss_flood(cx),
    }
}

impl Activity for Closing {
    fn name(&self) -> &'static str {
        "closing"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        if cx.control.is_flushed() {
            cx.control.close();
            cx.log_disconnect("closed after the final reply");
            return Ok(Next::Over);
        }
        Ok(Next::Wait(self))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    fn expire(self: Box<Self>, _: &mut Context) -> Result<Next, Disconnect> {
        Err(Disconnect::Stalled)
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }
}
