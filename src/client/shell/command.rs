//! The shell's table of commands: name, arguments, one line of help, and the function.

use crate::client::error::ClientError;

use super::actions::connection::{
    active, ascii, binary, bye, close, open, passive, quote, status, user,
};
use super::actions::local::{lcd, lls, local_shell, lpwd};
use super::actions::remote::{
    cat, cd, cdup, chmod, dir, ls, mkdir, modtime, pwd, rename, rm, rmdir, size,
};
use super::actions::transfers::{get, mget, mput, put, reget, reput};
use super::flow::{Done, Flow};
use super::state::Shell;

/// Kind of the names in a command's arguments, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Remote,
    Local,
    Other,
}

/// Arguments of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments {
    /// Minimum and maximum number of arguments.
    count: (usize, usize),
    pub(super) names: Names,
    /// The arguments may be patterns; other commands take a star literally.
    pub(super) are_patterns: bool,
}

impl Arguments {
    const fn new(count: (usize, usize), names: Names) -> Self {
        Self { count, names, are_patterns: false }
    }

    const fn patterns(self) -> Self {
        Self { are_patterns: true, ..self }
    }
}

/// Arguments of which the first is a remote name.
const fn remote(least: usize, most: usize) -> Arguments {
    Arguments::new((least, most), Names::Remote)
}

/// Arguments of which the first is a local name.
const fn local(least: usize, most: usize) -> Arguments {
    Arguments::new((least, most), Names::Local)
}

/// Arguments without names of files.
const fn other(least: usize, most: usize) -> Arguments {
    Arguments::new((least, most), Names::Other)
}

/// The function of a command.
pub(super) type Action = fn(&mut Shell, &[&str]) -> Done;

/// One row of the table.
#[derive(Debug)]
pub(super) struct ShellCommand {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
    pub(super) takes: Arguments,
    pub(super) action: Action,
}

const ANY: usize = usize::MAX;

const fn row(
    name: &'static str,
    usage: &'static str,
    takes: Arguments,
    action: Action,
    help: &'static str,
) -> ShellCommand {
    ShellCommand { name, usage, help, takes, action }
}

#[rustfmt::skip]
pub(super) static COMMANDS: &[ShellCommand] = &[
    //  name       usage                     arguments                  action       help
    row("!",       "[COMMAND]",              local(0, 1),               local_shell, "run a local shell command"),
    row("active",  "",                       other(0, 0),               active,      "use active mode: the server opens data connections"),
    row("ascii",   "",                       other(0, 0),               ascii,       "transfer text, converting line ends"),
    row("binary",  "",                       other(0, 0),               binary,      "transfer files unchanged (default)"),
    row("bye",     "",                       other(0, 0),               bye,         "close the connection and exit"),
    row("cat",     "REMOTE",                 remote(1, 1),              cat,         "print a remote file"),
    row("cd",      "[REMOTE]",               remote(0, 1),              cd,          "change the remote directory (default: the initial one)"),
    row("cdup",    "",                       other(0, 0),               cdup,        "change to the parent of the remote directory"),
    row("chmod",   "MODE REMOTE",            remote(2, 2),              chmod,       "set the permission bits of a remote file, in octal"),
    row("close",   "",                       other(0, 0),               close,       "close the connection"),
    row("delete",  "REMOTE...",              remote(1, ANY).patterns(), rm,          "same as rm"),
    row("dir",     "[REMOTE]",               remote(0, 1),              dir,         "list a remote directory with sizes and dates"),
    row("exit",    "",                       other(0, 0),               bye,         "same as bye"),
    row("get",     "[-r] REMOTE [LOCAL]",    remote(1, 3),              get,         "download a file; with -r a directory"),
    row("help",    "[COMMAND]",              other(0, 1),               help,        "list the commands, or describe one"),
    row("lcd",     "[LOCAL]",                local(0, 1),               lcd,         "change the local directory (default: home)"),
    row("lls",     "[LOCAL]",                local(0, 1),               lls,         "list a local directory"),
    row("lpwd",    "",                       other(0, 0),               lpwd,        "print the local directory"),
    row("ls",      "[-l] [REMOTE]",          remote(0, 2).patterns(),   ls,          "list the names in a remote directory; with -l like dir"),
    row("mget",    "REMOTE...",              remote(1, ANY).patterns(), mget,        "download files, by names and patterns"),
    row("mkdir",   "REMOTE...",              remote(1, ANY),            mkdir,       "create remote directories"),
    row("modtime", "REMOTE",                 remote(1, 1),              modtime,     "print the modification time of a remote file"),
    row("mput",    "LOCAL...",               local(1, ANY).patterns(),  mput,        "upload files, by names and patterns"),
    row("open",    "HOST|URL [PORT]",        other(1, 2),               open,        "connect to another server"),
    row("passive", "",                       other(0, 0),               passive,     "use passive mode: the client opens data connections (default)"),
    row("put",     "[-r] LOCAL [REMOTE]",    local(1, 3),               put,         "upload a file; with -r a directory"),
    row("pwd",     "",                       other(0, 0),               pwd,         "print the remote directory"),
    row("quit",    "",                       other(0, 0),               bye,         "same as bye"),
    row("quote",   "WORD...",                other(1, ANY),             quote,       "send a command line to the server unchanged"),
    row("reget",   "REMOTE [LOCAL]",         remote(1, 2),              reget,       "resume a download"),
    row("rename",  "REMOTE REMOTE",          remote(2, 2),              rename,      "rename a remote file"),
    row("reput",   "LOCAL [REMOTE]",         local(1, 2),               reput,       "resume an upload"),
    row("rm",      "REMOTE...",              remote(1, ANY).patterns(), rm,          "delete remote files, by names and patterns"),
    row("rmdir",   "REMOTE...",              remote(1, ANY),            rmdir,       "delete empty remote directories"),
    row("size",    "REMOTE",                 remote(1, 1),              size,        "print the size of a remote file in bytes"),
    row("status",  "",                       other(0, 0),               status,      "print the state of the connection"),
    row("user",    "NAME [PASSWORD]",        other(1, 2),               user,        "log in as another user"),
];

fn help(shell: &mut Shell, words: &[&str]) -> Done {
    let text: String = match words.first() {
        Some(word) => describe(ShellCommand::find(word)?),
        None => COMMANDS.iter().map(describe).collect(),
    };
    shell.print(&text);
    Ok(Flow::Continue)
}

fn describe(row: &ShellCommand) -> String {
    format!("{:<30}{}\n", format!("{} {}", row.name, row.usage), row.help)
}

impl ShellCommand {
    /// Returns the command with this name, or the only command whose name begins with it.
    pub(super) fn find(word: &str) -> Result<&'static Self, ClientError> {
        let word = if word == "?" { "help" } else { word };
        if let Some(exact) = COMMANDS.iter().find(|row| row.name == word) {
            return Ok(exact);
        }
        let matches: Vec<&'static Self> =
            COMMANDS.iter().filter(|row| row.name.starts_with(word)).collect();
        match matches.as_slice() {
            [only] => Ok(only),
            [] => Err(ClientError::usage(format!("{word}: no such command. Try 'help'."))),
            several => {
                let names: Vec<&str> = several.iter().map(|row| row.name).collect();
                Err(ClientError::usage(format!("{word}: ambiguous command: {}", names.join(", "))))
            }
        }
    }

    /// Checks the number of arguments; the error shows the usage.
    pub(super) fn check(&self, count: usize) -> Result<(), ClientError> {
        let (fewest, most) = self.takes.count;
        if (fewest..=most).contains(&count) {
            Ok(())
        } else {
            Err(ClientError::usage(format!("usage: {} {}", self.name, self.usage).trim_end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_its_name_or_a_beginning_of_its_own() {
        let found = |word| ShellCommand::find(word).map(|row| row.name).ok();
        assert_eq!(found("get"), Some("get"));
        assert_eq!(found("g"), Some("get"));
        assert_eq!(found("bi"), Some("binary"));
        assert_eq!(found("?"), Some("help"));
        assert_eq!(found("ls"), Some("ls"));
        assert_eq!(found("p"), None);
        assert_eq!(found("zmodem"), None);
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(COMMANDS.is_sorted_by_key(|row| row.name));
    }
}
