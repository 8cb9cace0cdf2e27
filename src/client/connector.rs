//! The connector: opens links to one server, and lives as long as the client.

use crate::ftp::dialogue::{Authentication, Dialogue, Opened, Opening, Stage};

use super::control::Control;
use super::dial::dial;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind};
use super::link::{Credentials, Link};
use super::options::Options;
use super::trust::{TlsMode, Trust};

/// A server, with the options and the credentials for it.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) server: Endpoint,
    pub(super) options: Options,
    /// User and password, once the server has accepted them.
    pub(super) credentials: Option<Credentials>,
}

impl Connector {
    /// Prepares connections to this server, without credentials.
    pub(super) fn new(host: &str, port: u16, options: &Options) -> Self {
        // SECURITY: a user who names a pin or authorities expects that server, so the client must not fall back to
        // plain text silently.
        let tls = match (options.tls, &options.trust) {
            (TlsMode::Auto, Trust::Pin(_) | Trust::Authorities(_) | Trust::Known(..)) => {
                TlsMode::Require
            }
            (tls, _) => tls,
        };
        Self {
            server: Endpoint { host: host.to_owned(), port },
            options: Options { tls, ..options.clone() },
            credentials: None,
        }
    }

    /// Connects, and logs in if it has credentials.
    pub(super) fn open(&mut self) -> Result<Link, ClientError> {
        let mut link = self.connect()?;
        if let Some(credentials) = &self.credentials {
            link.log_in(credentials)?;
            link.learn_features()?;
        }
        Ok(link)
    }

    /// Connects, reads the greeting, and secures the control connection as the options demand.
    fn connect(&mut self) -> Result<Link, ClientError> {
        let control =
            dial(&self.server, &self.options, |socket| Control::new(socket, &self.options))?;
        let mut link = Link::new(control, self.options.transfer_settings(&self.server.host));
        if self.options.tls == TlsMode::Implicit {
            self.secure(&mut link)?;
        }
        let mut opening = Opening::new(match self.options.tls {
            TlsMode::Auto => Authentication::Try,
            TlsMode::Require => Authentication::Require,
            TlsMode::Implicit | TlsMode::Off => Authentication::Skip,
        });
        let greeting = link.reply().map_err(|error| self.no_greeting(error))?;
        link.learn_pipelining(&greeting);
        let outcome = match opening.reply(greeting) {
            // All that follows the greeting is AUTH.
            Ok(step) => link.run_from(&mut opening, step).map_err(without_tls)?,
            Err(refused) => Err(refused),
        };
        link.doubts_tls = opening.is_answered_oddly();
        let opened = outcome.map_err(|refused| {
            let server = &self.server;
            let (kind, what) = match refused.stage {
                Stage::Authentication => (ErrorKind::Tls, format!("{server} does not offer TLS")),
                _ => (ErrorKind::NoConnection, format!("{server} refuses the connection")),
            };
            ClientError::refused(kind, &what, refused.reply)
        })?;
        if opened == Opened::Handshake {
            self.secure(&mut link)?;
            // A reconnect must not fall back to plain text.
            self.options.tls = TlsMode::Require;
        }
        Ok(link)
    }

    fn secure(&self, link: &mut Link) -> Result<(), ClientError> {
        let tls = self.options.trust.tls_context(&self.server.host)?;
        link.secure(&self.server, tls)
    }

    /// Adds a hint to the error of a server that sends no greeting.
    fn no_greeting(&self, error: ClientError) -> ClientError {
        let hint = if error.is_server_full() {
            ". The server takes no more connections now; try again later"
        } else if error.is_foreign {
            return error.at_last();
        } else if self.options.tls == TlsMode::Implicit || error.kind == ErrorKind::Interrupted {
            return error;
        } else {
            ". If this port uses implicit TLS, use --tls implicit or ftps://"
        };
        error.with(ErrorKind::NoConnection, hint)
    }
}

/// Adds the hint for a server that fails at AUTH TLS in place of refusing it.
pub(super) fn without_tls(error: ClientError) -> ClientError {
    let kind = error.kind;
    if kind == ErrorKind::NoConnection && error.reply.is_none() {
        error.with(kind, ". This server fails at AUTH TLS; --tls off connects without TLS")
    } else {
        error
    }
}
