//! The identity of a client: its connection, its login, and the times that count for both.

use std::time::Instant;

use crate::log::Who;

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
    pub(super) who: Who,
    pub(super) login: Login,
    /// The host that HOST selected.
    pub(super) host: Option<String>,
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
    pub(super) fn new(who: Who, now: Instant) -> Self {
        Self {
            who,
            login: Login::default(),
            host: None,
            failures: 0,
            connected_at: now,
            logged_out_since: now,
            last_activity: now,
        }
    }
}
