//! The list of jobs: commands that run on threads of their own, each with a connection of its own.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender, bounded};
use indicatif::HumanBytes;

use crate::client::connection::Client;
use crate::client::error::ClientError;
use crate::client::interrupt::Interrupt;

use super::messages::Messages;
use super::words::CommandLine;

/// Maximum number of jobs that run at once. Each has at most [`CONNECTIONS_MAX`](crate::client::CONNECTIONS_MAX)
/// connections.
pub(super) const JOBS_MAX: usize = 16;

/// Maximum number of jobs that wait in the queue.
pub(super) const QUEUED_MAX: usize = 1000;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// It waits in the queue.
    Queued,
    Running,
}

/// A command in the background.
#[derive(Debug)]
pub(super) struct BackgroundJob {
    /// The command as it was typed.
    pub(super) text: String,
    pub(super) state: JobState,
    pub(super) messages: Messages,
    pub(super) interrupt: Interrupt,
}

/// News from the thread of a job.
#[derive(Debug)]
pub(super) enum JobNews {
    /// A job of the queue has begun.
    Begun(usize),
    Ended(Box<JobEnd>),
}

/// The end of a job.
#[derive(Debug)]
pub(super) struct JobEnd {
    pub(super) number: usize,
    /// Its connection, unless it is closed.
    pub(super) client: Option<Client>,
    pub(super) result: Result<(), ClientError>,
    /// The exit status of its first error.
    pub(super) status: u8,
    /// Lines that were read as answers to its questions, and are commands.
    pub(super) typed_ahead: Vec<String>,
}

/// A job that waits in the queue.
pub(super) struct QueuedJob {
    pub(super) number: usize,
    pub(super) run: Box<dyn FnOnce() -> JobEnd + Send>,
}

/// A command that the user has asked to run in the background.
#[derive(Debug)]
pub(super) struct JobRequest {
    pub(super) line: CommandLine,
    /// It waits until the jobs before it in the queue have ended.
    pub(super) is_queued: bool,
}

/// All jobs that have not been reported as ended.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) list: BTreeMap<usize, BackgroundJob>,
    last_number: usize,
    /// Jobs that have ended, and are still to be reported.
    pub(super) ended: Vec<JobEnd>,
    pub(super) sender: Sender<JobNews>,
    pub(super) news: Receiver<JobNews>,
    /// The way to the thread of the queue, once there is one.
    pub(super) queue: Option<Sender<QueuedJob>>,
    /// A command that is to be started.
    pub(super) request: Option<JobRequest>,
}

impl Default for Jobs {
    fn default() -> Self {
        // Each job sends at most two messages.
        let (sender, news) = bounded(2 * (JOBS_MAX + QUEUED_MAX));
        Self {
            list: BTreeMap::new(),
            last_number: 0,
            ended: Vec::new(),
            sender,
            news,
            queue: None,
            request: None,
        }
    }
}

impl Jobs {
    /// Checks that there is room for another job.
    ///
    /// # Errors
    /// [`super::super::error::ErrorKind::Usage`], with the maximum.
    pub(super) fn check_room(&self, state: JobState) -> Result<(), ClientError> {
        let count = self.list.values().filter(|job| job.state == state).count();
        match state {
            JobState::Running if count >= JOBS_MAX => Err(ClientError::usage(format!(
                "{JOBS_MAX} jobs are running. Wait for one, or use 'queue'."
            ))),
            JobState::Queued if count >= QUEUED_MAX => {
                Err(ClientError::usage(format!("{QUEUED_MAX} jobs are in the queue")))
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of the next job.
    pub(super) fn next_number(&mut self) -> usize {
        // Numbers begin again when there are no jobs.
        self.last_number = if self.list.is_empty() { 1 } else { self.last_number + 1 };
        self.last_number
    }

    /// Takes a message from a thread.
    pub(super) fn learn(&mut self, news: JobNews) {
        match news {
            JobNews::Begun(number) => {
                if let Some(job) = self.list.get_mut(&number) {
                    job.state = JobState::Running;
                }
            }
            JobNews::Ended(end) => self.ended.push(*end),
        }
    }

    /// Takes all messages that have come.
    pub(super) fn catch_up(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.learn(news);
        }
    }

    /// Returns true if a job, or any job for `None`, has not ended.
    pub(super) fn is_active(&self, number: Option<usize>) -> bool {
        let is_ended = |number: usize| self.ended.iter().any(|end| end.number == number);
        let mut numbers = self.list.keys().copied();
        numbers.any(|one| number.is_none_or(|wanted| wanted == one) && !is_ended(one))
    }

    /// Stops a job, or all for `None`. A queued one has no end of its own: returns a line about it.
    pub(super) fn kill(&mut self, number: Option<usize>) -> Vec<String> {
        let is_wanted = |one: usize| number.is_none_or(|wanted| wanted == one);
        for (_, job) in self.list.iter().filter(|(number, _)| is_wanted(**number)) {
            job.interrupt.set();
        }
        let removed = self
            .list
            .extract_if(.., |number, job| is_wanted(*number) && job.state == JobState::Queued);
        removed.map(|(number, job)| format!("[{number}] {} (stopped)", job.text)).collect()
    }

    /// Returns the list of jobs, each in one line.
    pub(super) fn text(&self) -> String {
        let line = |(number, job): (&usize, &BackgroundJob)| {
            let state = match job.state {
                JobState::Queued => "queued".to_owned(),
                JobState::Running => match job.messages.progress() {
                    (0, 0) => "running".to_owned(),
                    (bytes, 0) => format!("running, {}", HumanBytes(bytes)),
                    (bytes, total) => {
                        let percent = u128::from(bytes) * 100 / u128::from(total);
                        format!("running, {}% of {}", percent.min(100), HumanBytes(total))
                    }
                },
            };
            format!("[{number}] {} ({state})\n", job.text)
        };
        self.list.iter().map(line).collect()
    }
}
