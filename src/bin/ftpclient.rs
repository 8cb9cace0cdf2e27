//! The `ftpclient` program: parses the arguments, runs the shell, returns an exit status.

use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use argh::FromArgs;
use poolftpd::internal::cli;
use poolftpd::internal::client::secret;
use poolftpd::internal::client::shell::{BackgroundKey, Clobber, JsonReport, Settings, Shell};
use poolftpd::internal::client::{
    CONNECTIONS_MAX, Family, Interrupt, Options, RateLimit, TlsMode, Trust,
};
use poolftpd::internal::units;
use signal_hook::consts::{SIGINT, SIGTSTP, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

const PROGRAM: &str = "ftpclient";

/// Maximum time for giving up a transfer after Ctrl-C.
const GIVE_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// The exit status after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// FTP client, for interactive use or for a script on standard input.
#[derive(FromArgs)]
#[expect(clippy::struct_excessive_bools, reason = "one field an option of the command line")]
struct Arguments {
    /// user or user:password to log in with (default: from ~/.netrc, else anonymous)
    #[argh(option, short = 'u', arg_name = "user")]
    user: Option<String>,

    /// read the password of this user, one line, from this open descriptor
    #[argh(option, arg_name = "n")]
    password_fd: Option<u32>,

    /// take the password of this user from this environment variable
    #[argh(option, arg_name = "variable")]
    password_env: Option<String>,

    /// do not log in before the command user, or before the first command that needs a login
    #[argh(switch, short = 'n')]
    no_login: bool,

    /// run these commands, separated by semicolons, and exit
    #[argh(option, short = 'c', arg_name = "commands")]
    commands: Option<String>,

    /// in a script, exit at the first command that fails
    #[argh(switch, short = 'e')]
    exit_on_error: bool,

    /// let downloads replace local files that differ (default: ask on a terminal, fail in a script)
    #[argh(switch)]
    clobber: bool,

    /// let downloads skip local files that exist
    #[argh(switch)]
    no_clobber: bool,

    /// use of TLS: auto (if the server offers it; default), require, implicit or off
    #[argh(option, default = "TlsMode::Auto", from_str_fn(tls), arg_name = "when")]
    tls: TlsMode,

    /// verify the server's certificate with the authorities in this file instead of the system's
    #[argh(option, arg_name = "file")]
    ca: Option<PathBuf>,

    /// accept only the server certificate with this SHA-256 fingerprint
    #[argh(option, from_str_fn(Trust::pin), arg_name = "sha256")]
    pin: Option<Trust>,

    /// do not verify the server's certificate
    #[argh(switch)]
    insecure: bool,

    /// active mode: the server opens the data connections
    #[argh(switch)]
    active: bool,

    /// use stream mode even if the server supports block mode
    #[argh(switch)]
    stream: bool,

    /// maximum number of connections of a command that transfers several files (default: 1)
    #[argh(option, default = "1", from_str_fn(connections), arg_name = "n")]
    parallel: usize,

    /// print a JSON object for each file and for the session to standard output, and all else to standard error
    #[argh(switch)]
    json: bool,

    /// use IPv4 only
    #[argh(switch, short = '4')]
    ipv4: bool,

    /// use IPv6 only
    #[argh(switch, short = '6')]
    ipv6: bool,

    /// maximum transfer rate in bytes per second, such as 500K or 2M
    #[argh(option, from_str_fn(rate), arg_name = "rate")]
    limit: Option<NonZeroU64>,

    /// maximum number of retries of an interrupted transfer, after 1, 2, 4, 8, 16 seconds (default: 5)
    #[argh(option, default = "5", arg_name = "n")]
    retries: u32,

    /// give up if the server does not respond for this many seconds (default: 30)
    #[argh(option, default = "30", arg_name = "seconds")]
    timeout: u64,

    /// print only errors
    #[argh(switch, short = 'q')]
    quiet: bool,

    /// print commands and replies
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// server: a host name, an address, or a URL such as ftp://user@host:port/path
    #[argh(positional, arg_name = "host|url")]
    target: String,

    /// port of the server (default: 2121, then 21; for a URL: 21)
    #[argh(positional)]
    port: Option<u16>,
}

fn main() -> ExitCode {
    if let Err(error) = secret::hide_password() {
        cli::complain(PROGRAM, &format!("the password of the command line stays visible: {error}"));
    }
    let arguments: Arguments = match cli::arguments(PROGRAM) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let family = match (arguments.ipv4, arguments.ipv6) {
        (true, true) => return cli::usage(PROGRAM, "--ipv4 and --ipv6 cannot be used together"),
        (true, false) => Family::Ipv4,
        (false, true) => Family::Ipv6,
        (false, false) => Family::Any,
    };
    let trust = match (arguments.ca, arguments.pin, arguments.insecure) {
        (None, None, false) => Trust::System,
        (Some(file), None, false) => Trust::Authorities(file),
        (None, Some(pin), false) => pin,
        (None, None, true) => Trust::Anybody,
        _ => return cli::usage(PROGRAM, "--ca, --pin and --insecure cannot be used together"),
    };
    if arguments.timeout == 0 {
        return cli::usage(PROGRAM, "--timeout must be at least 1");
    }
    let Some(clobber) = clobber(arguments.clobber, arguments.no_clobber) else {
        return cli::usage(PROGRAM, "--clobber and --no-clobber cannot be used together");
    };
    let password = match password(arguments.password_fd, arguments.password_env.as_deref()) {
        Ok(password) => password,
        Err(what) => return cli::usage(PROGRAM, &what),
    };
    let (interrupt, background_key) = (Interrupt::default(), BackgroundKey::default());
    if let Err(error) = catch_signals(&interrupt, &background_key) {
        cli::complain(PROGRAM, &format!("cannot catch signals: {error}"));
        return ExitCode::FAILURE;
    }
    let options = Options {
        family,
        active: arguments.active,
        tls: arguments.tls,
        trust,
        stream: arguments.stream,
        timeout: Duration::from_secs(arguments.timeout),
        limit: arguments.limit.map(RateLimit::new),
        retries: arguments.retries,
        trace: arguments.verbose,
        interrupt,
        ..Options::default()
    };
    let report = arguments.json.then(JsonReport::default);
    let settings = Settings {
        json: report.clone(),
        user: arguments.user,
        quiet: arguments.quiet,
        parallel: arguments.parallel,
        exit_on_error: arguments.exit_on_error,
        password,
        no_login: arguments.no_login,
        background_key,
        clobber,
    };
    let status = run(
        Shell::new(options, settings),
        &arguments.target,
        arguments.port,
        arguments.commands.as_deref(),
    );
    if let Some(report) = report {
        report.summary(status);
    }
    ExitCode::from(status)
}

/// Catches Ctrl-C, Ctrl-Z, and the signal of a file that is too large.
fn catch_signals(interrupt: &Interrupt, background_key: &BackgroundKey) -> io::Result<()> {
    flag::register(SIGINT, interrupt.flag())?;
    // A write beyond a file size limit fails with an error, instead of ending the program.
    flag::register(SIGXFSZ, Arc::default())?;
    flag::register(SIGTSTP, background_key.pressed())?;
    flag::register_conditional_default(SIGTSTP, background_key.suspends()).map(drop)
}

/// Returns the rule for local files that exist; `None` if two are given.
fn clobber(replace: bool, keep: bool) -> Option<Clobber> {
    match (replace, keep) {
        (true, true) => None,
        (true, false) => Some(Clobber::Replace),
        (false, true) => Some(Clobber::Keep),
        (false, false) => Some(Clobber::Ask),
    }
}

/// Returns the password from a descriptor or from the environment.
fn password(descriptor: Option<u32>, variable: Option<&str>) -> Result<Option<String>, String> {
    if let Some(descriptor) = descriptor {
        return secret::read_descriptor(descriptor)
            .map(Some)
            .map_err(|error| format!("no password from descriptor {descriptor}: {error}"));
    }
    match std::env::var(variable.unwrap_or(secret::PASSWORD_VARIABLE)) {
        Ok(password) => Ok(Some(password)),
        Err(_) if variable.is_none() => Ok(None),
        Err(error) => Err(format!("no password from {}: {error}", variable.unwrap_or_default())),
    }
}

fn tls(text: &str) -> Result<TlsMode, String> {
    match text {
        "auto" => Ok(TlsMode::Auto),
        "require" => Ok(TlsMode::Require),
        "implicit" => Ok(TlsMode::Implicit),
        "off" => Ok(TlsMode::Off),
        _ => Err(format!("'{text}' is not auto, require, implicit or off")),
    }
}

/// Parses a number of connections.
fn connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=CONNECTIONS_MAX).contains(number));
    number.ok_or_else(|| format!("'{text}' is not a number from 1 to {CONNECTIONS_MAX}"))
}

/// Parses a rate in bytes per second.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    units::bytes(text).and_then(|rate| {
        NonZeroU64::new(rate).ok_or_else(|| "a rate must be at least 1".to_owned())
    })
}

fn run(mut shell: Shell, target: &str, port: Option<u16>, commands: Option<&str>) -> u8 {
    let interactive = commands.is_none() && io::stdin().is_terminal();
    if interactive {
        shell.set_interactive();
    } else if let Err(error) = leave_on_ctrl_c() {
        cli::complain(PROGRAM, &format!("cannot catch Ctrl-C: {error}"));
    }
    shell.run_start_file();
    if let Err(error) = shell.open(target, port) {
        shell.fail(&error);
        // On a terminal, the user may try another login.
        if !(interactive && shell.is_connected()) {
            return error.status();
        }
    }
    match commands {
        Some(commands) => shell.run_text(commands),
        None if interactive => Shell::run_terminal(shell).unwrap_or_else(|error| {
            cli::complain(PROGRAM, &format!("cannot use the terminal: {error}"));
            1
        }),
        None => shell.run_script(io::stdin().lock()),
    }
}

/// Makes Ctrl-C end a script: a transfer is aborted cleanly, and any other wait ends.
fn leave_on_ctrl_c() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::thread::park_timeout(GIVE_UP_TIMEOUT);
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}
