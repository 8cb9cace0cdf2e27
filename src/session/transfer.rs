//! Transfers, from the data connection to 226: data moves in slices ([`Transfer`]); the data connection is closed first,
//! then 226 is queued. How it came to one is told by `opening`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ftp::command::Mode;
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Outcome, TransferEvent};
use crate::net::control::Gone;
use crate::net::copy::{Fault, Moved};
use crate::net::data::DataConnection;
use crate::pool::{Class, Watch};
use crate::storage::Pace;

use super::negotiate::Route;
use super::refusal::fault_reply;
use super::upload::Ending;
use super::work::Work;
use super::{Activity, Heard, Metered, Session, Step, TOO_MUCH};

/// How much data one interactive turn moves: the whole of a small file, the beginning of a large one.
pub(super) const INTERACTIVE_BYTES: usize = 64 * 1024;
/// How much data one bulk turn moves: long enough that what a turn costs besides does not count, short enough that a command
/// waits no longer for it than for its way through the network.
const BULK_BYTES: usize = 256 * 1024;
/// The same for a transfer that has not moved [`YOUNG_BYTES`]: of many files of a few MiB that are fetched at once, none is
/// there long before the others.
const YOUNG_BULK_BYTES: usize = 128 * 1024;
const YOUNG_BYTES: u64 = 4 * 1024 * 1024;
/// The same for an upload: a file system takes one large piece in half the time of several small ones.
const UPLOAD_BULK_BYTES: usize = 1024 * 1024;
/// TLS: how long a client that has got everything may take to close its side, before it is told that this was all.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// What comes after a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Commands,
    /// QUIT was said meanwhile.
    Farewell,
    /// More was said meanwhile than may be.
    Dismissal,
}

/// What is to be transferred.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) verb: &'static Verb,
    pub(super) path: VirtualPath,
    pub(super) begun: Instant,
    pub(super) then: Then,
}

/// Data on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    connection: DataConnection,
    pub(super) order: Order,
    work: Work,
    bytes: u64,
    progressed_at: Instant,
    /// The rate that it keeps to, with the other transfers of its user; and until when it pauses for that.
    pace: Option<Arc<Pace>>,
    paused_until: Option<Instant>,
    /// The last bytes in block mode were no part of the file: headers and markers are no progress.
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
        if self.connection.is_hung_up() {
            watch.readable(self.connection.descriptor(), class);
        } else {
            self.work.watch(&self.connection, class, watch);
        }
    }

    /// Whether commands of its client wait until a marker is answered.
    pub(super) fn owes_a_marker(&self) -> bool {
        matches!(&self.work, Work::Receive(incoming) if incoming.owes_a_marker())
    }

    /// Whether everything is sent and only the client's close is waited for.
    pub(super) fn is_hung_up(&self) -> bool {
        self.connection.is_hung_up()
    }

    fn stalls_at(&self, stall_timeout: Duration) -> Instant {
        self.progressed_at + if self.is_hung_up() { HANG_UP_TIMEOUT } else { stall_timeout }
    }

    fn waits_for_storage(&self) -> bool {
        matches!(&self.work, Work::Receive(incoming) if incoming.waits_for_storage())
    }

    /// When what has arrived is to be flushed although nothing more comes.
    fn flush_due(&self) -> Option<Instant> {
        if let Work::Receive(incoming) = &self.work { incoming.flush_due() } else { None }
    }

    /// Returns whether only a flush is due.
    pub(super) fn only_flushes(&self, now: Instant, stall_timeout: Duration) -> bool {
        self.flush_due().is_some_and(|due| due <= now) && self.stalls_at(stall_timeout) > now
    }

    /// Moves a slice.
    fn advance(&mut self, slice: usize, now: Instant) -> Result<Moved, Fault> {
        let (waited, received) = (self.waits_for_storage(), self.work.received());
        let advanced = self.work.advance(&mut self.connection, slice, now);
        if waited && !self.waits_for_storage() {
            // The client's time begins again.
            self.progressed_at = now;
        }
        self.idles = received.is_some() && received == self.work.received();
        advanced
    }

    /// Whether its rate lets it move nothing now.
    fn pauses(&mut self, now: Instant) -> bool {
        self.paused_until = self.pace.as_ref().and_then(|pace| pace.busy_until(now));
        if let Some(until) = self.paused_until {
            // That it moves nothing is our doing.
            self.progressed_at = until;
        }
        self.paused_until.is_some()
    }

    /// When it must be looked at although nothing happened: it may go on, or has stalled.
    pub(super) fn due_at(&self, stall_timeout: Duration) -> Instant {
        let due = self.paused_until.unwrap_or_else(|| self.stalls_at(stall_timeout));
        self.flush_due().map_or(due, |flush| flush.min(due))
    }

    /// Whether it waits for its own rate alone.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// How many of so many bytes may move at once.
    fn slice(&self, bytes: usize) -> usize {
        self.pace.as_ref().map_or(bytes, |pace| bytes.min(pace.slice()))
    }

    /// STAT during the transfer.
    fn status(&self, now: Instant) -> Reply {
        let seconds = now.duration_since(self.order.begun).as_secs();
        let text =
            format!("{}: {} bytes in {seconds} seconds so far.", self.order.verb.name, self.bytes);
        Reply::new(Code::STATUS, text)
    }
}

impl Session {
    /// How many bytes a turn of this class may move.
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

    /// The data connection is there.
    pub(super) fn transfer(
        &mut self,
        connection: DataConnection,
        order: Order,
        work: Work,
        now: Instant,
    ) {
        let metered = Metered::new(self.service.meter());
        let pace = self.login.member().and_then(|member| work.pace(&member.account));
        self.enter(Activity::Transfer(Box::new(Transfer {
            connection,
            order,
            work,
            bytes: 0,
            progressed_at: now,
            pace,
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
    ) -> Result<Step, Gone> {
        let mut then = transfer.order.then;
        let heard = self.hear_during_transfer(&mut then, || transfer.status(now), now);
        transfer.order.then = then;
        let heard = match heard {
            Ok(heard) => heard,
            Err(gone) => {
                // For the log: see abandon.
                self.enter(Activity::Transfer(transfer));
                return Err(gone);
            }
        };
        match heard {
            Heard::Abort => {
                self.end_with(*transfer, Ending::Aborted, now);
                return Ok(Step::More);
            }
            Heard::TooMuch => {
                self.end(*transfer, aborted(), Outcome::CutOff, now);
                return Ok(Step::More);
            }
            Heard::HangUp if transfer.work.ends_with_the_control_connection() => {
                self.enter(Activity::Transfer(transfer));
                return Err(Gone::Closed);
            }
            Heard::HangUp | Heard::Nothing => {}
        }
        if transfer.pauses(now) {
            self.enter(Activity::Transfer(transfer));
            return Ok(Step::Wait);
        }
        if budget == 0 && !transfer.work.is_over() {
            // The one before it took what there was for this turn.
            self.enter(Activity::Transfer(transfer));
            return Ok(Step::Bulk);
        }
        if transfer.work.is_over() {
            // What is left is to close the connection: no file is touched.
            let advanced = transfer.advance(0, now);
            let mut budget = budget;
            return Ok(self.go_on(transfer, advanced, now, &mut budget));
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
            Ok(session.go_on(transfer, advanced, now, budget))
        });
        Ok(Step::More)
    }

    /// What a step of a transfer came to.
    fn go_on(
        &mut self,
        mut transfer: Box<Transfer>,
        advanced: Result<Moved, Fault>,
        now: Instant,
        budget: &mut usize,
    ) -> Step {
        let step = match advanced {
            // Entries of a directory are still gathered, or what goes before an upload is copied.
            Ok(Moved::Bytes(0)) => {
                transfer.progressed_at = now;
                Step::Bulk
            }
            Ok(Moved::Bytes(count)) => {
                transfer.bytes += count;
                if let Some(pace) = &transfer.pace {
                    pace.charge(count, now);
                }
                self.service.meter.bytes.fetch_add(count, Ordering::Relaxed);
                if !transfer.idles {
                    transfer.progressed_at = now;
                }
                *budget = budget.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
                // One that is over ends in this turn.
                if *budget == 0 && !transfer.work.is_over() { Step::Bulk } else { Step::More }
            }
            Ok(Moved::WouldBlock) => Step::Wait,
            Ok(Moved::End) => match self.hang_up(&mut transfer) {
                // One that is broken now has had everything.
                Ok(true) | Err(_) => {
                    self.conclude(*transfer, now);
                    return Step::More;
                }
                Ok(false) => Step::Wait,
            },
            Err(fault) => {
                if let Fault::Storage(error) = &fault {
                    self.log(&Event::Trouble { what: "a transfer could not go on", error });
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

    /// What comes between the last byte and the reply, by TLS: both ends say that this was all. `false` while the client has
    /// not.
    fn hang_up(&self, transfer: &mut Transfer) -> io::Result<bool> {
        match (&transfer.work, self.parameters.mode) {
            (Work::Receive(_), Mode::Stream) => {
                transfer.connection.answer_end();
                Ok(true)
            }
            (_, Mode::Block) => transfer.connection.flush(),
            (_, Mode::Stream) => transfer.connection.hang_up(),
        }
    }

    /// The data connection has moved nothing for too long.
    pub(super) fn end_stalled(&mut self, transfer: Transfer, now: Instant) {
        if transfer.is_hung_up() {
            return self.conclude(transfer, now);
        }
        let seconds = self.service.limits.stall_timeout.as_secs();
        let reply = Reply::new(
            Code::TRANSFER_ABORTED,
            format!("No data for {seconds} seconds; transfer aborted."),
        );
        self.end(transfer, reply, Outcome::CutOff, now);
    }

    /// The session ends in the middle of a transfer: at least it is told to the log.
    pub(super) fn abandon(&mut self, now: Instant) {
        if let Activity::Transfer(transfer) = std::mem::take(&mut self.activity) {
            let Transfer { order, work, bytes, .. } = *transfer;
            if let Work::Receive(incoming) = work {
                // It ends by itself; nobody waits for it.
                drop(incoming.settle());
            }
            self.log_transfer(order, bytes, Outcome::CutOff, now);
        }
    }

    /// Everything has moved. The data connection is closed first, then the reply is queued: between the two lies no
    /// surprise for a client. In block mode it stays open for the next transfer, if this one came to its end.
    fn conclude(&mut self, transfer: Transfer, now: Instant) {
        let Transfer { connection, order, work, bytes, .. } = transfer;
        if self.parameters.mode == Mode::Block {
            self.route = Some(Route::Open { connection });
        } else {
            drop(connection);
        }
        match work {
            Work::Receive(incoming) => self.conclude_upload(order, incoming, now),
            Work::Send(_) | Work::SendText(_) => {
                let reply = match work.remark() {
                    None => self.complete(),
                    Some(remark) => {
                        Reply::new(self.complete().code, format!("Transfer complete. {remark}"))
                    }
                };
                // The file is closed before the reply, too.
                drop(work);
                self.finish(order, bytes, &reply, Outcome::Complete, now);
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

    /// Ends a transfer early; the order of things is as above.
    fn end(&mut self, transfer: Transfer, reply: Reply, outcome: Outcome, now: Instant) {
        self.end_with(transfer, Ending::Told(reply, outcome), now);
    }

    fn end_with(&mut self, transfer: Transfer, ending: Ending, now: Instant) {
        let Transfer { connection, order, work, bytes, .. } = transfer;
        drop(connection);
        self.end_work(order, work, bytes, ending, now);
    }

    /// Ends what was to be moved: what has arrived of an upload is flushed elsewhere before the reply.
    pub(super) fn end_work(
        &mut self,
        order: Order,
        work: Work,
        bytes: u64,
        ending: Ending,
        now: Instant,
    ) {
        match (work, ending) {
            (Work::Receive(incoming), ending) => self.keep(order, *incoming, ending, now),
            (_, Ending::Told(reply, outcome)) => self.finish(order, bytes, &reply, outcome, now),
            (_, Ending::CutOff(_) | Ending::Aborted) => {
                self.finish(order, bytes, &aborted(), Outcome::Aborted, now);
                self.reply(&abort_done());
            }
        }
    }

    pub(super) fn finish(
        &mut self,
        order: Order,
        bytes: u64,
        reply: &Reply,
        outcome: Outcome,
        now: Instant,
    ) {
        let then = order.then;
        self.log_transfer(order, bytes, outcome, now);
        self.reply(reply);
        // Data activity counts as activity of the control connection.
        self.heard_at = now;
        self.go_on_after(then, now);
    }

    /// Does what was asked for during a transfer, now that it has ended.
    pub(super) fn go_on_after(&mut self, then: Then, now: Instant) {
        match then {
            Then::Commands => self.enter(Activity::Commands),
            Then::Farewell => self.quit(now),
            Then::Dismissal => self.dismiss(TOO_MUCH, now),
        }
    }

    fn log_transfer(&self, order: Order, bytes: u64, outcome: Outcome, now: Instant) {
        let Order { verb, path, begun, .. } = order;
        let took = now.duration_since(begun);
        self.log(&Event::Transfer(&TransferEvent { verb: verb.name, path, bytes, took, outcome }));
    }
}

pub(super) fn aborted() -> Reply {
    Reply::new(Code::TRANSFER_ABORTED, "Transfer aborted.")
}

pub(super) fn abort_done() -> Reply {
    Reply::new(Code::TRANSFER_COMPLETE, "ABOR done.")
}
