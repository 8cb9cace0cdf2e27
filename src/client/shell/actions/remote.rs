//! Actions on the remote directory, and questions about remote files.

use crate::client::error::ClientError;
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::state::Shell;
use crate::ftp::time::TimeValue;

pub(in crate::client::shell) static PWD: ShellCommand =
    ShellCommand::new("pwd", pwd, "print the remote directory");

fn pwd(shell: &mut Shell, _: &Given) -> Done {
    let place = shell.client()?.current_directory()?;
    shell.print_bytes(&[&place, b"\n".as_slice()].concat());
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static CD: ShellCommand =
    ShellCommand::new("cd", cd, "change the remote directory (default: that of the login)")
        .words(0, 1, Names::Remote, "[REMOTE | -]")
        .example("cd music");

fn cd(shell: &mut Shell, given: &Given) -> Done {
    let to = match given.path(0) {
        b"" => {
            shell.remember_login_directory()?;
            shell.login_directory.clone().unwrap_or_else(|| b"/".to_vec())
        }
        b"-" => shell
            .previous_directory
            .clone()
            .ok_or_else(|| ClientError::usage("no directory before this one"))?,
        to => to.to_vec(),
    };
    change_directory(shell, &to)
}

pub(in crate::client::shell) static CDUP: ShellCommand =
    ShellCommand::new("cdup", cdup, "change to the parent of the remote directory");

fn cdup(shell: &mut Shell, _: &Given) -> Done {
    change_directory(shell, b"..")
}

fn change_directory(shell: &mut Shell, to: &[u8]) -> Done {
    shell.remember_login_directory()?;
    let before = shell.known_directory().map(<[u8]>::to_vec);
    shell.client()?.change_directory(to)?;
    shell.previous_directory = before;
    shell.forget_names();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static SIZE: ShellCommand =
    ShellCommand::new("size", size, "print the size of a remote file in bytes")
        .words(1, 1, Names::Remote, "REMOTE")
        .example("size round.txt");

fn size(shell: &mut Shell, given: &Given) -> Done {
    let size = shell.client()?.size(given.path(0))?;
    shell.print(&format!("{size}\n"));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static MODTIME: ShellCommand =
    ShellCommand::new("modtime", modtime, "print the modification time of a remote file")
        .words(1, 1, Names::Remote, "REMOTE")
        .example("modtime round.txt");

fn modtime(shell: &mut Shell, given: &Given) -> Done {
    let modified = shell.client()?.modified(given.path(0))?;
    shell.print(&format!("{} ({})\n", modified, TimeValue(modified)));
    Ok(Flow::Continue)
}
