//! Options of commands, and the words of one call: parsed for all commands in one place.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use lexopt::{Arg, Parser};

use crate::client::error::ClientError;

use super::words::plain;

/// An option of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag {
    short: Option<char>,
    long: Option<&'static str>,
    /// Name of its value in the help; `None` for a switch.
    value: Option<&'static str>,
    pub(super) help: &'static str,
}

impl Flag {
    /// An option of one letter.
    pub(super) const fn short(letter: char, help: &'static str) -> Self {
        Self { short: Some(letter), long: None, value: None, help }
    }

    /// An option with a name.
    pub(super) const fn long(name: &'static str, help: &'static str) -> Self {
        Self { short: None, long: Some(name), value: None, help }
    }

    /// Adds a name to an option of one letter.
    pub(super) const fn or(self, name: &'static str) -> Self {
        Self { long: Some(name), ..self }
    }

    /// Makes the option take a value, which the help calls by this name.
    pub(super) const fn takes(self, value: &'static str) -> Self {
        Self { value: Some(value), ..self }
    }

    /// Returns its names and its value as the help shows them, such as `-n, --parallel N`.
    pub(super) fn syntax(&self) -> String {
        let names = [
            self.short.map(|letter| format!("-{letter}")),
            self.long.map(|name| format!("--{name}")),
        ];
        let names = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
        self.value.map_or_else(|| names.clone(), |value| format!("{names} {value}"))
    }

    /// Returns every spelling of the option, for completion.
    pub(super) fn spellings(&self) -> impl Iterator<Item = String> + use<> {
        let short = self.short.map(|letter| format!("-{letter}"));
        short.into_iter().chain(self.long.map(|name| format!("--{name}")))
    }

    fn is(&self, argument: &Arg<'_>) -> bool {
        match argument {
            Arg::Short(letter) => self.short == Some(*letter),
            Arg::Long(name) => self.long == Some(name),
            Arg::Value(_) => false,
        }
    }
}

/// Options and words of one call of a command.
#[derive(Debug, Default)]
pub(super) struct Given {
    flags: Vec<(&'static Flag, OsString)>,
    words: Vec<OsString>,
}

/// Result of parsing the words of a call.
pub(super) enum Parsed {
    Call(Given),
    /// `--help` was given.
    Help,
}

impl Given {
    /// Takes all words as they are, without options.
    pub(super) fn words_only(words: Vec<OsString>) -> Self {
        Self { flags: Vec::new(), words }
    }

    /// Parses the words of a command with these options. Options may stand anywhere before `--`, and letters of switches
    /// may be joined. A value stands behind a space or `=`.
    ///
    /// # Errors
    /// [`super::super::error::ErrorKind::Usage`], for an unknown option or a missing value.
    pub(super) fn parse(
        command: &str,
        flags: &'static [Flag],
        words: &[OsString],
    ) -> Result<Parsed, ClientError> {
        let wrong =
            |what: String| ClientError::usage(format!("{command}: {what}. Try 'help {command}'."));
        let mut given = Self::default();
        let mut parser = Parser::from_args(words);
        while let Some(argument) = parser.next().map_err(|error| wrong(error.to_string()))? {
            let flag = flags.iter().find(|flag| flag.is(&argument));
            match (flag, argument) {
                (Some(flag), _) => {
                    let value = match flag.value {
                        Some(_) => {
                            plain(&parser.value().map_err(|error| wrong(error.to_string()))?)
                        }
                        None => OsString::new(),
                    };
                    given.flags.push((flag, value));
                }
                (None, Arg::Value(word)) => given.words.push(word),
                (None, Arg::Long("help")) => return Ok(Parsed::Help),
                (None, Arg::Long(name)) => return Err(wrong(format!("unknown option '--{name}'"))),
                (None, Arg::Short(letter)) => {
                    return Err(wrong(format!("unknown option '-{letter}'")));
                }
            }
        }
        Ok(Parsed::Call(given))
    }

    /// Removes the marks of quoted letters from all words: none is a pattern.
    pub(super) fn without_patterns(self) -> Self {
        let words = self.words.iter().map(|word| plain(word)).collect();
        Self { words, ..self }
    }

    /// Returns true if the option was given.
    pub(super) fn has(&self, flag: &Flag) -> bool {
        self.flags.iter().any(|(found, _)| *found == flag)
    }

    /// Returns the last value of an option.
    pub(super) fn value(&self, flag: &Flag) -> Option<&OsStr> {
        self.values(flag).last()
    }

    /// Returns all values of an option that may be repeated.
    pub(super) fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsStr> {
        let values = self.flags.iter().filter(move |(found, _)| *found == flag);
        values.map(|(_, value)| value.as_os_str())
    }

    /// Returns the values of several options, in the order in which they were given.
    pub(super) fn values_in_order<'a>(
        &'a self,
        flags: &'a [&Flag],
    ) -> impl Iterator<Item = (&'a Flag, &'a OsStr)> {
        let is_one = |found: &Flag| flags.contains(&found);
        let found = self.flags.iter().filter(move |(found, _)| is_one(found));
        found.map(|(found, value)| (*found, value.as_os_str()))
    }

    /// Returns the number that an option has as its value.
    #[allow(dead_code, reason = "a kind of value, as the others of this parser")]
    pub(super) fn number<T: std::str::FromStr>(
        &self,
        flag: &Flag,
    ) -> Result<Option<T>, ClientError> {
        let Some(value) = self.value(flag) else { return Ok(None) };
        let wrong = || {
            ClientError::usage(format!(
                "{}: '{}' is not such a number",
                flag.syntax(),
                value.display()
            ))
        };
        value.to_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(wrong)
    }

    /// Returns which of two opposite switches was given last.
    pub(super) fn last_of(&self, yes: &Flag, no: &Flag) -> Option<bool> {
        let mut both = self.flags.iter().rev().filter(|(found, _)| *found == yes || *found == no);
        both.next().map(|(found, _)| *found == yes)
    }

    /// Returns the words that are not options.
    pub(super) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Returns a word as the path of a remote file; empty if it was not given.
    pub(super) fn path(&self, index: usize) -> &[u8] {
        self.words.get(index).map(|word| word.as_bytes()).unwrap_or_default()
    }

    /// Returns a word as text, if it was given.
    ///
    /// # Errors
    /// [`super::super::error::ErrorKind::Usage`], if it is not UTF-8.
    pub(super) fn text(&self, index: usize) -> Result<Option<&str>, ClientError> {
        let Some(word) = self.words.get(index) else { return Ok(None) };
        let wrong = || ClientError::usage(format!("'{}' is not UTF-8", word.display()));
        word.to_str().map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLAGS: &[Flag] = &[
        Flag::short('l', "long"),
        Flag::short('t', "by time"),
        Flag::short('n', "number").takes("N"),
        Flag::long("clobber", "overwrite"),
        Flag::long("no-clobber", "keep"),
    ];

    fn parse(words: &[&str]) -> Result<Given, String> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        match Given::parse("x", FLAGS, &words) {
            Ok(Parsed::Call(given)) => Ok(given),
            Ok(Parsed::Help) => Err("help".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn options_stand_anywhere_and_letters_may_be_joined() {
        let given = parse(&["-lt", "a", "-n", "4", "--", "-b"]).unwrap();
        assert!(given.has(&FLAGS[0]) && given.has(&FLAGS[1]));
        assert_eq!(given.number::<u32>(&FLAGS[2]).unwrap(), Some(4));
        assert_eq!(given.words(), ["a", "-b"]);
        assert_eq!(parse(&["-n7"]).unwrap().value(&FLAGS[2]), Some(OsStr::new("7")));
        assert_eq!(parse(&["-"]).unwrap().words(), ["-"]);
    }

    #[test]
    fn of_two_opposite_switches_the_last_counts() {
        let last = |words| parse(words).unwrap().last_of(&FLAGS[3], &FLAGS[4]);
        assert_eq!(last(&["--clobber", "--no-clobber"]), Some(false));
        assert_eq!(last(&["--no-clobber", "--clobber"]), Some(true));
        assert_eq!(last(&["a"]), None);
    }

    #[test]
    fn an_unknown_option_is_named() {
        assert_eq!(parse(&["-lz"]).unwrap_err(), "x: unknown option '-z'. Try 'help x'.");
        assert_eq!(parse(&["--zoo=1"]).unwrap_err(), "x: unknown option '--zoo'. Try 'help x'.");
        for words in [["-n"].as_slice(), &["--clobber=1"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err(), "help");
    }
}
