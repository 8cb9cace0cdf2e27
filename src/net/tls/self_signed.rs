//! A self-signed certificate for servers that have no other; its clients know it by its fingerprint.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustix::system::uname;

use crate::units::reason;

/// The validity in years. It is long because clients know the certificate itself, and would have to learn of a new one.
const VALID_YEARS: i32 = 20;

/// The mode of the file: only its owner may read the key.
const FILE_MODE: u32 = 0o600;

/// Generates a certificate and its key in one file, unless the file exists.
///
/// # Errors
/// Returns one sentence that names the file.
pub fn make(path: &Path) -> Result<(), String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    if path.exists() {
        return Ok(());
    }
    let text = generate().map_err(|error| wrong(&error))?;
    let mut options = OpenOptions::new();
    let mut file = match options.write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(wrong(&reason(&error))),
        Ok(file) => file,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // An incomplete file would be used as the certificate next time.
        let _removed = std::fs::remove_file(path);
        wrong(&error)
    })
}

fn generate() -> Result<String, rcgen::Error> {
    let node = uname();
    let node = node.nodename().to_str().unwrap_or("localhost");
    let names = [node, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, node);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let year = i32::from(today.year());
    // Valid from the first of January, so that clients whose clock is behind accept it, too.
    parameters.not_before = date_time_ymd(year, 1, 1);
    parameters.not_after = date_time_ymd(year + VALID_YEARS, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test looks at its own file")]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        make(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        let text = String::from_utf8(first).unwrap();
        assert!(text.contains("BEGIN CERTIFICATE") && text.contains("PRIVATE KEY"), "{text}");
        let missing = folder.path().join("missing/certificate.pem");
        let start = format!("{}: no such", missing.display());
        assert!(make(&missing).unwrap_err().starts_with(&start));
    }
}
