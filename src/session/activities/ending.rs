//! The end of a transfer: its log line, its replies, and what comes after. The data connection is closed by then.

use crate::events::Outcome;
use crate::ftp::command::Mode;
use crate::ftp::{Code, Reply};
use crate::session::activity::Next;
use crate::session::context::Context;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::TransferRecord;
use crate::storage::ClientState;

use super::closing::after_transfer;

/// The end of a transfer that is not complete.
#[derive(Debug)]
pub(super) enum Ending {
    /// A 426 with this reason, and the number of bytes kept.
    CutOff(&'static str),
    /// This reply.
    Failed(Reply, Outcome),
    /// The two replies to ABOR.
    Aborted,
}

/// Judges an upload whose data has ended, and of whose client this is known. Activities that lead to another judgement
/// get it as a value, because `judging` stands above them.
pub(super) type DecideAgain =
    fn(&mut Context, TransferRecord, Box<FileReceiver>, ClientState) -> Next;

/// Ends a transfer: logs it, queues its reply and that to ABOR, and does what was requested meanwhile.
pub(super) fn finish(
    cx: &mut Context,
    record: TransferRecord,
    reply: &Reply,
    outcome: Outcome,
) -> Next {
    let (then, aborted) = (record.then, record.aborted);
    record.log(cx, outcome, Some(reply));
    cx.reply(reply);
    if aborted && !cx.control.abort_waits() {
        cx.reply(&abort_done());
    }
    // Data activity counts as activity of the control connection.
    cx.identity.last_activity = cx.now;
    after_transfer(cx, then)
}

/// Returns the reply to a transfer that is complete.
pub(super) fn complete(cx: &Context) -> Reply {
    match cx.data.parameters.mode {
        Mode::Stream => Reply::new(Code::TRANSFER_COMPLETE, "Transfer complete."),
        Mode::Block => {
            Reply::new(Code::FILE_ACTION_DONE, "Transfer complete; the data connection stays open.")
        }
    }
}

/// Returns the reply to a transfer that was aborted.
pub(super) fn aborted() -> Reply {
    Reply::new(Code::TRANSFER_ABORTED, "Transfer aborted.")
}

/// Returns the reply to ABOR.
pub(super) fn abort_done() -> Reply {
    Reply::new(Code::TRANSFER_COMPLETE, "ABOR successful.")
}
