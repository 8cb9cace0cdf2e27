//! The TLS state of a session, as set by AUTH, PBSZ and PROT.

use std::io;
use std::time::Instant;

use crate::net::control::ControlConnection;
use crate::net::tls::ResumptionScope;

use super::service::Service;

/// The TLS state of a session, as set by AUTH, PBSZ and PROT.
#[derive(Debug, Default)]
pub(super) struct TlsState {
    /// Set if the control connection is over TLS; identifies its data connections.
    pub(super) scope: Option<ResumptionScope>,
    /// Implicit TLS: data is private unless the client sends PROT C.
    at_once: bool,
    /// PBSZ was received; PROT is refused without it (RFC 2228 §3).
    pub(super) buffer_agreed: bool,
    pub(super) data_private: bool,
}

impl TlsState {
    /// Begins TLS on the port of implicit TLS, before the greeting. Data is private unless the client sends PROT C.
    pub(super) fn at_once(
        service: &Service,
        control: &mut ControlConnection,
        now: Instant,
    ) -> io::Result<Self> {
        let Some(security) = &service.security else { return Ok(Self::default()) };
        if !security.implicit_ports.contains(&control.local().port()) {
            return Ok(Self::default());
        }
        let scope = security.acceptor.bind(control.peer().ip());
        control.begin_tls(scope.accept_control()?, now);
        Ok(Self { scope: Some(scope), at_once: true, buffer_agreed: true, data_private: true })
    }

    /// Describes a connection that AUTH has secured.
    pub(super) fn by_auth(scope: ResumptionScope, with_data: bool) -> Self {
        Self {
            scope: Some(scope),
            at_once: false,
            buffer_agreed: with_data,
            data_private: with_data,
        }
    }

    /// Forgets PBSZ and PROT. TLS itself stays.
    pub(super) fn forget_protection(&mut self) {
        (self.buffer_agreed, self.data_private) = (self.at_once, self.at_once);
    }
}
