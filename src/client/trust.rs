//! Use of TLS, and verification of the server's certificate.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::ftp::checksum::digits;

use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind, reason};
use super::stream::TlsContext;

/// Number of hexadecimal digits of a pin.
const PIN_DIGITS: usize = 64;

/// Use of TLS on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS where the server offers it.
    Auto,
    /// TLS, or no connection at all.
    Require,
    /// TLS from the first byte on, on a port of its own.
    Implicit,
    /// No TLS.
    Off,
}

/// Rule for accepting the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A certificate signed by an authority that the system trusts.
    System,
    /// A certificate signed by an authority in this file (PEM).
    Authorities(PathBuf),
    /// The certificate with this SHA-256, and no other.
    Pin(String),
    /// Any certificate: the server is not verified.
    Anybody,
}

impl Trust {
    /// Parses a SHA-256 as tools print it: hexadecimal digits, with or without colons.
    ///
    /// # Errors
    /// One sentence, when `text` is not a SHA-256.
    pub fn pin(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        if digits.len() == PIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self::Pin(digits.to_ascii_lowercase()))
        } else {
            Err(format!("'{text}' is not a SHA-256 fingerprint of {PIN_DIGITS} hexadecimal digits"))
        }
    }

    /// Builds the TLS parameters for a server of this name.
    pub(super) fn tls_context(&self, host: &str) -> Result<TlsContext, ClientError> {
        let wrong = |what: String| ClientError::new(ErrorKind::Tls, what);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let bare = bare.split('%').next().unwrap_or(bare);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| wrong(format!("{host}: not a valid name for a certificate")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        let verifier = Verifier { trust: self.clone(), web: self.web(&provider)?, provider };
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(TlsContext { config: Arc::new(config), name })
    }

    /// Builds the verifier of certificate chains; `None` where no chain is verified.
    fn web(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<WebPkiServerVerifier>>, ClientError> {
        let roots = match self {
            Self::Pin(_) | Self::Anybody => return Ok(None),
            Self::System => system_roots(),
            Self::Authorities(path) => read_authorities(path)?,
        };
        if roots.is_empty() {
            let hint = "Use --ca FILE, or --pin SHA256.";
            let what = format!("this system has no trusted certificate authorities. {hint}");
            return Err(ClientError::new(ErrorKind::Tls, what));
        }
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        built.build().map(Some).map_err(|error| ClientError::new(ErrorKind::Tls, error.to_string()))
    }
}

/// Reads the root certificates of the system. Those that cannot be parsed are left out, because the others may suffice.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[expect(clippy::disallowed_methods, reason = "the person at the terminal names this file")]
fn read_authorities(path: &Path) -> Result<RootCertStore, ClientError> {
    let wrong =
        |what: &str| ClientError::new(ErrorKind::Local, format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| wrong(&reason(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
        let certificate = certificate.map_err(|error| wrong(&error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(&error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("no certificate found")) } else { Ok(roots) }
}

/// Verifies the server's certificate as `trust` demands.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    web: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = digits(&Sha256::digest(certificate));
        match (&self.trust, &self.web) {
            (Trust::Anybody, _) => Ok(ServerCertVerified::assertion()),
            (Trust::Pin(pin), _) if *pin == own => Ok(ServerCertVerified::assertion()),
            (Trust::Pin(_), _) => Err(Error::General(format!(
                "the certificate does not match --pin: its SHA-256 is {own}"
            ))),
            (_, Some(web)) => {
                web.verify_server_cert(certificate, chain, name, ocsp, now).map_err(|error| {
                    // The fingerprint lets a person compare the certificate.
                    Error::General(format!(
                        "{}; the SHA-256 of the certificate is {own}",
                        what(&error)
                    ))
                })
            }
            (_, None) => Err(Error::General("no trusted certificate authorities".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Describes in words why a certificate is invalid.
fn what(error: &Error) -> String {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        UnknownIssuer,
    };
    let Error::InvalidCertificate(wrong) = error else { return error.to_string() };
    match wrong {
        UnknownIssuer => "the certificate is not signed by a trusted authority".to_owned(),
        Expired | ExpiredContext { .. } => "the certificate has expired".to_owned(),
        NotValidYet => "the certificate is not valid yet".to_owned(),
        NotValidForName | NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        other => other.to_string(),
    }
}

/// Builds the error of a failed handshake, with advice on what to do next.
pub(super) fn handshake_failed(server: &Endpoint, error: &io::Error) -> ClientError {
    let certificate = matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()),
        Some(Error::General(_))
    );
    let text = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::General(what)) => what.clone(),
        Some(other) => other.to_string(),
        None => reason(error),
    };
    let hint = if certificate {
        "Use --pin SHA256 if this is the server's certificate, or --ca FILE; --insecure skips the check."
    } else {
        "Does the port use TLS? See --tls."
    };
    ClientError::new(ErrorKind::Tls, format!("{server}: TLS failed: {text}. {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_64_digits_with_or_without_colons() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(Trust::pin(&digits), Ok(Trust::Pin(digits.clone())));
        assert_eq!(Trust::pin(&colons), Ok(Trust::Pin(digits)));
        for text in ["", "ab", &"zz".repeat(32)] {
            assert!(Trust::pin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["localhost", "example.net", "127.0.0.1", "[::1]", "fe80::1%eth0"] {
            assert!(Trust::Anybody.tls_context(host).is_ok(), "{host}");
        }
        assert!(Trust::Authorities("/nonexistent".into()).tls_context("a").is_err());
    }
}
