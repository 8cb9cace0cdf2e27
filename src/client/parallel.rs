//! Work on several connections at once: jobs from a bounded queue, done by threads, each with a connection of its own.
//!
//! The first thread uses the caller's connection, the others open theirs when they get their first job. A connection
//! that cannot be opened, or is lost for good, gives its job back: the number of connections falls, and the others
//! continue. This is the answer to 421 "too many connections".

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::connection::Client;
use super::error::{ClientError, ErrorKind};
use super::interrupt::Interrupt;
use super::progress::Progress;

/// Maximum number of connections of one client.
pub const CONNECTIONS_MAX: usize = 64;

/// Maximum number of messages from the threads that wait to be handled.
const MESSAGES_MAX: usize = 1024;

/// Interval at which the progress is reported, and interrupts by the user are noticed.
const TICK: Duration = Duration::from_millis(100);

/// Maximum number of retries of a connection that others can replace.
const RETRIES_OF_OTHERS: u32 = 1;

/// Message from a thread.
enum Message<J, O> {
    Outcome(O),
    Note(String),
    /// A job is done.
    Done,
    /// The connection is lost, or the user has interrupted; the rest of the job is undone.
    GivenBack(J, ClientError),
}

/// Event during the work, for the caller.
pub(super) enum Event<O> {
    /// A job has this result.
    Outcome(O),
    /// A note for the user.
    Note(String),
    /// Number of bytes moved so far by all connections.
    Moved(u64),
}

/// The end of a thread at which it reports.
pub(super) struct Reporter<'a, J, O> {
    messages: Sender<Message<J, O>>,
    moved: &'a AtomicU64,
    /// True if this is the caller's own connection, which no other replaces.
    pub(super) is_first: bool,
}

impl<J, O> Reporter<'_, J, O> {
    /// Reports the result of a job, or of a part of it.
    pub(super) fn outcome(&self, outcome: O) {
        // The caller receives until the last thread has ended.
        let _sent = self.messages.send(Message::Outcome(outcome));
    }

    /// Returns the observer of the transfer of one file.
    pub(super) fn progress(&self, about: String) -> FileProgress<'_, J, O> {
        FileProgress { reporter: self, about, bytes: 0 }
    }
}

/// Progress of one file, added to that of all.
pub(super) struct FileProgress<'a, J, O> {
    reporter: &'a Reporter<'a, J, O>,
    about: String,
    bytes: u64,
}

impl<J, O> Progress for FileProgress<'_, J, O> {
    fn progress(&mut self, bytes: u64, _: Option<u64>) {
        // A file that begins again counts from its beginning: the sum wraps around and back.
        self.reporter.moved.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }

    fn note(&mut self, text: &str) {
        let _sent = self.reporter.messages.send(Message::Note(format!("{}: {text}", self.about)));
    }
}

/// Runs all jobs on at most `connections` connections. `work` does a job, and takes from it what is done; its error means
/// that the connection is lost or that the user has interrupted. `handle` gets the events, and may add jobs.
///
/// # Errors
/// The error of the last connection that is left, or the interrupt.
pub(super) fn run_jobs<J: Send, O: Send>(
    client: &mut Client,
    connections: usize,
    mut queue: VecDeque<J>,
    work: impl Fn(&mut Client, &mut J, &Reporter<'_, J, O>) -> Result<(), ClientError> + Sync,
    mut handle: impl FnMut(Event<O>, &mut VecDeque<J>),
) -> Result<(), ClientError> {
    if queue.is_empty() {
        return Ok(());
    }
    let connections = connections.clamp(1, CONNECTIONS_MAX).min(queue.len());
    let interrupt = client.interrupt();
    let others: Vec<Client> = (1..connections).map(|_| client.sibling(RETRIES_OF_OTHERS)).collect();
    let stops: Vec<Interrupt> = others.iter().map(Client::interrupt).collect();
    let moved = AtomicU64::new(0);
    let (job_sender, jobs) = bounded(connections);
    let (messages, inbox) = bounded(MESSAGES_MAX);
    thread::scope(|scope| {
        let work = &work;
        let reporter = |is_first| Reporter { messages: messages.clone(), moved: &moved, is_first };
        for mut other in others {
            let (jobs, reporter) = (jobs.clone(), reporter(false));
            scope.spawn(move || {
                serve(&mut other, &jobs, &reporter, work);
                other.quit();
            });
        }
        let (jobs, first) = (jobs.clone(), reporter(true));
        let own = &mut *client;
        scope.spawn(move || serve(own, &jobs, &first, work));
        drop(messages);
        let mut crew = Dispatch { alive: connections, busy: 0, stopped: None };
        loop {
            while crew.stopped.is_none() && crew.busy < crew.alive {
                let Some(job) = queue.pop_front() else { break };
                // There is room: the queue holds a job for each connection.
                let _sent = job_sender.send(job);
                crew.busy += 1;
            }
            if crew.busy == 0 || crew.alive == 0 {
                break;
            }
            match inbox.recv_timeout(TICK) {
                Ok(message) => crew.handle(message, &mut queue, &mut handle),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if interrupt.is_set() {
                crew.stopped.get_or_insert_with(ClientError::interrupted);
            }
            if crew.stopped.is_some() {
                stops.iter().for_each(Interrupt::set);
            }
            handle(Event::Moved(moved.load(Ordering::Relaxed)), &mut queue);
        }
        drop(job_sender);
        for message in inbox {
            crew.handle(message, &mut queue, &mut handle);
        }
        handle(Event::Moved(moved.load(Ordering::Relaxed)), &mut queue);
        crew.stopped.map_or(Ok(()), Err)
    })
}

/// State of the distribution of jobs.
struct Dispatch {
    /// Number of connections that take jobs.
    alive: usize,
    /// Number of jobs given out.
    busy: usize,
    /// The reason why no more jobs are given out.
    stopped: Option<ClientError>,
}

impl Dispatch {
    fn handle<J, O>(
        &mut self,
        message: Message<J, O>,
        queue: &mut VecDeque<J>,
        handle: &mut impl FnMut(Event<O>, &mut VecDeque<J>),
    ) {
        match message {
            Message::Outcome(outcome) => handle(Event::Outcome(outcome), queue),
            Message::Note(note) => handle(Event::Note(note), queue),
            Message::Done => self.busy = self.busy.saturating_sub(1),
            Message::GivenBack(job, error) => {
                self.busy = self.busy.saturating_sub(1);
                self.alive = self.alive.saturating_sub(1);
                queue.push_front(job);
                if self.alive == 0 || error.kind == ErrorKind::Interrupted {
                    self.stopped.get_or_insert(error);
                } else if self.stopped.is_none() {
                    let left = self.alive;
                    handle(
                        Event::Note(format!("{error}; continuing with {left} connections")),
                        queue,
                    );
                }
            }
        }
    }
}

/// Cuts a list into jobs of at most `most` items, so that each connection gets several of them.
pub(super) fn batches<T>(
    list: &mut Vec<T>,
    connections: usize,
    most: usize,
) -> VecDeque<VecDeque<T>> {
    let size = (list.len() / connections.max(1)).clamp(1, most.max(1));
    let mut jobs = VecDeque::new();
    let mut list = std::mem::take(list).into_iter().peekable();
    while list.peek().is_some() {
        jobs.push_back(list.by_ref().take(size).collect());
    }
    jobs
}

/// Does jobs until there are no more, or until the connection is lost.
fn serve<J, O>(
    client: &mut Client,
    jobs: &Receiver<J>,
    reporter: &Reporter<'_, J, O>,
    work: &impl Fn(&mut Client, &mut J, &Reporter<'_, J, O>) -> Result<(), ClientError>,
) {
    for mut job in jobs {
        // A connection that others can replace is tried once.
        let opened = if reporter.is_first { Ok(()) } else { client.ensure_open() };
        match opened.and_then(|()| work(client, &mut job, reporter)) {
            Ok(()) => {
                let _sent = reporter.messages.send(Message::Done);
            }
            Err(error) => {
                let _sent = reporter.messages.send(Message::GivenBack(job, error));
                return;
            }
        }
    }
}
