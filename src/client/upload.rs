//! Uploads: a file is sent, resumed after the bytes that the server has, and checked.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use jiff::Timestamp;

use crate::ftp::ascii::ToWire;
use crate::ftp::checksum::Checksum;
use crate::ftp::command::{Command, Mode, Site, Type};
use crate::ftp::time::TimeValue;

use super::checks::{Comparison, Whole};
use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::link::Link;
use super::names::{about, name, shown, shown_path};
use super::progress::Progress;

/// Number of bytes of the remote file that are fetched and compared before an upload continues, where the server
/// computes no checksum.
const OVERLAP_BYTES: u64 = 64 * 1024;

/// Start of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Permission bits that the remote file gets, where the server supports that.
    mode: Option<u32>,
    /// Set once this upload has begun to send, so that the remote file is its own.
    begun: bool,
    /// Furthest offset reached in the file.
    reached: u64,
    /// Set once the result has failed its check; a second failure is final.
    distrusted: bool,
    /// Set once all bytes were sent, and only the final reply has not come.
    unconfirmed: bool,
    /// Checksum of the whole file, if it was computed while the file was sent.
    sent: Option<Checksum>,
}

impl Client {
    /// Sends a local file, and sets its modification time where the server supports that. Returns the number of bytes
    /// of the file. Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Local`] when the file cannot be read, or changes meanwhile; [`ErrorKind::Incomplete`] when it did not arrive
    /// completely, whatever the server's last reply was.
    pub fn send(
        &mut self,
        local: &Path,
        path: &[u8],
        representation: Type,
        start: UploadStart,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        self.send_with_mode(local, path, representation, start, None, progress)
    }

    /// Sends a file as [`Self::send`] does, and sets its permission bits where the server supports that.
    pub(super) fn send_with_mode(
        &mut self,
        local: &Path,
        path: &[u8],
        representation: Type,
        start: UploadStart,
        mode: Option<u32>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let failed = |error| ClientError::local(local, &error);
        #[expect(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let file = File::open(local).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(ClientError::new(
                ErrorKind::Local,
                format!("{}: not a regular file", shown_path(local)),
            ));
        }
        let (begun, reached, distrusted) = (false, 0, false);
        let mut upload = Upload {
            file,
            metadata,
            local,
            path,
            representation,
            start,
            mode,
            begun,
            reached,
            distrusted,
            unconfirmed: false,
            sent: None,
        };
        self.set_reached(0);
        self.with_retries(progress, |client, progress| {
            let outcome = upload.attempt(client.link()?, progress);
            client.set_reached(upload.reached);
            outcome
        })
    }
}

impl Upload<'_> {
    /// Sends the file, or the rest of it, once.
    fn attempt(
        &mut self,
        link: &mut Link,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let image = self.representation == Type::Image;
        if self.unconfirmed && image && self.is_stored(link)? {
            let name = shown(self.path);
            progress
                .note(&format!("{name}: complete, although the server did not confirm the end"));
            self.set_attributes(link)?;
            return Ok(self.metadata.len());
        }
        let resumes = image && (self.start == UploadStart::WhatIsThere || self.begun);
        let offset = if resumes { self.place_to_resume(link, progress)? } else { 0 };
        let sent = match self.send(link, offset, progress) {
            // The server refuses the rest of the file, so it gets the whole file.
            Err(error) if offset > 0 && error.is_refused_for_good() => {
                progress.note(&format!("{error}; uploading the whole file again"));
                self.send(link, 0, progress)?
            }
            sent => sent?,
        };
        let checked = if image { self.check(link) } else { Ok(()) };
        match checked.and_then(|()| self.set_attributes(link)) {
            // The server has confirmed the upload, so the file is stored.
            Err(error) if error.is_connection_lost() => {
                progress.note(&format!("the file is stored, but was not verified: {error}"));
                Ok(sent)
            }
            checked => checked.map(|()| sent),
        }
    }

    /// Returns true if the server has the whole file, as far as it knows.
    fn is_stored(&self, link: &mut Link) -> Result<bool, ClientError> {
        let length = self.metadata.len();
        let is_whole = link.optional(|link| link.size(self.path))? == Some(length);
        Ok(is_whole
            && link.verify(self.path, &self.file, self.local, length, None)?
                != Comparison::Different)
    }

    /// Returns the number of bytes on the server that are the beginning of this file.
    fn place_to_resume(
        &self,
        link: &mut Link,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let there = link.optional(|link| link.size(self.path))?.unwrap_or_default();
        if there == 0 {
            return Ok(0);
        }
        if there > self.metadata.len() {
            progress.note(
                "the remote file is longer than the local file; uploading the whole file again",
            );
            return Ok(0);
        }
        let mut compared = link.compare(self.path, &self.file, self.local, there, Whole::No)?;
        if compared == Comparison::Unknown {
            compared = self.compare_end(link, there)?;
        }
        match compared {
            Comparison::Same => Ok(there),
            // These bytes are of this upload, and no more than it has sent.
            Comparison::Unknown if self.begun && there <= self.reached => Ok(there),
            Comparison::Unknown if self.start == UploadStart::WhatIsThere => {
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
    fn compare_end(&self, link: &mut Link, there: u64) -> Result<Comparison, ClientError> {
        let count = there.min(OVERLAP_BYTES);
        let mut ours = vec![0; usize::try_from(count).unwrap_or_default()];
        let read = self.file.read_exact_at(&mut ours, there - count);
        read.map_err(|error| ClientError::local(self.local, &error))?;
        link.set_type(Type::Image)?;
        let mut theirs = Vec::new();
        let fetched = link.optional(|link| {
            let command = Command::Retrieve(name(self.path)?);
            link.receive(&command, there - count, &about("reput", self.path), |chunk| {
                // One byte too many is enough to show a difference.
                let room = (ours.len() + 1).saturating_sub(theirs.len());
                theirs.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
                Ok(())
            })
        })?;
        Ok(match fetched {
            None => Comparison::Unknown,
            Some(_) if theirs == ours => Comparison::Same,
            Some(_) => Comparison::Different,
        })
    }

    /// Sends the file from an offset on.
    fn send(
        &mut self,
        link: &mut Link,
        offset: u64,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let length = self.metadata.len();
        let mode = link.mode_to_choose();
        link.foresee_typed(Some(self.representation), mode)?;
        link.set_type(self.representation)?;
        self.announce(link, length)?;
        let path = name(self.path)?;
        // A server without REST may still append.
        let (command, restart) = if offset > 0 && !link.support.restart {
            (Command::Append(path), 0)
        } else {
            (Command::Store(path), offset)
        };
        let mut begun = false;
        let is_summed = offset == 0 && self.representation == Type::Image;
        let mut checksum = link.checksum_on_the_way(length).filter(|_| is_summed);
        let (mut bytes, mut converter, mut raw) = (offset, ToWire::default(), Vec::new());
        progress.progress(offset, Some(length));
        let what = about("put", self.path);
        let sent = link.transmit(&command, restart, &what, |chunk, room| {
            progress.progress(bytes, Some(length));
            begun = true;
            let left = usize::try_from(length - bytes).unwrap_or(usize::MAX);
            if left == 0 && self.has_changed()? {
                // Checked before the server receives the end of the data.
                return Err(changed(self.local));
            }
            raw.resize(left.min(room), 0);
            self.file.read_exact_at(&mut raw, bytes).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(self.local),
                _ => ClientError::local(self.local, &error),
            })?;
            bytes += raw.len() as u64;
            if let Some(checksum) = &mut checksum {
                checksum.update(&raw);
            }
            match self.representation {
                Type::Image => chunk.append(&mut raw),
                Type::Ascii => converter.convert(&raw, chunk),
            }
            Ok(())
        });
        self.reached = self.reached.max(bytes);
        self.begun |= begun;
        self.unconfirmed = sent.as_ref().is_err_and(|error| error.is_unconfirmed);
        sent?;
        self.sent = checksum;
        Ok(bytes)
    }

    /// Sends ALLO with the length: in stream mode nothing else shows a server that an upload is incomplete.
    fn announce(&self, link: &mut Link, length: u64) -> Result<(), ClientError> {
        link.choose_mode()?;
        let needed =
            link.parameters.mode == Some(Mode::Stream) && self.representation == Type::Image;
        if needed && link.support.allocate {
            link.support.allocate = link.ask(&Command::Allocate(length))?.code.is_completion();
        }
        Ok(())
    }

    /// Checks the file by its length, and by a checksum where the server computes one. After a first mismatch the file
    /// is sent again from the start, once.
    fn check(&mut self, link: &mut Link) -> Result<(), ClientError> {
        let length = self.metadata.len();
        self.ask_ahead(link)?;
        // A server that moves files away as they arrive has no size to report.
        let there = link.optional(|link| link.size(self.path))?;
        let fits = match there {
            Some(there) if there != length => false,
            // Without SIZE, nothing shows whether the server used the block mode that it accepted.
            None => link.mode() == Mode::Stream || link.support.proven_blocks,
            Some(_) => {
                let sent = self.sent.take();
                link.verify(self.path, &self.file, self.local, length, sent)?
                    != Comparison::Different
            }
        };
        if fits {
            return Ok(());
        }
        link.distrust_blocks();
        let message = format!("{} on the server differs from the local file", shown(self.path));
        let error = ClientError::new(ErrorKind::Incomplete, message);
        // The next try starts at the beginning, not after the wrong bytes.
        self.begun = false;
        self.start = UploadStart::Beginning;
        let again = !std::mem::replace(&mut self.distrusted, true);
        Err(if again { error } else { error.at_last() })
    }

    /// Sends all commands that follow the data at once: one round trip instead of four.
    fn ask_ahead(&self, link: &mut Link) -> Result<(), ClientError> {
        let length = self.metadata.len();
        let path = name(self.path)?;
        let verification = link.commands_to_verify(&path, length);
        if verification.is_empty() {
            return Ok(());
        }
        let mut commands = vec![Command::Size(path)];
        commands.extend(verification);
        commands.extend(self.attributes(link)?);
        link.pipeline(Type::Image, [commands.iter().map(Command::encode).collect()]);
        Ok(())
    }

    /// Returns the commands that give the remote file the time and the mode of the local one, where the server has them.
    fn attributes(&self, link: &Link) -> Result<Vec<Command>, ClientError> {
        let path = name(self.path)?;
        let modified = self.metadata.modified().ok().filter(|_| link.features.set_modified);
        let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
        let time = modified
            .map(|time| Command::SetModificationTime { time: TimeValue(time), path: path.clone() });
        let mode = self.mode.map(|mode| Command::Site(Site::ChangeMode { mode, path }));
        Ok(time.into_iter().chain(mode).collect())
    }

    /// Gives the remote file the time and the mode of the local one. Best effort: a server that refuses this has the
    /// complete file nevertheless.
    fn set_attributes(&self, link: &mut Link) -> Result<(), ClientError> {
        self.attributes(link)?.iter().try_for_each(|command| link.ask(command).map(drop))
    }

    /// Returns true if the local file has changed since the start of the upload.
    fn has_changed(&self) -> Result<bool, ClientError> {
        let now = self.file.metadata().map_err(|error| ClientError::local(self.local, &error))?;
        let state = |of: &Metadata| (of.len(), of.mtime(), of.mtime_nsec());
        Ok(state(&now) != state(&self.metadata))
    }
}

fn changed(local: &Path) -> ClientError {
    let message = format!("{} changed during the upload; upload it again", shown_path(local));
    ClientError::new(ErrorKind::Local, message)
}
