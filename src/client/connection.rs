//! The client: a server, and a link to it that is replaced when it is lost.
//!
//! Retries are bounded and visible, with growing waits. Only what the user has chosen or gained survives a reconnect:
//! the remote directory, and the progress of the current transfer.

use std::net::IpAddr;
use std::time::Duration;

use crate::ftp::Reply;
use crate::ftp::command::{Command, Password};
use crate::ftp::dialogue::Features;

use super::connector::Connector;
use super::error::ClientError;
use super::link::{Credentials, Link};
use super::options::Options;
use super::progress::Progress;
use super::rate_limit::wait;

/// Longest wait, as a multiple of the first: 1, 2, 4, 8, 16 seconds.
const WAIT_GROWTH_MAX: u32 = 16;

/// A client of one server, logged in or about to log in.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    /// The current connection; `None` once a reconnect has failed.
    link: Option<Link>,
    /// Current directory after a change of directory, for returning to it after a reconnect.
    directory: Option<Vec<u8>>,
    /// Furthest offset that the current transfer has reached in its file, in bytes; it shows progress between retries.
    reached: u64,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`], with advice on what to do next; [`ErrorKind::Tls`] when TLS cannot be set up.
    ///
    /// [`ErrorKind::NoConnection`]: super::ErrorKind::NoConnection
    /// [`ErrorKind::Tls`]: super::ErrorKind::Tls
    pub fn connect(host: &str, port: u16, options: &Options) -> Result<Self, ClientError> {
        let mut connector = Connector::new(host, port, options);
        let link = Some(connector.open()?);
        Ok(Self { connector, link, directory: None, reached: 0 })
    }

    /// Logs in, protects data connections where TLS is used, and reads the server's features.
    ///
    /// # Errors
    /// [`ErrorKind::Login`] when the server refuses the user or password.
    ///
    /// [`ErrorKind::Login`]: super::ErrorKind::Login
    pub fn login(&mut self, user: &str, password: &str) -> Result<(), ClientError> {
        let password = Password(password.as_bytes().to_vec().into());
        let credentials = Credentials { user: user.to_owned(), password };
        self.link()?.log_in(&credentials)?;
        self.connector.credentials = Some(credentials);
        self.directory = None;
        self.link()?.learn_features()
    }

    /// Returns the TLS version of the control connection, such as `TLS 1.3`; `None` without TLS.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.link.as_ref()?.tls_version()
    }

    /// Returns the server's address; `None` if the connection is lost.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.link.as_ref().map(Link::peer)
    }

    /// Returns true if the connection is lost, so that only a new one helps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_dead)
    }

    /// Sends a line unchanged and reads its reply (`quote`).
    pub fn quote(&mut self, line: impl AsRef<[u8]>) -> Result<Reply, ClientError> {
        self.link()?.quote(line.as_ref())
    }

    /// Sends QUIT and closes the connection.
    pub fn quit(mut self) {
        // The connection ends here, whatever the reply.
        let _reply = self.link().and_then(|link| link.ask(&Command::Quit));
    }

    /// Selects active or passive mode for data connections.
    pub fn set_active(&mut self, active: bool) {
        self.connector.options.active = active;
        if let Some(link) = &mut self.link {
            link.set_active(active);
        }
    }

    /// Changes the current directory; sends CDUP for `..`.
    pub fn change_directory(&mut self, path: &[u8]) -> Result<(), ClientError> {
        // Remembered for returning here after a lost connection.
        self.directory = self.link()?.change_directory(path)?;
        Ok(())
    }

    /// Runs `attempt`, which must be repeatable from its start, and retries it after an error that may pass. Reconnects
    /// where the connection was lost. Each wait before a retry is twice as long as the one before; progress resets the
    /// count of retries.
    ///
    /// # Errors
    /// A final error, at once; any other error, after [`Options::retries`] retries without progress.
    pub fn with_retries<W: Progress, T>(
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
            let Options { retries, first_wait, interrupt, .. } = &self.connector.options;
            if tries >= *retries {
                return Err(error);
            }
            let pause = *first_wait * 2_u32.saturating_pow(tries).min(WAIT_GROWTH_MAX);
            tries += 1;
            let after = if pause < Duration::from_secs(1) {
                String::new()
            } else {
                format!(" in {} s", pause.as_secs())
            };
            progress.note(&format!("{error}; retrying{after} ({tries} of {retries})"));
            wait(pause, interrupt)?;
        }
    }

    /// Reconnects to the server, logs in again and returns to the current directory. A connection that is restored only
    /// half is of no use: the next try begins with a new one.
    fn reconnect(&mut self) -> Result<(), ClientError> {
        self.link = None;
        let mut link = self.connector.open()?;
        if let Some(directory) = &self.directory {
            self.directory = link.change_directory(directory)?;
        }
        self.link = Some(link);
        Ok(())
    }

    /// Returns the current connection.
    pub(super) fn link(&mut self) -> Result<&mut Link, ClientError> {
        self.link.as_mut().ok_or_else(|| ClientError::lost("closed after an earlier error"))
    }

    /// Returns the features of the server; `None` if the connection is lost.
    pub(super) fn features(&self) -> Option<&Features> {
        self.link.as_ref().map(|link| &link.features)
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Records the furthest offset that the current transfer has reached.
    pub(super) fn set_reached(&mut self, reached: u64) {
        self.reached = reached;
    }
}
