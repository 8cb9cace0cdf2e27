//! Transfers: from RETR, STOR or LIST to 226, in the order it happens.
//!
//! A command makes an [`Order`] and answers 150; the data connection comes ([`Awaiting`]); data moves in slices
//! ([`Transfer`]); the data connection is closed first, then 226 is queued.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ftp::command::{Mode, PathName, Selection, Type};
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Outcome, TransferEvent};
use crate::net::control::Gone;
use crate::net::copy::{Fault, Moved};
use crate::net::data::{DataConnection, Failure, Opening, Protection};
use crate::pool::{Class, Watch};
use crate::storage::Pace;

use super::listing::{Format, Lister};
use super::negotiate::Route;
use super::refusal::{Refusal, fault_reply};
use super::upload::FLUSH_TIMEOUT;
use super::work::{Outgoing, Text, Work};
use super::{Activity, Heard, Metered, Pending, Session, Step};

/// How much data one interactive turn moves: the whole of a small file, the beginning of a large one.
const INTERACTIVE_BYTES: usize = 64 * 1024;
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
}

/// What is to be transferred.
#[derive(Debug)]
pub(super) struct Order {
    verb: &'static Verb,
    path: VirtualPath,
    begun: Instant,
    pub(super) then: Then,
}

/// An order whose data connection is not there yet.
#[derive(Debug)]
pub(super) struct Awaiting {
    opening: Opening,
    protection: Option<Protection>,
    pub(super) order: Order,
    work: Work,
    pub(super) until: Instant,
}

impl Awaiting {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.opening {
            Opening::Passive(listener) => watch.readable(listener.descriptor(), Class::Interactive),
            Opening::Active(stream) => watch.writable(stream.as_fd(), Class::Interactive),
            Opening::Securing(connection) if connection.wants_to_send() => {
                watch.writable(connection.descriptor(), Class::Interactive);
            }
            Opening::Securing(connection) => {
                watch.readable(connection.descriptor(), Class::Interactive);
            }
        }
    }
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

    /// A client that waits for our disk is not the one that stalls.
    fn stalls_at(&self, stall_timeout: Duration) -> Instant {
        let timeout = if self.waits_for_a_flush() {
            FLUSH_TIMEOUT
        } else if self.is_hung_up() {
            HANG_UP_TIMEOUT
        } else {
            stall_timeout
        };
        self.progressed_at + timeout
    }

    fn waits_for_a_flush(&self) -> bool {
        matches!(&self.work, Work::Receive(incoming) if incoming.waits_for_a_flush())
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
        self.paused_until.unwrap_or_else(|| self.stalls_at(stall_timeout))
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

    pub(super) fn retrieve(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?;
        let path = member.resolve(path)?;
        let (file, entry) = member.root().read(&path)?;
        let (offset, end) = match pending.range {
            Some(_) if self.parameters.representation == Type::Ascii => {
                return Err(Refusal::Marker(
                    "RANG needs TYPE I: an offset has no meaning in TYPE A.",
                ));
            }
            Some(range) => (range.first, range.last.saturating_add(1)),
            None => (self.marker(pending)?, entry.size),
        };
        if offset > entry.size {
            return Err(Refusal::Marker("REST is beyond the end of the file."));
        }
        let end = end.min(entry.size);
        // Clients take the size for their progress bars from here.
        let about = match self.parameters.representation {
            Type::Image => format!(" ({} bytes).", end - offset),
            Type::Ascii => ".".to_owned(),
        };
        let mode = self.parameters.mode;
        let work = match self.parameters.representation {
            Type::Image => Work::Send(Outgoing::new(file, offset, end, mode)),
            Type::Ascii => Work::SendText(Text::of_file(file, end, mode)),
        };
        self.begin(work, path, verb, &about, now)
    }

    pub(super) fn list(
        &mut self,
        selection: &Selection,
        format: Format,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        let format = match format {
            Format::Names if selection.long => Format::Long,
            format => format,
        };
        let member = self.member()?;
        let path = member.resolve_or_here(selection.path.as_ref())?;
        let lister = Lister::open(member, selection, format)?;
        let work = Work::SendText(Text::of_list(lister, self.parameters.mode));
        self.begin(work, path, verb, ".", now)
    }

    pub(super) fn machine_list_directory(
        &mut self,
        path: Option<PathName>,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?;
        let at = member.resolve_or_here(path.as_ref())?;
        let lister = Lister::open_directory(member, path, self.parameters.facts)?;
        let work = Work::SendText(Text::of_list(lister, self.parameters.mode));
        self.begin(work, at, verb, ".", now)
    }

    /// The offset that REST set for this transfer.
    pub(super) fn marker(&self, pending: &Pending) -> Result<u64, Refusal> {
        match pending.restart {
            1.. if self.parameters.representation == Type::Ascii => {
                Err(Refusal::Marker("REST needs TYPE I: an offset has no meaning in TYPE A."))
            }
            offset => Ok(offset),
        }
    }

    pub(super) fn begin(
        &mut self,
        work: Work,
        path: VirtualPath,
        verb: &'static Verb,
        about: &str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let kind = match self.parameters.representation {
            Type::Ascii => "ASCII",
            Type::Image => "BINARY",
        };
        let text = [
            b"Opening ",
            kind.as_bytes(),
            b" mode data connection for ",
            path.as_bytes(),
            about.as_bytes(),
        ]
        .concat();
        self.begin_with(work, path, verb, text, now)
    }

    /// Takes the route, answers 150 and waits for the data connection; or, in block mode, answers 125 and goes on with
    /// the one that is open.
    pub(super) fn begin_with(
        &mut self,
        work: Work,
        path: VirtualPath,
        verb: &'static Verb,
        text: Vec<u8>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.check_route()?;
        let order = Order { verb, path, begun: now, then: Then::Commands };
        let opening = match self.route.take().ok_or(Refusal::NoRoute)? {
            Route::Open { connection } => {
                self.reply(&Reply::new(Code::DATA_CONNECTION_OPEN, text));
                self.transfer(connection, order, work, now);
                return Ok(());
            }
            Route::Passive { listener, .. } => Ok(Opening::Passive(listener)),
            Route::Active { to, .. } => Opening::connect(self.control.local(), to),
        };
        self.reply(&Reply::new(Code::OPENING_DATA_CONNECTION, text));
        if !work.fits(INTERACTIVE_BYTES as u64) {
            // Of a large file the client hears before it comes; of a small one, together with its end. A connection that is
            // broken shows at the next flush.
            let _sent = self.control.flush(now);
        }
        let until = now + self.service.limits.data_connect_timeout;
        let protection = self.protection(work.direction());
        match opening {
            Ok(opening) => {
                self.enter(Activity::Opening(Box::new(Awaiting {
                    opening,
                    protection,
                    order,
                    work,
                    until,
                })));
            }
            Err(error) => {
                drop(work);
                self.finish(order, 0, &cannot_connect(&error), Outcome::Failed, now);
            }
        }
        Ok(())
    }

    fn transfer(&mut self, connection: DataConnection, order: Order, work: Work, now: Instant) {
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
            _metered: metered,
        })));
    }

    pub(super) fn await_data_connection(
        &mut self,
        awaiting: Awaiting,
        now: Instant,
    ) -> Result<Step, Gone> {
        let Awaiting { opening, protection, mut order, work, until } = awaiting;
        let waiting = || Reply::new(Code::STATUS, "Waiting for the data connection.");
        match self.hear_during_transfer(&mut order.then, waiting, now)? {
            Heard::HangUp if work.ends_with_the_control_connection() => return Err(Gone::Closed),
            Heard::HangUp | Heard::Nothing => {}
            Heard::Abort => {
                drop(work);
                self.finish(order, 0, &aborted(), Outcome::Aborted, now);
                self.reply(&abort_done());
                return Ok(Step::More);
            }
        }
        let mut spare = None;
        let opened = opening.advance(protection.as_ref(), &mut spare);
        self.keep_listener(spare, now);
        match opened {
            Ok(Ok(connection)) => {
                self.transfer(connection, order, work, now);
                Ok(Step::More)
            }
            Ok(Err(opening)) => {
                self.enter(Activity::Opening(Box::new(Awaiting {
                    opening,
                    protection,
                    order,
                    work,
                    until,
                })));
                Ok(Step::Wait)
            }
            Err(failure) => {
                drop(work);
                let reply = match &failure {
                    Failure::Connect(error) => cannot_connect(error),
                    Failure::Handshake(error) => self.handshake_failed(error),
                    Failure::Stranger => self.not_resumed(),
                };
                self.finish(order, 0, &reply, Outcome::Failed, now);
                Ok(Step::More)
            }
        }
    }

    pub(super) fn move_data(
        &mut self,
        mut transfer: Box<Transfer>,
        now: Instant,
        budget: &mut usize,
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
                self.end(*transfer, &aborted(), Outcome::Aborted, now);
                self.reply(&abort_done());
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
        if *budget == 0 && !transfer.work.is_over() {
            // The one before it took what there was for this turn.
            self.enter(Activity::Transfer(transfer));
            return Ok(Step::Bulk);
        }
        let waited = transfer.waits_for_a_flush();
        let slice = transfer.slice(*budget);
        let advanced = transfer.work.advance(&mut transfer.connection, slice);
        if waited && !transfer.waits_for_a_flush() {
            // The client's time begins anew.
            transfer.progressed_at = now;
        }
        if let Work::Receive(incoming) = &mut transfer.work
            && let Some(marker) = incoming.take_safe_marker()
        {
            self.reply(&marker.reply());
        }
        Ok(self.go_on(transfer, advanced, now, budget))
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
                transfer.progressed_at = now;
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
                self.end(*transfer, &fault_reply(&fault), outcome, now);
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

    fn handshake_failed(&self, error: &io::Error) -> Reply {
        self.log(&Event::Trouble { what: "a data connection could not be secured", error });
        Reply::new(Code::UNSUPPORTED_PROTOCOL, "The TLS handshake of the data connection failed.")
    }

    /// RFC 4217 §10: the negotiation was unacceptable.
    fn not_resumed(&self) -> Reply {
        let why = "its data connection did not resume the TLS session of its control connection; for clients that cannot, \
                   or that share sessions between connections, there is --no-tls-reuse";
        self.log(&Event::Refused { peer: self.control.peer(), why });
        let text = "The data connection did not resume the TLS session of this control connection.";
        Reply::new(Code::UNSUPPORTED_PROTOCOL, text)
    }

    /// The data connection did not come in time.
    pub(super) fn give_up_opening(&mut self, awaiting: Awaiting, now: Instant) {
        let Awaiting { opening, order, work, .. } = awaiting;
        drop((opening, work));
        let seconds = self.service.limits.data_connect_timeout.as_secs();
        let reply = Reply::new(
            Code::DATA_CONNECTION_FAILED,
            format!("No data connection within {seconds} seconds."),
        );
        self.finish(order, 0, &reply, Outcome::Failed, now);
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
        self.end(transfer, &reply, Outcome::CutOff, now);
    }

    /// The session ends in the middle of a transfer: at least it is told to the log.
    pub(super) fn abandon(&mut self, now: Instant) {
        if let Activity::Transfer(transfer) = std::mem::take(&mut self.activity) {
            let Transfer { order, work, bytes, .. } = *transfer;
            self.put_away(work);
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
            Work::Receive(incoming) => self.conclude_upload(order, *incoming, now),
            Work::Send(_) | Work::SendText(_) => {
                // The file is closed before the reply, too.
                drop(work);
                self.finish(order, bytes, &self.complete(), Outcome::Complete, now);
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
    fn end(&mut self, transfer: Transfer, reply: &Reply, outcome: Outcome, now: Instant) {
        let Transfer { connection, order, work, bytes, .. } = transfer;
        drop(connection);
        self.put_away(work);
        self.finish(order, bytes, reply, outcome, now);
    }

    /// What has arrived of an upload is kept, and the log says so.
    fn put_away(&self, work: Work) {
        if let Work::Receive(incoming) = work {
            let kept = incoming.settle();
            self.log(&Event::CutOff { why: "it did not come to its end", kept });
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
        match then {
            Then::Commands => self.enter(Activity::Commands),
            Then::Farewell => self.quit(now),
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

fn cannot_connect(error: &io::Error) -> Reply {
    let why =
        if error.kind() == io::ErrorKind::ConnectionRefused { "refused" } else { "not possible" };
    Reply::new(Code::DATA_CONNECTION_FAILED, format!("Data connection {why}."))
}
