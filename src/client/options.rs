//! Options of a client.

use std::time::Duration;

use super::charset::Charset;
use super::interrupt::Interrupt;
use super::notices::Notices;
use super::proxy::Proxy;
use super::rate_limit::RateLimit;
use super::trust::{TlsMode, Trust};

/// Address families of a host to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// IPv4 and IPv6, in parallel.
    Any,
    /// IPv4 only (`-4`).
    Ipv4,
    /// IPv6 only (`-6`).
    Ipv6,
}

/// Options for connecting to a server and for using the connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address families of a host to try.
    pub family: Family,
    /// Active mode: the server connects to the client for data (PORT, EPRT) instead of the other way round.
    pub active: bool,
    /// Proxy for all connections to the server.
    pub proxy: Option<Proxy>,
    /// Use of TLS on the connection.
    pub tls: TlsMode,
    /// Rule for accepting the server's certificate where TLS is used.
    pub trust: Trust,
    /// Uses stream mode even where the server supports block mode.
    pub stream: bool,
    /// Maximum time to wait for any action of the server.
    pub timeout: Duration,
    /// Maximum time to wait for a connection; [`Self::timeout`] if that is shorter.
    pub connect_timeout: Duration,
    /// Maximum transfer rate of all connections together; `None` for no limit.
    pub limit: Option<RateLimit>,
    /// Maximum number of retries of a lost transfer without progress.
    pub retries: u32,
    /// Wait before the first retry; each later wait is twice as long, up to 16 times the first.
    pub first_wait: Duration,
    /// Prints commands and replies to standard error.
    pub trace: bool,
    /// Character set of the server's names; `None` for UTF-8.
    pub charset: Option<Charset>,
    /// Set when the user wants the current operation to end.
    pub interrupt: Interrupt,
    /// Receiver of messages about the connection.
    pub notices: Notices,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            family: Family::Any,
            active: false,
            proxy: None,
            tls: TlsMode::Auto,
            trust: Trust::System,
            stream: false,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::MAX,
            limit: None,
            retries: 5,
            first_wait: Duration::from_secs(1),
            trace: false,
            charset: None,
            interrupt: Interrupt::default(),
            notices: Notices::default(),
        }
    }
}

/// Options that each connection needs after its login.
#[derive(Debug, Clone)]
pub(super) struct TransferSettings {
    pub(super) active: bool,
    pub(super) stream: bool,
    pub(super) timeout: Duration,
    pub(super) limit: Option<RateLimit>,
    pub(super) interrupt: Interrupt,
    pub(super) notices: Notices,
    /// Proxy and host of the server, for data connections.
    pub(super) proxied: Option<(Proxy, String)>,
}

impl Options {
    pub(super) fn transfer_settings(&self, host: &str) -> TransferSettings {
        TransferSettings {
            active: self.active,
            stream: self.stream,
            timeout: self.timeout,
            limit: self.limit.clone(),
            interrupt: self.interrupt.clone(),
            notices: self.notices.clone(),
            proxied: self.proxy.clone().map(|proxy| (proxy, host.to_owned())),
        }
    }
}
