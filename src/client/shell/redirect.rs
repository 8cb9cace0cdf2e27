//! The output of one command: standard output, a file, or the input of a local program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Process, Stdio};

use crate::client::error::{ClientError, ErrorKind};
use crate::client::secret::PASSWORD_VARIABLE;

/// A redirection, as it is written behind a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// `| PROGRAM`
    Pipe(OsString),
    /// `> FILE`
    File(OsString),
    /// `>> FILE`
    Append(OsString),
}

/// Destination of the data that a command prints.
#[derive(Debug, Default)]
pub(super) enum Output {
    #[default]
    Standard,
    /// Standard error: standard output is for reports.
    Error,
    File(File),
    Program(Child, Option<ChildStdin>),
}

impl Output {
    /// Returns standard output, or standard error if standard output is for reports.
    pub(super) fn standard(has_reports: bool) -> Self {
        if has_reports { Self::Error } else { Self::Standard }
    }

    /// Opens the destination of a redirection; relative names are those of the local directory.
    pub(super) fn open(redirect: &Redirect, local: &Path) -> Result<Self, ClientError> {
        let (name, append) = match redirect {
            Redirect::Pipe(command) => {
                let mut child = local_program(command, local)
                    .stdin(Stdio::piped())
                    .spawn()
                    .map_err(|error| ClientError::local(Path::new(command), &error))?;
                let input = child.stdin.take();
                return Ok(Self::Program(child, input));
            }
            Redirect::File(name) => (name, false),
            Redirect::Append(name) => (name, true),
        };
        let path = local.join(name);
        let mut options = File::options();
        options.create(true).append(append).write(true).truncate(!append);
        let file = options.open(&path).map_err(|error| ClientError::local(&path, &error))?;
        Ok(Self::File(file))
    }

    /// Closes it, and waits for the end of the program.
    pub(super) fn close(self) -> Result<(), ClientError> {
        let Self::Program(mut child, input) = self else { return Ok(()) };
        drop(input);
        let ended = child.wait().map_err(|error| ClientError::local(Path::new("|"), &error))?;
        if ended.success() {
            Ok(())
        } else {
            Err(ClientError::new(
                ErrorKind::Local,
                format!("the program behind | ended with {ended}"),
            ))
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard => io::stdout().write(bytes),
            Self::Error => io::stderr().write(bytes),
            Self::File(file) => file.write(bytes),
            Self::Program(_, input) => input
                .as_mut()
                .map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), |input| input.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard => io::stdout().flush(),
            Self::Error => io::stderr().flush(),
            Self::File(file) => file.flush(),
            Self::Program(_, input) => input.as_mut().map_or(Ok(()), Write::flush),
        }
    }
}

/// Prepares a local command line for the user's shell.
pub(super) fn local_program(command: &OsStr, directory: &Path) -> Process {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut process = Process::new(shell);
    if !command.is_empty() {
        process.arg("-c").arg(command);
    }
    process.current_dir(directory).env_remove(PASSWORD_VARIABLE);
    process
}
