//! The checks of uploads that are not stored yet, by a command and by HTTP: the other end of `approval`.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::{Value, json};

use super::run::{PROGRAM, command, has_ended, post};
use super::signature::Key;
use crate::cli;
use crate::units::reason;

/// The bits of the mode that are taken away from the socket: only the user of the server may connect.
const MASK: u32 = 0o177;

/// Maximum number of bytes of the line about an upload.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Maximum number of bytes that are read of the reason of a command or of a response.
const REASON_BYTES_MAX: u64 = 1024;

/// The exit status of a command that cannot decide now: `EX_TEMPFAIL` of `sysexits.h`.
const TEMPORARY: i32 = 75;

/// The decision about an upload. An error is for the log: the client may try again.
type Decision = Result<Verdict, String>;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Refused(String),
}

/// The checks of a server.
#[derive(Debug)]
pub struct Checks {
    /// The path of the socket at which the server asks.
    pub socket: PathBuf,
    /// The program that decides.
    pub command: Option<PathBuf>,
    /// The URL that decides.
    pub url: Option<String>,
    /// Maximum time for each of the two.
    pub timeout: Duration,
    /// The key that signs each POST.
    pub key: Option<Key>,
}

impl Checks {
    /// Opens the socket, and answers on threads until the process ends.
    ///
    /// # Errors
    /// When the socket cannot be opened, or there is no thread.
    pub fn start(self) -> io::Result<()> {
        // That of an earlier helper. A regular file is left, and then binding fails.
        let is_socket = fs::symlink_metadata(&self.socket).is_ok_and(|found| !found.is_file());
        if is_socket {
            fs::remove_file(&self.socket)?;
        }
        let before = rustix::process::umask(Mode::from_raw_mode(MASK));
        let listener = UnixListener::bind(&self.socket);
        rustix::process::umask(before);
        let listener = listener?;
        let checks = Arc::new(self);
        let run = move || {
            // The server asks about a bounded number of uploads at once.
            for stream in listener.incoming().flatten() {
                let checks = Arc::clone(&checks);
                let answer = move || {
                    if let Err(error) = checks.answer(&stream) {
                        cli::complain(PROGRAM, &format!("check: {}", reason(&error)));
                    }
                };
                let _started = std::thread::Builder::new().name("check".to_owned()).spawn(answer);
            }
        };
        std::thread::Builder::new().name("checks".to_owned()).spawn(run).map(drop)
    }

    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let line = read_line(stream)?;
        let answer = match self.decide(&line, stream) {
            Ok(Verdict::Allowed) => json!({"allow": true}),
            Ok(Verdict::Refused(reason)) => json!({"allow": false, "reason": reason}),
            Err(what) => json!({"error": what}),
        };
        // The server need not send the rest of a content that is not read.
        let _closed = stream.shutdown(std::net::Shutdown::Read);
        (&*stream).write_all(format!("{answer}\n").as_bytes())
    }

    /// Asks the command and then the URL; the first refusal decides.
    fn decide(&self, line: &str, content: &UnixStream) -> Decision {
        let fields: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(program) = &self.command
            && let refused @ Verdict::Refused(_) = self.run(program, &fields, content)?
        {
            return Ok(refused);
        }
        self.url.as_ref().map_or(Ok(Verdict::Allowed), |url| self.post(url, line.trim_end()))
    }

    /// Runs the command with the content on its standard input.
    fn run(&self, program: &Path, fields: &Value, content: &UnixStream) -> Decision {
        let wrong = |error: io::Error| format!("{}: {}", program.display(), reason(&error));
        let input: OwnedFd = content.try_clone().map_err(wrong)?.into();
        let mut command = command(program, fields);
        let mut child = command.stdin(input).stdout(Stdio::piped()).spawn().map_err(wrong)?;
        if !has_ended(&child, self.timeout).map_err(wrong)? {
            let _killed = child.kill();
            let _ended = child.wait();
            return Err(format!("{}: not finished within {:?}", program.display(), self.timeout));
        }
        let status = child.wait().map_err(wrong)?;
        match status.code() {
            Some(0) => Ok(Verdict::Allowed),
            None | Some(TEMPORARY) => Err(format!("{}: {status}", program.display())),
            Some(_) => Ok(Verdict::Refused(output(&mut child))),
        }
    }

    /// Sends the line to the URL. A status 4xx refuses the upload, with the first line of the body as the reason.
    fn post(&self, url: &str, line: &str) -> Decision {
        let response = post(url, line, self.timeout, self.key.as_ref());
        let mut response = response.map_err(|error| format!("{url}: {error}"))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Verdict::Allowed);
        }
        if !status.is_client_error() {
            return Err(format!("{url}: {status}"));
        }
        let body = response.body_mut().with_config().limit(REASON_BYTES_MAX).read_to_string();
        Ok(Verdict::Refused(body.unwrap_or_default()))
    }
}

/// Reads the line about an upload, byte by byte: the content behind it is for the command.
fn read_line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, stream).take(LINE_BYTES_MAX);
    reader.read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Returns the first bytes that a program which has ended has written.
fn output(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = child.stdout.take() {
        // A process that the program has left behind may keep the pipe open.
        let _flags = rustix::fs::fcntl_setfl(&output, rustix::fs::OFlags::NONBLOCK);
        let _read = output.take(REASON_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
