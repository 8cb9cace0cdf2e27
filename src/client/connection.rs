//! The client: a server, and a link to it that is replaced when it is lost.
//!
//! Retries are bounded and visible, with growing waits. Only what the user has chosen or gained survives a reconnect:
//! the remote directory, and the progress of the current transfer.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::ftp::Reply;
use crate::ftp::command::Password;
use crate::ftp::dialogue::Features;

use super::charset::Charset;
use super::connector::Connector;
use super::error::{ClientError, ErrorKind};
use super::interrupt::Interrupt;
use super::link::{Credentials, Link};
use super::names::shown;
#[cfg(feature = "cli")]
use super::notices::Notices;
use super::options::Options;
use super::progress::Progress;
use super::rate_limit::{RateLimit, wait};

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
        let mut tries = 0;
        let link = loop {
            let error = match connector.open() {
                Err(error) if error.is_server_full() => error,
                opened => break Some(opened?),
            };
            if tries >= options.retries {
                return Err(error);
            }
            let (pause, after) = pause(options, tries);
            tries += 1;
            options
                .notices
                .show(&format!("{error}; retrying{after} ({tries} of {})", options.retries));
            wait(pause, &options.interrupt)?;
        };
        Ok(Self { connector, link, directory: None, reached: 0 })
    }

    /// Logs in, protects data connections where TLS is used, and reads the server's features.
    ///
    /// # Errors
    /// [`ErrorKind::Login`] when the server refuses the user or password.
    ///
    /// [`ErrorKind::Login`]: super::ErrorKind::Login
    pub fn login(&mut self, user: &str, password: &str) -> Result<(), ClientError> {
        if self.is_lost() {
            self.connector.credentials = None;
            self.link = Some(self.connector.open()?);
        }
        let password = Password(password.as_bytes().to_vec().into());
        let credentials = Credentials { user: user.to_owned(), password };
        self.link()?.log_in(&credentials)?;
        self.connector.credentials = Some(credentials);
        self.directory = None;
        self.link()?.learn_features()
    }

    /// Returns a client of the same server with the same login and directory, which connects when it is first used. It
    /// shares the rate limit, and has an interrupt of its own.
    pub(super) fn sibling(&self, retries: u32) -> Self {
        let mut connector = self.connector.clone();
        connector.options.interrupt = Interrupt::default();
        connector.options.retries = connector.options.retries.min(retries);
        Self { connector, link: None, directory: self.directory.clone(), reached: 0 }
    }

    /// Sets the maximum transfer rate in bytes per second.
    pub fn set_limit(&mut self, limit: Option<NonZeroU64>) {
        let limit = limit.map(RateLimit::new);
        self.connector.options.limit.clone_from(&limit);
        if let Some(link) = &mut self.link {
            link.settings.limit = limit;
        }
    }

    /// Changes the flag that interrupts this client, and the receiver of its notices.
    #[cfg(feature = "cli")]
    pub(super) fn attend(&mut self, interrupt: &Interrupt, notices: &Notices) {
        let options = &mut self.connector.options;
        (options.interrupt, options.notices) = (interrupt.clone(), notices.clone());
        if let Some(link) = &mut self.link {
            link.attend(interrupt, notices);
        }
    }

    /// Changes the character set of the server's names; `None` for UTF-8.
    pub fn set_charset(&mut self, charset: Option<Charset>) {
        self.connector.options.charset = charset;
        if let Some(link) = &mut self.link {
            link.set_charset(charset);
        }
    }

    /// Returns the flag that interrupts this client.
    pub(super) fn interrupt(&self) -> Interrupt {
        self.connector.options.interrupt.clone()
    }

    /// Connects and logs in again if the connection is lost, with one try.
    pub(super) fn ensure_open(&mut self) -> Result<(), ClientError> {
        if self.is_lost() { self.reconnect() } else { Ok(()) }
    }

    /// Returns the TLS version of the control connection, such as `TLS 1.3`; `None` without TLS.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.link.as_ref()?.tls_version()
    }

    /// Returns the server's address; `None` if the connection is lost.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.link.as_ref().filter(|link| !link.is_dead()).map(Link::peer)
    }

    /// Returns true if the connection is lost, so that only a new one helps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_dead)
    }

    /// Sends a line unchanged and reads its reply (`quote`).
    pub fn quote(&mut self, line: impl AsRef<[u8]>) -> Result<Reply, ClientError> {
        self.once(|link| link.quote(line.as_ref()))
    }

    /// Returns the user that is logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.connector.credentials.as_ref().map(|credentials| credentials.user.as_str())
    }

    /// Returns the current directory on the server, if it has been changed and is therefore known.
    #[must_use]
    pub fn directory(&self) -> Option<&[u8]> {
        self.directory.as_deref()
    }

    /// Sends QUIT and closes the connection.
    pub fn quit(mut self) {
        // The connection ends here, whatever the reply.
        let _ended = self.link().and_then(Link::quit);
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
        let reported = self.repeatable(|link| link.change_directory(path))?;
        // Remembered for returning here after a lost connection, also where the server does not report it.
        self.directory = Some(reported.unwrap_or_else(|| match &self.directory {
            Some(before) if !path.starts_with(b"/") => [before, b"/".as_slice(), path].concat(),
            _ => path.to_vec(),
        }));
        Ok(())
    }

    /// Runs commands that can be repeated from the first one on. If the connection is lost, reconnects and repeats them
    /// once.
    pub(super) fn repeatable<T>(
        &mut self,
        run: impl FnMut(&mut Link) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.recover(|_| true, "", run)
    }

    /// Runs commands that must not be repeated if the server may have executed them.
    pub(super) fn once<T>(
        &mut self,
        run: impl FnMut(&mut Link) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let hint = "; the server may have executed the command nevertheless";
        self.recover(|error| error.is_unsent, hint, run)
    }

    /// Runs commands whose data has been passed on already, so that it must not arrive twice.
    pub(super) fn unrepeated<T>(
        &mut self,
        run: impl FnMut(&mut Link) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.recover(|error| error.is_unsent, "", run)
    }

    fn recover<T>(
        &mut self,
        may_repeat: fn(&ClientError) -> bool,
        hint: &str,
        mut run: impl FnMut(&mut Link) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if !self.is_lost() || !self.can_reconnect() {
            match run(self.link()?) {
                Err(error) if error.is_connection_lost() && self.can_reconnect() => {
                    if !may_repeat(&error) {
                        return Err(error.with(ErrorKind::NoConnection, hint).at_last());
                    }
                }
                outcome => return outcome,
            }
        }
        self.reconnect()?;
        self.connector.options.notices.show(&self.reconnected());
        run(self.link()?)
    }

    /// Returns true once the client knows how to log in.
    fn can_reconnect(&self) -> bool {
        self.connector.credentials.is_some()
    }

    /// Describes the restored connection.
    fn reconnected(&self) -> String {
        let server = &self.connector.server;
        match &self.directory {
            Some(directory) => format!("reconnected to {server}, in {}", shown(directory)),
            None => format!("reconnected to {server}"),
        }
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
        let mut was_idle = false;
        loop {
            let before = self.reached;
            let outcome = if self.is_lost() { self.reconnect() } else { Ok(()) };
            let error = match outcome.and_then(|()| attempt(self, progress)) {
                // The connection was lost before this command, which is no failure of the command.
                Err(error)
                    if error.is_unsent
                        && error.is_connection_lost()
                        && self.can_reconnect()
                        && !std::mem::replace(&mut was_idle, true) =>
                {
                    if self.reconnect().is_ok() {
                        progress.note(&self.reconnected());
                    }
                    continue;
                }
                Err(error) if error.is_worth_another_try() => error,
                outcome => return outcome,
            };
            if self.reached > before {
                tries = 0;
            }
            let options = &self.connector.options;
            let Options { retries, interrupt, .. } = options;
            if tries >= *retries {
                return Err(error);
            }
            let (pause, after) = pause(options, tries);
            tries += 1;
            progress.note(&format!("{error}; retrying{after} ({tries} of {retries})"));
            wait(pause, interrupt)?;
        }
    }

    /// Reconnects to the server, logs in again and returns to the current directory. A connection that is restored only
    /// half is of no use: the next try begins with a new one.
    fn reconnect(&mut self) -> Result<(), ClientError> {
        if let Some(link) = self.link.take() {
            // A server that has failed in block mode is not asked for it again.
            self.connector.options.stream |= link.settings.stream;
        }
        let mut link = self.connector.open()?;
        if let Some(directory) = &self.directory {
            link.change_directory(directory)?;
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

/// Returns the wait before the next try, and its description.
fn pause(options: &Options, tries: u32) -> (Duration, String) {
    let pause = options.first_wait * 2_u32.saturating_pow(tries).min(WAIT_GROWTH_MAX);
    let seconds = pause.as_secs();
    (pause, if seconds == 0 { String::new() } else { format!(" in {seconds} s") })
}
