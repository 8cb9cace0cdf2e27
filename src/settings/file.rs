//! Settings in a TOML file: a key for each setting, and tables such as `[[host]]`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::Settings;
use super::kind::Kind;
use super::nearest::nearest;
use super::origin::{Origin, Problem};
use super::row::Row;
use super::table::{ROWS, row};
use super::words::{Key, Table, Words, joined};
use super::{directory, group, host, listen, mount};
use crate::units::unreadable;

/// Reads a file and those that it includes, and adds their settings and problems.
pub(super) fn read(settings: &mut Settings, path: &Path, problems: &mut Vec<Problem>) {
    // The first file can always be entered.
    let _entered = settings.files.enter(path, 0);
    read_at(settings, path, problems, 0);
}

fn read_at(settings: &mut Settings, path: &Path, problems: &mut Vec<Problem>, depth: usize) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("cannot read the configuration: {}", unreadable(path, &error));
            return problems.push(Problem { origin: Origin::WholeFile(path.to_owned()), text });
        }
    };
    for (pattern, origin) in parse(settings, path, &text, problems) {
        let wrong = |text| Problem { origin: origin.clone(), text: format!("include: {text}") };
        match settings.files.expand(&pattern) {
            Ok(found) => {
                for path in found {
                    match settings.files.enter(&path, depth + 1) {
                        Ok(()) => read_at(settings, &path, problems, depth + 1),
                        Err(text) => problems.push(wrong(text)),
                    }
                }
            }
            Err(text) => problems.push(wrong(text)),
        }
    }
}

/// Parses the text of a file, and adds its settings and its problems. Returns the files that it includes, and the place
/// of each.
pub(super) fn parse(
    settings: &mut Settings,
    path: &Path,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(PathBuf, Origin)> {
    let mut reader = Reader { settings, path, text, problems, includes: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => reader.table(table.get_ref()),
        Err(error) => reader.wrong(error.span().unwrap_or_default(), error.message().to_owned()),
    }
    reader.includes
}

/// The tables of the file, each with a text form.
const TABLES: [Table; 5] =
    [listen::TABLE, host::TABLE, group::TABLE, directory::TABLE, mount::TABLE];

/// A value of the file.
type Item<'a> = Spanned<DeValue<'a>>;

/// The text of a file, while its settings are read.
struct Reader<'r> {
    settings: &'r mut Settings,
    path: &'r Path,
    text: &'r str,
    problems: &'r mut Vec<Problem>,
    includes: Vec<(PathBuf, Origin)>,
}

impl Reader<'_> {
    /// Reads all keys, in the order of the file.
    fn table(&mut self, table: &DeTable<'_>) {
        for (name, span, value) in in_order(table) {
            let row = row(name).filter(|row| row.name() == name);
            let form = TABLES.iter().find(|form| form.name == name);
            match (row, form) {
                _ if name == "tls" => self.tables(name, value, &Self::tls),
                _ if name == "include" => self.include(value),
                (None, Some(form)) => self.forms(form, value),
                (Some(_), Some(form)) if has_tables(value) => self.forms(form, value),
                (Some(row), _) => self.setting(row, span, value),
                (None, None) => {
                    let tables = TABLES.iter().map(|form| form.name).chain(["include", "tls"]);
                    let known = ROWS.iter().map(Row::name).chain(tables.map(str::to_owned));
                    self.unknown(name, span, &known.collect::<Vec<_>>());
                }
            }
        }
    }

    /// Notes the files of `include`.
    fn include(&mut self, value: &Item<'_>) {
        let values: Vec<&Item<'_>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            if let Some(path) = self.file_path("include", value) {
                let origin = self.origin(value.span());
                self.includes.push((path, origin));
            }
        }
    }

    /// Reads each table of this form.
    fn forms(&mut self, form: &Table, value: &Item<'_>) {
        self.tables(form.name, value, &|reader, span, table| reader.words(span, table, form));
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
        // The text of one file cannot give a key twice.
        if let Some(given) = self.settings.get(row.id)
            && matches!(given.origin, Origin::File { .. })
        {
            let text = format!("{} is set already at {}", row.name(), given.origin);
            return self.problems.push(Problem { origin, text });
        }
        if let Err(text) = self.settings.put(row, texts, origin) {
            self.wrong(value.span(), format!("{}: {text}", row.name()));
        }
    }

    /// Reads each table of `[[name]]`; a single `[name]` counts as one.
    fn tables(
        &mut self,
        name: &str,
        value: &Item<'_>,
        read: &dyn Fn(&mut Self, Range<usize>, &DeTable<'_>),
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

    /// Reads a table as the text of its setting.
    fn words(&mut self, span: Range<usize>, table: &DeTable<'_>, form: &Table) {
        let (mut words, count) = (Words::default(), self.problems.len());
        let mut places = Vec::new();
        for (name, key, value) in in_order(table) {
            places.push((name, value.span()));
            let Some(known) = form.key(name) else {
                self.unknown_of(form.name, name, key, &form.names());
                continue;
            };
            match self.word(known, value) {
                None => {}
                Some(text) if name == form.first.name => words.first = text,
                Some(text) if known.kind == Kind::Switch => words.push_switch(name, text == "true"),
                Some(text) => words.push(name, text),
            }
        }
        if self.problems.len() > count {
            return;
        }
        if let Err(text) = self.append(form.row, &span, words.to_string()) {
            // The error of a key begins with its name.
            let is_of =
                |name: &str| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
            let place = places.into_iter().find(|(name, _)| is_of(name)).map(|(_, place)| place);
            self.wrong(place.unwrap_or(span), format!("[[{}]]: {text}", form.name));
        }
    }

    /// Returns the text of a value in a table.
    fn word(&mut self, key: &Key, value: &Item<'_>) -> Option<String> {
        let found = match value.get_ref() {
            DeValue::Array(array) if key.is_list => {
                let texts = array.iter().map(|item| text_of(item.get_ref(), key.kind));
                texts.collect::<Option<Vec<_>>>().map(|texts| joined(&texts))
            }
            other => text_of(other, key.kind),
        };
        if found.is_none() {
            self.mismatch(key.name, value, key.kind.words());
        }
        found.map(|text| if key.kind == Kind::Path { self.absolute(&text) } else { text })
    }

    /// Reads a `[[tls]]`: a certificate and its key.
    fn tls(&mut self, span: Range<usize>, table: &DeTable<'_>) {
        let (mut certificate, mut key_file) = (None, None);
        for (name, key, value) in in_order(table) {
            match name {
                "cert" => certificate = self.file_path(name, value),
                "key" => key_file = self.file_path(name, value),
                _ => self.unknown_of("tls", name, key, &["cert", "key"].map(str::to_owned)),
            }
        }
        let Some(certificate) = certificate else {
            return self.wrong(span, "[[tls]]: cert is missing".to_owned());
        };
        let key = key_file.unwrap_or_else(|| certificate.clone());
        let texts = [("tls-cert", certificate), ("tls-key", key)];
        for (name, path) in texts {
            if let Err(text) = self.append(name, &span, path.display().to_string()) {
                self.wrong(span.clone(), format!("{name}: {text}"));
            }
        }
    }

    /// Adds a value to a list.
    fn append(&mut self, name: &str, span: &Range<usize>, text: String) -> Result<(), String> {
        let Some(row) = row(name) else { return Ok(()) };
        let origin = self.origin(span.clone());
        self.settings.add(row, text, origin)
    }

    fn text(&mut self, name: &str, value: &Item<'_>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.mismatch(name, value, "a text");
        }
        text
    }

    fn file_path(&mut self, name: &str, value: &Item<'_>) -> Option<PathBuf> {
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

    fn unknown_of(&mut self, table: &str, name: &str, key: Range<usize>, known: &[String]) {
        let hint = match row(name) {
            Some(_) => format!("; settings stand before the first [[{table}]]"),
            None => nearest(name, known),
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

/// Returns true for a table, or a list of tables.
fn has_tables(value: &Item<'_>) -> bool {
    match value.get_ref() {
        DeValue::Array(array) => {
            array.iter().next().is_some_and(|first| first.get_ref().is_table())
        }
        value => value.is_table(),
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
        (Kind::Number | Kind::Time | Kind::Size | Kind::Text, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            Some(number.map_or_else(
                || value.as_integer().map(ToString::to_string).unwrap_or_default(),
                |number| number.to_string(),
            ))
        }
        (Kind::Time | Kind::Text, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Time | Kind::Size | Kind::Text | Kind::Path, DeValue::String(text)) => {
            Some(text.to_string())
        }
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
