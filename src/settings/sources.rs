//! The sources of settings, and their order: default, file, environment, flags.

use std::ffi::OsString;
use std::path::PathBuf;

use super::given::{FILE_VARIABLE, Settings};
use super::origin::Problem;
use super::table::Arguments;
use super::{environment, file, flags};

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
        }
        environment::read(&mut settings, environment, &mut problems);
        flags::read(&mut settings, arguments, &mut problems);
        (settings, problems)
    }

    /// Returns a problem for each environment variable that looks like a setting and is none.
    #[must_use]
    pub fn unknown_variables(environment: &[(OsString, OsString)]) -> Vec<Problem> {
        environment::unknown(environment)
    }
}

fn file_name(arguments: &Arguments, environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let is_given = |(name, path): &&(OsString, OsString)| name == FILE_VARIABLE && !path.is_empty();
    let variable = || environment.iter().find(is_given).map(|(_, path)| path.into());
    arguments.config.as_ref().map(PathBuf::from).or_else(variable)
}
