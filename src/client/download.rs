//! Downloads: a file is fetched into a part, resumed where it stopped, checked, and given its name.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::ftp::ascii::FromWire;
use crate::ftp::command::{Command, Type};

use super::checks::{Comparison, Whole};
use super::files::{Progress, about, destination, name, shown, shown_path};
use super::part::{Found, Identity, Part};
use super::{Client, ClientError, ErrorKind};

/// Number of bytes of the local part that are fetched again and compared before a download continues.
const OVERLAP_BYTES: usize = 64 * 1024;

/// Size and time of a remote file from a listing (MLSD), so that the client need not ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each name says it")]
pub struct RemoteMetadata {
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
}

/// A download, with the state that is kept from one try to the next.
struct Download<'a> {
    path: &'a [u8],
    local: &'a Path,
    representation: Type,
    known: Option<RemoteMetadata>,
    /// Set once the result has failed its check; a second failure is final.
    distrusted: bool,
}

impl Client {
    /// Fetches a file into `local`, and returns the number of its bytes. Until the file is complete its name has the
    /// suffix `.part`, and a later call resumes it. Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when the file did not arrive completely, whatever the server's last reply was.
    pub fn download(
        &mut self,
        path: &[u8],
        local: &Path,
        representation: Type,
        known: Option<RemoteMetadata>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let local = &destination(local)?;
        let mut download = Download { path, local, representation, known, distrusted: false };
        self.reached = 0;
        self.recovering(progress, |client, progress| client.try_download(&mut download, progress))
    }

    /// Fetches a file as [`Self::download`] does, but takes the existing file `local` for its beginning.
    pub fn resume_download(
        &mut self,
        path: &[u8],
        local: &Path,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let target = &destination(local)?;
        let known = self.recovering(progress, |client, _| client.facts(path))?;
        let here = fs::metadata(target).map_or(0, |found| found.len());
        match known.size {
            _ if here == 0 => {}
            None => progress.note(
                "the server does not report the size of the file; downloading the whole file again",
            ),
            Some(size) if size < here => {
                progress.note("the local file is longer than the remote file; downloading the whole file again");
            }
            Some(_) => {
                let RemoteMetadata { size, modified } = known;
                let identity = Identity::new(&self.place, path, size, modified, Type::Image);
                Part::copy_of(target, &identity)?;
            }
        }
        self.download(path, local, Type::Image, Some(known), progress)
    }

    /// Asks for size and time. A server without SIZE or MDTM replies 5xx; then only the end of the data marks the end
    /// of the file.
    fn facts(&mut self, path: &[u8]) -> Result<RemoteMetadata, ClientError> {
        let size = self.optional(|client| client.size(path))?;
        Ok(RemoteMetadata { size, modified: self.optional(|client| client.modified(path))? })
    }

    fn try_download(
        &mut self,
        download: &mut Download<'_>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let facts = match download.known.take() {
            Some(known) => known,
            None => self.facts(download.path)?,
        };
        let RemoteMetadata { size, modified } = facts;
        let identity =
            Identity::new(&self.place, download.path, size, modified, download.representation);
        let (part, found) = Part::open(download.local, &identity)?;
        let can_resume = download.representation == Type::Image && facts.size.is_some();
        let have = match found {
            Found::Same(have) if can_resume && facts.size >= Some(have) => have,
            Found::Unproven(have) if can_resume && facts.size >= Some(have) => {
                self.proven(download, &part, have, progress)?
            }
            Found::Other => {
                let name = shown(download.path);
                progress.note(&format!(
                    "{name} has changed on the server; downloading the whole file again"
                ));
                0
            }
            Found::Same(_) | Found::Unproven(_) | Found::Nothing => 0,
        };
        part.cut(have)?;
        let fetched = self.fetch(download, &part, have, facts, progress);
        let outcome = match fetched {
            Ok(bytes) => self.check(download, &part, have, bytes, facts, progress),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(bytes) => {
                let permissions =
                    fs::metadata(download.local).ok().map(|found| found.permissions());
                part.complete(facts.modified, permissions)?;
                Ok(bytes)
            }
            Err(error) => Err(keep(error, part)),
        }
    }

    /// Returns the offset to resume at: the length of the part if its checksum matches the server's, else 0.
    fn proven(
        &mut self,
        download: &Download<'_>,
        part: &Part,
        have: u64,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        self.set_type(Type::Image)?;
        let compared = self.compare(download.path, part.file(), part.path(), have, Whole::No)?;
        if compared == Comparison::Same {
            return Ok(have);
        }
        let place = shown_path(part.path());
        progress.note(&format!(
            "{place} may come from another server; downloading the whole file again"
        ));
        Ok(0)
    }

    /// Receives the rest of a file after the bytes in the part.
    fn fetch(
        &mut self,
        download: &Download<'_>,
        part: &Part,
        have: u64,
        facts: RemoteMetadata,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        if have > 0 && !self.restarts {
            progress.note("the server cannot resume; downloading the whole file again");
            part.clear()?;
            return self.fetch(download, part, 0, facts, progress);
        }
        self.set_type(download.representation)?;
        let image = download.representation == Type::Image;
        let total = facts.size.filter(|_| image);
        let overlap = usize::try_from(have).unwrap_or(usize::MAX).min(OVERLAP_BYTES);
        let expected = part.read_before(have, overlap)?;
        let (mut expected, mut differs) = (expected.as_slice(), false);
        let (mut bytes, mut stored) = (have, have);
        let (mut converter, mut text) = (FromWire::default(), Vec::new());
        progress.progress(have, total);
        let command = Command::Retrieve(name(download.path)?);
        let what = about("get", download.path);
        let received = self.receive(&command, have - overlap as u64, &what, |chunk| {
            let (again, chunk) = chunk.split_at(chunk.len().min(expected.len()));
            differs = !expected.starts_with(again);
            if differs {
                return Err(ClientError::new(ErrorKind::Local, "the data differs"));
            }
            expected = expected.get(again.len()..).unwrap_or_default();
            bytes += chunk.len() as u64;
            progress.progress(bytes, total);
            let chunk = if image {
                chunk
            } else {
                text.clear();
                converter.convert(chunk, &mut text);
                &text
            };
            part.write_at(chunk, stored)?;
            stored += chunk.len() as u64;
            Ok(())
        });
        self.reached = self.reached.max(bytes);
        if have > 0 && (differs || !self.restarts) {
            let why = if differs {
                "the remote file differs from the partial download"
            } else {
                "the server cannot resume"
            };
            progress.note(&format!("{why}; downloading the whole file again"));
            part.clear()?;
            return self.fetch(download, part, 0, facts, progress);
        }
        received?;
        text.clear();
        converter.finish(&mut text);
        part.write_at(&text, stored)?;
        Ok(bytes)
    }

    /// Checks the file by its length, and by a checksum where the server computes one, else by its time. After a first
    /// mismatch the file is fetched again from the start, once.
    fn check(
        &mut self,
        download: &mut Download<'_>,
        part: &Part,
        have: u64,
        bytes: u64,
        facts: RemoteMetadata,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let path = download.path;
        if download.representation == Type::Ascii {
            return Ok(bytes);
        }
        match facts.size {
            Some(size) if bytes < size => {
                let message = format!("{}: {bytes} of {size} bytes arrived", shown(path));
                return Err(ClientError::new(ErrorKind::Incomplete, message));
            }
            Some(size) if bytes > size && have == 0 => {
                progress.note(&format!("{} grew during the download", shown(path)));
                return Ok(bytes);
            }
            _ => {}
        }
        let grew = facts.size.is_some_and(|size| bytes > size);
        let compared = self.compare(path, part.file(), part.path(), bytes, Whole::Yes)?;
        let fits = match compared {
            Comparison::Same => true,
            Comparison::Different => false,
            // The beginning belongs to an older version of the file.
            Comparison::Unknown if grew => false,
            // A file that was changed during the download may be half old, half new.
            Comparison::Unknown => {
                facts.modified.is_none()
                    || self.optional(|client| client.modified(path))? == facts.modified
            }
        };
        if fits {
            return Ok(bytes);
        }
        part.clear()?;
        let message = format!(
            "{} differs from the remote file, which changed during the download",
            shown(path)
        );
        let error = ClientError::new(ErrorKind::Incomplete, message);
        let again = !std::mem::replace(&mut download.distrusted, true);
        Err(if again { error } else { error.at_last() })
    }
}

/// Removes the part of a transfer that never began. Keeps the part of one that ended early, and adds its path to the
/// error.
fn keep(error: ClientError, part: Part) -> ClientError {
    let place = shown_path(part.path());
    let kept = part.settle() > 0;
    match error.kind {
        ErrorKind::NoConnection | ErrorKind::Incomplete if kept => {
            error.with(ErrorKind::Incomplete, &format!("; the received part is kept as {place}"))
        }
        ErrorKind::Interrupted if kept => {
            error.with(ErrorKind::Interrupted, &format!("; get it again to resume from {place}"))
        }
        _ => error,
    }
}
