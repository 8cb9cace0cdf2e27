//! The choice of events for one output.

use std::fmt;

use crate::events::{Direction, EVENT_NAMES, Event};

/// Words for several events, and the events.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "audit",
        &[
            "login",
            "login-failed",
            "banned",
            "stored",
            "fetched",
            "deleted",
            "renamed",
            "directory-made",
            "directory-removed",
            "mode-set",
            "time-set",
            "denied",
            "cut-off",
            "infected",
            "admin",
            "reloaded",
            "not-reloaded",
        ],
    ),
    ("transfers", &["stored", "fetched"]),
];

/// The words for the three kinds of the event `transfer`.
const TRANSFERS: [&str; 3] = ["stored", "fetched", "listed"];

/// The choice of events for one output: all, some, or all but some.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    only: Vec<String>,
    without: Vec<String>,
}

impl Filter {
    /// Chooses the events of these words, or without any all events, except those of `without`.
    ///
    /// # Errors
    /// A clause, if a word names no event.
    pub(super) fn new(only: &str, without: &str) -> Result<Self, String> {
        Ok(Self { only: words(only)?, without: words(without)? })
    }

    /// Returns whether an event belongs to the output.
    pub(super) fn admits(&self, event: &Event<'_>) -> bool {
        let names = |list: &[String]| list.iter().any(|word| is_named(word, event));
        (self.only.is_empty() || names(&self.only)) && !names(&self.without)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, words) in [("events", &self.only), ("without", &self.without)] {
            if !words.is_empty() {
                write!(formatter, ",{key}={}", words.join("+"))?;
            }
        }
        Ok(())
    }
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let known = |word: &str| {
        EVENT_NAMES.contains(&word)
            || TRANSFERS.contains(&word)
            || GROUPS.iter().any(|(name, _)| *name == word)
    };
    let words = text.split('+').filter(|word| !word.is_empty());
    words
        .map(|word| {
            if known(word) {
                Ok(word.to_owned())
            } else {
                let groups = GROUPS.map(|(name, _)| name).join(", ");
                let all = [&TRANSFERS, EVENT_NAMES].concat().join(", ");
                Err(format!("'{word}' is no event; use some of {groups}, {all}"))
            }
        })
        .collect()
}

fn is_named(word: &str, event: &Event<'_>) -> bool {
    let group = GROUPS.iter().find(|(name, _)| *name == word);
    let kind = match event {
        Event::Transfer(transfer) => Some(match transfer.direction {
            Direction::Upload => "stored",
            Direction::Download => "fetched",
            Direction::Listing => "listed",
        }),
        _ => None,
    };
    let is_one = |word: &str| word == event.name() || Some(word) == kind;
    group.map_or_else(|| is_one(word), |(_, words)| words.iter().any(|word| is_one(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_events_and_groups_and_refuses_what_is_none() {
        let filter = Filter::new("audit+connect", "deleted").unwrap();
        let login = Event::Login { user: b"a" };
        assert!(filter.admits(&login) && filter.admits(&Event::Connect));
        assert!(!filter.admits(&Event::Stopped { in_time: true }));
        let path = crate::ftp::VirtualPath::root();
        let deleted = crate::events::Change::Deleted(path.clone());
        let made = crate::events::Change::DirectoryMade(path);
        assert!(!filter.admits(&Event::Changed(&deleted)) && filter.admits(&Event::Changed(&made)));
        assert!(Filter::default().admits(&login));
        assert!(Filter::new("colour", "").unwrap_err().starts_with("'colour' is no event"));
        for (_, words) in GROUPS {
            for word in words {
                assert!(words_exist(word), "{word}");
            }
        }
    }

    fn words_exist(word: &str) -> bool {
        words(word).is_ok()
    }
}
