//! The FTP client: a connection to any FTP server, and the interactive program on top of it.
//!
//! [`Client`] is the interface of the library: `connect`, then methods named as in `std::fs`, with `u64` sizes. Its
//! errors carry a kind and the server's reply, and every wait has a deadline. [`shell`] is the program that `ftpclient`
//! runs.
//!
//! Depends on `ftp`, which it shares with the server, and on the small helpers `cli` and `units`.

mod checks;
mod connection;
mod data;
mod download;
mod error;
mod files;
mod interrupt;
pub mod netrc;
mod part;
mod pipeline;
mod rate_limit;
mod recovery;
pub mod shell;
mod stream;
mod trust;
mod upload;
pub mod url;

pub use connection::Family;
pub use download::RemoteMetadata;
pub use error::{ClientError, ErrorKind};
pub use files::Progress;
pub use interrupt::Interrupt;
pub use pipeline::FileRequest;
pub use trust::{TlsMode, Trust};
pub use upload::UploadStart;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{Command, Mechanism, Mode, Password, ProtectionLevel, Setting, Type};
use crate::ftp::{Code, Reply};

use connection::Connection;
use data::DataMode;
use stream::{Stream, TlsContext};

/// Options for connecting to a server and for using the connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address families of a host to try.
    pub family: Family,
    /// Active mode: the server connects to the client for data (PORT, EPRT) instead of the other way round.
    pub active: bool,
    /// Use of TLS on the connection.
    pub tls: TlsMode,
    /// Check that the server's certificate must pass where TLS is used.
    pub trust: Trust,
    /// Uses stream mode even where the server supports block mode.
    pub stream: bool,
    /// Maximum time to wait for any action of the server.
    pub timeout: Duration,
    /// Maximum transfer rate in bytes per second; `None` for no limit.
    pub limit: Option<NonZeroU64>,
    /// Maximum number of retries of a lost transfer without progress.
    pub retries: u32,
    /// Wait before the first retry; each later wait is twice as long, up to 16 times the first.
    pub first_wait: Duration,
    /// Prints commands and replies to standard error.
    pub trace: bool,
    /// Set when the user wants the current operation to end.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            family: Family::Any,
            active: false,
            tls: TlsMode::Auto,
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

/// A connection to a server, logged in or about to log in.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    options: Options,
    /// Host and port, for reconnecting.
    place: (String, u16),
    /// User and password, for logging in again.
    login: Option<(String, String)>,
    /// Current directory after a change of directory, for returning to it after a reconnect.
    directory: Option<Vec<u8>>,
    way: DataMode,
    /// Transmission mode, once the client has asked for one (MODE).
    framing: Option<Mode>,
    /// Data connection of the previous transfer, kept open in block mode.
    open_data: Option<Stream>,
    /// TLS parameters, once the control connection uses TLS.
    tls_context: Option<TlsContext>,
    /// Set once data goes over TLS (PROT P).
    protects_data: bool,
    /// True until the server refuses REST.
    restarts: bool,
    /// True until the server refuses ALLO.
    allocates: bool,
    /// Number of times that files requested ahead were not wanted.
    wasted: u32,
    /// Furthest offset that the current transfer has reached in its file, in bytes; it shows progress between retries.
    reached: u64,
    /// Representation type last set on the server (TYPE); `None` if unknown.
    representation: Option<Type>,
    features: Features,
}

/// Features that the server lists in its reply to FEAT (RFC 2389).
#[derive(Debug, Default, Clone)]
struct Features {
    machine_listing: bool,
    set_modified: bool,
    /// HASH, with the algorithm that it uses.
    hash: Option<Algorithm>,
    /// RANG: HASH of a range of bytes.
    ranges: bool,
    /// XCRC and similar commands, best algorithm first.
    checksums: Vec<Algorithm>,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`], with advice on what to do next; [`ErrorKind::Tls`] when TLS cannot be set up.
    pub fn connect(host: &str, port: u16, options: &Options) -> Result<Self, ClientError> {
        let mut connection = Connection::open(host, port, options)?;
        let place = format!("{host}:{port}");
        // SECURITY: a user who names a pin or authorities expects that server, so the client must not fall back to
        // plain text silently.
        let tls = match (options.tls, &options.trust) {
            (TlsMode::Auto, Trust::Pin(_) | Trust::Authorities(_)) => TlsMode::Require,
            (tls, _) => tls,
        };
        let mut tls_context = None;
        if tls == TlsMode::Implicit {
            let agreed = options.trust.tls_context(host)?;
            connection.secure(&place, &agreed)?;
            tls_context = Some(agreed);
        }
        let mut greeting = connection.reply().map_err(|error| {
            let hint = if options.tls == TlsMode::Implicit {
                ""
            } else {
                ". If this port uses implicit TLS, use --tls implicit or ftps://"
            };
            error.with(ErrorKind::NoConnection, hint)
        })?;
        while greeting.code.is_preliminary() {
            // 120: the server will be ready in a moment.
            greeting = connection.reply()?;
        }
        if !greeting.code.is_completion() {
            return Err(ClientError::refused(
                ErrorKind::NoConnection,
                &format!("{host}:{port} refuses the connection"),
                greeting,
            ));
        }
        let way = if options.active { DataMode::Active } else { DataMode::ExtendedPassive };
        let mut client = Self {
            connection,
            options: Options { tls, ..options.clone() },
            place: (host.to_owned(), port),
            login: None,
            directory: None,
            way,
            framing: None,
            open_data: None,
            tls_context,
            protects_data: false,
            restarts: true,
            allocates: true,
            wasted: 0,
            reached: 0,
            representation: None,
            features: Features::default(),
        };
        if matches!(tls, TlsMode::Auto | TlsMode::Require) {
            client.secure(host, &place)?;
        }
        Ok(client)
    }

    /// Sends AUTH TLS, and secures the control connection if the server accepts it (RFC 4217 §4).
    fn secure(&mut self, host: &str, place: &str) -> Result<(), ClientError> {
        let reply = self.ask(&Command::Authenticate(Mechanism::Tls))?;
        if reply.code == Code::SECURITY_EXCHANGED {
            let tls_context = self.options.trust.tls_context(host)?;
            self.connection.secure(place, &tls_context)?;
            // A reconnect must not fall back to plain text.
            self.options.tls = TlsMode::Require;
            self.tls_context = Some(tls_context);
        } else if self.options.tls == TlsMode::Require {
            return Err(ClientError::refused(
                ErrorKind::Tls,
                &format!("{place} does not offer TLS"),
                reply,
            ));
        }
        Ok(())
    }

    /// Sends PBSZ and PROT, so that data goes over TLS, too.
    fn protect_data(&mut self) -> Result<(), ClientError> {
        if self.tls_context.is_some() {
            self.ask(&Command::ProtectionBuffer)?;
            let reply = self.ask(&Command::Protect(ProtectionLevel::Private))?;
            if !reply.code.is_completion() {
                let what = "the server does not support TLS on data connections";
                return Err(ClientError::refused(ErrorKind::Tls, what, reply));
            }
            self.protects_data = true;
        }
        Ok(())
    }

    /// Returns the TLS version of the control connection, such as `TLS 1.3`; `None` without TLS.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.connection.tls_version()
    }

    /// Logs in, protects data connections where TLS is used, and reads the server's features.
    ///
    /// # Errors
    /// [`ErrorKind::Login`] when the server refuses the user or password.
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
                ErrorKind::Login,
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
                // Some servers use UTF-8 only when asked to. The reply does not matter.
                self.ask(&Command::Set(Setting::Utf8))?;
            }
        }
        Ok(())
    }

    /// Returns the server's address.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.connection.peer().ip()
    }

    /// Returns true if the connection is lost, so that only a new one helps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.connection.is_dead()
    }

    /// Sends a command and reads its reply, whatever its code.
    ///
    /// # Errors
    /// [`ErrorKind::NoConnection`] when there is no reply, or the reply is 421; [`ErrorKind::Usage`] when the command contains a
    /// line end; [`ErrorKind::Interrupted`].
    pub fn ask(&mut self, command: &Command) -> Result<Reply, ClientError> {
        self.send_line(&command.encode())?;
        self.connection.reply()
    }

    /// Sends a line, unless it was sent ahead.
    fn send_line(&mut self, line: &[u8]) -> Result<(), ClientError> {
        self.drain(line);
        self.connection.send(line)
    }

    /// Sends a line unchanged and reads its reply (`quote`).
    pub fn quote(&mut self, line: &str) -> Result<Reply, ClientError> {
        self.send_line(line.as_bytes())?;
        // The line may have changed any of these settings.
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
            Err(ClientError::refused(ErrorKind::Refused, what, reply))
        }
    }

    /// Sends QUIT and closes the connection.
    pub fn quit(mut self) {
        // The connection ends here, whatever the reply.
        let _reply = self.ask(&Command::Quit);
    }

    /// Selects active or passive mode for data connections.
    pub fn set_active(&mut self, active: bool) {
        self.options.active = active;
        self.open_data = None;
        self.way = if active { DataMode::Active } else { DataMode::ExtendedPassive };
    }

    fn set_type(&mut self, representation: Type) -> Result<(), ClientError> {
        if self.representation != Some(representation) {
            // The type is unknown if the wait for the reply is interrupted.
            self.representation = None;
            self.demand(&Command::Type(representation), "the server refused the transfer type")?;
            self.representation = Some(representation);
        }
        Ok(())
    }
}
