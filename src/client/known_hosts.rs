//! The file of accepted certificates: one line a server, `host:port SHA-256`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;

/// Certificates that the user has accepted, each for one server.
#[derive(Debug, Clone)]
pub(super) struct KnownHosts(PathBuf);

impl KnownHosts {
    /// Finds the file: `$XDG_DATA_HOME/ftpclient/known_hosts`, or else that of `~/.local/share`. Returns `None` without
    /// a home directory.
    pub(super) fn of_user() -> Option<Self> {
        let data =
            std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
        Some(Self(data.join("ftpclient").join("known_hosts")))
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the SHA-256 of the certificate that the user has accepted for a server.
    pub(super) fn find(&self, host: &str, port: u16) -> Option<String> {
        find(&fs::read_to_string(&self.0).ok()?, &key(host, port))
    }

    /// Remembers a certificate for a server that has none in the file.
    pub(super) fn add(&self, host: &str, port: u16, fingerprint: &str) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.0)?;
        file.write_all(format!("{} {fingerprint}\n", key(host, port)).as_bytes())
    }
}

/// Returns the name of a server in the file.
fn key(host: &str, port: u16) -> String {
    Endpoint { host: host.to_ascii_lowercase(), port }.to_string()
}

fn find(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut entries = lines.filter_map(|line| line.trim().split_once(char::is_whitespace));
    let (_, fingerprint) = entries.find(|(server, _)| *server == key)?;
    Some(fingerprint.trim().replace(':', "").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_own_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownHosts(folder.path().join("deep/known_hosts"));
        assert_eq!(known.find("a", 21), None);
        known.add("A", 21, "aa").unwrap();
        known.add("a", 990, "bb").unwrap();
        assert_eq!(known.find("a", 21), Some("aa".to_owned()));
        assert_eq!((known.find("A", 990), known.find("b", 21)), (Some("bb".to_owned()), None));
        assert_eq!(find("# a:21 x\na:21 AA:BB\n", "a:21"), Some("aabb".to_owned()));
    }
}
