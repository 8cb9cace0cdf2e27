//! Options of a mirror.

use std::path::PathBuf;

use crate::client::batch::Direction;
use crate::client::error::ClientError;
use crate::ftp::command::Type;

use super::filter::Filter;

/// A copy of a tree to make, with its options.
///
/// ```no_run
/// use poolftpd::{Client, Mirror};
///
/// let mut client = Client::builder("ftp.example.net").port(21).connect()?;
/// let mirror = Mirror::download("/pub/music", "music").delete(true).exclude("*.tmp")?.parallel(4);
/// let plan = client.plan_mirror(&mirror, &mut |_| {})?;
/// for action in plan.actions() {
///     println!("{action}");
/// }
/// let report = client.run_mirror(&plan, &mut |_| {})?;
/// assert!(report.is_complete());
/// # Ok::<(), poolftpd::ClientError>(())
/// ```
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "one field an option")]
pub struct Mirror {
    pub(in crate::client) direction: Direction,
    pub(in crate::client) remote: Vec<u8>,
    pub(in crate::client) local: PathBuf,
    pub(super) delete: bool,
    pub(super) only_newer: bool,
    pub(super) checksum: bool,
    pub(super) everything: bool,
    pub(super) filter: Filter,
    pub(super) connections: usize,
    pub(super) representation: Type,
}

impl Mirror {
    fn new(direction: Direction, remote: Vec<u8>, local: PathBuf) -> Self {
        Self {
            direction,
            remote,
            local,
            delete: false,
            only_newer: false,
            checksum: false,
            everything: false,
            filter: Filter::default(),
            connections: 1,
            representation: Type::Image,
        }
    }

    /// Makes a local directory like a remote one. An empty remote path is the current directory.
    #[must_use]
    pub fn download(remote: impl AsRef<[u8]>, local: impl Into<PathBuf>) -> Self {
        Self::new(Direction::Download, remote.as_ref().to_vec(), local.into())
    }

    /// Makes a remote directory like a local one.
    #[must_use]
    pub fn upload(local: impl Into<PathBuf>, remote: impl AsRef<[u8]>) -> Self {
        Self::new(Direction::Upload, remote.as_ref().to_vec(), local.into())
    }

    /// Removes from the copy what the source does not have.
    #[must_use]
    pub fn delete(self, delete: bool) -> Self {
        Self { delete, ..self }
    }

    /// Replaces a file only by a newer one.
    #[must_use]
    pub fn only_newer(self, only_newer: bool) -> Self {
        Self { only_newer, ..self }
    }

    /// Compares files of equal size by checksum instead of by time. The server must support HASH or a command like it.
    #[must_use]
    pub fn checksum(self, checksum: bool) -> Self {
        Self { checksum, ..self }
    }

    /// Transfers every file, also those that do not differ.
    #[must_use]
    pub fn everything(self, everything: bool) -> Self {
        Self { everything, ..self }
    }

    /// Includes the items that match a pattern. The last pattern that matches decides. If the first pattern includes,
    /// files that match no pattern are excluded.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::client::ErrorKind::Usage) for a malformed pattern.
    pub fn include(self, pattern: &str) -> Result<Self, ClientError> {
        self.pattern(pattern, true)
    }

    /// Excludes the items that match a pattern; a directory with all that it contains.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::client::ErrorKind::Usage) for a malformed pattern.
    pub fn exclude(self, pattern: &str) -> Result<Self, ClientError> {
        self.pattern(pattern, false)
    }

    fn pattern(mut self, pattern: &str, includes: bool) -> Result<Self, ClientError> {
        self.filter.add(pattern, includes).map_err(ClientError::usage)?;
        Ok(self)
    }

    /// Sets the representation type: [`Type::Ascii`] converts line ends.
    #[must_use]
    pub fn representation(self, representation: Type) -> Self {
        Self { representation, ..self }
    }

    /// Sets the maximum number of connections. It falls when the server accepts fewer.
    #[must_use]
    pub fn parallel(self, connections: usize) -> Self {
        Self { connections, ..self }
    }
}
