//! `ftpserver`: arguments, the server, signals, an exit status.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use argh::FromArgs;
use listenfd::ListenFd;
use poolftpd::balancer::control;
use poolftpd::cli;
use poolftpd::config::{self, Config, ConfigError, Limits, VirtualHost};
use poolftpd::log::{Event, Level, Log};
use poolftpd::net::data::Resumption;
use poolftpd::net::public::AddressOrName;
use poolftpd::net::tls::self_signed;
use poolftpd::net::tls::{self, KeyFiles, Newest, TlsFiles};
use poolftpd::sandbox::sandbox;
use poolftpd::server::Server;
use poolftpd::startup::{Startup, check_secrets};
use poolftpd::units::{Networks, networks};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

const PROGRAM: &str = "ftpserver";

/// FTP server with a fixed pool of worker threads.
#[derive(FromArgs)]
#[allow(clippy::struct_excessive_bools, reason = "one field an option of the command line")]
struct Arguments {
    /// directory to serve (default: _FTPROOT)
    #[argh(option, default = "PathBuf::from(\"_FTPROOT\")", arg_name = "dir")]
    root: PathBuf,

    /// address to listen on (default: all IPv6 and IPv4 addresses)
    #[argh(option, arg_name = "addr")]
    bind: Option<IpAddr>,

    /// port to listen on (default: 2121; 0 selects a free port)
    #[argh(option, default = "2121", arg_name = "n")]
    port: u16,

    /// number of worker threads (default: twice the number of processors, at least 4)
    #[argh(option, default = "config::default_workers()", arg_name = "n")]
    workers: NonZeroUsize,

    /// number of in-process slaves, on the ports following --port; each new client goes to the next slave (default: 0)
    #[argh(option, default = "0", arg_name = "n")]
    slaves: u16,

    /// allow anonymous users to write; the users of --users have permissions of their own
    #[argh(switch)]
    write: bool,

    /// allow logins of the users in this file (see ftppasswd); anonymous logins then need --anonymous
    #[argh(option, arg_name = "file")]
    users: Option<PathBuf>,

    /// allow anonymous logins in addition to --users
    #[argh(switch)]
    anonymous: bool,

    /// networks that are never locked out for wrong passwords, such as `10.0.0.0/8,::1`
    #[argh(option, from_str_fn(networks), arg_name = "networks")]
    trust: Option<Networks>,

    /// switch from root to this user once the ports are open
    #[argh(option, arg_name = "name")]
    user: Option<String>,

    /// keep this directory accessible to the server, for homes of users added later; may be given several times
    #[argh(option, arg_name = "dir")]
    allow: Vec<PathBuf>,

    /// serve another root to clients that request this name with HOST or in the TLS handshake:
    /// NAME,root=DIR and optionally users=FILE, anonymous, cert=FILE, key=FILE; may be given several times
    #[argh(option, arg_name = "host")]
    virtual_host: Vec<VirtualHost>,

    /// offer TLS with this certificate chain, in PEM; may be given several times, for several names
    #[argh(option, arg_name = "file")]
    tls_cert: Vec<PathBuf>,

    /// private key of the certificate, in PEM (default: in the file of the certificate)
    #[argh(option, arg_name = "file")]
    tls_key: Vec<PathBuf>,

    /// offer TLS with the self-signed certificate and key in this file; create the file if it does not exist
    #[argh(option, arg_name = "file")]
    self_signed: Option<PathBuf>,

    /// require TLS for logins and data connections
    #[argh(switch)]
    require_tls: bool,

    /// also listen on this port for implicit TLS (usually 990)
    #[argh(option, arg_name = "port")]
    implicit_tls: Option<u16>,

    /// require client certificates issued by an authority in this file
    #[argh(option, arg_name = "file")]
    tls_client_ca: Option<PathBuf>,

    /// newest TLS version to offer, 1.2 or 1.3 (default: 1.3); with 1.2, more clients can resume sessions
    #[argh(option, default = "Newest::default()", arg_name = "version")]
    tls_max: Newest,

    /// accept data connections that do not resume the TLS session of the control connection
    #[argh(switch)]
    no_tls_reuse: bool,

    /// confirm uploads without flushing them to the disk
    #[argh(switch)]
    no_fsync: bool,

    /// keep an interrupted upload for this many hours (default: 24)
    #[argh(option, default = "24", arg_name = "hours")]
    keep_partial: u64,

    /// range of ports for passive data connections, LO-HI, such as 30000-30999 (default: any port)
    #[argh(option, from_str_fn(config::passive_ports), arg_name = "lo-hi")]
    passive_ports: Option<RangeInclusive<u16>>,

    /// networks that data connections may also come from, such as `10.0.0.0/8,::1` (default: only the client's own address)
    #[argh(option, from_str_fn(networks), arg_name = "networks")]
    data_from: Option<Networks>,

    /// IPv4 address, or a host name that has one, for replies to PASV (default: the address that the client connected to)
    #[argh(option, arg_name = "ip|name")]
    public_address: Option<AddressOrName>,

    /// close sessions that are idle for this many seconds (default: 300)
    #[argh(option, default = "Limits::default().idle_timeout.as_secs()", arg_name = "seconds")]
    idle_timeout: u64,

    /// close data connections that transfer no data for this many seconds (default: 120)
    #[argh(option, default = "Limits::default().stall_timeout.as_secs()", arg_name = "seconds")]
    stall_timeout: u64,

    /// maximum number of concurrent clients (default: 10000)
    #[argh(option, default = "Limits::default().clients_max", arg_name = "n")]
    max_clients: usize,

    /// maximum number of concurrent clients from one address (default: a quarter of --max-clients)
    #[argh(option, arg_name = "n")]
    max_per_ip: Option<usize>,

    /// also log commands and replies
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// log only errors and warnings
    #[argh(switch, short = 'q')]
    quiet: bool,
}

impl Arguments {
    fn config(mut self) -> Result<Config, &'static str> {
        let tls = self.tls_files()?;
        let needs_client_certificates = tls.client_authorities.is_some();
        let mut names: Vec<&str> =
            self.virtual_host.iter().map(|host| host.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("two --virtual-host options have the same name");
        }
        let level = match (self.quiet, self.verbose) {
            (true, true) => return Err("--quiet and --verbose cannot be used together"),
            (true, false) => Level::Quiet,
            (false, true) => Level::Verbose,
            (false, false) => Level::Normal,
        };
        if self.max_clients == 0 || self.max_per_ip == Some(0) {
            return Err("--max-clients and --max-per-ip must be at least 1");
        }
        if self.idle_timeout == 0 {
            return Err("--idle-timeout must be at least 1");
        }
        if self.stall_timeout == 0 {
            return Err("--stall-timeout must be at least 1");
        }
        // A century stands for never, and does not overflow.
        let seconds = |seconds: u64| Duration::from_secs(seconds.min(100 * 365 * 24 * 3600));
        let limits = Limits {
            clients_max: self.max_clients,
            per_address_max: self
                .max_per_ip
                .unwrap_or_else(|| config::per_address_share(self.max_clients)),
            idle_timeout: seconds(self.idle_timeout),
            stall_timeout: seconds(self.stall_timeout),
            trusted: self.trust.unwrap_or_default(),
            partial_age_max: Duration::from_secs(self.keep_partial.min(100 * 365 * 24) * 3600),
            ..Limits::default()
        };
        let (public_address, public_name) = match self.public_address {
            Some(AddressOrName::Address(address)) => (Some(address), None),
            Some(AddressOrName::Name(name)) => (None, Some(name)),
            None => (None, None),
        };
        Ok(Config {
            root: self.root,
            bind: self.bind,
            port: self.port,
            workers: self.workers,
            slaves: self.slaves,
            write: self.write,
            anonymous: self.anonymous || self.users.is_none(),
            // A slave process may have another current directory.
            users: self.users.map(|path| std::path::absolute(&path).unwrap_or(path)),
            user: self.user,
            allow: self.allow,
            virtual_hosts: self.virtual_host,
            tls,
            tls_max: self.tls_max,
            // A client without a certificate must not get in by leaving out AUTH.
            require_tls: self.require_tls || needs_client_certificates,
            implicit_tls: self.implicit_tls,
            resumption: if self.no_tls_reuse { Resumption::Optional } else { Resumption::Required },
            flush: !self.no_fsync,
            passive_ports: self.passive_ports,
            data_from: self.data_from.unwrap_or_default(),
            public_address,
            public_name,
            limits,
            level,
        })
    }
}

impl Arguments {
    fn tls_files(&mut self) -> Result<TlsFiles, &'static str> {
        // A slave process may have another current directory.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let mut certificates = std::mem::take(&mut self.tls_cert);
        let mut keys = std::mem::take(&mut self.tls_key);
        if keys.is_empty() {
            keys.clone_from(&certificates);
        }
        if keys.len() != certificates.len() {
            return Err("each --tls-cert needs a --tls-key, in the same order");
        }
        if let Some(path) = self.self_signed.clone() {
            certificates.push(path.clone());
            keys.push(path);
        }
        let of_hosts = self.virtual_host.iter().any(|host| host.key.is_some());
        let needs = self.require_tls || self.implicit_tls.is_some() || self.tls_client_ca.is_some();
        if needs && certificates.is_empty() && !of_hosts {
            return Err("TLS needs a certificate: --tls-cert and --tls-key, or --self-signed");
        }
        let both = certificates.into_iter().zip(keys);
        let keys = both.map(|(certificate, key)| KeyFiles {
            certificate: absolute(certificate),
            key: absolute(key),
        });
        let client_authorities = self.tls_client_ca.take().map(absolute);
        Ok(TlsFiles { keys: keys.collect(), client_authorities })
    }
}

/// Controls a running ftpserver of the same user; root controls those of all users.
#[derive(FromArgs)]
struct ControlArguments {
    /// port of the server (default: 2121)
    #[argh(option, default = "2121", arg_name = "n")]
    port: u16,

    /// address of the server, if several run on the port
    #[argh(option, arg_name = "addr")]
    bind: Option<IpAddr>,

    /// status (list the slaves), drain N (give slave N no new clients) or resume N (give it new clients again)
    #[argh(positional, arg_name = "command")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "ctl") {
        return control();
    }
    let arguments = match cli::arguments::<Arguments>(PROGRAM) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let self_signed = arguments.self_signed.clone();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(what) => return cli::usage(PROGRAM, what),
    };
    match serve(&config, self_signed.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            cli::complain(PROGRAM, &what);
            ExitCode::FAILURE
        }
    }
}

/// Sends a command to a running server, as in `ftpserver ctl status`.
fn control() -> ExitCode {
    const NAME: &str = "ftpserver ctl";
    let arguments: ControlArguments = match cli::arguments_behind(NAME, 2) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    if arguments.command.is_empty() {
        return cli::usage(NAME, "no command given: use status, drain N or resume N");
    }
    match control::ask(arguments.port, arguments.bind, &arguments.command.join(" ")) {
        Ok(answer) => {
            cli::print(&answer);
            ExitCode::SUCCESS
        }
        Err(what) => {
            cli::complain(NAME, &what);
            ExitCode::FAILURE
        }
    }
}

/// Returns the fingerprint of the certificate in this file, which is created if it does not exist.
fn make_certificate(path: &Path) -> Result<String, String> {
    self_signed::make(path)?;
    tls::fingerprint(path)
}

/// Returns the sockets inherited from systemd (`LISTEN_FDS`).
fn inherited() -> Vec<TcpListener> {
    let mut found = ListenFd::from_env();
    (0..found.len()).filter_map(|index| found.take_tcp_listener(index).ok().flatten()).collect()
}

/// Prints the listening addresses on a separate thread, because standard output may be a pipe that is not read.
fn announce(server: &Server, pin: Option<&str>) -> io::Result<()> {
    let listeners = server.listeners().iter().map(|listener| {
        let of_slave = listener.slave.map(|slave| format!(" (slave {slave})")).unwrap_or_default();
        format!("listening on {}{of_slave}\n", listener.address)
    });
    let pin = pin.map(|pin| format!("certificate SHA-256 {pin} (ftpclient --pin)\n"));
    let text: String = listeners.chain(pin).collect();
    std::thread::Builder::new().name("announcer".to_owned()).spawn(move || cli::print(&text))?;
    Ok(())
}

/// Serves until SIGTERM or SIGINT; a second signal ends the process without waiting for transfers.
fn serve(config: &Config, self_signed: Option<&Path>) -> Result<(), String> {
    let text = |error: io::Error| format!("cannot start: {error}.");
    // The files read now may be on a disk that hangs. Until there is something to stop, a stop signal ends the process
    // at once.
    let is_starting = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(&is_starting))
            .map_err(text)?;
    }
    let mut signals = Signals::new([SIGHUP]).map_err(text)?;
    let sentence = |error: ConfigError| error.to_string();
    // Checked before a certificate is created where clients could fetch it.
    check_secrets(config).map_err(sentence)?;
    let pin = self_signed.map(make_certificate).transpose()?;
    // Caught so that a write above the limit of the file size fails (552) instead of ending the server.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(text)?;
    cli::log_panics(PROGRAM);
    cli::raise_descriptor_limit();
    let startup = Startup::open(config, inherited()).map_err(sentence)?;
    // Comes before any thread.
    let sandboxed = sandbox(config, &startup.places()).map_err(sentence)?;
    for signal in [SIGTERM, SIGINT] {
        signals.add_signal(signal).map_err(text)?;
    }
    is_starting.store(false, Ordering::Release);
    let (log, _writer) = Log::start(config.level, io::stderr()).map_err(text)?;
    log.server(&Event::Sandboxed { is_root: sandboxed.is_root, landlock: sandboxed.landlock });
    if let Some(why) = sandboxed.open_because {
        log.server(&Event::Warning { what: "access to the file system is not restricted", why });
    }
    let server = Server::serve(config, startup, log).map_err(sentence)?;
    announce(&server, pin.as_deref()).map_err(text)?;
    // Nothing here waits for a file or a reader, so signals are handled whatever hangs.
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        server.reload_apart();
    }
    let handle = std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || server.stop())
        .map_err(text)?;
    // The second signal has its default effect and ends the process.
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(true.into()))
            .map_err(text)?;
    }
    let _ended = handle.join();
    Ok(())
}
