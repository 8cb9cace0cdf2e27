//! STAT with a path: a listing over the control connection, some lines per step.

use std::io;
use std::time::Instant;

use crate::events::Event;
use crate::ftp::line::append_escaped;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::pool::Watch;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::transfer::listing::Lister;

use super::calling::call;
use super::closing::dismiss_idle;

/// A listing over the control connection.
#[derive(Debug)]
pub(in crate::session) struct StatusListing {
    lister: Lister,
}

impl Activity for StatusListing {
    fn name(&self) -> &'static str {
        "status"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        if cx.control.is_congested() {
            return Ok(Next::Wait(self));
        }
        let until = cx.now + cx.service.limits.stall_timeout;
        let fill = move || {
            let mut lines = Vec::new();
            let filled = self.lister.fill(&mut lines);
            (self, lines, filled)
        };
        Ok(call(cx, until, None, fill, |cx, (listing, lines, filled), _| {
            Ok(listing.write(cx, &lines, filled))
        }))
    }

    fn deadline(&self, cx: &Context) -> Instant {
        cx.identity.last_activity + cx.service.limits.idle_timeout
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        Ok(dismiss_idle(cx))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }
}

impl StatusListing {
    pub(in crate::session) fn new(lister: Lister) -> Self {
        Self { lister }
    }

    /// Sends the next lines.
    fn write(self: Box<Self>, cx: &mut Context, lines: &[u8], filled: io::Result<bool>) -> Next {
        let mut escaped = Vec::with_capacity(lines.len());
        append_escaped(&mut escaped, lines);
        cx.control.write(&escaped);
        cx.identity.last_activity = cx.now;
        let text = match filled {
            Ok(false) => return Next::Bulk(self),
            Ok(true) => "End of status.",
            Err(error) => {
                // The first lines of the 213 reply are already sent; only its last line can report that the listing is
                // incomplete.
                cx.log(&Event::Error { message: "cannot read a directory", error: &error });
                "Listing incomplete: cannot read the directory."
            }
        };
        cx.reply(&Reply::new(Code::FILE_STATUS, text));
        Next::Commands
    }
}
