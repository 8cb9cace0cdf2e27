//! The TLS setup that a control connection shares with its data connections.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::ProducesTickets;
use rustls::{ServerConfig, ServerConnection};

use super::connection::{Direction, Tls};
use super::resumption::{Accounts, CONTROL_TICKETS, Control, Issuer};

/// The TLS setup of a control connection and its data connections: one certificate, and their own sessions.
#[derive(Clone)]
pub struct ResumptionScope {
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    control: Arc<Control>,
}

impl std::fmt::Debug for ResumptionScope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ResumptionScope").finish_non_exhaustive()
    }
}

impl ResumptionScope {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        tickets: Arc<dyn ProducesTickets>,
        accounts: Arc<Accounts>,
        from: IpAddr,
    ) -> Self {
        Self { config, tickets, control: Control::new(from, accounts) }
    }

    /// Shares sessions with the other connections of the account to which this connection has logged in.
    pub fn log_in(&self, host: Option<String>, name: Vec<u8>) {
        self.control.log_in(host, name);
    }

    /// Stops sharing: the client is not logged in any more, and its sessions prove no account.
    pub fn log_out(&self) {
        self.control.log_out();
    }

    /// Returns the server's end of the control connection, whose sessions can be resumed at once.
    pub fn accept_control(&self) -> io::Result<Tls> {
        let tls = self.accept(CONTROL_TICKETS, false)?;
        tls.trust();
        Ok(tls)
    }

    /// Returns the server's end of a data connection. Its own sessions can be resumed only once it is trusted.
    /// Otherwise a client that found the port first would get a session that proves it to be the logged-in client.
    ///
    /// The TLS 1.3 ticket is sent when the handshake is over. A client that only sends could close with the ticket
    /// unread, which would reset the connection and lose data. So the ticket is held back there until the client has
    /// sent its end.
    pub fn accept_data(&self, direction: Direction) -> io::Result<Tls> {
        self.accept(1, direction == Direction::FromClient)
    }

    fn accept(&self, tickets: usize, holds_back: bool) -> io::Result<Tls> {
        let issuer = Issuer::new(Arc::clone(&self.tickets), Arc::clone(&self.control))?;
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = Arc::clone(&issuer) as _;
        config.session_storage = Arc::clone(&issuer) as _;
        config.send_tls13_tickets = tickets;
        let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        Ok(Tls::new(connection, issuer, holds_back))
    }
}
