//! Transfers, from the data connection to 226. Data moves in slices ([`Transfer`]); the data connection is closed
//! first, then 226 is queued. `opening` covers the time before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ftp::command::Mode;
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Outcome, TransferEvent};
use crate::net::control::Disconnect;
use crate::net::copy::{Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::storage::RateLimit;

use super::negotiate::Route;
use super::refusal::fault_reply;
use super::upload::Ending;
use super::work::Work;
use super::{Activity, Metered, Polled, Session, Step, TOO_MUCH};

/// Maximum number of bytes per interactive turn: a whole small file, or the beginning of a large one.
pub(super) const INTERACTIVE_BYTES: usize = 64 * 1024;
/// Maximum number of bytes per bulk turn: large enough that the other costs of a turn are negligible, small enough that
/// a command waits no longer for a turn than for its way through the network.
const BULK_BYTES: usize = 256 * 1024;
/// Maximum number of bytes per bulk turn of a transfer that has moved fewer than [`YOUNG_BYTES`]. Files of a few MiB
/// that are fetched at once then finish at similar times.
const YOUNG_BULK_BYTES: usize = 128 * 1024;
const YOUNG_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of bytes per bulk turn of an upload: a file system writes one large piece in half the time of several
/// small ones.
const UPLOAD_BULK_BYTES: usize = 1024 * 1024;
/// TLS: maximum time for a client that has received everything to close its side, before it gets the 226.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The next action after a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterTransfer {
    Commands,
    /// QUIT was received during the transfer.
    Farewell,
    /// Too many commands were received during the transfer.
    Dismissal,
}

/// A transfer that a client has requested.
#[derive(Debug)]
pub(super) struct TransferRequest {
    pub(super) verb: &'static Verb,
    pub(super) path: VirtualPath,
    pub(super) begun: Instant,
    pub(super) then: AfterTransfer,
}

/// A transfer in progress.
#[derive(Debug)]
pub(super) struct Transfer {
    connection: DataConnection,
    pub(super) request: TransferRequest,
    work: Work,
    bytes: u64,
    progressed_at: Instant,
    /// The rate limit, which the user's transfers share, and the end of the current pause for it.
    rate_limit: Option<Arc<RateLimit>>,
    paused_until: Option<Instant>,
    /// The last bytes in block mode were only headers and markers, which are no progress of the file.
    idles: bool,
    _metered: Metered,
}

impl Transfer {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if self.is_paused() {
            return;
        }
        let class =
            if self.bytes < INTERACTIVE_BYTES as u64 { Class::Interactive } else { Class::Bulk };
        if self.connection.is_shut_down() {
            watch.readable(self.connection.descriptor(), class);
        } else {
            self.work.watch(&self.connection, class, watch);
        }
    }

    /// Returns whether commands of the client wait until a marker is answered.
    pub(super) fn owes_a_marker(&self) -> bool {
        matches!(&self.work, Work::Receive(incoming) if incoming.owes_a_marker())
    }

    /// Returns whether everything is sent, and only the client's close is awaited.
    pub(super) fn is_shut_down(&self) -> bool {
        self.connection.is_shut_down()
    }

    fn stalls_at(&self, stall_timeout: Duration) -> Instant {
        self.progressed_at + if self.is_shut_down() { SHUT_DOWN_TIMEOUT } else { stall_timeout }
    }

    fn waits_for_storage(&self) -> bool {
        matches!(&self.work, Work::Receive(incoming) if incoming.waits_for_storage())
    }

    /// Returns when received data must be flushed even if no more arrives.
    fn flush_due(&self) -> Option<Instant> {
        if let Work::Receive(incoming) = &self.work { incoming.flush_due() } else { None }
    }

    /// Returns whether a flush is due, and the transfer has not stalled.
    pub(super) fn only_flushes(&self, now: Instant, stall_timeout: Duration) -> bool {
        self.flush_due().is_some_and(|due| due <= now) && self.stalls_at(stall_timeout) > now
    }

    /// Moves one slice.
    fn advance(&mut self, slice: usize, now: Instant) -> Result<Moved, Fault> {
        let (waited, received) = (self.waits_for_storage(), self.work.received());
        let advanced = self.work.advance(&mut self.connection, slice, now);
        if waited && !self.waits_for_storage() {
            // The stall timeout of the client begins again.
            self.progressed_at = now;
        }
        self.idles = received.is_some() && received == self.work.received();
        advanced
    }

    /// Returns whether the rate limit allows no data now; if so, the transfer pauses.
    fn pauses(&mut self, now: Instant) -> bool {
        self.paused_until =
            self.rate_limit.as_ref().and_then(|rate_limit| rate_limit.busy_until(now));
        if let Some(until) = self.paused_until {
            // The server causes this pause, so it is no stall.
            self.progressed_at = until;
        }
        self.paused_until.is_some()
    }

    /// Returns when the transfer must run without an event: it may continue, or has stalled.
    pub(super) fn due_at(&self, stall_timeout: Duration) -> Instant {
        let due = self.paused_until.unwrap_or_else(|| self.stalls_at(stall_timeout));
        self.flush_due().map_or(due, |flush| flush.min(due))
    }

    /// Returns whether the transfer pauses for its rate limit.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Returns how many of `bytes` may move in one slice under the rate limit.
    fn slice(&self, bytes: usize) -> usize {
        self.rate_limit.as_ref().map_or(bytes, |rate_limit| bytes.min(rate_limit.slice()))
    }

    /// Returns the reply to STAT during the transfer.
    fn status(&self, now: Instant) -> Reply {
        let seconds = now.duration_since(self.request.begun).as_secs();
        let text = format!(
            "{}: {} bytes in {seconds} seconds so far.",
            self.request.verb.name, self.bytes
        );
        Reply::new(Code::STATUS, text)
    }
}

impl Session {
    /// Returns the maximum number of bytes that a turn of this class may move.
    pub(super) fn budget(&self, class: Class) -> usize {
        match (class, &self.activity) {
            (Class::Interactive, _) => INTERACTIVE_BYTES,
            (Class::Bulk, Activity::Transfer(transfer)) => match transfer.work {
                Work::Receive(_) => UPLOAD_BULK_BYTES,
                _ if transfer.bytes < YOUNG_BYTES => YOUNG_BULK_BYTES,
                _ => BULK_BYTES,
            },
            (Class::Bulk, _) => BULK_BYTES,
        }
    }

    /// Begins a transfer on a data connection.
    pub(super) fn transfer(
        &mut self,
        connection: DataConnection,
        request: TransferRequest,
        work: Work,
        now: Instant,
    ) {
        let metered = Metered::new(self.service.meter());
        let rate_limit = self.login.member().and_then(|member| work.rate_limit(&member.account));
        self.enter(Activity::Transfer(Box::new(Transfer {
            connection,
            request,
            work,
            bytes: 0,
            progressed_at: now,
            rate_limit,
            paused_until: None,
            idles: false,
            _metered: metered,
        })));
    }

    pub(super) fn move_data(
        &mut self,
        mut transfer: Box<Transfer>,
        now: Instant,
        budget: usize,
    ) -> Result<Step, Disconnect> {
        let mut then = transfer.request.then;
        let polled = self.poll_commands(&mut then, || transfer.status(now), now);
        transfer.request.then = then;
        let polled = match polled {
            Ok(polled) => polled,
            Err(disconnect) => {
                // `abandon` logs the transfer.
                self.enter(Activity::Transfer(transfer));
                return Err(disconnect);
            }
        };
        match polled {
            Polled::Abort => {
                self.end_with(*transfer, Ending::Aborted, now);
                return Ok(Step::More);
            }
            Polled::TooMuch => {
                self.end(*transfer, aborted(), Outcome::CutOff, now);
                return Ok(Step::More);
            }
            Polled::PeerClosed if transfer.work.ends_with_the_control_connection() => {
                self.enter(Activity::Transfer(transfer));
                return Err(Disconnect::Closed);
            }
            Polled::PeerClosed | Polled::Nothing => {}
        }
        if transfer.pauses(now) {
            self.enter(Activity::Transfer(transfer));
            return Ok(Step::Wait);
        }
        if budget == 0 && !transfer.work.is_over() {
            // The previous step has used up the budget of this turn.
            self.enter(Activity::Transfer(transfer));
            return Ok(Step::Bulk);
        }
        if transfer.work.is_over() {
            // Only the connection remains to be closed; no file is accessed.
            let advanced = transfer.advance(0, now);
            let mut budget = budget;
            return Ok(self.handle_moved(transfer, advanced, now, &mut budget));
        }
        let slice = transfer.slice(budget);
        let until = now + self.service.limits.stall_timeout;
        let data = Some(transfer.connection.handle());
        let advance = move || {
            let advanced = transfer.advance(slice, now);
            (transfer, advanced)
        };
        self.call(now, until, data, advance, |session, (mut transfer, advanced), now, budget| {
            if let Work::Receive(incoming) = &mut transfer.work
                && let Some(marker) = incoming.take_safe_marker()
            {
                session.reply(&marker.reply());
            }
            Ok(session.handle_moved(transfer, advanced, now, budget))
        });
        Ok(Step::More)
    }

    /// Handles the result of one step of a transfer.
    fn handle_moved(
        &mut self,
        mut transfer: Box<Transfer>,
        advanced: Result<Moved, Fault>,
        now: Instant,
        budget: &mut usize,
    ) -> Step {
        let step = match advanced {
            // Directory entries are still being gathered, or the bytes before an upload are being copied.
            Ok(Moved::Bytes(0)) => {
                transfer.progressed_at = now;
                Step::Bulk
            }
            Ok(Moved::Bytes(count)) => {
                transfer.bytes += count;
                if let Some(rate_limit) = &transfer.rate_limit {
                    rate_limit.charge(count, now);
                }
                self.service.meter.bytes.fetch_add(count, Ordering::Relaxed);
                if !transfer.idles {
                    transfer.progressed_at = now;
                }
                *budget = budget.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
                // A transfer that has sent everything ends in this turn.
                if *budget == 0 && !transfer.work.is_over() { Step::Bulk } else { Step::More }
            }
            Ok(Moved::WouldBlock) => Step::Wait,
            Ok(Moved::End) => match self.shut_down(&mut transfer) {
                // A connection that breaks now has received everything.
                Ok(true) | Err(_) => {
                    self.conclude(*transfer, now);
                    return Step::More;
                }
                Ok(false) => Step::Wait,
            },
            Err(fault) => {
                if let Fault::Storage(error) = &fault {
                    self.log(&Event::Trouble { what: "a transfer failed", error });
                }
                let outcome = match fault {
                    Fault::Connection(_) => Outcome::CutOff,
                    Fault::Storage(_) => Outcome::Failed,
                };
                self.end(*transfer, fault_reply(&fault), outcome, now);
                return Step::More;
            }
        };
        self.enter(Activity::Transfer(transfer));
        step
    }

    /// Ends the data connection after the last byte, before the reply. Over TLS, both sides send `close_notify`; returns
    /// `false` until the client has done so.
    fn shut_down(&self, transfer: &mut Transfer) -> io::Result<bool> {
        match (&transfer.work, self.parameters.mode) {
            (Work::Receive(_), Mode::Stream) => {
                transfer.connection.answer_end();
                Ok(true)
            }
            (_, Mode::Block) => transfer.connection.flush(),
            (_, Mode::Stream) => transfer.connection.shut_down(),
        }
    }

    /// Ends a transfer that has moved no data for the stall timeout.
    pub(super) fn end_stalled(&mut self, transfer: Transfer, now: Instant) {
        if transfer.is_shut_down() {
            return self.conclude(transfer, now);
        }
        let seconds = self.service.limits.stall_timeout.as_secs();
        let reply = Reply::new(
            Code::TRANSFER_ABORTED,
            format!("No data for {seconds} seconds; transfer aborted."),
        );
        self.end(transfer, reply, Outcome::CutOff, now);
    }

    /// Logs the transfer of a session that ends in the middle of it, and keeps what has arrived of an upload.
    pub(super) fn abandon(&mut self, now: Instant) {
        if let Activity::Transfer(transfer) = std::mem::take(&mut self.activity) {
            let Transfer { request, work, bytes, .. } = *transfer;
            if let Work::Receive(incoming) = work {
                // The job ends by itself; its result is not needed.
                drop(incoming.settle());
            }
            self.log_transfer(request, bytes, Outcome::CutOff, now);
        }
    }

    /// Concludes a transfer whose data has all moved. The data connection is closed before the reply is queued, the
    /// order in which clients expect the two. In block mode the connection stays open for the next transfer, if this
    /// one is complete.
    fn conclude(&mut self, transfer: Transfer, now: Instant) {
        let Transfer { connection, request, work, bytes, .. } = transfer;
        if self.parameters.mode == Mode::Block {
            self.route = Some(Route::Open { connection });
        } else {
            drop(connection);
        }
        match work {
            Work::Receive(incoming) => self.conclude_upload(request, incoming, now),
            Work::Send(_) | Work::SendText(_) => {
                let reply = match work.remark() {
                    None => self.complete(),
                    Some(remark) => {
                        Reply::new(self.complete().code, format!("Transfer complete. {remark}"))
                    }
                };
                // The file, too, is closed before the reply.
                drop(work);
                self.finish(request, bytes, &reply, Outcome::Complete, now);
            }
        }
    }

    pub(super) fn complete(&self) -> Reply {
        match self.parameters.mode {
            Mode::Stream => Reply::new(Code::TRANSFER_COMPLETE, "Transfer complete."),
            Mode::Block => Reply::new(
                Code::FILE_ACTION_DONE,
                "Transfer complete; the data connection stays open.",
            ),
        }
    }

    /// Ends a transfer early. The data connection is closed before the reply, as in `conclude`.
    fn end(&mut self, transfer: Transfer, reply: Reply, outcome: Outcome, now: Instant) {
        self.end_with(transfer, Ending::Failed(reply, outcome), now);
    }

    fn end_with(&mut self, transfer: Transfer, ending: Ending, now: Instant) {
        let Transfer { connection, request, work, bytes, .. } = transfer;
        drop(connection);
        self.end_work(request, work, bytes, ending, now);
    }

    /// Ends the work of a transfer. What has arrived of an upload is flushed on another thread before the reply.
    pub(super) fn end_work(
        &mut self,
        request: TransferRequest,
        work: Work,
        bytes: u64,
        ending: Ending,
        now: Instant,
    ) {
        match (work, ending) {
            (Work::Receive(incoming), ending) => self.keep(request, *incoming, ending, now),
            (_, Ending::Failed(reply, outcome)) => {
                self.finish(request, bytes, &reply, outcome, now);
            }
            (_, Ending::CutOff(_) | Ending::Aborted) => {
                self.finish(request, bytes, &aborted(), Outcome::Aborted, now);
                self.reply(&abort_done());
            }
        }
    }

    pub(super) fn finish(
        &mut self,
        request: TransferRequest,
        bytes: u64,
        reply: &Reply,
        outcome: Outcome,
        now: Instant,
    ) {
        let then = request.then;
        self.log_transfer(request, bytes, outcome, now);
        self.reply(reply);
        // Data activity counts as activity of the control connection.
        self.last_activity = now;
        self.continue_after(then, now);
    }

    /// Does what was requested during a transfer, now that it has ended.
    pub(super) fn continue_after(&mut self, then: AfterTransfer, now: Instant) {
        match then {
            AfterTransfer::Commands => self.enter(Activity::Commands),
            AfterTransfer::Farewell => self.quit(now),
            AfterTransfer::Dismissal => self.dismiss(TOO_MUCH, now),
        }
    }

    fn log_transfer(&self, request: TransferRequest, bytes: u64, outcome: Outcome, now: Instant) {
        let TransferRequest { verb, path, begun, .. } = request;
        let took = now.duration_since(begun);
        self.log(&Event::Transfer(&TransferEvent { verb: verb.name, path, bytes, took, outcome }));
    }
}

pub(super) fn aborted() -> Reply {
    Reply::new(Code::TRANSFER_ABORTED, "Transfer aborted.")
}

pub(super) fn abort_done() -> Reply {
    Reply::new(Code::TRANSFER_COMPLETE, "ABOR successful.")
}
