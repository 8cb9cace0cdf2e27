//! Transfers: from RETR, STOR or LIST to 226, in the order it happens.
//!
//! A command makes an [`Order`] and answers 150; the data connection comes ([`Awaiting`]); data moves in slices
//! ([`Transfer`]); the data connection is closed first, then 226 is queued.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ftp::ascii::{FromWire, ToWire};
use crate::ftp::command::{PathName, Selection, Type};
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Outcome, TransferEvent};
use crate::net::control::Gone;
use crate::net::copy::{self, Fault, Moved};
use crate::net::data::Opening;
use crate::pool::{Class, Watch};
use crate::storage::Start;

use super::listing::{Format, Lister};
use super::negotiate::Route;
use super::refusal::{Refusal, fault_reply};
use super::{Activity, Heard, Metered, Pending, Session, Step};

/// How much data one interactive turn moves: the whole of a small file, the beginning of a large one.
const INTERACTIVE_BYTES: usize = 64 * 1024;
/// How much data one bulk turn moves.
const BULK_BYTES: usize = 1024 * 1024;
/// How much text is read from a file or a directory before it is sent.
const TEXT_BYTES: usize = 32 * 1024;

/// How many bytes a turn of this class may move.
pub(super) fn budget(class: Class) -> usize {
    match class {
        Class::Interactive => INTERACTIVE_BYTES,
        Class::Bulk => BULK_BYTES,
    }
}

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
    work: Work,
    verb: &'static Verb,
    path: VirtualPath,
    begun: Instant,
    pub(super) then: Then,
}

impl Order {
    /// The data connection goes with the control connection (RFC 959 §3.2), but for an upload: some clients hang up
    /// without waiting for the 226, and what they have sent is not thrown away.
    fn ends_with_the_control_connection(&self) -> bool {
        !matches!(self.work, Work::Receive(_))
    }
}

/// Which way data goes.
#[derive(Debug)]
enum Work {
    Send(Outgoing),
    Receive(Incoming),
    List { lister: Box<Lister>, unsent: Vec<u8>, ended: bool },
}

impl Work {
    /// Moves data, `budget` bytes at most.
    fn advance(&mut self, stream: &TcpStream, budget: usize) -> Result<Moved, Fault> {
        match self {
            Self::Send(outgoing) => outgoing.advance(stream, budget),
            Self::Receive(incoming) => incoming.advance(stream),
            Self::List { lister, unsent, ended } => {
                while !*ended && unsent.len() < TEXT_BYTES {
                    let before = unsent.len();
                    *ended = lister.fill(unsent).map_err(Fault::Storage)?;
                    if unsent.len() == before && !*ended {
                        // Entries are still gathered; others may have a turn.
                        return Ok(Moved::Bytes(0));
                    }
                }
                if unsent.is_empty() { Ok(Moved::End) } else { copy::send_bytes(unsent, stream) }
            }
        }
    }
}

/// A file on its way to the client.
#[derive(Debug)]
struct Outgoing {
    file: File,
    offset: u64,
    /// The size when it was opened: so much was promised, so much is sent, even if the file grows.
    end: u64,
    /// TYPE A: the converter, and what it has made that is not sent yet.
    ascii: Option<(ToWire, Vec<u8>)>,
}

impl Outgoing {
    fn advance(&mut self, stream: &TcpStream, budget: usize) -> Result<Moved, Fault> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let Some((converter, unsent)) = &mut self.ascii else {
            if left == 0 {
                return Ok(Moved::End);
            }
            return match copy::send_file(&self.file, &mut self.offset, stream, left.min(budget))? {
                Moved::End => Err(shrunk()),
                moved => Ok(moved),
            };
        };
        if unsent.is_empty() && left > 0 {
            let mut chunk = vec![0; left.min(TEXT_BYTES)];
            let count = self.file.read_at(&mut chunk, self.offset).map_err(Fault::Storage)?;
            if count == 0 {
                return Err(shrunk());
            }
            self.offset += count as u64;
            converter.convert(chunk.get(..count).unwrap_or_default(), unsent);
        }
        if unsent.is_empty() { Ok(Moved::End) } else { copy::send_bytes(unsent, stream) }
    }
}

/// The file became shorter than what was promised.
fn shrunk() -> Fault {
    Fault::Storage(io::ErrorKind::UnexpectedEof.into())
}

/// A file on its way from the client.
#[derive(Debug)]
struct Incoming {
    file: File,
    /// Something is there that this upload replaces. It is cut off when the data connection is there, and not before: an
    /// upload that never begins must not cost the old file.
    replaces: bool,
    ascii: Option<(FromWire, Vec<u8>)>,
}

impl Incoming {
    fn advance(&mut self, stream: &TcpStream) -> Result<Moved, Fault> {
        if std::mem::take(&mut self.replaces) {
            self.file.set_len(0).map_err(Fault::Storage)?;
        }
        let Self { file, ascii, .. } = self;
        let moved = copy::receive(stream, |bytes| match ascii {
            None => file.write_all(bytes),
            Some((converter, text)) => {
                text.clear();
                converter.convert(bytes, text);
                file.write_all(text)
            }
        })?;
        if let (Moved::End, Some((converter, text))) = (moved, ascii) {
            text.clear();
            converter.finish(text);
            file.write_all(text).map_err(Fault::Storage)?;
        }
        Ok(moved)
    }
}

/// An order whose data connection is not there yet.
#[derive(Debug)]
pub(super) struct Awaiting {
    opening: Opening,
    pub(super) order: Order,
    pub(super) until: Instant,
}

impl Awaiting {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.opening {
            Opening::Passive(listener) => watch.readable(listener.descriptor(), Class::Interactive),
            Opening::Active(stream) => watch.writable(stream.as_fd(), Class::Interactive),
        }
    }
}

/// Data on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    stream: TcpStream,
    pub(super) order: Order,
    bytes: u64,
    progressed_at: Instant,
    _metered: Metered,
}

impl Transfer {
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        let class =
            if self.bytes < INTERACTIVE_BYTES as u64 { Class::Interactive } else { Class::Bulk };
        match self.order.work {
            Work::Receive(_) => watch.readable(self.stream.as_fd(), class),
            Work::Send(_) | Work::List { .. } => watch.writable(self.stream.as_fd(), class),
        }
    }

    pub(super) fn stalls_at(&self, stall_timeout: Duration) -> Instant {
        self.progressed_at + stall_timeout
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
        let offset = self.marker(pending)?;
        if offset > entry.size {
            return Err(Refusal::Marker("REST is beyond the end of the file."));
        }
        let ascii = (self.parameters.representation == Type::Ascii).then(Default::default);
        // Clients take the size for their progress bars from here.
        let about = match self.parameters.representation {
            Type::Image => format!(" ({} bytes).", entry.size - offset),
            Type::Ascii => ".".to_owned(),
        };
        let work = Work::Send(Outgoing { file, offset, end: entry.size, ascii });
        self.begin(work, path, verb, &about, now)
    }

    pub(super) fn store(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let start = match self.marker(pending)? {
            0 => Start::Overwrite,
            offset => Start::At(offset),
        };
        self.receive(path, start, verb, now)
    }

    pub(super) fn append(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.receive(path, Start::End, verb, now)
    }

    fn receive(
        &mut self,
        path: &PathName,
        start: Start,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        // Before the file is touched: without a way for the data, nothing may be lost of what is there.
        self.route.as_ref().ok_or(Refusal::NoRoute)?;
        let member = self.member()?;
        let path = member.resolve(path)?;
        let file = member.root().write(&path, start).map_err(|error| match start {
            Start::At(_)
                if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) =>
            {
                Refusal::Marker("REST is beyond the end of the file.")
            }
            _ => error.into(),
        })?;
        let work = self.incoming(file, start);
        self.begin(work, path, verb, ".", now)
    }

    /// STOU: the name stands in the 150 (RFC 1123 §4.1.2.9).
    pub(super) fn store_unique(
        &mut self,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.route.as_ref().ok_or(Refusal::NoRoute)?;
        let member = self.member()?;
        let (file, path) = member.root().write_unique(&member.directory)?;
        let work = self.incoming(file, Start::Overwrite);
        let reply = Reply::new(Code::OPENING_DATA_CONNECTION, [b"FILE: ", path.name()].concat());
        self.begin_with(work, path, verb, &reply, now)
    }

    fn incoming(&self, file: File, start: Start) -> Work {
        let ascii = (self.parameters.representation == Type::Ascii).then(Default::default);
        Work::Receive(Incoming { file, replaces: start == Start::Overwrite, ascii })
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
        let lister = Box::new(Lister::open(member, selection, format)?);
        self.begin(Work::List { lister, unsent: Vec::new(), ended: false }, path, verb, ".", now)
    }

    pub(super) fn machine_list_directory(
        &mut self,
        path: Option<PathName>,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?;
        let at = member.resolve_or_here(path.as_ref())?;
        let lister = Box::new(Lister::open_directory(member, path, self.parameters.facts)?);
        self.begin(Work::List { lister, unsent: Vec::new(), ended: false }, at, verb, ".", now)
    }

    /// The offset that REST set for this transfer.
    fn marker(&self, pending: &Pending) -> Result<u64, Refusal> {
        match pending {
            Pending::Restart(offset)
                if *offset > 0 && self.parameters.representation == Type::Ascii =>
            {
                Err(Refusal::Marker("REST needs TYPE I: an offset has no meaning in TYPE A."))
            }
            Pending::Restart(offset) => Ok(*offset),
            _ => Ok(0),
        }
    }

    fn begin(
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
        self.begin_with(work, path, verb, &Reply::new(Code::OPENING_DATA_CONNECTION, text), now)
    }

    /// Takes the route, answers 150 and waits for the data connection.
    fn begin_with(
        &mut self,
        work: Work,
        path: VirtualPath,
        verb: &'static Verb,
        reply: &Reply,
        now: Instant,
    ) -> Result<(), Refusal> {
        let opening = match self.route.take().ok_or(Refusal::NoRoute)? {
            Route::Passive { listener, .. } => Ok(Opening::Passive(listener)),
            Route::Active { to, .. } => Opening::connect(self.control.local(), to),
        };
        self.reply(reply);
        let order = Order { work, verb, path, begun: now, then: Then::Commands };
        let until = now + self.service.limits.data_connect_timeout;
        match opening {
            Ok(opening) => {
                self.enter(Activity::Opening(Box::new(Awaiting { opening, order, until })));
            }
            Err(error) => self.finish(order, 0, &cannot_connect(&error), Outcome::Failed, now),
        }
        Ok(())
    }

    pub(super) fn await_data_connection(
        &mut self,
        awaiting: Awaiting,
        now: Instant,
    ) -> Result<Step, Gone> {
        let Awaiting { opening, mut order, until } = awaiting;
        let waiting = || Reply::new(Code::STATUS, "Waiting for the data connection.");
        match self.hear_during_transfer(&mut order.then, waiting, now)? {
            Heard::HangUp if order.ends_with_the_control_connection() => return Err(Gone::Closed),
            Heard::HangUp | Heard::Nothing => {}
            Heard::Abort => {
                self.finish(order, 0, &aborted(), Outcome::Aborted, now);
                self.reply(&abort_done());
                return Ok(Step::More);
            }
        }
        match opening.advance() {
            Ok(Ok(stream)) => {
                let metered = Metered::new(self.service.meter());
                let transfer =
                    Transfer { stream, order, bytes: 0, progressed_at: now, _metered: metered };
                self.enter(Activity::Transfer(Box::new(transfer)));
                Ok(Step::More)
            }
            Ok(Err(opening)) => {
                self.enter(Activity::Opening(Box::new(Awaiting { opening, order, until })));
                Ok(Step::Wait)
            }
            Err(error) => {
                self.finish(order, 0, &cannot_connect(&error), Outcome::Failed, now);
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
            Heard::HangUp if transfer.order.ends_with_the_control_connection() => {
                self.enter(Activity::Transfer(transfer));
                return Err(Gone::Closed);
            }
            Heard::HangUp | Heard::Nothing => {}
        }
        let step = match transfer.order.work.advance(&transfer.stream, *budget) {
            // Entries of a directory are still gathered.
            Ok(Moved::Bytes(0)) => Step::Bulk,
            Ok(Moved::Bytes(count)) => {
                transfer.bytes += count;
                self.service.meter.bytes.fetch_add(count, Ordering::Relaxed);
                transfer.progressed_at = now;
                *budget = budget.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
                if *budget == 0 { Step::Bulk } else { Step::More }
            }
            Ok(Moved::WouldBlock) => Step::Wait,
            Ok(Moved::End) => {
                self.end(
                    *transfer,
                    &Reply::new(Code::TRANSFER_COMPLETE, "Transfer complete."),
                    Outcome::Complete,
                    now,
                );
                return Ok(Step::More);
            }
            Err(fault) => {
                if let Fault::Storage(error) = &fault {
                    self.log(&Event::Trouble { what: "a transfer could not go on", error });
                }
                let outcome = match fault {
                    Fault::Connection(_) => Outcome::CutOff,
                    Fault::Storage(_) => Outcome::Failed,
                };
                self.end(*transfer, &fault_reply(&fault), outcome, now);
                return Ok(Step::More);
            }
        };
        self.enter(Activity::Transfer(transfer));
        Ok(step)
    }

    /// The data connection did not come in time.
    pub(super) fn give_up_opening(&mut self, awaiting: Awaiting, now: Instant) {
        let Awaiting { opening, order, .. } = awaiting;
        drop(opening);
        let seconds = self.service.limits.data_connect_timeout.as_secs();
        let reply = Reply::new(
            Code::DATA_CONNECTION_FAILED,
            format!("No data connection within {seconds} seconds."),
        );
        self.finish(order, 0, &reply, Outcome::Failed, now);
    }

    /// The data connection has moved nothing for too long.
    pub(super) fn end_stalled(&mut self, transfer: Transfer, now: Instant) {
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
            let Transfer { order, bytes, .. } = *transfer;
            self.log_transfer(order, bytes, Outcome::CutOff, now);
        }
    }

    /// The data connection is closed first, then the reply is queued: between the two lies no surprise for a client.
    fn end(&mut self, transfer: Transfer, reply: &Reply, outcome: Outcome, now: Instant) {
        let Transfer { stream, order, bytes, .. } = transfer;
        drop(stream);
        self.finish(order, bytes, reply, outcome, now);
    }

    fn finish(&mut self, order: Order, bytes: u64, reply: &Reply, outcome: Outcome, now: Instant) {
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

    /// Takes the order, and with it the file, which is closed before the reply is queued.
    fn log_transfer(&self, order: Order, bytes: u64, outcome: Outcome, now: Instant) {
        let Order { work, verb, path, begun, .. } = order;
        drop(work);
        let took = now.duration_since(begun);
        self.log(&Event::Transfer(&TransferEvent { verb: verb.name, path, bytes, took, outcome }));
    }
}

fn aborted() -> Reply {
    Reply::new(Code::TRANSFER_ABORTED, "Transfer aborted.")
}

fn abort_done() -> Reply {
    Reply::new(Code::TRANSFER_COMPLETE, "ABOR done.")
}

fn cannot_connect(error: &io::Error) -> Reply {
    let why =
        if error.kind() == io::ErrorKind::ConnectionRefused { "refused" } else { "not possible" };
    Reply::new(Code::DATA_CONNECTION_FAILED, format!("Data connection {why}."))
}
