//! The state of the shell between two commands, and its output.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::without_slash;
use crate::client::notices::Notices;
use crate::client::options::Options;
use crate::ftp::command::Type;
use crate::ftp::listing::Listed;

use super::output::{printable, terminal_columns};

/// Settings of the session from the command line.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `-u`: the user, or `user:password`.
    pub user: Option<String>,
    /// `-q`: print errors only.
    pub quiet: bool,
    /// `-e`: a script ends at the first command that fails.
    pub exit_on_error: bool,
}

/// The state of the shell between two commands.
#[derive(Debug)]
pub struct Shell {
    pub(super) client: Option<Client>,
    pub(super) options: Options,
    pub(super) settings: Settings,
    /// The server, as the user named it.
    pub(super) place: String,
    pub(super) local: PathBuf,
    /// True once the user has changed the local directory (`lcd`).
    pub(super) local_is_chosen: bool,
    pub(super) representation: Type,
    /// Entries of one remote directory, cached for completion.
    names: Option<(Vec<u8>, Vec<Listed>)>,
    pub(super) first_failure: u8,
    pub(super) interactive: bool,
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
        let notices = if settings.quiet { Notices::default() } else { Notices::to(note) };
        let options = Options { notices, ..options };
        Self {
            client: None,
            options,
            settings,
            place: String::new(),
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

    /// Closes the connection, if there is one.
    pub(super) fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            client.quit();
        }
        self.forget_names();
    }

    /// Returns the connection.
    pub(super) fn client(&mut self) -> Result<&mut Client, ClientError> {
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

    /// Returns the entries of a remote directory for completion; none if it cannot be listed.
    pub(super) fn remote_entries(&mut self, directory: &[u8]) -> &[Listed] {
        if self.names.as_ref().is_none_or(|(of, _)| of != directory) {
            let read =
                self.client().and_then(|client| client.read_directory(without_slash(directory)));
            self.names = Some((directory.to_owned(), read.unwrap_or_default().entries));
        }
        self.names.as_ref().map(|(_, entries)| entries.as_slice()).unwrap_or_default()
    }

    /// Drops the cached names after a change.
    pub(super) fn forget_names(&mut self) {
        self.names = None;
    }

    /// Prints an error, and keeps the exit status of the first one.
    pub fn fail(&mut self, error: &ClientError) {
        crate::cli::complain("ftpclient", &error.to_string());
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
            note(text);
        }
    }

    /// Writes data to standard output.
    pub(super) fn print(&mut self, text: &str) {
        self.print_bytes(text.as_bytes());
    }

    /// Writes bytes to standard output; on a terminal, control characters become visible.
    pub(super) fn print_bytes(&mut self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let text =
            if self.is_on_terminal() { printable(bytes).into_bytes() } else { bytes.to_vec() };
        let written = out.write_all(&text).and_then(|()| out.flush());
        drop(out);
        match written {
            // A broken pipe is no error: the reader wants no more output.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.fail(&ClientError::local(Path::new("standard output"), &error));
            }
            _ => {}
        }
    }

    /// Writes names in columns on a terminal, one per line elsewhere.
    pub(super) fn print_names(&mut self, names: &[String]) {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() + 2;
        let per_line = if self.is_on_terminal() { (terminal_columns() / width).max(1) } else { 1 };
        let mut text = String::new();
        for line in names.chunks(per_line) {
            for name in line {
                text.push_str(name);
                if per_line > 1 {
                    text.extend(std::iter::repeat_n(' ', width - name.chars().count()));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        self.print(&text);
    }

    #[expect(clippy::unused_self, reason = "where output goes is a property of the shell")]
    pub(super) fn is_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }
}

/// Prints a message to standard error.
fn note(text: &str) {
    // A failed write to standard error cannot be reported anywhere.
    let _written = writeln!(io::stderr(), "{text}");
}
