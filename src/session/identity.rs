//! The identity of a client: its connection, its login, and the times that count for both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::events::SessionId;

use super::member::Member;

/// The login state of a client.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// Not logged in.
    #[default]
    Stranger,
    /// USER was received, PASS was not.
    Named(Vec<u8>),
    /// Logged in.
    Member(Box<Member>),
}

impl Login {
    pub(super) fn member(&self) -> Option<&Member> {
        if let Self::Member(member) = self { Some(member) } else { None }
    }

    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        if let Self::Member(member) = self { Some(member) } else { None }
    }
}

/// The identity of a client.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) session: SessionId,
    pub(super) peer: SocketAddr,
    pub(super) login: Login,
    /// The host that HOST selected.
    pub(super) host: Option<String>,
    /// The user of the login, for the log.
    pub(super) user: Option<Arc<[u8]>>,
    /// The virtual host of the login, for the log.
    pub(super) served_host: Option<Arc<str>>,
    /// True from the first command on.
    pub(super) has_spoken: bool,
    /// True from the first login attempt on.
    pub(super) logs_in: bool,
    /// Number of failed logins, whatever their user names.
    pub(super) failures: u8,
    pub(super) connected_at: Instant,
    /// Start of the time without a login.
    pub(super) logged_out_since: Instant,
    /// Time of the last activity: a command, the end of a transfer, or a step of a long command.
    pub(super) last_activity: Instant,
}

impl Identity {
    /// Returns the identity of a client that has just connected.
    pub(super) fn new(session: SessionId, peer: SocketAddr, now: Instant) -> Self {
        Self {
            session,
            peer,
            login: Login::default(),
            host: None,
            user: None,
            served_host: None,
            has_spoken: false,
            logs_in: false,
            failures: 0,
            connected_at: now,
            logged_out_since: now,
            last_activity: now,
        }
    }
}
