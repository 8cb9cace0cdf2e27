//! The builder of a client: the server, the user, and the options that differ from the defaults.

use std::num::NonZeroU64;
use std::time::Duration;

use super::connection::Client;
use super::error::ClientError;
use super::interrupt::Interrupt;
use super::notices::Notices;
use super::options::{Family, Options};
use super::rate_limit::RateLimit;
use super::trust::{TlsMode, Trust};

/// The port of FTP. RFC 959, section 8
const PORT: u16 = 21;

/// A client that is not connected yet.
#[derive(Debug, Clone)]
#[must_use = "a client connects with `connect`"]
pub struct ClientBuilder {
    host: String,
    port: u16,
    user: String,
    password: String,
    options: Options,
}

impl Client {
    /// Returns a builder for a client of this server. Without further calls, it logs in as an anonymous user at port 21,
    /// and uses TLS if the server offers it.
    ///
    /// ```no_run
    /// let mut client = poolftpd::Client::builder("ftp.example.org").user("alice", "secret").connect()?;
    /// let entries = client.read_dir(b".")?;
    /// # Ok::<(), poolftpd::ClientError>(())
    /// ```
    pub fn builder(host: &str) -> ClientBuilder {
        ClientBuilder {
            host: host.to_owned(),
            port: PORT,
            user: "anonymous".to_owned(),
            password: "anonymous@".to_owned(),
            options: Options::default(),
        }
    }
}

impl ClientBuilder {
    /// Sets the port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Logs in as this user.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        (self.user, self.password) = (user.to_owned(), password.to_owned());
        self
    }

    /// Sets the use of TLS.
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.options.tls = mode;
        self
    }

    /// Sets the rule for accepting the server's certificate.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.options.trust = trust;
        self
    }

    /// Selects the address families of the host to try.
    pub fn family(mut self, family: Family) -> Self {
        self.options.family = family;
        self
    }

    /// Lets the server open the data connections (PORT, EPRT).
    pub fn active(mut self, is_active: bool) -> Self {
        self.options.active = is_active;
        self
    }

    /// Sets the maximum time to wait for any action of the server.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Sets the maximum transfer rate of all connections together, in bytes per second.
    pub fn rate_limit(mut self, rate: NonZeroU64) -> Self {
        self.options.limit = Some(RateLimit::new(rate));
        self
    }

    /// Sets the maximum number of retries of a lost transfer without progress.
    pub fn retries(mut self, count: u32) -> Self {
        self.options.retries = count;
        self
    }

    /// Ends the current operation when this is set.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.options.interrupt = interrupt;
        self
    }

    /// Receives messages about the connection, such as that of a reconnect. The default drops them.
    pub fn notices(mut self, notices: Notices) -> Self {
        self.options.notices = notices;
        self
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// Those of [`Client::connect`] and [`Client::login`].
    pub fn connect(self) -> Result<Client, ClientError> {
        let mut client = Client::connect(&self.host, self.port, &self.options)?;
        client.login(&self.user, &self.password)?;
        Ok(client)
    }
}
