//! The `ftpbench` program: parses the arguments, measures one load after the other, prints a table.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use poolftpd::internal::bench::{self, BenchError, Load, Report, Settings};
use poolftpd::internal::client::Interrupt;
use poolftpd::internal::{cli, units};
use signal_hook::consts::SIGINT;

const PROGRAM: &str = "ftpbench";

/// The exit status after Ctrl-C, like that of a program ended by the signal.
const INTERRUPTED: u8 = 130;

/// Maximum number of commands sent ahead; any socket takes this many at once.
const AHEAD_MAX: usize = 100;

/// Measures the performance of an FTP server and prints a table: throughput, files or commands per second, latency, and the
/// CPU time of this program and, with --pid, of the server.
#[derive(FromArgs)]
struct Arguments {
    /// user:password to log in with (default: anonymous)
    #[argh(option, short = 'u', default = "\"anonymous:ftpbench\".to_owned()", arg_name = "user")]
    user: String,

    /// loads to run, separated by commas: download, upload, small (files), login, burst, idle, crowd, interactive (commands
    /// during downloads), mix (the same with slow readers), list, mlsd (default: all)
    #[argh(option, short = 'l', arg_name = "loads")]
    loads: Option<String>,

    /// number of concurrent clients (default: depends on the load)
    #[argh(option, short = 'n', arg_name = "clients")]
    sessions: Option<usize>,

    /// size of the file, such as 64K or 1G (default: depends on the load)
    #[argh(option, short = 's', from_str_fn(size), arg_name = "size")]
    size: Option<u64>,

    /// seconds to measure each load (default: 3)
    #[argh(option, short = 't', default = "3.0", arg_name = "seconds")]
    time: f64,

    /// download this existing file, instead of one that is uploaded first
    #[argh(option, arg_name = "file")]
    path: Option<String>,

    /// directory on the server to upload to and to list (default: /)
    #[argh(option, default = "\"/\".to_owned()", arg_name = "directory")]
    directory: String,

    /// download in block mode
    #[argh(switch)]
    block: bool,

    /// in block mode, number of small files to request ahead (default: 0, maximum: 100)
    #[argh(option, default = "0", arg_name = "files")]
    ahead: usize,

    /// process ID of the server, if it runs on this machine: also show its CPU time and memory
    #[argh(option, arg_name = "process")]
    pid: Option<u32>,

    /// print one line of JSON for each line of the table
    #[argh(switch)]
    json: bool,

    /// host name or address of the server
    #[argh(positional)]
    host: String,

    /// port of the server (default: 2121)
    #[argh(positional, default = "2121")]
    port: u16,
}

fn size(text: &str) -> Result<u64, String> {
    units::bytes(text)
}

fn main() -> ExitCode {
    let arguments: Arguments = match cli::arguments(PROGRAM) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let loads = match loads(arguments.loads.as_deref()) {
        Ok(loads) => loads,
        Err(what) => return cli::usage(PROGRAM, &what),
    };
    if !(0.1..=3600.0).contains(&arguments.time) {
        return cli::usage(PROGRAM, "--time must be from 0.1 to 3600 seconds");
    }
    if arguments.ahead > AHEAD_MAX || (arguments.ahead > 0 && !arguments.block) {
        return cli::usage(PROGRAM, "--ahead must be at most 100, and needs --block");
    }
    if arguments.sessions == Some(0) {
        return cli::usage(PROGRAM, "--sessions must be at least 1");
    }
    let interrupt = Interrupt::default();
    if let Err(error) = catch_ctrl_c(&interrupt) {
        cli::complain(PROGRAM, &format!("cannot catch Ctrl-C: {error}"));
        return ExitCode::FAILURE;
    }
    cli::raise_descriptor_limit();
    let json = arguments.json;
    let settings = settings(arguments, interrupt);
    if !json {
        cli::print(&format!("{}\n", Report::head()));
    }
    run(&settings, &loads, json)
}

/// Makes the first Ctrl-C end the measurement cleanly, and the second one end the program.
fn catch_ctrl_c(interrupt: &Interrupt) -> io::Result<()> {
    signal_hook::flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), interrupt.flag())?;
    signal_hook::flag::register(SIGINT, interrupt.flag()).map(drop)
}

fn loads(names: Option<&str>) -> Result<Vec<Load>, String> {
    let Some(names) = names else { return Ok(Load::ALL.to_vec()) };
    names.split(',').map(|name| name.trim().parse()).collect()
}

fn settings(arguments: Arguments, interrupt: Interrupt) -> Settings {
    let (user, password) = match arguments.user.split_once(':') {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (arguments.user, "ftpbench".to_owned()),
    };
    let slash = if arguments.directory.ends_with('/') { "" } else { "/" };
    Settings {
        host: arguments.host,
        port: arguments.port,
        user,
        password,
        sessions: arguments.sessions,
        size: arguments.size,
        time: Duration::from_secs_f64(arguments.time),
        path: arguments.path,
        directory: format!("{}{slash}", arguments.directory),
        block: arguments.block,
        ahead: arguments.ahead,
        process: arguments.pid,
        interrupt,
    }
}

/// Measures the loads, and continues after one that failed; the exit status shows a failure.
fn run(settings: &Settings, loads: &[Load], json: bool) -> ExitCode {
    let shows = io::stderr().is_terminal();
    let mut status = ExitCode::SUCCESS;
    for load in loads {
        let progress = |what: &str| {
            if shows {
                say(&format!("\r\x1b[K{}: {what}", load.name()));
            }
        };
        let measured = bench::measure(settings, *load, &progress);
        if shows {
            say("\r\x1b[K");
        }
        match measured {
            Ok(report) => {
                cli::print(&if json { report.json() } else { report.lines() });
                if let Some(why) = report.failure() {
                    cli::complain(PROGRAM, &format!("{}: {why}", load.name()));
                }
                if !report.is_clean() {
                    status = ExitCode::FAILURE;
                }
            }
            Err(BenchError::Interrupted) => {}
            Err(error) => {
                cli::complain(PROGRAM, &format!("{}: {error}", load.name()));
                status = ExitCode::FAILURE;
            }
        }
        if settings.interrupt.is_set() {
            return ExitCode::from(INTERRUPTED);
        }
    }
    status
}

fn say(text: &str) {
    // A failed write to standard error cannot be reported anywhere.
    let _written = io::stderr().write_all(text.as_bytes());
}
