//! The update of a running server: a new process takes its place without a lost connection.
//!
//! `ftpserver update` decides and starts the new process apart, `ftpserver take-over` is that process. Not here: the
//! hand-over of the sockets (`balancer/takeover`), and what the earlier server does then (`server`).

use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::balancer::control_client::{
    self, Asked, Selection, process_and_program_of, wait_for_leave,
};
use crate::balancer::identity::Program;
use crate::balancer::takeover::{Predecessor, TAKE_OVER};
use crate::sandbox::user_id;
use crate::settings::Config;
use crate::startup::Inherited;

/// Returns the port and address by which the server of these settings is found.
fn selection(config: &Config) -> Selection {
    let first = config.listeners().first().copied();
    let port = first.map_or(0, |listen| listen.port);
    Selection { port, at: first.and_then(|listen| listen.address), process: None }
}

/// Takes the sockets of the running server with these settings, if there is one of the user of the settings, or of the user
/// of this process.
///
/// # Errors
/// One sentence.
pub fn take_over(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Option<Predecessor>, String> {
    let text = |error: io::Error| format!("cannot take over: {error}.");
    let Selection { port, at, .. } = selection(config);
    let users = [Some(geteuid().as_raw()), config.user.as_deref().and_then(user_id)];
    let users: Vec<u32> = users.into_iter().flatten().collect();
    let Some(mut found) = Predecessor::ask(port, at, &users)? else { return Ok(None) };
    inherited.predecessor = Some(found.end().map_err(text)?);
    inherited.state = found.state().map_err(|why| format!("cannot take over: {why}"))?;
    for handed in found.sockets.drain(..) {
        if !handed.is_activated {
            inherited.handed_over.push(handed.socket);
        } else if inherited.is_new_activated(&handed.socket) {
            inherited.activated.push(TcpListener::from(handed.socket));
        }
    }
    Ok(Some(found))
}

/// Replaces the running server with these settings by this program, if the program has changed or `replaces` is true.
/// Otherwise makes it reload. `words` are the flags of the settings. Returns a line about what was done.
///
/// # Errors
/// One sentence; then the running server continues.
pub fn update(config: &Config, words: &[String], replaces: bool) -> Result<String, String> {
    let selection = selection(config);
    let Some((earlier, program)) = process_and_program_of(selection) else {
        let port = selection.port;
        return Err(format!("no ftpserver of this user is running on port {port}."));
    };
    if !replaces && program.is_some() && program == Program::of_this_process() {
        let asked = Asked::Port { selection, otherwise: None };
        return control_client::ask(&asked, &["text", "reload"].join(control_client::SEPARATOR));
    }
    let process = start_apart(words)?;
    wait_for_leave(selection, earlier);
    Ok(format!("replaced by process {process}\n"))
}

/// Starts a server that takes over, and returns its process ID when it serves.
fn start_apart(words: &[String]) -> Result<u32, String> {
    let wrong = |error: io::Error| format!("cannot start the new server: {error}.");
    let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
    command.arg(TAKE_OVER).args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    // It outlives this process, and gets no signals of its terminal.
    let mut child = command.process_group(0).spawn().map_err(wrong)?;
    let mut line = String::new();
    let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    match read.transpose().map_err(wrong)? {
        Some(count) if count > 0 => Ok(child.id()),
        // Its reason is on standard error.
        _ => Err("the new server has not started; the running one continues.".to_owned()),
    }
}
