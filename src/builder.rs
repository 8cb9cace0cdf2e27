//! The builder of a server inside another program: a test fixture in three lines, or a service that embeds it.
//!
//! Not here: the sandbox, signals and the change of the user. They belong to a process, so a program decides on them
//! itself. SECURITY: the embedding program has all of its rights while the server runs.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::log::{Level, Log};
use crate::server::Server;
use crate::settings::{ConfigError, Problem, Settings};

/// The settings of a server that is not started yet.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let server = poolftpd::Server::builder(directory.path()).bind("127.0.0.1:0").writable(true).start()?;
/// println!("serving on port {}", server.port());
/// # let mut client = poolftpd::Client::builder("127.0.0.1").port(server.port()).connect()?;
/// # client.create_dir(b"from-the-client")?;
/// # assert!(directory.path().join("from-the-client").is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a server starts with `start`"]
pub struct ServerBuilder {
    settings: Settings,
    /// The first problem of a value; reported by `start`.
    problem: Option<Problem>,
    log: Option<Box<dyn Write + Send>>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, problem, log: _ } = self;
        formatter
            .debug_struct("ServerBuilder")
            .field("settings", settings)
            .field("problem", problem)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Returns a builder for a server of this directory. Without further calls, the server listens on port 2121 of all
    /// addresses, and anonymous users may read.
    pub fn builder(root: impl AsRef<Path>) -> ServerBuilder {
        let builder = ServerBuilder { settings: Settings::default(), problem: None, log: None };
        builder.path("root", root.as_ref())
    }
}

impl ServerBuilder {
    /// Listens on this address, such as `127.0.0.1:0`. Port 0 selects a free port, which [`Server::port`] returns.
    pub fn bind(self, address: &str) -> Self {
        match address.parse::<SocketAddr>() {
            Ok(address) => {
                self.set("bind", &address.ip().to_string()).set("port", &address.port().to_string())
            }
            // The setting refuses it and says what it expects.
            Err(_) => self.set("bind", address),
        }
    }

    /// Allows anonymous users to write.
    pub fn writable(self, is_writable: bool) -> Self {
        self.set("write", if is_writable { "true" } else { "false" })
    }

    /// Lets the users of this file log in with their passwords, and no anonymous ones. `ftppasswd` writes such files.
    pub fn users(self, file: impl AsRef<Path>) -> Self {
        self.path("users", file.as_ref())
    }

    /// Offers TLS with this certificate chain and private key, both in PEM.
    pub fn tls(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.path("tls-cert", certificate.as_ref()).path("tls-key", key.as_ref())
    }

    /// Sets the number of worker threads.
    pub fn workers(self, count: usize) -> Self {
        self.set("workers", &count.to_string())
    }

    /// Gives any setting a value, by its name in the configuration file: `set("idle-timeout", "60")`.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        let outcome = self.settings.set(name, value.to_owned());
        self.problem = self.problem.or_else(|| outcome.err());
        self
    }

    /// Writes the log there. By default, nothing is logged.
    pub fn log(mut self, out: impl Write + Send + 'static) -> Self {
        self.log = Some(Box::new(out));
        self
    }

    /// Starts the server. It serves until the returned value is dropped, which closes all connections at once.
    ///
    /// # Errors
    /// A wrong setting, or the reason why the server cannot start; one sentence.
    pub fn start(self) -> Result<Server, ConfigError> {
        let sentence = |problem: &Problem| ConfigError(format!("{problem}."));
        if let Some(problem) = &self.problem {
            return Err(sentence(problem));
        }
        let built = self.settings.config();
        let mut config = built.map_err(|problems| {
            problems.first().map_or_else(|| ConfigError(String::new()), sentence)
        })?;
        let out = self.log.unwrap_or_else(|| {
            config.level = Level::Quiet;
            Box::new(io::sink())
        });
        let started = Log::start(config.level, out);
        let (log, writer) =
            started.map_err(|error| ConfigError(format!("cannot start the log: {error}.")))?;
        Ok(Server::start(&config, log)?.with_log_writer(writer))
    }

    fn path(self, name: &str, path: &Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        // A byte that is not UTF-8 becomes U+FFFD, so that the error names the path.
        self.set(name, &absolute.to_string_lossy())
    }
}
