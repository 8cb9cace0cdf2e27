//! A session as a task of the pool: its turns, their steps, and the events it waits for between them.

use std::mem;
use std::time::Instant;

use crate::log::Event;
use crate::net::control::Disconnect;
use crate::pool::{Call, Class, Task, Turn, Watch};

use super::transfer::AfterTransfer;
use super::{Activity, Session, Step};

/// Maximum number of steps in one turn; a command takes one step.
const STEPS_PER_TURN_MAX: u32 = 32;

impl Session {
    fn work(&mut self, now: Instant, class: Class) -> Result<Turn, Disconnect> {
        if now >= self.deadline() {
            self.expire(now)?;
        }
        let (first, mut budget) = self.turn_left.take().unwrap_or((0, 0));
        if first == 0 {
            budget = self.budget(class);
            self.control.begin_turn();
            self.control.flush(now)?;
        }
        for number in first..STEPS_PER_TURN_MAX {
            let before = self.activity.name();
            let step = self.step(now, &mut budget)?;
            let after = self.activity.name();
            if before != after && step != Step::Over {
                self.log(&Event::Activity { from: before, to: after });
            }
            // The replies of a turn are sent together: a small file's 150 and 226 take one packet, and wake the client
            // once.
            let goes_on = matches!(step, Step::More | Step::Call);
            let waits_for_room = !goes_on && !self.control.is_flushed();
            if waits_for_room || self.control.is_congested() {
                self.control.flush(now)?;
            }
            match step {
                Step::More => {}
                // The flush has made room for the waiting work. Parked, it would wait for input that is already here.
                Step::Wait if waits_for_room && self.control.is_flushed() => {}
                Step::Bulk => return Ok(Turn::Again(Class::Bulk)),
                Step::Call => {
                    self.turn_left = Some((number + 1, budget));
                    return Ok(Turn::Call { until: self.deadline() });
                }
                Step::Wait => return Ok(Turn::Park { until: self.wake_at(now) }),
                Step::Over => return Ok(Turn::Done),
            }
        }
        self.control.flush(now)?;
        Ok(Turn::Again(match &self.activity {
            Activity::Transfer(_) => class,
            Activity::Calling(calling) => calling.class(class),
            _ => Class::Interactive,
        }))
    }

    /// Returns when to wake a session that waits.
    fn wake_at(&self, now: Instant) -> Instant {
        match &self.activity {
            Activity::Calling(calling) => calling.recheck(now),
            _ => self.deadline(),
        }
    }

    fn step(&mut self, now: Instant, budget: &mut usize) -> Result<Step, Disconnect> {
        match mem::take(&mut self.activity) {
            Activity::Commands => self.next_command(now),
            Activity::LoggingIn(logging_in) => Ok(self.await_login(*logging_in, now)),
            Activity::Connecting(awaiting) => self.await_data_connection(*awaiting, now),
            Activity::Transfer(transfer) => self.move_data(transfer, now, *budget),
            Activity::Finishing(finishing) => Ok(self.finish_upload(*finishing, now)),
            Activity::Calling(calling) => self.await_call(calling, now, budget),
            Activity::Waiting(waiting) => Ok(self.await_answer(waiting, now)),
            Activity::Digesting(digesting) => self.sum_up(digesting, now),
            Activity::Status(listing) => Ok(self.list_status(listing, now)),
            Activity::Farewell { until } => Ok(self.say_farewell(until, now)),
        }
    }
}

impl Task for Session {
    fn turn(&mut self, now: Instant, class: Class) -> Turn {
        match self.work(now, class) {
            Ok(turn) => turn,
            Err(disconnect) => {
                self.abandon(now);
                self.log_disconnect(&disconnect.to_string(), now);
                Turn::Done
            }
        }
    }

    fn take_call(&mut self) -> Option<Call> {
        match &mut self.activity {
            Activity::Calling(calling) => calling.take(),
            _ => None,
        }
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        let reads_commands = match &self.activity {
            Activity::Finishing(finishing) => finishing.reads_commands() && self.control.is_open(),
            Activity::Commands => !self.control.is_congested(),
            Activity::Connecting(awaiting) => {
                awaiting.request.then == AfterTransfer::Commands && self.control.is_open()
            }
            // The transfer already watches two descriptors, and is sure to wake when the flush is done.
            Activity::Transfer(transfer) if transfer.owes_a_marker() => {
                return transfer.watch(watch);
            }
            Activity::Transfer(transfer) => {
                transfer.request.then == AfterTransfer::Commands && self.control.is_open()
            }
            Activity::LoggingIn(_)
            | Activity::Calling(_)
            | Activity::Waiting(_)
            | Activity::Digesting(_)
            | Activity::Status(_)
            | Activity::Farewell { .. } => false,
        };
        if !self.control.is_flushed() {
            watch.writable(self.control.descriptor(), Class::Interactive);
        } else if reads_commands {
            watch.readable(self.control.descriptor(), Class::Interactive);
        } else if matches!(&self.activity, Activity::Connecting(awaiting) if awaiting.watches_peer_close())
        {
            watch.hang_up(self.control.descriptor(), Class::Interactive);
        }
        match &self.activity {
            Activity::Connecting(awaiting) => awaiting.watch(watch),
            Activity::Transfer(transfer) => transfer.watch(watch),
            Activity::Finishing(finishing) => finishing.watch(watch),
            Activity::LoggingIn(logging_in) => logging_in.watch(watch),
            Activity::Waiting(waiting) => waiting.watch(watch),
            _ => {}
        }
    }
}
