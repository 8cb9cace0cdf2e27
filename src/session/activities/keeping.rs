//! An upload that is incomplete: what has arrived is flushed and kept, and then the reply is sent.

use std::io;

use rustix::io::Errno;

use crate::events::{Event, Outcome};
use crate::ftp::{Code, Reply};
use crate::net::copy::Fault;
use crate::session::activity::Next;
use crate::session::context::Context;
use crate::session::data::TransferData;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::TransferRecord;
use crate::session::refusal::fault_reply;
use crate::storage::ABORTED;

use super::ending::{Ending, aborted, finish};
use super::waiting::wait_for_end;

/// Ends a transfer that is not complete. What has arrived of an upload is flushed before the reply.
pub(super) fn end(
    cx: &mut Context,
    mut record: TransferRecord,
    data: TransferData,
    ending: Ending,
) -> Next {
    match (data, ending) {
        (TransferData::Receive(receiver), ending) => keep(cx, record, *receiver, ending),
        (_, Ending::Failed(reply, outcome)) => finish(cx, record, &reply, outcome),
        (_, Ending::CutOff(_) | Ending::Aborted) => {
            record.aborted = true;
            finish(cx, record, &aborted(), Outcome::Aborted)
        }
    }
}

/// Ends an incomplete upload: flushes what has arrived, and then replies.
pub(super) fn keep(
    cx: &Context,
    mut record: TransferRecord,
    receiver: FileReceiver,
    ending: Ending,
) -> Next {
    record.bytes = receiver.received();
    record.aborted |= matches!(ending, Ending::Aborted);
    let until = cx.now + cx.service.limits.stall_timeout;
    wait_for_end(
        cx,
        until,
        move || receiver.settle(),
        move |cx, kept| match kept {
            // It may still respond: it is unknown what is kept.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => fail(cx, record, error),
            kept => conclude(cx, record, ending, kept.unwrap_or_default()),
        },
    )
}

/// Replies to an incomplete upload of which this number of bytes is kept.
pub(super) fn conclude(
    cx: &mut Context,
    record: TransferRecord,
    ending: Ending,
    kept: u64,
) -> Next {
    let why = match &ending {
        Ending::CutOff(why) => why,
        Ending::Failed(..) => "the transfer did not finish",
        Ending::Aborted => ABORTED,
    };
    cx.log(&Event::CutOff { reason: why, kept });
    // The next data on this connection would not be the beginning of a file.
    cx.data.route = None;
    match ending {
        Ending::CutOff(why) => {
            let text = format!("Upload incomplete: {why}; {kept} bytes kept.");
            let reply = Reply::new(Code::TRANSFER_ABORTED, text);
            finish(cx, record, &reply, Outcome::CutOff)
        }
        Ending::Failed(reply, outcome) => finish(cx, record, &reply, outcome),
        Ending::Aborted => finish(cx, record, &aborted(), Outcome::Aborted),
    }
}

/// Ends an upload that could not be stored.
pub(super) fn fail(cx: &mut Context, record: TransferRecord, error: io::Error) -> Next {
    cx.data.route = None;
    let reply = if Errno::from_io_error(&error) == Some(Errno::BUSY) {
        Reply::new(Code::LOCAL_ERROR, "Another upload has replaced this one.")
    } else {
        cx.log(&Event::Error { message: "cannot store an upload", error: &error });
        fault_reply(&Fault::Storage(error))
    };
    finish(cx, record, &reply, Outcome::Failed)
}
