//! Retries after lost connections and transient errors: bounded, visible, and with growing waits.

use std::time::Duration;

use crate::ftp::command::Command;
use crate::ftp::{Code, Reply};

use super::files::Progress;
use super::rate_limit::wait;
use super::{Client, ClientError, ErrorKind};

/// Longest wait, as a multiple of the first: 1, 2, 4, 8, 16 seconds.
const WAIT_GROWTH_MAX: u32 = 16;

impl Client {
    /// Runs `attempt`, which must be repeatable from its start, and retries it after an error that may pass. Reconnects
    /// where the connection was lost. Each wait before a retry is twice as long as the one before; progress resets the
    /// count of retries.
    ///
    /// # Errors
    /// A final error, at once; any other error, after [`super::Options::retries`] retries without progress.
    pub fn recovering<W: Progress, T>(
        &mut self,
        progress: &mut W,
        mut attempt: impl FnMut(&mut Self, &mut W) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tries = 0;
        loop {
            let before = self.reached;
            let outcome = if self.is_lost() { self.reconnect() } else { Ok(()) };
            let error = match outcome.and_then(|()| attempt(self, progress)) {
                Err(error) if error.is_worth_another_try() => error,
                outcome => return outcome,
            };
            if self.reached > before {
                tries = 0;
            }
            if tries >= self.options.retries {
                return Err(error);
            }
            let pause = self.options.first_wait * 2_u32.saturating_pow(tries).min(WAIT_GROWTH_MAX);
            tries += 1;
            let (number, most) = (tries, self.options.retries);
            let after = if pause < Duration::from_secs(1) {
                String::new()
            } else {
                format!(" in {} s", pause.as_secs())
            };
            progress.note(&format!("{error}; retrying{after} ({number} of {most})"));
            wait(pause, &self.options.interrupt)?;
        }
    }

    /// Reconnects to the server, logs in again and returns to the current directory.
    fn reconnect(&mut self) -> Result<(), ClientError> {
        let (host, port) = self.place.clone();
        let (login, directory) = (self.login.take(), self.directory.take());
        let fresh = Self::connect(&host, port, &self.options);
        match fresh {
            Ok(fresh) => {
                let reached = self.reached;
                *self = Self { reached, ..fresh };
            }
            Err(error) => {
                (self.login, self.directory) = (login, directory);
                return Err(error);
            }
        }
        let mut outcome = Ok(());
        if let Some((user, password)) = &login {
            outcome = self.login(user, password);
        }
        if let (Ok(()), Some(directory)) = (&outcome, &directory) {
            outcome = self.change_directory(directory);
        }
        if outcome.is_err() {
            // A half-restored connection is of no use: the next try begins with a new one.
            self.connection.give_up();
            (self.login, self.directory) = (login, directory);
        }
        outcome
    }

    /// Changes the current directory; sends CDUP for `..`.
    pub fn change_directory(&mut self, path: &[u8]) -> Result<(), ClientError> {
        let command = if path == b".." {
            Command::ChangeToParent
        } else {
            Command::ChangeDirectory(super::files::name(path)?)
        };
        self.demand(&command, &super::files::about("cd", path))?;
        // Remembered for returning here after a lost connection.
        self.directory = match self.current_directory() {
            Ok(directory) => Some(directory),
            Err(error) if error.kind == ErrorKind::Refused => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

impl ClientError {
    /// Returns true if the server refused with a permanent reply (5xx).
    pub(super) fn is_refused_for_good(&self) -> bool {
        let permanent = |reply: &Reply| !reply.code.is_transient();
        self.kind == ErrorKind::Refused && self.reply.as_ref().is_some_and(permanent)
    }

    /// Returns true if a retry may succeed: the connection was lost, or the server replied 4xx. A 5xx reply, a full
    /// disk, and errors of login, TLS or this machine are final.
    fn is_worth_another_try(&self) -> bool {
        let code = self.reply.as_ref().map(|reply| reply.code);
        if self.is_final {
            return false;
        }
        let transient = code.is_none_or(|code| code.is_transient() && code != Code::NO_SPACE);
        match self.kind {
            ErrorKind::NoConnection | ErrorKind::Incomplete => transient,
            ErrorKind::Refused => code.is_some() && transient,
            ErrorKind::Usage
            | ErrorKind::Login
            | ErrorKind::Tls
            | ErrorKind::Local
            | ErrorKind::Interrupted => false,
        }
    }
}
