//! The two forms of an answer: a table for people, and JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use crate::log::escape;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// A value in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Number(u64),
    Bool(bool),
    /// A duration; text shows the largest two units, JSON seconds.
    Time(Duration),
    /// Nothing is known, or nothing applies.
    None,
}

impl Cell {
    pub(super) fn text(value: &(impl ToString + ?Sized)) -> Self {
        Self::Text(value.to_string())
    }

    pub(super) fn optional(value: Option<impl ToString>) -> Self {
        value.map_or(Self::None, |value| Self::Text(value.to_string()))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Time(time) => duration(*time),
            Self::None => "-".to_owned(),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Text(text) => {
                let mut quoted = String::new();
                // Writing to a String cannot fail.
                let _written = escape(&mut quoted, text);
                quoted
            }
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Time(time) => time.as_secs().to_string(),
            Self::None => "null".to_owned(),
        }
    }
}

/// Returns one row: cells separated by tabs, or an object of JSON.
pub(super) fn row(form: Form, names: &[&str], cells: &[Cell]) -> String {
    match form {
        // A tab in a value would begin another column.
        Form::Text => {
            let shown: Vec<String> =
                cells.iter().map(|cell| cell.shown().replace('\t', " ")).collect();
            shown.join("\t")
        }
        Form::Json => {
            let fields: Vec<String> = names
                .iter()
                .zip(cells)
                .map(|(name, cell)| format!("\"{name}\":{}", cell.json()))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

/// Returns a whole list from its rows: a table with a head, or an array of JSON.
pub(super) fn list(form: Form, names: &[&str], rows: &[String]) -> String {
    match form {
        Form::Json => format!("[{}]\n", rows.join(",")),
        Form::Text => {
            let head = names.join("\t");
            table(std::iter::once(&head).chain(rows))
        }
    }
}

/// Aligns columns that are separated by tabs.
fn table<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> String {
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| line.as_ref().split('\t').map(ToOwned::to_owned).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = (*widest).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _written = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a duration with its largest two units, such as `3d 4h` or `12s`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_tab_in_a_value_begins_none() {
        let names = ["user", "idle"];
        let rows = [
            row(Form::Text, &names, &[Cell::text("al\tice"), Cell::Time(Duration::from_secs(75))]),
            row(Form::Text, &names, &[Cell::text("b"), Cell::None]),
        ];
        assert_eq!(list(Form::Text, &names, &rows), "user    idle\nal ice  1m 15s\nb       -\n");
    }

    #[test]
    fn json_is_escaped_and_has_numbers_as_numbers() {
        let rows = [row(Form::Json, &["path", "bytes"], &[Cell::text("a\"\n"), Cell::Number(3)])];
        let text = list(Form::Json, &["path", "bytes"], &rows);
        assert_eq!(text, "[{\"path\":\"a\\\"\\u000a\",\"bytes\":3}]\n");
    }

    #[test]
    fn a_duration_has_its_largest_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3700, "1h 1m"), (90_061, "1d 1h")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
