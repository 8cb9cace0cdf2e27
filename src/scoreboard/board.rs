//! The table of the live sessions.
//!
//! A session writes to its own entry only: atomics in its turns, and a lock that no other session holds for long at its login
//! and at the begin and end of a longer transfer. No reader delays a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::events::SessionId;
use crate::ftp::VirtualPath;

/// The entries of all live sessions of this process.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    entries: Mutex<HashMap<SessionId, Arc<Entry>>>,
}

/// One live session.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name of the session.
    pub(crate) session: SessionId,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The time of the connection.
    pub(crate) since: Timestamp,
    connected_at: Instant,
    /// Time of the last activity, in milliseconds after `connected_at`.
    active_after: AtomicU64,
    /// Number of bytes of the current transfer.
    bytes: AtomicU64,
    /// True once an administrator has ended the session.
    is_kicked: AtomicBool,
    state: Mutex<EntryState>,
}

#[derive(Debug, Default)]
struct EntryState {
    client: Option<ClientFacts>,
    transfer: Option<CurrentTransfer>,
}

/// A client that has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFacts {
    /// The user.
    pub(crate) user: Arc<[u8]>,
    /// The virtual host.
    pub(crate) host: Option<Arc<str>>,
    /// The TLS version of the control connection.
    pub(crate) tls: Option<&'static str>,
}

/// A transfer that takes longer than one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentTransfer {
    /// The verb.
    pub(crate) verb: &'static str,
    /// The path.
    pub(crate) path: VirtualPath,
    /// The size of the file, if it is known.
    pub(crate) size: Option<u64>,
    /// Time of its begin.
    pub(crate) begun: Instant,
    /// Number of bytes so far.
    pub(crate) bytes: u64,
}

/// A live session, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The name of the session.
    pub(crate) session: SessionId,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The time of the connection.
    pub(crate) since: Timestamp,
    /// Time since the last activity.
    pub(crate) idle: Duration,
    /// The client, once it has logged in.
    pub(crate) client: Option<ClientFacts>,
    /// The transfer in progress.
    pub(crate) transfer: Option<CurrentTransfer>,
}

impl Scoreboard {
    /// Adds a session, until the presence is dropped.
    #[must_use]
    pub(crate) fn enter(
        self: &Arc<Self>,
        session: SessionId,
        peer: SocketAddr,
        now: Instant,
    ) -> Presence {
        let entry = Arc::new(Entry {
            session,
            peer,
            since: Timestamp::now(),
            connected_at: now,
            active_after: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            is_kicked: AtomicBool::new(false),
            state: Mutex::default(),
        });
        self.entries.lock().insert(session, Arc::clone(&entry));
        Presence { board: Arc::clone(self), entry, transfers: false }
    }

    /// Returns the entries. The lock on the table is held only for the copies of the pointers.
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// Returns every live session, the oldest first.
    #[must_use]
    pub(crate) fn all(&self, now: Instant) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self.entries().iter().map(|entry| entry.seen(now)).collect();
        seen.sort_by_key(|seen| (seen.since, seen.session.number));
        seen
    }

    /// Returns the clients that are logged in, one for each session.
    pub(crate) fn clients(&self) -> Vec<ClientFacts> {
        self.entries().iter().filter_map(|entry| entry.state.lock().client.clone()).collect()
    }

    /// Marks the sessions that are wanted, by their entry and client; each ends at its next turn. Returns their number.
    pub(crate) fn kick(&self, is_wanted: impl Fn(&Entry, Option<&ClientFacts>) -> bool) -> usize {
        let mut entries = self.entries();
        entries.retain(|entry| is_wanted(entry, entry.state.lock().client.as_ref()));
        for entry in &entries {
            entry.is_kicked.store(true, Ordering::Release);
        }
        entries.len()
    }
}

impl Entry {
    fn seen(&self, now: Instant) -> Seen {
        let active =
            self.connected_at + Duration::from_millis(self.active_after.load(Ordering::Relaxed));
        let state = self.state.lock();
        let mut transfer = state.transfer.clone();
        if let Some(transfer) = &mut transfer {
            transfer.bytes = self.bytes.load(Ordering::Relaxed);
        }
        Seen {
            session: self.session,
            peer: self.peer,
            since: self.since,
            idle: now.saturating_duration_since(active),
            client: state.client.clone(),
            transfer,
        }
    }
}

/// The entry of a session, which only this session writes.
#[derive(Debug)]
pub(crate) struct Presence {
    board: Arc<Scoreboard>,
    entry: Arc<Entry>,
    /// True while a transfer is shown.
    transfers: bool,
}

impl Presence {
    /// Sets the time of the last activity, if it is later than the one before.
    pub(crate) fn set_active(&self, at: Instant) {
        let after = at.saturating_duration_since(self.entry.connected_at).as_millis();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        // Only this session writes.
        if after > self.entry.active_after.load(Ordering::Relaxed) {
            self.entry.active_after.store(after, Ordering::Relaxed);
        }
    }

    /// Returns whether an administrator has ended this session.
    pub(crate) fn is_kicked(&self) -> bool {
        self.entry.is_kicked.load(Ordering::Acquire)
    }

    /// Sets the client that has logged in, or none.
    pub(crate) fn set_client(&self, client: Option<ClientFacts>) {
        self.entry.state.lock().client = client;
    }

    /// Sets the number of bytes of the current transfer; shows the transfer if it is not shown yet.
    pub(crate) fn set_progress(&mut self, bytes: u64, transfer: impl FnOnce() -> CurrentTransfer) {
        self.entry.bytes.store(bytes, Ordering::Relaxed);
        if !std::mem::replace(&mut self.transfers, true) {
            self.entry.state.lock().transfer = Some(transfer());
        }
    }

    /// Removes the transfer, if one is shown.
    pub(crate) fn end_transfer(&mut self) {
        if std::mem::replace(&mut self.transfers, false) {
            self.entry.state.lock().transfer = None;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.board.entries.lock().remove(&self.entry.session);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;
    use crate::events::ServerId;

    #[test]
    fn a_session_is_listed_with_its_transfer_until_it_ends() {
        let (board, now) = (Arc::new(Scoreboard::default()), Instant::now());
        let session = SessionId { server: ServerId::of_now(), slave: None, number: 1 };
        let mut presence = board.enter(session, "192.0.2.7:5".parse().unwrap(), now);
        let later = now + Duration::from_secs(5);
        presence.set_active(now + Duration::from_secs(2));
        let show = || CurrentTransfer {
            verb: "RETR",
            path: VirtualPath::root(),
            size: Some(9),
            begun: now,
            bytes: 0,
        };
        presence.set_progress(3, show);
        presence.set_progress(4, || panic!("it is shown already"));
        let seen = board.all(later).remove(0);
        assert_eq!((seen.session, seen.idle), (session, Duration::from_secs(3)));
        assert_eq!(seen.transfer.unwrap().bytes, 4);
        presence.end_transfer();
        assert_eq!(board.all(later).remove(0).transfer, None);
        drop(presence);
        assert!(board.all(later).is_empty());
    }
}
