//! AUTH, PBSZ, PROT, CCC: whether words and data travel by TLS (RFC 2228, 4217).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::command::{Mechanism, ProtectionLevel};
use crate::ftp::{Code, Reply};
use crate::net::control::ControlConnection;
use crate::net::data::{Protection, Resumption};
use crate::net::tls::{Acceptor, Binding, Direction};

use super::negotiate::Route;
use super::refusal::Refusal;
use super::{Activity, FAREWELL_TIMEOUT, Parameters, Service, Session};

/// How TLS is offered.
#[derive(Debug, Clone)]
pub struct Security {
    /// Who takes TLS connections.
    pub acceptor: Arc<Acceptor>,
    /// `--require-tls`: without it nobody logs in, and no data moves.
    pub required: bool,
    /// The port where TLS begins at once.
    pub implicit_port: Option<u16>,
    /// Whether data connections must resume the control connection's session.
    pub resumption: Resumption,
}

/// What AUTH, PBSZ and PROT have brought about.
#[derive(Debug, Default)]
pub(super) struct Secured {
    /// The control connection is by TLS; its data connections are known by this.
    pub(super) binding: Option<Binding>,
    /// TLS began at once: data is private unless the client says otherwise.
    at_once: bool,
    /// PBSZ was said, without which PROT is not taken (RFC 2228 §3).
    buffer_agreed: bool,
    data_private: bool,
}

impl Secured {
    /// On the port of implicit TLS the handshake comes before everything, and data is private unless the client says
    /// otherwise.
    pub(super) fn at_once(
        service: &Service,
        control: &mut ControlConnection,
        now: Instant,
    ) -> io::Result<Self> {
        let Some(security) = &service.security else { return Ok(Self::default()) };
        if security.implicit_port != Some(control.local().port()) {
            return Ok(Self::default());
        }
        let binding = security.acceptor.bind(control.peer().ip());
        control.begin_tls(binding.accept_control()?, now);
        Ok(Self { binding: Some(binding), at_once: true, buffer_agreed: true, data_private: true })
    }
}

impl Session {
    /// AUTH: the reply goes out in plain, and the handshake comes next (RFC 4217 §4).
    pub(super) fn authenticate(
        &mut self,
        mechanism: Mechanism,
        now: Instant,
    ) -> Result<(), Refusal> {
        let security = self.service.security.as_ref().ok_or(Refusal::NoTls)?;
        if self.secured.binding.is_some() {
            return Err(Refusal::OutOfSequence("This connection is by TLS already."));
        }
        let binding = security.acceptor.bind(self.control.peer().ip());
        let tls = binding.accept_control()?;
        self.reply(&Reply::new(Code::SECURITY_EXCHANGED, "Go on with the TLS handshake."));
        // Who it was in the clear, it must say again (RFC 4217 §11).
        let host = self.host.take();
        self.reinitialize(now);
        // HOST is said before AUTH, that it may choose (RFC 7151 §3.2).
        self.host = host;
        if let Err(gone) = self.control.secure(tls, now) {
            // A client that does not even read the reply to AUTH gets no other.
            self.log_disconnect(&gone.to_string(), now);
            self.enter(Activity::Farewell { until: now + FAREWELL_TIMEOUT });
            return Ok(());
        }
        let with_data = mechanism == Mechanism::WithData;
        self.secured = Secured {
            binding: Some(binding),
            at_once: false,
            buffer_agreed: with_data,
            data_private: with_data,
        };
        Ok(())
    }

    /// PBSZ: a stream has no buffers to agree on (RFC 4217 §9).
    pub(super) fn protection_buffer(&mut self) -> Result<Reply, Refusal> {
        self.is_secure()?;
        self.secured.buffer_agreed = true;
        Ok(Reply::new(Code::OK, "PBSZ=0"))
    }

    /// PROT: how data travels from now on.
    pub(super) fn protect(&mut self, level: ProtectionLevel) -> Result<Reply, Refusal> {
        self.is_secure()?;
        if !self.secured.buffer_agreed {
            return Err(Refusal::OutOfSequence("Say PBSZ 0 first."));
        }
        let (private, text) = match level {
            ProtectionLevel::Clear => (false, "Data travels in the clear."),
            ProtectionLevel::Private => (true, "Data travels by TLS."),
            ProtectionLevel::Other => return Err(Refusal::ProtectionLevel),
        };
        if !private && self.tls_is_required() {
            return Err(Refusal::DataInTheClear(Code::DENIED_BY_POLICY));
        }
        if matches!(self.route, Some(Route::Open { .. })) {
            // It is of the other kind, maybe.
            self.route = None;
        }
        self.secured.data_private = private;
        Ok(Reply::new(Code::OK, text))
    }

    /// CCC: back to the clear is not offered (RFC 4217 §6): who is between could go on in the client's name.
    pub(super) fn clear_command_channel(&self) -> Result<Reply, Refusal> {
        self.is_secure()?;
        Err(Refusal::ClearCommandChannel)
    }

    fn is_secure(&self) -> Result<(), Refusal> {
        match (&self.service.security, &self.secured.binding) {
            (None, _) => Err(Refusal::NoTls),
            (_, None) => Err(Refusal::OutOfSequence("Say AUTH TLS first.")),
            _ => Ok(()),
        }
    }

    pub(super) fn tls_is_required(&self) -> bool {
        self.service.security.as_ref().is_some_and(|security| security.required)
    }

    /// Whether somebody may log in over this connection.
    pub(super) fn check_login_security(&self) -> Result<(), Refusal> {
        if self.tls_is_required() && self.secured.binding.is_none() {
            return Err(Refusal::LoginInTheClear);
        }
        Ok(())
    }

    /// Whether data may travel as it is set (RFC 4217 §10).
    pub(super) fn check_data_security(&self) -> Result<(), Refusal> {
        if self.tls_is_required() && !self.secured.data_private {
            return Err(Refusal::DataInTheClear(Code::PROTECTION_NEEDED));
        }
        Ok(())
    }

    /// How the next data connection is protected.
    pub(super) fn protection(&self, direction: Direction) -> Option<Protection> {
        let security = self.service.security.as_ref()?;
        let binding = self.secured.binding.clone().filter(|_| self.secured.data_private)?;
        Some(Protection { binding, direction, resumption: security.resumption })
    }

    /// After REIN everything is as after AUTH.
    pub(super) fn forget_protection(&mut self) {
        let Secured { binding, at_once, .. } = std::mem::take(&mut self.secured);
        self.secured = Secured { binding, at_once, buffer_agreed: at_once, data_private: at_once };
        self.parameters = Parameters::default();
        self.route = None;
    }
}
