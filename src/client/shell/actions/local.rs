//! Actions on the local side.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::shown;
use crate::client::shell::columns::{Label, arrange};
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::output::terminal_columns;
use crate::client::shell::redirect::local_program;
use crate::client::shell::state::Shell;

pub(in crate::client::shell) static LPWD: ShellCommand =
    ShellCommand::new("lpwd", lpwd, "print the local directory");

fn lpwd(shell: &mut Shell, _: &Given) -> Done {
    let text = format!("{}\n", shell.local.display());
    shell.print(&text);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static LCD: ShellCommand =
    ShellCommand::new("lcd", lcd, "change the local directory (default: home)")
        .words(0, 1, Names::Local, "[LOCAL]")
        .example("lcd ~/Downloads");

fn lcd(shell: &mut Shell, given: &Given) -> Done {
    let to = match given.words().first() {
        Some(word) => shell.local.join(word),
        None => std::env::home_dir()
            .ok_or_else(|| ClientError::usage("no home directory; give a directory"))?,
    };
    let to = to.canonicalize().map_err(|error| ClientError::local(&to, &error))?;
    if !to.is_dir() {
        return Err(ClientError::new(
            ErrorKind::Local,
            format!("{}: not a directory", to.display()),
        ));
    }
    shell.local = to;
    shell.local_is_chosen = true;
    lpwd(shell, given)
}

pub(in crate::client::shell) static LLS: ShellCommand =
    ShellCommand::new("lls", lls, "list a local directory").words(0, 1, Names::Local, "[LOCAL]");

fn lls(shell: &mut Shell, given: &Given) -> Done {
    let place =
        given.words().first().map_or_else(|| shell.local.clone(), |word| shell.local.join(word));
    let failed = |error| ClientError::local(&place, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        names.push([entry.file_name().as_bytes(), slash.as_bytes()].concat());
    }
    names.sort_unstable();
    if shell.is_on_terminal() {
        let labels: Vec<Label> = names.iter().map(|name| Label::plain(shown(name))).collect();
        shell.print_painted(&arrange(&labels, terminal_columns()));
    } else {
        shell.print_bytes(
            &names.iter().flat_map(|name| [name, b"\n".as_slice()].concat()).collect::<Vec<u8>>(),
        );
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static LOCAL_SHELL: ShellCommand =
    ShellCommand::new("!", local_shell, "run a local shell command")
        .words(0, 1, Names::Local, "[COMMAND]")
        .raw()
        .example("!df -h .");

fn local_shell(shell: &mut Shell, given: &Given) -> Done {
    let command = given.words().first().map(OsString::as_os_str).unwrap_or_default();
    let status = local_program(command, &shell.local)
        .status()
        .map_err(|error| ClientError::local(&shell.local, &error))?;
    if status.success() {
        Ok(Flow::Continue)
    } else {
        Err(ClientError::new(ErrorKind::Local, format!("the command ended with {status}")))
    }
}
