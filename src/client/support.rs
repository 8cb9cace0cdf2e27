//! Knowledge about the server that ends with its connection: parameters that were set, and commands that it supports.

use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{Mode, Type};

/// Transfer parameters last set on the server; `None` if unknown.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// Representation type (TYPE).
    pub(super) representation: Option<Type>,
    /// Transmission mode (MODE).
    pub(super) mode: Option<Mode>,
    /// Algorithm of HASH, if it was chosen (OPTS HASH).
    pub(super) hash: Option<Algorithm>,
}

/// Commands that the server supports, as far as it has not refused them.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one field a command")]
pub(super) struct Support {
    /// REST.
    pub(super) restart: bool,
    /// ALLO.
    pub(super) allocate: bool,
    /// EPSV; where it fails, PASV is used from then on.
    pub(super) extended_passive: bool,
    /// TYPE A for listings.
    pub(super) text_listings: bool,
    /// LIST with the flag `-a`.
    pub(super) hidden_files: bool,
    /// Commands that are sent before the reply to the one before.
    pub(super) pipelining: bool,
    /// Block mode has moved a listing, or a file of the size that was expected.
    pub(super) proven_blocks: bool,
    /// A data connection has ended without TLS `close_notify`.
    pub(super) unmarked_ends: bool,
}

impl Default for Support {
    fn default() -> Self {
        Self {
            restart: true,
            allocate: true,
            extended_passive: true,
            text_listings: true,
            hidden_files: true,
            pipelining: false,
            proven_blocks: false,
            unmarked_ends: false,
        }
    }
}
