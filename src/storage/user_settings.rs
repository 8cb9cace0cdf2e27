//! The settings of a user: the words of a line of the users file.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::permissions::Permissions;
use crate::units::{self, Networks, networks};

/// The bits of a umask that would take rights from the owner.
const OWNER_BITS: u32 = 0o700;

/// The settings that follow a user's password hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// The user's root; the server's root if `None`.
    pub home: Option<PathBuf>,
    /// The permissions of the user.
    pub may: Permissions,
    /// The maximum size of the home, in bytes.
    pub quota: Option<u64>,
    /// The maximum number of files in the home.
    pub files: Option<u64>,
    /// The maximum download rate in bytes per second, over all sessions of the user.
    pub down: Option<NonZeroU64>,
    /// The maximum upload rate in bytes per second, over all sessions of the user.
    pub up: Option<NonZeroU64>,
    /// The maximum number of concurrent sessions.
    pub sessions: Option<usize>,
    /// The networks from which the user may log in; all networks if it is empty.
    pub from: Networks,
    /// The group that the user belongs to.
    pub group: Option<String>,
    /// The mode bits that new files and directories of the user do not get; those of the process if `None`.
    pub umask: Option<u32>,
    /// The last day, in UTC, on which the user may log in.
    pub expires: Option<Date>,
    /// True if the user may not log in.
    pub disabled: bool,
    /// A note of the administrator.
    pub comment: Option<String>,
    /// The client certificates of the user. With any, the user needs one of them.
    pub certificates: Vec<CertificateId>,
    /// True if such a certificate is enough: the password is not checked.
    pub by_certificate: bool,
}

/// A client certificate, as the administrator identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateId {
    /// The SHA-256 of the certificate, in hexadecimal.
    Fingerprint(String),
    /// The common name of its subject.
    CommonName(String),
}

/// The certificate of a client, which an authority of the server has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// The common name of its subject, if it has one.
    pub common_name: Option<String>,
}

impl CertificateId {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is neither sha256: with 64 hexadecimal digits nor CN= with a name")
        };
        if let Some(digits) = text.strip_prefix("sha256:") {
            let digits = digits.replace(':', "").to_ascii_lowercase();
            let is_digest =
                digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            return is_digest.then_some(Self::Fingerprint(digits)).ok_or_else(wrong);
        }
        let name = text.strip_prefix("CN=").and_then(decode);
        name.and_then(|name| String::from_utf8(name).ok()).map(Self::CommonName).ok_or_else(wrong)
    }

    fn is_of(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::Fingerprint(digits) => *digits == certificate.fingerprint,
            Self::CommonName(name) => certificate.common_name.as_ref() == Some(name),
        }
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(digits) => write!(formatter, "sha256:{digits}"),
            Self::CommonName(name) => write!(formatter, "CN={}", encode(name.as_bytes())),
        }
    }
}

impl UserSettings {
    /// Returns true if the user may log in from this address.
    #[must_use]
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&address))
    }

    /// Returns the reason why the user may not log in at this time, if there is one.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<&'static str> {
        let today = now.to_zoned(TimeZone::UTC).date();
        if self.disabled {
            return Some("user disabled");
        }
        self.expires.is_some_and(|last| today > last).then_some("user expired")
    }

    /// Returns true if the user may log in over a connection with this certificate, or with none.
    #[must_use]
    pub fn accepts(&self, certificate: Option<&ClientCertificate>) -> bool {
        let is_known = |found| self.certificates.iter().any(|known| known.is_of(found));
        self.certificates.is_empty() || certificate.is_some_and(is_known)
    }

    /// Returns true if a certificate of the user replaces the password.
    #[must_use]
    pub fn needs_no_password(&self) -> bool {
        self.by_certificate && !self.certificates.is_empty()
    }

    /// Checks the settings together.
    ///
    /// # Errors
    /// One sentence about a combination that admits no one.
    pub fn check(&self) -> Result<(), String> {
        if self.by_certificate && self.certificates.is_empty() {
            return Err("login=certificate needs a certificate".to_owned());
        }
        Ok(())
    }

    /// Applies one setting: `name=value`, or `disabled`.
    ///
    /// # Errors
    /// One sentence that describes the mistake.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        if setting == "disabled" {
            self.disabled = true;
            return Ok(());
        }
        let (name, value) =
            setting.split_once('=').ok_or_else(|| format!("'{setting}' is not NAME=VALUE"))?;
        let rate = |value: &str| {
            units::bytes(value).and_then(|rate| {
                NonZeroU64::new(rate).ok_or_else(|| "a rate must be at least 1".to_owned())
            })
        };
        match name {
            "home" => self.home = Some(home(value)?),
            "may" => self.may = Permissions::parse(value)?,
            "quota" => self.quota = Some(units::bytes(value)?),
            "files" => self.files = Some(number(value)?),
            "down" => self.down = Some(rate(value)?),
            "up" => self.up = Some(rate(value)?),
            "sessions" => {
                self.sessions = Some(usize::try_from(number(value)?).unwrap_or(usize::MAX));
            }
            "from" => self.from = networks(value)?,
            "group" => self.group = Some(text(value)?),
            "comment" => self.comment = Some(text(value)?),
            "certificate" => self.certificates.push(CertificateId::parse(value)?),
            "login" => {
                self.by_certificate = match value {
                    "certificate" => true,
                    "both" => false,
                    _ => return Err(format!("'{value}' is neither both nor certificate")),
                };
            }
            "umask" => self.umask = Some(umask(value)?),
            "expires" => self.expires = Some(date(value)?),
            "disabled" => return Err("disabled has no value".to_owned()),
            _ => return Err(format!("unknown setting '{name}'")),
        }
        Ok(())
    }
}

impl fmt::Display for UserSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(home) = &self.home {
            write!(formatter, " home={}", encode(home.as_os_str().as_bytes()))?;
        }
        write!(formatter, " may={}", self.may)?;
        let numbers = [
            ("quota", self.quota),
            ("files", self.files),
            ("down", self.down.map(NonZeroU64::get)),
            ("up", self.up.map(NonZeroU64::get)),
            ("sessions", self.sessions.map(|sessions| sessions as u64)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(formatter, " {name}={number}")?;
            }
        }
        if !self.from.is_empty() {
            let networks: Vec<String> = self.from.iter().map(ToString::to_string).collect();
            write!(formatter, " from={}", networks.join(","))?;
        }
        if let Some(group) = &self.group {
            write!(formatter, " group={}", encode(group.as_bytes()))?;
        }
        if let Some(umask) = self.umask {
            write!(formatter, " umask={umask:03o}")?;
        }
        if let Some(expires) = self.expires {
            write!(formatter, " expires={expires}")?;
        }
        for certificate in &self.certificates {
            write!(formatter, " certificate={certificate}")?;
        }
        formatter.write_str(if self.by_certificate { " login=certificate" } else { "" })?;
        if let Some(comment) = &self.comment {
            write!(formatter, " comment={}", encode(comment.as_bytes()))?;
        }
        formatter.write_str(if self.disabled { " disabled" } else { "" })
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}

fn text(encoded: &str) -> Result<String, String> {
    let text = decode(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| format!("'{encoded}' is not a text"))
}

fn umask(text: &str) -> Result<u32, String> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && *bits <= 0o777);
    match bits {
        // The server must read and write its own files.
        Some(bits) if bits & OWNER_BITS == 0 => Ok(bits),
        Some(_) => Err(format!("'{text}' takes rights from the owner, which the server needs")),
        None => Err(format!("'{text}' is not an octal number such as 027")),
    }
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("'{text}' is not a date such as 2027-01-31"))
}

fn home(text: &str) -> Result<PathBuf, String> {
    let bytes = decode(text).ok_or_else(|| format!("'{text}' is not a path"))?;
    let home = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    if home.is_absolute() {
        Ok(home)
    } else {
        Err(format!("the home {text} does not begin with /"))
    }
}

/// Returns the text of a name or a path in the users file: without blanks, `%`, `#` and unprintable bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() || letter.is_whitespace() || matches!(letter, '%' | '#') {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _written = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _written = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Reads a text that [`encode`] has written; `None` if it is empty or wrong.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        };
        bytes.push(byte);
    }
    (!bytes.is_empty()).then_some(bytes)
}
