//! [`Readiness`] by epoll: one-shot watches, a timer for the earliest deadline, and an eventfd to end a wait early.
//!
//! All idle workers wait in one epoll set. For each event the kernel wakes one worker: the one that began to wait last,
//! whose memory is still in the cache. So between a client's command and the worker there is one wake-up.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::lot::Token;
use super::scheduler::{Alarm, Patience, Readiness};
use super::task::{Class, Interest, Watch};

/// The maximum number of events that one wait takes; the next wait takes the rest.
const EVENTS_PER_WAIT_MAX: usize = 64;

/// The bit above the token's own bits that holds the class of the turn.
const BULK: u64 = 1 << 63;

/// The event data of the eventfd and the timer. In practice no token has all bits, or all but the last, set together
/// with the class bit; and a wake with an unknown token would find nothing.
const POKE: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// The timeout of a wait that returns at once.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

#[derive(Debug)]
pub(super) struct Epoll {
    set: OwnedFd,
    notify_one: OwnedFd,
    alarm: OwnedFd,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let notify_one = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        // Edge-triggered: each write, and each expiry of the timer, is reported to one worker, and the descriptor need
        // not be read.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, &notify_one, epoll::EventData::new_u64(POKE), once)?;
        epoll::add(&set, &alarm, epoll::EventData::new_u64(ALARM), once)?;
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
            let data = epoll::EventData::new_u64(data);
            let flags = epoll::EventFlags::ONESHOT
                | match watched.interest {
                    Interest::Readable => epoll::EventFlags::IN,
                    Interest::Writable => epoll::EventFlags::OUT,
                    Interest::HangUp => epoll::EventFlags::RDHUP,
                };
            // Most descriptors were watched before: the control connection at every park but its first.
            match epoll::modify(&self.set, watched.descriptor, data, flags) {
                Err(Errno::NOENT) => epoll::add(&self.set, watched.descriptor, data, flags)?,
                armed => armed?,
            }
        }
        Ok(())
    }

    fn set_alarm(&self, at: Instant) {
        // Zero would stop the timer.
        let first = remaining(at).max(Duration::from_nanos(1));
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval: never_again, it_value: timespec(first) };
        // Fails only for invalid times.
        let _before = timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &time);
    }

    fn wait(&self, patience: Patience, fired: &mut Vec<(Token, Class)>) -> io::Result<Alarm> {
        let (timeout, events_max) = match patience {
            Patience::None => (Some(&AT_ONCE), EVENTS_PER_WAIT_MAX),
            Patience::Alone => (None, EVENTS_PER_WAIT_MAX),
            Patience::Shared => (None, 1),
        };
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS_PER_WAIT_MAX];
        let room = buffer.get_mut(..events_max).unwrap_or_default();
        let (events, _) = epoll::wait(&self.set, room, timeout)?;
        let mut alarm = Alarm::Silent;
        for event in events {
            match event.data.u64() {
                POKE => {}
                ALARM => alarm = Alarm::Rang,
                word => {
                    let class = if word & BULK == 0 { Class::Interactive } else { Class::Bulk };
                    fired.push((Token::from_bits(word), class));
                }
            }
        }
        Ok(alarm)
    }

    fn notify_one(&self) {
        // Fails only when the counter is full, after 2⁶⁴ notifications.
        let _poked = rustix::io::write(&self.notify_one, &1_u64.to_ne_bytes());
    }
}

#[expect(clippy::disallowed_methods, reason = "a timer's time is relative, and counts from now")]
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
