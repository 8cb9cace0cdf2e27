//! [`Readiness`] by epoll: one-shot watches, a timer for the earliest deadline, and an eventfd to end a wait early.
//!
//! All idle workers wait in one epoll set. For each event the kernel wakes one worker: the one that began to wait last,
//! whose memory is still in the cache. So between a client's command and the worker there is one wake-up.

use std::io;
use std::time::{Duration, Instant};

use super::lot::Token;
use super::scheduler::{Alarm, Readiness, WaitMode};
use super::task::{Class, Watch};
use crate::sys::{EpollSet, Timer, Wakeup};

/// The maximum number of events that one wait takes; the next wait takes the rest.
const EVENTS_PER_WAIT_MAX: usize = 64;

/// The bit above the token's own bits that holds the class of the turn.
const BULK: u64 = 1 << 63;

/// The event data of the eventfd and the timer. In practice no token has all bits, or all but the last, set together
/// with the class bit; and a wake with an unknown token would find nothing.
const POKE: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

#[derive(Debug)]
pub(super) struct Epoll {
    set: EpollSet,
    notify_one: Wakeup,
    alarm: Timer,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let (set, notify_one, alarm) = (EpollSet::new()?, Wakeup::new()?, Timer::new()?);
        // Each signal, and each expiry of the timer, is reported to one worker.
        set.add_edges(&notify_one, POKE)?;
        set.add_edges(&alarm, ALARM)?;
        Ok(Self { set, notify_one, alarm })
    }
}

impl Readiness for Epoll {
    fn arm(&self, token: Token, watch: &Watch<'_>) -> io::Result<()> {
        for watched in watch.iter() {
            let data = match watched.class {
                Class::Interactive => token.to_bits(),
                Class::Bulk => token.to_bits() | BULK,
            };
            self.set.arm(watched.descriptor, data, watched.interest)?;
        }
        Ok(())
    }

    fn set_alarm(&self, at: Instant) {
        self.alarm.set(remaining(at));
    }

    fn wait(&self, mode: WaitMode, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm> {
        let mut alarm = Alarm::Silent;
        let fire = |data| match data {
            POKE => {}
            ALARM => alarm = Alarm::Rang,
            word => {
                let class = if word & BULK == 0 { Class::Interactive } else { Class::Bulk };
                fired.push((Token::from_bits(word), class));
            }
        };
        match mode {
            WaitMode::None => self.set.wait::<EVENTS_PER_WAIT_MAX>(Some(Duration::ZERO), fire)?,
            WaitMode::Alone => self.set.wait::<EVENTS_PER_WAIT_MAX>(None, fire)?,
            WaitMode::Shared => self.set.wait::<1>(None, fire)?,
        }
        Ok(alarm)
    }

    fn notify_one(&self) {
        self.notify_one.signal();
    }
}

#[expect(clippy::disallowed_methods, reason = "a timer's time is relative, and counts from now")]
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
