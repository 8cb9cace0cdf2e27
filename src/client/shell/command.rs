//! The shell's table of commands: name, arguments, one line of help, and the function.

use super::Shell;
use super::actions::{
    Done, Flow, ascii, binary, bye, cat, cd, cdup, chmod, close, dir, get, lcd, lls, local_shell,
    lpwd, ls, mget, mkdir, modtime, mput, open, passive, put, pwd, quote, reget, rename, reput, rm,
    rmdir, set_active, size, status, user,
};
use crate::client::ClientError;

/// Kind of a command's arguments, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Remote,
    Local,
    Other,
}

pub(super) type Action = fn(&mut Shell, &[&str]) -> Result<Flow, ClientError>;

/// One row of the table.
#[derive(Debug)]
pub(super) struct ShellCommand {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
    /// Minimum and maximum number of arguments.
    words: (usize, usize),
    pub(super) completes: Words,
    pub(super) action: Action,
}

const ANY: usize = usize::MAX;

const fn row(
    name: &'static str,
    usage: &'static str,
    words: (usize, usize),
    completes: Words,
    action: Action,
    help: &'static str,
) -> ShellCommand {
    ShellCommand { name, usage, help, words, completes, action }
}

use Words::{Local, Other, Remote};

#[rustfmt::skip]
pub(super) static COMMANDS: &[ShellCommand] = &[
    //  name       usage                     words     completes  action       help
    row("!",       "[COMMAND]",              (0, 1),   Local,     local_shell, "run a local shell command"),
    row("active",  "",                       (0, 0),   Other,     set_active,  "use active mode: the server opens data connections"),
    row("ascii",   "",                       (0, 0),   Other,     ascii,       "transfer text, converting line ends"),
    row("binary",  "",                       (0, 0),   Other,     binary,      "transfer files unchanged (default)"),
    row("bye",     "",                       (0, 0),   Other,     bye,         "close the connection and exit"),
    row("cat",     "REMOTE",                 (1, 1),   Remote,    cat,         "print a remote file"),
    row("cd",      "[REMOTE]",               (0, 1),   Remote,    cd,          "change the remote directory (default: the initial one)"),
    row("cdup",    "",                       (0, 0),   Other,     cdup,        "change to the parent of the remote directory"),
    row("chmod",   "MODE REMOTE",            (2, 2),   Remote,    chmod,       "set the permission bits of a remote file, in octal"),
    row("close",   "",                       (0, 0),   Other,     close,       "close the connection"),
    row("delete",  "REMOTE...",              (1, ANY), Remote,    rm,          "same as rm"),
    row("dir",     "[REMOTE]",               (0, 1),   Remote,    dir,         "list a remote directory with sizes and dates"),
    row("exit",    "",                       (0, 0),   Other,     bye,         "same as bye"),
    row("get",     "[-r] REMOTE [LOCAL]",    (1, 3),   Remote,    get,         "download a file; with -r a directory"),
    row("help",    "[COMMAND]",              (0, 1),   Other,     help,        "list the commands, or describe one"),
    row("lcd",     "[LOCAL]",                (0, 1),   Local,     lcd,         "change the local directory (default: home)"),
    row("lls",     "[LOCAL]",                (0, 1),   Local,     lls,         "list a local directory"),
    row("lpwd",    "",                       (0, 0),   Other,     lpwd,        "print the local directory"),
    row("ls",      "[-l] [REMOTE]",          (0, 2),   Remote,    ls,          "list the names in a remote directory; with -l like dir"),
    row("mget",    "REMOTE...",              (1, ANY), Remote,    mget,        "download files, by names and patterns"),
    row("mkdir",   "REMOTE...",              (1, ANY), Remote,    mkdir,       "create remote directories"),
    row("modtime", "REMOTE",                 (1, 1),   Remote,    modtime,     "print the modification time of a remote file"),
    row("mput",    "LOCAL...",               (1, ANY), Local,     mput,        "upload files, by names and patterns"),
    row("open",    "HOST|URL [PORT]",        (1, 2),   Other,     open,        "connect to another server"),
    row("passive", "",                       (0, 0),   Other,     passive,     "use passive mode: the client opens data connections (default)"),
    row("put",     "[-r] LOCAL [REMOTE]",    (1, 3),   Local,     put,         "upload a file; with -r a directory"),
    row("pwd",     "",                       (0, 0),   Other,     pwd,         "print the remote directory"),
    row("quit",    "",                       (0, 0),   Other,     bye,         "same as bye"),
    row("quote",   "WORD...",                (1, ANY), Other,     quote,       "send a command line to the server unchanged"),
    row("reget",   "REMOTE [LOCAL]",         (1, 2),   Remote,    reget,       "resume a download"),
    row("rename",  "REMOTE REMOTE",          (2, 2),   Remote,    rename,      "rename a remote file"),
    row("reput",   "LOCAL [REMOTE]",         (1, 2),   Local,     reput,       "resume an upload"),
    row("rm",      "REMOTE...",              (1, ANY), Remote,    rm,          "delete remote files, by names and patterns"),
    row("rmdir",   "REMOTE...",              (1, ANY), Remote,    rmdir,       "delete empty remote directories"),
    row("size",    "REMOTE",                 (1, 1),   Remote,    size,        "print the size of a remote file in bytes"),
    row("status",  "",                       (0, 0),   Other,     status,      "print the state of the connection"),
    row("user",    "NAME [PASSWORD]",        (1, 2),   Other,     user,        "log in as another user"),
];

fn help(shell: &mut Shell, words: &[&str]) -> Done {
    let text: String = match words.first() {
        Some(word) => describe(ShellCommand::find(word)?),
        None => COMMANDS.iter().map(describe).collect(),
    };
    shell.say(&text);
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

    /// Returns true if the arguments may be patterns; other commands take a star literally.
    pub(super) fn takes_patterns(&self) -> bool {
        matches!(self.name, "delete" | "ls" | "mget" | "mput" | "rm")
    }

    /// Checks the number of arguments; the error shows the usage.
    pub(super) fn check(&self, count: usize) -> Result<(), ClientError> {
        let (fewest, most) = self.words;
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
