//! Completion of commands, remote names and local names, for line editing.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use crate::client::names::{is_directory, shown};

use super::command::Names;
use super::given::Flag;
use super::state::Shell;
use super::table;
use super::words::{quote, split_path};

/// The helper that line editing asks for completions.
#[derive(Helper, Hinter, Validator, Highlighter)]
pub(super) struct Assistant {
    pub(super) shell: Rc<RefCell<Shell>>,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..position).unwrap_or(line);
        let start = word_start(typed);
        let word = typed.get(start..).unwrap_or_default().replace('\\', "");
        let mut before = typed.get(..start).unwrap_or_default().split_whitespace();
        let Some(command) = before.next() else {
            let names = table::names().into_iter().filter(|(name, _)| name.starts_with(&word));
            let pair =
                |name: &str| Pair { replacement: format!("{name} "), display: name.to_owned() };
            return Ok((start, names.map(|(name, _)| pair(name)).collect()));
        };
        let Ok(command) = table::find(command) else { return Ok((start, Vec::new())) };
        if word.starts_with('-') {
            let options = command.flags.iter().flat_map(Flag::spellings);
            let pair = |option: String| Pair { replacement: format!("{option} "), display: option };
            return Ok((
                start,
                options.filter(|option| option.starts_with(&word)).map(pair).collect(),
            ));
        }
        let names = match command.names {
            Names::RemoteThenLocal if before.any(|word| !word.starts_with('-')) => {
                local_names(&self.shell.borrow(), &word)
            }
            Names::Remote | Names::RemoteThenLocal => {
                remote_names(&mut self.shell.borrow_mut(), &word)
            }
            Names::Local => local_names(&self.shell.borrow(), &word),
            Names::Command => table::names()
                .into_iter()
                .filter(|(name, _)| name.starts_with(&word))
                .map(|(name, _)| name.as_bytes().to_vec())
                .collect(),
            Names::Other => Vec::new(),
        };
        // SECURITY: a server chooses these names; `quote` and `shown` keep control characters out of the terminal.
        let pairs =
            names.iter().map(|name| Pair { replacement: quote(name), display: shown(name) });
        Ok((start, pairs.collect()))
    }
}

/// Returns the start of the word under the cursor: after the last space without a backslash.
fn word_start(typed: &str) -> usize {
    let mut start = 0;
    let mut kept = false;
    for (position, letter) in typed.char_indices() {
        if letter.is_whitespace() && !kept {
            start = position + letter.len_utf8();
        }
        kept = letter == '\\' && !kept;
    }
    start
}

fn remote_names(shell: &mut Shell, word: &str) -> Vec<Vec<u8>> {
    let (directory, beginning) = split_path(OsStr::new(word));
    let (directory, beginning) = (directory.as_bytes(), beginning.as_bytes());
    let entries = shell.remote_entries(directory).iter();
    let names = entries.filter(|entry| entry.name.starts_with(beginning)).map(|entry| {
        let slash = if is_directory(entry) { b"/".as_slice() } else { b"" };
        [directory, &entry.name, slash].concat()
    });
    names.collect()
}

fn local_names(shell: &Shell, word: &str) -> Vec<Vec<u8>> {
    let (directory, beginning) = split_path(OsStr::new(word));
    let Ok(entries) = fs::read_dir(shell.local.join(directory)) else { return Vec::new() };
    let mut names: Vec<Vec<u8>> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let slash = if entry.path().is_dir() { b"/".as_slice() } else { b"" };
            let fits = name.as_bytes().starts_with(beginning.as_bytes());
            fits.then(|| [directory.as_bytes(), name.as_bytes(), slash].concat())
        })
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_under_the_cursor_begins_behind_a_space_that_is_not_kept() {
        assert_eq!(word_start("get "), 4);
        assert_eq!(word_start("get a\\ b"), 4);
        assert_eq!(word_start("ge"), 0);
    }
}
