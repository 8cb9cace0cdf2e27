//! A table of the file as one text: `FIRST,key=value,…`. So the environment, flags and slave processes have it, too. A
//! backslash before a comma or a backslash makes it part of the value.

use std::fmt;
use std::path::PathBuf;

use super::kind::Kind;

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The name in the file and in the text.
    pub(super) name: &'static str,
    /// The type of its value. A switch is a name without a value.
    pub(super) kind: Kind,
    /// True if there may be several values, separated by commas.
    pub(super) is_list: bool,
}

/// Returns a key with one value.
pub(super) const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, is_list: false }
}

/// Returns a key with a list of texts.
pub(super) const fn list(name: &'static str) -> Key {
    Key { name, kind: Kind::Text, is_list: true }
}

/// The form of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// The name of the table in the file.
    pub(super) name: &'static str,
    /// The setting that has the texts.
    pub(super) row: &'static str,
    /// The key of the first word, and its type.
    pub(super) first: Key,
    /// The other keys.
    pub(super) keys: &'static [Key],
}

impl Table {
    /// Returns the key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        std::iter::once(&self.first).chain(self.keys).find(|key| key.name == name)
    }

    /// Returns the names of all keys.
    pub(super) fn names(&self) -> Vec<String> {
        std::iter::once(&self.first).chain(self.keys).map(|key| key.name.to_owned()).collect()
    }
}

/// The words of a table.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) first: String,
    /// The other words, with their values.
    rest: Vec<(String, Option<String>)>,
}

impl Words {
    /// Creates the words of a table without keys.
    pub(super) fn new(first: String) -> Self {
        Self { first, rest: Vec::new() }
    }

    /// Splits a text into words, each of which must be a key of the table.
    ///
    /// # Errors
    /// A clause with the word that is none, or that lacks its value.
    pub(super) fn parse(text: &str, table: &Table) -> Result<Self, String> {
        let mut words = split(text).into_iter();
        let mut found = Self { first: words.next().unwrap_or_default(), rest: Vec::new() };
        for word in words.filter(|word| !word.is_empty()) {
            let (name, value) =
                word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
            let fits =
                |key: &&Key| key.name == name && (key.kind == Kind::Switch) == value.is_none();
            if !table.keys.iter().any(|key| fits(&key)) {
                let form = |key: &Key| if key.kind == Kind::Switch { "" } else { "=" };
                let known: Vec<String> =
                    table.keys.iter().map(|key| format!("{}{}", key.name, form(key))).collect();
                return Err(format!("'{word}' is none of {}", known.join(", ")));
            }
            if found.rest.iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("{name}: it is given twice"));
            }
            found.rest.push((name.to_owned(), value.map(str::to_owned)));
        }
        Ok(found)
    }

    /// Adds a word with a value.
    pub(super) fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.rest.push((name.to_owned(), Some(value.to_string())));
    }

    /// Adds a word with a list, unless it is empty.
    pub(super) fn push_list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.push(name, joined(values));
        }
    }

    /// Adds a switch, if it is on.
    pub(super) fn push_switch(&mut self, name: &str, is_on: bool) {
        if is_on {
            self.rest.push((name.to_owned(), None));
        }
    }

    /// Returns the value of a word.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.rest.iter().find(|(word, _)| word == name)?.1.as_deref()
    }

    /// Returns the values of a word.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).filter(|text| !text.is_empty()).map(split).unwrap_or_default()
    }

    /// Returns whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.rest.iter().any(|(word, value)| word == name && value.is_none())
    }

    /// Returns the path of a word. It is made absolute, because a slave process may have another current directory.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|text| std::path::absolute(text).unwrap_or_else(|_| text.into()))
    }

    /// Returns the value of a word, read by a parser.
    ///
    /// # Errors
    /// The clause of the parser, after the name.
    pub(super) fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let read = self.get(name).map(parse).transpose();
        read.map_err(|error| format!("{name}: {error}"))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escaped(&self.first))?;
        for (name, value) in &self.rest {
            write!(formatter, ",{name}")?;
            if let Some(value) = value {
                write!(formatter, "={}", escaped(value))?;
            }
        }
        Ok(())
    }
}

/// Joins the values of a list.
pub(super) fn joined(values: &[String]) -> String {
    values.iter().map(|value| escaped(value)).collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,")
}

/// Splits at commas without a backslash before them.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = (letter == '\\').then(|| letters.next_if(|next| matches!(next, ',' | '\\')));
        match (letter, words.last_mut()) {
            (',', _) => words.push(String::new()),
            (_, Some(word)) => word.push(escaped.flatten().unwrap_or(letter)),
            (_, None) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table {
        name: "thing",
        row: "thing",
        first: key("name", Kind::Text),
        keys: &[key("root", Kind::Path), list("users"), key("open", Kind::Switch)],
    };

    #[test]
    fn what_is_printed_is_read_back() {
        let users = [r"a,b", r"c\d", r"e\", "f"].map(str::to_owned);
        let mut words = Words::new(r"x,y\".to_owned());
        words.push("root", "/a b,c");
        words.push_list("users", &users);
        words.push_switch("open", true);
        let again = Words::parse(&words.to_string(), &TABLE).unwrap();
        assert_eq!((again.first.as_str(), again.get("root")), (r"x,y\", Some("/a b,c")));
        assert_eq!((again.list("users"), again.is_on("open")), (users.to_vec(), true));
        assert_eq!(again.to_string(), words.to_string());
    }

    #[test]
    fn a_word_that_is_no_key_is_refused() {
        for (text, expected) in [
            ("a,colour=blue", "'colour=blue' is none of root=, users=, open"),
            ("a,root", "'root' is none of"),
            ("a,open=yes", "'open=yes' is none of"),
            ("a,root=/a,root=/b", "root: it is given twice"),
        ] {
            let error = Words::parse(text, &TABLE).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
