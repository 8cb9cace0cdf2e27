//! The share of the descriptors of this process that is in use.
//!
//! The system gives out the lowest free number, so the number of a new descriptor shows how many are open. While few are
//! free, an address with many connections gets no further ones ([`super::connection_limits`]): one client cannot take the
//! descriptors of all others.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

/// The eighths of all descriptors, above which an address with many connections gets no further session.
pub const FOR_SESSIONS: u64 = 5;

/// The eighths of all descriptors, above which such an address gets no further data connection. Its transfers open a file
/// each, so an eighth is left for other clients even then.
pub const FOR_DATA: u64 = 6;

/// Returns true if this descriptor, the newest, shows that more than these eighths of all are in use.
pub fn are_scarce(newest: impl AsFd, eighths: u64) -> bool {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    is_above(newest.as_fd().as_raw_fd(), eighths, most)
}

fn is_above(newest: i32, eighths: u64, most: u64) -> bool {
    u64::try_from(newest).is_ok_and(|newest| newest >= most / 8 * eighths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_new_descriptor_shows_how_many_are_open() {
        assert!(!is_above(639, FOR_SESSIONS, 1024) && is_above(640, FOR_SESSIONS, 1024));
        assert!(!is_above(767, FOR_DATA, 1024) && is_above(768, FOR_DATA, 1024));
        assert!(!is_above(i32::MAX, FOR_SESSIONS, u64::MAX));
    }
}
