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
    // A `#` at the start of a word begins a comment; inside a password it is part of the password.
    let words = |line: &str| {
        line.split_ascii_whitespace()
            .map_while(|word| (!word.starts_with('#')).then(|| word.to_owned()))
            .collect::<Vec<_>>()
    };
    let mut words = text.lines().flat_map(words);
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
            // Macros are not supported: they end at an empty line, which is not visible here, and hardly any file has
            // them.
            _ => {}
        }
    }
    let mut named =
        entries.into_iter().filter_map(|(login, password)| Some(Entry { login: login?, password }));
    named.find(|entry| user.is_none_or(|user| entry.login == user))
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
}
