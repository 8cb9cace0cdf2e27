//! The loop of the shell: commands from a text, a script or a terminal.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::BufRead;
use std::path::Path;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::client::error::{ClientError, ErrorKind};

use super::complete::Assistant;
use super::flow::{Done, Flow};
use super::state::Shell;
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
            .auto_add_history(true)
            .bracketed_paste(false)
            .build();
        let shell = Rc::new(RefCell::new(shell));
        let mut editor: Editor<Assistant, MemHistory> =
            Editor::with_history(config.clone(), MemHistory::with_config(&config))?;
        editor.set_helper(Some(Assistant { shell: Rc::clone(&shell) }));
        loop {
            match editor.readline("ftp> ") {
                Ok(line) => {
                    let mut shell = shell.borrow_mut();
                    shell.options.interrupt.clear();
                    if shell.run_line(line.as_bytes()) == Flow::Leave {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error),
            }
        }
        // The user has seen every failure, so leaving is a success.
        shell.borrow_mut().disconnect();
        Ok(0)
    }

    fn run_line(&mut self, line: &[u8]) -> Flow {
        let Ok(commands) = words::split(line) else {
            self.fail(&ClientError::usage("unclosed quote"));
            return self.after_failure();
        };
        for command in commands {
            match self.run_command(command) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Leave) => return Flow::Leave,
                Err(error) => {
                    self.fail(&error);
                    if self.after_failure() == Flow::Leave
                        || (error.kind == ErrorKind::Interrupted && !self.interactive)
                    {
                        return Flow::Leave;
                    }
                }
            }
        }
        Flow::Continue
    }

    fn after_failure(&self) -> Flow {
        if self.settings.exit_on_error && !self.interactive { Flow::Leave } else { Flow::Continue }
    }

    fn run_command(&mut self, mut words: Vec<OsString>) -> Done {
        if words.is_empty() {
            return Ok(Flow::Continue);
        }
        let name = words::plain(&words.remove(0));
        let done = match table::parse(self, &name.to_string_lossy(), words)? {
            Some((command, given)) => command.run(self, &given),
            None => Ok(Flow::Continue),
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

    fn leave(&mut self) -> u8 {
        self.disconnect();
        self.first_failure
    }
}
