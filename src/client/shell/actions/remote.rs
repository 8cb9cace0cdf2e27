//! Actions on files and directories of the server.

use std::io::{self, Write};
use std::path::Path;

use crate::client::connection::Client;
use crate::client::error::ClientError;
use crate::client::names::{is_directory, lines, shown};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::output::printable;
use crate::client::shell::state::Shell;
use crate::client::shell::words::plain;
use crate::ftp::command::{Command, PathName, Selection};
use crate::ftp::listing::Listed;
use crate::ftp::time::TimeValue;

pub(in crate::client::shell) fn pwd(shell: &mut Shell, _: &[&str]) -> Done {
    let place = shell.client()?.current_directory()?;
    shell.print_bytes(&[&place, b"\n".as_slice()].concat());
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn cd(shell: &mut Shell, words: &[&str]) -> Done {
    let to = words.first().map_or("/", |word| *word);
    shell.client()?.change_directory(to.as_bytes())?;
    shell.forget_names();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn cdup(shell: &mut Shell, _: &[&str]) -> Done {
    cd(shell, &[".."])
}

pub(in crate::client::shell) fn ls(shell: &mut Shell, words: &[&str]) -> Done {
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
        shell.print_names(&names);
    } else {
        // Another program reads these names, so their bytes stay unchanged.
        let text: Vec<u8> =
            entries.iter().flat_map(|entry| [label(entry), b"\n".to_vec()].concat()).collect();
        shell.print_bytes(&text);
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn dir(shell: &mut Shell, words: &[&str]) -> Done {
    let path = words.first().map(|word| PathName(plain(word).into_bytes()));
    let command = Command::List(Selection { path, ..Selection::default() });
    let text = shell.client()?.listing(&command, &format!("dir {}", words.join(" ")))?;
    let lines: Vec<u8> = lines(&text).flat_map(|line| [line, b"\n"].concat()).collect();
    shell.print_bytes(&lines);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn size(shell: &mut Shell, words: &[&str]) -> Done {
    let size = shell.client()?.size(first(words).as_bytes())?;
    shell.print(&format!("{size}\n"));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn modtime(shell: &mut Shell, words: &[&str]) -> Done {
    let modified = shell.client()?.modified(first(words).as_bytes())?;
    shell.print(&format!("{} ({})\n", modified, TimeValue(modified)));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn cat(shell: &mut Shell, words: &[&str]) -> Done {
    let path = first(words).to_owned();
    let on_terminal = shell.is_on_terminal();
    let mut out = io::stdout().lock();
    let client = shell.client()?;
    if on_terminal {
        // SECURITY: the bytes of a file must not control the terminal.
        let mut text = Vec::new();
        client.read(path.as_bytes(), &mut text)?;
        out.write_all(printable(&text).as_bytes()).map_err(|error| output_gone(&error))?;
    } else {
        client.read(path.as_bytes(), &mut out)?;
    }
    out.flush().map_err(|error| output_gone(&error))?;
    Ok(Flow::Continue)
}

fn output_gone(error: &io::Error) -> ClientError {
    ClientError::local(Path::new("standard output"), error)
}

pub(in crate::client::shell) fn mkdir(shell: &mut Shell, words: &[&str]) -> Done {
    each(shell, words, Client::create_dir)
}

pub(in crate::client::shell) fn rmdir(shell: &mut Shell, words: &[&str]) -> Done {
    each(shell, words, Client::remove_dir)
}

pub(in crate::client::shell) fn rm(shell: &mut Shell, words: &[&str]) -> Done {
    let mut paths = Vec::new();
    for word in words {
        paths.extend(shell.expand(word)?.into_iter().map(|named| named.path));
    }
    shell.for_each(&paths, |shell, path, _| shell.client()?.remove_file(path))
}

pub(in crate::client::shell) fn rename(shell: &mut Shell, words: &[&str]) -> Done {
    if let [from, to] = words {
        shell.client()?.rename(from.as_bytes(), to.as_bytes())?;
        shell.forget_names();
    }
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn chmod(shell: &mut Shell, words: &[&str]) -> Done {
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

fn first<'a>(words: &[&'a str]) -> &'a str {
    words.first().copied().unwrap_or_default()
}
