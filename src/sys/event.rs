//! Descriptors that become readable without a peer: a wake-up (eventfd) and a timer (timerfd).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A signal to who watches its descriptor. It stays readable from the signal until one reader takes it.
#[derive(Debug)]
pub(crate) struct Wakeup(OwnedFd);

impl Wakeup {
    /// Creates a wake-up without a signal.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Creates a wake-up that is signalled already.
    pub(crate) fn signalled() -> io::Result<Self> {
        Ok(Self(eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Signals.
    pub(crate) fn signal(&self) {
        // Fails only when the counter is full, after 2⁶⁴ signals; then it is readable already.
        let _written = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes all signals; returns false if there was none. Of several readers, in any processes, one takes them.
    pub(crate) fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }

    /// Returns a second descriptor of this wake-up.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl From<OwnedFd> for Wakeup {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A timer, whose descriptor becomes readable once when its time is over.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?))
    }

    /// Sets the time from now on after which the timer expires.
    pub(crate) fn set(&self, after: Duration) {
        // Zero would stop the timer.
        let first = after.max(Duration::from_nanos(1));
        let first = Timespec {
            tv_sec: i64::try_from(first.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(first.subsec_nanos()),
        };
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval: never_again, it_value: first };
        // Fails only for invalid times.
        let _before = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
