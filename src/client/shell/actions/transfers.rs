//! Actions that transfer files.

use std::path::PathBuf;

use crate::client::error::ClientError;
use crate::client::names::local_name;
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::state::Shell;
use crate::client::shell::transfers::Start;
use crate::ftp::listing::Kind as EntryKind;

pub(in crate::client::shell) fn get(shell: &mut Shell, words: &[&str]) -> Done {
    let (tree, words) = recursion(words);
    let (remote, local) = source_and_destination(words, "get [-r] REMOTE [LOCAL]")?;
    let local = destination(shell, remote, local)?;
    if tree {
        shell.get_tree(remote.as_bytes(), &local)?;
    } else {
        shell.get_file(remote.as_bytes(), &local, None, Start::Beginning)?;
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn reget(shell: &mut Shell, words: &[&str]) -> Done {
    let (remote, local) = source_and_destination(words, "reget REMOTE [LOCAL]")?;
    let local = destination(shell, remote, local)?;
    shell.get_file(remote.as_bytes(), &local, None, Start::Resume)?;
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

pub(in crate::client::shell) fn mget(shell: &mut Shell, words: &[&str]) -> Done {
    let mut files = Vec::new();
    for word in words {
        // A pattern means files; the server would refuse each directory among the matches.
        let found = shell.expand(word)?;
        files.extend(found.into_iter().filter(|named| named.kind != Some(EntryKind::Directory)));
    }
    let folder = shell.local.clone();
    shell.for_each(&files, |shell, _, on| shell.get_next(on, &folder))
}

pub(in crate::client::shell) fn put(shell: &mut Shell, words: &[&str]) -> Done {
    let (tree, words) = recursion(words);
    let (given, remote) = source_and_destination(words, "put [-r] LOCAL [REMOTE]")?;
    let (local, remote) = source(shell, given, remote)?;
    if tree {
        shell.put_tree(&local, &remote)?;
    } else {
        shell.put_file(&local, &remote, Start::Beginning)?;
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn reput(shell: &mut Shell, words: &[&str]) -> Done {
    let (given, remote) = source_and_destination(words, "reput LOCAL [REMOTE]")?;
    let (local, remote) = source(shell, given, remote)?;
    shell.put_file(&local, &remote, Start::Resume)?;
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

pub(in crate::client::shell) fn mput(shell: &mut Shell, words: &[&str]) -> Done {
    let mut files = Vec::new();
    for word in words {
        files.extend(shell.expand_local(word)?);
    }
    shell.for_each(&files, |shell, local, _| {
        let name =
            local.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        shell.put_file(local, &name, Start::Beginning)
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
