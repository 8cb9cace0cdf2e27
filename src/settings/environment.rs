//! Settings in environment variables: `POOLFTPD_` and the name in capitals.

use std::ffi::{OsStr, OsString};

use super::given::{FILE_VARIABLE, Settings};
use super::nearest::nearest;
use super::origin::{Origin, Problem};
use super::row::Row;
use super::table::ROWS;

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
    let unknown =
        names.filter(|name| name.starts_with(PREFIX) && !known.iter().any(|known| known == name));
    let problem = |name: &str| Problem {
        origin: Origin::Environment(name.to_owned()),
        text: format!("this variable is not a setting{}", nearest(name, &known)),
    };
    unknown.map(problem).collect()
}
