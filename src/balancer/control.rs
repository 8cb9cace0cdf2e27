//! `ftpserver ctl`: what an administrator asks of a running server, over the meeting point of the slave processes.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::handover::Channel;
use super::{Balancer, Load};

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What an answer begins with when the command was not carried out.
const FAILED: &str = "error: ";

/// Asks the server on this port, of the same user.
///
/// # Errors
/// One sentence: no such server, or why it did not do it.
pub fn ask(port: u16, command: &str) -> Result<String, String> {
    let no_server = |_| {
        format!(
            "no ftpserver of this user is running on port {port} here; name its port with --port."
        )
    };
    let channel = Channel::connect(port).map_err(no_server)?;
    channel.send(command.as_bytes(), &[]).map_err(no_server)?;
    let timeout = Timespec { tv_sec: ANSWER_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&channel.as_fd(), PollFlags::IN)], Some(&timeout)) {
        Ok(1..) => {}
        _ => return Err("the server does not answer.".to_owned()),
    }
    let answer = channel
        .receive()
        .and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    let (answer, _) = answer.map_err(|error| format!("the server hung up: {error}."))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.strip_prefix(FAILED) {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer),
    }
}

/// The server's answer.
pub(super) fn answer(command: &str, balancer: &Balancer) -> String {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["status"] => table(&balancer.loads()),
        [verb @ ("drain" | "resume"), number] => {
            let draining = *verb == "drain";
            match number.parse() {
                Ok(number) if balancer.set_draining(number, draining) => {
                    let state = if draining { "takes no new clients" } else { "takes new clients" };
                    format!("slave {number} {state}\n")
                }
                _ => format!("{FAILED}there is no slave {number}."),
            }
        }
        _ => format!("{FAILED}the commands are: status, drain N, resume N."),
    }
}

fn table(loads: &[Load]) -> String {
    let mut text = "slave    process  sessions  transfers             bytes  state\n".to_owned();
    for load in loads {
        let name = load.slave.map_or_else(|| "-".to_owned(), |slave| slave.to_string());
        let process =
            load.process.map_or_else(|| "in master".to_owned(), |process| process.to_string());
        let state = if load.draining { "draining" } else { "serving" };
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "{name:<6} {process:>9}  {:>8}  {:>9}  {:>16}  {state}",
            load.sessions, load.transfers, load.bytes
        );
    }
    text
}
