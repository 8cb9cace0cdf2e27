//! Certificates and keys: their files, the versions of TLS, and the configuration made from them.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use super::expiry::not_after;
use crate::ftp::checksum::digits;
use crate::units::unreadable;

/// The files of a certificate chain and its key, in PEM; both may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate, and the certificates that sign it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The files that a server needs for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// One certificate for each name; the first also serves clients that request another name or none.
    pub keys: Vec<KeyFiles>,
    /// The authorities that must have signed the certificates of clients.
    pub client_authorities: Option<PathBuf>,
    /// True if a client may have no certificate.
    pub client_optional: bool,
}

static TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// The newest protocol version offered (`--tls-max`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newest {
    /// TLS 1.2, whose sessions OpenSSL's clients can resume any number of times.
    V1_2,
    /// TLS 1.3.
    #[default]
    V1_3,
}

impl Newest {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::V1_2 => TLS_1_2,
            Self::V1_3 => rustls::ALL_VERSIONS,
        }
    }
}

impl FromStr for Newest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(format!("'{text}' is neither 1.2 nor 1.3")),
        }
    }
}

impl std::fmt::Display for Newest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// The served certificates: their configuration, and the end of each with its file.
pub(super) type Served = (Arc<ServerConfig>, Vec<(PathBuf, Timestamp)>);

/// A function that opens the files of certificates and keys.
pub type Opener = Box<dyn Fn(&Path) -> io::Result<File> + Send + Sync>;

/// Opens a file with the rights of this process.
#[expect(clippy::disallowed_methods, reason = "the administrator names this file, no client")]
pub(super) fn open_here(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(super) fn read_config(
    files: &TlsFiles,
    newest: Newest,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<Served, String> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(newest.versions())
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(authorities(path, open)?),
                Arc::new(ring::default_provider()),
            );
            let verifier =
                if files.client_optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| in_file(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let keys = files.keys.iter().map(|files| read_key(files, open));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let end = |(files, key): (&KeyFiles, &Arc<CertifiedKey>)| {
        Some((files.certificate.clone(), not_after(key.end_entity_cert().ok()?)?))
    };
    let ends = files.keys.iter().zip(&keys).filter_map(end).collect();
    Ok((Arc::new(builder.with_cert_resolver(Arc::new(Keys(keys)))), ends))
}

/// Returns the SHA-256 of the first certificate of a PEM file, in hexadecimal. Clients identify it by
/// this digest (`ftpclient --pin`).
///
/// # Errors
/// Returns one sentence that names the file.
pub fn fingerprint(path: &Path) -> Result<String, String> {
    let certificates = read_certificates(path, &open_here)?;
    Ok(certificates.first().map(|certificate| pin_of(certificate)).unwrap_or_default())
}

/// Returns the SHA-256 of a certificate, in hexadecimal.
#[must_use]
pub fn pin_of(certificate: &CertificateDer<'_>) -> String {
    digits(&Sha256::digest(certificate))
}

/// Reads the certificates of a PEM file as authorities to trust.
///
/// # Errors
/// Returns one sentence that names the file.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, String> {
    authorities(path, &open_here)
}

fn authorities(
    path: &Path,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path, open)? {
        roots.add(certificate).map_err(|error| in_file(path, &error))?;
    }
    Ok(roots)
}

fn read_certificates(
    path: &Path,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_reader_iter(reader(path, open)?).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| in_file(path, &error))?;
    if found.is_empty() { Err(in_file(path, &"no certificate found")) } else { Ok(found) }
}

fn read_key(
    files: &KeyFiles,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<Arc<CertifiedKey>, String> {
    let chain = read_certificates(&files.certificate, open)?;
    let key = PrivateKeyDer::from_pem_reader(reader(&files.key, open)?).map_err(|error| {
        let none = matches!(error, rustls::pki_types::pem::Error::NoItemsFound);
        if none {
            in_file(&files.key, &"no private key found")
        } else {
            in_file(&files.key, &error)
        }
    })?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
    key.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => in_file(
            &files.key,
            &format_args!(
                "the key does not match the certificate in {}",
                files.certificate.display()
            ),
        ),
        error => in_file(&files.certificate, &error),
    })
}

fn reader(
    path: &Path,
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<BufReader<File>, String> {
    open(path).map(BufReader::new).map_err(|error| in_file(path, &unreadable(path, &error)))
}

fn in_file(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

/// The keys; each client gets the one for the name that it requests.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let certificate = key.end_entity_cert().ok();
            let parsed = certificate.and_then(|found| ParsedCertificate::try_from(found).ok());
            parsed
                .zip(asked.as_ref())
                .is_some_and(|(parsed, name)| verify_server_name(&parsed, name).is_ok())
        };
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}
