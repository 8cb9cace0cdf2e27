//! TLS on the control and data connections: AUTH, PBSZ, PROT, CCC (RFC 2228, 4217).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::command::{Mechanism, ProtectionLevel};
use crate::ftp::{Code, Reply};
use crate::net::control::ControlConnection;
use crate::net::data::{Protection, Resumption};
use crate::net::tls::{Acceptor, Direction, ResumptionScope};

use super::negotiate::Route;
use super::refusal::Refusal;
use super::{Activity, FAREWELL_TIMEOUT, Parameters, Service, Session};

/// The TLS settings of a server.
#[derive(Debug, Clone)]
pub struct Security {
    /// The acceptor of TLS connections.
    pub acceptor: Arc<Acceptor>,
    /// `--require-tls`: logins and data transfers need TLS.
    pub required: bool,
    /// The port of implicit TLS.
    pub implicit_port: Option<u16>,
    /// Required or optional resumption of the control connection's TLS session on data connections.
    pub resumption: Resumption,
}

/// The TLS state of a session, as set by AUTH, PBSZ and PROT.
#[derive(Debug, Default)]
pub(super) struct TlsState {
    /// Set if the control connection is over TLS; identifies its data connections.
    pub(super) scope: Option<ResumptionScope>,
    /// Implicit TLS: data is private unless the client sends PROT C.
    at_once: bool,
    /// PBSZ was received; PROT is refused without it (RFC 2228 §3).
    buffer_agreed: bool,
    data_private: bool,
}

impl TlsState {
    /// Begins TLS on the port of implicit TLS, before the greeting. Data is private unless the client sends PROT C.
    pub(super) fn at_once(
        service: &Service,
        control: &mut ControlConnection,
        now: Instant,
    ) -> io::Result<Self> {
        let Some(security) = &service.security else { return Ok(Self::default()) };
        if security.implicit_port != Some(control.local().port()) {
            return Ok(Self::default());
        }
        let scope = security.acceptor.bind(control.peer().ip());
        control.begin_tls(scope.accept_control()?, now);
        Ok(Self { scope: Some(scope), at_once: true, buffer_agreed: true, data_private: true })
    }
}

impl Session {
    /// AUTH: sends the reply in plain text, then begins the handshake (RFC 4217 §4).
    pub(super) fn authenticate(
        &mut self,
        mechanism: Mechanism,
        now: Instant,
    ) -> Result<(), Refusal> {
        let security = self.service.security.as_ref().ok_or(Refusal::NoTls)?;
        if self.tls.scope.is_some() {
            return Err(Refusal::OutOfSequence("TLS is already active."));
        }
        let scope = security.acceptor.bind(self.control.peer().ip());
        let tls = scope.accept_control()?;
        self.reply(&Reply::new(Code::SECURITY_EXCHANGED, "Proceed with the TLS handshake."));
        // A client that has sent USER in plain text must send it again (RFC 4217 §11).
        let host = self.host.take();
        self.reinitialize(now);
        // HOST stays in effect: it comes before AUTH so that it can select the host (RFC 7151 §3.2).
        self.host = host;
        if let Err(disconnect) = self.control.secure(tls, now) {
            // A client that does not read the reply to AUTH gets no other.
            self.log_disconnect(&disconnect.to_string(), now);
            self.enter(Activity::Farewell { until: now + FAREWELL_TIMEOUT });
            return Ok(());
        }
        let with_data = mechanism == Mechanism::WithData;
        self.tls = TlsState {
            scope: Some(scope),
            at_once: false,
            buffer_agreed: with_data,
            data_private: with_data,
        };
        Ok(())
    }

    /// PBSZ: agrees on 0, because a stream has no buffers (RFC 4217 §9).
    pub(super) fn protection_buffer(&mut self) -> Result<Reply, Refusal> {
        self.is_secure()?;
        self.tls.buffer_agreed = true;
        Ok(Reply::new(Code::OK, "PBSZ=0"))
    }

    /// PROT: sets the protection of data connections from now on.
    pub(super) fn protect(&mut self, level: ProtectionLevel) -> Result<Reply, Refusal> {
        self.is_secure()?;
        if !self.tls.buffer_agreed {
            return Err(Refusal::OutOfSequence("Send PBSZ 0 first."));
        }
        let (private, text) = match level {
            ProtectionLevel::Clear => (false, "Data connections are not encrypted."),
            ProtectionLevel::Private => (true, "Data connections use TLS."),
            ProtectionLevel::Other => return Err(Refusal::ProtectionLevel),
        };
        if !private && self.tls_is_required() {
            return Err(Refusal::DataInTheClear(Code::DENIED_BY_POLICY));
        }
        if matches!(self.route, Some(Route::Open { .. })) {
            // The open connection may have the other protection.
            self.route = None;
        }
        self.tls.data_private = private;
        Ok(Reply::new(Code::OK, text))
    }

    /// CCC: refused (RFC 4217 §6), because a man in the middle could continue on behalf of the client.
    pub(super) fn clear_command_channel(&self) -> Result<Reply, Refusal> {
        self.is_secure()?;
        Err(Refusal::ClearCommandChannel)
    }

    fn is_secure(&self) -> Result<(), Refusal> {
        match (&self.service.security, &self.tls.scope) {
            (None, _) => Err(Refusal::NoTls),
            (_, None) => Err(Refusal::OutOfSequence("Send AUTH TLS first.")),
            _ => Ok(()),
        }
    }

    pub(super) fn tls_is_required(&self) -> bool {
        self.service.security.as_ref().is_some_and(|security| security.required)
    }

    /// Checks that this connection may be used for a login.
    pub(super) fn check_login_security(&self) -> Result<(), Refusal> {
        if self.tls_is_required() && self.tls.scope.is_none() {
            return Err(Refusal::LoginInTheClear);
        }
        Ok(())
    }

    /// Checks that data may be transferred with the current PROT level (RFC 4217 §10).
    pub(super) fn check_data_security(&self) -> Result<(), Refusal> {
        if self.tls_is_required() && !self.tls.data_private {
            return Err(Refusal::DataInTheClear(Code::PROTECTION_NEEDED));
        }
        Ok(())
    }

    /// Returns the protection of the next data connection; `None` if it is not over TLS.
    pub(super) fn protection(&self, direction: Direction) -> Option<Protection> {
        let security = self.service.security.as_ref()?;
        let scope = self.tls.scope.clone().filter(|_| self.tls.data_private)?;
        Some(Protection { scope, direction, resumption: security.resumption })
    }

    /// Resets PBSZ, PROT, the transfer parameters and the route, for REIN and AUTH. TLS itself stays.
    pub(super) fn forget_protection(&mut self) {
        let TlsState { scope, at_once, .. } = std::mem::take(&mut self.tls);
        self.tls = TlsState { scope, at_once, buffer_agreed: at_once, data_private: at_once };
        self.parameters = Parameters::default();
        self.route = None;
    }
}
