//! Actions on the local side.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use std::fs;
use std::process::Command as Process;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
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
        names.push(entry.file_name().to_string_lossy().into_owned() + slash);
    }
    names.sort_unstable();
    shell.print_names(&names);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static LOCAL_SHELL: ShellCommand =
    ShellCommand::new("!", local_shell, "run a local shell command")
        .words(0, 1, Names::Local, "[COMMAND]")
        .raw()
        .example("!df -h .");

fn local_shell(shell: &mut Shell, given: &Given) -> Done {
    let program = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut process = Process::new(program);
    if let Some(command) = given.words().first().filter(|command| !command.is_empty()) {
        process.arg("-c").arg(command);
    }
    let status = process
        .current_dir(&shell.local)
        .status()
        .map_err(|error| ClientError::local(&shell.local, &error))?;
    if status.success() {
        Ok(Flow::Continue)
    } else {
        Err(ClientError::new(ErrorKind::Local, format!("the command ended with {status}")))
    }
}
