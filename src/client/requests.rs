//! Transfers of one file as users of the library write them: a request is built, then run.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ftp::command::Type;

use super::connection::Client;
use super::error::ClientError;
use super::names::local_name;
use super::progress::Progress;
use super::upload::UploadStart;

/// An event during the transfer of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent<'a> {
    /// Number of bytes of the file so far, and its size where that is known.
    Bytes(u64, Option<u64>),
    /// A note for the user, such as a retry after a lost connection.
    Note(&'a str),
}

/// The observer of a request.
struct RequestObserver<'a>(Option<&'a mut dyn FnMut(TransferEvent<'_>)>);

impl Progress for RequestObserver<'_> {
    fn progress(&mut self, bytes: u64, total: Option<u64>) {
        if let Some(observe) = &mut self.0 {
            observe(TransferEvent::Bytes(bytes, total));
        }
    }

    fn note(&mut self, text: &str) {
        if let Some(observe) = &mut self.0 {
            observe(TransferEvent::Note(text));
        }
    }
}

/// A download of one file, from [`Client::download`].
#[must_use = "a request does nothing before it is run"]
pub struct DownloadRequest<'a> {
    client: &'a mut Client,
    path: Vec<u8>,
    local: Option<PathBuf>,
    connections: usize,
    representation: Type,
    observer: RequestObserver<'a>,
}

/// An upload of one file, from [`Client::upload`].
#[must_use = "a request does nothing before it is run"]
pub struct UploadRequest<'a> {
    client: &'a mut Client,
    local: PathBuf,
    path: Option<Vec<u8>>,
    start: UploadStart,
    representation: Type,
    observer: RequestObserver<'a>,
}

impl fmt::Debug for DownloadRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DownloadRequest")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UploadRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UploadRequest").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins the request for a file of the server.
    ///
    /// ```no_run
    /// # let mut client = poolftpd::Client::builder("localhost").connect()?;
    /// let bytes = client.download("pub/file.iso").to("file.iso").run()?;
    /// # Ok::<(), poolftpd::ClientError>(())
    /// ```
    pub fn download(&mut self, path: impl AsRef<[u8]>) -> DownloadRequest<'_> {
        DownloadRequest {
            client: self,
            path: path.as_ref().to_vec(),
            local: None,
            connections: 1,
            representation: Type::Image,
            observer: RequestObserver(None),
        }
    }

    /// Begins the request to send a local file.
    ///
    /// ```no_run
    /// # let mut client = poolftpd::Client::builder("localhost").connect()?;
    /// client.upload("notes.txt").to("backup/notes.txt").run()?;
    /// # Ok::<(), poolftpd::ClientError>(())
    /// ```
    pub fn upload(&mut self, local: impl AsRef<Path>) -> UploadRequest<'_> {
        UploadRequest {
            client: self,
            local: local.as_ref().to_owned(),
            path: None,
            start: UploadStart::Beginning,
            representation: Type::Image,
            observer: RequestObserver(None),
        }
    }
}

impl<'a> DownloadRequest<'a> {
    /// Sets the local file. Without it, the file gets its own name in the working directory.
    pub fn to(self, local: impl Into<PathBuf>) -> Self {
        Self { local: Some(local.into()), ..self }
    }

    /// Fetches ranges of the file over several connections.
    pub fn parallel(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets the representation type: [`Type::Ascii`] converts line ends.
    pub fn representation(self, representation: Type) -> Self {
        Self { representation, ..self }
    }

    /// Sets the observer of the transfer.
    pub fn observe(self, observe: &'a mut dyn FnMut(TransferEvent<'_>)) -> Self {
        Self { observer: RequestObserver(Some(observe)), ..self }
    }

    /// Fetches the file, and returns the number of its bytes. Until the file is complete, its name has the suffix
    /// `.part`, and a later request resumes it. Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`](super::ErrorKind::Incomplete) when the file did not arrive completely, whatever the
    /// server's last reply was.
    pub fn run(self) -> Result<u64, ClientError> {
        let Self { client, path, local, connections, representation, mut observer } = self;
        let local = match local {
            Some(local) => local,
            None => PathBuf::from(local_name(&path)?),
        };
        if connections > 1 && representation == Type::Image {
            client.download_in_ranges(&path, &local, connections, &mut observer)
        } else {
            client.fetch(&path, &local, representation, None, &mut observer)
        }
    }
}

impl<'a> UploadRequest<'a> {
    /// Sets the path on the server. Without it, the file keeps its name, in the current remote directory.
    pub fn to(self, path: impl AsRef<[u8]>) -> Self {
        Self { path: Some(path.as_ref().to_vec()), ..self }
    }

    /// Continues after the bytes that the server has, if they are the beginning of the local file.
    pub fn resume(self) -> Self {
        Self { start: UploadStart::WhatIsThere, ..self }
    }

    /// Sets the representation type: [`Type::Ascii`] converts line ends.
    pub fn representation(self, representation: Type) -> Self {
        Self { representation, ..self }
    }

    /// Sets the observer of the transfer.
    pub fn observe(self, observe: &'a mut dyn FnMut(TransferEvent<'_>)) -> Self {
        Self { observer: RequestObserver(Some(observe)), ..self }
    }

    /// Sends the file, and returns the number of its bytes. Sets the modification time where the server supports that.
    /// Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Local`](super::ErrorKind::Local) when the file cannot be read, or changes meanwhile;
    /// [`ErrorKind::Incomplete`](super::ErrorKind::Incomplete) when it did not arrive completely.
    pub fn run(self) -> Result<u64, ClientError> {
        let Self { client, local, path, start, representation, mut observer } = self;
        let own_name = || local.file_name().map(|name| name.as_encoded_bytes().to_vec());
        let path = path.or_else(own_name).unwrap_or_default();
        client.send(&local, &path, representation, start, &mut observer)
    }
}
