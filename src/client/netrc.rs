//! `~/.netrc`: user and password by host, as ftp, curl and wget read it.

use std::path::PathBuf;

/// User and password for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user.
    pub login: String,
    /// The password, if the entry has one.
    pub password: Option<String>,
}

/// Returns the entry for this host, and for this user if one is given, from `$NETRC` or `~/.netrc`. Returns `None`
/// without such a file or entry.
#[must_use]
pub fn find(host: &str, user: Option<&str>) -> Option<Entry> {
    let path = std::env::var_os("NETRC")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".netrc")))?;
    parse(&std::fs::read_to_string(path).ok()?, host, user)
}

fn parse(text: &str, host: &str, user: Option<&str>) -> Option<Entry> {
    let words = words(text);
    let mut words = words.into_iter();
    let mut here = false;
    let mut entries: Vec<(Option<String>, Option<String>)> = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" | "default" => {
                here = word == "default"
                    || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                if here {
                    entries.push((None, None));
                }
            }
            "login" | "password" => {
                let value = words.next();
                if let Some((login, password)) = entries.last_mut().filter(|_| here) {
                    *(if word == "login" { login } else { password }) = value;
                }
            }
            "account" => drop(words.next()),
            _ => {}
        }
    }
    let mut named =
        entries.into_iter().filter_map(|(login, password)| Some(Entry { login: login?, password }));
    named.find(|entry| user.is_none_or(|user| entry.login == user))
}

/// Splits the text into words, without comments and macros. A macro begins with `macdef` and ends with an empty line.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        if is_macro {
            is_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line.trim_start();
        // A `#` at the start of a word begins a comment; inside a password it is part of the password.
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, is_quoted);
            (word, is_quoted, rest) = next_word(rest);
            is_macro = word == "macdef" && !is_quoted;
            if is_macro {
                break;
            }
            words.push(word);
        }
    }
    words
}

/// Returns the first word, true if it is quoted, and the rest of the line. In quotes, a backslash stands before a quote,
/// a backslash, `n`, `r` or `t`, as curl reads it.
fn next_word(line: &str) -> (String, bool, &str) {
    let Some(quoted) = line.strip_prefix('"') else {
        let end = line.find(char::is_whitespace).unwrap_or(line.len());
        let (word, rest) = line.split_at(end);
        return (word.to_owned(), false, rest.trim_start());
    };
    let mut word = String::new();
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => {
                let rest = quoted.get(place + 1..).unwrap_or_default();
                return (word, true, rest.trim_start());
            }
            '\\' => match letters.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, 'r')) => word.push('\r'),
                Some((_, 't')) => word.push('\t'),
                Some((_, escaped)) => word.push(escaped),
                None => {}
            },
            letter => word.push(letter),
        }
    }
    (word, true, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_own_entry_or_the_default() {
        let text = "machine a.example login anna password pa#ss # x\nmachine a.example login lee password ee\nmachine b.example\n\tlogin bob\ndefault login ftp password x@";
        let found = |host| parse(text, host, None).map(|entry| (entry.login, entry.password));
        assert_eq!(found("A.example"), Some(("anna".to_owned(), Some("pa#ss".to_owned()))));
        assert_eq!(found("b.example"), Some(("bob".to_owned(), None)));
        assert_eq!(found("c.example"), Some(("ftp".to_owned(), Some("x@".to_owned()))));
        assert_eq!(parse(text, "a.example", Some("lee")).unwrap().password, Some("ee".to_owned()));
        assert_eq!(parse(text, "a.example", Some("bob")), None);
        assert_eq!(parse("machine a login x", "b", None), None);
        assert_eq!(parse("", "b", None), None);
    }

    #[test]
    fn quotes_hold_words_together_and_macros_are_left_out() {
        let text = "machine a login \"an na\" password \"p@s:s \\\"w%rd\\\\\" # x\nmachine m login mo password 1\nmacdef init\n\
                    machine b login evil password evil\n\nmachine b login bob password \"#1\"\n";
        let found = |host| parse(text, host, None).map(|entry| (entry.login, entry.password));
        let entry =
            |login: &str, password: &str| Some((login.to_owned(), Some(password.to_owned())));
        assert_eq!(found("a"), entry("an na", "p@s:s \"w%rd\\"));
        assert_eq!(found("b"), entry("bob", "#1"));
        assert_eq!(found("m"), entry("mo", "1"));
        assert_eq!(
            parse("machine a login \"macdef\" password x", "a", None).unwrap().login,
            "macdef"
        );
    }
}
