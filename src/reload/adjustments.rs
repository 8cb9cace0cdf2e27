//! The changes that administrators make while the server runs. They hold until the next reload, also in a server that takes
//! the place of this one.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Maximum number of changes that are remembered. Further ones hold, but not in a successor.
const REMEMBERED_MAX: usize = 10_000;

/// The changes since the last reload: the arguments of `ftpserver ctl limit`, of which the last is the value.
#[derive(Debug, Default)]
pub(crate) struct Adjustments(Mutex<BTreeMap<Vec<String>, String>>);

impl Adjustments {
    /// Remembers a change, in place of an earlier one of the same subject.
    pub(crate) fn remember(&self, subject: &[&str], value: &str) {
        let subject: Vec<String> = subject.iter().map(|word| (*word).to_owned()).collect();
        let mut changes = self.0.lock();
        if changes.len() < REMEMBERED_MAX || changes.contains_key(&subject) {
            changes.insert(subject, value.to_owned());
        }
    }

    /// Returns all changes, each with its value as the last word.
    pub(crate) fn all(&self) -> Vec<Vec<String>> {
        let changes = self.0.lock();
        changes
            .iter()
            .map(|(subject, value)| subject.iter().chain([value]).cloned().collect())
            .collect()
    }

    /// Forgets all changes: a reload has ended them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_subject_counts_and_memory_is_bounded() {
        let changes = Adjustments::default();
        changes.remember(&["rate-down"], "1M");
        changes.remember(&["rate-down"], "2M");
        assert_eq!(changes.all(), [["rate-down", "2M"]]);
        for number in 0..REMEMBERED_MAX + 5 {
            changes.remember(&["user", &number.to_string(), "up"], "1");
        }
        assert_eq!(changes.all().len(), REMEMBERED_MAX);
        changes.clear();
        assert!(changes.all().is_empty());
    }
}
