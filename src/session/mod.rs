//! One client's session, from the greeting to the last reply, as a task of the pool.
//!
//! A session is owned by one worker at a time, so nothing here is locked. Two rules keep its state correct. Every
//! command first takes the state that the previous command left (`pending`). Every step consumes the activity and
//! returns the next one.
//!
//! `ARCHITECTURE.md` has the layers of this room. Not here: threads, listeners.

mod activities;
mod activity;
mod commands;
mod context;
mod data;
mod gate;
mod identity;
mod idle;
mod member;
mod parameters;
mod patience;
mod perm_fact;
mod refusal;
mod service;
mod stop_phase;
#[cfg(test)]
mod tests;
mod throttle;
mod tls_state;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::events::{Event, SessionId};
use crate::ftp::{Code, Reply};
use crate::net::admitted::AdmittedClient;
use crate::net::control::{ControlConnection, Disconnect};
use crate::pool::{Call, Class, Task, Turn, Watch};

use activity::{Activity, Listens, Next};
use context::{Context, Flow};
use data::{BULK_BYTES, INTERACTIVE_BYTES};
use identity::Identity;
use idle::Idle;
use parameters::DataSettings;
pub use service::{Checkers, Meter, Security, Service};
pub(crate) use throttle::{ActiveLockout, Counted};
use tls_state::TlsState;

/// Maximum number of steps in one turn; a command takes one step.
const STEPS_PER_TURN_MAX: u32 = 32;

/// One client's session, from the greeting to the last reply.
pub struct Session {
    cx: Context,
    activity: Box<dyn Activity>,
    /// The call that the turn has left to the pool.
    call: Option<Call>,
    /// Remainder of a turn that a file system call interrupted: number of the next step, and bytes left to move.
    turn_left: Option<(u32, usize)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("session", &self.cx.identity.session)
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

/// The continuation of a turn after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Progress was made, and more may be possible at once.
    More,
    /// More remains to be done, as bulk work.
    Bulk,
    /// A file system call comes next; the turn continues when it has returned.
    Call,
    /// No progress is possible until a descriptor is ready, or until this time at the latest.
    Wait(Option<Instant>),
    /// The session is over.
    Over,
}

impl Session {
    /// Begins the session of a client, and sends the greeting.
    ///
    /// # Errors
    /// If the socket is already broken, or TLS cannot begin.
    pub fn greet(
        service: Arc<Service>,
        client: AdmittedClient,
        now: Instant,
    ) -> std::io::Result<Self> {
        let AdmittedClient { stream, peer, permit } = client;
        let mut control = ControlConnection::new(stream, peer)?;
        let tls = TlsState::at_once(&service, &mut control, now)?;
        control.reply(&Reply::new(Code::READY, service.greeting()));
        // Sent here, not in the first turn, because every client waits for the greeting. The next flush detects a
        // client that is already gone.
        let _sent = control.flush(now);
        let session = SessionId {
            server: service.id,
            slave: service.slave,
            number: service.sessions.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let identity = Identity::new(session, peer, now);
        let (data, flow) = (DataSettings::default(), Flow::new(now));
        let presence = service.scoreboard.enter(session, peer, now);
        let line = None;
        let cx =
            Context { now, service, control, identity, tls, data, flow, line, presence, permit };
        Ok(Self { cx, activity: Box::new(Idle), call: None, turn_left: None })
    }

    fn work(&mut self, class: Class) -> Result<Turn, Disconnect> {
        if self.cx.presence.is_kicked() {
            let reply = "An administrator has closed this session.";
            self.cx.control.reply(&Reply::new(Code::SERVICE_NOT_AVAILABLE, reply));
            self.cx.control.flush(self.cx.now)?;
            return Err(Disconnect::Kicked);
        }
        if self.cx.now >= self.deadline() {
            self.expire()?;
        }
        let (first, mut budget) = self.turn_left.take().unwrap_or((0, 0));
        if first == 0 {
            budget = self.budget(class);
            self.cx.control.begin_turn();
            self.cx.control.flush(self.cx.now)?;
        }
        for number in first..STEPS_PER_TURN_MAX {
            let step = self.step(&mut budget)?;
            // The replies of a turn are sent together: a small file's 150 and 226 take one packet, and wake the client
            // once.
            let goes_on = matches!(step, Step::More | Step::Call);
            let waits_for_room = !goes_on && !self.cx.control.is_flushed();
            if waits_for_room || self.cx.control.is_congested() {
                self.cx.control.flush(self.cx.now)?;
            }
            match step {
                Step::More => {}
                // The flush has made room for the waiting work. Parked, it would wait for input that is already here.
                Step::Wait(_) if waits_for_room && self.cx.control.is_flushed() => {}
                Step::Bulk => return Ok(Turn::Again(Class::Bulk)),
                Step::Call => {
                    self.turn_left = Some((number + 1, budget));
                    return Ok(Turn::Call { until: self.deadline() });
                }
                Step::Wait(until) => {
                    let deadline = self.deadline();
                    return Ok(Turn::Park {
                        until: until.map_or(deadline, |until| until.min(deadline)),
                    });
                }
                Step::Over => return Ok(Turn::Done),
            }
        }
        self.cx.control.flush(self.cx.now)?;
        let moves_data = self.activity.bulk_bytes().is_some();
        Ok(Turn::Again(if moves_data { class } else { Class::Interactive }))
    }

    fn step(&mut self, budget: &mut usize) -> Result<Step, Disconnect> {
        let from = self.activity.name();
        let next = self.take_activity().advance(&mut self.cx, budget)?;
        let step = self.follow(next);
        let to = self.activity.name();
        if from != to && step != Step::Over {
            self.cx.log(&Event::Activity { from, to });
        }
        Ok(step)
    }

    fn take_activity(&mut self) -> Box<dyn Activity> {
        // `Idle` has no size, so its box is no allocation.
        mem::replace(&mut self.activity, Box::new(Idle))
    }

    fn follow(&mut self, next: Next) -> Step {
        let (activity, step): (Box<dyn Activity>, Step) = match next {
            Next::Commands => {
                self.cx.line = None;
                (Box::new(Idle), Step::More)
            }
            Next::Go(activity) => (activity, Step::More),
            Next::Bulk(activity) => (activity, Step::Bulk),
            Next::Call(activity, call) => {
                self.call = Some(call);
                (activity, Step::Call)
            }
            Next::Wait(activity) => (activity, Step::Wait(None)),
            Next::WaitUntil(activity, until) => (activity, Step::Wait(Some(until))),
            Next::Over => (Box::new(Idle), Step::Over),
        };
        self.activity = activity;
        step
    }

    /// Returns the maximum number of bytes that a turn of this class may move.
    fn budget(&self, class: Class) -> usize {
        match class {
            Class::Interactive => INTERACTIVE_BYTES,
            Class::Bulk => self.activity.bulk_bytes().unwrap_or(BULK_BYTES),
        }
    }

    /// Returns when the session must run even without an event.
    fn deadline(&self) -> Instant {
        let activity = self.activity.deadline(&self.cx);
        self.cx.deadline().map_or(activity, |until| until.min(activity))
    }

    /// Acts on the deadlines that have passed.
    fn expire(&mut self) -> Result<(), Disconnect> {
        self.cx.expire()?;
        if self.deadline() <= self.cx.now {
            let next = self.take_activity().expire(&mut self.cx)?;
            self.follow(next);
        }
        Ok(())
    }
}

impl Task for Session {
    fn turn(&mut self, now: Instant, class: Class) -> Turn {
        self.cx.now = now;
        let worked = self.work(class);
        self.cx.presence.set_active(self.cx.identity.last_activity);
        match worked {
            Ok(turn) => turn,
            Err(disconnect) => {
                self.take_activity().abandon(&mut self.cx);
                self.cx.log_disconnect(&disconnect.to_string());
                Turn::Done
            }
        }
    }

    /// The client sends next, after the greeting or to begin TLS.
    fn waits_at_first(&self) -> Option<Instant> {
        (!self.cx.service.is_stopping()).then(|| self.deadline())
    }

    fn take_call(&mut self) -> Option<Call> {
        self.call.take()
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        self.activity.watch(watch);
        // An activity that watches two descriptors, a data connection and a flush, is sure to wake when the flush is
        // done.
        if watch.is_full() {
            return;
        }
        let control = self.cx.control.descriptor();
        if !self.cx.control.is_flushed() {
            return watch.writable(control, Class::Interactive);
        }
        match self.activity.listens(&self.cx) {
            Listens::Nothing => {}
            Listens::Close => watch.hang_up(control, Class::Interactive),
            Listens::Abort | Listens::Urgent | Listens::All => {
                watch.readable(control, Class::Interactive);
            }
        }
    }
}
