//! [`Readiness`] by epoll: one-shot watches, and an eventfd to end a wait early.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::floor::Readiness;
use super::lot::Token;
use super::task::{Class, Interest, Watch};

/// How many events one wait takes in; the rest come with the next.
const EVENTS_PER_WAIT_MAX: usize = 256;

/// The longest single wait: epoll counts milliseconds in an `i32`.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// The bit above a token's own that tells the class of the turn.
const BULK: u64 = 1 << 63;

/// The event data of the eventfd: no token has all bits set together with the class bit in practice, and a wake for
/// an unknown token would find nothing.
const POKE: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Epoll {
    epoll: OwnedFd,
    poke: OwnedFd,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let poke = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &poke, epoll::EventData::new_u64(POKE), epoll::EventFlags::IN)?;
        Ok(Self { epoll, poke })
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
                };
            // Most descriptors were watched before: the control connection at every park but its first.
            match epoll::modify(&self.epoll, watched.descriptor, data, flags) {
                Err(Errno::NOENT) => epoll::add(&self.epoll, watched.descriptor, data, flags)?,
                armed => armed?,
            }
        }
        Ok(())
    }

    fn wait(&self, until: Option<Instant>, fired: &mut Vec<(Token, Class)>) -> io::Result<()> {
        let timeout = until.map(|until| timespec(remaining(until).min(WAIT_MAX)));
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS_PER_WAIT_MAX];
        let (events, _) = epoll::wait(&self.epoll, &mut buffer, timeout.as_ref())?;
        for event in events {
            let data = event.data.u64();
            if data == POKE {
                // What fired before in this wait must not be lost to an error here.
                let _poked = rustix::io::read(self.poke.as_fd(), &mut [0; 8]);
            } else {
                let class = if data & BULK == 0 { Class::Interactive } else { Class::Bulk };
                fired.push((Token::from_bits(data), class));
            }
        }
        Ok(())
    }

    fn poke(&self) {
        // Fails only when the counter is full, and then the poller is poked already.
        let _poked = rustix::io::write(&self.poke, &1_u64.to_ne_bytes());
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "an epoll timeout is relative; this belongs to the poller's loop"
)]
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
