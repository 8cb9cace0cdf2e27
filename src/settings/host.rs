//! A virtual host, and its text `NAME,root=DIR[,users=FILE][,anonymous][,cert=FILE[,key=FILE]]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::net::tls::KeyFiles;

/// A virtual host: the name that clients ask for (HOST, or SNI of TLS), its root and its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// The name, in lower case.
    pub name: String,
    /// The directory that it serves.
    pub root: PathBuf,
    /// The file of its users.
    pub users: Option<PathBuf>,
    /// True if anonymous may log in.
    pub anonymous: bool,
    /// Its certificate and key.
    pub key: Option<KeyFiles>,
}

/// The words of a virtual host, before they are checked.
#[derive(Debug, Default)]
pub(super) struct HostWords {
    pub(super) name: String,
    pub(super) root: Option<PathBuf>,
    pub(super) users: Option<PathBuf>,
    pub(super) anonymous: bool,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl HostWords {
    /// Checks the words.
    ///
    /// # Errors
    /// A clause with what is missing.
    pub(super) fn host(self) -> Result<VirtualHost, String> {
        if self.name.is_empty() {
            return Err("a virtual host needs a name".to_owned());
        }
        if self.key.is_some() && self.certificate.is_none() {
            return Err("key needs cert".to_owned());
        }
        let key = self.certificate.map(|certificate| {
            let key = self.key.unwrap_or_else(|| certificate.clone());
            KeyFiles { certificate, key }
        });
        Ok(VirtualHost {
            name: self.name.trim_end_matches('.').to_ascii_lowercase(),
            root: self.root.ok_or("a virtual host needs a root")?,
            anonymous: self.anonymous || self.users.is_none(),
            users: self.users,
            key,
        })
    }
}

impl FromStr for VirtualHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = split(text).into_iter();
        let mut found =
            HostWords { name: words.next().unwrap_or_default(), ..HostWords::default() };
        // A slave process may have another current directory, so paths are made absolute.
        let path = |value: &str| Some(std::path::absolute(value).unwrap_or_else(|_| value.into()));
        for word in words.filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some(("root", value)) => found.root = path(value),
                Some(("users", value)) => found.users = path(value),
                Some(("cert", value)) => found.certificate = path(value),
                Some(("key", value)) => found.key = path(value),
                None if word == "anonymous" => found.anonymous = true,
                _ => {
                    return Err(format!(
                        "'{word}' is none of root=, users=, anonymous, cert=, key="
                    ));
                }
            }
        }
        found.host()
    }
}

/// Splits at commas; a backslash before a comma or a backslash makes it part of the word.
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

/// A path whose commas and backslashes are escaped.
struct EscapedPath<'a>(&'a Path);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.display().to_string();
        formatter.write_str(&text.replace('\\', "\\\\").replace(',', "\\,"))
    }
}

impl fmt::Display for VirtualHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{},root={}", self.name, EscapedPath(&self.root))?;
        if let Some(users) = &self.users {
            write!(formatter, ",users={}", EscapedPath(users))?;
        }
        if self.anonymous {
            formatter.write_str(",anonymous")?;
        }
        if let Some(KeyFiles { certificate, key }) = &self.key {
            write!(formatter, ",cert={},key={}", EscapedPath(certificate), EscapedPath(key))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_host_is_a_name_a_root_and_what_it_has_of_its_own() {
        let host: VirtualHost = "FTP.Example.net,root=/srv".parse().unwrap();
        assert_eq!((host.name.as_str(), host.anonymous), ("ftp.example.net", true));
        for text in ["", ",root=/a", "a", "a,root", "a,root=/b,colour=blue", "a,root=/b,key=/c"] {
            assert!(text.parse::<VirtualHost>().is_err(), "{text}");
        }
        let text = "a,root=/b,users=/c,cert=/d,key=/e";
        assert_eq!(text.parse::<VirtualHost>().unwrap().to_string(), text);
    }

    #[test]
    fn a_path_may_contain_commas_and_backslashes() {
        let host = VirtualHost {
            name: "a".to_owned(),
            root: r"/b,c\,d\".into(),
            users: Some(r"/e\\f".into()),
            anonymous: false,
            key: None,
        };
        assert_eq!(host.to_string().parse(), Ok(host));
        let plain: VirtualHost = r"a,root=/b\c".parse().unwrap();
        assert_eq!(plain.root, PathBuf::from(r"/b\c"));
    }
}
