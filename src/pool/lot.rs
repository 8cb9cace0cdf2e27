//! The parking lot: waiting tasks, by token and by deadline.
//!
//! A plain structure: no thread, no clock, no descriptor. Each park has a fresh token. So an event that comes late, for
//! an earlier park of this task or of another task in this slot, finds nothing.

use std::collections::BTreeSet;
use std::time::Instant;

/// The name of one park of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token {
    slot: u32,
    /// The number of earlier uses of the slot; wraps after 2³¹ parks in one slot.
    use_number: u32,
}

impl Token {
    const USE_NUMBER_MASK: u32 = u32::MAX >> 1;

    /// Returns the token in the low 63 bits; the highest bit stays free for the caller.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.use_number) << 32 | u64::from(self.slot)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half of the word is taken apart on purpose"
    )]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, use_number: (bits >> 32) as u32 & Self::USE_NUMBER_MASK }
    }
}

/// Waiting tasks, of any type.
#[derive(Debug)]
pub(super) struct Lot<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Instant, Token)>,
}

#[derive(Debug)]
struct Slot<T> {
    use_number: u32,
    parked: Option<(T, Instant)>,
}

impl<T> Lot<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), deadlines: BTreeSet::new() }
    }

    /// Parks a task until `until` at the latest, and returns the token that wakes it.
    pub(super) fn park(&mut self, task: T, until: Instant) -> Token {
        let token = self.free_place();
        if let Some(slot) = self.slots.get_mut(token.slot as usize) {
            slot.parked = Some((task, until));
            self.deadlines.insert((until, token));
        }
        token
    }

    /// Returns a reference to a parked task.
    pub(super) fn parked(&self, token: Token) -> Option<&T> {
        let slot = self.slots.get(token.slot as usize)?;
        slot.parked.as_ref().filter(|_| slot.use_number == token.use_number).map(|(task, _)| task)
    }

    /// Takes out the task that was parked under this token, unless it was taken out before.
    pub(super) fn wake(&mut self, token: Token) -> Option<T> {
        self.parked(token)?;
        let slot = self.slots.get_mut(token.slot as usize)?;
        let (task, until) = slot.parked.take()?;
        slot.use_number = slot.use_number.wrapping_add(1) & Token::USE_NUMBER_MASK;
        self.deadlines.remove(&(until, token));
        self.free.push(token.slot);
        Some(task)
    }

    /// Takes out the task with the earliest deadline, if that deadline has come by `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<T> {
        let &(until, token) = self.deadlines.first()?;
        if until <= now { self.wake(token) } else { None }
    }

    /// Takes out any one task.
    pub(super) fn evict(&mut self) -> Option<T> {
        let &(_, token) = self.deadlines.first()?;
        self.wake(token)
    }

    /// Returns the earliest deadline, if any task is parked.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(until, _)| until)
    }

    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    fn free_place(&mut self) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { use_number: 0, parked: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let use_number = self.slots.get(slot as usize).map_or(0, |slot| slot.use_number);
        Token { slot, use_number }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "exact instants need one to count from")]
    fn later(seconds: u64) -> Instant {
        use std::sync::LazyLock;
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_wakes_its_park_once_and_no_later_park_in_the_same_place() {
        let mut lot = Lot::new();
        let first = lot.park('a', later(10));
        assert_eq!(lot.wake(first), Some('a'));
        assert_eq!(lot.wake(first), None);
        let second = lot.park('b', later(10));
        assert_eq!(lot.wake(first), None, "the late event of an old park finds nothing");
        assert_eq!(lot.wake(Token::from_bits(second.to_bits())), Some('b'));
    }

    #[test]
    fn deadlines_expire_at_their_exact_instant_and_in_order() {
        let mut lot = Lot::new();
        lot.park('c', later(3));
        lot.park('a', later(1));
        lot.park('b', later(1));
        assert_eq!(lot.next_deadline(), Some(later(1)));
        assert_eq!(lot.expire(later(0) + Duration::from_nanos(999_999_999)), None);
        let mut expired = [lot.expire(later(1)).unwrap(), lot.expire(later(1)).unwrap()];
        expired.sort_unstable();
        assert_eq!(expired, ['a', 'b']);
        assert_eq!(lot.expire(later(1)), None);
        assert_eq!(lot.evict(), Some('c'));
        assert_eq!(lot.next_deadline(), None);
    }
}
