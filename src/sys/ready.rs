//! Readiness of descriptors: of one or a few (poll), or of thousands (epoll).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

/// The readiness that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// It can be read, or a connection accepted.
    Readable,
    /// It can be written, or is connected.
    Writable,
    /// The other end has closed its side.
    HangUp,
    /// Urgent data has come.
    Urgent,
}

impl Interest {
    fn poll(self) -> PollFlags {
        match self {
            Self::Readable => PollFlags::IN,
            Self::Writable => PollFlags::OUT,
            Self::HangUp => PollFlags::RDHUP,
            Self::Urgent => PollFlags::PRI,
        }
    }

    fn epoll(self) -> epoll::EventFlags {
        match self {
            Self::Readable => epoll::EventFlags::IN,
            Self::Writable => epoll::EventFlags::OUT,
            Self::HangUp => epoll::EventFlags::RDHUP,
            Self::Urgent => epoll::EventFlags::PRI,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Returns true if a descriptor is ready now. A broken socket counts as ready: the next call on it returns the error.
pub(crate) fn is_ready(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    match wait(descriptor, interest, Duration::ZERO) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        ready => ready,
    }
}

/// Waits until a descriptor is ready, at most for `timeout`; returns true if it is.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] when a signal has ended the wait.
pub(crate) fn wait(
    descriptor: BorrowedFd<'_>,
    interest: Interest,
    timeout: Duration,
) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(&descriptor, interest.poll())], Some(&timespec(timeout)))? > 0)
}

/// Waits until a descriptor is readable, at most for `timeout` if there is one; returns for each whether it is. A signal
/// may end the wait early.
pub(crate) fn wait_any(
    descriptors: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    match poll(&mut polled, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => {
            Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// A set of descriptors that are waited for together. The data of an event is a number that was given for it.
#[derive(Debug)]
pub(crate) struct EpollSet(OwnedFd);

impl EpollSet {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Reports as long as the descriptor is ready.
    pub(crate) fn add(
        &self,
        descriptor: impl AsFd,
        data: u64,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        epoll::add(&self.0, descriptor, epoll::EventData::new_u64(data), interest.epoll())
    }

    /// Reports each time that the descriptor becomes readable (edge-triggered), to one of those that wait. It need not
    /// be read.
    pub(crate) fn add_edges(&self, descriptor: impl AsFd, data: u64) -> rustix::io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.0, descriptor, epoll::EventData::new_u64(data), flags)
    }

    /// Reports once.
    pub(crate) fn arm(
        &self,
        descriptor: BorrowedFd<'_>,
        data: u64,
        interest: Interest,
    ) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(data);
        let flags = epoll::EventFlags::ONESHOT | interest.epoll();
        // Most descriptors were watched before: the control connection at every park but its first.
        match epoll::modify(&self.0, descriptor, data, flags) {
            Err(Errno::NOENT) => epoll::add(&self.0, descriptor, data, flags),
            armed => armed,
        }
    }

    /// Waits for events, at most for `timeout` if there is one, and passes on the data of at most `N`. The next wait takes
    /// the others.
    ///
    /// # Errors
    /// [`Errno::INTR`] when a signal has ended the wait.
    pub(crate) fn wait<const N: usize>(
        &self,
        timeout: Option<Duration>,
        mut each: impl FnMut(u64),
    ) -> rustix::io::Result<()> {
        let mut buffer = [const { MaybeUninit::uninit() }; N];
        let (events, _) =
            epoll::wait(&self.0, buffer.as_mut_slice(), timeout.map(timespec).as_ref())?;
        for event in events.iter() {
            each(event.data.u64());
        }
        Ok(())
    }
}
