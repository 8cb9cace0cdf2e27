//! A virtual host, and its text `NAME,root=DIR[,users=FILE][,auth-socket=PATH][,anonymous][,cert=FILE[,key=FILE]]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::kind::Kind;
use super::words::{Table, Words, key};
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
    /// The socket of the program that verifies users who are not in the file.
    pub auth_socket: Option<PathBuf>,
    /// True if anonymous may log in.
    pub anonymous: bool,
    /// Its certificate and key.
    pub key: Option<KeyFiles>,
}

/// The form of the table.
pub(super) const TABLE: Table = Table {
    name: "host",
    row: "virtual-host",
    first: key("name", Kind::Text),
    keys: &[
        key("root", Kind::Path),
        key("users", Kind::Path),
        key("auth-socket", Kind::Path),
        key("anonymous", Kind::Switch),
        key("cert", Kind::Path),
        key("key", Kind::Path),
    ],
};

impl VirtualHost {
    /// Returns whether users other than anonymous can log in.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.users.is_some() || self.auth_socket.is_some()
    }
}

impl FromStr for VirtualHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Words::parse(text, &TABLE)?;
        if words.first.is_empty() {
            return Err("a virtual host needs a name".to_owned());
        }
        let (certificate, key) = (words.path("cert"), words.path("key"));
        if key.is_some() && certificate.is_none() {
            return Err("key: it needs cert".to_owned());
        }
        let key = certificate.map(|certificate| {
            let key = key.unwrap_or_else(|| certificate.clone());
            KeyFiles { certificate, key }
        });
        let (users, auth_socket) = (words.path("users"), words.path("auth-socket"));
        Ok(Self {
            name: words.first.trim_end_matches('.').to_ascii_lowercase(),
            root: words.path("root").ok_or("a virtual host needs a root")?,
            anonymous: words.is_on("anonymous") || (users.is_none() && auth_socket.is_none()),
            users,
            auth_socket,
            key,
        })
    }
}

impl fmt::Display for VirtualHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words::new(self.name.clone());
        words.push("root", self.root.display());
        if let Some(users) = &self.users {
            words.push("users", users.display());
        }
        if let Some(path) = &self.auth_socket {
            words.push("auth-socket", path.display());
        }
        words.push_switch("anonymous", self.anonymous);
        if let Some(KeyFiles { certificate, key }) = &self.key {
            words.push("cert", certificate.display());
            words.push("key", key.display());
        }
        words.fmt(formatter)
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
        let text = "a,root=/b,users=/c,auth-socket=/s,cert=/d,key=/e";
        assert_eq!(text.parse::<VirtualHost>().unwrap().to_string(), text);
    }

    #[test]
    fn a_path_may_contain_commas_and_backslashes() {
        let host = VirtualHost {
            name: "a".to_owned(),
            root: r"/b,c\,d\".into(),
            users: Some(r"/e\\f".into()),
            auth_socket: Some("/run/a,b".into()),
            anonymous: false,
            key: None,
        };
        assert_eq!(host.to_string().parse(), Ok(host));
        let plain: VirtualHost = r"a,root=/b\c".parse().unwrap();
        assert_eq!(plain.root, PathBuf::from(r"/b\c"));
    }
}
