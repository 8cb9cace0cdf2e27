//! Connecting to a server, and logging in.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind, Unaccepted, reason};
use crate::client::known_hosts::KnownHosts;
use crate::client::names::local_name;
use crate::client::netrc;
use crate::client::options::Options;
use crate::client::trust::{TlsMode, Trust};
use crate::client::url::Target;

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

impl Shell {
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
        let mut client = self.connect(&target.host, port, &options)?;
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
        if !matches!(ask(&question)?.to_ascii_lowercase().as_str(), "y" | "yes") {
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
                let user = ask("User: ")?;
                let password = self.ask_password(&user)?;
                client.login(&user, &password)
            }
            outcome => outcome,
        }
    }

    /// Asks for a password on the terminal; without a terminal, the password is empty.
    pub(super) fn ask_password(&self, user: &str) -> Result<String, ClientError> {
        if !io::stdin().is_terminal() && !self.interactive {
            return Ok(String::new());
        }
        rpassword::prompt_password(format!("Password for {user}: ")).map_err(|error| {
            match error.kind() {
                io::ErrorKind::Interrupted => ClientError::interrupted(),
                _ => ClientError::new(ErrorKind::Login, format!("no password: {}", reason(&error))),
            }
        })
    }
}

/// Asks a question on the terminal, and returns the line that the user types.
fn ask(question: &str) -> Result<String, ClientError> {
    let mut answer = String::new();
    let mut error = io::stderr();
    let asked = write!(error, "{question}")
        .and_then(|()| error.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(1..) => Ok(answer.trim().to_owned()),
        _ => Err(ClientError::new(ErrorKind::Login, "no answer")),
    }
}

/// Writes a fingerprint as browsers and openssl do: `AB:CD:…`.
fn in_pairs(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.to_ascii_uppercase().chars().collect();
    digits.chunks(2).map(String::from_iter).collect::<Vec<_>>().join(":")
}
