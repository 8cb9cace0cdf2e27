//! Use of TLS, and verification of the server's certificate.

use std::fs::File;
use std::io::BufReader;
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

use super::error::{ClientError, ErrorKind, reason};
use super::rejection::{Rejected, Why, in_words};
use super::stream::TlsContext;

/// Number of hexadecimal digits of a pin.
const PIN_DIGITS: usize = 64;

/// Use of TLS on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
pub enum Trust {
    /// A certificate signed by an authority that the system trusts.
    System,
    /// A certificate signed by an authority in this file (PEM).
    Authorities(PathBuf),
    /// The certificate with this SHA-256, and no other.
    Pin(String),
    /// The certificate with this SHA-256, which the user has accepted for the server before, or one signed by an
    /// authority that the system trusts. The path is that of the file with the fingerprint.
    Known(String, PathBuf),
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
        let named = match self {
            Self::Authorities(path) => read_certificates(path)?,
            _ => Vec::new(),
        };
        let web = self.web(&provider, &named)?;
        let verifier = Verifier { trust: self.clone(), named, web, provider };
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
        named: &[CertificateDer<'static>],
    ) -> Result<Option<Arc<WebPkiServerVerifier>>, ClientError> {
        let roots = match self {
            Self::Pin(_) | Self::Anybody => return Ok(None),
            Self::System | Self::Known(..) => system_roots(),
            Self::Authorities(path) => authorities(path, named)?,
        };
        if roots.is_empty() && matches!(self, Self::Known(..)) {
            return Ok(None);
        }
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

/// Reads the certificates of a file (PEM).
#[expect(clippy::disallowed_methods, reason = "the person at the terminal names this file")]
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let file = File::open(path).map_err(|error| bad_file(path, &reason(&error)))?;
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    let certificates = certificates.map_err(|error| bad_file(path, &error.to_string()))?;
    if certificates.is_empty() {
        return Err(bad_file(path, "no certificate found"));
    }
    Ok(certificates)
}

fn authorities(
    path: &Path,
    named: &[CertificateDer<'static>],
) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in named {
        let added = roots.add(certificate.clone());
        added.map_err(|error| bad_file(path, &in_words(&error)))?;
    }
    Ok(roots)
}

fn bad_file(path: &Path, what: &str) -> ClientError {
    ClientError::new(ErrorKind::Local, format!("{}: {what}", path.display()))
}

/// Verifies the server's certificate as `trust` demands.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    /// The certificates in the file of authorities.
    named: Vec<CertificateDer<'static>>,
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
        let is_known = match &self.trust {
            Trust::Anybody => true,
            Trust::Pin(pin) | Trust::Known(pin, _) => *pin == own,
            // A certificate that the server has signed itself is the only one in its file. Other checks are for
            // certificates that an authority has signed.
            Trust::Authorities(_) => self.named.iter().any(|named| named == certificate),
            Trust::System => false,
        };
        if is_known {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.web.as_ref().map_or_else(
            || Err(Error::General("no trusted certificate authorities".to_owned())),
            |web| web.verify_server_cert(certificate, chain, name, ocsp, now),
        );
        verified.map_err(|error| {
            let why = match &self.trust {
                Trust::Pin(_) => Why::NotPinned,
                Trust::Known(before, file) => {
                    Why::Changed { before: before.clone(), file: file.display().to_string() }
                }
                _ => Why::Invalid(in_words(&error)),
            };
            Rejected { fingerprint: own, why }.into()
        })
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
