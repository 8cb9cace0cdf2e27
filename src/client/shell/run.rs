//! The loop of the shell: commands from a text, a script or a terminal.

use std::cell::RefCell;
use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::client::error::{ClientError, ErrorKind};

use super::ask::Asker;
use super::complete::Assistant;
use super::flow::{Done, Flow};
use super::profile::{HISTORY_LINES_MAX, history_file, make_private, start_file};
use super::redirect::Output;
use super::secrets::has_password;
use super::state::Shell;
use super::words::{CommandLine, Malformed};
use super::{table, words};

impl Shell {
    /// Runs the commands of a text (`-c`), and returns the exit status.
    pub fn run_text(&mut self, text: &str) -> u8 {
        self.run_line(text.as_bytes());
        self.leave()
    }

    /// Runs the commands of a script line by line as they arrive, and returns the exit status.
    pub fn run_script(&mut self, script: impl BufRead) -> u8 {
        for line in script.split(b'\n') {
            let flow = match &line {
                Ok(line) => {
                    let line = line.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(line);
                    self.run_line(line.strip_suffix(b"\r").unwrap_or(line))
                }
                Err(error) => {
                    self.fail(&ClientError::local(Path::new("standard input"), error));
                    Flow::Leave
                }
            };
            if flow == Flow::Leave {
                break;
            }
        }
        self.leave()
    }

    /// Runs commands from the terminal until `bye`, the end of input, or an error of the terminal; returns the exit
    /// status.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn run_terminal(shell: Self) -> rustyline::Result<u8> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_LINES_MAX)?
            // Pasted lines run one after the other, as typed ones do.
            .bracketed_paste(false)
            .build();
        let shell = Rc::new(RefCell::new(shell));
        let mut editor: Editor<Assistant, FileHistory> =
            Editor::with_history(config.clone(), FileHistory::with_config(&config))?;
        editor.set_helper(Some(Assistant { shell: Rc::clone(&shell) }));
        let history = history_file().filter(|path| make_private(path).is_ok());
        if let Some(path) = &history {
            // A history that cannot be read is an empty one.
            let _loaded = editor.load_history(path);
        }
        let editor = Rc::new(RefCell::new(editor));
        let answers = Rc::clone(&editor);
        // The editor holds what was typed ahead, so it reads the answers, too.
        let asker =
            Asker::new(move |question| answers.try_borrow_mut().ok()?.readline(question).ok());
        shell.borrow_mut().asker = asker;
        let mut is_at_end = false;
        loop {
            shell.borrow_mut().report_jobs();
            let ahead = shell.borrow_mut().typed_ahead.pop_front();
            let prompt = shell.borrow_mut().prompt();
            let read = ahead.map_or_else(|| editor.borrow_mut().readline(&prompt), Ok);
            match read {
                Ok(line) => {
                    remember(&mut editor.borrow_mut(), history.as_deref(), &line)?;
                    let mut shell = shell.borrow_mut();
                    shell.options.interrupt.clear();
                    is_at_end = false;
                    if shell.run_line(line.as_bytes()) == Flow::Leave && shell.may_leave(false) {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => {
                    if shell.borrow_mut().may_leave(is_at_end) {
                        break;
                    }
                    is_at_end = true;
                }
                Err(error) => return Err(error),
            }
        }
        // The user has seen every failure, so leaving is a success.
        shell.borrow_mut().disconnect();
        Ok(0)
    }

    /// Runs the commands of the start file, if there is one.
    pub fn run_start_file(&mut self) {
        let text = start_file().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            self.run_line(line);
        }
    }

    fn run_line(&mut self, line: &[u8]) -> Flow {
        let commands = match words::split(line) {
            Ok(commands) => commands,
            Err(Malformed::Unclosed) => {
                self.fail(&ClientError::usage("unclosed quote"));
                return self.after_failure();
            }
            Err(Malformed::Redirection) => {
                let usage = "usage: COMMAND > FILE, COMMAND | PROGRAM, or COMMAND &";
                self.fail(&ClientError::usage(usage));
                return self.after_failure();
            }
        };
        for command in commands {
            match self.run_command(command) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Leave) => return Flow::Leave,
                Err(error) => {
                    self.fail(&error);
                    if self.after_failure() == Flow::Leave
                        || (self.login_failed && !self.interactive)
                        || (error.kind == ErrorKind::Interrupted && !self.interactive)
                    {
                        return Flow::Leave;
                    }
                }
            }
        }
        // On a terminal, the prompt comes with the reports.
        if !self.interactive && self.report_jobs() {
            return self.after_failure();
        }
        Flow::Continue
    }

    fn after_failure(&self) -> Flow {
        if self.settings.exit_on_error && !self.interactive { Flow::Leave } else { Flow::Continue }
    }

    /// Runs a command: here, on a thread that Ctrl-Z leaves to itself, or in the background.
    fn run_command(&mut self, line: CommandLine) -> Done {
        let uses_terminal = line.words.iter().any(|word| word == "-") || line.redirect.is_some();
        let done = if line.in_background {
            self.start(line, false).map(|()| Flow::Continue)
        } else if self.interactive && !uses_terminal && is_transfer(&line) {
            self.run_in_foreground(line, Self::run_here)
        } else {
            self.run_here(line)
        };
        match self.jobs.request.take() {
            Some(request) if done.is_ok() => {
                self.start(request.line, request.is_queued).map(|()| Flow::Continue)
            }
            _ => done,
        }
    }

    /// Starts a command in the background.
    fn start(&mut self, line: CommandLine, is_queued: bool) -> Result<(), ClientError> {
        let name = line.words.first().map(|name| words::plain(name)).unwrap_or_default();
        let command = table::find(&name.to_string_lossy())?;
        if !is_transfer(&line) || line.words.iter().any(|word| word == "-") {
            let what = format!("{} does not run in the background", command.name);
            return Err(ClientError::usage(what));
        }
        // Mistakes show before the job begins.
        command.parse(line.words.iter().skip(1).cloned().collect())?;
        self.start_job(CommandLine { in_background: false, ..line }, is_queued, Self::run_here)
    }

    /// Runs a command on this thread.
    fn run_here(&mut self, line: CommandLine) -> Done {
        let mut words = line.words;
        if words.is_empty() {
            return Ok(Flow::Continue);
        }
        let name = words::plain(&words.remove(0));
        let Some((command, given)) = table::parse(self, &name.to_string_lossy(), words)? else {
            return Ok(Flow::Continue);
        };
        let done = match line.redirect {
            None => command.run(self, &given),
            Some(redirect) => {
                self.output = Output::open(&redirect, &self.local)?;
                let done = command.run(self, &given);
                let usual = Output::standard(self.settings.json.is_some());
                let closed = std::mem::replace(&mut self.output, usual).close();
                done.and_then(|flow| closed.map(|()| flow))
            }
        };
        match (done, self.take_failure_at_end()) {
            (Ok(_), Some(error)) => Err(error),
            (Err(error), Some(earlier)) => {
                self.fail(&earlier);
                Err(error)
            }
            (done, None) => done,
        }
    }

    /// Asks whether to leave while jobs are running. The end of input twice in a row is a yes.
    fn may_leave(&mut self, is_repeated: bool) -> bool {
        self.report_jobs();
        if is_repeated || !self.jobs.is_active(None) {
            self.kill_jobs();
            return true;
        }
        let jobs = format!("Jobs are running:\n{}", self.jobs.text());
        self.messages.print(jobs.trim_end());
        let question = "Leave? [n]o, [y]es: stop them, [w]ait: ";
        let Some(answer) = self.asker.ask(question) else { return false };
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => {
                self.kill_jobs();
                true
            }
            "w" | "wait" => {
                self.options.interrupt.clear();
                let waited = self.wait_for_jobs(None);
                self.report_jobs();
                waited.is_ok()
            }
            "n" | "no" | "" => false,
            _ => {
                // It was typed ahead.
                self.typed_ahead.push_back(answer);
                false
            }
        }
    }

    /// Stops all jobs, and waits until each has kept its part.
    fn kill_jobs(&mut self) {
        self.jobs.kill(None);
        self.options.interrupt.clear();
        let _waited = self.wait_for_jobs(None);
        self.report_jobs();
    }

    fn leave(&mut self) -> u8 {
        // A script waits for what it has started.
        if let Err(error) = self.wait_for_jobs(None) {
            self.fail(&error);
            self.kill_jobs();
        }
        self.report_jobs();
        // A script without a command that needs a login still shows that the login fails.
        if !self.settings.no_login
            && self.pending_login.is_some()
            && let Err(error) = self.client().map(drop)
        {
            self.fail(&error);
        }
        self.disconnect();
        self.first_failure
    }
}

/// Returns true if the command may run in the background.
fn is_transfer(line: &CommandLine) -> bool {
    let name = line.words.first().map(|name| words::plain(name)).unwrap_or_default();
    table::find(&name.to_string_lossy()).is_ok_and(|command| command.is_transfer)
}

/// Adds a line to the history and to its file, unless it may have a password.
fn remember(
    editor: &mut Editor<Assistant, FileHistory>,
    file: Option<&Path>,
    line: &str,
) -> rustyline::Result<()> {
    if !has_password(line) {
        editor.add_history_entry(line)?;
        if let Some(file) = file {
            // A full disk costs the history only.
            let _written = editor.append_history(file);
        }
    }
    Ok(())
}
