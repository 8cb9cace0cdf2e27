//! `ftpslaves`: starts slave processes beside a running `ftpserver`, and restarts those that die.
//!
//! The program has two parts. Started by a person, it is the parent; each slave is the program again, with an
//! environment variable set.

use std::io;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use poolftpd::internal::cli;
use poolftpd::internal::net::listener::Shutdown;
use poolftpd::internal::sandbox::harden;
use poolftpd::internal::settings;
use poolftpd::internal::slave::{Ending, Slave, end_with_parent, find_master};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

const PROGRAM: &str = "ftpslaves";

/// Environment variable of a slave: its index among the processes of its parent, from 0.
const SLAVE_VARIABLE: &str = "POOLFTPD_SLAVE";

/// The port of `ftpserver`, if HOST names none.
const DEFAULT_PORT: u16 = 2121;

/// Maximum time to look for an `ftpserver` that may be starting.
const MASTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum and maximum delay before a dead slave is restarted. The delay doubles each time, and is reset once the slave
/// has lived for a while.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
const LIVED_WELL: Duration = Duration::from_secs(10);

/// The exit status of a slave that must be restarted, because its master has other settings.
const OUTDATED: u8 = 75;
/// The exit status of a slave for which a restart makes no sense; it has printed the reason.
const HOPELESS: u8 = 1;

/// Starts slave processes for the ftpserver on this machine, which hands each new client to the next slave.
#[derive(FromArgs)]
struct Arguments {
    /// number of slave processes (default: 2)
    #[argh(option, default = "2", arg_name = "n")]
    count: u16,

    /// also listen for clients on a port per slave, starting with this port (default: none)
    #[argh(option, arg_name = "first")]
    port: Option<u16>,

    /// how many worker threads each (default: twice the processors, four at least)
    #[argh(option, default = "settings::default_workers()", arg_name = "n")]
    workers: NonZeroUsize,

    /// the ftpserver, which must run on this machine: localhost or localhost:PORT (default port: 2121)
    #[argh(positional)]
    host: String,
}

fn main() -> ExitCode {
    let arguments: Arguments = match cli::arguments(PROGRAM) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let master = match check(&arguments) {
        Ok(port) => port,
        Err(what) => return cli::usage(PROGRAM, &what),
    };
    let index = std::env::var(SLAVE_VARIABLE).ok().and_then(|index| index.parse::<u16>().ok());
    let outcome = match index {
        Some(index) => be_slave(&arguments, master, index),
        None => find_master(master, address(&arguments), now() + MASTER_TIMEOUT, now)
            .and_then(|()| be_parent(arguments.count)),
    };
    outcome.unwrap_or_else(|what| {
        cli::complain(PROGRAM, &what);
        ExitCode::from(HOPELESS)
    })
}

/// Checks the command line, and returns the master's port.
fn check(arguments: &Arguments) -> Result<u16, String> {
    let (host, port) = split(&arguments.host)?;
    if !is_here(&host) {
        return Err(format!(
            "{host} is another machine; run ftpslaves on the machine of the ftpserver. See docs/balancer.md"
        ));
    }
    if arguments.count == 0 {
        return Err("--count must be at least 1".to_owned());
    }
    let last = arguments.port.map(|first| first.checked_add(arguments.count - 1));
    if last == Some(None) || arguments.port == Some(0) {
        return Err(
            "the ports of the slaves must be from 1 to 65535; choose another --port".to_owned()
        );
    }
    Ok(port)
}

/// Returns the address of the master, if the command line names an address and not a host.
fn address(arguments: &Arguments) -> Option<IpAddr> {
    split(&arguments.host).ok().and_then(|(host, _)| host.parse().ok())
}

fn split(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        }
        None => (text, None),
    };
    let port = port.map_or(Ok(DEFAULT_PORT), |port| {
        port.parse().map_err(|_| format!("'{port}' is not a port"))
    })?;
    Ok((host.to_owned(), port))
}

/// Returns whether a host is this machine: its address can be bound.
fn is_here(host: &str) -> bool {
    let can_listen = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    (host, 0).to_socket_addrs().is_ok_and(|mut found| found.any(|address| can_listen(address.ip())))
}

/// Serves as one slave until the master stops or SIGTERM arrives.
fn be_slave(arguments: &Arguments, master: u16, index: u16) -> Result<ExitCode, String> {
    let text = |error: io::Error| format!("cannot start: {error}.");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(text)?;
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(text)?;
    // If the parent is killed, its slaves must end, because nothing would restart them.
    end_with_parent().map_err(text)?;
    cli::raise_descriptor_limit();
    harden().map_err(text)?;
    cli::log_panics(PROGRAM);
    let stop = Shutdown::new().map_err(text)?;
    let stopping = stop.clone();
    thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            stopping.trigger();
        }
    });
    let port = arguments.port.map(|first| first + index);
    let slave = Slave { master, at: address(arguments), workers: arguments.workers, port };
    Ok(match slave.run(&stop, now)? {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Outdated => ExitCode::from(OUTDATED),
    })
}

/// Process IDs of the running children, by index.
type Children = Arc<Mutex<Vec<Option<u32>>>>;

/// Starts the slaves and keeps them running until SIGTERM or SIGINT, or until all have ended by themselves.
fn be_parent(count: u16) -> Result<ExitCode, String> {
    let text = |error: io::Error| format!("cannot start: {error}.");
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(text)?;
    let handle = signals.handle();
    let children: Children = Arc::new(Mutex::new(vec![None; usize::from(count)]));
    let (stop, stopped) = bounded::<()>(0);
    let stop = Arc::new(Mutex::new(Some(stop)));
    let keepers: Vec<_> = (0..count)
        .map(|index| {
            let (children, stopped) = (Arc::clone(&children), stopped.clone());
            thread::spawn(move || keep_running(index, &children, &stopped))
        })
        .collect();
    let stopping = Arc::clone(&stop);
    let listening = thread::spawn(move || {
        for _ in signals.forever() {
            // First prevents new slaves, then ends those that run; their transfers finish.
            drop(stopping.lock().take());
            terminate(&children);
        }
    });
    let mut failed = false;
    for keeper in keepers {
        failed |= !matches!(keeper.join(), Ok(Ok(())));
    }
    handle.close();
    let _ended = listening.join();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one slave, and restarts it if it dies. Returns when it has ended by itself, or when the parent stops.
fn keep_running(index: u16, children: &Children, stopped: &Receiver<()>) -> io::Result<()> {
    let mut pause = BACK_OFF.0;
    loop {
        let begun = now();
        let status = {
            let mut running = children.lock();
            // Checked under the lock: a concurrent stop finds either the child or no child.
            if is_stopped(stopped) {
                return Ok(());
            }
            let child = start(index)?;
            if let Some(place) = running.get_mut(usize::from(index)) {
                *place = Some(child.id());
            }
            child
        }
        .wait()?;
        if let Some(place) = children.lock().get_mut(usize::from(index)) {
            *place = None;
        }
        match status.code() {
            Some(0) => return Ok(()),
            Some(code) if code == i32::from(HOPELESS) => return Err(io::ErrorKind::Other.into()),
            Some(code) if code == i32::from(OUTDATED) => pause = BACK_OFF.0,
            _ if begun.elapsed() > LIVED_WELL => pause = BACK_OFF.0,
            _ => {}
        }
        cli::complain(PROGRAM, &format!("a slave ended ({}); restarting it", ending(status)));
        if matches!(stopped.recv_timeout(pause), Err(error) if error.is_disconnected()) {
            return Ok(());
        }
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

fn is_stopped(stopped: &Receiver<()>) -> bool {
    matches!(stopped.try_recv(), Err(error) if error.is_disconnected())
}

/// Starts this program again, with its command line, as a slave.
fn start(index: u16) -> io::Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(SLAVE_VARIABLE, index.to_string())
        .spawn()
}

fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) if code == i32::from(OUTDATED) => {
            "the settings of ftpserver have changed".to_owned()
        }
        (None, code) => format!("status {}", code.unwrap_or_default()),
    }
}

fn terminate(children: &Children) {
    for process in children.lock().iter().flatten() {
        if let Some(process) = i32::try_from(*process).ok().and_then(Pid::from_raw) {
            // The process may just have ended by itself.
            let _sent = kill_process(process, Signal::TERM);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the program's own loops: time enters here")]
fn now() -> Instant {
    Instant::now()
}
