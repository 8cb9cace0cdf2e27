//! Completion of commands, remote names and local names, for line editing.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use crate::client::names::{is_directory, shown};

use super::command::{COMMANDS, Names, ShellCommand};
use super::state::Shell;
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
        let before = typed.get(..start).unwrap_or_default();
        let mut first = before.split_whitespace();
        let names = match first.next() {
            None => COMMANDS
                .iter()
                .map(|row| row.name.to_owned() + " ")
                .filter(|name| name.starts_with(&word))
                .collect(),
            // `get REMOTE LOCAL`: the second name is local.
            Some(command) => match ShellCommand::find(command).map(|row| row.takes.names) {
                Ok(Names::Remote) if command == "get" && first.any(|word| word != "-r") => {
                    local_names(&self.shell.borrow(), &word)
                }
                Ok(Names::Remote) => remote_names(&mut self.shell.borrow_mut(), &word),
                Ok(Names::Local) => local_names(&self.shell.borrow(), &word),
                Ok(Names::Other) | Err(_) => Vec::new(),
            },
        };
        let is_command = before.trim().is_empty();
        // SECURITY: a server chooses these names; those with control characters are kept out of the line being edited.
        let harmless = names.into_iter().filter(|name| !name.chars().any(char::is_control));
        let pairs = harmless.map(|name| Pair {
            replacement: if is_command { name.clone() } else { quote(&name) },
            display: shown(name.trim_end().as_bytes()),
        });
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

fn remote_names(shell: &mut Shell, word: &str) -> Vec<String> {
    let (directory, beginning) = split_path(word);
    let entries = shell.remote_entries(directory);
    let names = entries.iter().filter_map(|entry| {
        let name = str::from_utf8(&entry.name).ok()?;
        let slash = if is_directory(entry) { "/" } else { "" };
        name.starts_with(beginning).then(|| format!("{directory}{name}{slash}"))
    });
    names.collect()
}

fn local_names(shell: &Shell, word: &str) -> Vec<String> {
    let (directory, beginning) = split_path(word);
    let Ok(entries) = fs::read_dir(shell.local.join(directory)) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            name.starts_with(beginning).then(|| format!("{directory}{name}{slash}"))
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
