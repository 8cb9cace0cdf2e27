//! The report of a reload: the settings that have changed, and when each change takes effect.

use super::row::{Change, Row};
use super::table::Config;
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
            let text = format!(
                "{} {} -> {}",
                row.name(),
                words(&row.shown(&before)),
                words(&row.shown(&after))
            );
            if can_change(row, self, new) && row.put(self, &after).is_ok() {
                changes.applied.push(text);
            } else {
                changes.restart.push(text);
            }
        }
        changes
    }
}

/// Returns whether a setting may change to that of `new` while a server with this configuration runs.
fn can_change(row: &Row, config: &Config, new: &Config) -> bool {
    match row.change {
        // SECURITY: without TLS there is nothing that could be required. A report that it is would be wrong.
        _ if row.id == "require_tls" => config.has_certificate(),
        // The first listener stays: others know the server by it.
        _ if row.id == "listen" => {
            let has_tls = new.listen.iter().any(|listen| listen.tls);
            config.listeners().first() == new.listeners().first()
                && (!has_tls || config.has_certificate())
        }
        _ if row.id == "implicit_tls" => config.has_certificate(),
        // The thread that looks a name up begins at the start.
        _ if row.id == "public_address" => {
            config.public_name.is_none() && new.public_name.is_none()
        }
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
    use crate::net::tls::KeyFiles;
    use crate::settings::samples::sample;

    #[test]
    fn each_change_is_applied_or_needs_a_restart() {
        for row in ROWS {
            let key = KeyFiles { certificate: "/a".into(), key: "/a".into() };
            let mut now = Config::default();
            now.tls.keys.push(key);
            let mut new = now.clone();
            row.put(&mut new, &sample(row)).unwrap();
            new.public_name = None;
            let is_possible = can_change(row, &now, &new);
            let changes = now.reload(&new);
            let found = if is_possible { &changes.applied } else { &changes.restart };
            assert!(found.iter().any(|text| text.starts_with(&row.name())), "{row:?}: {changes:?}");
            assert_eq!(row.texts(&now) == row.texts(&new), is_possible, "{row:?}");
            assert_eq!(now.reload(&now.clone()), Changes::default());
        }
    }

    #[test]
    fn a_name_to_look_up_needs_a_restart() {
        let name = Some("ftp.example.net".to_owned());
        let mut new = Config { public_name: name, ..Config::default() };
        assert_eq!(Config::default().reload(&new).restart.len(), 1);
        let fixed = Config { public_address: Some([192, 0, 2, 7].into()), ..Config::default() };
        assert_eq!(new.reload(&fixed).restart.len(), 1);
        assert_eq!(Config::default().reload(&fixed).applied.len(), 1);
    }

    #[test]
    fn a_server_without_a_certificate_needs_a_restart_to_require_tls() {
        let new = Config { require_tls: true, ..Config::default() };
        let changes = Config::default().reload(&new);
        assert_eq!((changes.applied.len(), changes.restart.len()), (0, 1));
    }
}
