//! Downloads: a file is fetched into a part, resumed where it stopped, checked, and given its name.

use std::fs;
use std::path::Path;

use crate::ftp::ascii::FromWire;
use crate::ftp::checksum::Checksum;
use crate::ftp::command::{Command, Mode, Type};

use super::checks::{Comparison, Whole};
use super::connection::Client;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind};
use super::identity::{Identity, OVERLAP_BYTES};
use super::link::Link;
use super::metadata::RemoteMetadata;
use super::names::{about, destination, name, shown, shown_path};
use super::part::{Found, Part};
use super::progress::Progress;
use super::transfer::unended;

/// A download, with the state that is kept from one try to the next.
struct Download<'a> {
    server: Endpoint,
    path: &'a [u8],
    local: &'a Path,
    representation: Type,
    /// Size and time, if they are known without a question to the server. A retry asks.
    known: Option<RemoteMetadata>,
    /// Size and time in the current try.
    metadata: RemoteMetadata,
    /// Furthest offset reached in the file.
    reached: u64,
    /// Set once the result has failed its check; a second failure is final.
    distrusted: bool,
    /// Set once all bytes have come, and only the final reply has not.
    unconfirmed: bool,
    /// Checksum of the part, if all its bytes were added to it while they arrived.
    arrived: Option<Checksum>,
}

impl Client {
    /// Fetches a file into `local`, and returns the number of its bytes. Until the file is complete its name has the
    /// suffix `.part`, and a later call resumes it. Lost connections are retried as set in [`super::Options`].
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when the file did not arrive completely, whatever the server's last reply was.
    pub fn fetch(
        &mut self,
        path: &[u8],
        local: &Path,
        representation: Type,
        known: Option<RemoteMetadata>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        self.finish_download(path, local, representation, known, None, progress)
    }

    /// Fetches the rest of a file as [`Self::fetch`] does. `arrived` is the checksum of the part, if it is known.
    pub(super) fn finish_download(
        &mut self,
        path: &[u8],
        local: &Path,
        representation: Type,
        known: Option<RemoteMetadata>,
        arrived: Option<Checksum>,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let local = &destination(local)?;
        let mut download = Download {
            server: self.connector().server.clone(),
            path,
            local,
            representation,
            known,
            metadata: RemoteMetadata::default(),
            reached: 0,
            distrusted: false,
            unconfirmed: false,
            arrived,
        };
        self.set_reached(0);
        let outcome = self.with_retries(progress, |client, progress| {
            let outcome = download.attempt(client.link()?, progress);
            client.set_reached(download.reached);
            outcome
        });
        match outcome {
            // There is no other connection to compare the file by, but nothing is missing.
            Err(error) if error.is_connection_lost() && download.unconfirmed => {
                download.finish_unconfirmed(progress)
            }
            outcome => outcome,
        }
    }

    /// Fetches a file as [`Self::fetch`] does, but takes the existing file `local` for its beginning.
    pub fn resume_download(
        &mut self,
        path: &[u8],
        local: &Path,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let target = &destination(local)?;
        let known = self.with_retries(progress, |client, _| client.link()?.metadata(path))?;
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
                let identity =
                    Identity::new(&self.connector().server, path, size, modified, Type::Image);
                if identity.can_resume {
                    Part::copy_of(target, &identity)?;
                }
            }
        }
        self.fetch(path, local, Type::Image, Some(known), progress)
    }
}

impl Download<'_> {
    /// Fetches the file, or the rest of it, once.
    fn attempt(
        &mut self,
        link: &mut Link,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        self.metadata = match self.known.take() {
            Some(known) => known,
            None => link.metadata(self.path)?,
        };
        let RemoteMetadata { size, modified } = self.metadata;
        let identity = Identity::new(&self.server, self.path, size, modified, self.representation);
        let (mut part, found) = Part::open(self.local, &identity)?;
        let can_resume = self.representation == Type::Image && size.is_some();
        let have = match found {
            Found::Same(have) if can_resume && size >= Some(have) => have,
            Found::Unproven(have) if can_resume && size >= Some(have) => {
                self.proven(link, &part, have, progress)?
            }
            Found::Other => {
                let name = shown(self.path);
                progress.note(&format!(
                    "{name} has changed on the server; downloading the whole file again"
                ));
                0
            }
            Found::Same(_) | Found::Unproven(_) | Found::Nothing => 0,
        };
        part.cut(have)?;
        let fetched = if self.unconfirmed && size == Some(have) {
            // The connection was lost before the final reply only.
            self.note_unconfirmed(progress);
            Ok(have)
        } else if size == Some(have) && self.is_whole(link, &part, have)? {
            let permissions = fs::metadata(self.local).ok().map(|found| found.permissions());
            return part.complete(modified, permissions).map(|()| have);
        } else {
            self.fetch(link, &part, have, progress)
        };
        let outcome = match fetched {
            Ok(bytes) => self.check(link, &part, have, bytes, progress).map(|()| bytes),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(bytes) => {
                let permissions = fs::metadata(self.local).ok().map(|found| found.permissions());
                part.complete(modified, permissions)?;
                Ok(bytes)
            }
            Err(error) => {
                part.identify(&identity);
                Err(keep(error, part))
            }
        }
    }

    /// Completes a file of which all bytes have come, and whose server can no longer be asked.
    fn finish_unconfirmed(&self, progress: &mut impl Progress) -> Result<u64, ClientError> {
        let RemoteMetadata { size, modified } = self.metadata;
        let identity = Identity::new(&self.server, self.path, size, modified, self.representation);
        let (part, found) = Part::open(self.local, &identity)?;
        match (found, size) {
            (Found::Same(have), Some(size)) if have == size => {
                self.note_unconfirmed(progress);
                let permissions = fs::metadata(self.local).ok().map(|found| found.permissions());
                part.complete(modified, permissions)?;
                Ok(size)
            }
            _ => {
                let message = format!("{}: the server did not confirm the end", shown(self.path));
                Err(keep(ClientError::new(ErrorKind::Incomplete, message), part))
            }
        }
    }

    fn note_unconfirmed(&self, progress: &mut impl Progress) {
        let name = shown(self.path);
        progress.note(&format!("{name}: complete, although the server did not confirm the end"));
    }

    /// Returns true if a part with all bytes is proven by a checksum, so that nothing need be fetched again.
    fn is_whole(&mut self, link: &mut Link, part: &Part, have: u64) -> Result<bool, ClientError> {
        let arrived = self.arrived.take();
        Ok(have > 0
            && link.verify(self.path, part.file(), part.path(), have, arrived)? == Comparison::Same)
    }

    /// Returns the offset to resume at: the length of the part if its checksum matches the server's, else 0.
    fn proven(
        &self,
        link: &mut Link,
        part: &Part,
        have: u64,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        link.set_type(Type::Image)?;
        let compared = link.compare(self.path, part.file(), part.path(), have, Whole::No)?;
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
        link: &mut Link,
        part: &Part,
        have: u64,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        if have > 0 && !link.support.restart {
            progress.note("the server cannot resume; downloading the whole file again");
            part.clear()?;
            return self.fetch(link, part, 0, progress);
        }
        let overlap = usize::try_from(have).unwrap_or(usize::MAX).min(OVERLAP_BYTES);
        let command = Command::Retrieve(name(self.path)?);
        let from = have - overlap as u64;
        let total = self.metadata.size.filter(|_| self.representation == Type::Image);
        let summed = total.filter(|_| have == 0);
        let verification = match (&command, summed) {
            (Command::Retrieve(path), Some(size)) => link.commands_to_verify(path, size),
            _ => Vec::new(),
        };
        link.foresee_transfer(Some(self.representation), &command, from.into(), verification)?;
        link.set_type(self.representation)?;
        let mut arrival = Arrival {
            part,
            total,
            expected: &part.read_before(have, overlap)?,
            differs: false,
            bytes: have,
            stored: have,
            checksum: summed.and_then(|size| link.checksum_on_the_way(size)),
            converter: (self.representation == Type::Ascii).then(FromWire::default),
            text: Vec::new(),
        };
        progress.progress(have, total);
        let what = about("get", self.path);
        let received = link.receive(&command, from, &what, |chunk| arrival.store(chunk, progress));
        self.reached = self.reached.max(arrival.bytes);
        if have > 0 && (arrival.differs || !link.support.restart) {
            let why = if arrival.differs {
                "the remote file differs from the partial download"
            } else {
                "the server cannot resume"
            };
            progress.note(&format!("{why}; downloading the whole file again"));
            part.clear()?;
            return self.fetch(link, part, 0, progress);
        }
        let ending = received.inspect_err(|error| {
            self.unconfirmed =
                error.is_unconfirmed && total.is_some_and(|total| total == arrival.bytes);
        })?;
        if let Some(doubt) = ending.doubt() {
            let name = shown(self.path);
            if total.is_none_or(|total| total != arrival.bytes) {
                return Err(unended(&name, doubt));
            }
            progress.note(&format!("{name}: {doubt}; the size fits"));
        }
        self.arrived = arrival.checksum.take();
        arrival.finish()
    }

    /// Checks the file by its length, and by a checksum where the server computes one, else by its time. After a first
    /// mismatch the file is fetched again from the start, once.
    fn check(
        &mut self,
        link: &mut Link,
        part: &Part,
        have: u64,
        bytes: u64,
        progress: &mut impl Progress,
    ) -> Result<(), ClientError> {
        let RemoteMetadata { size, modified } = self.metadata;
        if self.representation == Type::Ascii {
            return Ok(());
        }
        match size {
            Some(size) if bytes < size => {
                link.distrust_blocks();
                let message = format!("{}: {bytes} of {size} bytes arrived", shown(self.path));
                return Err(ClientError::new(ErrorKind::Incomplete, message));
            }
            Some(size) if bytes == size => link.support.proven_blocks |= link.mode() == Mode::Block,
            Some(size) if bytes > size && have == 0 => {
                progress.note(&format!("{} grew during the download", shown(self.path)));
                return Ok(());
            }
            _ => {}
        }
        let grew = size.is_some_and(|size| bytes > size);
        let arrived = self.arrived.take();
        let fits = match link.verify(self.path, part.file(), part.path(), bytes, arrived)? {
            Comparison::Same => true,
            Comparison::Different => false,
            // The beginning belongs to an older version of the file.
            Comparison::Unknown if grew => false,
            // A file that was changed during the download may be half old, half new.
            Comparison::Unknown => {
                modified.is_none() || link.optional(|link| link.modified(self.path))? == modified
            }
        };
        if fits {
            return Ok(());
        }
        link.distrust_blocks();
        part.clear()?;
        let message = format!(
            "{} differs from the remote file, which changed during the download",
            shown(self.path)
        );
        let error = ClientError::new(ErrorKind::Incomplete, message);
        let again = !std::mem::replace(&mut self.distrusted, true);
        Err(if again { error } else { error.at_last() })
    }
}

/// Data that arrives, on its way into a part.
struct Arrival<'a> {
    part: &'a Part,
    total: Option<u64>,
    /// Bytes of the part that the server sends again, and that must not differ.
    expected: &'a [u8],
    /// Set once they differ.
    differs: bool,
    /// Number of bytes of the remote file so far.
    bytes: u64,
    /// Number of bytes of the part so far.
    stored: u64,
    /// Checksum of the bytes so far.
    checksum: Option<Checksum>,
    /// The converter of line ends, for text.
    converter: Option<FromWire>,
    text: Vec<u8>,
}

impl Arrival<'_> {
    fn store(&mut self, chunk: &[u8], progress: &mut impl Progress) -> Result<(), ClientError> {
        let (again, chunk) = chunk.split_at(chunk.len().min(self.expected.len()));
        self.differs = !self.expected.starts_with(again);
        if self.differs {
            return Err(ClientError::new(ErrorKind::Local, "the data differs"));
        }
        self.expected = self.expected.get(again.len()..).unwrap_or_default();
        self.bytes += chunk.len() as u64;
        progress.progress(self.bytes, self.total);
        if let Some(checksum) = &mut self.checksum {
            checksum.update(chunk);
        }
        let chunk = match &mut self.converter {
            None => chunk,
            Some(converter) => {
                self.text.clear();
                converter.convert(chunk, &mut self.text);
                &self.text
            }
        };
        self.part.write_at(chunk, self.stored)?;
        self.stored += chunk.len() as u64;
        Ok(())
    }

    /// Stores what the converter has held back, and returns the number of bytes of the remote file.
    fn finish(mut self) -> Result<u64, ClientError> {
        if let Some(mut converter) = self.converter.take() {
            self.text.clear();
            converter.finish(&mut self.text);
            self.part.write_at(&self.text, self.stored)?;
        }
        Ok(self.bytes)
    }
}

/// Removes the part of a transfer that never began. Keeps the part of one that ended early, and adds its path to the
/// error.
fn keep(error: ClientError, part: Part) -> ClientError {
    let place = shown_path(part.path());
    let is_kept = part.settle() > 0;
    match error.kind {
        ErrorKind::NoConnection | ErrorKind::Incomplete if is_kept => {
            error.with(ErrorKind::Incomplete, &format!("; the received part is kept as {place}"))
        }
        ErrorKind::Interrupted if is_kept => {
            error.with(ErrorKind::Interrupted, &format!("; get it again to resume from {place}"))
        }
        _ => error,
    }
}
