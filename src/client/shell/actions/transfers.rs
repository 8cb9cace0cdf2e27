//! Actions that transfer files.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::client::error::ClientError;
use crate::client::names::{local_name, shown};
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::state::Shell;
use crate::client::shell::transfers::Start;
use crate::ftp::listing::Kind as EntryKind;

const RECURSIVE: Flag = Flag::short('r', "a directory with all that it contains").or("recursive");

pub(in crate::client::shell) static GET: ShellCommand =
    ShellCommand::new("get", get, "download a file; with -r a directory")
        .words(1, 2, Names::RemoteThenLocal, "REMOTE [LOCAL]")
        .flags(&[RECURSIVE])
        .example("get -r music");

fn get(shell: &mut Shell, given: &Given) -> Done {
    let local = destination(shell, given)?;
    if given.has(&RECURSIVE) {
        shell.get_tree(given.path(0), &local)?;
    } else {
        shell.get_file(given.path(0), &local, None, Start::Beginning)?;
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static REGET: ShellCommand =
    ShellCommand::new("reget", reget, "resume a download")
        .words(1, 2, Names::RemoteThenLocal, "REMOTE [LOCAL]")
        .example("reget big.iso");

fn reget(shell: &mut Shell, given: &Given) -> Done {
    let local = destination(shell, given)?;
    shell.get_file(given.path(0), &local, None, Start::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the local path for the remote file of a call.
fn destination(shell: &Shell, given: &Given) -> Result<PathBuf, ClientError> {
    let own_name = || local_name(given.path(0));
    Ok(match given.words().get(1) {
        Some(local) => {
            let local = shell.local.join(local);
            if local.is_dir() { local.join(own_name()?) } else { local }
        }
        None => shell.local.join(own_name()?),
    })
}

pub(in crate::client::shell) static MGET: ShellCommand =
    ShellCommand::new("mget", mget, "download files, by names and patterns")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .patterns()
        .example("mget *.txt");

fn mget(shell: &mut Shell, given: &Given) -> Done {
    let mut files = Vec::new();
    for word in given.words() {
        // A pattern means files; the server would refuse each directory among the matches.
        let found = shell.expand(word)?;
        files.extend(found.into_iter().filter(|named| named.kind != Some(EntryKind::Directory)));
    }
    let folder = shell.local.clone();
    shell.for_each(&files, |shell, _, on| shell.get_next(on, &folder))
}

pub(in crate::client::shell) static PUT: ShellCommand =
    ShellCommand::new("put", put, "upload a file; with -r a directory")
        .words(1, 2, Names::Local, "LOCAL [REMOTE]")
        .flags(&[RECURSIVE])
        .example("put -r photos");

fn put(shell: &mut Shell, given: &Given) -> Done {
    let (local, remote) = source(shell, given)?;
    if given.has(&RECURSIVE) {
        shell.put_tree(&local, &remote)?;
    } else {
        shell.put_file(&local, &remote, Start::Beginning)?;
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static REPUT: ShellCommand =
    ShellCommand::new("reput", reput, "resume an upload")
        .words(1, 2, Names::Local, "LOCAL [REMOTE]")
        .example("reput big.iso");

fn reput(shell: &mut Shell, given: &Given) -> Done {
    let (local, remote) = source(shell, given)?;
    shell.put_file(&local, &remote, Start::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the path of the local file of a call, and its name on the server.
fn source(shell: &Shell, given: &Given) -> Result<(PathBuf, Vec<u8>), ClientError> {
    let word = given.words().first().map(OsString::as_os_str).unwrap_or_default();
    let local = shell.local_source(word);
    let own_name = || local.file_name().map(|name| name.as_encoded_bytes().to_vec());
    let remote = match given.path(1) {
        b"" => own_name().ok_or_else(|| {
            let word = shown(word.as_encoded_bytes());
            ClientError::usage(format!("{word} has no file name; give the remote name"))
        })?,
        remote if remote.ends_with(b"/") => [remote, &own_name().unwrap_or_default()].concat(),
        remote => remote.to_vec(),
    };
    Ok((local, remote))
}

pub(in crate::client::shell) static MPUT: ShellCommand =
    ShellCommand::new("mput", mput, "upload files, by names and patterns")
        .words(1, ANY, Names::Local, "LOCAL...")
        .patterns()
        .example("mput *.txt");

fn mput(shell: &mut Shell, given: &Given) -> Done {
    let mut files = Vec::new();
    for word in given.words() {
        files.extend(shell.expand_local(word)?);
    }
    shell.for_each(&files, |shell, local, _| {
        let name =
            local.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        shell.put_file(local, &name, Start::Beginning)
    })
}
