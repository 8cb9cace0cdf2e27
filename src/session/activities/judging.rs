//! An upload whose data has ended in order: decides whether it is whole.
//!
//! [`decide`] alone decides, after the data, after the scan, and right before the rename if the client has sent something
//! or is gone.

use std::time::{Duration, Instant};

use crate::events::Outcome;
use crate::ftp::line::Unfinished;
use crate::net::control::Disconnect;
use crate::pool::Watch;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::{AfterTransfer, TransferRecord};
use crate::storage::{ABORTED, ClientState, Completeness};

use super::committing::commit;
use super::ending::Ending;
use super::keeping::keep;
use super::polling::{Polled, poll, reads_now, storing};
use super::scanning::scan;

/// Maximum wait for the rest of a line that began before the data ended and may be ABOR.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of reads of the control connection after the data has ended.
const READS_MAX: u32 = 256;

/// An upload whose data has ended, while a line arrives that may be ABOR.
#[derive(Debug)]
struct Judging {
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    until: Instant,
}

/// Judges an upload whose data has ended in order. Commands that the client sent before count first: an ABOR that has
/// arrived, or is arriving, wins.
pub(super) fn begin(cx: &mut Context, record: TransferRecord, receiver: Box<FileReceiver>) -> Next {
    decide_again(cx, record, receiver, ClientState::Present)
}

/// Judges an upload of whose client this is known.
fn decide_again(
    cx: &mut Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    known: ClientState,
) -> Next {
    let until = cx.now + LINE_TIMEOUT;
    decide(cx, record, receiver, known, until)
}

/// Decides whether an upload is whole, whatever the sign: ABOR, ALLO, the end of the data, the state of the client, of
/// which `known` is known already. Waits until `until` for the rest of a line that may be ABOR. A whole upload is
/// committed, any other kept.
fn decide(
    cx: &mut Context,
    mut record: TransferRecord,
    mut receiver: Box<FileReceiver>,
    known: ClientState,
    until: Instant,
) -> Next {
    record.bytes = receiver.received();
    let client = match known {
        ClientState::Present => look_for_abort(cx, &mut record.then),
        known => Ok(known),
    };
    let client = match client {
        Ok(client) => client,
        Err(_) if cx.now < until => return Next::wait(Judging { record, receiver, until }),
        // A client that sends a Telnet interrupt means to abort, even if the rest of the command does not arrive.
        Err(Unfinished::Interrupt) => ClientState::Aborted,
        Err(Unfinished::Abort | Unfinished::Other) => ClientState::Present,
    };
    let ended = (record.path.clone(), receiver.position());
    // If the client has sent something meanwhile, the upload is judged again, and the mark must stay.
    receiver.repeated |= cx.data.short_upload.take().is_some_and(|short| short == ended);
    match receiver.completeness(client) {
        Completeness::Complete | Completeness::AssumedComplete
            if cx.service.checks_uploads() && !receiver.scanned =>
        {
            scan(cx, record, receiver, decide_again)
        }
        Completeness::Complete => commit(cx, record, receiver, Outcome::Complete, decide_again),
        Completeness::AssumedComplete => {
            commit(cx, record, receiver, Outcome::AssumedComplete, decide_again)
        }
        Completeness::CutOff(ABORTED) => keep(cx, record, *receiver, Ending::Aborted),
        Completeness::CutOff(why) => {
            if client == ClientState::Present {
                cx.data.short_upload = Some(ended);
            }
            keep(cx, record, *receiver, Ending::CutOff(why))
        }
    }
}

/// Reads the control connection: the client has sent ABOR, is gone, or waits. The error means that a line has begun
/// that may become ABOR.
fn look_for_abort(cx: &mut Context, then: &mut AfterTransfer) -> Result<ClientState, Unfinished> {
    for _ in 0..READS_MAX {
        cx.control.begin_turn();
        match poll(cx, then, storing) {
            Ok(Polled::Abort) => return Ok(ClientState::Aborted),
            Ok(Polled::PeerClosed) | Err(_) if *then == AfterTransfer::Commands => {
                return Ok(ClientState::Vanished);
            }
            _ => {}
        }
        if !reads_now(cx, *then) || !cx.control.has_unread() {
            break;
        }
    }
    if *then != AfterTransfer::Commands {
        return Ok(ClientState::Present);
    }
    if cx.control.has_ended() {
        return Ok(ClientState::Vanished);
    }
    match cx.control.unfinished() {
        Unfinished::Other => Ok(ClientState::Present),
        unfinished => Err(unfinished),
    }
}

impl Activity for Judging {
    fn name(&self) -> &'static str {
        "judging"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let Self { record, receiver, until } = *self;
        Ok(decide(cx, record, receiver, ClientState::Present, until))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let Self { record, receiver, until } = *self;
        Ok(decide(cx, record, receiver, ClientState::Present, until))
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.record.then, &cx.control)
    }
}
