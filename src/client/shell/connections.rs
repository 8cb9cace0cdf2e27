//! The number of connections of one command.

use crate::client::error::ClientError;
use crate::client::parallel::CONNECTIONS_MAX;

use super::given::{Flag, Given};
use super::state::Shell;

pub(super) const PARALLEL: Flag =
    Flag::short('P', "maximum number of connections (default: that of --parallel)")
        .or("parallel")
        .takes("N");

impl Shell {
    /// Returns the maximum number of connections for a call.
    pub(super) fn connections(&self, given: &Given) -> Result<usize, ClientError> {
        let number: Option<usize> = given.number(&PARALLEL)?;
        if number.is_some_and(|number| !(1..=CONNECTIONS_MAX).contains(&number)) {
            let what = format!("the number of connections is from 1 to {CONNECTIONS_MAX}");
            return Err(ClientError::usage(what));
        }
        Ok(number.unwrap_or(self.settings.parallel).max(1))
    }
}
