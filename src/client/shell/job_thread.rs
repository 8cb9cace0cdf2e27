//! The threads of jobs, and the wait for one in the foreground.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::interrupt::Interrupt;
use crate::client::options::Options;
use crate::ftp::command::Type;

use super::ask::Asker;
use super::clobber_rule::Clobber;
use super::flow::{Done, Flow};
use super::jobs::{BackgroundJob, JobEnd, JobNews, JobState, QUEUED_MAX, QueuedJob};
use super::messages::Messages;
use super::state::{Settings, Shell, notices};
use super::words::{CommandLine, plain, quote};

/// Interval at which the wait for a job checks for keys.
const TICK: Duration = Duration::from_millis(20);

/// The function that runs a command.
pub(super) type RunCommand = fn(&mut Shell, CommandLine) -> Done;

/// A question of a job in the foreground, and the way for its answer.
type Question = (String, Sender<Option<String>>);

/// All that a job needs to begin.
#[derive(Debug)]
pub(super) struct JobSeed {
    number: usize,
    line: CommandLine,
    client: Client,
    options: Options,
    settings: Settings,
    place: String,
    local: PathBuf,
    local_is_chosen: bool,
    representation: Type,
    clobber: Clobber,
    messages: Messages,
    /// The way for questions, if the job begins in the foreground.
    questions: Option<Sender<Question>>,
    run: RunCommand,
}

impl JobSeed {
    fn into_job(self) -> QueuedJob {
        QueuedJob { number: self.number, run: Box::new(|| self.run()) }
    }

    /// Runs the command, and returns its end.
    fn run(self) -> JobEnd {
        let Self { number, line, run, .. } = self;
        let mut shell = Shell::new(self.options, self.settings);
        shell.messages = self.messages.clone();
        shell.options.notices = notices(&self.messages, shell.settings.quiet);
        shell.client = Some(self.client);
        shell.place = self.place;
        (shell.local, shell.local_is_chosen) = (self.local, self.local_is_chosen);
        (shell.representation, shell.clobber) = (self.representation, self.clobber);
        shell.interactive = self.questions.is_some();
        if let Some(questions) = self.questions {
            shell.asker = Asker::new(move |question| {
                let (sender, answer) = bounded(1);
                questions.send((question.to_owned(), sender)).ok()?;
                // Nobody answers once the job is in the background.
                answer.recv().ok()?
            });
        }
        let result = match shell.options.interrupt.check() {
            Ok(()) => run(&mut shell, line).map(|_: Flow| ()),
            interrupted => interrupted,
        };
        let typed_ahead = shell.typed_ahead.drain(..).collect();
        let status = shell.first_failure;
        JobEnd { number, client: shell.client, result, status, typed_ahead }
    }
}

impl Shell {
    /// Runs a command on a thread, and waits for its end. Ctrl-C interrupts it, and Ctrl-Z puts it into the background.
    pub(super) fn run_in_foreground(&mut self, line: CommandLine, run: RunCommand) -> Done {
        self.client()?;
        self.jobs.check_room(JobState::Running)?;
        let Some(mut client) = self.client.take() else { return Ok(Flow::Continue) };
        let spare = client.sibling(self.options.retries);
        let (messages, interrupt) = (Messages::default(), Interrupt::default());
        client.attend(&interrupt, &notices(&messages, self.settings.quiet));
        let (questions, asked) = bounded(1);
        let text = text(&line);
        let mut seed = self.seed(line, client, &messages, &interrupt, run);
        seed.questions = Some(questions);
        let number = seed.number;
        spawn(seed.into_job(), self.jobs.sender.clone());
        self.jobs
            .list
            .insert(number, BackgroundJob { text, state: JobState::Running, messages, interrupt });
        self.settings.background_key.watch(true);
        let done = self.watch(number, &asked, spare);
        self.settings.background_key.watch(false);
        done
    }

    /// Waits for a job in the foreground.
    fn watch(&mut self, number: usize, asked: &Receiver<Question>, spare: Client) -> Done {
        loop {
            if let Some(at) = self.jobs.ended.iter().position(|end| end.number == number) {
                let end = self.jobs.ended.remove(at);
                self.jobs.list.remove(&number);
                let (result, client) = self.accept_end(end);
                self.client = client;
                let notices = notices(&self.messages, self.settings.quiet);
                let interrupt = self.options.interrupt.clone();
                if let Some(client) = &mut self.client {
                    client.attend(&interrupt, &notices);
                }
                return result.map(|()| Flow::Continue);
            }
            if let Ok((question, answer)) = asked.try_recv() {
                let _sent = answer.send(self.asker.ask(&question));
            }
            if self.settings.background_key.is_pressed() {
                return Ok(self.continue_in_background(number, spare));
            }
            if self.options.interrupt.is_set()
                && let Some(job) = self.jobs.list.get(&number)
            {
                job.interrupt.set();
            }
            if let Ok(news) = self.jobs.news.recv_timeout(TICK) {
                self.jobs.learn(news);
            }
        }
    }

    /// Leaves a job to itself, and goes on with another connection.
    fn continue_in_background(&mut self, number: usize, mut spare: Client) -> Flow {
        if let Some(job) = self.jobs.list.get(&number) {
            job.messages.keep();
            self.note(&format!("\n[{number}] {} (in the background)", job.text));
        }
        spare.attend(&self.options.interrupt, &notices(&self.messages, self.settings.quiet));
        // A connection that cannot be opened now is opened by the next command.
        let _opened = spare.ensure_open();
        self.client = Some(spare);
        Flow::Continue
    }

    /// Starts a command in the background, at once or behind the others in the queue.
    pub(super) fn start_job(
        &mut self,
        line: CommandLine,
        is_queued: bool,
        run: RunCommand,
    ) -> Result<(), ClientError> {
        let retries = self.options.retries;
        let mut client = self.client()?.sibling(retries);
        let state = if is_queued { JobState::Queued } else { JobState::Running };
        self.jobs.check_room(state)?;
        let (messages, interrupt) = (Messages::kept(), Interrupt::default());
        client.attend(&interrupt, &notices(&messages, self.settings.quiet));
        let text = text(&line);
        let seed = self.seed(line, client, &messages, &interrupt, run);
        let number = seed.number;
        self.jobs
            .list
            .insert(number, BackgroundJob { text: text.clone(), state, messages, interrupt });
        self.note(&format!("[{number}] {text}{}", if is_queued { " (queued)" } else { "" }));
        if is_queued {
            self.enqueue(seed.into_job());
        } else {
            spawn(seed.into_job(), self.jobs.sender.clone());
        }
        Ok(())
    }

    /// Passes a job to the thread of the queue; starts this thread if there is none.
    fn enqueue(&mut self, job: QueuedJob) {
        let refused = match &self.jobs.queue {
            // There is room: the number of jobs that wait is bounded.
            Some(queue) => queue.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        let Some(job) = refused else { return };
        let (queue, jobs) = bounded::<QueuedJob>(QUEUED_MAX);
        let news = self.jobs.sender.clone();
        thread::spawn(move || {
            for job in jobs {
                let _sent = news.send(JobNews::Begun(job.number));
                run_to_the_end(job, &news);
            }
        });
        let _sent = queue.send(job);
        self.jobs.queue = Some(queue);
    }

    fn seed(
        &mut self,
        line: CommandLine,
        client: Client,
        messages: &Messages,
        interrupt: &Interrupt,
        run: RunCommand,
    ) -> JobSeed {
        let options = Options { interrupt: interrupt.clone(), ..self.options.clone() };
        JobSeed {
            number: self.jobs.next_number(),
            line,
            client,
            options,
            settings: self.settings.clone(),
            place: self.place.clone(),
            local: self.local.clone(),
            local_is_chosen: self.local_is_chosen,
            representation: self.representation,
            clobber: self.clobber,
            messages: messages.clone(),
            questions: None,
            run,
        }
    }

    /// Takes over what a job leaves: its status, and lines for the shell. Returns its result and its connection.
    fn accept_end(&mut self, end: JobEnd) -> (Result<(), ClientError>, Option<Client>) {
        let JobEnd { client, result, status, typed_ahead, .. } = end;
        if self.first_failure == 0 {
            self.first_failure = status;
        }
        self.typed_ahead.extend(typed_ahead);
        self.forget_names();
        (result, client)
    }

    /// Prints the messages of the jobs that have ended. Returns true if one of them has failed.
    pub(super) fn report_jobs(&mut self) -> bool {
        self.jobs.catch_up();
        let mut has_failed = false;
        for end in std::mem::take(&mut self.jobs.ended) {
            let number = end.number;
            let Some(job) = self.jobs.list.remove(&number) else { continue };
            for line in job.messages.take().lines() {
                self.messages.print(line);
            }
            let (result, client) = self.accept_end(end);
            if let Some(client) = client {
                client.quit();
            }
            let state = match &result {
                Ok(()) => "done",
                Err(error) if error.kind == ErrorKind::Interrupted => "stopped",
                Err(error) => {
                    has_failed = true;
                    self.fail(error);
                    "failed"
                }
            };
            self.note(&format!("[{number}] {} ({state})", job.text));
        }
        has_failed
    }

    /// Waits until a job, or all for `None`, have ended. Ctrl-C ends the wait.
    pub(super) fn wait_for_jobs(&mut self, number: Option<usize>) -> Result<(), ClientError> {
        self.jobs.catch_up();
        while self.jobs.is_active(number) {
            self.options.interrupt.check()?;
            if let Ok(news) = self.jobs.news.recv_timeout(TICK) {
                self.jobs.learn(news);
            }
        }
        Ok(())
    }
}

/// Runs a job on a thread of its own.
fn spawn(job: QueuedJob, news: Sender<JobNews>) {
    thread::spawn(move || run_to_the_end(job, &news));
}

/// Runs a job, and reports its end: also one that panics has an end.
fn run_to_the_end(job: QueuedJob, news: &Sender<JobNews>) {
    let QueuedJob { number, run } = job;
    let end = thread::spawn(run).join().unwrap_or_else(|_| JobEnd {
        number,
        client: None,
        result: Err(ClientError::new(ErrorKind::Incomplete, "the command failed")),
        status: 0,
        typed_ahead: Vec::new(),
    });
    let _sent = news.send(JobNews::Ended(Box::new(end)));
}

/// Returns a command as it is typed.
fn text(line: &CommandLine) -> String {
    let words: Vec<String> =
        line.words.iter().map(|word| quote(plain(word).as_encoded_bytes())).collect();
    words.join(" ")
}
