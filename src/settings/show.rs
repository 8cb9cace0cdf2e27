//! The effective settings with the source of each, as a configuration file or as JSON.

use std::fmt::Write;

use super::given::Settings;
use super::kind::Kind;
use super::origin::Origin;
use super::row::Row;
use super::table::Config;
use super::table::ROWS;

/// A setting as it is in effect: its texts, and their source.
fn effective(settings: &Settings, config: &Config, row: &Row) -> (Vec<String>, Origin) {
    match settings.get(row.id) {
        Some(given) => (row.shown(&row.absolute(&given.texts)), given.origin.clone()),
        // Lists have no default. The certificates of a configuration include the self-signed one, which is another row.
        None if row.is_list => (Vec::new(), Origin::Default),
        None => (row.texts(config), Origin::Default),
    }
}

/// Returns true if a text can stand for its value without quotes, in TOML and in JSON.
fn is_bare(row: &Row, text: &str) -> bool {
    match row.kind {
        Kind::Switch => true,
        Kind::Number | Kind::Time | Kind::Size => {
            let is_zero_padded = text.len() > 1 && text.starts_with('0');
            !is_zero_padded && text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit())
        }
        Kind::Text | Kind::Path => false,
    }
}

/// Quotes a text, in the way that TOML and JSON share.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\u{7f}' => quoted.push_str("\\u007f"),
            letter if letter < ' ' => {
                // Writing to a string cannot fail.
                let _written = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// Returns the value in TOML and in JSON; `None` if there is none.
fn value(row: &Row, texts: &[String]) -> Option<String> {
    let one = |text: &String| if is_bare(row, text) { text.clone() } else { quoted(text) };
    match texts {
        [] => None,
        texts if row.is_list => {
            Some(format!("[{}]", texts.iter().map(one).collect::<Vec<_>>().join(", ")))
        }
        [text, ..] => Some(one(text)),
    }
}

impl Settings {
    /// Returns the effective settings as the lines of a configuration file; a comment has the source of each.
    #[must_use]
    pub fn show(&self) -> String {
        let config = self.build().0;
        let line = |row: &Row| {
            let (texts, origin) = effective(self, &config, row);
            if let Some(value) = value(row, &texts) {
                return format!("{} = {value}  # {origin}\n", row.name());
            }
            let words = row.default_words().map(|words| format!(": {words}"));
            format!("# {} is not set{}\n", row.name(), words.unwrap_or_default())
        };
        ROWS.iter().map(line).collect::<Vec<_>>().concat()
    }

    /// Returns the effective settings as a JSON object: value and source of each.
    #[must_use]
    pub fn show_json(&self) -> String {
        let config = self.build().0;
        let member = |row: &Row| {
            let (texts, origin) = effective(self, &config, row);
            let value = value(row, &texts).unwrap_or_else(|| "null".to_owned());
            let source = quoted(&origin.to_string());
            format!("{}:{{\"value\":{value},\"source\":{source}}}", quoted(&row.name()))
        };
        format!("{{{}}}", ROWS.iter().map(member).collect::<Vec<_>>().join(","))
    }
}
