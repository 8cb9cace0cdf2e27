//! Actions of the shell's commands: one function per row of the table, all with one signature.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use crate::client::names::{is_directory, lines, local_name, shown};
use crate::client::{Client, ClientError, ErrorKind};
use crate::ftp::command::{Command, PathName, Selection, Type};
use crate::ftp::listing::{Kind as EntryKind, Listed};
use crate::ftp::time::TimeValue;

use super::Shell;
use super::transfers::Begin;
use super::words::plain;

/// Control flow after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Leave,
}

pub(super) type Done = Result<Flow, ClientError>;

pub(super) fn bye(_: &mut Shell, _: &[&str]) -> Done {
    Ok(Flow::Leave)
}

// Connection.

pub(super) fn open(shell: &mut Shell, words: &[&str]) -> Done {
    let (target, port) = match words {
        [target, port] => (
            target,
            Some(port.parse().map_err(|_| ClientError::usage(format!("'{port}' is not a port")))?),
        ),
        [target, ..] => (target, None),
        [] => return Err(ClientError::usage("usage: open HOST|URL [PORT]")),
    };
    shell.disconnect();
    shell.open(target, port)?;
    Ok(Flow::Continue)
}

pub(super) fn close(shell: &mut Shell, _: &[&str]) -> Done {
    shell.client()?;
    shell.disconnect();
    Ok(Flow::Continue)
}

pub(super) fn user(shell: &mut Shell, words: &[&str]) -> Done {
    let (name, password) = (words.first().copied().unwrap_or_default(), words.get(1).copied());
    let password = match password {
        Some(password) => password.to_owned(),
        None => shell.ask_password(name)?,
    };
    shell.client()?.login(name, &password)?;
    shell.note(&format!("Logged in as {name}."));
    Ok(Flow::Continue)
}

pub(super) fn quote(shell: &mut Shell, words: &[&str]) -> Done {
    let reply = shell.client()?.quote(&words.join(" "))?;
    let said: Vec<String> =
        reply.lines().iter().map(|line| format!("{} {}", reply.code, shown(line))).collect();
    let text = said.join(
        "
",
    ) + "
";
    shell.say(&text);
    if reply.code.0 < 400 {
        Ok(Flow::Continue)
    } else {
        Err(ClientError::refused(ErrorKind::Refused, "quote", reply))
    }
}

pub(super) fn status(shell: &mut Shell, _: &[&str]) -> Done {
    let connected = match shell.client.as_ref().and_then(Client::peer) {
        Some(peer) => format!("Connected to {} ({peer}).\n", shell.place),
        None => "Not connected.\n".to_owned(),
    };
    let way = if shell.options.active { "active mode" } else { "passive mode" };
    let kind = match shell.representation {
        Type::Ascii => "ascii",
        Type::Image => "binary",
    };
    let local = shell.local.display();
    shell.say(&format!("{connected}Data: {way}. Type: {kind}. Local directory: {local}\n"));
    Ok(Flow::Continue)
}

pub(super) fn set_active(shell: &mut Shell, _: &[&str]) -> Done {
    shell.set_active(true);
    Ok(Flow::Continue)
}

pub(super) fn passive(shell: &mut Shell, _: &[&str]) -> Done {
    shell.set_active(false);
    Ok(Flow::Continue)
}

pub(super) fn ascii(shell: &mut Shell, _: &[&str]) -> Done {
    shell.representation = Type::Ascii;
    Ok(Flow::Continue)
}

pub(super) fn binary(shell: &mut Shell, _: &[&str]) -> Done {
    shell.representation = Type::Image;
    Ok(Flow::Continue)
}

// The local side.

pub(super) fn lpwd(shell: &mut Shell, _: &[&str]) -> Done {
    let text = format!("{}\n", shell.local.display());
    shell.say(&text);
    Ok(Flow::Continue)
}

pub(super) fn lcd(shell: &mut Shell, words: &[&str]) -> Done {
    let to = match words.first() {
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
    lpwd(shell, &[])
}

pub(super) fn lls(shell: &mut Shell, words: &[&str]) -> Done {
    let place = words.first().map_or_else(|| shell.local.clone(), |word| shell.local.join(word));
    let failed = |error| ClientError::local(&place, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&place).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        names.push(entry.file_name().to_string_lossy().into_owned() + slash);
    }
    names.sort_unstable();
    shell.say_names(&names);
    Ok(Flow::Continue)
}

pub(super) fn local_shell(shell: &mut Shell, words: &[&str]) -> Done {
    let program = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut process = Process::new(program);
    if let Some(command) = words.first().filter(|command| !command.is_empty()) {
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

// Listing and reading.

pub(super) fn pwd(shell: &mut Shell, _: &[&str]) -> Done {
    let place = shell.client()?.current_directory()?;
    shell.say_bytes(&[&place, b"\n".as_slice()].concat());
    Ok(Flow::Continue)
}

pub(super) fn cd(shell: &mut Shell, words: &[&str]) -> Done {
    let to = words.first().map_or("/", |word| *word);
    shell.client()?.change_directory(to.as_bytes())?;
    shell.forget_names();
    Ok(Flow::Continue)
}

pub(super) fn cdup(shell: &mut Shell, _: &[&str]) -> Done {
    cd(shell, &[".."])
}

pub(super) fn ls(shell: &mut Shell, words: &[&str]) -> Done {
    let path = match words {
        ["-l" | "-la" | "-al", rest @ ..] => return dir(shell, rest),
        ["-a", rest @ ..] | rest => rest.first().copied().unwrap_or_default(),
    };
    let entries = match shell.matching(path)? {
        Some(matching) => matching,
        None => shell.client()?.read_dir(plain(path).as_bytes())?,
    };
    let label = |entry: &Listed| {
        let slash = if is_directory(entry) { b"/".as_slice() } else { b"" };
        [entry.name.as_slice(), slash].concat()
    };
    if shell.is_on_terminal() {
        let names: Vec<String> = entries.iter().map(|entry| shown(&label(entry))).collect();
        shell.say_names(&names);
    } else {
        // Another program reads these names, so their bytes stay unchanged.
        let text: Vec<u8> =
            entries.iter().flat_map(|entry| [label(entry), b"\n".to_vec()].concat()).collect();
        shell.say_bytes(&text);
    }
    Ok(Flow::Continue)
}

pub(super) fn dir(shell: &mut Shell, words: &[&str]) -> Done {
    let path = words.first().map(|word| PathName(plain(word).into_bytes()));
    let command = Command::List(Selection { path, ..Selection::default() });
    let text = shell.client()?.listing(&command, &format!("dir {}", words.join(" ")))?;
    let lines: Vec<u8> = lines(&text).flat_map(|line| [line, b"\n"].concat()).collect();
    shell.say_bytes(&lines);
    Ok(Flow::Continue)
}

pub(super) fn size(shell: &mut Shell, words: &[&str]) -> Done {
    let size = shell.client()?.size(first(words).as_bytes())?;
    shell.say(&format!("{size}\n"));
    Ok(Flow::Continue)
}

pub(super) fn modtime(shell: &mut Shell, words: &[&str]) -> Done {
    let modified = shell.client()?.modified(first(words).as_bytes())?;
    shell.say(&format!("{} ({})\n", modified, TimeValue(modified)));
    Ok(Flow::Continue)
}

pub(super) fn cat(shell: &mut Shell, words: &[&str]) -> Done {
    let path = first(words).to_owned();
    let on_terminal = shell.is_on_terminal();
    let mut out = io::stdout().lock();
    let client = shell.client()?;
    if on_terminal {
        // SECURITY: the bytes of a file must not control the terminal.
        let mut text = Vec::new();
        client.read(path.as_bytes(), &mut text)?;
        out.write_all(super::printable(&text).as_bytes()).map_err(|error| output_gone(&error))?;
    } else {
        client.read(path.as_bytes(), &mut out)?;
    }
    out.flush().map_err(|error| output_gone(&error))?;
    Ok(Flow::Continue)
}

fn output_gone(error: &io::Error) -> ClientError {
    ClientError::local(Path::new("standard output"), error)
}

// Changing files and directories.

pub(super) fn mkdir(shell: &mut Shell, words: &[&str]) -> Done {
    each(shell, words, Client::create_dir)
}

pub(super) fn rmdir(shell: &mut Shell, words: &[&str]) -> Done {
    each(shell, words, Client::remove_dir)
}

pub(super) fn rm(shell: &mut Shell, words: &[&str]) -> Done {
    let mut paths = Vec::new();
    for word in words {
        paths.extend(shell.expand(word)?.into_iter().map(|named| named.path));
    }
    shell.for_each(&paths, |shell, path, _| shell.client()?.remove_file(path))
}

pub(super) fn rename(shell: &mut Shell, words: &[&str]) -> Done {
    if let [from, to] = words {
        shell.client()?.rename(from.as_bytes(), to.as_bytes())?;
        shell.forget_names();
    }
    Ok(Flow::Continue)
}

pub(super) fn chmod(shell: &mut Shell, words: &[&str]) -> Done {
    if let [mode, path] = words {
        let bits = u32::from_str_radix(mode, 8).map_err(|_| {
            ClientError::usage(format!("'{mode}' is not an octal mode, such as 644"))
        })?;
        shell.client()?.set_mode(path.as_bytes(), bits)?;
    }
    Ok(Flow::Continue)
}

fn each(
    shell: &mut Shell,
    words: &[&str],
    act: fn(&mut Client, &[u8]) -> Result<(), ClientError>,
) -> Done {
    shell.for_each(words, |shell, path, _| act(shell.client()?, path.as_bytes()))
}

// Transfers.

pub(super) fn get(shell: &mut Shell, words: &[&str]) -> Done {
    let (tree, words) = recursion(words);
    let (remote, local) = source_and_destination(words, "get [-r] REMOTE [LOCAL]")?;
    let local = destination(shell, remote, local)?;
    if tree {
        shell.get_tree(remote.as_bytes(), &local, 0)?;
    } else {
        shell.get_file(remote.as_bytes(), &local, None, Begin::Anew)?;
    }
    Ok(Flow::Continue)
}

pub(super) fn reget(shell: &mut Shell, words: &[&str]) -> Done {
    let (remote, local) = source_and_destination(words, "reget REMOTE [LOCAL]")?;
    let local = destination(shell, remote, local)?;
    shell.get_file(remote.as_bytes(), &local, None, Begin::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the local path for a remote file.
fn destination(shell: &Shell, remote: &str, local: Option<&str>) -> Result<PathBuf, ClientError> {
    Ok(match local {
        Some(local) => {
            let local = shell.local.join(local);
            if local.is_dir() { local.join(local_name(remote.as_bytes())?) } else { local }
        }
        None => shell.local.join(local_name(remote.as_bytes())?),
    })
}

pub(super) fn mget(shell: &mut Shell, words: &[&str]) -> Done {
    let mut files = Vec::new();
    for word in words {
        // A pattern means files; the server would refuse each directory among the matches.
        let found = shell.expand(word)?;
        files.extend(found.into_iter().filter(|named| named.kind != Some(EntryKind::Directory)));
    }
    let folder = shell.local.clone();
    shell.for_each(&files, |shell, _, on| shell.get_next(on, &folder))
}

pub(super) fn put(shell: &mut Shell, words: &[&str]) -> Done {
    let (tree, words) = recursion(words);
    let (given, remote) = source_and_destination(words, "put [-r] LOCAL [REMOTE]")?;
    let (local, remote) = source(shell, given, remote)?;
    if tree {
        shell.put_tree(&local, &remote, 0)?;
    } else {
        shell.put_file(&local, &remote, Begin::Anew)?;
    }
    Ok(Flow::Continue)
}

pub(super) fn reput(shell: &mut Shell, words: &[&str]) -> Done {
    let (given, remote) = source_and_destination(words, "reput LOCAL [REMOTE]")?;
    let (local, remote) = source(shell, given, remote)?;
    shell.put_file(&local, &remote, Begin::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the path of a local file, and its name on the server.
fn source(
    shell: &Shell,
    given: &str,
    remote: Option<&str>,
) -> Result<(PathBuf, Vec<u8>), ClientError> {
    let local = shell.local_source(given);
    let own_name = || local.file_name().map(|name| name.as_encoded_bytes().to_vec());
    let remote = match remote {
        Some(remote) if remote.ends_with('/') => {
            [remote.as_bytes(), &own_name().unwrap_or_default()].concat()
        }
        Some(remote) => remote.as_bytes().to_vec(),
        None => own_name().ok_or_else(|| {
            ClientError::usage(format!("{given} has no file name; give the remote name"))
        })?,
    };
    Ok((local, remote))
}

pub(super) fn mput(shell: &mut Shell, words: &[&str]) -> Done {
    let mut files = Vec::new();
    for word in words {
        files.extend(shell.expand_local(word)?);
    }
    shell.for_each(&files, |shell, local, _| {
        let name =
            local.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        shell.put_file(local, &name, Begin::Anew)
    })
}

/// Splits off a leading `-r`: returns true if it was given, and the remaining words.
fn recursion<'a, 'b>(words: &'a [&'b str]) -> (bool, &'a [&'b str]) {
    match words {
        ["-r", rest @ ..] => (true, rest),
        words => (false, words),
    }
}

fn source_and_destination<'a>(
    words: &[&'a str],
    usage: &str,
) -> Result<(&'a str, Option<&'a str>), ClientError> {
    match words {
        [source] => Ok((source, None)),
        [source, destination] => Ok((source, Some(destination))),
        _ => Err(ClientError::usage(format!("usage: {usage}"))),
    }
}

fn first<'a>(words: &[&'a str]) -> &'a str {
    words.first().copied().unwrap_or_default()
}
