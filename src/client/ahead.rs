//! Commands of a login or of a transfer that are sent together, so that they take one round trip.
//!
//! Nothing but the time of sending changes: the code that sends a command finds that it was sent already, and reads its
//! reply. Many servers take what comes in one packet for one command, so only a server that is known to read line by line
//! gets several.

use crate::ftp::Reply;
use crate::ftp::command::{Command, ProtectionLevel, Setting, Type};
use crate::ftp::dialogue::{Begin, Passive, Span};

use super::error::ClientError;
use super::link::{Credentials, Link};

/// Name in the greeting of a server that reads line by line.
const PIPELINING_SERVER: &str = "poolftpd";

/// The user whose password is no secret.
const ANONYMOUS: &str = "anonymous";

impl Link {
    /// Learns from the greeting whether commands may be sent before the reply to the one before.
    pub(super) fn learn_pipelining(&mut self, greeting: &Reply) {
        self.support.pipelining = greeting.text().contains(PIPELINING_SERVER);
    }

    /// Sends the commands of a login, and those after it, unless the password must wait for the question.
    pub(super) fn foresee_login(
        &mut self,
        credentials: &Credentials,
        protects_data: bool,
    ) -> Result<(), ClientError> {
        let Credentials { user, password } = credentials;
        // SECURITY: without TLS, only a server that asks for the password gets it. This one may require TLS.
        if !protects_data && user != ANONYMOUS {
            return Ok(());
        }
        let mut next =
            vec![Command::User(user.as_bytes().to_vec()), Command::Password(password.clone())];
        if protects_data {
            next.extend([Command::ProtectionBuffer, Command::Protect(ProtectionLevel::Private)]);
        }
        next.extend([Command::Features, Command::Set(Setting::Utf8)]);
        self.foresee(&next)
    }

    /// Sends the type, if it is another than the current one, and the commands after it.
    pub(super) fn foresee_typed(
        &mut self,
        representation: Option<Type>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), ClientError> {
        let change = representation.filter(|_| representation != self.parameters.representation);
        let next: Vec<Command> = change.map(Command::Type).into_iter().chain(commands).collect();
        self.foresee(&next)
    }

    /// Sends the commands up to the data of a transfer, after the type if the caller sets one first, and those that follow.
    pub(super) fn foresee_transfer(
        &mut self,
        representation: Option<Type>,
        command: &Command,
        span: Span,
        after: Vec<Command>,
    ) -> Result<(), ClientError> {
        let has_data = self.open_data.is_some();
        if !has_data && (self.settings.active || self.features.pre_transfer) {
            return Ok(());
        }
        let mode = self.mode_to_choose();
        let passive = Passive::new(self.support.extended_passive).command();
        let transfer = Begin::new(command.clone(), span).commands();
        let passive = (!has_data).then_some(passive);
        let next = mode.into_iter().chain(passive).chain(transfer).chain(after);
        self.foresee_typed(representation, next)
    }
}
