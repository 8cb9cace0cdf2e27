//! Transfers, from the data connection to 226. Data moves in slices; the data connection is closed first, then 226 is
//! queued. `connecting` covers the time before, `judging` the end of an upload.

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::events::{Event, Outcome};
use crate::ftp::command::Mode;
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::net::copy::{Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::scoreboard::CurrentTransfer;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::record::TransferRecord;
use crate::session::data::{BULK_BYTES, INTERACTIVE_BYTES, TransferData};
use crate::session::parameters::Route;
use crate::session::refusal::fault_reply;
use crate::session::service::Metered;
use crate::storage::TransferRates;

use super::ending::{Ending, aborted, complete, finish};
use super::polling::{Polled, poll};
use super::waiting::call;
use super::{judging, keeping};

/// Maximum number of bytes per bulk turn of a transfer that has moved fewer than [`YOUNG_BYTES`]. Files of a few MiB
/// that are fetched at once then finish at similar times.
const YOUNG_BULK_BYTES: usize = 128 * 1024;
const YOUNG_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of bytes per bulk turn of an upload: a file system writes one large piece in half the time of several
/// small ones.
const UPLOAD_BULK_BYTES: usize = 1024 * 1024;
/// TLS: maximum time for a client that has received everything to close its side, before it gets the 226.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The time in which a transfer must move the bytes of the least rate.
const MINUTE: Duration = Duration::from_mins(1);

/// A transfer in progress.
#[derive(Debug)]
pub(super) struct Transfer {
    connection: DataConnection,
    record: TransferRecord,
    data: TransferData,
    progressed_at: Instant,
    /// The rate limits, which several transfers share, and the end of the current pause for them.
    rates: TransferRates,
    paused_until: Option<Instant>,
    /// The time and the bytes at which the current minute of the least rate began.
    minute: (Instant, u64),
    /// The last bytes in block mode were only headers and markers, which are no progress of the file.
    idles: bool,
    _metered: Metered,
}

/// Begins a transfer on a data connection.
pub(super) fn begin(
    cx: &Context,
    connection: DataConnection,
    record: TransferRecord,
    data: TransferData,
) -> Next {
    let account = cx.identity.login.member().map(|member| &member.account);
    Next::go(Transfer {
        connection,
        record,
        progressed_at: cx.now,
        rates: data.rates(account, &cx.service, cx.control.peer().ip()),
        minute: (cx.now, 0),
        data,
        paused_until: None,
        idles: false,
        _metered: Metered::new(cx.service.meter()),
    })
}

impl Activity for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn advance(
        mut self: Box<Self>,
        cx: &mut Context,
        budget: &mut usize,
    ) -> Result<Next, Disconnect> {
        let (mut then, now) = (self.record.then, cx.now);
        let polled = poll(cx, &mut then, || self.status(now));
        self.record.then = then;
        match polled {
            Ok(Polled::Abort) => return Ok(self.end(cx, Ending::Aborted)),
            Ok(Polled::TooMuch) => {
                return Ok(self.end(cx, Ending::Failed(aborted(), Outcome::CutOff)));
            }
            Ok(Polled::PeerClosed) if self.data.ends_with_the_control_connection() => {
                self.abandon(cx);
                return Err(Disconnect::Closed);
            }
            Ok(Polled::PeerClosed | Polled::Nothing) => {}
            Err(disconnect) => {
                self.abandon(cx);
                return Err(disconnect);
            }
        }
        if self.pauses(now) {
            return Ok(Next::Wait(self));
        }
        if self.data.is_over() {
            // Only the connection remains to be closed; no file is accessed.
            let (advanced, mut left) = (self.move_slice(0, now), *budget);
            return Ok(self.follow(cx, advanced, &mut left));
        }
        if *budget == 0 {
            // The previous step has used up the budget of this turn.
            return Ok(Next::Bulk(self));
        }
        Ok(self.call(cx, *budget))
    }

    /// Returns when the transfer may continue, or has stalled.
    fn deadline(&self, cx: &Context) -> Instant {
        let stalls_at = || self.stalls_at(cx.service.limits.stall_timeout);
        let due = self.paused_until.unwrap_or_else(stalls_at);
        let due = self.minute_ends_at(cx).map_or(due, |end| end.min(due));
        self.flush_due().map_or(due, |flush| flush.min(due))
    }

    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        if let Some(rate) = self.is_too_slow(cx) {
            return Ok(self.end_too_slow(cx, rate));
        }
        if self.is_paused() || self.stalls_at(cx.service.limits.stall_timeout) > cx.now {
            return Ok(Next::Wait(self));
        }
        Ok(self.end_stalled(cx))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if self.is_paused() {
            return;
        }
        let is_short = self.record.bytes < INTERACTIVE_BYTES as u64;
        let class = if is_short { Class::Interactive } else { Class::Bulk };
        if self.is_shut_down() {
            watch.readable(self.connection.descriptor(), class);
        } else {
            self.data.watch(&self.connection, class, watch);
        }
    }

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.record.then, &cx.control)
    }

    fn bulk_bytes(&self) -> Option<usize> {
        Some(match self.data {
            TransferData::Receive(_) => UPLOAD_BULK_BYTES,
            _ if self.record.bytes < YOUNG_BYTES => YOUNG_BULK_BYTES,
            _ => BULK_BYTES,
        })
    }

    /// Logs the transfer, and keeps what has arrived of an upload.
    fn abandon(self: Box<Self>, cx: &mut Context) {
        let Self { record, data, .. } = *self;
        if let TransferData::Receive(receiver) = data {
            receiver.abandon();
        }
        record.log(cx, Outcome::CutOff, None);
    }
}

impl Transfer {
    /// Moves the next slice in a call of the file system.
    fn call(mut self: Box<Self>, cx: &Context, budget: usize) -> Next {
        let (slice, now) = (self.slice(budget), cx.now);
        let until = now + cx.service.limits.stall_timeout;
        let transfer = Some((self.connection.handle(), self.record.clone()));
        let advance = move || {
            let advanced = self.move_slice(slice, now);
            (self, advanced)
        };
        call(cx, until, transfer, advance, |cx, (mut transfer, advanced), budget| {
            if let TransferData::Receive(receiver) = &mut transfer.data
                && let Some(marker) = receiver.take_safe_marker()
            {
                cx.reply(&marker.reply());
            }
            Ok(transfer.follow(cx, advanced, budget))
        })
    }

    /// Returns what follows a slice.
    fn follow(
        mut self: Box<Self>,
        cx: &mut Context,
        advanced: Result<Moved, Fault>,
        budget: &mut usize,
    ) -> Next {
        match advanced {
            // Directory entries are still being gathered, or the bytes before an upload are being copied.
            Ok(Moved::Bytes(0)) => {
                self.progressed_at = cx.now;
                Next::Bulk(self)
            }
            Ok(Moved::Bytes(count)) => {
                self.record.bytes += count;
                self.rates.charge(count, cx.now);
                cx.service.meter.count(count, self.data.direction());
                if !self.idles {
                    self.progressed_at = cx.now;
                }
                *budget = budget.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
                // A transfer that has sent everything ends in this turn.
                if *budget == 0 && !self.data.is_over() {
                    self.show(cx);
                    Next::Bulk(self)
                } else {
                    Next::Go(self)
                }
            }
            Ok(Moved::WouldBlock) => {
                self.show(cx);
                Next::Wait(self)
            }
            Ok(Moved::End) => match self.shut_down(cx.data.parameters.mode) {
                // A connection that breaks now has received everything.
                Ok(Poll::Ready(())) | Err(_) => self.conclude(cx),
                Ok(Poll::Pending) => Next::Wait(self),
            },
            Err(fault) => {
                if let Fault::Storage(error) = &fault {
                    cx.log(&Event::Error { message: "a transfer failed", error });
                }
                let outcome = match fault {
                    Fault::Connection(_) => Outcome::CutOff,
                    Fault::Storage(_) => Outcome::Failed,
                };
                self.end(cx, Ending::Failed(fault_reply(&fault), outcome))
            }
        }
    }

    /// Shows the progress of a transfer that takes longer than a turn.
    fn show(&self, cx: &mut Context) {
        let record = &self.record;
        cx.presence.set_active(self.progressed_at.min(cx.now));
        cx.presence.set_progress(record.bytes, || CurrentTransfer {
            verb: record.verb.name,
            path: record.path.clone(),
            size: self.data.size(record.bytes),
            begun: record.begun,
            bytes: record.bytes,
        });
    }

    /// Ends the data connection after the last byte, before the reply. Over TLS, this is pending until the client has
    /// sent `close_notify`, too.
    fn shut_down(&mut self, mode: Mode) -> io::Result<Poll<()>> {
        match (&self.data, mode) {
            (TransferData::Receive(_), Mode::Stream) => {
                self.connection.answer_end();
                Ok(Poll::Ready(()))
            }
            (_, Mode::Block) => self.connection.flush(),
            (_, Mode::Stream) => self.connection.shut_down(),
        }
    }

    /// Concludes a transfer whose data has all moved. The data connection is closed before the reply is queued, the
    /// order in which clients expect the two. In block mode the connection stays open for the next transfer, if this
    /// one is complete.
    fn conclude(self, cx: &mut Context) -> Next {
        let Self { connection, record, data, .. } = self;
        if cx.data.parameters.mode == Mode::Block {
            cx.data.route = Some(Route::Open { connection });
        } else {
            drop(connection);
        }
        let remark = data.remark();
        match data {
            TransferData::Receive(receiver) => judging::begin(cx, record, receiver),
            TransferData::Send(_) | TransferData::SendText(_) => {
                let mut reply = complete(cx);
                if let Some(remark) = remark {
                    reply = Reply::new(reply.code, format!("Transfer complete. {remark}"));
                }
                // The file, too, is closed before the reply.
                drop(data);
                finish(cx, record, &reply, Outcome::Complete)
            }
        }
    }

    /// Ends a transfer that has moved no data for the stall timeout.
    fn end_stalled(self, cx: &mut Context) -> Next {
        if self.is_shut_down() {
            return self.conclude(cx);
        }
        let seconds = cx.service.limits.stall_timeout.as_secs();
        let text = format!("No data for {seconds} seconds; transfer aborted.");
        let reply = Reply::new(Code::TRANSFER_ABORTED, text);
        self.end(cx, Ending::Failed(reply, Outcome::CutOff))
    }

    /// Ends a transfer early. The data connection is closed before the reply, as in `conclude`.
    fn end(self, cx: &mut Context, ending: Ending) -> Next {
        let Self { connection, record, data, .. } = self;
        drop(connection);
        keeping::end(cx, record, data, ending)
    }

    /// Ends a transfer that has been slower than allowed for a minute.
    fn end_too_slow(self, cx: &mut Context, rate: u64) -> Next {
        let text = format!("Fewer than {rate} bytes per second for a minute; transfer aborted.");
        let reply = Reply::new(Code::TRANSFER_ABORTED, text);
        self.end(cx, Ending::Failed(reply, Outcome::CutOff))
    }

    /// Returns the end of the minute in which the bytes for the least rate are counted; `None` without that limit.
    fn minute_ends_at(&self, cx: &Context) -> Option<Instant> {
        cx.service.limits.rate_least?;
        Some(self.minute.0 + MINUTE)
    }

    /// Returns the least rate if the transfer has been slower for a minute. Begins the next minute if one is over.
    fn is_too_slow(&mut self, cx: &Context) -> Option<u64> {
        let least = cx.service.limits.rate_least?.get();
        if self.minute_ends_at(cx)? > cx.now {
            return None;
        }
        let moved = self.record.bytes - self.minute.1;
        self.minute = (cx.now, self.record.bytes);
        // The server's disk makes the client wait, or the client has everything already.
        let is_excused = self.data.waits_for_storage() || self.is_shut_down();
        (moved < least.saturating_mul(MINUTE.as_secs()) && !is_excused).then_some(least)
    }

    /// Returns whether everything is sent, and only the client's close is awaited.
    fn is_shut_down(&self) -> bool {
        self.connection.is_shut_down()
    }

    fn stalls_at(&self, stall_timeout: Duration) -> Instant {
        self.progressed_at + if self.is_shut_down() { SHUT_DOWN_TIMEOUT } else { stall_timeout }
    }

    /// Returns when received data must be flushed even if no more arrives.
    fn flush_due(&self) -> Option<Instant> {
        if let TransferData::Receive(receiver) = &self.data { receiver.flush_due() } else { None }
    }

    /// Moves one slice.
    fn move_slice(&mut self, slice: usize, now: Instant) -> Result<Moved, Fault> {
        let (waited, received) = (self.data.waits_for_storage(), self.data.received());
        let advanced = self.data.advance(&mut self.connection, slice, now);
        if waited && !self.data.waits_for_storage() {
            // The stall timeout of the client begins again.
            self.progressed_at = now;
        }
        self.idles = received.is_some() && received == self.data.received();
        advanced
    }

    /// Returns whether the rate limit allows no data now; if so, the transfer pauses.
    fn pauses(&mut self, now: Instant) -> bool {
        self.paused_until = self.rates.busy_until(now);
        if let Some(until) = self.paused_until {
            // The server causes this pause, so it is no stall, and no slowness of the client.
            self.progressed_at = until;
            self.minute = (until, self.record.bytes);
        }
        self.paused_until.is_some()
    }

    /// Returns whether the transfer pauses for its rate limit.
    fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Returns how many of `bytes` may move in one slice under the rate limit.
    fn slice(&self, bytes: usize) -> usize {
        self.rates.slice(bytes)
    }

    /// Returns the reply to STAT during the transfer.
    fn status(&self, now: Instant) -> Reply {
        let seconds = now.duration_since(self.record.begun).as_secs();
        let text = format!(
            "{}: {} bytes in {seconds} seconds so far.",
            self.record.verb.name, self.record.bytes
        );
        Reply::new(Code::STATUS, text)
    }
}
