//! Settings in environment variables: `POOLFTPD_` and the name in capitals.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Read};

use super::given::{FILE_VARIABLE, Settings};
use super::nearest::nearest;
use super::origin::{Origin, Problem};
use super::row::Row;
use super::table::{ROWS, row};
use crate::units::reason;

/// The beginning of the name of each variable.
const PREFIX: &str = "POOLFTPD_";

/// The separator of several values in a variable, where they have none of their own.
const SEPARATOR: char = ';';

/// Reads the variables. An empty one counts as absent.
pub(super) fn read(
    settings: &mut Settings,
    environment: &[(OsString, OsString)],
    problems: &mut Vec<Problem>,
) {
    for row in ROWS {
        let name = row.variable();
        let find = |(found, _): &&(OsString, OsString)| found.as_os_str() == OsStr::new(&name);
        let Some((_, value)) = environment.iter().find(find) else { continue };
        let origin = Origin::Environment(name);
        let text = value.to_str().ok_or_else(|| "the value is not UTF-8".to_owned());
        let put = text.and_then(|text| match text {
            "" => Ok(()),
            text => settings.put(row, split(row, text), origin.clone()),
        });
        problems.extend(put.err().map(|text| Problem { origin, text }));
    }
    let users = read_users(environment);
    let (Some((name, _)), Some(row)) = (users.first(), row("user_entries")) else { return };
    let origin = Origin::Environment(name.clone());
    let texts = users.iter().map(|(_, text)| text.clone()).collect();
    let put = settings.put(row, texts, origin.clone());
    problems.extend(put.err().map(|text| Problem { origin, text }));
}

/// The beginning of the variables of users, and the end of those that name a file.
const USER_PREFIX: &str = "POOLFTPD_USER_";
const FILE_SUFFIX: &str = "_FILE";

/// Maximum number of bytes that are read of a file with users.
const USERS_BYTES_MAX: u64 = 1 << 20;

/// Returns the number of a variable `POOLFTPD_USER_n`, with or without its suffix.
fn user_number(name: &str) -> Option<(u32, bool)> {
    let rest = name.strip_prefix(USER_PREFIX)?;
    let number = rest.strip_suffix(FILE_SUFFIX);
    Some((number.unwrap_or(rest).parse().ok()?, number.is_some()))
}

/// Reads the files of the variables `POOLFTPD_USER_n_FILE`, and replaces each by its content. Called once at the start,
/// because the files may be closed to the process later.
#[must_use]
pub fn with_user_files(
    environment: Vec<(OsString, OsString)>,
) -> (Vec<(OsString, OsString)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let content = |(name, value): (OsString, OsString)| {
        let Some((_, true)) = name.to_str().and_then(user_number) else { return (name, value) };
        let read = || {
            let mut text = String::new();
            let file = OpenOptions::new().read(true).open(&value)?;
            file.take(USERS_BYTES_MAX).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().unwrap_or_else(|error: io::Error| {
            let text = format!("{}: {}", value.display(), reason(&error));
            let origin = Origin::Environment(name.to_string_lossy().into_owned());
            problems.push(Problem { origin, text });
            String::new()
        });
        (name, text.into())
    };
    (environment.into_iter().map(content).collect(), problems)
}

/// Returns the users of the variables, in the order of their numbers: each line is one.
fn read_users(environment: &[(OsString, OsString)]) -> Vec<(String, String)> {
    let numbered = |(name, value): &(OsString, OsString)| {
        let name = name.to_str()?;
        Some((user_number(name)?, name.to_owned(), value.to_str()?.to_owned()))
    };
    let mut found: Vec<_> = environment.iter().filter_map(numbered).collect();
    found.sort();
    let lines = |(_, name, text): ((u32, bool), String, String)| {
        let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.into_iter().filter(|line| !line.is_empty()).map(move |line| (name.clone(), line))
    };
    found.into_iter().flat_map(lines).collect()
}

fn split(row: &Row, text: &str) -> Vec<String> {
    if row.is_list && row.separator.is_none() {
        return text.split(SEPARATOR).map(str::to_owned).collect();
    }
    row.split(text)
}

/// Returns a problem for each variable that looks like a setting and is none.
pub(super) fn unknown(environment: &[(OsString, OsString)]) -> Vec<Problem> {
    let known: Vec<String> =
        ROWS.iter().map(Row::variable).chain([FILE_VARIABLE.to_owned()]).collect();
    let names = environment.iter().filter_map(|(name, _)| name.to_str());
    let is_known =
        |name: &&str| user_number(name).is_some() || known.iter().any(|known| known == name);
    let unknown = names.filter(|name| name.starts_with(PREFIX) && !is_known(name));
    let problem = |name: &str| Problem {
        origin: Origin::Environment(name.to_owned()),
        text: format!("this variable is not a setting{}", nearest(name, &known)),
    };
    unknown.map(problem).collect()
}
