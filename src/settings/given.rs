//! The settings that are given, each with its source.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use super::include::ReadFiles;
use super::origin::{Origin, Problem};
use super::row::{Flags, Row};
use super::table::{Config, row};

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "POOLFTPD_CONFIG";

/// A value that a source gives.
#[derive(Debug, Clone)]
pub struct Given {
    /// The value, as texts.
    pub texts: Vec<String>,
    /// Its source.
    pub origin: Origin,
    /// The place of each text that was added as a table.
    pub places: Vec<Origin>,
}

/// The settings that the sources give; all others have their defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, Given>,
    pub(super) files: ReadFiles,
}

impl Settings {
    /// Gives a setting these values, in place of those of an earlier source.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    pub(super) fn put(
        &mut self,
        row: &Row,
        texts: Vec<String>,
        origin: Origin,
    ) -> Result<(), String> {
        row.put(&mut Config::default(), &texts)?;
        // The keys of an earlier source do not belong to these certificates.
        let is_earlier = |given: &Given| discriminant(&given.origin) != discriminant(&origin);
        if row.id == "tls_cert" && self.given.get("tls_key").is_some_and(is_earlier) {
            self.given.remove("tls_key");
        }
        self.given.insert(row.id, Given { texts, origin, places: Vec::new() });
        Ok(())
    }

    /// Adds a value to those of a list.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    pub(super) fn add(&mut self, row: &Row, text: String, origin: Origin) -> Result<(), String> {
        let Some(Given { mut texts, origin: first, mut places }) = self.given.get(row.id).cloned()
        else {
            self.put(row, vec![text], origin.clone())?;
            self.set_places(row, vec![origin]);
            return Ok(());
        };
        texts.push(text);
        // The values of a key have one place.
        places.resize(texts.len() - 1, first.clone());
        places.push(origin);
        self.put(row, texts, first)?;
        self.set_places(row, places);
        Ok(())
    }

    fn set_places(&mut self, row: &Row, places: Vec<Origin>) {
        if let Some(given) = self.given.get_mut(row.id) {
            given.places = places;
        }
    }

    /// Gives the setting of this name a value, as a program that uses the library does. Repeated calls for a setting
    /// that may be given several times add values.
    ///
    /// # Errors
    /// The problem: no setting has this name, or the value is wrong.
    pub fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let problem = |text| Problem { origin: Origin::Call(name.to_owned()), text };
        let row = row(name).ok_or_else(|| problem("no setting has this name".to_owned()))?;
        let mut texts = Vec::new();
        if matches!(row.flags, Flags::Repeated(_)) {
            texts.extend(self.get(name).into_iter().flat_map(|given| given.texts.clone()));
        }
        texts.push(value);
        self.put(row, texts, Origin::Call(name.to_owned())).map_err(problem)
    }

    /// Returns the value of this setting, if a source gives it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(row(name)?.id)
    }

    /// Returns the source of the first of these settings that is given.
    #[must_use]
    pub fn origin(&self, names: &[&str]) -> Origin {
        let given = names.iter().find_map(|name| self.get(name));
        given.map_or(Origin::Default, |given| given.origin.clone())
    }

    /// Returns the configuration file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.files.files.first().map(PathBuf::as_path)
    }
}
