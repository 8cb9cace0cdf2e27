//! The data of a transfer, and how one slice of it moves. Not here: the session, its connections, its replies.

pub(super) mod listing;
pub(super) mod receive;
pub(super) mod record;
mod recursion;
pub(super) mod send;
pub(super) mod text;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::net::client_of;
use crate::net::copy::{Fault, Moved};
use crate::net::data::DataConnection;
use crate::net::tls::Direction;
use crate::pool::{Class, Watch};
use crate::session::service::Service;
use crate::storage::{Account, TransferRates};

use receive::FileReceiver;
use send::FileSender;
use text::Text;

/// Maximum number of bytes per interactive turn: a whole small file, or the beginning of a large one.
pub(super) const INTERACTIVE_BYTES: usize = 64 * 1024;

/// Maximum number of bytes per bulk turn: large enough that the other costs of a turn are negligible, small enough that
/// a command waits no longer for a turn than for its way through the network.
pub(super) const BULK_BYTES: usize = 256 * 1024;

/// The data of a transfer, by direction.
#[derive(Debug)]
pub(super) enum TransferData {
    Send(FileSender),
    SendText(Text),
    Receive(Box<FileReceiver>),
}

impl TransferData {
    /// Moves data: at most `budget` bytes, or one batch of text.
    pub(super) fn advance(
        &mut self,
        connection: &mut DataConnection,
        budget: usize,
        now: Instant,
    ) -> Result<Moved, Fault> {
        match self {
            Self::Send(sender) => sender.advance(connection, budget),
            Self::SendText(text) => text.advance(connection),
            Self::Receive(receiver) => receiver.advance(connection, budget, now),
        }
    }

    /// Returns whether the data is known to fit into `bytes` bytes; text counts as small.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        match self {
            Self::Send(sender) => sender.remaining() <= bytes,
            Self::SendText(_) => true,
            Self::Receive(_) => false,
        }
    }

    /// Returns the number of bytes of a file received; `None` if the transfer sends.
    pub(super) fn received(&self) -> Option<u64> {
        match self {
            Self::Receive(incoming) => Some(incoming.received()),
            Self::Send(_) | Self::SendText(_) => None,
        }
    }

    /// Returns the number of bytes of the whole transfer, if it is known, when `done` of them have moved.
    pub(super) fn size(&self, done: u64) -> Option<u64> {
        match self {
            Self::Send(sender) => Some(done.saturating_add(sender.remaining())),
            Self::SendText(_) | Self::Receive(_) => None,
        }
    }

    /// Returns whether all of a file has been sent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Send(sender) if sender.is_over())
    }

    /// Returns a remark on missing entries of a listing, for the final reply.
    pub(super) fn remark(&self) -> Option<String> {
        match self {
            Self::SendText(text) => text.remark(),
            Self::Send(_) | Self::Receive(_) => None,
        }
    }

    /// Returns the direction of the data.
    pub(super) fn direction(&self) -> Direction {
        match self {
            Self::Send(_) | Self::SendText(_) => Direction::ToClient,
            Self::Receive(_) => Direction::FromClient,
        }
    }

    /// Returns the rate limits for this direction: of the user, of the client's address and of the server.
    pub(super) fn rates(
        &self,
        account: Option<&Account>,
        service: &Service,
        client: IpAddr,
    ) -> TransferRates {
        let (shared, own) = match self.direction() {
            Direction::ToClient => (&service.rates_down, account.and_then(Account::down)),
            Direction::FromClient => (&service.rates_up, account.and_then(Account::up)),
        };
        let shared = [shared.of_server(), shared.of_address(client_of(client))];
        TransferRates::new(own.cloned().into_iter().chain(shared))
    }

    /// Returns whether the transfer ends with the control connection (RFC 959 §3.2). An upload does not: what the
    /// client has sent is received, even if only to be kept.
    pub(super) fn ends_with_the_control_connection(&self) -> bool {
        !matches!(self, Self::Receive(_))
    }

    /// Returns the descriptor of the storage to wait for, if there is nothing to send yet.
    fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Send(sender) => sender.awaited(),
            Self::SendText(text) => text.awaited(),
            Self::Receive(_) => None,
        }
    }

    /// Returns whether no data can move until the storage is ready.
    pub(super) fn waits_for_storage(&self) -> bool {
        match self {
            Self::Receive(receiver) => receiver.waits_for_storage(),
            Self::Send(_) | Self::SendText(_) => self.awaited().is_some(),
        }
    }

    /// Watches the descriptor that becomes ready when the transfer can continue.
    pub(super) fn watch<'a>(
        &'a self,
        connection: &'a DataConnection,
        class: Class,
        watch: &mut Watch<'a>,
    ) {
        match self {
            Self::Receive(receiver) => receiver.watch(connection, class, watch),
            Self::Send(_) | Self::SendText(_) => match self.awaited() {
                Some(storage) => watch.readable(storage, class),
                None => watch.writable(connection.descriptor(), class),
            },
        }
    }
}
