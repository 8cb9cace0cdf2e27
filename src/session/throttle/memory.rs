//! The failures of addresses and of users, in a memory with a bound.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Maximum number of addresses, and of users, that are remembered. Above it, those with the fewest failures are
/// forgotten.
pub(super) const REMEMBERED_MAX: usize = 16 * 1024;

/// Consecutive failures, and the time of the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) last: Instant,
}

impl Failures {
    /// Returns whether the last failure is still remembered.
    pub(super) fn is_recent(self, memory: Duration, now: Instant) -> bool {
        now < self.last + memory
    }

    /// Counts one more failure, on top of recent ones.
    pub(super) fn one_more(before: Option<Self>, memory: Duration, now: Instant) -> Self {
        let before = before.filter(|found| found.is_recent(memory, now));
        Self { count: before.map_or(0, |found| found.count).saturating_add(1), last: now }
    }
}

/// The failures of each key.
#[derive(Debug)]
pub(super) struct Memory<K>(pub(super) HashMap<K, Failures>);

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Memory<K> {
    /// Returns the failures of this key, if they are recent.
    pub(super) fn find(&self, key: &K, memory: Duration, now: Instant) -> Option<Failures> {
        self.0.get(key).copied().filter(|found| found.is_recent(memory, now))
    }

    /// Counts one more failure, and returns the new count.
    pub(super) fn add(&mut self, key: K, memory: Duration, now: Instant) -> Failures {
        let found = Failures::one_more(self.0.get(&key).copied(), memory, now);
        self.put(key, found, memory, now);
        found
    }

    /// Sets the failures of this key.
    pub(super) fn put(&mut self, key: K, found: Failures, memory: Duration, now: Instant) {
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, found| found.is_recent(memory, now));
            // Forgets keys with few failures first, and the older ones of these: evicting a count takes as many
            // failures each time.
            forget_half(&mut self.0, |found| (found.count, found.last));
        }
        self.0.insert(key, found);
    }
}

/// Forgets the half of a full memory that comes first by this key.
pub(super) fn forget_half<K: Hash + Eq, V, O: Ord + Copy>(
    memory: &mut HashMap<K, V>,
    key: impl Fn(&V) -> O,
) {
    let mut keys: Vec<O> = memory.values().map(&key).collect();
    if keys.len() >= REMEMBERED_MAX {
        let middle = keys.len() / 2;
        let (_, median, _) = keys.select_nth_unstable(middle);
        let median = *median;
        memory.retain(|_, found| key(found) > median);
    }
}
