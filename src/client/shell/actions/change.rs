//! Actions that change files and directories of the server.

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{is_directory, join, shown, without_slash};
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::mode::ModeChange;
use crate::client::shell::state::Shell;
use crate::client::tree_walk::DEPTH_MAX;
use crate::ftp::listing::Kind as EntryKind;

const PARENTS: Flag = Flag::short('p', "also the directories above; an existing one is no error");
const RECURSIVE: Flag = Flag::short('r', "directories with all that they contain").or("recursive");
const CAPITAL_RECURSIVE: Flag = Flag::short('R', "directories with all that they contain");
const FORCE: Flag = Flag::short('f', "a missing file is no error").or("force");

pub(in crate::client::shell) static MKDIR: ShellCommand =
    ShellCommand::new("mkdir", mkdir, "create remote directories")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .flags(&[PARENTS])
        .example("mkdir -p music/2026");

fn mkdir(shell: &mut Shell, given: &Given) -> Done {
    shell.for_each(given.words(), |shell, path, _| {
        let path = path.as_encoded_bytes();
        if !given.has(&PARENTS) {
            return shell.client()?.create_dir(path);
        }
        let Err(refused) = shell.client()?.create_dir(path) else { return Ok(()) };
        if refused.kind != ErrorKind::Refused {
            return Err(refused);
        }
        let slashes = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
        for end in slashes.map(|(at, _)| at) {
            // The last attempt and the listing show whether all of them exist.
            let _exists = shell.client()?.create_dir(path.get(..end).unwrap_or_default());
        }
        match shell.client()?.create_dir(path) {
            Err(_) if shell.is_remote_directory(path).is_ok_and(|is| is) => Ok(()),
            outcome => outcome,
        }
    })
}

pub(in crate::client::shell) static RMDIR: ShellCommand =
    ShellCommand::new("rmdir", rmdir, "delete empty remote directories")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .example("rmdir music");

fn rmdir(shell: &mut Shell, given: &Given) -> Done {
    shell.for_each(given.words(), |shell, path, _| {
        shell.client()?.remove_dir(path.as_encoded_bytes())
    })
}

pub(in crate::client::shell) static RM: ShellCommand =
    ShellCommand::new("rm", rm, "delete remote files, by names and patterns")
        .aliases(&["delete", "mdelete"])
        .words(1, ANY, Names::Remote, "REMOTE...")
        .patterns()
        .flags(&[RECURSIVE, CAPITAL_RECURSIVE, FORCE])
        .transfer()
        .example("rm -r old *.tmp");

fn rm(shell: &mut Shell, given: &Given) -> Done {
    let recursive = given.has(&RECURSIVE) || given.has(&CAPITAL_RECURSIVE);
    let mut found = Vec::new();
    for word in given.words() {
        found.extend(shell.expand(word)?);
    }
    shell.for_each(&found, |shell, named, _| {
        let kind = match named.kind {
            None if recursive => shell.entry(&named.path)?.and_then(|entry| entry.kind),
            kind => kind,
        };
        let removed = if recursive && kind == Some(EntryKind::Directory) {
            remove_tree(shell, &named.path, 0)
        } else {
            shell.client()?.remove_file(&named.path)
        };
        match removed {
            Err(error) if given.has(&FORCE) && error.kind == ErrorKind::Refused => {
                if shell.entry(&named.path)?.is_none() { Ok(()) } else { Err(error) }
            }
            outcome => outcome,
        }
    })
}

/// Deletes a directory with its content.
fn remove_tree(shell: &mut Shell, path: &[u8], depth: usize) -> Result<(), ClientError> {
    if depth > DEPTH_MAX {
        let what = format!("{}: too deep", shown(path));
        return Err(ClientError::new(ErrorKind::Refused, what));
    }
    // SECURITY: some listings show a link to a directory as a directory. DELE deletes a link and refuses a directory,
    // so nothing behind a link is deleted.
    match shell.client()?.remove_file(path) {
        Err(error) if error.kind == ErrorKind::Refused => {}
        outcome => return outcome,
    }
    let entries = shell.list_directory(path)?;
    shell.for_each(&entries, |shell, entry, _| {
        let path = join(path, &entry.name);
        if is_directory(entry) {
            remove_tree(shell, &path, depth + 1)
        } else {
            shell.client()?.remove_file(&path)
        }
    })?;
    shell.client()?.remove_dir(path)
}

pub(in crate::client::shell) static MV: ShellCommand =
    ShellCommand::new("mv", mv, "rename remote files, or move them to a directory")
        .words(2, ANY, Names::Remote, "REMOTE... REMOTE")
        .patterns()
        .example("mv *.ogg music");

fn mv(shell: &mut Shell, given: &Given) -> Done {
    let Some((to, from)) = given.words().split_last() else { return Ok(Flow::Continue) };
    let to = crate::client::shell::words::plain(to).into_encoded_bytes();
    let mut found = Vec::new();
    for word in from {
        found.extend(shell.expand(word)?);
    }
    let into = to.ends_with(b"/") || shell.is_remote_directory(&to)?;
    if !into && found.len() > 1 {
        let what = format!("{}: not a directory", shown(&to));
        return Err(ClientError::new(ErrorKind::Refused, what));
    }
    shell.for_each(&found, |shell, named, _| {
        let from = without_slash(&named.path);
        let name = from.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let to = if into { join(&to, name) } else { to.clone() };
        shell.client()?.rename(from, &to)
    })
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
    ShellCommand::new("chmod", chmod, "set the permission bits of remote files")
        .words(2, ANY, Names::Remote, "MODE REMOTE...")
        .patterns()
        .flags(&[CAPITAL_RECURSIVE])
        .transfer()
        .example("chmod -R u+w,go-w music");

fn chmod(shell: &mut Shell, given: &Given) -> Done {
    let text = given.text(0)?.unwrap_or_default();
    let change = ModeChange::parse(text)
        .ok_or_else(|| ClientError::usage(format!("'{text}' is not a mode, such as 644 or u+x")))?;
    let mut found = Vec::new();
    for word in given.words().iter().skip(1) {
        found.extend(shell.expand(word)?);
    }
    shell.for_each(&found, |shell, named, _| {
        // Only a symbolic mode, or a tree, needs to know more than the path.
        let needs_entry = matches!(change, ModeChange::Clauses(_)) || given.has(&CAPITAL_RECURSIVE);
        let entry = if needs_entry { shell.entry(&named.path)? } else { None };
        let is_directory = entry.as_ref().is_some_and(is_directory);
        set_mode(shell, &named.path, &change, entry.and_then(|entry| entry.mode), is_directory)?;
        if !(given.has(&CAPITAL_RECURSIVE) && is_directory) {
            return Ok(());
        }
        let inside = shell.walk(&named.path)?;
        shell
            .for_each(&inside, |shell, found, _| match found.entry.kind {
                // A link has no permissions of its own.
                Some(EntryKind::Link) => Ok(()),
                kind => {
                    let is_directory = kind == Some(EntryKind::Directory);
                    set_mode(shell, &found.path, &change, found.entry.mode, is_directory)
                }
            })
            .map(drop)
    })
}

fn set_mode(
    shell: &mut Shell,
    path: &[u8],
    change: &ModeChange,
    mode: Option<u32>,
    is_directory: bool,
) -> Result<(), ClientError> {
    let bits = change.apply(mode, is_directory).ok_or_else(|| {
        let what = format!("{}: the server does not list its mode; give one in octal", shown(path));
        ClientError::new(ErrorKind::Refused, what)
    })?;
    Client::set_mode(shell.client()?, path, bits)
}
