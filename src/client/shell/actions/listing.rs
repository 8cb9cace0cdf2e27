//! Actions that list: `ls`, `dir`, `find` and `du`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use indicatif::HumanBytes;
use lscolors::LsColors;

use crate::client::error::ClientError;
use crate::client::names::{about, is_directory, lines, shown};
use crate::client::shell::columns::{Label, arrange};
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::output::terminal_columns;
use crate::client::shell::state::Shell;
use crate::client::shell::words::plain;
use crate::ftp::command::{Command, PathName, Selection};
use crate::ftp::listing::{Kind as EntryKind, Listed};
use crate::ftp::pattern::matches;

const LONG: Flag = Flag::short('l', "with mode, size and time (UTC)");
const ONE: Flag = Flag::short('1', "one name in each line");
const BY_TIME: Flag = Flag::short('t', "newest first");
const BY_SIZE: Flag = Flag::short('S', "largest first");
const REVERSE: Flag = Flag::short('r', "in reverse order");
const ALL: Flag = Flag::short('a', "also hidden names (the default)");
const READABLE: Flag = Flag::short('h', "sizes such as 1.5 MiB");

pub(in crate::client::shell) static LS: ShellCommand =
    ShellCommand::new("ls", ls, "list the names in a remote directory")
        .aliases(&["cls", "nlist"])
        .words(0, usize::MAX, Names::Remote, "[REMOTE...]")
        .patterns()
        .flags(&[LONG, ONE, BY_TIME, BY_SIZE, REVERSE, ALL, READABLE])
        .example("ls -lt *.txt");

fn ls(shell: &mut Shell, given: &Given) -> Done {
    let several = given.words().len() > 1;
    let here = [OsString::new()];
    let words = if given.words().is_empty() { here.as_slice() } else { given.words() };
    shell.for_each(words, |shell, word, _| {
        let mut entries = match shell.matching(word)? {
            Some(matching) => matching,
            None => shell.list_directory(plain(word).as_bytes())?,
        };
        sort(&mut entries, given);
        if several {
            shell.print(&format!("{}:\n", shown(plain(word).as_bytes())));
        }
        print(shell, &entries, given);
        Ok(())
    })
}

fn sort(entries: &mut [Listed], given: &Given) {
    if given.has(&BY_TIME) {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.modified));
    } else if given.has(&BY_SIZE) {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    }
    if given.has(&REVERSE) {
        entries.reverse();
    }
}

fn print(shell: &mut Shell, entries: &[Listed], given: &Given) {
    let on_terminal = shell.is_on_terminal();
    let name = |entry: &Listed| {
        let slash = if is_directory(entry) { b"/".as_slice() } else { b"" };
        [entry.name.as_slice(), slash].concat()
    };
    if !on_terminal {
        // Another program reads these names, so their bytes stay unchanged.
        let line = |entry: &Listed| {
            let details = if given.has(&LONG) { details(entry, given) } else { String::new() };
            [details.as_bytes(), &name(entry), b"\n"].concat()
        };
        let text: Vec<u8> = entries.iter().flat_map(line).collect();
        shell.print_bytes(&text);
        return;
    }
    let colors = std::env::var_os("NO_COLOR").map_or_else(LsColors::from_env, |_| None);
    let label = |entry: &Listed| Label::of(entry, shown(&name(entry)), colors.as_ref());
    let text = if given.has(&LONG) {
        entries.iter().map(|entry| details(entry, given) + &label(entry).painted + "\n").collect()
    } else {
        let labels: Vec<Label> = entries.iter().map(label).collect();
        arrange(&labels, if given.has(&ONE) { 1 } else { terminal_columns() })
    };
    shell.print_painted(&text);
}

/// Returns mode, size and time of an entry, as columns.
fn details(entry: &Listed, given: &Given) -> String {
    let kind = match entry.kind {
        Some(EntryKind::Directory) => 'd',
        Some(EntryKind::Link) => 'l',
        Some(EntryKind::File) => '-',
        Some(EntryKind::Other) | None => '?',
    };
    let mode = entry.mode.map_or_else(|| "?????????".to_owned(), permissions);
    let size = match entry.size {
        Some(size) if given.has(&READABLE) => HumanBytes(size).to_string(),
        Some(size) => size.to_string(),
        None => "-".to_owned(),
    };
    let time = entry
        .modified
        .map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string());
    format!("{kind}{mode} {size:>12} {time:>16} ")
}

/// Returns permission bits as letters, such as `rwxr-xr-x`.
fn permissions(mode: u32) -> String {
    let letter = |bit: u32| match (mode >> bit & 1, bit % 3) {
        (0, _) => '-',
        (_, 2) => 'r',
        (_, 1) => 'w',
        _ => 'x',
    };
    (0..9).rev().map(letter).collect()
}

pub(in crate::client::shell) static DIR: ShellCommand = ShellCommand::new(
    "dir",
    dir,
    "list a remote directory as the server does",
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

const NAME: Flag = Flag::long("name", "only names that match, such as '*.txt'").takes("PATTERN");
const KIND: Flag = Flag::long("type", "only files (f), directories (d) or links (l)").takes("KIND");

pub(in crate::client::shell) static FIND: ShellCommand =
    ShellCommand::new("find", find, "print all paths below a remote directory")
        .words(0, 1, Names::Remote, "[REMOTE]")
        .flags(&[NAME, KIND])
        .example("find --name '*.txt' music");

fn find(shell: &mut Shell, given: &Given) -> Done {
    let kind = match given.value(&KIND).map(OsStr::as_encoded_bytes) {
        None => None,
        Some(b"f") => Some(EntryKind::File),
        Some(b"d") => Some(EntryKind::Directory),
        Some(b"l") => Some(EntryKind::Link),
        Some(_) => return Err(ClientError::usage("--type must be f, d or l")),
    };
    let fits = |entry: &Listed| {
        given.value(&NAME).is_none_or(|pattern| matches(pattern.as_bytes(), &entry.name))
            && kind.is_none_or(|kind| entry.kind == Some(kind))
    };
    let found = shell.walk(given.path(0))?;
    let text: Vec<u8> = found
        .iter()
        .filter(|found| fits(&found.entry))
        .flat_map(|found| [found.path.as_slice(), b"\n"].concat())
        .collect();
    shell.print_bytes(&text);
    Ok(Flow::Continue)
}

const SUM: Flag = Flag::short('s', "only the sum");

pub(in crate::client::shell) static DU: ShellCommand =
    ShellCommand::new("du", du, "print the bytes of the files in remote directories")
        .words(0, 1, Names::Remote, "[REMOTE]")
        .flags(&[SUM, READABLE])
        .example("du -sh music");

fn du(shell: &mut Shell, given: &Given) -> Done {
    let top = given.path(0);
    let found = shell.walk(top)?;
    let size = |bytes: u64| {
        if given.has(&READABLE) { HumanBytes(bytes).to_string() } else { bytes.to_string() }
    };
    let mut text = Vec::new();
    let mut line = |bytes: u64, path: &[u8]| {
        text.extend([size(bytes).as_bytes(), b"\t", path, b"\n"].concat());
    };
    if !given.has(&SUM) {
        for directory in found.iter().filter(|found| is_directory(&found.entry)) {
            let inside = [directory.path.as_slice(), b"/"].concat();
            let files = found.iter().filter(|found| found.path.starts_with(&inside));
            let bytes = files.filter_map(|found| file_size(&found.entry)).sum();
            line(bytes, &directory.path);
        }
    }
    let sum = found.iter().filter_map(|found| file_size(&found.entry)).sum();
    line(sum, if top.is_empty() { b"." } else { top });
    shell.print_bytes(&text);
    Ok(Flow::Continue)
}

fn file_size(entry: &Listed) -> Option<u64> {
    entry.size.filter(|_| entry.kind == Some(EntryKind::File))
}
