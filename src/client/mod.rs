//! The other end: a client's connection to any FTP server, and the interactive program on top of it.
//!
//! [`Client`] is the library's face: `connect`, then methods named as in `std::fs`, `u64` sizes, an error with its kind
//! and the server's reply, and a deadline on every wait. [`shell`] is what `ftpclient` runs.
//!
//! Depends on `ftp` alone, which it shares with the server.

mod ahead;
mod checks;
mod connection;
mod data;
mod download;
mod error;
mod files;
mod interrupt;
pub mod netrc;
mod pace;
mod part;
mod recovery;
pub mod shell;
mod trust;
mod upload;
pub mod url;
mod wire;

pub use ahead::Coming;
pub use connection::Family;
pub use download::Known;
pub use error::{ClientError, Kind};
pub use files::Watcher;
pub use interrupt::Interrupt;
pub use trust::{Tls, Trust};
pub use upload::From;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{Command, Mechanism, Mode, Password, ProtectionLevel, Setting, Type};
use crate::ftp::{Code, Reply};

use connection::Connection;
use data::Way;
use wire::{Secrecy, Wire};

/// How to connect, and how to behave once connected.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which addresses of a host are tried.
    pub family: Family,
    /// Whether the server connects to us for data (PORT, EPRT) instead of the other way round.
    pub active: bool,
    /// When TLS is spoken.
    pub tls: Tls,
    /// By what the server is known where it is.
    pub trust: Trust,
    /// Whether stream mode is used even where the server has block mode.
    pub stream: bool,
    /// The longest wait for the server to do anything.
    pub timeout: Duration,
    /// The most bytes a second that a transfer takes.
    pub limit: Option<NonZeroU64>,
    /// How often a lost transfer is tried again without progress.
    pub retries: u32,
    /// The wait before the first of these tries; each later one is twice as long, up to 16 times.
    pub first_wait: Duration,
    /// Whether commands and replies are shown on standard error.
    pub trace: bool,
    /// Set when the user wants the current operation to end.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            family: Family::Any,
            active: false,
            tls: Tls::Auto,
            trust: Trust::System,
            stream: false,
            timeout: Duration::from_secs(30),
            limit: None,
            retries: 5,
            first_wait: Duration::from_secs(1),
            trace: false,
            interrupt: Interrupt::default(),
        }
    }
}

/// A connection to a server, logged in or about to.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    options: Options,
    /// Host and port, to connect to again.
    place: (String, u16),
    /// User and password, to log in again.
    login: Option<(String, String)>,
    /// Where we are on the server, if we went anywhere.
    directory: Option<Vec<u8>>,
    way: Way,
    /// How data is framed, once that was asked for.
    framing: Option<Mode>,
    /// Block mode: the data connection of the transfer before.
    open_data: Option<Wire>,
    /// How TLS is spoken, once it is.
    secrecy: Option<Secrecy>,
    /// Whether data travels by TLS.
    protects_data: bool,
    /// Whether REST was never refused.
    restarts: bool,
    /// Whether ALLO was never refused.
    allocates: bool,
    /// How often files that were asked for ahead were not wanted.
    wasted: u32,
    /// How far into its file the current transfer has ever been: by this progress is known.
    reached: u64,
    /// The type that the server was told last.
    representation: Option<Type>,
    features: Features,
}

/// What the server says that it can do (RFC 2389).
#[derive(Debug, Default, Clone)]
struct Features {
    machine_listing: bool,
    set_modified: bool,
    /// HASH, and with which algorithm.
    hash: Option<Algorithm>,
    /// RANG.
    ranges: bool,
    /// XCRC and its kin, the best first.
    checksums: Vec<Algorithm>,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// [`Kind::NoConnection`], with what to do next.
    pub fn connect(host: &str, port: u16, options: &Options) -> Result<Self, ClientError> {
        let mut connection = Connection::open(host, port, options)?;
        let place = format!("{host}:{port}");
        // SECURITY: who says by what the server is known means that server, and no other without a word.
        let tls = match (options.tls, &options.trust) {
            (Tls::Auto, Trust::Pin(_) | Trust::Authorities(_)) => Tls::Require,
            (tls, _) => tls,
        };
        let mut secrecy = None;
        if tls == Tls::Implicit {
            let agreed = options.trust.secrecy(host)?;
            connection.secure(&place, &agreed)?;
            secrecy = Some(agreed);
        }
        let mut greeting = connection.reply().map_err(|error| {
            let hint = if options.tls == Tls::Implicit {
                ""
            } else {
                ". Does this port speak TLS from the first byte on? Then say --tls implicit, or ftps://"
            };
            error.with(Kind::NoConnection, hint)
        })?;
        while greeting.code.is_preliminary() {
            // 120: ready in a moment.
            greeting = connection.reply()?;
        }
        if !greeting.code.is_completion() {
            return Err(ClientError::refused(
                Kind::NoConnection,
                &format!("{host}:{port} does not serve us"),
                greeting,
            ));
        }
        let way = if options.active { Way::Active } else { Way::ExtendedPassive };
        let mut client = Self {
            connection,
            options: Options { tls, ..options.clone() },
            place: (host.to_owned(), port),
            login: None,
            directory: None,
            way,
            framing: None,
            open_data: None,
            secrecy,
            protects_data: false,
            restarts: true,
            allocates: true,
            wasted: 0,
            reached: 0,
            representation: None,
            features: Features::default(),
        };
        if matches!(tls, Tls::Auto | Tls::Require) {
            client.secure(host, &place)?;
        }
        Ok(client)
    }

    /// AUTH TLS, where the server offers it (RFC 4217 §4).
    fn secure(&mut self, host: &str, place: &str) -> Result<(), ClientError> {
        let reply = self.ask(&Command::Authenticate(Mechanism::Tls))?;
        if reply.code == Code::SECURITY_EXCHANGED {
            let secrecy = self.options.trust.secrecy(host)?;
            self.connection.secure(place, &secrecy)?;
            // Never again without, should the connection be lost.
            self.options.tls = Tls::Require;
            self.secrecy = Some(secrecy);
        } else if self.options.tls == Tls::Require {
            return Err(ClientError::refused(Kind::Tls, &format!("{place} offers no TLS"), reply));
        }
        Ok(())
    }

    /// PBSZ and PROT: data by TLS, too.
    fn protect_data(&mut self) -> Result<(), ClientError> {
        if self.secrecy.is_some() {
            self.ask(&Command::ProtectionBuffer)?;
            let reply = self.ask(&Command::Protect(ProtectionLevel::Private))?;
            if !reply.code.is_completion() {
                let what = "the server does not take data by TLS";
                return Err(ClientError::refused(Kind::Tls, what, reply));
            }
            self.protects_data = true;
        }
        Ok(())
    }

    /// The version of TLS, if words and data go by TLS: `TLS 1.3`.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.connection.tls_version()
    }

    /// Logs in, and learns what the server can do.
    ///
    /// # Errors
    /// [`Kind::Login`] when the server does not want this user or password.
    pub fn login(&mut self, user: &str, password: &str) -> Result<(), ClientError> {
        let mut reply = self.ask(&Command::User(user.as_bytes().to_vec()))?;
        if reply.code == Code::NEED_PASSWORD {
            reply = self.ask(&Command::Password(Password(password.as_bytes().to_vec().into())))?;
        }
        if reply.code == Code(332) {
            reply = self.ask(&Command::Account)?;
        }
        if !reply.code.is_completion() {
            return Err(ClientError::refused(
                Kind::Login,
                &format!("login as {user} failed"),
                reply,
            ));
        }
        self.representation = None;
        self.directory = None;
        self.login = Some((user.to_owned(), password.to_owned()));
        self.protect_data()?;
        self.learn_features()
    }

    fn learn_features(&mut self) -> Result<(), ClientError> {
        let reply = self.ask(&Command::Features)?;
        self.features = Features::default();
        for line in reply.lines() {
            let line = line.trim_ascii().to_ascii_uppercase();
            self.features.machine_listing |= line.starts_with(b"MLST");
            self.features.set_modified |= line.starts_with(b"MFMT");
            self.features.ranges |= line.starts_with(b"RANG");
            self.features.learn_checksums(&String::from_utf8_lossy(&line));
            if line.starts_with(b"UTF8") {
                // Some servers speak UTF-8 only when asked; whatever they answer, we go on.
                self.ask(&Command::Set(Setting::Utf8))?;
            }
        }
        Ok(())
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.connection.peer().ip()
    }

    /// Whether the connection is lost, so that only another one helps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.connection.is_dead()
    }

    /// Sends a command and reads its reply, whatever it is.
    ///
    /// # Errors
    /// Only when there is no reply: [`Kind::NoConnection`].
    pub fn ask(&mut self, command: &Command) -> Result<Reply, ClientError> {
        self.say(&command.encode())?;
        self.connection.reply()
    }

    /// Sends a line, unless it was said ahead.
    fn say(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.catch_up(line);
        self.connection.send(line)
    }

    /// Sends a line as it is and reads its reply (`quote`).
    pub fn quote(&mut self, line: &str) -> Result<Reply, ClientError> {
        self.say(line.as_bytes())?;
        // It may have been anything.
        self.representation = None;
        self.framing = None;
        self.open_data = None;
        self.connection.reply()
    }

    /// Sends a command that must succeed; `what` begins the message if it does not.
    fn demand(&mut self, command: &Command, what: &str) -> Result<Reply, ClientError> {
        let reply = self.ask(command)?;
        if reply.code.is_completion() || reply.code.is_intermediate() {
            Ok(reply)
        } else {
            Err(ClientError::refused(Kind::Refused, what, reply))
        }
    }

    /// Says goodbye and hangs up.
    pub fn quit(mut self) {
        // Whatever the answer, the connection ends here.
        let _reply = self.ask(&Command::Quit);
    }

    /// Makes the server connect to us for data, or the other way round.
    pub fn set_active(&mut self, active: bool) {
        self.options.active = active;
        self.open_data = None;
        self.way = if active { Way::Active } else { Way::ExtendedPassive };
    }

    fn set_type(&mut self, representation: Type) -> Result<(), ClientError> {
        if self.representation != Some(representation) {
            // Unknown, should its reply be interrupted.
            self.representation = None;
            self.demand(&Command::Type(representation), "the type of transfer was refused")?;
            self.representation = Some(representation);
        }
        Ok(())
    }
}
