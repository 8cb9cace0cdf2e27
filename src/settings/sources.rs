//! The sources of settings, and their order: default, file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use super::origin::{Origin, Problem};
use super::row::Row;
use super::table::{Arguments, row};
use super::{Config, environment, file, flags};

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "POOLFTPD_CONFIG";

/// A value that a source gives.
#[derive(Debug, Clone)]
pub struct Given {
    /// The value, as texts.
    pub texts: Vec<String>,
    /// Its source.
    pub origin: Origin,
}

/// The settings that the sources give; all others have their defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, Given>,
    pub(super) file: Option<PathBuf>,
}

impl Settings {
    /// Reads all sources: the file that a flag or the environment names, the environment, and the flags. Returns what
    /// is right, and everything that is wrong.
    #[must_use]
    pub fn read(
        arguments: &Arguments,
        environment: &[(OsString, OsString)],
    ) -> (Self, Vec<Problem>) {
        let (mut settings, mut problems) = (Self::default(), Vec::new());
        if let Some(path) = file_name(arguments, environment) {
            let path = std::path::absolute(&path).unwrap_or(path);
            file::read(&mut settings, &path, &mut problems);
            settings.file = Some(path);
        }
        environment::read(&mut settings, environment, &mut problems);
        flags::read(&mut settings, arguments, &mut problems);
        (settings, problems)
    }

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
        self.given.insert(row.id, Given { texts, origin });
        Ok(())
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

    /// Returns a problem for each environment variable that looks like a setting and is none.
    #[must_use]
    pub fn unknown_variables(environment: &[(OsString, OsString)]) -> Vec<Problem> {
        environment::unknown(environment)
    }

    /// Returns the configuration file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

fn file_name(arguments: &Arguments, environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let is_given = |(name, path): &&(OsString, OsString)| name == FILE_VARIABLE && !path.is_empty();
    let variable = || environment.iter().find(is_given).map(|(_, path)| path.into());
    arguments.config.as_ref().map(PathBuf::from).or_else(variable)
}
