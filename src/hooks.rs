//! The hooks of uploads: a helper process that takes each event from the spool, runs commands and sends it by HTTP. It also
//! answers the server's questions about uploads that are not stored yet (`checks`).
//!
//! The server may execute nothing and read little, so the helper starts before the sandbox and has only the spool in
//! common with it. An event is removed when every hook has succeeded. If the helper is killed, it handles the event again:
//! each event is handled at least once.

mod checks;
mod run;
mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde_json::Value;

use crate::cli;
use crate::settings::{Config, ConfigError};
use crate::spool::names;
use crate::units::reason;

pub use checks::Checks;
use run::{PROGRAM, command, has_ended, post};
pub use signature::Key;

/// Interval between two looks at the spool.
const INTERVAL: Duration = Duration::from_secs(1);

/// Wait before the first retry, which doubles each time, and its maximum.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// The end of the name of an event that is given up.
const FAILED: &str = ".failed";

/// The hooks of a server.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The directory of the events.
    pub spool: PathBuf,
    /// Programs that run for each event.
    pub commands: Vec<PathBuf>,
    /// URLs to which each event is sent by POST.
    pub urls: Vec<String>,
    /// Maximum time for one hook.
    pub timeout: Duration,
    /// Maximum number of retries of an event.
    pub retries: u32,
    /// The key that signs each POST.
    pub key: Option<Key>,
}

/// The helper process of a server. It ends when this is dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    /// The helper ends when this is closed.
    alive: Option<ChildStdin>,
}

/// A helper process that is watched. It ends when this is dropped, after the hook that is running.
#[derive(Debug)]
pub struct Watched {
    _alive: Option<ChildStdin>,
    is_stopping: Arc<AtomicBool>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
    }
}

impl Helper {
    /// Watches the helper on a thread, which calls `report` if the helper ends before its server. Nothing can start it
    /// again, because the server cannot execute it any more; what is queued waits for the next start.
    pub fn watch(
        mut self,
        report: impl FnOnce(&io::Error) + Send + 'static,
    ) -> io::Result<Watched> {
        let is_stopping = Arc::<AtomicBool>::default();
        let watched = Watched { _alive: self.alive.take(), is_stopping: Arc::clone(&is_stopping) };
        let wait = move || {
            let status = self.child.wait();
            if !is_stopping.load(Ordering::Acquire) {
                let end =
                    status.map_or_else(|error| error.to_string(), |status| status.to_string());
                report(&io::Error::other(end));
            }
        };
        std::thread::Builder::new().name("hooks".to_owned()).spawn(wait)?;
        Ok(watched)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // An event that is being handled stays in the spool.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Starts the helper process, if there are hooks that need one. Must precede the sandbox.
///
/// # Errors
/// One sentence for the person at the terminal.
pub fn start(config: &Config) -> Result<Option<Helper>, ConfigError> {
    let has_hooks = !config.hook_command.is_empty() || !config.hook_post.is_empty();
    let spool = config.hook_spool.as_ref().filter(|_| has_hooks);
    let has_checks = config.check_command.is_some() || config.check_post.is_some();
    let checks = config.check_socket.as_ref().filter(|_| has_checks);
    if spool.is_none() && checks.is_none() {
        return Ok(None);
    }
    let wrong =
        |error: io::Error| ConfigError(format!("cannot start the hooks: {}.", reason(&error)));
    if let Some(path) = &config.hook_key_file {
        Key::read(path).map_err(ConfigError)?;
    }
    let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
    command.arg("hooks").stdin(Stdio::piped()).stdout(Stdio::null());
    for (option, path) in [
        ("--spool", spool),
        ("--key-file", config.hook_key_file.as_ref()),
        ("--check-socket", checks),
        ("--check-command", config.check_command.as_ref()),
    ] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    if let Some(url) = &config.check_post {
        command.args(["--check-post", url]);
    }
    command.args(["--timeout", &config.hook_timeout.as_secs().max(1).to_string()]);
    command.args(["--retries", &config.hook_retries.to_string()]);
    for program in &config.hook_command {
        command.arg("--command").arg(program);
    }
    for url in &config.hook_post {
        command.args(["--post", url]);
    }
    if let Some(user) = &config.user {
        command.args(["--user", user]);
    }
    let mut child = command.spawn().map_err(wrong)?;
    let alive = child.stdin.take();
    Ok(Some(Helper { child, alive }))
}

/// The state of an event that is in the spool.
#[derive(Debug)]
struct Pending {
    /// The numbers of the hooks that have succeeded.
    done: BTreeSet<usize>,
    failures: u32,
    due: Instant,
}

impl Hooks {
    /// Handles events until `stop` is closed.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn run(&self, stop: &Receiver<()>) -> io::Result<()> {
        let Some(_lock) = self.lock(stop)? else { return Ok(()) };
        let mut pending: BTreeMap<String, Pending> = BTreeMap::new();
        loop {
            let found = names(&self.spool)?;
            pending.retain(|name, _| found.binary_search(name).is_ok());
            for name in found {
                if stop.try_recv().is_err_and(|error| error.is_disconnected()) {
                    return Ok(());
                }
                let now = now();
                let event = pending.entry(name.clone()).or_insert_with(|| Pending {
                    done: BTreeSet::new(),
                    failures: 0,
                    due: now,
                });
                if event.due <= now {
                    self.handle(&name, event);
                }
            }
            if stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
    }

    /// Waits until no other helper handles the events: after an update, that of the earlier server does, until its server
    /// has ended. Returns the lock, or `None` if `stop` is closed.
    fn lock(&self, stop: &Receiver<()>) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.spool, flags, Mode::empty())?;
        // Without locks, an event may be handled twice.
        while flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        {
            if stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return Ok(None);
            }
        }
        Ok(Some(directory))
    }

    /// Runs the hooks of an event that have not succeeded yet.
    fn handle(&self, name: &str, event: &mut Pending) {
        let path = self.spool.join(name);
        let text = match fs::read_to_string(&path) {
            // Another program has taken it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            read => read,
        };
        let outcome =
            text.map_err(|error| reason(&error)).and_then(|text| self.run_each(&text, event));
        let ended = match outcome {
            Ok(()) => fs::remove_file(&path),
            Err(what) => {
                event.failures += 1;
                if event.failures <= self.retries {
                    let wait = RETRY_MIN * 2_u32.saturating_pow(event.failures - 1);
                    event.due = now() + wait.min(RETRY_MAX);
                    cli::complain(
                        PROGRAM,
                        &format!(
                            "level=warn event=hook-failed file={name} failures={} reason=\"{what}\"",
                            event.failures
                        ),
                    );
                    return;
                }
                cli::complain(
                    PROGRAM,
                    &format!(
                        "level=error event=hook-given-up file={name} failures={} reason=\"{what}\"",
                        event.failures
                    ),
                );
                fs::rename(&path, self.spool.join(format!("{name}{FAILED}")))
            }
        };
        if let Err(error) = ended {
            cli::complain(PROGRAM, &format!("{}: {}", path.display(), reason(&error)));
        }
    }

    /// Runs each hook that has not succeeded yet; returns the first failure.
    fn run_each(&self, text: &str, event: &mut Pending) -> Result<(), String> {
        let fields: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut failed = None;
        let commands = self.commands.iter().map(Hook::Command);
        for (number, hook) in
            commands.chain(self.urls.iter().map(|url| Hook::Post(url))).enumerate()
        {
            if event.done.contains(&number) {
                continue;
            }
            let outcome = match hook {
                Hook::Command(program) => self.run_command(program, text, &fields),
                Hook::Post(url) => self.post(url, text),
            };
            match outcome {
                Ok(()) => drop(event.done.insert(number)),
                Err(what) => drop(failed.get_or_insert(what)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Runs a program, with the event on its standard input and its fields in variables of a clean environment.
    fn run_command(&self, program: &Path, text: &str, fields: &Value) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {}", program.display(), reason(&error));
        let mut command = command(program, fields);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().map_err(wrong)?;
        if let Some(mut input) = child.stdin.take() {
            // An event fits into the buffer of the pipe. A program need not read it.
            let _written = input.write_all(text.as_bytes());
        }
        if !has_ended(&child, self.timeout).map_err(wrong)? {
            let _killed = child.kill();
            let _ended = child.wait();
            return Err(format!("{}: not finished within {:?}", program.display(), self.timeout));
        }
        let status = child.wait().map_err(wrong)?;
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", program.display())) }
    }

    /// Sends the event to a URL. The name of its file is the same at each retry, so that the receiver can recognize it.
    fn post(&self, url: &str, text: &str) -> Result<(), String> {
        let sent = post(url, text, self.timeout, self.key.as_ref());
        let status = sent.map_err(|error| format!("{url}: {error}"))?.status();
        if status.is_success() { Ok(()) } else { Err(format!("{url}: {status}")) }
    }
}

/// A hook.
enum Hook<'a> {
    Command(&'a PathBuf),
    Post(&'a str),
}

#[expect(clippy::disallowed_methods, reason = "the loop of the helper: time enters here")]
fn now() -> Instant {
    Instant::now()
}
