//! Failed TLS handshakes, in words, with advice on what to do next.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind, reason};

/// A certificate that was not accepted.
#[derive(Debug)]
pub(super) struct Rejected {
    /// Its SHA-256, in hexadecimal digits.
    pub(super) fingerprint: String,
    /// The reason.
    pub(super) why: Why,
}

/// Reason why a certificate was not accepted.
#[derive(Debug)]
pub(super) enum Why {
    /// It is not the pinned one.
    NotPinned,
    /// It is not the one that the user has accepted for this server before.
    Changed {
        /// The SHA-256 of that one.
        before: String,
        /// The path of the file that has it.
        file: String,
    },
    /// No authority has signed it for this server, or it is invalid.
    Invalid(String),
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = &self.fingerprint;
        match &self.why {
            Why::NotPinned => write!(
                formatter,
                "the certificate does not match --pin: its SHA-256 is {own}. Use --pin SHA256 if this is the server's certificate."
            ),
            Why::Changed { before, file } => write!(
                formatter,
                "THE CERTIFICATE OF THIS SERVER HAS CHANGED. Its SHA-256 was {before} and is {own}. Somebody may be \
                 intercepting the connection. If you know that the server has a new certificate, remove the line of the \
                 server from {file}."
            ),
            Why::Invalid(what) => write!(
                formatter,
                "{what}; the SHA-256 of the certificate is {own}. Use --pin SHA256 if this is the server's certificate, \
                 or --ca FILE; --insecure skips the check."
            ),
        }
    }
}

impl std::error::Error for Rejected {}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        CertificateError::Other(OtherError(Arc::new(rejected))).into()
    }
}

/// Builds the error of a failed handshake, with advice on what to do next.
pub(super) fn handshake_failed(server: &Endpoint, error: &io::Error) -> ClientError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) = inner
        && let Some(rejected) = other.downcast_ref::<Rejected>()
    {
        let error = ClientError::new(ErrorKind::Tls, format!("{server}: TLS failed: {rejected}"));
        return match &rejected.why {
            Why::Invalid(why) => error.about_certificate(&rejected.fingerprint, why),
            Why::NotPinned | Why::Changed { .. } => error,
        };
    }
    let what = inner.map_or_else(|| reason(error), in_words);
    let hint = match inner {
        Some(Error::PeerIncompatible(_) | Error::AlertReceived(_)) => {
            "The server may be too old for TLS 1.2; --tls off connects without TLS."
        }
        Some(Error::InvalidCertificate(_)) => "--tls off connects without TLS.",
        _ => "Does the port use TLS? See --tls; --tls off connects without TLS.",
    };
    ClientError::new(ErrorKind::Tls, format!("{server}: TLS failed: {what}. {hint}"))
}

/// Describes an error of TLS in words.
pub(super) fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(wrong) => certificate_in_words(wrong),
        Error::AlertReceived(alert) => {
            format!("the server refuses the handshake ({})", separated(&format!("{alert:?}")))
        }
        Error::PeerIncompatible(_) => {
            "the server and this client have no version or cipher of TLS in common".to_owned()
        }
        Error::PeerMisbehaved(_) => "the server violates the rules of TLS".to_owned(),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the server does not answer in TLS".to_owned()
        }
        Error::General(what) => what.clone(),
        other => other.to_string(),
    }
}

/// Describes in words why a certificate is invalid.
fn certificate_in_words(wrong: &CertificateError) -> String {
    use CertificateError::{
        BadEncoding, BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext,
        NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, Other, Revoked,
        UnhandledCriticalExtension, UnknownIssuer,
    };
    let what = match wrong {
        UnknownIssuer => "the certificate is not signed by a trusted authority",
        Expired | ExpiredContext { .. } => "the certificate has expired",
        NotValidYet | NotValidYetContext { .. } => "the certificate is not valid yet",
        NotValidForName | NotValidForNameContext { .. } => "the certificate is for another name",
        BadEncoding => "the certificate cannot be read",
        BadSignature => "the signature of the certificate, or with it, is wrong or too weak",
        Revoked => "the certificate has been revoked",
        InvalidPurpose | InvalidPurposeContext { .. } => "the certificate is not one for servers",
        UnhandledCriticalExtension => {
            "the certificate has a critical extension that is not supported"
        }
        Other(OtherError(other)) => match format!("{other:?}").as_str() {
            "CaUsedAsEndEntity" => "the certificate is that of an authority, not of a server",
            text if text.contains("Version") => "the certificate is not of X.509 version 3",
            text if text.contains("Algorithm") || text.contains("KeySize") => {
                "the certificate uses an algorithm or a key size that is not supported"
            }
            _ => "the certificate is invalid",
        },
        _ => "the certificate is invalid",
    };
    what.to_owned()
}

/// Separates the words of a name such as `HandshakeFailure`.
fn separated(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars().filter(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn every_error_of_tls_is_told_in_words() {
        let other = OtherError(Arc::new(io::Error::other("x")));
        for error in [
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::InvalidCertificate(CertificateError::Other(other)),
            Error::InvalidCertificate(CertificateError::BadEncoding),
            Rejected { fingerprint: "ab".to_owned(), why: Why::NotPinned }.into(),
        ] {
            let text = in_words(&error);
            assert!(!text.contains("Other") && !text.contains('{'), "{text}");
            let inside =
                text.chars().skip(1).collect::<String>().replace("TLS", "").replace("X.", "");
            assert!(!inside.chars().any(char::is_uppercase), "{text}");
        }
        assert_eq!(separated("HandshakeFailure"), "handshake failure");
    }
}
