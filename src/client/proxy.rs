//! Proxies: SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110 §9.3.6).
//!
//! The crates for this resolve or connect without a deadline, or need an async runtime. The name of the server goes to
//! the proxy as it is, so nothing is looked up here.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::url::Target;

/// Maximum length of the head of an HTTP response, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Port of a proxy without one, as for curl.
const DEFAULT_PORT: u16 = 1080;

const SOCKS_VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const BY_PASSWORD: u8 = 2;

/// Protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS5.
    Socks5,
    /// HTTP CONNECT.
    Http,
}

/// A proxy for all connections to the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    pub(super) server: Endpoint,
    login: Option<(String, Zeroizing<String>)>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Proxy").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Makes a proxy from its parts; the login is a user with a password.
    #[must_use]
    pub fn new(kind: ProxyKind, host: &str, port: u16, login: Option<(String, String)>) -> Self {
        let login = login.map(|(user, password)| (user, Zeroizing::new(password)));
        Self { kind, server: Endpoint { host: host.to_owned(), port }, login }
    }

    /// Parses `socks5://[USER:PASSWORD@]HOST[:PORT]` or `http://…`. Without a scheme, it is an HTTP proxy, as for curl.
    ///
    /// # Errors
    /// A description of the mistake.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks5h" | "socks" => ProxyKind::Socks5,
            "http" => ProxyKind::Http,
            _ => return Err(format!("unknown proxy '{scheme}'; use socks5:// or http://")),
        };
        let target = Target::parse(&format!("ftp://{}", rest.trim_end_matches('/')))?;
        let login = target.user.map(|user| (user, target.password.unwrap_or_default()));
        Ok(Self::new(kind, &target.host, target.port.unwrap_or(DEFAULT_PORT), login))
    }

    /// Returns the proxy that `ftp_proxy` or `ALL_PROXY` name, unless `NO_PROXY` has the host. The names may be in upper
    /// or lower case. `variable` returns the value of an environment variable.
    ///
    /// # Errors
    /// A description of the mistake in a variable.
    pub fn for_host(
        host: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let value = |names: [&str; 2]| {
            names.into_iter().filter_map(&variable).find(|value| !value.trim().is_empty())
        };
        let Some(url) =
            value(["ftp_proxy", "FTP_PROXY"]).or_else(|| value(["all_proxy", "ALL_PROXY"]))
        else {
            return Ok(None);
        };
        let exceptions = value(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        let is_exception = |name: &str| {
            let name = name.trim().trim_start_matches('.');
            let before = host.strip_suffix(name).filter(|_| !name.is_empty());
            name == "*" || before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        if exceptions.split(',').any(is_exception) {
            return Ok(None);
        }
        Self::parse(url.trim()).map(Some)
    }

    /// Asks the proxy, over a new connection to it, for a connection to the target.
    ///
    /// # Errors
    /// [`io::Error`] with a message that names the refusal of the proxy.
    pub(super) fn connect(
        &self,
        stream: &mut (impl Read + Write),
        target: &Endpoint,
    ) -> io::Result<()> {
        match self.kind {
            ProxyKind::Socks5 => self.connect_socks(stream, target),
            ProxyKind::Http => self.connect_http(stream, target),
        }
    }

    fn connect_socks(&self, stream: &mut (impl Read + Write), target: &Endpoint) -> io::Result<()> {
        let methods: &[u8] = if self.login.is_some() {
            &[SOCKS_VERSION, 2, NO_AUTHENTICATION, BY_PASSWORD]
        } else {
            &[SOCKS_VERSION, 1, NO_AUTHENTICATION]
        };
        stream.write_all(methods)?;
        let [version, method] = read_array(stream)?;
        match (version, method, &self.login) {
            (SOCKS_VERSION, NO_AUTHENTICATION, _) => {}
            (SOCKS_VERSION, BY_PASSWORD, Some((user, password))) => {
                let mut request = Zeroizing::new(vec![1]);
                for text in [user.as_str(), password.as_str()] {
                    request.push(length(text)?);
                    request.extend_from_slice(text.as_bytes());
                }
                stream.write_all(&request)?;
                if read_array(stream)? != [1, 0] {
                    return Err(refused("the proxy refuses the user or the password"));
                }
            }
            (SOCKS_VERSION, ..) => return Err(refused("the proxy requires a login")),
            _ => return Err(refused("not a SOCKS5 proxy")),
        }
        let mut request = vec![SOCKS_VERSION, 1, 0];
        match target.host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                request.extend_from_slice(&[3, length(&target.host)?]);
                request.extend_from_slice(target.host.as_bytes());
            }
        }
        request.extend_from_slice(&target.port.to_be_bytes());
        stream.write_all(&request)?;
        let [_, reply, _, kind] = read_array(stream)?;
        if reply != 0 {
            return Err(refused(socks_reason(reply)));
        }
        // The address that the proxy uses does not matter.
        let address_bytes = match kind {
            1 => 4,
            4 => 16,
            _ => {
                let [length] = read_array(stream)?;
                usize::from(length)
            }
        };
        stream.read_exact(&mut vec![0; address_bytes + 2])
    }

    fn connect_http(&self, stream: &mut (impl Read + Write), target: &Endpoint) -> io::Result<()> {
        let host = match target.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => target.host.clone(),
        };
        if host.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(refused("the name of the server has a blank"));
        }
        let place = format!("{host}:{}", target.port);
        let mut request = Zeroizing::new(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"));
        if let Some((user, password)) = &self.login {
            let login = Zeroizing::new(format!("{user}:{}", password.as_str()));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&Zeroizing::new(STANDARD.encode(login.as_bytes())));
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        // Byte by byte: what comes behind the head belongs to the server.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if head.len() >= HEAD_BYTES_MAX {
                return Err(refused("the reply of the proxy is too long"));
            }
            head.extend_from_slice(&read_array::<1>(stream)?);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.lines().next().unwrap_or_default();
        let mut words = status.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some(version), Some(code)) if version.starts_with("HTTP/1.") => {
                if code.len() == 3 && code.starts_with('2') {
                    Ok(())
                } else {
                    Err(refused(&format!("the proxy replied: {}", code_and_text(status))))
                }
            }
            _ => Err(refused("not an HTTP proxy")),
        }
    }
}

/// Returns the code and the text of a status line, without control characters.
fn code_and_text(status: &str) -> String {
    let text = status.split_once(' ').map_or(status, |(_, text)| text);
    text.chars().filter(|letter| !letter.is_control()).collect()
}

fn refused(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

/// Returns the reason of a SOCKS5 reply (RFC 1928 §6).
fn socks_reason(reply: u8) -> &'static str {
    match reply {
        2 => "the proxy does not allow this connection",
        3 => "the proxy cannot reach the network of the server",
        4 => "the proxy cannot reach the server",
        5 => "the server refuses the connection of the proxy",
        6 => "the connection of the proxy timed out",
        8 => "the proxy does not support this kind of address",
        _ => "the proxy failed",
    }
}

fn length(text: &str) -> io::Result<u8> {
    u8::try_from(text.len()).map_err(|_| refused("a name for the proxy is longer than 255 bytes"))
}

fn read_array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose other end has said everything already.
    struct Script {
        replies: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.replies.read(room)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is sent to a proxy with these replies, and what is left of them.
    fn connect(url: &str, host: &str, replies: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let proxy = Proxy::parse(url)?;
        let mut script = Script { replies: io::Cursor::new(replies.to_vec()), sent: Vec::new() };
        let target = Endpoint { host: host.to_owned(), port: 2121 };
        proxy.connect(&mut script, &target).map_err(|error| error.to_string())?;
        let mut rest = Vec::new();
        script.replies.read_to_end(&mut rest).unwrap();
        Ok((script.sent, rest))
    }

    #[test]
    fn socks_gets_the_name_of_the_server_and_a_login_only_if_it_asks() {
        let open = [5, 0, 5, 0, 0, 1, 9, 9, 9, 9, 0, 21, b'2'];
        let (sent, rest) = connect("socks5://p", "ftp.example", &open).unwrap();
        assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x03\x0bftp.example\x08\x49");
        assert_eq!(rest, b"2");
        let (sent, _) = connect("socks5h://u:p%40w@p:9", "::1", &open).unwrap();
        assert_eq!(sent[..8], *b"\x05\x02\x00\x02\x05\x01\x00\x04");
        let login = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 0, 21];
        let (sent, rest) = connect("socks5://u:p%40w@p", "1.2.3.4", &login).unwrap();
        assert_eq!(
            sent,
            b"\x05\x02\x00\x02\x01\x01u\x03p@w\x05\x01\x00\x01\x01\x02\x03\x04\x08\x49"
        );
        assert_eq!(rest, b"");
    }

    #[test]
    fn a_refusal_of_a_proxy_is_told_in_words() {
        let error = |url: &str, replies: &[u8]| connect(url, "h", replies).unwrap_err();
        assert_eq!(error("socks5://p", &[5, 255]), "the proxy requires a login");
        assert_eq!(error("socks5://p", b"HTTP/1.1 400"), "not a SOCKS5 proxy");
        assert_eq!(
            error("socks5://u:p@p", &[5, 2, 1, 1]),
            "the proxy refuses the user or the password"
        );
        let refused = [5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(error("socks5://p", &refused), "the server refuses the connection of the proxy");
        let denied = b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n";
        assert_eq!(error("http://p", denied), "the proxy replied: 403 Forbidden");
        assert_eq!(error("http://p", b"220 hello\r\n\r\n"), "not an HTTP proxy");
        assert!(error("http://p", b"HTTP/1.1 200 OK\r\n").contains("fill"));
        assert!(error("http://p", &vec![b'x'; HEAD_BYTES_MAX + 1]).contains("too long"));
        assert!(error("socks4://p", b"").contains("socks4"));
    }

    #[test]
    fn http_gets_connect_and_leaves_what_the_server_sends() {
        let (sent, rest) =
            connect("http://u:p@p:3128", "::1", b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n220 hi").unwrap();
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(
            sent,
            "CONNECT [::1]:2121 HTTP/1.1\r\nHost: [::1]:2121\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        );
        assert_eq!(rest, b"220 hi");
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_host() {
        let find = |variables: &[(&str, &str)], host: &str| {
            let value = |name: &str| {
                variables
                    .iter()
                    .find(|(found, _)| *found == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            Proxy::for_host(host, value).map(|proxy| proxy.map(|proxy| proxy.server.to_string()))
        };
        let all = ("ALL_PROXY", "socks5://a");
        assert_eq!(find(&[], "h"), Ok(None));
        assert_eq!(find(&[all], "h"), Ok(Some("a:1080".to_owned())));
        assert_eq!(find(&[all, ("ftp_proxy", "f:8080")], "h"), Ok(Some("f:8080".to_owned())));
        assert_eq!(find(&[all, ("ftp_proxy", "")], "h"), Ok(Some("a:1080".to_owned())));
        for (list, host, expected) in [
            ("example.org, h", "h", true),
            ("example.org", "ftp.example.org", true),
            (".example.org", "example.org", true),
            ("example.org", "notexample.org", false),
            ("*", "x", true),
        ] {
            let found = find(&[all, ("no_proxy", list)], host).unwrap();
            assert_eq!(found.is_none(), expected, "{list} {host}");
        }
        assert!(find(&[("ALL_PROXY", "gopher://x")], "h").unwrap_err().contains("gopher"));
    }
}
