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
    row("!",       "[COMMAND]",              (0, 1),   Local,     local_shell, "run a command of this machine's shell"),
    row("active",  "",                       (0, 0),   Other,     set_active,  "let the server connect to us for data"),
    row("ascii",   "",                       (0, 0),   Other,     ascii,       "transfer text, converting line ends"),
    row("binary",  "",                       (0, 0),   Other,     binary,      "transfer bytes as they are (how it begins)"),
    row("bye",     "",                       (0, 0),   Other,     bye,         "say goodbye and leave"),
    row("cat",     "REMOTE",                 (1, 1),   Remote,    cat,         "write a file to the terminal"),
    row("cd",      "[REMOTE]",               (0, 1),   Remote,    cd,          "go to a directory (without name: the first)"),
    row("cdup",    "",                       (0, 0),   Other,     cdup,        "go to the directory above"),
    row("chmod",   "MODE REMOTE",            (2, 2),   Remote,    chmod,       "set permission bits, in octal"),
    row("close",   "",                       (0, 0),   Other,     close,       "hang up, but stay here"),
    row("delete",  "REMOTE...",              (1, ANY), Remote,    rm,          "the same as rm"),
    row("dir",     "[REMOTE]",               (0, 1),   Remote,    dir,         "list with sizes and dates, as the server writes it"),
    row("exit",    "",                       (0, 0),   Other,     bye,         "the same as bye"),
    row("get",     "[-r] REMOTE [LOCAL]",    (1, 3),   Remote,    get,         "fetch a file; with -r a whole directory"),
    row("help",    "[COMMAND]",              (0, 1),   Other,     help,        "tell what there is"),
    row("lcd",     "[LOCAL]",                (0, 1),   Local,     lcd,         "go to a local directory (without name: home)"),
    row("lls",     "[LOCAL]",                (0, 1),   Local,     lls,         "list a local directory"),
    row("lpwd",    "",                       (0, 0),   Other,     lpwd,        "tell the local directory"),
    row("ls",      "[-l] [REMOTE]",          (0, 2),   Remote,    ls,          "list names; with -l as dir"),
    row("mget",    "REMOTE...",              (1, ANY), Remote,    mget,        "fetch files, by names and patterns"),
    row("mkdir",   "REMOTE...",              (1, ANY), Remote,    mkdir,       "make directories"),
    row("modtime", "REMOTE",                 (1, 1),   Remote,    modtime,     "tell when a file was last changed"),
    row("mput",    "LOCAL...",               (1, ANY), Local,     mput,        "send files, by names and patterns"),
    row("open",    "HOST|URL [PORT]",        (1, 2),   Other,     open,        "connect to another server"),
    row("passive", "",                       (0, 0),   Other,     passive,     "connect to the server for data (how it begins)"),
    row("put",     "[-r] LOCAL [REMOTE]",    (1, 3),   Local,     put,         "send a file; with -r a whole directory"),
    row("pwd",     "",                       (0, 0),   Other,     pwd,         "tell the directory on the server"),
    row("quit",    "",                       (0, 0),   Other,     bye,         "the same as bye"),
    row("quote",   "WORD...",                (1, ANY), Other,     quote,       "send a line to the server as it is"),
    row("reget",   "REMOTE [LOCAL]",         (1, 2),   Remote,    reget,       "fetch the rest of a file, behind what is here"),
    row("rename",  "REMOTE REMOTE",          (2, 2),   Remote,    rename,      "give a file another name"),
    row("reput",   "LOCAL [REMOTE]",         (1, 2),   Local,     reput,       "send the rest of a file, behind what is there"),
    row("rm",      "REMOTE...",              (1, ANY), Remote,    rm,          "remove files, by names and patterns"),
    row("rmdir",   "REMOTE...",              (1, ANY), Remote,    rmdir,       "remove empty directories"),
    row("size",    "REMOTE",                 (1, 1),   Remote,    size,        "tell how many bytes a file has"),
    row("status",  "",                       (0, 0),   Other,     status,      "tell how we are connected"),
    row("user",    "NAME [PASSWORD]",        (1, 2),   Other,     user,        "log in as somebody else"),
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
                Err(ClientError::usage(format!("{word}: could be {}", names.join(", "))))
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
