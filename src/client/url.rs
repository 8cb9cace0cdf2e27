//! Parsing of `ftp://user:password@host:port/path` (RFC 1738 §3.2), or of a plain host.

use super::trust::TlsMode;

/// A server to connect to, as given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// The port, if the URL has one.
    pub port: Option<u16>,
    /// The user, if the URL has one.
    pub user: Option<String>,
    /// The password, if the URL has one.
    pub password: Option<String>,
    /// The path, decoded, if the URL has one; ends with `/` for a directory.
    pub path: Option<Vec<u8>>,
    /// True for a URL, which has its own default ports: 21, or 990 for `ftps`.
    pub is_url: bool,
    /// Use of TLS, if the scheme determines it.
    pub tls: Option<TlsMode>,
}

impl Target {
    /// Parses a host or URL.
    ///
    /// # Errors
    /// A description of the problem, as the beginning of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::host(text);
        };
        let mut tls = None;
        match scheme.to_ascii_lowercase().as_str() {
            "ftp" => {}
            // The convention: `ftps` uses TLS from the first byte on, `ftpes` after AUTH.
            "ftps" => tls = Some(TlsMode::Implicit),
            "ftpes" => tls = Some(TlsMode::Require),
            _ => {
                return Err(format!("unknown scheme '{scheme}'; use ftp:// or ftps://"));
            }
        }
        let (authority, path) =
            rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (login, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(login, place)| (Some(login), place));
        let (user, password) = match login.map(|login| {
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)))
        }) {
            Some((user, password)) => (Some(text_of(user)?), password.map(text_of).transpose()?),
            None => (None, None),
        };
        let path = path
            .map(|path| path.split(";type=").next().unwrap_or(path))
            .filter(|path| !path.is_empty());
        let path = path.map(decode).transpose()?;
        let place = Self::host(place)?;
        // The zone of an address, such as `%25eth0`, is encoded (RFC 6874).
        let host = place.host.replace("%25", "%");
        Ok(Self { host, user, password, path, is_url: true, tls, ..place })
    }

    /// Parses `host`, `host:port`, `[::1]:port` or a bare IPv6 address.
    fn host(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None if text.matches(':').count() == 1 => {
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
            }
            None => (text, None),
        };
        if host.is_empty() {
            return Err("missing host".to_owned());
        }
        let port = port
            .map(|port| port.parse().map_err(|_| format!("'{port}' is not a port")))
            .transpose()?;
        Ok(Self {
            host: host.to_owned(),
            port,
            user: None,
            password: None,
            path: None,
            is_url: false,
            tls: None,
        })
    }
}

fn text_of(text: &str) -> Result<String, String> {
    String::from_utf8(decode(text)?).map_err(|_| format!("'{text}' is not UTF-8"))
}

/// Decodes percent-encoding: `%41` becomes `A`.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(b'%'),
                _ => return Err(format!("'{text}' has a % without two hexadecimal digits")),
            },
            byte => byte,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_urls_are_read() {
        let read = |text: &str| {
            Target::parse(text)
                .map(|target| (target.host, target.port, target.user, target.password, target.path))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read("localhost"), Ok(("localhost".to_owned(), None, None, None, None)));
        assert_eq!(read("::1"), Ok(("::1".to_owned(), None, None, None, None)));
        assert_eq!(read("[::1]:2121"), Ok(("::1".to_owned(), Some(2121), None, None, None)));
        let url = read("ftp://anna:p%40ss@h:21/a%20b/c;type=i");
        assert_eq!(
            url,
            Ok(("h".to_owned(), Some(21), text("anna"), text("p@ss"), Some(b"a b/c".to_vec())))
        );
        let zone = Ok(("fe80::1%eth0".to_owned(), None, None, None, None));
        assert_eq!(
            (read("ftp://[fe80::1%25eth0]/"), read("ftp://[fe80::1%eth0]")),
            (zone.clone(), zone)
        );
        assert_eq!(read("ftp://h/"), Ok(("h".to_owned(), None, None, None, None)));
        for text in ["", "ftp://", "http://h", "h:x", "ftp://h/%4", "ftp://u@"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _read = (Target::parse(&text), Target::parse(&format!("ftp://{text}")));
        }
    }
}
