//! Completion of commands, remote names and local names, for line editing.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use crate::client::names::{is_directory, shown};

use super::actions::settings::setting_names;
use super::command::Names;
use super::given::Flag;
use super::profile::bookmarks;
use super::state::Shell;
use super::table;
use super::words::{quote as quoted, split_path};

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
        // A question of a running command has no completion.
        let Ok(mut shell) = self.shell.try_borrow_mut() else { return Ok((position, Vec::new())) };
        let cursor = Cursor::at(line.get(..position).unwrap_or(line));
        let word = cursor.word.as_slice();
        let Some((command, before)) = cursor.before.split_first() else {
            let names = table::names().into_iter().filter(|(name, _)| begins(name, word));
            let pair =
                |name: &str| Pair { replacement: format!("{name} "), display: name.to_owned() };
            return Ok((cursor.start, names.map(|(name, _)| pair(name)).collect()));
        };
        let Ok(command) = table::find(&String::from_utf8_lossy(command)) else {
            return Ok((cursor.start, Vec::new()));
        };
        if word.starts_with(b"-") {
            let options = command.flags.iter().flat_map(Flag::spellings);
            let pair = |option: String| Pair { replacement: format!("{option} "), display: option };
            let fits = options.filter(|option| begins(option, word));
            return Ok((cursor.start, fits.map(pair).collect()));
        }
        let names = match command.names {
            Names::RemoteThenLocal => {
                let remote = remote_names(&mut shell, word);
                // Behind the first name may come the local one.
                let is_first = before.iter().all(|word| word.starts_with(b"-"));
                if is_first || !remote.is_empty() { remote } else { local_names(&shell, word) }
            }
            Names::Remote => remote_names(&mut shell, word),
            Names::Local => local_names(&shell, word),
            Names::Command => owned(&mut table::names().into_iter().map(|(name, _)| name), word),
            Names::Setting => owned(&mut setting_names(), word),
            Names::Bookmark => {
                let bookmarks = bookmarks();
                owned(&mut bookmarks.iter().map(|bookmark| bookmark.name.as_str()), word)
            }
            Names::Other => Vec::new(),
        };
        // SECURITY: a server chooses these names; `written` and `shown` keep control characters out of the terminal.
        let pair =
            |name: &Vec<u8>| Pair { replacement: cursor.written(name), display: shown(name) };
        Ok((cursor.start, names.iter().map(pair).collect()))
    }
}

/// Returns the names that begin with the word.
fn owned(names: &mut dyn Iterator<Item = &str>, word: &[u8]) -> Vec<Vec<u8>> {
    names.filter(|name| begins(name, word)).map(|name| name.as_bytes().to_vec()).collect()
}

fn begins(name: &str, word: &[u8]) -> bool {
    name.as_bytes().starts_with(word)
}

/// The word under the cursor, and the words of the command before it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// Position at which the word begins in the line, with its quote.
    start: usize,
    word: Vec<u8>,
    before: Vec<Vec<u8>>,
    /// The quote that is open at the cursor.
    quote: Option<u8>,
}

impl Cursor {
    /// Reads a line up to the cursor.
    fn at(typed: &str) -> Self {
        let mut cursor = Self::default();
        let mut bytes = typed.bytes().enumerate().peekable();
        let mut in_word = false;
        while let Some((position, byte)) = bytes.next() {
            match (cursor.quote, byte) {
                (None, b' ' | b'\t') => {
                    if std::mem::take(&mut in_word) {
                        cursor.before.push(std::mem::take(&mut cursor.word));
                    }
                    cursor.start = position + 1;
                    continue;
                }
                (None, b';') => {
                    cursor = Self { start: position + 1, ..Self::default() };
                    in_word = false;
                    continue;
                }
                (None, b'\'' | b'"') => cursor.quote = Some(byte),
                (Some(quote), byte) if quote == byte => cursor.quote = None,
                (None | Some(b'"'), b'\\') => match bytes.next() {
                    Some((at, b'x')) if cursor.quote.is_none() => {
                        let digits = typed.get(at + 1..at + 3).unwrap_or_default();
                        if let Ok(byte) = u8::from_str_radix(digits, 16) {
                            cursor.word.push(byte);
                            bytes.nth(1);
                        } else {
                            cursor.word.push(b'x');
                        }
                    }
                    next => cursor.word.extend(next.map(|(_, byte)| byte)),
                },
                (_, byte) => cursor.word.push(byte),
            }
            in_word = true;
        }
        cursor
    }

    /// Returns a name as it is written here: inside the quote that is open, if it can stand there.
    fn written(&self, name: &[u8]) -> String {
        let Some(quote) = self.quote else { return quoted(name) };
        let mark = char::from(quote);
        match str::from_utf8(name) {
            Ok(text) if !text.contains([mark, '\\']) && !text.contains(char::is_control) => {
                // A directory is continued, so its quote stays open.
                let end = if text.ends_with('/') { String::new() } else { mark.to_string() };
                format!("{mark}{text}{end}")
            }
            _ => quoted(name),
        }
    }
}

fn remote_names(shell: &mut Shell, word: &[u8]) -> Vec<Vec<u8>> {
    let (directory, beginning) = split_path(OsStr::from_bytes(word));
    let (directory, beginning) = (directory.as_bytes(), beginning.as_bytes());
    let entries = shell.remote_entries(directory).iter();
    let names = entries.filter(|entry| entry.name.starts_with(beginning)).map(|entry| {
        let slash = if is_directory(entry) { b"/".as_slice() } else { b"" };
        [directory, &entry.name, slash].concat()
    });
    names.collect()
}

fn local_names(shell: &Shell, word: &[u8]) -> Vec<Vec<u8>> {
    let (directory, beginning) = split_path(OsStr::from_bytes(word));
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
    fn the_word_under_the_cursor_is_read_with_its_quotes() {
        let read = |typed: &str| {
            let cursor = Cursor::at(typed);
            (cursor.start, String::from_utf8(cursor.word).unwrap(), cursor.before.len())
        };
        assert_eq!(read("get "), (4, String::new(), 1));
        assert_eq!(read("get a\\ b"), (4, "a b".to_owned(), 1));
        assert_eq!(read("ge"), (0, "ge".to_owned(), 0));
        assert_eq!(read("get 'a b"), (4, "a b".to_owned(), 1));
        assert_eq!(read("get \"a b\" c"), (10, "c".to_owned(), 2));
        assert_eq!(read("cd x; get y"), (10, "y".to_owned(), 1));
        assert_eq!(Cursor::at("get a\\xe9").word, b"a\xe9");
    }

    #[test]
    fn a_name_is_written_inside_of_its_quote() {
        let written = |typed: &str, name: &[u8]| Cursor::at(typed).written(name);
        assert_eq!(written("get a", b"a b"), "a\\ b");
        assert_eq!(written("get 'a", b"a b"), "'a b'");
        assert_eq!(written("get \"a", b"a b/"), "\"a b/");
        assert_eq!(written("get 'a", b"a'b"), "a\\'b");
        assert_eq!(written("get 'l", b"latin\xe9"), "latin\\xe9");
    }
}
