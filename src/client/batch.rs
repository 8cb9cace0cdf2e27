//! Transfers of many files on several connections, for mirrors and for commands with several names.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ftp::command::Type;

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::metadata::RemoteMetadata;
use super::names::shown;
use super::parallel::{Event, FileProgress, Reporter, run_jobs};
use super::prefetch::FileRequest;
use super::upload::UploadStart;

/// Maximum number of files that one connection gets at once, and of their bytes. A larger file is a job of its own.
const FILES_PER_JOB: usize = 256;
const BYTES_PER_JOB: u64 = 4 * 1024 * 1024;

/// Number of jobs for each of several connections, so that all end at the same time.
const JOBS_PER_CONNECTION: usize = 8;

/// Direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Download,
    Upload,
}

/// One of the files to transfer.
#[derive(Debug)]
pub(super) struct BatchFile {
    pub(super) remote: Vec<u8>,
    pub(super) local: PathBuf,
    /// Size and time of the remote file from a listing, for a download.
    pub(super) known: Option<RemoteMetadata>,
    /// Size in bytes, as far as it is known.
    pub(super) size: u64,
    /// Permission bits of the copy, if it is to have any of its own.
    pub(super) mode: Option<u32>,
}

/// Event during a batch. Files are named by their index.
#[derive(Debug)]
pub(super) enum BatchEvent {
    /// A file is complete.
    Done(usize, FileOutcome),
    Failed(usize, ClientError),
    Note(String),
    /// Number of bytes moved so far.
    Moved(u64),
}

/// Size of a file that was transferred, and the time that this took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileOutcome {
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// Indexes of files, for one connection.
type Job = VecDeque<usize>;

/// Index of a file, and its outcome.
type BatchOutcome = (usize, Result<FileOutcome, ClientError>);

/// The end of a thread that transfers files, and the progress of one of them.
type BatchReporter<'r> = Reporter<'r, Job, BatchOutcome>;
type BatchProgress<'p> = FileProgress<'p, Job, BatchOutcome>;

impl Client {
    /// Transfers files on at most `connections` connections. Continues after a file that failed.
    ///
    /// # Errors
    /// When the connection is lost for good, or the user interrupts.
    pub(super) fn transfer_files(
        &mut self,
        direction: Direction,
        representation: Type,
        files: &[&BatchFile],
        connections: usize,
        mut observe: impl FnMut(BatchEvent),
    ) -> Result<(), ClientError> {
        let transfer = |client: &mut Self,
                        job: &Job,
                        file: &BatchFile,
                        progress: &mut BatchProgress<'_>| match direction {
            Direction::Download => download(client, representation, files, job, file, progress),
            Direction::Upload => upload(client, representation, file, progress),
        };
        let work = |client: &mut Self, job: &mut Job, report: &BatchReporter<'_>| {
            while let Some(&index) = job.front() {
                if let Some(&file) = files.get(index) {
                    let mut progress = report.progress(shown(&file.remote));
                    #[expect(clippy::disallowed_methods, reason = "the time of a file is reported")]
                    let begun = Instant::now();
                    let outcome = transfer(client, job, file, &mut progress)
                        .map(|bytes| FileOutcome { bytes, took: begun.elapsed() });
                    give_up_if_lost(client, outcome.as_ref().err(), report.is_first)?;
                    report.outcome((index, outcome));
                }
                job.pop_front();
            }
            Ok(())
        };
        let jobs = jobs(files, connections.max(1));
        run_jobs(self, connections, jobs, work, |event, _| {
            observe(match event {
                Event::Outcome((index, Ok(outcome))) => BatchEvent::Done(index, outcome),
                Event::Outcome((index, Err(error))) => BatchEvent::Failed(index, error),
                Event::Note(note) => BatchEvent::Note(note),
                Event::Moved(bytes) => BatchEvent::Moved(bytes),
            });
        })
    }
}

/// Returns an error if the job must be given back after the transfer of a file: the user has interrupted, or the
/// connection is lost.
fn give_up_if_lost(
    client: &mut Client,
    error: Option<&ClientError>,
    is_first: bool,
) -> Result<(), ClientError> {
    match error {
        Some(error) if error.kind == ErrorKind::Interrupted => Err(error.clone()),
        Some(error) if client.is_lost() && !is_first => Err(error.clone()),
        // A file that ends the connection each time must not end the batch.
        Some(_) => client.ensure_open(),
        None => Ok(()),
    }
}

/// Distributes files to jobs: large ones first, each alone, then the small ones in their order.
fn jobs(files: &[&BatchFile], connections: usize) -> VecDeque<Job> {
    let per_job = match connections {
        1 => FILES_PER_JOB,
        _ => (files.len() / (connections * JOBS_PER_CONNECTION)).clamp(1, FILES_PER_JOB),
    };
    let size = |index: &usize| files.get(*index).map_or(0, |file| file.size);
    let (mut large, small): (Vec<usize>, Vec<usize>) =
        (0..files.len()).partition(|index| connections > 1 && size(index) > BYTES_PER_JOB);
    large.sort_by_key(|index| std::cmp::Reverse(size(index)));
    let mut jobs: VecDeque<Job> = large.into_iter().map(|index| Job::from([index])).collect();
    let (mut job, mut bytes) = (Job::new(), 0);
    for index in small {
        job.push_back(index);
        bytes += size(&index);
        if job.len() >= per_job || (connections > 1 && bytes > BYTES_PER_JOB) {
            jobs.push_back(std::mem::take(&mut job));
            bytes = 0;
        }
    }
    jobs.extend(Some(job).filter(|job| !job.is_empty()));
    jobs
}

/// Fetches a file, and sends the requests for the next ones of the job ahead.
fn download(
    client: &mut Client,
    representation: Type,
    files: &[&BatchFile],
    job: &Job,
    file: &BatchFile,
    progress: &mut BatchProgress<'_>,
) -> Result<u64, ClientError> {
    let requests = job.iter().filter_map(|index| files.get(*index)).map(|file| FileRequest {
        path: file.remote.clone(),
        local: file.local.clone(),
        known: file.known,
    });
    client.pipeline(requests, representation);
    let BatchFile { remote, local, known, mode, .. } = file;
    let bytes = client.fetch(remote, local, representation, *known, progress)?;
    if let Some(mode) = mode {
        set_local_mode(local, *mode)?;
    }
    Ok(bytes)
}

fn upload(
    client: &mut Client,
    representation: Type,
    file: &BatchFile,
    progress: &mut BatchProgress<'_>,
) -> Result<u64, ClientError> {
    let BatchFile { remote, local, mode, .. } = file;
    let start = UploadStart::Beginning;
    client.send_with_mode(local, remote, representation, start, *mode, progress)
}

/// Sets the permission bits of a local file or directory, if they differ.
pub(super) fn set_local_mode(local: &Path, mode: u32) -> Result<(), ClientError> {
    let failed = |error| ClientError::local(local, &error);
    let found = fs::symlink_metadata(local).map_err(failed)?.permissions().mode() & 0o777;
    if found == mode {
        return Ok(());
    }
    fs::set_permissions(local, Permissions::from_mode(mode)).map_err(failed)
}
