//! Settings in a TOML file: a key for each setting, `[[host]]` and `[[tls]]` tables.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::Settings;
use super::host::HostWords;
use super::nearest::nearest;
use super::origin::{Origin, Problem};
use super::row::Row;
use super::table::{ROWS, row};
use super::value::Kind;
use crate::units::unreadable;

/// Reads a file, and adds its settings and its problems.
pub(super) fn read(settings: &mut Settings, path: &Path, problems: &mut Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(settings, path, &text, problems),
        Err(error) => {
            let text = format!("cannot read the configuration: {}", unreadable(path, &error));
            problems.push(Problem { origin: Origin::WholeFile(path.to_owned()), text });
        }
    }
}

/// Parses the text of a file, and adds its settings and its problems.
pub(super) fn parse(settings: &mut Settings, path: &Path, text: &str, problems: &mut Vec<Problem>) {
    let mut reader = Reader { settings, path, text, problems };
    match DeTable::parse(text) {
        Ok(table) => reader.table(table.get_ref()),
        Err(error) => reader.wrong(error.span().unwrap_or_default(), error.message().to_owned()),
    }
}

/// A value of the file.
type Item<'a> = Spanned<DeValue<'a>>;

/// The text of a file, while its settings are read.
struct Reader<'r> {
    settings: &'r mut Settings,
    path: &'r Path,
    text: &'r str,
    problems: &'r mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reads all keys, in the order of the file.
    fn table(&mut self, table: &DeTable<'_>) {
        for (name, span, value) in in_order(table) {
            match (name, row(name).filter(|row| row.name() == name)) {
                ("host", _) => self.tables(name, value, Self::host),
                ("tls", _) => self.tables(name, value, Self::tls),
                (_, Some(row)) => self.setting(row, span, value),
                (_, None) => {
                    let known =
                        ROWS.iter().map(Row::name).chain(["host", "tls"].map(str::to_owned));
                    self.unknown(name, span, &known.collect::<Vec<_>>());
                }
            }
        }
    }

    fn setting(&mut self, row: &Row, key: Range<usize>, value: &Item<'_>) {
        let values: Vec<&Item<'_>> = match value.get_ref() {
            DeValue::Array(array) if row.is_list => array.iter().collect(),
            _ => vec![value],
        };
        let mut texts = Vec::new();
        for value in values {
            match text_of(value.get_ref(), row.kind) {
                Some(text) if row.kind == Kind::Path => texts.push(self.absolute(&text)),
                Some(text) => texts.extend(row.split(&text)),
                None => {
                    let found = found(value.get_ref());
                    let text =
                        format!("{}: found {found}, expected {}", row.name(), row.expected());
                    return self.wrong(value.span(), text);
                }
            }
        }
        let origin = self.origin(key);
        if let Err(text) = self.settings.put(row, texts, origin) {
            self.wrong(value.span(), format!("{}: {text}", row.name()));
        }
    }

    /// Reads each table of `[[name]]`; a single `[name]` counts as one.
    fn tables(
        &mut self,
        name: &str,
        value: &Item<'_>,
        read: fn(&mut Self, Range<usize>, &DeTable<'_>),
    ) {
        let values: Vec<&Item<'_>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            match value.get_ref() {
                DeValue::Table(table) => read(self, value.span(), table),
                other => {
                    let found = found(other);
                    self.wrong(
                        value.span(),
                        format!("{name}: found {found}, expected tables [[{name}]]"),
                    );
                }
            }
        }
    }

    /// Reads a `[[host]]`.
    fn host(&mut self, span: Range<usize>, table: &DeTable<'_>) {
        let (mut words, count) = (HostWords::default(), self.problems.len());
        for (name, key, value) in in_order(table) {
            match name {
                "name" => words.name = self.text("name", value).unwrap_or_default(),
                "root" => words.root = self.file_path(name, value),
                "users" => words.users = self.file_path(name, value),
                "cert" => words.certificate = self.file_path(name, value),
                "key" => words.key = self.file_path(name, value),
                "anonymous" => match value.get_ref().as_bool() {
                    Some(anonymous) => words.anonymous = anonymous,
                    None => self.mismatch(name, value, "true or false"),
                },
                _ => self.unknown_of(
                    "host",
                    name,
                    key,
                    &["name", "root", "users", "anonymous", "cert", "key"],
                ),
            }
        }
        if self.problems.len() > count {
            return;
        }
        match words.host() {
            Ok(host) => self.append("virtual-host", span, host.to_string()),
            Err(text) => self.wrong(span, format!("[[host]]: {text}")),
        }
    }

    /// Reads a `[[tls]]`: a certificate and its key.
    fn tls(&mut self, span: Range<usize>, table: &DeTable<'_>) {
        let (mut certificate, mut key_file) = (None, None);
        for (name, key, value) in in_order(table) {
            match name {
                "cert" => certificate = self.file_path(name, value),
                "key" => key_file = self.file_path(name, value),
                _ => self.unknown_of("tls", name, key, &["cert", "key"]),
            }
        }
        let Some(certificate) = certificate else {
            return self.wrong(span, "[[tls]]: cert is missing".to_owned());
        };
        let key = key_file.unwrap_or_else(|| certificate.clone());
        self.append("tls-cert", span.clone(), certificate.display().to_string());
        self.append("tls-key", span, key.display().to_string());
    }

    /// Adds a value to a list.
    fn append(&mut self, name: &str, span: Range<usize>, text: String) {
        let Some(row) = row(name) else { return };
        let given = self.settings.get(name);
        let mut texts = given.map(|given| given.texts.clone()).unwrap_or_default();
        let origin = given.map_or_else(|| self.origin(span.clone()), |given| given.origin.clone());
        texts.push(text);
        if let Err(text) = self.settings.put(row, texts, origin) {
            self.wrong(span, format!("{name}: {text}"));
        }
    }

    fn text(&mut self, name: &str, value: &Item<'_>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.mismatch(name, value, "a text");
        }
        text
    }

    fn file_path(&mut self, name: &str, value: &Item<'_>) -> Option<std::path::PathBuf> {
        self.text(name, value).map(|text| self.absolute(&text).into())
    }

    /// Returns a path relative to the directory of the file.
    fn absolute(&self, text: &str) -> String {
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        // An empty path stays one, and is refused.
        if text.is_empty() { String::new() } else { folder.join(text).display().to_string() }
    }

    fn mismatch(&mut self, name: &str, value: &Item<'_>, expected: &str) {
        let found = found(value.get_ref());
        self.wrong(value.span(), format!("{name}: found {found}, expected {expected}"));
    }

    fn unknown(&mut self, name: &str, key: Range<usize>, known: &[String]) {
        self.wrong(key, format!("{name} is not a setting{}", nearest(name, known)));
    }

    fn unknown_of(&mut self, table: &str, name: &str, key: Range<usize>, known: &[&str]) {
        let known: Vec<String> = known.iter().map(|known| (*known).to_owned()).collect();
        let hint = match row(name) {
            Some(_) => format!("; settings stand before the first [[{table}]]"),
            None => nearest(name, &known),
        };
        self.wrong(key, format!("{name} is not a setting of [[{table}]]{hint}"));
    }

    fn wrong(&mut self, span: Range<usize>, text: String) {
        let origin = self.origin(span);
        self.problems.push(Problem { origin, text });
    }

    /// Returns the place of a span, in lines and letters.
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        Origin::File { path: self.path.to_owned(), line, column }
    }
}

/// Returns name, span and value of each key, in the order of the file.
fn in_order<'t>(table: &'t DeTable<'_>) -> Vec<(&'t str, Range<usize>, &'t Item<'t>)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    let name = |key: &'t Spanned<Cow<'_, str>>| key.get_ref().as_ref();
    pairs.into_iter().map(|(key, value)| (name(key), key.span(), value)).collect()
}

/// Returns the text of a value, if its type fits.
fn text_of(value: &DeValue<'_>, kind: Kind) -> Option<String> {
    match (kind, value) {
        (Kind::Switch, DeValue::Boolean(value)) => Some(value.to_string()),
        (Kind::Number | Kind::Time | Kind::Text, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            Some(number.map_or_else(
                || value.as_integer().map(ToString::to_string).unwrap_or_default(),
                |number| number.to_string(),
            ))
        }
        (Kind::Time | Kind::Text, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Time | Kind::Text | Kind::Path, DeValue::String(text)) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns the words for a value that does not fit.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
