//! The settings that a slave process receives from its master: a line `name value` for each value of a shared row.

use std::collections::HashMap;

use super::row::Scope;
use super::table::Config;
use super::table::{ROWS, row};

impl Config {
    /// Returns the shared settings as lines `name value`.
    #[must_use]
    pub fn settings(&self) -> String {
        let shared = ROWS.iter().filter(|row| row.scope == Scope::Shared);
        let lines = shared.flat_map(|row| {
            row.texts(self).into_iter().map(move |text| format!("{} {text}", row.name()))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Adopts the settings that [`Config::settings`] has written.
    ///
    /// # Errors
    /// The line that is not understood, or the name of the setting that is missing or wrong: master and slave are of
    /// different versions.
    pub fn adopt(&mut self, settings: &str) -> Result<(), String> {
        let mut found: HashMap<&str, Vec<String>> = HashMap::new();
        for line in settings.lines() {
            let (name, text) = line.split_once(' ').ok_or(line)?;
            let row = row(name).filter(|row| row.scope == Scope::Shared).ok_or(line)?;
            found.entry(row.id).or_default().push(text.to_owned());
        }
        for row in ROWS.iter().filter(|row| row.scope == Scope::Shared) {
            let texts = found.remove(row.id).unwrap_or_default();
            row.put(self, &texts).map_err(|_| row.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::samples::sample;

    #[test]
    fn a_slave_adopts_every_setting_of_its_master() {
        let mut master = Config::new(PathBuf::new());
        let shared = || ROWS.iter().filter(|row| row.scope == Scope::Shared);
        for row in shared() {
            let before = row.texts(&master);
            row.put(&mut master, &sample(row)).unwrap();
            assert_ne!(row.texts(&master), before, "the sample of {row:?} is its default");
        }
        let mut slave = Config::new(PathBuf::new());
        slave.adopt(&master.settings()).unwrap();
        assert_eq!(slave, master);
        assert_eq!(slave.adopt("colour blue"), Err("colour blue".to_owned()));
    }

    #[test]
    fn a_value_that_is_absent_here_is_absent_there() {
        let master = Config::new(PathBuf::new());
        let mut slave = Config::new(PathBuf::new());
        for row in ROWS.iter().filter(|row| row.scope == Scope::Shared) {
            row.put(&mut slave, &sample(row)).unwrap();
        }
        slave.adopt(&master.settings()).unwrap();
        assert_eq!(slave, master);
    }

    #[test]
    fn a_message_without_a_setting_is_of_another_version() {
        let text = Config::new(PathBuf::new()).settings();
        let without = text.lines().filter(|line| !line.starts_with("fsync ")).collect::<Vec<_>>();
        let mut slave = Config::new(PathBuf::new());
        assert_eq!(slave.adopt(&without.join("\n")), Err("fsync".to_owned()));
    }
}
