//! `ftpserver`: arguments, the server, signals, an exit status.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use argh::FromArgs;
use crossbeam_channel::bounded;
use listenfd::ListenFd;
use poolftpd::Server;
use poolftpd::internal::balancer::control_client::{self, Asked, Selection};
use poolftpd::internal::balancer::takeover::{Predecessor, TAKE_OVER};
use poolftpd::internal::check::{self, Environment, Finding, Request};
use poolftpd::internal::cli;
use poolftpd::internal::convert::convert;
use poolftpd::internal::events::Event;
use poolftpd::internal::hooks::{self, Checks, Hooks, Key};
use poolftpd::internal::key_opener::{self, OPEN_KEYS};
use poolftpd::internal::log::Log;
use poolftpd::internal::net::listener::Shutdown;
use poolftpd::internal::net::tls;
use poolftpd::internal::net::tls::self_signed;
use poolftpd::internal::notify::Notifier;
use poolftpd::internal::reload::Source;
use poolftpd::internal::sandbox::{become_user, sandbox};
use poolftpd::internal::settings::{
    Arguments, Config, ConfigError, Problem, Settings, pages, with_user_files,
};
use poolftpd::internal::startup::{Inherited, Startup, check_secrets};
use poolftpd::internal::update;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

const PROGRAM: &str = "ftpserver";

/// Interval at which `ctl top` shows the transfers again on a terminal.
const TOP_INTERVAL: Duration = Duration::from_secs(2);

/// The signal that the process sends itself when a successor has taken its place.
const REPLACED: i32 = SIGUSR2;

/// The flag of `update` that replaces the server also by the same program.
const REPLACE: &str = "--replace";

/// Clears a terminal, and moves to its first line.
const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";

/// The socket file of the packages, for a command that names no server while none runs on the default port.
const CONTROL_FILE: &str = "/run/poolftpd/control";

/// Converts the configuration of another FTP server, and prints it.
#[derive(FromArgs)]
struct ConvertArguments {
    /// server of the configuration: vsftpd, proftpd or pure-ftpd (default: recognized by its lines)
    #[argh(option, arg_name = "server")]
    from: Option<String>,

    /// configuration file, or directory of Pure-FTPd
    #[argh(positional, arg_name = "file")]
    file: PathBuf,
}

/// Sends a command to a running server of the same user, or as root of any user. ftpserver(8) lists the commands.
#[derive(FromArgs)]
struct ControlArguments {
    /// configuration file of the server, which has its port (default: that of the environment)
    #[argh(option, arg_name = "file")]
    config: Option<String>,

    /// port of the server (default: that of the configuration file, else 2121)
    #[argh(option, arg_name = "n")]
    port: Option<u16>,

    /// address of the server, if several run on the port
    #[argh(option, arg_name = "addr")]
    bind: Option<IpAddr>,

    /// socket file of the server, as in --control (default: that of the configuration file)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,
    /// process ID of the server, such as that of one that finishes its sessions after an update
    #[argh(option, arg_name = "pid")]
    process: Option<u32>,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// status, who, top, kick, ban, bans, unban, reload, reopen, drain, resume, stop, limit, quota, recount,
    /// verbose, certificates or ready; ftpserver(8) has their arguments
    #[argh(positional, arg_name = "command")]
    command: Vec<String>,
}

/// Runs commands and sends requests for the files of --hook-spool, and for --check-socket. ftpserver starts it.
#[derive(FromArgs)]
struct HookArguments {
    /// directory of the files
    #[argh(option, arg_name = "dir")]
    spool: Option<PathBuf>,

    /// file with the key that signs each POST
    #[argh(option, arg_name = "file")]
    key_file: Option<PathBuf>,

    /// socket at which the server asks about uploads
    #[argh(option, arg_name = "path")]
    check_socket: Option<PathBuf>,

    /// program that allows or refuses uploads
    #[argh(option, arg_name = "file")]
    check_command: Option<PathBuf>,

    /// URL that allows or refuses uploads
    #[argh(option, arg_name = "url")]
    check_post: Option<String>,

    /// program to run for each file; may be given several times
    #[argh(option, arg_name = "file")]
    command: Vec<PathBuf>,

    /// URL that gets a POST for each file; may be given several times
    #[argh(option, arg_name = "url")]
    post: Vec<String>,

    /// maximum time for one hook, in seconds (default: 30)
    #[argh(option, default = "30", arg_name = "seconds")]
    timeout: u64,

    /// maximum number of retries of a file (default: 10)
    #[argh(option, default = "10", arg_name = "n")]
    retries: u32,

    /// switch from root to this user
    #[argh(option, arg_name = "name")]
    user: Option<String>,
}

/// Opens certificates and keys for the server at standard input, which has given up root. ftpserver starts it itself.
fn open_keys() -> ExitCode {
    let files: Vec<PathBuf> = std::env::args_os().skip(2).map(PathBuf::from).collect();
    let connection = io::stdin().as_fd().try_clone_to_owned();
    match connection.and_then(|connection| key_opener::run(&files, connection)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain("ftpserver open-keys", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Handles the files of a spool until standard input ends, so that the helper ends with its server.
fn run_hooks() -> Result<ExitCode, ExitCode> {
    const NAME: &str = "ftpserver hooks";
    let arguments: HookArguments = cli::arguments_behind(NAME, 2)?;
    let fail = |what: &str| {
        cli::complain(NAME, what);
        ExitCode::FAILURE
    };
    // The user need not be able to read it.
    let key = arguments.key_file.as_deref().map(Key::read).transpose();
    let key = key.map_err(|what| fail(&what))?;
    arguments.user.as_deref().map_or(Ok(()), become_user).map_err(|what| fail(&what))?;
    let HookArguments { spool, command: commands, post: urls, timeout, retries, .. } = arguments;
    let timeout = Duration::from_secs(timeout);
    if let Some(socket) = arguments.check_socket {
        let (command, url) = (arguments.check_command, arguments.check_post);
        let place = socket.display().to_string();
        let checks = Checks { socket, command, url, timeout, key: key.clone() };
        checks.start().map_err(|error| fail(&format!("{place}: {error}")))?;
    }
    let (alive, stop) = bounded::<()>(0);
    let watch = move || {
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(alive);
    };
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(watch)
        .map_err(|error| fail(&error.to_string()))?;
    let Some(spool) = spool else {
        // Until the server ends.
        let _ended = stop.recv();
        return Ok(ExitCode::SUCCESS);
    };
    let hooks = Hooks { spool, commands, urls, timeout, retries, key };
    hooks.run(&stop).map_err(|error| fail(&format!("{}: {error}", hooks.spool.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "ctl" => control(),
        Some(word) if word == "convert" => convert_configuration(),
        Some(word) if word == "hooks" => run_hooks().unwrap_or_else(|status| status),
        Some(word) if word == "check" => check_settings().unwrap_or_else(|status| status),
        Some(word) if word == OPEN_KEYS => open_keys(),
        Some(word) if word == "update" => update_server().unwrap_or_else(|status| status),
        Some(word) if word == TAKE_OVER => start(2).unwrap_or_else(|status| status),
        _ => start(1).unwrap_or_else(|status| status),
    }
}

/// Reads the flags after the first `skipped` words, the environment and the file.
fn settings(words: &[String]) -> Result<(Arguments, Environment, Config), ExitCode> {
    let arguments: Arguments = cli::parsed(PROGRAM, words, Some(&pages::help()))?;
    let (environment, problems) = with_user_files(std::env::vars_os().collect());
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let config = read_settings(&arguments, &environment).map_err(refuse)?;
    Ok((arguments, environment, config))
}

/// Reads the settings, and serves. After `take-over`, takes the place of the running server, if there is one.
fn start(skipped: usize) -> Result<ExitCode, ExitCode> {
    let (arguments, environment, config) = settings(&cli::words(PROGRAM, skipped)?)?;
    let takes_over = skipped > 1;
    let read_again = move |_: &Config| {
        let sentences = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        read_settings(&arguments, &environment).map_err(sentences)
    };
    Ok(match serve(&config, takes_over, Box::new(read_again)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            cli::complain(PROGRAM, &what);
            ExitCode::FAILURE
        }
    })
}

/// Returns the configuration that all sources amount to.
fn read_settings(arguments: &Arguments, environment: &Environment) -> Result<Config, Vec<Problem>> {
    let (settings, problems) = Settings::read(arguments, environment);
    if problems.is_empty() { settings.config() } else { Err(problems) }
}

/// Prints the first problem; of several, `ftpserver check` prints all.
fn refuse(problems: Vec<Problem>) -> ExitCode {
    let count = problems.len();
    let Some(problem) = problems.into_iter().next() else { return ExitCode::FAILURE };
    if problem.is_usage() {
        return cli::usage(PROGRAM, &problem.to_string());
    }
    let more = if count > 1 {
        format!(" ({} more: run ftpserver check)", count - 1)
    } else {
        String::new()
    };
    cli::complain(PROGRAM, &format!("{problem}{more}"));
    ExitCode::FAILURE
}

/// Checks the settings, as `ftpserver check` with the flags of the server and its own.
fn check_settings() -> Result<ExitCode, ExitCode> {
    const NAME: &str = "ftpserver check";
    let mut words = cli::words(NAME, 2)?;
    let request = Request::take(&mut words).map_err(|what| cli::usage(NAME, &what))?;
    let arguments: Arguments = cli::parsed(NAME, &words, Some(&pages::help()))?;
    let (environment, problems) = with_user_files(std::env::vars_os().collect());
    let (settings, mut findings) = check::check(&arguments, &environment);
    findings.extend(problems.iter().map(Finding::of));
    if let Some((user, path)) = &request.explains {
        let explained = check::explain(&settings, user, path, request.is_json);
        return Ok(match explained {
            Ok(text) => {
                cli::print(&text);
                ExitCode::SUCCESS
            }
            Err(what) => {
                cli::complain(NAME, &what.to_string());
                ExitCode::FAILURE
            }
        });
    }
    let text = match (request.is_json, request.shows) {
        (true, shows) => check::json(&findings, shows.then_some(&settings)),
        (false, true) => format!("{}{}", settings.show(), check::lines(&findings)),
        (false, false) if findings.is_empty() => "ok\n".to_owned(),
        (false, false) => check::lines(&findings),
    };
    cli::print(&text);
    Ok(if request.fails(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the server that the command line or its configuration file names: its socket file, or its port and address.
fn server_of(arguments: &ControlArguments) -> Result<Asked, Vec<Problem>> {
    if let Some(path) = &arguments.socket {
        return Ok(Asked::File(path.clone()));
    }
    let at_port = |port, otherwise| Asked::Port {
        selection: Selection { port, at: arguments.bind, process: arguments.process },
        otherwise,
    };
    if let Some(port) = arguments.port {
        return Ok(at_port(port, None));
    }
    let words: Vec<&str> =
        arguments.config.iter().flat_map(|file| ["--config", file.as_str()]).collect();
    // Two valid words at most.
    let Ok(of_file) = Arguments::from_args(&[PROGRAM], &words) else {
        return Ok(at_port(0, None));
    };
    let (settings, problems) = Settings::read(&of_file, &std::env::vars_os().collect::<Vec<_>>());
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = settings.config()?;
    // The file is that of the server that accepts clients.
    if let Some(path) = config.control.as_ref().filter(|_| arguments.process.is_none()) {
        return Ok(Asked::File(path.clone()));
    }
    let port = config.listeners().first().map_or(0, |listen| listen.port);
    let otherwise = arguments.config.is_none().then_some(Path::new(CONTROL_FILE));
    Ok(at_port(port, otherwise))
}

/// Sends a command to a running server, as in `ftpserver ctl status`.
fn control() -> ExitCode {
    const NAME: &str = "ftpserver ctl";
    let arguments: ControlArguments = match cli::arguments_behind(NAME, 2) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    if arguments.command.is_empty() {
        return cli::usage(
            NAME,
            "no command given: use status, who, kick, ban, reload or another command of ftpserver(8)",
        );
    }
    let asked = match server_of(&arguments) {
        Ok(found) => found,
        Err(problems) => return refuse(problems),
    };
    let form = if arguments.json { "json" } else { "text" };
    let words: Vec<&str> =
        std::iter::once(form).chain(arguments.command.iter().map(String::as_str)).collect();
    let command = words.join(control_client::SEPARATOR);
    let repeats = words == ["text", "top"] && io::stdout().is_terminal();
    loop {
        match control_client::ask(&asked, &command) {
            Ok(answer) if repeats => cli::print(&format!("{CLEAR_SCREEN}{answer}")),
            Ok(answer) => {
                cli::print(&answer);
                return ExitCode::SUCCESS;
            }
            Err(what) => {
                cli::complain(NAME, &what);
                return ExitCode::FAILURE;
            }
        }
        // Until Ctrl-C.
        std::thread::park_timeout(TOP_INTERVAL);
    }
}

/// Prints a configuration of another server as one of this server.
fn convert_configuration() -> ExitCode {
    const NAME: &str = "ftpserver convert";
    let arguments: ConvertArguments = match cli::arguments_behind(NAME, 2) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match convert(&arguments.file, arguments.from.as_deref()) {
        Ok(text) => {
            cli::print(&text);
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
fn activated() -> Vec<TcpListener> {
    let mut found = ListenFd::from_env();
    (0..found.len()).filter_map(|index| found.take_tcp_listener(index).ok().flatten()).collect()
}

/// Replaces the running server by this program, if the program has changed; otherwise makes it reload.
fn update_server() -> Result<ExitCode, ExitCode> {
    const NAME: &str = "ftpserver update";
    let fail = |what: &str| {
        cli::complain(NAME, what);
        ExitCode::FAILURE
    };
    let mut words = cli::words(NAME, 2)?;
    let before = words.len();
    words.retain(|word| word != REPLACE);
    let replaces = words.len() < before;
    // Mistakes are found before anything changes.
    let (_, _, config) = settings(&words)?;
    let answer = update::update(&config, &words, replaces).map_err(|what| fail(&what))?;
    cli::print(&answer);
    Ok(ExitCode::SUCCESS)
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

/// Reports that the helper of the hooks has ended before the server.
fn report_hooks(error: &io::Error) {
    let message = "the helper of the hooks has ended; uploads wait in the spool until a restart";
    cli::complain(
        PROGRAM,
        &format!("level=error event=error message=\"{message}\" reason=\"{error}\""),
    );
}

/// Reports to the service manager from now on. A manager that cannot be reached is no reason to serve nobody.
fn report(
    notifier: io::Result<Option<Notifier>>,
    predecessor: Option<&Predecessor>,
    server: &mut Server,
) -> io::Result<()> {
    match notifier {
        Ok(None) => Ok(()),
        Ok(Some(notifier)) => server.report_to(match predecessor {
            Some(predecessor) => notifier.taking_over(predecessor.watchdog),
            None => notifier,
        }),
        Err(why) => {
            cli::complain(PROGRAM, &format!("cannot report to the service manager: {why}."));
            Ok(())
        }
    }
}

/// Ends the server. The next stop signal ends the process without waiting for transfers. When the server leaves, because it
/// was replaced, the first one only ends the wait for its sessions.
fn end(server: Server, mut signals: Signals, leaves: bool) -> Result<(), String> {
    let text = |error: io::Error| format!("cannot stop: {error}.");
    let (hurry, reopen) = (Shutdown::new().map_err(text)?, server.log_opener());
    let end_at_once = || {
        // The next signal has its default effect.
        [SIGTERM, SIGINT].into_iter().try_for_each(|signal| {
            signal_hook::flag::register_conditional_default(signal, Arc::new(true.into())).map(drop)
        })
    };
    let (handle, rung) = (signals.handle(), hurry.clone());
    let finish = move || {
        if leaves {
            server.leave(&rung);
        } else {
            server.stop();
        }
        handle.close();
    };
    let ending = std::thread::Builder::new().name("stop".to_owned()).spawn(finish).map_err(text)?;
    if !leaves {
        end_at_once().map_err(text)?;
    }
    for signal in signals.forever() {
        match signal {
            SIGUSR1 => reopen(),
            SIGTERM | SIGINT if leaves && !hurry.is_triggered() => {
                hurry.trigger();
                end_at_once().map_err(text)?;
            }
            _ => {}
        }
    }
    let _ended = ending.join();
    Ok(())
}

/// Serves until SIGTERM or SIGINT, or until a successor takes over. `takes_over` takes the place of the running server.
fn serve(config: &Config, takes_over: bool, read_again: Source) -> Result<(), String> {
    let text = |error: io::Error| format!("cannot start: {error}.");
    // The files read now may be on a disk that hangs. Until there is something to stop, a stop signal ends the process
    // at once.
    let is_starting = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(&is_starting))
            .map_err(text)?;
    }
    let mut signals = Signals::new([SIGHUP, SIGUSR1, REPLACED]).map_err(text)?;
    let sentence = |error: ConfigError| error.to_string();
    // Checked before a certificate is created where clients could fetch it.
    check_secrets(config).map_err(sentence)?;
    let pin = config.self_signed.as_deref().map(make_certificate).transpose()?;
    // Caught so that a write above the limit of the file size fails (552) instead of ending the server.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(text)?;
    cli::log_panics(PROGRAM);
    cli::raise_descriptor_limit();
    let notifier = Notifier::from_environment();
    let mut inherited = Inherited { activated: activated(), ..Inherited::default() };
    let predecessor = if takes_over { update::take_over(config, &mut inherited)? } else { None };
    let startup = Startup::open(config, inherited).map_err(sentence)?;
    // Comes before the sandbox, in which nothing can be executed.
    let hooks = hooks::start(config).map_err(sentence)?;
    if let Some(opener) = key_opener::start(config).map_err(sentence)? {
        startup.open_keys_through(opener);
    }
    // Comes before any thread.
    let sandboxed = sandbox(config, &startup.places()).map_err(sentence)?;
    for signal in [SIGTERM, SIGINT] {
        signals.add_signal(signal).map_err(text)?;
    }
    is_starting.store(false, Ordering::Release);
    let outputs = config.log_outputs();
    let (log, _writer) = Log::open(config.level, &outputs).map_err(|why| format!("{why}."))?;
    log.server(&Event::Sandboxed { is_root: sandboxed.is_root, landlock: sandboxed.landlock });
    if let Some(why) = sandboxed.open_because {
        log.server(&Event::Warning {
            message: "access to the file system is not restricted",
            reason: why,
        });
    }
    let mut server = Server::serve(config, startup, log).map_err(sentence)?;
    let _hooks = hooks.map(|helper| helper.watch(report_hooks)).transpose().map_err(text)?;
    server.read_settings_from(read_again);
    report(notifier, predecessor.as_ref(), &mut server).map_err(text)?;
    if let Some(predecessor) = predecessor {
        predecessor.replace();
    }
    announce(&server, pin.as_deref()).map_err(text)?;
    // Nothing here waits for a file or a reader, so signals are handled whatever hangs.
    let mut leaves = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP => server.reload_apart(),
            SIGUSR1 => server.reopen_log(),
            // Anyone with the right to can send this signal.
            REPLACED if !server.is_replaced() => {}
            _ => {
                leaves = signal == REPLACED;
                break;
            }
        }
    }
    end(server, signals, leaves)
}
