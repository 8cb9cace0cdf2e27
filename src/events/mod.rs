//! The events of a server: one closed enum, and the observers that receive each event. The log is one of them.
//!
//! Observers are called on the thread of the event, so none may wait. Not here: formats, files, counters.

mod event;
mod facts;
mod field;
#[cfg(test)]
mod tests;
mod who;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

pub use event::{EVENT_NAMES, Event, Severity, without_password};
pub use facts::{
    BannedTarget, Change, Denial, Direction, LoginFailure, Outcome, Refused, TransferEvent,
};
pub use field::{Value, Visit};
pub use who::{ServerId, SessionId, Who};

/// An event with its time and its session.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The time of the event.
    pub time: Timestamp,
    /// The session; none for an event of the server.
    pub who: Option<&'a Who<'a>>,
    /// The event.
    pub event: &'a Event<'a>,
}

/// A receiver of events. It must not wait: a worker calls it.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Returns whether it receives events of this severity.
    fn wants(&self, severity: Severity) -> bool;

    /// Receives an event.
    fn observe(&self, record: &Record<'_>);
}

/// The stream of events, which passes each to its observers.
#[derive(Debug, Default)]
pub struct Events {
    observers: Vec<Arc<dyn Observer>>,
}

impl Events {
    /// Creates a stream with these observers.
    #[must_use]
    pub fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self { observers }
    }

    /// Returns whether an observer wants events of this severity; asked before an event that is costly to create.
    #[must_use]
    pub fn wants(&self, severity: Severity) -> bool {
        self.observers.iter().any(|observer| observer.wants(severity))
    }

    /// Passes on an event of a session.
    pub fn session(&self, who: &Who<'_>, event: &Event<'_>) {
        self.pass(Some(who), event);
    }

    /// Passes on an event of the server.
    pub fn server(&self, event: &Event<'_>) {
        self.pass(None, event);
    }

    fn pass(&self, who: Option<&Who<'_>>, event: &Event<'_>) {
        let (severity, time) = (event.severity(), Timestamp::now());
        let record = Record { time, who, event };
        let wanting = self.observers.iter().filter(|observer| observer.wants(severity));
        wanting.for_each(|observer| observer.observe(&record));
    }
}
