//! Lines with passwords, which the history does not keep.

use super::table;
use super::words::{plain, split};

/// Returns true if a line may have a password.
pub(super) fn has_password(line: &str) -> bool {
    let Ok(commands) = split(line.as_bytes()) else {
        // It will not run; what it has is unknown.
        return true;
    };
    commands.iter().any(|command| {
        let words: Vec<String> =
            command.words.iter().map(|word| plain(word).to_string_lossy().into_owned()).collect();
        let Some((name, words)) = words.split_first() else { return false };
        let name = table::find(name).map_or("", |command| command.name);
        let sends_password = words.first().is_some_and(|verb| {
            ["pass", "acct", "user"].iter().any(|secret| verb.eq_ignore_ascii_case(secret))
        });
        (name == "user" && words.len() > 1)
            || (name == "quote" && sends_password)
            || words.iter().any(|word| is_url_with_password(word))
    })
}

fn is_url_with_password(word: &str) -> bool {
    let authority = word.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    let login = authority.and_then(|authority| authority.rsplit_once('@'));
    login.is_some_and(|(login, _)| login.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_passwords_are_known() {
        for line in [
            "user anna secret",
            "us anna secret",
            "ls; user anna 'sec ret'",
            "quote PASS secret",
            "open ftp://anna:secret@h/",
            "user anna 'unclosed",
        ] {
            assert!(has_password(line), "{line}");
        }
        for line in ["user anna", "get a b", "quote SITE HELP", "open ftp://anna@h/a:b", "ls"] {
            assert!(!has_password(line), "{line}");
        }
    }
}
