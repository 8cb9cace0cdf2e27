//! The state of the shell between two commands, and its output.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::notices::Notices;
use crate::client::options::Options;
use crate::client::url::Target;
use crate::ftp::command::Type;
use crate::ftp::listing::Listed;

use super::ask::Asker;
use super::background_key::BackgroundKey;
use super::clobber_rule::Clobber;
use super::jobs::Jobs;
use super::messages::Messages;
use super::output::printable;
use super::redirect::Output;
use super::report::{FileReport, FileResult, JsonReport};

/// Settings of the session from the command line.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `-u`: the user, or `user:password`.
    pub user: Option<String>,
    /// Password of the user of `-u` or of the URL.
    pub password: Option<String>,
    /// `-n`: no login before `user`, or before the first command that needs one.
    pub no_login: bool,
    /// `-q`: print errors only.
    pub quiet: bool,
    /// `--parallel`: the maximum number of connections of commands that transfer several files; 0 means one.
    pub parallel: usize,
    /// `--json`: report each file on standard output, and print all else to standard error.
    pub json: Option<JsonReport>,
    /// `-e`: a script ends at the first command that fails.
    pub exit_on_error: bool,
    /// The key that puts a transfer into the background.
    pub background_key: BackgroundKey,
    /// Rule for local files that exist under the name of a download.
    pub clobber: Clobber,
}

/// The state of the shell between two commands.
#[derive(Debug)]
pub struct Shell {
    pub(super) client: Option<Client>,
    pub(super) options: Options,
    pub(super) settings: Settings,
    /// The server, as the user named it.
    pub(super) place: String,
    /// Scheme of its URL.
    pub(super) scheme: &'static str,
    pub(super) local: PathBuf,
    /// True once the user has changed the local directory (`lcd`).
    pub(super) local_is_chosen: bool,
    pub(super) representation: Type,
    /// Entries of one remote directory, cached for completion.
    pub(super) names: Option<(Vec<u8>, Vec<Listed>)>,
    pub(super) first_failure: u8,
    pub(super) interactive: bool,
    /// The server of a login that is still to come.
    pub(super) pending_login: Option<Target>,
    /// Set if such a login failed: a script ends there.
    pub(super) login_failed: bool,
    pub(super) clobber: Clobber,
    pub(super) asker: Asker,
    /// Lines that were read as answers to questions, and run as commands.
    pub(super) typed_ahead: VecDeque<String>,
    pub(super) messages: Messages,
    pub(super) jobs: Jobs,
    /// Destination of the data that the current command prints.
    pub(super) output: Output,
    /// Remote directory after the login, once it was needed.
    pub(super) login_directory: Option<Vec<u8>>,
    /// Remote directory before the last change, for `cd -`.
    pub(super) previous_directory: Option<Vec<u8>>,
    /// Failure of the current command that does not stop it.
    failure_at_end: Option<ClientError>,
}

impl Shell {
    /// Makes a shell without a connection. Its local directory is `_CLIENTROOT` in the working directory if that
    /// exists, else the working directory.
    #[must_use]
    pub fn new(options: Options, settings: Settings) -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let root = here.join("_CLIENTROOT");
        let messages = Messages::default();
        let options = Options { notices: notices(&messages, settings.quiet), ..options };
        Self {
            client: None,
            options,
            clobber: settings.clobber,
            pending_login: None,
            login_failed: false,
            asker: Asker::default(),
            typed_ahead: VecDeque::new(),
            messages,
            jobs: Jobs::default(),
            output: Output::standard(settings.json.is_some()),
            settings,
            login_directory: None,
            previous_directory: None,
            place: String::new(),
            scheme: "ftp",
            local: if root.is_dir() { root } else { here },
            local_is_chosen: false,
            representation: Type::Image,
            names: None,
            first_failure: 0,
            interactive: false,
            failure_at_end: None,
        }
    }

    /// Makes the shell interactive: it may ask for passwords, and Ctrl-C ends a command instead of the program.
    pub fn set_interactive(&mut self) {
        self.interactive = true;
    }

    /// Returns true while there is a connection, whether logged in or not.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Closes the connection, if there is one.
    pub(super) fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            client.quit();
        }
        self.pending_login = None;
        (self.login_directory, self.previous_directory) = (None, None);
        self.forget_names();
    }

    /// Returns the connection, whether logged in or not.
    pub(super) fn connection(&mut self) -> Result<&mut Client, ClientError> {
        self.client.as_mut().ok_or_else(|| {
            ClientError::new(ErrorKind::NoConnection, "not connected. Use open HOST.")
        })
    }

    /// Selects active or passive mode for data connections.
    pub(super) fn set_active(&mut self, active: bool) {
        self.options.active = active;
        if let Some(client) = &mut self.client {
            client.set_active(active);
        }
        let way = if active {
            "Active mode: the server opens data connections."
        } else {
            "Passive mode: the client opens data connections."
        };
        self.note(way);
    }

    /// Returns true if files are transferred unchanged.
    pub(super) fn is_binary(&self) -> bool {
        self.representation == Type::Image
    }

    /// Drops the cached names after a change.
    pub(super) fn forget_names(&mut self) {
        self.names = None;
    }

    /// Prints an error, and keeps the exit status of the first one.
    pub fn fail(&mut self, error: &ClientError) {
        self.messages.complain(&error.to_string());
        if self.first_failure == 0 {
            self.first_failure = error.status();
        }
    }

    /// Makes the current command fail with this error at its end. Prints an earlier such error now.
    pub(super) fn fail_at_end(&mut self, error: ClientError) {
        if let Some(earlier) = self.failure_at_end.replace(error) {
            self.fail(&earlier);
        }
    }

    /// Returns the failure of the current command that did not stop it.
    pub(super) fn take_failure_at_end(&mut self) -> Option<ClientError> {
        self.failure_at_end.take()
    }

    /// Prints a message to standard error, unless the shell is quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.settings.quiet {
            self.messages.print(text);
        }
    }

    /// Writes data to standard output.
    pub(super) fn print(&mut self, text: &str) {
        self.print_bytes(text.as_bytes());
    }

    /// Writes bytes to the output of the command; on a terminal, control characters become visible.
    pub(super) fn print_bytes(&mut self, bytes: &[u8]) {
        if self.is_on_terminal() {
            self.print_painted(&printable(bytes));
        } else {
            self.write(bytes);
        }
    }

    /// Writes text that may have colours, and whose other control characters are escaped already.
    pub(super) fn print_painted(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    /// Reports the end of a file, if the user wants reports.
    pub(super) fn report(&self, local: &Path, remote: &[u8], result: FileResult<'_>) {
        if let Some(report) = &self.settings.json {
            report.file(&FileReport { local, remote, result });
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.output.write_all(bytes).and_then(|()| self.output.flush()) {
            // A broken pipe is no error: the reader wants no more output.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.fail(&ClientError::local(Path::new("standard output"), &error));
            }
            _ => {}
        }
    }

    /// Returns true if the output of the command goes to a terminal.
    pub(super) fn is_on_terminal(&self) -> bool {
        matches!(self.output, Output::Standard) && io::stdout().is_terminal()
    }
}

/// Returns the receiver of notices that prints messages.
pub(super) fn notices(messages: &Messages, quiet: bool) -> Notices {
    let messages = messages.clone();
    if quiet { Notices::default() } else { Notices::to(move |notice| messages.print(notice)) }
}
