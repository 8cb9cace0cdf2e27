//! A field of the configuration: one value, an optional one, or a list, as texts.

use super::kind::Kind;
use super::value::{Rules, Value};

/// A field that is read from texts and printed as texts. No text is the absence of a value.
pub(super) trait Field: Sized {
    /// The type of each value.
    const KIND: Kind;
    /// True if there may be several values.
    const IS_LIST: bool = false;
    /// The separator of several values in one text.
    const SEPARATOR: Option<char> = None;

    /// Returns the words for a valid value.
    fn expected(rules: Rules) -> String;

    /// Reads the field.
    ///
    /// # Errors
    /// A clause with what was found and what is expected.
    fn read(texts: &[String], rules: Rules) -> Result<Self, String>;

    /// Returns the texts that [`Field::read`] reads.
    fn texts(&self, rules: Rules) -> Vec<String>;
}

impl<T: Value> Field for T {
    const KIND: Kind = T::KIND;

    fn expected(rules: Rules) -> String {
        T::expected(rules)
    }

    fn read(texts: &[String], rules: Rules) -> Result<Self, String> {
        if let [text] = texts {
            return T::parse(text, rules);
        }
        let (count, expected) = (texts.len(), T::expected(rules));
        Err(format!("{count} values were found, and the one expected is {expected}"))
    }

    fn texts(&self, rules: Rules) -> Vec<String> {
        vec![self.text(rules)]
    }
}

impl<T: Value> Field for Option<T> {
    const KIND: Kind = T::KIND;

    fn expected(rules: Rules) -> String {
        T::expected(rules)
    }

    fn read(texts: &[String], rules: Rules) -> Result<Self, String> {
        if texts.is_empty() { Ok(None) } else { <T as Field>::read(texts, rules).map(Some) }
    }

    fn texts(&self, rules: Rules) -> Vec<String> {
        self.iter().map(|value| value.text(rules)).collect()
    }
}

impl<T: Value> Field for Vec<T> {
    const KIND: Kind = T::KIND;
    const IS_LIST: bool = true;
    const SEPARATOR: Option<char> = T::SEPARATOR;

    fn expected(rules: Rules) -> String {
        T::expected(rules)
    }

    fn read(texts: &[String], rules: Rules) -> Result<Self, String> {
        let split = |text: &String| -> Vec<String> {
            match T::SEPARATOR {
                Some(separator) => text.split(separator).map(str::to_owned).collect(),
                None => vec![text.clone()],
            }
        };
        texts.iter().flat_map(split).map(|text| T::parse(&text, rules)).collect()
    }

    fn texts(&self, rules: Rules) -> Vec<String> {
        self.iter().map(|value| value.text(rules)).collect()
    }
}
