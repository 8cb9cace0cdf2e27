//! Connecting to a server, and logging in.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::termios::{QueueSelector, tcflush};

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind, Unaccepted, reason};
use crate::client::known_hosts::KnownHosts;
use crate::client::names::local_name;
use crate::client::netrc;
use crate::client::options::Options;
use crate::client::proxy::Proxy;
use crate::client::trust::{TlsMode, Trust};
use crate::client::url::Target;
use crate::sys::{Interest, is_ready};

use super::profile::bookmarks;
use super::state::Shell;
use super::transfers::Start;

/// The default port of `ftpserver`.
pub const DEFAULT_PORT: u16 = 2121;
/// The port of FTP (RFC 959), the default for URLs.
const URL_PORT: u16 = 21;
/// The default port for URLs with the scheme ftps.
const IMPLICIT_TLS_PORT: u16 = 990;
/// Password of anonymous logins: no address, which would identify the user.
const ANONYMOUS_PASSWORD: &str = "ftpclient@";
/// Maximum time to wait for a connection to the first of the usual ports.
const FIRST_PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of bytes of lines that were typed before a password is asked for.
const TYPED_AHEAD_MAX: usize = 64 * 1024;

impl Shell {
    /// Connects and logs in, then enters the directory or fetches the file that the path of a URL names.
    ///
    /// # Errors
    /// When the connection, the login, or the path of the URL fails.
    pub fn open(&mut self, target: &str, port: Option<u16>) -> Result<(), ClientError> {
        let bookmark = bookmarks().into_iter().find(|bookmark| bookmark.name == target);
        let target = bookmark.as_ref().map_or(target, |bookmark| bookmark.url.as_str());
        let mut target = Target::parse(target).map_err(ClientError::usage)?;
        self.add_login(&mut target);
        let port = port.or(target.port).or(match target.tls {
            Some(TlsMode::Implicit) => Some(IMPLICIT_TLS_PORT),
            _ if target.is_url => Some(URL_PORT),
            _ => None,
        });
        let tls = target.tls.unwrap_or(self.options.tls);
        let proxy = Proxy::for_host(&target.host, |name| std::env::var(name).ok())
            .map_err(ClientError::usage)?;
        let options = Options { proxy, tls, ..self.options.clone() };
        let (client, port) = match port {
            Some(port) => (self.connect(&target.host, port, &options)?, port),
            None => self.connect_to_a_usual_port(&target.host, &options)?,
        };
        self.place = if target.host.contains(':') {
            format!("[{}]:{port}", target.host)
        } else {
            format!("{}:{port}", target.host)
        };
        self.scheme = if options.tls == TlsMode::Implicit { "ftps" } else { "ftp" };
        let tls = client.tls_version();
        self.client = Some(client);
        self.note(&format!(
            "Connected to {} ({}).",
            self.place,
            tls.as_deref().unwrap_or("no TLS")
        ));
        let path = target.path.clone();
        self.pending_login = Some(target);
        (self.login_directory, self.previous_directory) = (None, None);
        self.login_failed = false;
        if self.interactive && !self.settings.no_login {
            self.client()?;
        }
        match path {
            Some(path) if path.ends_with(b"/") => self.client()?.change_directory(&path),
            Some(path) => self.fetch(&path),
            None => Ok(()),
        }
    }

    /// Adds the user of `-u` and the password to a target without.
    fn add_login(&mut self, target: &mut Target) {
        // SECURITY: they are for the server of the command line; no other server may see them.
        let (user, password) = (self.settings.user.take(), self.settings.password.take());
        if target.user.is_none()
            && let Some(user) = user
        {
            (target.user, target.password) = match user.split_once(':') {
                Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
                None => (Some(user), None),
            };
        }
        if target.user.is_some() && target.password.is_none() {
            target.password = password;
        }
    }

    /// Connects to the port of `ftpserver`, or to that of FTP if nothing answers there.
    fn connect_to_a_usual_port(
        &self,
        host: &str,
        options: &Options,
    ) -> Result<(Client, u16), ClientError> {
        // Many firewalls drop what is sent to an unusual port.
        let hasty = Options { connect_timeout: FIRST_PORT_TIMEOUT, ..options.clone() };
        match self.connect(host, DEFAULT_PORT, &hasty) {
            Ok(client) => Ok((client, DEFAULT_PORT)),
            Err(error) if error.is_unreached => {
                let client = self.connect(host, URL_PORT, options).map_err(|second| {
                    if second.is_unreached {
                        error.with(ErrorKind::NoConnection, " Port 21 does not answer, either.")
                    } else {
                        second
                    }
                })?;
                self.note(&format!(
                    "{host}: no answer on port {DEFAULT_PORT}; using port {URL_PORT}."
                ));
                Ok((client, URL_PORT))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the connection, after the login that is still to come.
    pub(super) fn client(&mut self) -> Result<&mut Client, ClientError> {
        if let Some(target) = self.pending_login.take()
            && let Some(mut client) = self.client.take()
        {
            let outcome = self.log_in(&mut client, &target);
            // On a terminal, the user may log in with another name.
            if outcome.is_ok() || (self.interactive && !client.is_lost()) {
                self.client = Some(client);
            }
            self.login_failed = outcome.is_err();
            outcome?;
        }
        self.connection()
    }

    /// Asks for the remote directory before the first change of it, for `cd` and `cd -`.
    pub(super) fn remember_login_directory(&mut self) -> Result<(), ClientError> {
        if self.login_directory.is_none() {
            match self.client()?.current_directory() {
                Ok(directory) => self.login_directory = Some(directory),
                // A server without PWD has no such directory to return to.
                Err(error) if error.kind == ErrorKind::Refused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops the login that is still to come: the user logs in by commands.
    pub(super) fn leave_login_to_the_user(&mut self) {
        self.pending_login = None;
        self.forget_names();
    }

    /// Connects to a server. A certificate that is not signed by a trusted authority is accepted if the user has
    /// accepted it for this server before, or does so now, at the terminal.
    fn connect(&self, host: &str, port: u16, options: &Options) -> Result<Client, ClientError> {
        let known = KnownHosts::of_user().filter(|_| options.trust == Trust::System);
        let options = match known.as_ref().and_then(|known| Some((known, known.find(host, port)?)))
        {
            Some((known, pin)) => {
                let trust = Trust::Known(pin, known.path().to_owned());
                Options { trust, ..options.clone() }
            }
            None => options.clone(),
        };
        let refused = match Client::connect(host, port, &options) {
            Err(error) if self.interactive => error,
            outcome => return outcome,
        };
        let (Some(certificate), Some(known)) = (refused.unaccepted_certificate(), known) else {
            return Err(refused);
        };
        let Unaccepted { fingerprint, why } = certificate;
        let question = format!(
            "{host}:{port}: {why}.\nIts SHA-256 is {}.\nTrust it for {host}:{port} from now on? [y/N] ",
            in_pairs(fingerprint)
        );
        if !matches!(self.ask(&question)?.to_ascii_lowercase().as_str(), "y" | "yes") {
            return Err(refused);
        }
        known
            .add(host, port, fingerprint)
            .map_err(|error| ClientError::local(known.path(), &error))?;
        let trust = Trust::Known(fingerprint.clone(), known.path().to_owned());
        Client::connect(host, port, &Options { trust, ..options })
    }

    /// Handles the path of a URL without a slash at its end: enters a directory, fetches a file.
    fn fetch(&mut self, path: &[u8]) -> Result<(), ClientError> {
        match self.client()?.change_directory(path) {
            Err(error) if error.kind == ErrorKind::Refused => {
                let local = self.local.join(local_name(path)?);
                self.get_file(path, &local, None, Start::Beginning)
            }
            outcome => outcome,
        }
    }

    /// Logs in as the user of the URL or `-u`, then of `~/.netrc`, else as anonymous. After a refusal it asks for a
    /// user on a terminal.
    fn log_in(&mut self, client: &mut Client, target: &Target) -> Result<(), ClientError> {
        let stored = |user: Option<&str>| {
            netrc::find(&target.host, user).map(|entry| (entry.login, entry.password))
        };
        let (user, password) = match target.user.clone().map(|user| (user, target.password.clone()))
        {
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
                let user = self.ask("User: ")?;
                let password = self.ask_password(&user)?;
                client.login(&user, &password)
            }
            outcome => outcome,
        }
    }

    /// Asks a question at the terminal, and returns the answer without blanks around it.
    fn ask(&self, question: &str) -> Result<String, ClientError> {
        let answer = self.asker.ask(question).ok_or_else(ClientError::interrupted)?;
        Ok(answer.trim().to_owned())
    }

    /// Asks for a password on the terminal; without a terminal, the password is empty.
    pub(super) fn ask_password(&mut self, user: &str) -> Result<String, ClientError> {
        if !io::stdin().is_terminal() && !self.interactive {
            return Ok(String::new());
        }
        self.keep_typed_ahead();
        rpassword::prompt_password(format!("Password for {user}: ")).map_err(|error| {
            match error.kind() {
                io::ErrorKind::Interrupted => ClientError::interrupted(),
                _ => ClientError::new(ErrorKind::Login, format!("no password: {}", reason(&error))),
            }
        })
    }
}

impl Shell {
    /// Takes the lines that were typed before a password is asked for: they are commands.
    ///
    /// SECURITY: such a line would be sent as the password, and the password would run and show as a command.
    fn keep_typed_ahead(&mut self) {
        let input = io::stdin();
        let (mut typed, mut bytes) = (Vec::new(), [0; 1024]);
        let is_readable = || is_ready(input.as_fd(), Interest::Readable).is_ok_and(|ready| ready);
        // The terminal passes on whole lines only.
        while typed.len() < TYPED_AHEAD_MAX && is_readable() {
            match rustix::io::read(&input, &mut bytes) {
                Ok(count @ 1..) => typed.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                _ => break,
            }
        }
        // A line without its end is neither.
        let _flushed = tcflush(&input, QueueSelector::IFlush);
        let lines = typed.split_inclusive(|byte| matches!(byte, b'\n' | b'\r'));
        let lines = lines
            .map(|line| String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned());
        self.typed_ahead.extend(lines);
    }
}

/// Writes a fingerprint as browsers and openssl do: `AB:CD:…`.
fn in_pairs(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.to_ascii_uppercase().chars().collect();
    digits.chunks(2).map(String::from_iter).collect::<Vec<_>>().join(":")
}
