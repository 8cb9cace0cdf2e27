//! The context of a step: what every command and activity may use. Knows neither of them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::{Denial, Event, Severity, Who};
use crate::ftp::command::Command;
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply};
use crate::net::connection_limits::Permit;
use crate::net::control::{ControlConnection, Disconnect};
use crate::net::data::Protection;
use crate::net::descriptors::{FOR_DATA, are_scarce};
use crate::net::tls::{Direction, Tls};
use crate::scoreboard::Presence;
use crate::storage::Owner;

use super::identity::Identity;
use super::member::Member;
use super::parameters::{DataSettings, Route};
use super::refusal::Refusal;
use super::service::Service;
use super::tls_state::TlsState;

/// The parts of a session, except its activity.
#[derive(Debug)]
pub(super) struct Context {
    /// The time at which the current turn began. A step that goes on in a later turn, after a file system call, sees the
    /// time of that turn.
    pub(super) now: Instant,
    pub(super) service: Arc<Service>,
    pub(super) control: ControlConnection,
    pub(super) identity: Identity,
    pub(super) tls: TlsState,
    pub(super) data: DataSettings,
    pub(super) flow: Flow,
    /// The command that is being served, unless it may contain a password.
    pub(super) line: Option<Vec<u8>>,
    /// The session as tools for administrators see it.
    pub(super) presence: Presence,
    /// The client's permit in the server; given back at the end of the session.
    pub(super) permit: Permit,
}

/// Number of commands received in the current second.
#[derive(Debug)]
pub(super) struct Flow {
    since: Instant,
    count: u32,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one more command; returns whether it is within the limit.
    fn admits(&mut self, most: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

impl Context {
    /// Queues a reply.
    pub(super) fn reply(&mut self, reply: &Reply) {
        if self.service.events.wants(Severity::Debug) {
            self.log(&Event::Reply { line: reply.to_string().as_bytes() });
        }
        self.control.reply(reply);
    }

    /// Queues the reply to a refused command. Logs the error if the client must not see it.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        if let Some(error) = refusal.trouble() {
            self.log(&Event::Error { message: "a command failed", error });
        }
        let reply = refusal.reply();
        self.log_denial(refusal, &reply);
        self.reply(&reply);
    }

    /// Refuses a data connection while few descriptors are free, if the client's address has many sessions. `newest` is the
    /// descriptor of the connection.
    pub(super) fn check_share(&self, newest: impl AsFd) -> Result<(), Refusal> {
        if are_scarce(newest, FOR_DATA) && self.permit.has_large_share() {
            return Err(Refusal::FewDescriptors);
        }
        Ok(())
    }

    /// Reports an event of this session.
    pub(super) fn log(&self, event: &Event<'_>) {
        if !self.service.events.wants(event.severity()) {
            return;
        }
        let (identity, tls) = (&self.identity, self.control.tls());
        let who = Who {
            session: identity.session,
            peer: identity.peer,
            user: identity.user.as_deref(),
            host: identity.served_host.as_deref(),
            tls: tls.and_then(Tls::version),
            cipher: tls.and_then(Tls::cipher),
        };
        self.service.events.session(&who, event);
    }

    /// Reports the connection at the first command. A client that sends none is a probe.
    pub(super) fn log_connect(&mut self) {
        if !std::mem::replace(&mut self.identity.has_spoken, true) {
            self.log(&Event::Connect);
        }
    }

    /// Reports the end of the session.
    pub(super) fn log_disconnect(&self, reason: &str) {
        let seconds = self.now.duration_since(self.identity.connected_at).as_secs();
        self.log(&if self.identity.has_spoken {
            Event::Disconnect { reason, seconds, logs_in: self.identity.logs_in }
        } else {
            Event::Probe { seconds, reason }
        });
    }

    /// Reports a command that a rule, a permission or a limit has refused.
    fn log_denial(&self, refusal: &Refusal, reply: &Reply) {
        let Some(line) = self.line.as_deref().filter(|_| refusal.is_denial()) else { return };
        let Ok((verb, argument)) = Verb::split(line) else { return };
        let command = verb.parse(argument).ok();
        let named = self.member().ok().zip(command.as_ref().and_then(Command::path));
        let path = named.and_then(|(member, path)| member.directory.join(&path.0).ok());
        let (verb, code, text) = (verb.name, reply.code.0, reply.text());
        self.log(&Event::Denied(Denial { verb, path: path.as_ref(), reply: code, reason: &text }));
    }

    /// Counts one more command; returns whether it is within the limit of commands in a second.
    pub(super) fn admits_command(&mut self) -> bool {
        self.flow.admits(self.service.limits.commands_per_second_max, self.now)
    }

    /// Returns the end of the maximum duration of the session; `None` without that limit.
    pub(super) fn session_ends_at(&self) -> Option<Instant> {
        let most = self.service.limits.session_time;
        (!most.is_zero()).then(|| self.identity.connected_at + most)
    }

    pub(super) fn member(&self) -> Result<&Member, Refusal> {
        self.identity.login.member().ok_or(Refusal::NotLoggedIn)
    }

    pub(super) fn member_mut(&mut self) -> Result<&mut Member, Refusal> {
        self.identity.login.member_mut().ok_or(Refusal::NotLoggedIn)
    }

    /// Returns the user whose file system calls are counted together.
    pub(super) fn owner(&self) -> Owner {
        self.identity.login.member().map_or_else(Owner::default, |member| member.account.owner())
    }

    /// Returns the maximum wait of the next command for the file system; none if it must not be asked.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.service.unanswered.patience(self.owner(), self.service.limits.stall_timeout)
    }

    /// Checks that there is a route and that it is secure enough. A connection that the client has closed is no route.
    pub(super) fn check_route(&mut self) -> Result<(), Refusal> {
        self.data
            .route
            .take_if(|route| matches!(route, Route::Open { connection } if connection.is_closed()));
        self.check_data_security()?;
        self.data.route.as_ref().map(drop).ok_or(Refusal::NoRoute)
    }

    /// Checks that data may be transferred with the current PROT level (RFC 4217 §10).
    fn check_data_security(&self) -> Result<(), Refusal> {
        if self.service.requires_tls() && !self.tls.data_private {
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

    /// Returns the earliest deadline of the connections, whatever the session does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.unread_deadline(), self.handshake_deadline(), self.data.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn unread_deadline(&self) -> Option<Instant> {
        self.control.unsent_since().map(|since| since + self.service.limits.reply_timeout)
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        self.control.handshaking_since().map(|since| since + self.service.limits.handshake_timeout)
    }

    /// Acts on the deadlines of the connections that have passed.
    pub(super) fn expire(&mut self) -> Result<(), Disconnect> {
        self.data.expire(self.now);
        if self.unread_deadline().is_some_and(|until| until <= self.now) {
            return Err(Disconnect::Stalled);
        }
        if self.handshake_deadline().is_some_and(|until| until <= self.now) {
            return Err(Disconnect::Handshake);
        }
        Ok(())
    }
}
