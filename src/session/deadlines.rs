//! Deadlines: when a session must run without an event, and what happens when a deadline has passed.

use std::mem;
use std::time::Instant;

use crate::net::control::Disconnect;

use super::negotiate::Route;
use super::{Activity, Session};

impl Session {
    /// Returns when the session must run even without an event.
    pub(super) fn deadline(&self) -> Instant {
        let limits = &self.service.limits;
        let activity = match &self.activity {
            Activity::Commands if self.member().is_ok() => self.last_activity + limits.idle_timeout,
            Activity::Commands => (self.logged_out_since + limits.login_timeout)
                .min(self.last_activity + limits.idle_timeout),
            Activity::LoggingIn(logging_in) => logging_in.until(),
            Activity::Connecting(awaiting) => awaiting.until,
            Activity::Transfer(transfer) => transfer.due_at(limits.stall_timeout),
            Activity::Finishing(finishing) => finishing.until,
            Activity::Calling(calling) => calling.due_at(),
            Activity::Waiting(waiting) => waiting.wait.due_at(),
            Activity::Digesting(_) | Activity::Status(_) => {
                self.last_activity + limits.idle_timeout
            }
            Activity::Farewell { until } => *until,
        };
        let unread = self.control.unsent_since().map(|since| since + limits.reply_timeout);
        let unused = self.route.as_ref().and_then(Route::until);
        let spare = self.spare.as_ref().map(|spare| spare.until);
        let handshake = self.handshake_deadline();
        [unread, unused, spare, handshake].into_iter().flatten().fold(activity, Instant::min)
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        self.control.handshaking_since().map(|since| since + self.service.limits.handshake_timeout)
    }

    /// Acts on a deadline that has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Result<(), Disconnect> {
        if self.route.as_ref().and_then(Route::until).is_some_and(|until| until <= now) {
            self.route = None;
        }
        if self.spare.as_ref().is_some_and(|spare| spare.until <= now) {
            self.spare = None;
        }
        if self
            .control
            .unsent_since()
            .is_some_and(|since| since + self.service.limits.reply_timeout <= now)
        {
            return Err(Disconnect::Stalled);
        }
        if self.handshake_deadline().is_some_and(|until| until <= now) {
            return Err(Disconnect::Handshake);
        }
        if self.deadline() > now {
            return Ok(());
        }
        match mem::take(&mut self.activity) {
            Activity::Commands | Activity::Digesting(_) | Activity::Status(_)
                if self.member().is_ok() =>
            {
                let idle = self.service.limits.idle_timeout.as_secs();
                self.dismiss(&format!("No command for {idle} seconds; closing."), now);
            }
            Activity::Commands | Activity::Digesting(_) | Activity::Status(_) => {
                self.dismiss("Login timeout; closing.", now);
            }
            Activity::Calling(calling) => self.expire_call(calling, now),
            Activity::Waiting(waiting) => self.expire_waiting(waiting, now),
            Activity::LoggingIn(logging_in) => self.end_login(&logging_in, now),
            Activity::Connecting(awaiting) => self.give_up_opening(*awaiting, now),
            Activity::Transfer(transfer)
                if transfer.is_paused()
                    || transfer.only_flushes(now, self.service.limits.stall_timeout) =>
            {
                self.enter(Activity::Transfer(transfer));
            }
            Activity::Transfer(transfer) => self.end_stalled(*transfer, now),
            Activity::Finishing(finishing) => self.give_up_finishing(*finishing, now),
            Activity::Farewell { .. } => return Err(Disconnect::Stalled),
        }
        Ok(())
    }
}
