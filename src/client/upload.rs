//! Uploads: a file is sent, resumed after the bytes that the server has, and checked.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use jiff::Timestamp;

use crate::ftp::ascii::ToWire;
use crate::ftp::command::{Command, Mode, Type};
use crate::ftp::time::TimeValue;

use super::checks::{Comparison, Whole};
use super::files::{Progress, about, name, shown, shown_path};
use super::{Client, ClientError, ErrorKind};

/// Number of bytes of the remote file that are fetched and compared before an upload continues, where the server
/// computes no checksum.
const OVERLAP_BYTES: u64 = 64 * 1024;

/// Start of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStart {
    /// The beginning of the file (`put`).
    Beginning,
    /// The end of the remote file, if that is the beginning of the local one (`reput`).
    WhatIsThere,
}

/// An upload, with the state that is kept from one try to the next.
struct Upload<'a> {
    file: File,
    metadata: Metadata,
    local: &'a Path,
    path: &'a [u8],
    representation: Type,
    start: UploadStart,
    /// Set once this upload has begun to send, so that the remote file is its own.
    begun: bool,
    /// Set once the result has failed its check; a second failure is final.
    distrusted: bool,
}

impl Client {
    /// Sends a local file, and sets its modification time where the server supports that. Returns the number of bytes
    /// of the file. Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Local`] when the file cannot be read, or changes meanwhile; [`ErrorKind::Incomplete`] when it did not arrive
    /// completely, whatever the server's last reply was.
    pub fn upload(
        &mut self,
        local: &Path,
        path: &[u8],
        representation: Type,
        start: UploadStart,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let failed = |error| ClientError::local(local, &error);
        #[allow(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let file = File::open(local).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(ClientError::new(
                ErrorKind::Local,
                format!("{}: not a regular file", shown_path(local)),
            ));
        }
        let (begun, distrusted) = (false, false);
        let mut upload =
            Upload { file, metadata, local, path, representation, start, begun, distrusted };
        self.reached = 0;
        self.recovering(progress, |client, progress| client.try_upload(&mut upload, progress))
    }

    fn try_upload(
        &mut self,
        upload: &mut Upload<'_>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let image = upload.representation == Type::Image;
        let resumes = image && (upload.start == UploadStart::WhatIsThere || upload.begun);
        let offset = if resumes { self.place_to_resume(upload, progress)? } else { 0 };
        let sent = match self.send(upload, offset, progress) {
            // The server refuses the rest of the file, so it gets the whole file.
            Err(error) if offset > 0 && error.is_refused_for_good() => {
                progress.note(&format!("{error}; uploading the whole file again"));
                self.send(upload, 0, progress)?
            }
            sent => sent?,
        };
        let checked = if image { self.check_upload(upload) } else { Ok(()) };
        match checked.and_then(|()| self.set_modified(upload)) {
            // The server has confirmed the upload, so the file is stored.
            Err(error) if error.is_connection_lost() => {
                progress.note(&format!("the file is stored, but was not verified: {error}"));
                Ok(sent)
            }
            checked => checked.map(|()| sent),
        }
    }

    /// Returns the number of bytes on the server that are the beginning of this file.
    fn place_to_resume(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let there = self.optional(|client| client.size(upload.path))?.unwrap_or_default();
        if there == 0 {
            return Ok(0);
        }
        if there > upload.metadata.len() {
            progress.note(
                "the remote file is longer than the local file; uploading the whole file again",
            );
            return Ok(0);
        }
        let mut compared =
            self.compare(upload.path, &upload.file, upload.local, there, Whole::No)?;
        if compared == Comparison::Unknown {
            compared = self.compare_end(upload, there)?;
        }
        match compared {
            Comparison::Same => Ok(there),
            // These bytes are of this upload, and no more than it has sent.
            Comparison::Unknown if upload.begun && there <= self.reached => Ok(there),
            Comparison::Unknown if upload.start == UploadStart::WhatIsThere => {
                progress.note(
                    "the remote file cannot be compared with the local file; resuming at its size",
                );
                Ok(there)
            }
            // The user asked for `put`, and this may be the file to replace.
            Comparison::Unknown => Ok(0),
            Comparison::Different => {
                progress.note(
                    "the remote file differs from the local file; uploading the whole file again",
                );
                Ok(0)
            }
        }
    }

    /// Fetches the end of the remote file, and compares it with the local file.
    fn compare_end(&mut self, upload: &Upload<'_>, there: u64) -> Result<Comparison, ClientError> {
        let count = there.min(OVERLAP_BYTES);
        let mut ours = vec![0; usize::try_from(count).unwrap_or_default()];
        let read = upload.file.read_exact_at(&mut ours, there - count);
        read.map_err(|error| ClientError::local(upload.local, &error))?;
        self.set_type(Type::Image)?;
        let mut theirs = Vec::new();
        let fetched = self.optional(|client| {
            let command = Command::Retrieve(name(upload.path)?);
            client.receive(&command, there - count, &about("reput", upload.path), |chunk| {
                // One byte too many is enough to show a difference.
                let room = (ours.len() + 1).saturating_sub(theirs.len());
                theirs.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
                Ok(())
            })
        })?;
        Ok(match fetched {
            None => Comparison::Unknown,
            Some(()) if theirs == ours => Comparison::Same,
            Some(()) => Comparison::Different,
        })
    }

    /// Sends the file from an offset on.
    fn send(
        &mut self,
        upload: &mut Upload<'_>,
        offset: u64,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        self.set_type(upload.representation)?;
        let length = upload.metadata.len();
        self.announce(upload, length)?;
        let path = name(upload.path)?;
        // A server without REST may still append.
        let (command, restart) = if offset > 0 && !self.restarts {
            (Command::Append(path), 0)
        } else {
            (Command::Store(path), offset)
        };
        let mut begun = false;
        let (mut bytes, mut converter, mut raw) = (offset, ToWire::default(), Vec::new());
        progress.progress(offset, Some(length));
        let what = about("put", upload.path);
        let sent = self.transmit(&command, restart, &what, |chunk, room| {
            progress.progress(bytes, Some(length));
            begun = true;
            let left = usize::try_from(length - bytes).unwrap_or(usize::MAX);
            if left == 0 && has_changed(upload)? {
                // Checked before the server receives the end of the data.
                return Err(changed(upload.local));
            }
            raw.resize(left.min(room), 0);
            upload.file.read_exact_at(&mut raw, bytes).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(upload.local),
                _ => ClientError::local(upload.local, &error),
            })?;
            bytes += raw.len() as u64;
            match upload.representation {
                Type::Image => chunk.append(&mut raw),
                Type::Ascii => converter.convert(&raw, chunk),
            }
            Ok(())
        });
        self.reached = self.reached.max(bytes);
        upload.begun |= begun;
        sent?;
        Ok(bytes)
    }

    /// Sends ALLO with the length: in stream mode nothing else shows a server that an upload is incomplete.
    fn announce(&mut self, upload: &Upload<'_>, length: u64) -> Result<(), ClientError> {
        self.choose_framing()?;
        let needed = self.framing == Some(Mode::Stream) && upload.representation == Type::Image;
        if needed && self.allocates {
            self.allocates = self.ask(&Command::Allocate(length))?.code.is_completion();
        }
        Ok(())
    }

    /// Checks the file by its length, and by a checksum where the server computes one. After a first mismatch the file
    /// is sent again from the start, once.
    fn check_upload(&mut self, upload: &mut Upload<'_>) -> Result<(), ClientError> {
        let length = upload.metadata.len();
        // A server that moves files away as they arrive has no size to report.
        let there = self.optional(|client| client.size(upload.path))?;
        let fits = match there {
            Some(there) if there != length => false,
            None => true,
            Some(_) => {
                self.compare(upload.path, &upload.file, upload.local, length, Whole::Yes)?
                    != Comparison::Different
            }
        };
        if fits {
            return Ok(());
        }
        let message = format!("{} on the server differs from the local file", shown(upload.path));
        let error = ClientError::new(ErrorKind::Incomplete, message);
        // The next try starts at the beginning, not after the wrong bytes.
        upload.begun = false;
        upload.start = UploadStart::Beginning;
        let again = !std::mem::replace(&mut upload.distrusted, true);
        Err(if again { error } else { error.at_last() })
    }

    fn set_modified(&mut self, upload: &Upload<'_>) -> Result<(), ClientError> {
        if self.features.set_modified
            && let Ok(modified) = upload
                .metadata
                .modified()
                .map_err(drop)
                .and_then(|time| Timestamp::try_from(time).map_err(drop))
        {
            // Best effort: a server that refuses this has the complete file nevertheless.
            let _reply = self.ask(&Command::SetModificationTime {
                time: TimeValue(modified),
                path: name(upload.path)?,
            })?;
        }
        Ok(())
    }
}

fn has_changed(upload: &Upload<'_>) -> Result<bool, ClientError> {
    let now = upload.file.metadata().map_err(|error| ClientError::local(upload.local, &error))?;
    let state = |of: &Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    Ok(state(&now) != state(&upload.metadata))
}

fn changed(local: &Path) -> ClientError {
    let message = format!("{} changed during the upload; upload it again", shown_path(local));
    ClientError::new(ErrorKind::Local, message)
}
