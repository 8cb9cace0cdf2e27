//! STAT with a path: a listing over the control connection, some lines per step.

use std::io;
use std::time::Instant;

use crate::events::Event;
use crate::ftp::line::append_escaped;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::pool::{Class, Watch};
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::listing::Lister;
use crate::storage::Progress;

use super::closing::dismiss_idle;
use super::waiting::call;

/// A listing over the control connection.
#[derive(Debug)]
pub(in crate::session) struct StatusListing {
    lister: Lister,
    /// The time from which it waits for the storage, if it does.
    waits_since: Option<Instant>,
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
        match self.waits_since {
            Some(since) => since + cx.service.limits.stall_timeout,
            None => cx.identity.last_activity + cx.service.limits.idle_timeout,
        }
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if self.waits_since.is_some() {
            return Ok(self.write(cx, &[], Err(io::ErrorKind::TimedOut.into())));
        }
        Ok(dismiss_idle(cx))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some(storage) = self.lister.awaited() {
            watch.readable(storage, Class::Bulk);
        }
    }

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }
}

impl StatusListing {
    pub(in crate::session) fn new(lister: Lister) -> Self {
        Self { lister, waits_since: None }
    }

    /// Sends the next lines.
    fn write(
        mut self: Box<Self>,
        cx: &mut Context,
        lines: &[u8],
        filled: io::Result<Progress>,
    ) -> Next {
        let mut escaped = Vec::with_capacity(lines.len());
        append_escaped(&mut escaped, lines);
        cx.control.write(&escaped);
        cx.identity.last_activity = cx.now;
        let text = match filled {
            Ok(Progress::More) => {
                self.waits_since = None;
                return Next::Bulk(self);
            }
            Ok(Progress::Wait) => {
                self.waits_since.get_or_insert(cx.now);
                return Next::Wait(self);
            }
            Ok(Progress::End) => "End of status.",
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
