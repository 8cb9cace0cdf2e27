//! A transfer as its replies and its log line describe it.

use std::time::Instant;

use crate::events::{Outcome, TransferEvent};
use crate::ftp::VirtualPath;
use crate::ftp::verb::Verb;

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
#[derive(Debug)]
pub(in crate::session) struct TransferRecord {
    pub(in crate::session) verb: &'static Verb,
    pub(in crate::session) path: VirtualPath,
    pub(in crate::session) begun: Instant,
    /// Number of bytes moved; of an upload that has ended, number of bytes of the file.
    pub(in crate::session) bytes: u64,
    pub(in crate::session) then: AfterTransfer,
    /// ABOR was received: its own reply follows the reply to the transfer.
    pub(in crate::session) aborted: bool,
}

impl TransferRecord {
    pub(in crate::session) fn new(verb: &'static Verb, path: VirtualPath, begun: Instant) -> Self {
        Self { verb, path, begun, bytes: 0, then: AfterTransfer::Commands, aborted: false }
    }

    /// Returns the event of its end.
    pub(in crate::session) fn event(
        self,
        outcome: Outcome,
        reply: Option<u16>,
        is_text: bool,
        now: Instant,
    ) -> TransferEvent {
        let Self { verb, path, begun, bytes, .. } = self;
        let took = now.duration_since(begun);
        TransferEvent { verb: verb.name, path, bytes, took, outcome, reply, is_text }
    }
}
