//! Actions on files and directories of the server.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::client::connection::Client;
use crate::client::error::ClientError;
use crate::client::names::{about, is_directory, lines, shown};
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::output::printable;
use crate::client::shell::state::Shell;
use crate::client::shell::words::plain;
use crate::ftp::command::{Command, PathName, Selection};
use crate::ftp::listing::Listed;
use crate::ftp::time::TimeValue;

const LONG: Flag = Flag::short('l', "like dir, with sizes and dates");
const HIDDEN: Flag = Flag::short('a', "also hidden names (always so)");

pub(in crate::client::shell) static PWD: ShellCommand =
    ShellCommand::new("pwd", pwd, "print the remote directory");

fn pwd(shell: &mut Shell, _: &Given) -> Done {
    let place = shell.client()?.current_directory()?;
    shell.print_bytes(&[&place, b"\n".as_slice()].concat());
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static CD: ShellCommand =
    ShellCommand::new("cd", cd, "change the remote directory (default: the initial one)")
        .words(0, 1, Names::Remote, "[REMOTE]")
        .example("cd music");

fn cd(shell: &mut Shell, given: &Given) -> Done {
    let to = if given.words().is_empty() { b"/" } else { given.path(0) };
    change_directory(shell, to)
}

pub(in crate::client::shell) static CDUP: ShellCommand =
    ShellCommand::new("cdup", cdup, "change to the parent of the remote directory");

fn cdup(shell: &mut Shell, _: &Given) -> Done {
    change_directory(shell, b"..")
}

fn change_directory(shell: &mut Shell, to: &[u8]) -> Done {
    shell.client()?.change_directory(to)?;
    shell.forget_names();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static LS: ShellCommand =
    ShellCommand::new("ls", ls, "list the names in a remote directory")
        .words(0, 1, Names::Remote, "[REMOTE]")
        .patterns()
        .flags(&[LONG, HIDDEN])
        .example("ls -l *.txt");

fn ls(shell: &mut Shell, given: &Given) -> Done {
    if given.has(&LONG) {
        return dir(shell, given);
    }
    let path = given.words().first().map(OsString::as_os_str).unwrap_or_default();
    let entries = match shell.matching(path)? {
        Some(matching) => matching,
        None => shell.list_directory(plain(path).as_bytes())?,
    };
    let label = |entry: &Listed| {
        let slash = if is_directory(entry) { b"/".as_slice() } else { b"" };
        [entry.name.as_slice(), slash].concat()
    };
    if shell.is_on_terminal() {
        let names: Vec<String> = entries.iter().map(|entry| shown(&label(entry))).collect();
        shell.print_names(&names);
    } else {
        // Another program reads these names, so their bytes stay unchanged.
        let text: Vec<u8> =
            entries.iter().flat_map(|entry| [label(entry), b"\n".to_vec()].concat()).collect();
        shell.print_bytes(&text);
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static DIR: ShellCommand = ShellCommand::new(
    "dir",
    dir,
    "list a remote directory with sizes and dates",
)
.words(0, 1, Names::Remote, "[REMOTE]");

fn dir(shell: &mut Shell, given: &Given) -> Done {
    let path = given.words().first().map(|word| plain(word).into_encoded_bytes());
    let what = about("dir", path.as_deref().unwrap_or_default());
    let command = Command::List(Selection { path: path.map(PathName), ..Selection::default() });
    let text = shell.client()?.listing(&command, &what)?;
    let lines: Vec<u8> = lines(&text).flat_map(|line| [line, b"\n"].concat()).collect();
    shell.print_bytes(&lines);
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

pub(in crate::client::shell) static CAT: ShellCommand =
    ShellCommand::new("cat", cat, "print a remote file")
        .words(1, 1, Names::Remote, "REMOTE")
        .example("cat round.txt");

fn cat(shell: &mut Shell, given: &Given) -> Done {
    let on_terminal = shell.is_on_terminal();
    let mut out = io::stdout().lock();
    let client = shell.client()?;
    if on_terminal {
        // SECURITY: the bytes of a file must not control the terminal.
        let mut text = Vec::new();
        client.read(given.path(0), &mut text)?;
        out.write_all(printable(&text).as_bytes()).map_err(|error| output_gone(&error))?;
    } else {
        client.read(given.path(0), &mut out)?;
    }
    out.flush().map_err(|error| output_gone(&error))?;
    Ok(Flow::Continue)
}

fn output_gone(error: &io::Error) -> ClientError {
    ClientError::local(Path::new("standard output"), error)
}

pub(in crate::client::shell) static MKDIR: ShellCommand =
    ShellCommand::new("mkdir", mkdir, "create remote directories")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .example("mkdir music");

fn mkdir(shell: &mut Shell, given: &Given) -> Done {
    each(shell, given, Client::create_dir)
}

pub(in crate::client::shell) static RMDIR: ShellCommand =
    ShellCommand::new("rmdir", rmdir, "delete empty remote directories")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .example("rmdir music");

fn rmdir(shell: &mut Shell, given: &Given) -> Done {
    each(shell, given, Client::remove_dir)
}

pub(in crate::client::shell) static RM: ShellCommand =
    ShellCommand::new("rm", rm, "delete remote files, by names and patterns")
        .aliases(&["delete", "mdelete"])
        .words(1, ANY, Names::Remote, "REMOTE...")
        .patterns()
        .example("rm *.tmp");

fn rm(shell: &mut Shell, given: &Given) -> Done {
    let mut paths = Vec::new();
    for word in given.words() {
        paths.extend(shell.expand(word)?.into_iter().map(|named| named.path));
    }
    shell.for_each(&paths, |shell, path, _| shell.client()?.remove_file(path))
}

pub(in crate::client::shell) static RENAME: ShellCommand =
    ShellCommand::new("rename", rename, "rename a remote file")
        .words(2, 2, Names::Remote, "REMOTE REMOTE")
        .example("rename draft.txt final.txt");

fn rename(shell: &mut Shell, given: &Given) -> Done {
    shell.client()?.rename(given.path(0), given.path(1))?;
    shell.forget_names();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static CHMOD: ShellCommand =
    ShellCommand::new("chmod", chmod, "set the permission bits of a remote file, in octal")
        .words(2, 2, Names::Remote, "MODE REMOTE")
        .example("chmod 644 round.txt");

fn chmod(shell: &mut Shell, given: &Given) -> Done {
    let mode = given.text(0)?.unwrap_or_default();
    let bits = u32::from_str_radix(mode, 8)
        .map_err(|_| ClientError::usage(format!("'{mode}' is not an octal mode, such as 644")))?;
    shell.client()?.set_mode(given.path(1), bits)?;
    Ok(Flow::Continue)
}

fn each(
    shell: &mut Shell,
    given: &Given,
    act: fn(&mut Client, &[u8]) -> Result<(), ClientError>,
) -> Done {
    shell.for_each(given.words(), |shell, path, _| act(shell.client()?, path.as_bytes()))
}
