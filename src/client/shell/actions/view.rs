//! Actions that show or edit one remote file.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{local_name, shown, shown_path};
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::output::printable;
use crate::client::shell::redirect::{Output, Redirect, local_program};
use crate::client::shell::state::Shell;
use crate::client::shell::transfers::Start;
use crate::ftp::command::Type;

pub(in crate::client::shell) static CAT: ShellCommand =
    ShellCommand::new("cat", cat, "print remote files")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .patterns()
        .example("cat round.txt | grep refrain");

fn cat(shell: &mut Shell, given: &Given) -> Done {
    let mut found = Vec::new();
    for word in given.words() {
        found.extend(shell.expand(word)?);
    }
    shell.for_each(&found, |shell, named, _| print_file(shell, &named.path))
}

/// Prints a remote file.
pub(in crate::client::shell) fn print_file(
    shell: &mut Shell,
    path: &[u8],
) -> Result<(), ClientError> {
    let on_terminal = shell.is_on_terminal();
    let mut out = std::mem::take(&mut shell.output);
    let printed = write_file(shell, path, &mut out, on_terminal);
    shell.output = out;
    printed
}

fn write_file(
    shell: &mut Shell,
    path: &[u8],
    out: &mut Output,
    on_terminal: bool,
) -> Result<(), ClientError> {
    let mut out = Gone { out, is_gone: false };
    let outcome = if on_terminal {
        // SECURITY: the bytes of a file must not control the terminal.
        let mut text = Vec::new();
        shell.client()?.read(path, &mut text)?;
        out.write_all(printable(&text).as_bytes()).and_then(|()| out.flush())
    } else {
        match shell.client()?.read(path, &mut out) {
            // The reader wants no more.
            Err(_) if out.is_gone => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => out.flush(),
        }
    };
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ClientError::local(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}

/// An output that remembers that its reader is gone.
struct Gone<'a> {
    out: &'a mut Output,
    is_gone: bool,
}

impl Write for Gone<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.is_gone |=
            written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(in crate::client::shell) static MORE: ShellCommand =
    ShellCommand::new("more", more, "show a remote file page by page ($PAGER, else less)")
        .aliases(&["less", "page"])
        .words(1, 1, Names::Remote, "REMOTE")
        .example("more round.txt");

fn more(shell: &mut Shell, given: &Given) -> Done {
    let pager = variable("PAGER").unwrap_or_else(|| "less".into());
    shell.output = Output::open(&Redirect::Pipe(pager), &shell.local)?;
    let printed = print_file(shell, given.path(0));
    let usual = Output::standard(shell.settings.json.is_some());
    let closed = std::mem::replace(&mut shell.output, usual).close();
    printed.and(closed).map(|()| Flow::Continue)
}

pub(in crate::client::shell) static EDIT: ShellCommand =
    ShellCommand::new("edit", edit, "edit a remote file ($VISUAL, $EDITOR, else vi) and upload it")
        .words(1, 1, Names::Remote, "REMOTE")
        .example("edit notes.txt");

fn edit(shell: &mut Shell, given: &Given) -> Done {
    let path = given.path(0);
    let failed = |error: io::Error| ClientError::local(&std::env::temp_dir(), &error);
    let folder = tempfile::Builder::new().prefix("ftpclient-").tempdir().map_err(failed)?;
    let local = folder.path().join(local_name(path)?);
    let before = shell.client()?.metadata(path)?;
    let is_new = before.size.is_none() && shell.entry(path)?.is_none();
    if is_new {
        fs::write(&local, "").map_err(failed)?;
    } else {
        shell.client()?.fetch(path, &local, Type::Image, None, &mut ())?;
    }
    let fetched = fs::read(&local).map_err(failed)?;
    let editor = variable("VISUAL").or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".into());
    // The shell passes the file to the editor, which may be a command with options.
    let mut command = editor;
    command.push(" \"$0\"");
    let status = local_program(&command, &shell.local).arg(&local).status().map_err(failed)?;
    let edited = fs::read(&local).map_err(failed)?;
    if edited == fetched {
        shell.note(&format!("{}: not changed", shown(path)));
        return Ok(Flow::Continue);
    }
    let outcome = if !status.success() {
        let what = format!("the editor ended with {status}");
        Err(ClientError::new(ErrorKind::Local, what))
    } else if shell.client()?.metadata(path)? == before {
        shell.put_file(&local, path, Start::Beginning)
    } else {
        let what = format!("{} has changed on the server meanwhile", shown(path));
        Err(ClientError::new(ErrorKind::Incomplete, what))
    };
    if outcome.is_err() {
        let kept = folder.keep().join(local_name(path)?);
        shell.note(&format!("Your changes are kept in {}.", shown_path(&kept)));
    }
    outcome.map(|()| Flow::Continue)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
