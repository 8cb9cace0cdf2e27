//! The round-robin choice: each new client goes to the next slave that can take it.

/// The position of the next turn.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// Offers a client to `count` slaves in turn, starting with the next one, until one takes it. Returns the number of
    /// that slave, or `None` when no slave takes it. A slave that cannot take it loses this turn, and is asked again in
    /// the next round.
    pub(super) fn pick(
        &mut self,
        count: usize,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let first = self.next;
        let picked =
            (0..count).map(|step| (first + step) % count).find(|candidate| takes(*candidate))?;
        self.next = (picked + 1) % count;
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_clients_are_served_by_the_first_the_second_and_the_first() {
        let mut ring = RoundRobin::default();
        let picks: Vec<_> = (0..3).map(|_| ring.pick(2, |_| true)).collect();
        assert_eq!(picks, [Some(0), Some(1), Some(0)]);
        assert_eq!(ring.pick(0, |_| true), None);
        assert_eq!(ring.pick(2, |_| false), None);
    }

    proptest! {
        #[test]
        fn no_slave_gets_two_more_than_another_while_all_are_able(count in 1_usize..10, before in 0_usize..30, clients in 0_usize..100) {
            let mut ring = RoundRobin::default();
            for _ in 0..before { ring.pick(count, |_| true); }
            let mut served = vec![0_i32; count];
            for _ in 0..clients { served[ring.pick(count, |_| true).unwrap()] += 1; }
            prop_assert!(served.iter().max().unwrap() - served.iter().min().unwrap() <= 1);
        }

        #[test]
        fn a_client_is_lost_only_if_nobody_is_able(able in proptest::collection::vec(any::<bool>(), 1..10), turns in 1_usize..30) {
            let mut ring = RoundRobin::default();
            for _ in 0..turns {
                let picked = ring.pick(able.len(), |candidate| able[candidate]);
                prop_assert_eq!(picked.is_some(), able.contains(&true));
                prop_assert!(picked.is_none_or(|picked| able[picked]));
            }
        }
    }
}
