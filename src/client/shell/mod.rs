//! The interactive program: a prompt on a terminal, or a script.
//!
//! A script continues after a command that failed, unless `-e` is given; the first failure decides the exit status.
//! Data goes to standard output, and messages go to standard error.

mod actions;
mod command;
mod complete;
mod progress;
mod transfers;
mod words;

use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::ftp::command::Type;
use crate::ftp::listing::Listed;

use super::url::Target;
use super::{Client, ClientError, ErrorKind, Options, TlsMode, netrc};
use actions::Flow;
use command::ShellCommand;
use complete::Assistant;

/// The default port of `ftpserver`.
pub const DEFAULT_PORT: u16 = 2121;
/// The port of FTP (RFC 959), the default for URLs.
const URL_PORT: u16 = 21;
/// The default port for URLs with the scheme ftps.
const IMPLICIT_TLS_PORT: u16 = 990;
/// Password of anonymous logins: no address, which would identify the user.
const ANONYMOUS_PASSWORD: &str = "ftpclient@";

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
    client: Option<Client>,
    options: Options,
    settings: Settings,
    quiet: bool,
    /// The server, as the user named it.
    place: String,
    local: PathBuf,
    /// True once the user has changed the local directory (`lcd`).
    local_is_chosen: bool,
    representation: Type,
    /// Entries of one remote directory, cached for completion.
    names: Option<(String, Vec<Listed>)>,
    first_failure: u8,
    interactive: bool,
    /// Number of directories that the current `get -r` has listed.
    directories: usize,
}

impl Shell {
    /// Makes a shell without a connection. Its local directory is `_CLIENTROOT` in the working directory if that
    /// exists, else the working directory.
    #[must_use]
    pub fn new(options: Options, settings: Settings) -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let root = here.join("_CLIENTROOT");
        Self {
            client: None,
            options,
            quiet: settings.quiet,
            settings,
            place: String::new(),
            local: if root.is_dir() { root } else { here },
            local_is_chosen: false,
            representation: Type::Image,
            names: None,
            first_failure: 0,
            interactive: false,
            directories: 0,
        }
    }

    /// Connects and logs in, then enters the directory or fetches the file that the path of a URL names.
    ///
    /// # Errors
    /// When the connection, the login, or the path of the URL fails.
    pub fn open(&mut self, target: &str, port: Option<u16>) -> Result<(), ClientError> {
        let target = Target::parse(target).map_err(ClientError::usage)?;
        let usual = match target.tls {
            Some(TlsMode::Implicit) => IMPLICIT_TLS_PORT,
            _ if target.is_url => URL_PORT,
            _ => DEFAULT_PORT,
        };
        let port = port.or(target.port).unwrap_or(usual);
        let tls = target.tls.unwrap_or(self.options.tls);
        let options = Options { tls, ..self.options.clone() };
        let mut client = Client::connect(&target.host, port, &options)?;
        self.log_in(&mut client, &target)?;
        self.client = Some(client);
        self.place = format!("{}:{port}", target.host);
        let tls = self.client()?.tls_version();
        self.note(&format!(
            "Connected to {} ({}).",
            self.place,
            tls.as_deref().unwrap_or("no TLS")
        ));
        match target.path {
            Some(path) if path.ends_with(b"/") => self.client()?.change_directory(&path),
            Some(path) => self.fetch(&path),
            None => Ok(()),
        }
    }

    /// Handles the path of a URL without a slash at its end: enters a directory, fetches a file.
    fn fetch(&mut self, path: &[u8]) -> Result<(), ClientError> {
        match self.client()?.change_directory(path) {
            Err(error) if error.kind == ErrorKind::Refused => {
                let local = self.local.join(super::names::local_name(path)?);
                self.get_file(path, &local, None, transfers::Begin::Anew)
            }
            outcome => outcome,
        }
    }

    /// Logs in as the user of the URL or `-u`, then of `~/.netrc`, else as anonymous. After a refusal it asks for a
    /// user on a terminal.
    fn log_in(&mut self, client: &mut Client, target: &Target) -> Result<(), ClientError> {
        // This login is for the server of the command line; no other server may see it.
        let given = self.settings.user.take().map(|user| match user.split_once(':') {
            Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
            None => (user, None),
        });
        let of_url = target.user.clone().map(|user| (user, target.password.clone()));
        let stored = |user: Option<&str>| {
            netrc::find(&target.host, user).map(|entry| (entry.login, entry.password))
        };
        let (user, password) = match of_url.or(given) {
            // `~/.netrc` may have the password of a user that was given without one.
            Some((user, None)) => {
                let password = stored(Some(&user)).and_then(|(_, password)| password);
                (user, password)
            }
            Some(login) => login,
            None => stored(None)
                .unwrap_or_else(|| ("anonymous".to_owned(), Some(ANONYMOUS_PASSWORD.to_owned()))),
        };
        let password = match password {
            Some(password) => password,
            None if user == "anonymous" || user == "ftp" => ANONYMOUS_PASSWORD.to_owned(),
            None => self.ask_password(&user)?,
        };
        match client.login(&user, &password) {
            Err(error)
                if error.kind == ErrorKind::Login
                    && io::stdin().is_terminal()
                    && self.interactive =>
            {
                self.fail(&error);
                let user = ask_user()?;
                let password = self.ask_password(&user)?;
                client.login(&user, &password)
            }
            outcome => outcome,
        }
    }

    fn ask_password(&self, user: &str) -> Result<String, ClientError> {
        if !io::stdin().is_terminal() && !self.interactive {
            return Ok(String::new());
        }
        rpassword::prompt_password(format!("Password for {user}: ")).map_err(|error| {
            match error.kind() {
                io::ErrorKind::Interrupted => ClientError::interrupted(),
                _ => ClientError::new(
                    ErrorKind::Login,
                    format!("no password: {}", super::error::reason(&error)),
                ),
            }
        })
    }

    /// Runs the commands of a text (`-c`), and returns the exit status.
    pub fn run_text(&mut self, text: &str) -> u8 {
        self.run_line(text);
        self.leave()
    }

    /// Runs the commands of a script line by line as they arrive, and returns the exit status.
    pub fn run_script(&mut self, script: impl BufRead) -> u8 {
        for line in script.split(b'\n') {
            let flow = match line.map(String::from_utf8) {
                Ok(Ok(line)) => {
                    self.run_line(line.trim_start_matches('\u{FEFF}').trim_end_matches('\r'))
                }
                Ok(Err(_)) => {
                    self.fail(&ClientError::usage("a line of the script is not UTF-8; skipped"));
                    self.after_failure()
                }
                Err(error) => {
                    self.fail(&ClientError::local(std::path::Path::new("standard input"), &error));
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
        let config =
            Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
        let shell = Rc::new(RefCell::new(shell));
        let mut editor: Editor<Assistant, MemHistory> =
            Editor::with_history(config.clone(), MemHistory::with_config(&config))?;
        editor.set_helper(Some(Assistant { shell: Rc::clone(&shell) }));
        loop {
            match editor.readline("ftp> ") {
                Ok(line) => {
                    let mut shell = shell.borrow_mut();
                    shell.options.interrupt.clear();
                    if shell.run_line(&line) == Flow::Leave {
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

    /// Makes the shell interactive: it may ask for passwords, and Ctrl-C ends a command instead of the program.
    pub fn set_interactive(&mut self) {
        self.interactive = true;
    }

    fn run_line(&mut self, line: &str) -> Flow {
        let Ok(commands) = words::split(line) else {
            self.fail(&ClientError::usage("unclosed quote"));
            return self.after_failure();
        };
        for command in commands {
            match self.run_command(&command) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Leave) => return Flow::Leave,
                Err(error) => {
                    self.fail(&error);
                    if self.client.as_ref().is_some_and(Client::is_lost) {
                        self.client = None;
                    }
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

    fn run_command(&mut self, words: &[String]) -> Result<Flow, ClientError> {
        let Some((name, words)) = words.split_first() else { return Ok(Flow::Continue) };
        let command = ShellCommand::find(&words::plain(name))?;
        command.check(words.len())?;
        let meant = |word: &String| {
            if command.takes_patterns() { word.clone() } else { words::plain(word) }
        };
        let words: Vec<String> = words.iter().map(meant).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        (command.action)(self, &words)
    }

    fn leave(&mut self) -> u8 {
        self.disconnect();
        self.first_failure
    }

    fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            client.quit();
        }
        self.forget_names();
    }

    fn client(&mut self) -> Result<&mut Client, ClientError> {
        self.client.as_mut().ok_or_else(|| {
            ClientError::new(ErrorKind::NoConnection, "not connected. Use open HOST.")
        })
    }

    fn set_active(&mut self, active: bool) {
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
    fn remote_entries(&mut self, directory: &str) -> &[Listed] {
        if self.names.as_ref().is_none_or(|(of, _)| of != directory) {
            let at = if directory.len() > 1 { directory.trim_end_matches('/') } else { directory };
            let entries =
                self.client().and_then(|client| client.read_dir(at.as_bytes())).unwrap_or_default();
            self.names = Some((directory.to_owned(), entries));
        }
        self.names.as_ref().map(|(_, entries)| entries.as_slice()).unwrap_or_default()
    }

    fn forget_names(&mut self) {
        self.names = None;
    }

    /// Prints an error, and keeps the exit status of the first one.
    pub fn fail(&mut self, error: &ClientError) {
        crate::cli::complain("ftpclient", &error.to_string());
        if self.first_failure == 0 {
            self.first_failure = error.status();
        }
    }

    /// Prints a message to standard error, unless the shell is quiet.
    fn note(&self, text: &str) {
        if !self.quiet {
            // A failed write to standard error cannot be reported anywhere.
            let _written = writeln!(io::stderr(), "{text}");
        }
    }

    /// Writes data to standard output.
    fn say(&mut self, text: &str) {
        self.say_bytes(text.as_bytes());
    }

    fn say_bytes(&mut self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let text =
            if self.is_on_terminal() { printable(bytes).into_bytes() } else { bytes.to_vec() };
        let written = out.write_all(&text).and_then(|()| out.flush());
        drop(out);
        match written {
            // A broken pipe is no error: the reader wants no more output.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.fail(&ClientError::local(std::path::Path::new("standard output"), &error));
            }
            _ => {}
        }
    }

    /// Writes names in columns on a terminal, one per line elsewhere.
    fn say_names(&mut self, names: &[String]) {
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
        self.say(&text);
    }

    #[allow(clippy::unused_self, reason = "where output goes is a property of the shell")]
    fn is_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }
}

fn ask_user() -> Result<String, ClientError> {
    let mut name = String::new();
    let mut error = io::stderr();
    let asked = write!(error, "User: ")
        .and_then(|()| error.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut name));
    match asked {
        Ok(1..) => Ok(name.trim().to_owned()),
        _ => Err(ClientError::new(ErrorKind::Login, "no user")),
    }
}

/// Makes text safe for a terminal: line ends and tabs stay, other control characters become visible.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible = |letter: char| {
        if letter.is_control() && !matches!(letter, '\n' | '\t') { '\u{FFFD}' } else { letter }
    };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

fn terminal_columns() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col));
    columns.ok().filter(|columns| *columns > 0).unwrap_or(80)
}
