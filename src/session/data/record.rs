//! A transfer as its replies and its log line describe it.

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

use crate::events::{Direction, Event, Outcome, TransferEvent};
use crate::ftp::command::Type;
use crate::ftp::verb::Verb;
use crate::ftp::{Reply, VirtualPath};
use crate::session::context::Context;
use crate::spool::Stored;

/// The next action after a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum AfterTransfer {
    /// Reads commands.
    Commands,
    /// QUIT was received during the transfer.
    Farewell,
    /// Too many commands were received during the transfer.
    Dismissal,
}

/// A transfer that a client has requested, and its progress.
#[derive(Debug, Clone)]
pub(in crate::session) struct TransferRecord {
    pub(in crate::session) verb: &'static Verb,
    pub(in crate::session) direction: Direction,
    pub(in crate::session) path: VirtualPath,
    pub(in crate::session) begun: Instant,
    /// Number of bytes moved; of an upload that has ended, number of bytes of the file.
    pub(in crate::session) bytes: u64,
    pub(in crate::session) then: AfterTransfer,
    /// ABOR was received: its own reply follows the reply to the transfer.
    pub(in crate::session) aborted: bool,
}

impl TransferRecord {
    pub(in crate::session) fn new(
        verb: &'static Verb,
        direction: Direction,
        path: VirtualPath,
        begun: Instant,
    ) -> Self {
        Self {
            verb,
            direction,
            path,
            begun,
            bytes: 0,
            then: AfterTransfer::Commands,
            aborted: false,
        }
    }

    /// Reports its end.
    pub(in crate::session) fn log(self, cx: &mut Context, outcome: Outcome, reply: Option<&Reply>) {
        let is_text = cx.data.parameters.chosen_type == Some(Type::Ascii);
        let Self { verb, direction, path, begun, bytes, .. } = self;
        let (took, reply) = (cx.now.duration_since(begun), reply.map(|reply| reply.code.0));
        let event = TransferEvent {
            verb: verb.name,
            direction,
            path,
            bytes,
            took,
            outcome,
            reply,
            is_text,
        };
        cx.log(&Event::Transfer(&event));
        cx.presence.end_transfer();
    }

    /// Describes an upload for programs of the administrator; `file` is its path on this machine.
    pub(in crate::session) fn stored(&self, cx: &Context, file: Option<PathBuf>) -> Stored {
        Stored {
            time: Timestamp::now(),
            session: cx.identity.session.to_string(),
            user: cx.identity.user.as_deref().unwrap_or_default().to_vec(),
            host: cx.identity.served_host.as_deref().map(str::to_owned),
            client: cx.identity.peer.ip(),
            verb: self.verb.name,
            path: self.path.as_bytes().to_vec(),
            file,
            bytes: self.bytes,
        }
    }
}
