//! Control flow after a command.

use crate::client::error::ClientError;

/// Control flow after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Leave,
}

/// Result of a command.
pub(super) type Done = Result<Flow, ClientError>;
