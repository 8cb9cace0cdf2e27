//! Actions that transfer files.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::{local_name, shown};
use crate::client::parallel::CONNECTIONS_MAX;
use crate::client::shell::actions::view::print_file;
use crate::client::shell::clobber::{CLOBBER, NO_CLOBBER};
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::connections::PARALLEL;
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::several::SeveralRules;
use crate::client::shell::state::Shell;
use crate::client::shell::transfers::{Named, Start};
use crate::client::shell::words::{pattern, plain};
use crate::ftp::listing::Kind as EntryKind;

/// Number of connections of `pget` without an option.
const RANGES: usize = 4;

const RANGE_COUNT: Flag = Flag::short('n', "number of connections (default: 4)").takes("N");

pub(in crate::client::shell) static PGET: ShellCommand = ShellCommand::new(
    "pget",
    pget,
    "download one file over several connections, each a part of it",
)
.words(1, 2, Names::RemoteThenLocal, "REMOTE [LOCAL]")
.flags(&[RANGE_COUNT, CLOBBER, NO_CLOBBER])
.transfer()
.example("pget -n 4 big.iso");

fn pget(shell: &mut Shell, given: &Given) -> Done {
    let connections = given.number(&RANGE_COUNT)?.unwrap_or(RANGES).clamp(1, CONNECTIONS_MAX);
    let local = destination(shell, given.path(0), given.words().get(1).cloned())?;
    shell.with_clobber(given, |shell| {
        shell.get_ranges(given.path(0), &local, connections)?;
        Ok(Flow::Continue)
    })
}

const RECURSIVE: Flag =
    Flag::short('r', "transfer directories with all that they contain").or("recursive");
const INTO: Flag = Flag::short('O', "transfer into this directory").or("into").takes("DIRECTORY");

pub(in crate::client::shell) static GET: ShellCommand =
    ShellCommand::new("get", get, "download a file, or several by names and patterns")
        .aliases(&["recv"])
        .words(1, ANY, Names::RemoteThenLocal, "REMOTE [LOCAL] | REMOTE...")
        .patterns()
        .flags(&[RECURSIVE, INTO, PARALLEL, CLOBBER, NO_CLOBBER])
        .transfer()
        .example("get -O ~/music *.ogg");

fn get(shell: &mut Shell, given: &Given) -> Done {
    let rules = rules(shell, given)?;
    shell.with_clobber(given, |shell| match pair(given) {
        // `-` is standard output.
        Some((remote, Some(local))) if local == "-" => {
            print_file(shell, remote.as_encoded_bytes())?;
            Ok(Flow::Continue)
        }
        Some((remote, local)) => {
            let remote_path = remote.as_encoded_bytes();
            let local = match local {
                None if rules.recursive => tree_destination(&shell.local, remote_path),
                local => destination(shell, remote_path, local)?,
            };
            let named = Named { path: remote.into_encoded_bytes(), kind: None, known: None };
            get_named(shell, vec![(named, local)], rules, given)
        }
        None => get_several(shell, given, rules),
    })
}

/// Returns the rules that the options of a call set.
fn rules(shell: &Shell, given: &Given) -> Result<SeveralRules, ClientError> {
    Ok(SeveralRules { recursive: given.has(&RECURSIVE), connections: shell.connections(given)? })
}

/// Downloads one file by itself, which may be in ranges, or several.
fn get_named(
    shell: &mut Shell,
    named: Vec<(Named, PathBuf)>,
    rules: SeveralRules,
    given: &Given,
) -> Done {
    match named.as_slice() {
        [(one, local)] if !rules.recursive => {
            // The number of connections of the command line is for several files.
            if given.value(&PARALLEL).is_some() && rules.connections > 1 && shell.is_binary() {
                shell.get_ranges(&one.path, local, rules.connections)?;
            } else {
                shell.get_file(&one.path, local, one.known, Start::Beginning)?;
            }
            Ok(Flow::Continue)
        }
        _ => shell.get_several(named, rules),
    }
}

/// Returns source and destination of a call with exactly two plain names, of which the second is the destination; or
/// its only name. Returns `None` for a call with several sources.
fn pair(given: &Given) -> Option<(OsString, Option<OsString>)> {
    let is_plain = |word: &&OsString| pattern(word).is_none();
    let words: Vec<&OsString> = given.words().iter().filter(is_plain).collect();
    match words.as_slice() {
        _ if words.len() < given.words().len() || given.value(&INTO).is_some() => None,
        [source] => Some((plain(source), None)),
        [source, destination] => Some((plain(source), Some(plain(destination)))),
        _ => None,
    }
}

/// Splits the words of a call with several sources into these and the directory that they go to. The directory is the
/// value of `-O`, or a last word that ends with `/`.
fn sources(given: &Given) -> (&[OsString], Option<OsString>) {
    match (given.value(&INTO), given.words()) {
        (Some(into), words) => (words, Some(into.to_owned())),
        (None, [words @ .., last])
            if !words.is_empty() && last.as_encoded_bytes().ends_with(b"/") =>
        {
            (words, Some(plain(last)))
        }
        (None, words) => (words, None),
    }
}

fn get_several(shell: &mut Shell, given: &Given, rules: SeveralRules) -> Done {
    let (words, into) = sources(given);
    let folder = into.map_or_else(|| shell.local.clone(), |into| shell.local.join(home(&into)));
    if !folder.is_dir() {
        let wrong = if folder.exists() { "not a directory" } else { "no such directory" };
        let what = format!("{}: {wrong}", shown(folder.as_os_str().as_encoded_bytes()));
        return Err(ClientError::new(ErrorKind::Local, what));
    }
    let mut files = Vec::new();
    shell.for_each(words, |shell, word, _| {
        let found = shell.expand(word)?;
        // A pattern means files, except with -r; the server would refuse each directory among the matches.
        let is_wanted = |named: &Named| rules.recursive || named.kind != Some(EntryKind::Directory);
        for named in found.into_iter().filter(is_wanted) {
            let local = if rules.recursive {
                tree_destination(&folder, &named.path)
            } else {
                named.local(&folder)?
            };
            files.push((named, local));
        }
        Ok(())
    })?;
    get_named(shell, files, rules, given)
}

pub(in crate::client::shell) static REGET: ShellCommand =
    ShellCommand::new("reget", reget, "resume a download")
        .words(1, 2, Names::RemoteThenLocal, "REMOTE [LOCAL]")
        .transfer()
        .example("reget big.iso");

fn reget(shell: &mut Shell, given: &Given) -> Done {
    let local = destination(shell, given.path(0), given.words().get(1).cloned())?;
    shell.get_file(given.path(0), &local, None, Start::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the local path for a remote tree. The content of a directory without a name of its own, such as `.` or `/`,
/// goes into the folder itself.
fn tree_destination(folder: &Path, remote: &[u8]) -> PathBuf {
    local_name(remote).map_or_else(|_| folder.to_owned(), |name| folder.join(name))
}

/// Returns the local path for a remote file, as a file of this name or in a directory of this name.
fn destination(
    shell: &Shell,
    remote: &[u8],
    local: Option<OsString>,
) -> Result<PathBuf, ClientError> {
    Ok(match local {
        Some(local) => {
            let local = shell.local.join(home(&local));
            match local_name(remote) {
                // The content of `.` or `/` goes into the directory itself.
                Err(_) if local.is_dir() => local,
                name if local.is_dir() => local.join(name?),
                _ => local,
            }
        }
        None => shell.local.join(local_name(remote)?),
    })
}

/// Replaces `~` at the beginning of a local path by the home directory.
fn home(path: &OsStr) -> PathBuf {
    let path = Path::new(path);
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

pub(in crate::client::shell) static MGET: ShellCommand =
    ShellCommand::new("mget", mget, "download files, by names and patterns")
        .words(1, ANY, Names::Remote, "REMOTE...")
        .patterns()
        .flags(&[RECURSIVE, INTO, PARALLEL, CLOBBER, NO_CLOBBER])
        .transfer()
        .example("mget *.txt");

fn mget(shell: &mut Shell, given: &Given) -> Done {
    let rules = rules(shell, given)?;
    shell.with_clobber(given, |shell| get_several(shell, given, rules))
}

pub(in crate::client::shell) static PUT: ShellCommand =
    ShellCommand::new("put", put, "upload a file, or several by names and patterns")
        .aliases(&["send"])
        .words(1, ANY, Names::Local, "LOCAL [REMOTE] | LOCAL...")
        .patterns()
        .flags(&[RECURSIVE, INTO, PARALLEL])
        .transfer()
        .example("put -r photos");

fn put(shell: &mut Shell, given: &Given) -> Done {
    match pair(given) {
        Some((local, remote)) if local == "-" => put_input(shell, remote),
        Some((local, remote)) => {
            let rules = rules(shell, given)?;
            let (local, remote) = match remote {
                // The content of a directory without a name of its own goes into the current directory.
                None if rules.recursive && Path::new(&local).file_name().is_none() => {
                    (shell.local_source(home(&local).as_os_str()), Vec::new())
                }
                remote => source(shell, &local, remote)?,
            };
            put_named(shell, vec![(local, remote)], rules)
        }
        None => put_several(shell, given),
    }
}

/// Uploads standard input. It is stored first, because a retry reads it again.
fn put_input(shell: &mut Shell, remote: Option<OsString>) -> Done {
    let remote = remote.ok_or_else(|| ClientError::usage("usage: put - REMOTE"))?;
    let failed = |error: io::Error| ClientError::local(Path::new("standard input"), &error);
    let mut stored = tempfile::NamedTempFile::new().map_err(failed)?;
    io::copy(&mut io::stdin().lock(), &mut stored).map_err(failed)?;
    shell.put_file(stored.path(), remote.as_encoded_bytes(), Start::Beginning)?;
    Ok(Flow::Continue)
}

/// Uploads one file by itself, or several.
fn put_named(shell: &mut Shell, named: Vec<(PathBuf, Vec<u8>)>, rules: SeveralRules) -> Done {
    match named.as_slice() {
        [(local, remote)] if !(rules.recursive && local.is_dir()) => {
            shell.put_file(local, remote, Start::Beginning)?;
            Ok(Flow::Continue)
        }
        _ => shell.put_several(named, rules),
    }
}

fn put_several(shell: &mut Shell, given: &Given) -> Done {
    let rules = rules(shell, given)?;
    let (words, into) = sources(given);
    let mut folder = into.unwrap_or_default().into_encoded_bytes();
    if !folder.is_empty() && !folder.ends_with(b"/") {
        folder.push(b'/');
    }
    let mut files = Vec::new();
    shell.for_each(words, |shell, word, _| {
        files.extend(shell.expand_local(word, rules.recursive)?);
        Ok(())
    })?;
    let named = |local: PathBuf| {
        let name = local.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
        let remote = [&folder, name].concat();
        (local, remote)
    };
    put_named(shell, files.into_iter().map(named).collect(), rules)
}

pub(in crate::client::shell) static REPUT: ShellCommand =
    ShellCommand::new("reput", reput, "resume an upload")
        .words(1, 2, Names::Local, "LOCAL [REMOTE]")
        .transfer()
        .example("reput big.iso");

fn reput(shell: &mut Shell, given: &Given) -> Done {
    let word = given.words().first().map(OsString::as_os_str).unwrap_or_default();
    let (local, remote) = source(shell, word, given.words().get(1).cloned())?;
    shell.put_file(&local, &remote, Start::Resume)?;
    Ok(Flow::Continue)
}

/// Returns the path of a local file, and its name on the server.
fn source(
    shell: &Shell,
    word: &OsStr,
    remote: Option<OsString>,
) -> Result<(PathBuf, Vec<u8>), ClientError> {
    let local = shell.local_source(home(word).as_os_str());
    let own_name = || local.file_name().map(|name| name.as_encoded_bytes().to_vec());
    let remote = match remote.map(OsString::into_encoded_bytes) {
        None => own_name().ok_or_else(|| {
            let word = shown(word.as_encoded_bytes());
            ClientError::usage(format!("{word} has no file name; give the remote name"))
        })?,
        Some(remote) if remote.ends_with(b"/") => [remote, own_name().unwrap_or_default()].concat(),
        Some(remote) => remote,
    };
    Ok((local, remote))
}

pub(in crate::client::shell) static MPUT: ShellCommand =
    ShellCommand::new("mput", mput, "upload files, by names and patterns")
        .words(1, ANY, Names::Local, "LOCAL...")
        .patterns()
        .flags(&[RECURSIVE, INTO, PARALLEL])
        .transfer()
        .example("mput *.txt");

fn mput(shell: &mut Shell, given: &Given) -> Done {
    put_several(shell, given)
}
