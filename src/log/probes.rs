//! Clients that do not try to log in: health checks and port scanners. In each window, some of their lines are logged for
//! each address, and the others are counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::Timestamp;

use crate::events::{Event, Record};
use crate::net::client_of;

/// The window.
const WINDOW: Duration = Duration::from_mins(10);

/// Maximum number of connections without a login that are logged for one address in a window.
const SHOWN_MAX: u32 = 3;

/// Maximum number of addresses that are counted separately. Further addresses are counted together.
const ADDRESSES_MAX: usize = 64;

/// The address that stands for all addresses beyond the maximum.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Debug, Default)]
struct Count {
    /// Number of connections that were logged and have not led to a login.
    shown: u32,
    /// Number of connections that were not logged.
    hidden: u64,
}

/// The connections without a login in the current window.
#[derive(Debug, Default)]
pub(super) struct Probes {
    begun: Timestamp,
    by_address: HashMap<IpAddr, Count>,
}

/// The connections of one address that were not logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) address: IpAddr,
    pub(super) count: u64,
}

impl Probes {
    /// Returns whether an event counts here; others take no lock.
    pub(super) fn counts(event: &Event<'_>) -> bool {
        matches!(
            event,
            Event::Connect
                | Event::Probe { .. }
                | Event::Login { .. }
                | Event::Disconnect { logs_in: false, .. }
        )
    }

    /// Returns whether an event is logged, and counts it otherwise.
    pub(super) fn admits(&mut self, record: &Record<'_>) -> bool {
        let Some(who) = record.who else { return true };
        let address = client_of(who.peer.ip());
        match record.event {
            Event::Connect | Event::Probe { .. } => self.connection(address),
            Event::Disconnect { logs_in: false, .. } => {
                self.by_address.get(&address).is_none_or(|count| count.hidden == 0)
            }
            Event::Login { .. } => {
                if let Some(count) = self.by_address.get_mut(&address) {
                    count.shown = count.shown.saturating_sub(1);
                }
                true
            }
            _ => true,
        }
    }

    fn connection(&mut self, address: IpAddr) -> bool {
        let is_known = self.by_address.contains_key(&address);
        let key = if is_known || self.by_address.len() < ADDRESSES_MAX { address } else { OTHERS };
        let count = self.by_address.entry(key).or_default();
        if key != OTHERS && count.shown < SHOWN_MAX {
            count.shown += 1;
            return true;
        }
        count.hidden += 1;
        false
    }

    /// Ends the window, if it is over or at the end of the log; returns what was not logged in it.
    pub(super) fn end_window(&mut self, now: Timestamp, is_last: bool) -> Vec<Hidden> {
        if !is_last && now.duration_since(self.begun).unsigned_abs() < WINDOW {
            return Vec::new();
        }
        self.begun = now;
        let counts = std::mem::take(&mut self.by_address).into_iter();
        counts
            .filter(|(_, count)| count.hidden > 0)
            .map(|(address, count)| Hidden { address, count: count.hidden })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ServerId, SessionId, Who};

    fn admits(probes: &mut Probes, last: u8, event: &Event<'_>) -> bool {
        let who = Who {
            session: SessionId { server: ServerId::of_now(), slave: None, number: 1 },
            peer: ([192, 0, 2, last], 5).into(),
            user: None,
            host: None,
            tls: None,
            cipher: None,
        };
        probes.admits(&Record { time: Timestamp::UNIX_EPOCH, who: Some(&who), event })
    }

    const PROBE: Event<'_> = Event::Probe { seconds: 0, reason: "closed" };

    #[test]
    fn of_many_probes_of_an_address_some_are_logged_and_the_others_counted() {
        let mut probes = Probes::default();
        let now = Timestamp::UNIX_EPOCH + Duration::from_hours(1);
        assert_eq!(probes.end_window(now, false), []);
        let shown = (0..1000).filter(|_| admits(&mut probes, 1, &PROBE)).count();
        assert_eq!(shown, 3);
        assert!(admits(&mut probes, 2, &PROBE), "another address");
        let left = Event::Disconnect { reason: "closed", seconds: 0, logs_in: false };
        assert!(!admits(&mut probes, 1, &left) && admits(&mut probes, 2, &left));
        assert_eq!(probes.end_window(now + Duration::from_mins(9), false), []);
        let hidden = probes.end_window(now + Duration::from_mins(10), false);
        assert_eq!(hidden, [Hidden { address: [192, 0, 2, 1].into(), count: 997 }]);
        assert!(admits(&mut probes, 1, &PROBE), "a new window");
    }

    #[test]
    fn clients_that_log_in_are_always_logged() {
        let mut probes = Probes::default();
        for _ in 0..100 {
            assert!(admits(&mut probes, 1, &Event::Connect));
            assert!(admits(&mut probes, 1, &Event::Login { user: b"a" }));
        }
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let mut probes = Probes::default();
        for last in 0..=255 {
            admits(&mut probes, last, &PROBE);
        }
        assert_eq!(probes.by_address.len(), ADDRESSES_MAX + 1);
        let hidden = probes.end_window(Timestamp::MAX, true);
        assert_eq!(hidden, [Hidden { address: OTHERS, count: 256 - 64 }]);
    }
}
