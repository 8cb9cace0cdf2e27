//! TLS (RFC 4217), by rustls: certificates, connections, and the sessions that a data connection may resume.

mod connection;
mod expiry;
mod files;
mod resumption;
mod scope;
pub mod self_signed;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::server::ProducesTickets;

pub use connection::{Direction, Tls};
pub(super) use connection::{PLAINTEXT_BYTES_MAX, Received};
pub use expiry::common_name;
pub use files::{KeyFiles, Newest, Opener, TlsFiles, fingerprint, pin_of, read_authorities};
use files::{Served, open_here, read_config};
use resumption::Accounts;
pub(super) use resumption::ResumptionProof;
pub use scope::ResumptionScope;

/// An acceptor of TLS connections, whose certificates can be reloaded while it is in use.
pub struct Acceptor {
    files: TlsFiles,
    config: RwLock<Served>,
    /// Kept when certificates are reloaded, so that earlier sessions can still be resumed.
    tickets: Arc<dyn ProducesTickets>,
    accounts: Arc<Accounts>,
    newest: Newest,
    /// Opens the files again, if this process may have lost the right to.
    opener: OnceLock<Opener>,
}

/// Certificates and keys that were read, before they are in use.
pub struct ReadCertificates(Served);

impl std::fmt::Debug for ReadCertificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(&self.0.1).finish()
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Returns one sentence that names the file.
    pub fn open(files: TlsFiles) -> Result<Self, String> {
        Self::open_up_to(files, Newest::default())
    }

    /// Reads certificates and keys, and offers versions up to `newest`.
    ///
    /// # Errors
    /// Returns the errors of [`Acceptor::open`].
    pub fn open_up_to(files: TlsFiles, newest: Newest) -> Result<Self, String> {
        let tickets = ring::Ticketer::new().map_err(|error| format!("TLS: {error}"))?;
        let config = RwLock::new(read_config(&files, newest, &open_here)?);
        let opener = OnceLock::new();
        Ok(Self { files, config, tickets, accounts: Arc::default(), newest, opener })
    }

    /// Reads the certificates and keys again. Nothing changes yet.
    ///
    /// # Errors
    /// Returns one sentence that names the file.
    pub fn read(&self) -> Result<ReadCertificates, String> {
        let read = match self.opener.get() {
            Some(opener) => read_config(&self.files, self.newest, opener),
            None => read_config(&self.files, self.newest, &open_here),
        };
        read.map(ReadCertificates)
    }

    /// Opens the files through this function from now on.
    pub fn open_through(&self, opener: Opener) {
        // It is set once, at the start.
        let _set = self.opener.set(opener);
    }

    /// Adopts the certificates that were read, for connections accepted from now on. Returns their number.
    pub fn adopt(&self, ReadCertificates(read): ReadCertificates) -> usize {
        *self.config.write() = read;
        self.files.keys.len()
    }

    /// Returns the file and the end of validity of each served certificate.
    #[must_use]
    pub fn ends(&self) -> Vec<(PathBuf, Timestamp)> {
        self.config.read().1.clone()
    }

    /// Returns the TLS setup that a new control connection from this address shares with its data connections.
    pub fn bind(&self, from: IpAddr) -> ResumptionScope {
        let config = Arc::clone(&self.config.read().0);
        ResumptionScope::new(config, Arc::clone(&self.tickets), Arc::clone(&self.accounts), from)
    }
}
