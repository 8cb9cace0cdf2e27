//! Downloads of one file over several connections, each of which fetches ranges of it (`pget`).
//!
//! A server with RANG sends just the range. Another one gets REST, and is stopped at the end of the range.
//!
//! All ranges go into one part. Its identity lists the ranges that are missing, so that a kill at any moment loses
//! little, and an ordinary download of the file continues at the first of them. When no range is missing, the part is
//! completed by an ordinary download, which compares its end and its checksum.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::ftp::checksum::Checksum;
use crate::ftp::command::{Command, Range as Bytes, Type};
use crate::ftp::dialogue::Span;

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::identity::{Identity, write_identity};
use super::link::Link;
use super::metadata::RemoteMetadata;
use super::names::{about, destination, name, shown};
use super::parallel::{Event, FileProgress, Reporter, run_jobs};
use super::part::Part;
use super::progress::Progress;

/// Minimum size of a range in bytes: a smaller one takes longer to begin than to fetch.
const RANGE_BYTES_MIN: u64 = 1024 * 1024;

impl Client {
    /// Fetches a file as [`Self::fetch`] does, over at most `connections` connections. Uses only one where the server
    /// does not report the size of the file, or cannot begin in its middle.
    ///
    /// # Errors
    /// As for [`Self::fetch`]. A later call resumes, with any number of connections.
    pub fn download_in_ranges(
        &mut self,
        path: &[u8],
        local: &Path,
        connections: usize,
        progress: &mut impl Progress,
    ) -> Result<u64, ClientError> {
        let known = self.with_retries(progress, |client, _| client.link()?.metadata(path))?;
        let restart = self.link().is_ok_and(|link| link.support.restart);
        let mut arrived = None;
        if let Some(size) = known.size
            && restart
            && connections > 1
            && size >= 2 * RANGE_BYTES_MIN
        {
            match self.fetch_ranges(path, local, connections, &known, progress) {
                Err(error) if error.is_refused_for_good() => {
                    progress.note(&format!("{error}; continuing with one connection"));
                }
                fetched => arrived = fetched?,
            }
        }
        self.finish_download(path, local, Type::Image, Some(known), arrived, progress)
    }

    /// Fetches the missing ranges into the part. Returns the checksum of the file, if all of it has come now.
    fn fetch_ranges(
        &mut self,
        path: &[u8],
        local: &Path,
        connections: usize,
        known: &RemoteMetadata,
        progress: &mut impl Progress,
    ) -> Result<Option<Checksum>, ClientError> {
        let RemoteMetadata { size, modified } = *known;
        let server = &self.connector().server;
        let identity = Identity::new(server, path, size, modified, Type::Image);
        let size = size.unwrap_or_default();
        let local = destination(local)?;
        let (part, missing) = Part::open_ranges(&local, &identity, size)?;
        let checksum = self.link()?.checksum_on_the_way(size);
        let ranges = Ranges::new(split(missing, connections), checksum.as_ref());
        let mut note = RangeNote::create(&part, &identity)?;
        note.write(&ranges)?;
        let before = size - ranges.left();
        progress.progress(before, Some(size));
        let jobs: VecDeque<usize> = (0..ranges.0.len()).collect();
        let work = |client: &mut Self, job: &mut usize, report: &Reporter<'_, usize, ()>| {
            let Some(range) = ranges.0.get(*job) else { return Ok(()) };
            let mut bytes = report.progress(shown(path));
            fetch_range(client, path, range, &part, &mut bytes)
        };
        let mut written = Ok(());
        let outcome = run_jobs(self, connections, jobs, work, |event, _| match event {
            Event::Outcome(()) => {}
            Event::Note(note) => progress.note(&note),
            Event::Moved(moved) => {
                progress.progress((before + moved).min(size), Some(size));
                if let Err(error) = note.write(&ranges) {
                    written = Err(error);
                }
            }
        });
        note.write(&ranges)?;
        written?;
        outcome.map_err(|error| {
            let place = shown(part.path().as_os_str().as_encoded_bytes());
            let kind = error.kind;
            error.with(kind, &format!("; get it again to resume from {place}"))
        })?;
        // The part is now an ordinary one.
        write_identity(part.identity_path(), identity.text())?;
        Ok(ranges.checksum(size))
    }
}

/// Fetches one range, or the rest of it.
fn fetch_range(
    client: &mut Client,
    path: &[u8],
    range: &MissingRange,
    part: &Part,
    bytes: &mut FileProgress<'_, usize, ()>,
) -> Result<(), ClientError> {
    let begun = range.at.load(Ordering::Relaxed);
    client.with_retries(bytes, |client, bytes| {
        let from = range.at.load(Ordering::Relaxed);
        if from >= range.end {
            return Ok(());
        }
        let link = client.link()?;
        let uses_range = link.features.ranges;
        let mut arrival = RangeArrival::new(range, part, from, begun);
        let received = arrival.receive(link, path, uses_range, bytes);
        let lacks_range = uses_range && (arrival.is_over || !link.features.ranges);
        if lacks_range && !link.is_dead() {
            // The server refuses RANG, or sends more than the range: it may have sent it from another offset, too.
            link.features.ranges = false;
            range.at.store(from, Ordering::Relaxed);
            arrival = RangeArrival::new(range, part, from, begun);
            let received = arrival.receive(link, path, false, bytes);
            client.set_reached(arrival.at);
            return arrival.outcome(received, path);
        }
        client.set_reached(arrival.at);
        arrival.outcome(received, path)
    })
}

/// Data of a range that arrives.
struct RangeArrival<'a> {
    range: &'a MissingRange,
    part: &'a Part,
    /// Offset of the next byte.
    at: u64,
    /// Offset at which the job began.
    begun: u64,
    /// The server has sent more than the range.
    is_over: bool,
    /// Checksum of the bytes of the range up to `at`.
    checksum: Option<Checksum>,
}

impl<'a> RangeArrival<'a> {
    fn new(range: &'a MissingRange, part: &'a Part, at: u64, begun: u64) -> Self {
        let checksum = range.checksum.lock().clone();
        Self { range, part, at, begun, is_over: false, checksum }
    }

    /// Receives the range by RANG, or by REST and the end of the data connection.
    fn receive(
        &mut self,
        link: &mut Link,
        path: &[u8],
        uses_range: bool,
        bytes: &mut FileProgress<'_, usize, ()>,
    ) -> Result<(), ClientError> {
        let command = Command::Retrieve(name(path)?);
        let (first, end) = (self.at, self.range.end);
        let span = if uses_range {
            Span::Range(Bytes { first, last: end - 1 })
        } else {
            Span::From(first)
        };
        link.foresee_transfer(Some(Type::Image), &command, span, Vec::new())?;
        link.set_type(Type::Image)?;
        let received = link.receive(&command, span, &about("pget", path), |chunk| {
            let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let wanted = chunk.get(..left).unwrap_or(chunk);
            if let Some(checksum) = &mut self.checksum {
                checksum.update(wanted);
            }
            self.part.write_at(wanted, self.at)?;
            self.at += wanted.len() as u64;
            self.range.at.store(self.at, Ordering::Relaxed);
            bytes.progress(self.at - self.begun, None);
            self.is_over = wanted.len() < chunk.len();
            if self.is_over {
                // The rest of the file belongs to other ranges: the server is stopped by closing the data connection.
                Err(ClientError::new(ErrorKind::Local, "end of the range"))
            } else {
                Ok(())
            }
        });
        received.map(drop)
    }

    /// Returns the outcome of the range, and keeps its checksum for the rest of it.
    fn outcome(self, received: Result<(), ClientError>, path: &[u8]) -> Result<(), ClientError> {
        *self.range.checksum.lock() = self.checksum;
        match received {
            // The server may complain about the closed data connection.
            _ if self.at == self.range.end => Ok(()),
            Ok(()) => {
                let message = format!("{}: the file ended early", shown(path));
                Err(ClientError::new(ErrorKind::Incomplete, message))
            }
            Err(error) => Err(error),
        }
    }
}

/// A range that is not fetched yet, up to `end`.
#[derive(Debug)]
struct MissingRange {
    /// Offset of the first missing byte.
    at: AtomicU64,
    end: u64,
    /// Offset of the first byte that was missing.
    start: u64,
    /// Checksum of the bytes that were missing, up to the end of the last try.
    checksum: Mutex<Option<Checksum>>,
}

/// The ranges of a download.
#[derive(Debug)]
struct Ranges(Vec<MissingRange>);

impl Ranges {
    /// Creates the ranges, whose bytes are added to this checksum as they arrive.
    fn new(ranges: Vec<Range<u64>>, checksum: Option<&Checksum>) -> Self {
        let missing = |Range { start, end }: Range<u64>| MissingRange {
            at: AtomicU64::new(start),
            end,
            start,
            checksum: Mutex::new(checksum.cloned()),
        };
        Self(ranges.into_iter().map(missing).collect())
    }

    /// Returns the checksum of a file of this size; `None` if some of it had come before, or the checksums of ranges cannot
    /// be put together.
    fn checksum(&self, size: u64) -> Option<Checksum> {
        let mut whole: Option<Checksum> = None;
        let mut end = 0;
        for range in &self.0 {
            let next = range.checksum.lock().clone()?;
            if range.start != end || range.at.load(Ordering::Relaxed) != range.end {
                return None;
            }
            whole = Some(match whole {
                Some(whole) => whole.followed_by(&next)?,
                None => next,
            });
            end = range.end;
        }
        whole.filter(|_| end == size)
    }

    /// Returns what is missing now. A range that is complete is empty.
    fn missing(&self) -> Vec<Range<u64>> {
        self.0.iter().map(|range| range.at.load(Ordering::Relaxed)..range.end).collect()
    }

    /// Returns the number of missing bytes.
    fn left(&self) -> u64 {
        self.missing().iter().map(|range| range.end - range.start).sum()
    }
}

/// The identity of a part, opened for updates of the missing ranges.
#[derive(Debug)]
struct RangeNote<'a> {
    file: File,
    part: &'a Part,
    identity: &'a Identity,
    /// Text written last.
    last: String,
}

impl<'a> RangeNote<'a> {
    fn create(part: &'a Part, identity: &'a Identity) -> Result<Self, ClientError> {
        let path = part.identity_path();
        let mut options = File::options();
        options.write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path).map_err(|error| ClientError::local(path, &error))?;
        Ok(Self { file, part, identity, last: String::new() })
    }

    /// Writes the missing ranges in place. The data of a range is written before, so that a kill loses only progress.
    fn write(&mut self, ranges: &Ranges) -> Result<(), ClientError> {
        let text = self.identity.text_with_missing(&ranges.missing());
        if text != self.last {
            let written = self.file.write_all_at(text.as_bytes(), 0);
            written.map_err(|error| ClientError::local(self.part.identity_path(), &error))?;
            self.last = text;
        }
        Ok(())
    }
}

impl Part {
    /// Opens the part, or creates it, for a download in ranges. Returns the ranges that are missing.
    fn open_ranges(
        local: &Path,
        identity: &Identity,
        size: u64,
    ) -> Result<(Self, Vec<Range<u64>>), ClientError> {
        let (part, marks, known) = Self::claim(local)?;
        let proven = known.filter(|known| known.is_marked && marks.is_marked);
        let missing = match proven {
            Some(known) if known.is_of(identity) => Some(one_range(marks.length..size)),
            Some(known) => known.missing(identity),
            None => None,
        };
        let missing = missing
            .filter(|missing| is_possible(missing, marks.length, size))
            .unwrap_or_else(|| one_range(0..size));
        if missing.contains(&(0..size)) {
            part.clear()?;
        }
        write_identity(part.identity_path(), &identity.text_with_missing(&missing))?;
        part.mark(marks)?;
        Ok((part, missing.into_iter().filter(|range| !range.is_empty()).collect()))
    }
}

fn one_range(range: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(range).collect()
}

/// Returns true if a part of this length can have all bytes but the missing ones.
fn is_possible(missing: &[Range<u64>], length: u64, size: u64) -> bool {
    let mut present_to = size;
    for range in missing.iter().rev() {
        if range.start > range.end || range.end > size {
            return false;
        }
        if range.end == present_to {
            present_to = range.start;
        }
    }
    present_to <= length
}

/// Cuts ranges, so that each connection gets one of about the same size.
fn split(ranges: Vec<Range<u64>>, connections: usize) -> Vec<Range<u64>> {
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let parts = u64::try_from(connections).unwrap_or(u64::MAX).max(1);
    let piece = total.div_ceil(parts).max(RANGE_BYTES_MIN);
    let cut = |range: Range<u64>| {
        let count = (range.end - range.start).div_ceil(piece);
        (0..count).map(move |number| {
            let start = range.start + number * piece;
            start..range.end.min(start + piece)
        })
    };
    ranges.into_iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a list of ranges has one here")]

    use super::*;
    use crate::ftp::checksum::Algorithm;

    #[test]
    fn ranges_are_cut_evenly_and_none_is_small() {
        const MIB: u64 = 1024 * 1024;
        let cut = |ranges: &[Range<u64>], connections| {
            let pieces = split(ranges.to_vec(), connections);
            pieces.iter().map(|range| (range.end - range.start) / MIB).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[0..9 * MIB], 3), [3, 3, 3]);
        assert_eq!(cut(&[0..2 * MIB], 5), [1, 1]);
        assert_eq!(cut(&[0..4 * MIB, 6 * MIB..12 * MIB], 2), [4, 5, 1]);
        assert_eq!(cut(&[], 2), Vec::<u64>::new());
    }

    #[test]
    fn a_part_that_is_too_short_for_its_ranges_is_not_continued() {
        assert!(is_possible(&[2..5, 8..10], 8, 10));
        assert!(!is_possible(&[2..5, 8..10], 7, 10));
        assert!(!is_possible(&[2..5], 9, 10));
        assert!(is_possible(&[0..10], 0, 10));
        assert!(!is_possible(&[Range { start: 3, end: 2 }], 10, 10));
        assert!(!is_possible(&[2..11], 10, 10));
    }

    #[test]
    fn the_checksum_of_all_ranges_is_that_of_the_file_if_none_had_come_before() {
        let nothing = Checksum::new(Algorithm::Crc32);
        let sum = |ranges: &[Range<u64>], fetched: u64| {
            let ranges = Ranges::new(ranges.to_vec(), Some(&nothing));
            for range in &ranges.0 {
                let bytes = vec![7; usize::try_from(range.end - range.start).unwrap()];
                range.checksum.lock().as_mut().unwrap().update(&bytes);
                range.at.store(range.end.min(fetched), Ordering::Relaxed);
            }
            ranges.checksum(9).map(Checksum::finish)
        };
        let mut whole = nothing.clone();
        whole.update(&[7; 9]);
        assert_eq!(sum(&[0..4, 4..8, 8..9], 9), Some(whole.finish()));
        assert_eq!(sum(&[0..4, 4..8, 8..9], 8), None, "incomplete");
        assert_eq!(sum(&[0..4, 8..9], 9), None, "a part had come before");
        assert_eq!(sum(&[4..9], 9), None, "the beginning had come before");
        assert_eq!(sum(&[0..8], 9), None, "the end had come before");
    }
}
