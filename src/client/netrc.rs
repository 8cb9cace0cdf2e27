//! `~/.netrc`: user and password by host, as ftp, curl and wget read it.

use std::path::PathBuf;

/// User and password for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user.
    pub login: String,
    /// The password, if one stands there.
    pub password: Option<String>,
}

/// The entry for this host in `$NETRC` or `~/.netrc`; without either, or without entry, none.
#[must_use]
pub fn find(host: &str) -> Option<Entry> {
    let path = std::env::var_os("NETRC")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".netrc")))?;
    parse(&std::fs::read_to_string(path).ok()?, host)
}

fn parse(text: &str, host: &str) -> Option<Entry> {
    let mut words = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    let (mut matches, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if matches && login.is_some() {
                    break;
                }
                matches = word == "default"
                    || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                (login, password) = (None, None);
            }
            "login" => login = words.next().filter(|_| matches),
            "password" => password = words.next().filter(|_| matches),
            // A macro ends at an empty line, which cannot be seen here; nobody has any.
            _ => {}
        }
    }
    let login = login.filter(|_| matches)?.to_owned();
    Some(Entry { login, password: password.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_own_entry_or_the_default() {
        let text = "machine a.example login anna password pa # x\nmachine b.example\n\tlogin bob\ndefault login ftp password x@";
        let found = |host| parse(text, host).map(|entry| (entry.login, entry.password));
        assert_eq!(found("A.example"), Some(("anna".to_owned(), Some("pa".to_owned()))));
        assert_eq!(found("b.example"), Some(("bob".to_owned(), None)));
        assert_eq!(found("c.example"), Some(("ftp".to_owned(), Some("x@".to_owned()))));
        assert_eq!(parse("machine a login x", "b"), None);
        assert_eq!(parse("", "b"), None);
    }
}
