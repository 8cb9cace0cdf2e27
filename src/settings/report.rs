//! The report of a reload: the settings that have changed, and when each change takes effect.

use super::Config;
use super::row::{Change, Row};
use super::table::ROWS;

/// The changes between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes that are in effect, such as `idle-timeout 300 -> 60`.
    pub applied: Vec<String>,
    /// The changes that need a restart.
    pub restart: Vec<String>,
}

impl Config {
    /// Takes those settings of another configuration that may change without a restart. Returns all changes.
    pub fn reload(&mut self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        for row in ROWS {
            let (before, after) = (row.texts(self), row.texts(new));
            if before == after {
                continue;
            }
            let text = format!("{} {} -> {}", row.name(), words(&before), words(&after));
            if can_change(row) && row.put(self, &after).is_ok() {
                changes.applied.push(text);
            } else {
                changes.restart.push(text);
            }
        }
        changes
    }
}

fn can_change(row: &Row) -> bool {
    match row.change {
        Change::Now | Change::NewSessions => true,
        Change::Restart => false,
    }
}

fn words(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::samples::sample;

    #[test]
    fn each_change_is_applied_or_needs_a_restart() {
        for row in ROWS {
            let (mut now, mut new) = (Config::default(), Config::default());
            row.put(&mut new, &sample(row)).unwrap();
            let changes = now.reload(&new);
            let found = if can_change(row) { &changes.applied } else { &changes.restart };
            assert!(found.iter().any(|text| text.starts_with(&row.name())), "{row:?}: {changes:?}");
            assert_eq!(row.texts(&now) == row.texts(&new), can_change(row), "{row:?}");
            assert_eq!(now.reload(&now.clone()), Changes::default());
        }
    }
}
