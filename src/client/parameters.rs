//! The representation type and the transmission mode of a link.

use crate::ftp::command::{Command, Mode, Type};
use crate::ftp::dialogue::Exchange;

use super::error::ClientError;
use super::link::Link;

impl Link {
    /// Sets the representation type, unless it is set already.
    pub(super) fn set_type(&mut self, representation: Type) -> Result<(), ClientError> {
        if self.parameters.representation != Some(representation) {
            // The type is unknown if the wait for the reply is interrupted.
            self.parameters.representation = None;
            self.demand(Command::Type(representation), "the server refused the transfer type")?;
            self.parameters.representation = Some(representation);
        }
        Ok(())
    }

    /// Returns the transmission mode. It is block mode where the server supports it, so that each file has its own end
    /// and the data connection serves the next file, too.
    pub(super) fn mode(&self) -> Mode {
        self.parameters.mode.unwrap_or_default()
    }

    /// Returns the mode that the server is asked for.
    pub(super) fn wanted_mode(&self) -> Mode {
        if self.settings.stream { Mode::Stream } else { Mode::Block }
    }

    /// Returns the command for the mode, if none has been chosen.
    pub(super) fn mode_to_choose(&self) -> Option<Command> {
        self.parameters.mode.is_none().then(|| Command::Mode(self.wanted_mode()))
    }

    /// Asks for block mode, once. FEAT cannot list it; a server without block mode replies 504.
    pub(super) fn choose_mode(&mut self) -> Result<(), ClientError> {
        if self.parameters.mode.is_none() {
            let wanted = self.wanted_mode();
            let answer = self.run(&mut Exchange::new(Command::Mode(wanted)));
            // A few servers hang up, or never answer. The next connection does without.
            self.settings.stream |=
                answer.as_ref().is_err_and(|error| error.is_connection_lost() && !error.is_unsent);
            let is_accepted = answer?.is_ok();
            self.parameters.mode = Some(if is_accepted { wanted } else { Mode::Stream });
        }
        Ok(())
    }

    /// Returns to stream mode if block mode may be the reason why the last file is wrong.
    pub(super) fn distrust_blocks(&mut self) {
        if self.mode() == Mode::Block && !self.support.proven_blocks {
            self.use_stream();
        }
    }

    /// Returns to stream mode, because this server accepts block mode but does not use it.
    pub(super) fn use_stream(&mut self) {
        self.settings.stream = true;
        self.parameters.mode = None;
        self.open_data = None;
    }
}
