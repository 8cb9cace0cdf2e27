//! Ranges of ports, and the number of worker threads.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

/// Parses `LO-HI`, or one port.
pub(super) fn passive_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low @ 1..), Ok(high)) if low <= high => Some(low..=high),
        _ => None,
    }
}

/// Returns twice the number of processors, at least four: workers wait for disks as well as for processors.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    NonZeroUsize::new((processors() * 2).max(4)).unwrap_or(NonZeroUsize::MIN)
}

/// Returns the number of processors available to this process; one, if it is unknown.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_two_ports_in_order_or_one() {
        assert_eq!(passive_ports("50000-50100"), Some(50_000..=50_100));
        assert_eq!(passive_ports("50000"), Some(50_000..=50_000));
        for text in ["", "-", "2-1", "0-5", "1-65536", "a-b", "1-2-3"] {
            assert!(passive_ports(text).is_none(), "{text}");
        }
    }
}
