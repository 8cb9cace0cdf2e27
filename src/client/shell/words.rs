//! Splitting of a shell line into commands and words, with the quoting of sh.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::vec::IntoIter;

use super::redirect::Redirect;

/// A line that cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A quote is not closed.
    Unclosed,
    /// No file follows `>`, no program follows `|`, or no command stands before them.
    Redirection,
}

/// One command of a line: its words, and the destination of its output.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) words: Vec<OsString>,
    pub(super) redirect: Option<Redirect>,
    /// It runs in the background (`&`).
    pub(super) in_background: bool,
}

/// A mark before a quoted pattern letter, which then stands for itself. No file name contains it, and a typed one is
/// dropped.
const QUOTED: u8 = 0;

/// Splits text into commands at `;` and line ends, and each command into words. Quotes and backslashes protect spaces,
/// `;` and each other; `\xHH` is the byte with this number, for names that are not UTF-8. A `#` at the beginning of a
/// word makes the rest of the line a comment. After a `!` that begins a command, the rest of the line is one word, for
/// sh. `> FILE`, `>> FILE` and `| PROGRAM` redirect the output of a command. A word `&` ends a command that runs in the
/// background.
pub(super) fn split(text: &[u8]) -> Result<Vec<CommandLine>, Malformed> {
    let letters: Vec<u8> = text.iter().copied().filter(|letter| *letter != QUOTED).collect();
    let mut splitter = Splitter {
        letters: letters.into_iter().peekable(),
        word: None,
        command: CommandLine::default(),
        awaited: None,
        commands: Vec::new(),
    };
    while let Some(letter) = splitter.letters.next() {
        let begins_word = splitter.word.is_none();
        match letter {
            b'!' if begins_word && splitter.command.words.is_empty() => {
                let rest = splitter.rest_of_line();
                let rest = OsString::from_vec(rest.trim_ascii().to_vec());
                splitter.command.words = vec!["!".into(), rest];
            }
            b'#' if begins_word => drop(splitter.rest_of_line()),
            b';' | b'\n' => splitter.end_command()?,
            b'&' if splitter.is_at_end() => {
                splitter.command.in_background = true;
                splitter.end_command()?;
            }
            b'>' => {
                splitter.end_word();
                let append = splitter.letters.next_if_eq(&b'>').is_some();
                splitter.awaited = Some(if append { Redirect::Append } else { Redirect::File });
            }
            b'|' => {
                splitter.end_word();
                let program = splitter.program()?;
                splitter.command.redirect = Some(Redirect::Pipe(program));
            }
            letter if letter.is_ascii_whitespace() => splitter.end_word(),
            letter => splitter.add(letter)?,
        }
    }
    splitter.end_command()?;
    Ok(splitter.commands)
}

/// The letters that are left, and what they continue.
struct Splitter {
    letters: Peekable<IntoIter<u8>>,
    word: Option<Vec<u8>>,
    command: CommandLine,
    /// Kind of a redirection whose file is to come.
    awaited: Option<fn(OsString) -> Redirect>,
    commands: Vec<CommandLine>,
}

impl Splitter {
    fn rest_of_line(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.letters.next_if(|letter| *letter != b'\n')).collect()
    }

    /// Returns true if no letter of the same word follows.
    fn is_at_end(&mut self) -> bool {
        let next = self.letters.peek();
        next.is_none_or(|next| next.is_ascii_whitespace() || *next == b';')
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take().map(OsString::from_vec) else { return };
        match self.awaited.take() {
            Some(redirect) => self.command.redirect = Some(redirect(plain(&word))),
            None => self.command.words.push(word),
        }
    }

    fn end_command(&mut self) -> Result<(), Malformed> {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        let is_marked = command.redirect.is_some() || command.in_background;
        if self.awaited.is_some() || (command.words.is_empty() && is_marked) {
            return Err(Malformed::Redirection);
        }
        if !command.words.is_empty() {
            self.commands.push(command);
        }
        Ok(())
    }

    /// Returns the program behind `|`, with its quotes, up to an unquoted `;` or the end of the line.
    fn program(&mut self) -> Result<OsString, Malformed> {
        let (mut program, mut quote) = (Vec::new(), None);
        while let Some(letter) =
            self.letters.next_if(|letter| quote.is_some() || !matches!(letter, b';' | b'\n'))
        {
            program.push(letter);
            match (quote, letter) {
                (Some(open), letter) if open == letter => quote = None,
                (None, b'\'' | b'"') => quote = Some(letter),
                (None, b'\\') => program.extend(self.letters.next()),
                _ => {}
            }
        }
        match program.trim_ascii() {
            _ if quote.is_some() => Err(Malformed::Unclosed),
            b"" => Err(Malformed::Redirection),
            program => Ok(OsString::from_vec(program.to_vec())),
        }
    }

    /// Adds a letter to the word, or what a quote or a backslash begins.
    fn add(&mut self, letter: u8) -> Result<(), Malformed> {
        let word = self.word.get_or_insert_default();
        match letter {
            b'\'' => loop {
                match self.letters.next().ok_or(Malformed::Unclosed)? {
                    b'\'' => break,
                    letter => push_quoted(word, letter),
                }
            },
            b'"' => loop {
                match self.letters.next().ok_or(Malformed::Unclosed)? {
                    b'"' => break,
                    b'\\' if matches!(self.letters.peek(), Some(b'"' | b'\\')) => {
                        word.extend(self.letters.next());
                    }
                    letter => push_quoted(word, letter),
                }
            },
            b'\\' => match self.letters.next().ok_or(Malformed::Unclosed)? {
                b'x' => match hexadecimal(&self.letters) {
                    Some(byte) => {
                        self.letters.nth(1);
                        push_quoted(word, byte);
                    }
                    None => word.push(b'x'),
                },
                letter => push_quoted(word, letter),
            },
            letter => word.push(letter),
        }
        Ok(())
    }
}

/// Returns the byte that the next two letters name in hexadecimal.
fn hexadecimal(letters: &Peekable<IntoIter<u8>>) -> Option<u8> {
    let digits: Vec<u8> = letters.clone().take(2).collect();
    let text = str::from_utf8(&digits).ok().filter(|text| text.len() == 2)?;
    u8::from_str_radix(text, 16).ok().filter(|byte| *byte != 0)
}

fn push_quoted(word: &mut Vec<u8>, letter: u8) {
    if is_pattern_letter(letter) {
        word.push(QUOTED);
    }
    word.push(letter);
}

fn is_pattern_letter(letter: u8) -> bool {
    matches!(letter, b'*' | b'?' | b'[')
}

/// Returns a word as a plain name, without marks.
pub(super) fn plain(word: &OsStr) -> OsString {
    let bytes = word.as_bytes().iter().copied();
    OsString::from_vec(bytes.filter(|letter| *letter != QUOTED).collect())
}

/// Returns a word as a pattern, if it has an unquoted pattern letter. Quoted pattern letters become sets of one letter.
pub(super) fn pattern(word: &OsStr) -> Option<Vec<u8>> {
    let mut letters = word.as_bytes().iter().copied();
    let (mut pattern, mut is_pattern) = (Vec::new(), false);
    while let Some(letter) = letters.next() {
        match letter {
            QUOTED => {
                pattern.extend(letters.next().into_iter().flat_map(|letter| [b'[', letter, b']']));
            }
            letter => {
                is_pattern |= is_pattern_letter(letter);
                pattern.push(letter);
            }
        }
    }
    is_pattern.then_some(pattern)
}

/// Splits a path into the directory, with its slash, and the last name.
pub(super) fn split_path(word: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = word.as_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/');
    let (directory, name) =
        slash.and_then(|slash| bytes.split_at_checked(slash + 1)).unwrap_or((b"", bytes));
    (OsStr::from_bytes(directory), OsStr::from_bytes(name))
}

/// Quotes a word so that it is read back unchanged. Bytes that are not UTF-8, and control characters, become `\xHH`.
pub(super) fn quote(word: &[u8]) -> String {
    let mut quoted = String::new();
    for chunk in word.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_ascii_control() {
                let _written = write!(quoted, "\\x{:02x}", u32::from(letter));
                continue;
            }
            if letter == ' ' || "'\"\\;#!*?[|<>&".contains(letter) {
                quoted.push('\\');
            }
            quoted.push(letter);
        }
        for byte in chunk.invalid() {
            let _written = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[&[&str]]) {
        let expected: Vec<Vec<OsString>> =
            expected.iter().map(|words| words.iter().map(Into::into).collect()).collect();
        let words = |lines: Vec<CommandLine>| lines.into_iter().map(|line| line.words).collect();
        assert_eq!(split(text.as_bytes()).map(words), Ok(expected), "{text}");
    }

    #[test]
    fn commands_and_words_are_cut_as_sh_does() {
        check("get a; bye", &[&["get", "a"], &["bye"]]);
        check("get 'a b' \"c;\\\"d\" e\\ f # g\nbye", &[&["get", "a b", "c;\"d", "e f"], &["bye"]]);
        check("ls ''", &[&["ls", ""]]);
        check(";; \n # only a comment", &[]);
        check("!ls | wc; x", &[&["!", "ls | wc; x"]]);
        for text in ["get 'a", "get \"a", "get a\\"] {
            assert_eq!(split(text.as_bytes()), Err(Malformed::Unclosed), "{text}");
        }
    }

    #[test]
    fn what_is_quoted_is_no_pattern() {
        let word = |text: &str| split(text.as_bytes()).unwrap()[0].words[0].clone();
        assert_eq!(pattern(&word("a*")), Some(b"a*".to_vec()));
        assert_eq!(pattern(&word("'a[1]*'b?")), Some(b"a[[]1][*]b?".to_vec()));
        for text in ["'a[1].txt'", "\"*\"", "a\\*", "plain"] {
            assert_eq!(pattern(&word(text)), None, "{text}");
        }
        assert_eq!(plain(&word("'a[1].txt'")), "a[1].txt");
    }

    #[test]
    fn output_is_redirected_to_a_file_or_a_program() {
        let redirect = |text: &str| {
            split(text.as_bytes())
                .map(|mut lines| lines.remove(0).redirect)
                .map_err(|error| error == Malformed::Redirection)
        };
        let file = |name: &str| Ok(Some(Redirect::File(name.into())));
        assert_eq!(redirect("cat a > 'b c'"), file("b c"));
        assert_eq!(redirect("cat a>b;ls"), file("b"));
        assert_eq!(redirect("cat a >> b"), Ok(Some(Redirect::Append("b".into()))));
        let program = |text: &str| Ok(Some(Redirect::Pipe(text.into())));
        assert_eq!(redirect("ls | grep 'a;b' | wc -l; cd x"), program("grep 'a;b' | wc -l"));
        assert_eq!(redirect("cat 'a>b|c'"), Ok(None));
        for text in ["ls >", "ls |", "> x", "| x", "ls > ; pwd"] {
            assert_eq!(redirect(text), Err(true), "{text}");
        }
    }

    #[test]
    fn an_ampersand_behind_a_command_puts_it_into_the_background() {
        let read = |text: &str| {
            let lines = split(text.as_bytes()).unwrap();
            lines.iter().map(|line| (line.words.len(), line.in_background)).collect::<Vec<_>>()
        };
        assert_eq!(read("get a & ls"), [(2, true), (1, false)]);
        assert_eq!(read("get a&; ls"), [(2, true), (1, false)]);
        assert_eq!(read("get a&b '&' \\& x&'y'"), [(5, false)]);
        assert_eq!(split(b"& ls"), Err(Malformed::Redirection));
    }

    #[test]
    fn a_byte_is_typed_in_hexadecimal() {
        let words = split(b"get latin\\xe9.txt \\xzz \\x4").unwrap();
        assert_eq!(words[0].words[1].as_bytes(), b"latin\xe9.txt");
        assert_eq!(words[0].words[2..], ["xzz", "x4"]);
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_read_back(word in proptest::collection::vec(1_u8.., 1..30)) {
            let first = "get ".to_owned() + &quote(&word);
            let read = split(first.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), 1);
            let plain = plain(&read[0].words[1]);
            prop_assert_eq!(plain.as_bytes(), word);
            prop_assert_eq!(pattern(&read[0].words[1]), None, "a quoted word is no pattern");
        }
    }
}
