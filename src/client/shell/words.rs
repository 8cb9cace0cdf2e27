//! Splitting of a shell line into commands and words, with the quoting of sh.

/// An unclosed quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclosed;

/// A mark before a quoted pattern letter, which then stands for itself. No file name contains it, and a typed one is
/// dropped.
const QUOTED: char = '\0';

/// Splits text into commands at `;` and line ends, and each command into words. Quotes and backslashes protect spaces,
/// `;` and each other. A `#` at the beginning of a word makes the rest of the line a comment. After a `!` that begins a
/// command, the rest of the line is one word, for sh.
pub(super) fn split(text: &str) -> Result<Vec<Vec<String>>, Unclosed> {
    let mut commands = Vec::new();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars().filter(|letter| *letter != QUOTED).peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '!' if command.is_empty() && word.is_none() => {
                let rest = std::iter::from_fn(|| letters.next_if(|letter| *letter != '\n'))
                    .collect::<String>();
                commands.push(vec!["!".to_owned(), rest.trim().to_owned()]);
            }
            '#' if word.is_none() => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ';' | '\n' => {
                command.extend(word.take());
                if !command.is_empty() {
                    commands.push(std::mem::take(&mut command));
                }
            }
            letter if letter.is_whitespace() => command.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(Unclosed)? {
                        '\'' => break,
                        letter => push_quoted(word, letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(Unclosed)? {
                        '"' => break,
                        '\\' if matches!(letters.peek(), Some('"' | '\\')) => {
                            word.extend(letters.next());
                        }
                        letter => push_quoted(word, letter),
                    }
                }
            }
            '\\' => push_quoted(word.get_or_insert_default(), letters.next().ok_or(Unclosed)?),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    command.extend(word);
    if !command.is_empty() {
        commands.push(command);
    }
    Ok(commands)
}

fn push_quoted(word: &mut String, letter: char) {
    if matches!(letter, '*' | '?' | '[') {
        word.push(QUOTED);
    }
    word.push(letter);
}

/// Returns a word as a plain name, without marks.
pub(super) fn plain(word: &str) -> String {
    word.replace(QUOTED, "")
}

/// Returns a word as a pattern, if it has an unquoted pattern letter. Quoted pattern letters become sets of one letter.
pub(super) fn pattern(word: &str) -> Option<String> {
    let mut letters = word.chars();
    let (mut pattern, mut is_pattern) = (String::new(), false);
    while let Some(letter) = letters.next() {
        match letter {
            QUOTED => pattern.extend(letters.next().map(|letter| format!("[{letter}]"))),
            letter => {
                is_pattern |= matches!(letter, '*' | '?' | '[');
                pattern.push(letter);
            }
        }
    }
    is_pattern.then_some(pattern)
}

/// Splits a path into the directory, with its slash, and the last name.
pub(super) fn split_path(word: &str) -> (&str, &str) {
    word.rfind('/').and_then(|slash| word.split_at_checked(slash + 1)).unwrap_or(("", word))
}

/// Quotes a word so that it is read back unchanged.
pub(super) fn quote(word: &str) -> String {
    let special = |letter: char| letter.is_whitespace() || "'\"\\;#!*?[".contains(letter);
    word.chars().fold(String::new(), |mut quoted, letter| {
        if special(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
        quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[&[&str]]) {
        let expected: Vec<Vec<String>> =
            expected.iter().map(|words| words.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(split(text), Ok(expected), "{text}");
    }

    #[test]
    fn commands_and_words_are_cut_as_sh_does() {
        check("get a; bye", &[&["get", "a"], &["bye"]]);
        check("get 'a b' \"c;\\\"d\" e\\ f # g\nbye", &[&["get", "a b", "c;\"d", "e f"], &["bye"]]);
        check("ls ''", &[&["ls", ""]]);
        check(";; \n # only a comment", &[]);
        check("!ls | wc; x", &[&["!", "ls | wc; x"]]);
        for text in ["get 'a", "get \"a", "get a\\"] {
            assert_eq!(split(text), Err(Unclosed), "{text}");
        }
    }

    #[test]
    fn what_is_quoted_is_no_pattern() {
        let word = |text: &str| split(text).unwrap()[0][0].clone();
        assert_eq!(pattern(&word("a*")), Some("a*".to_owned()));
        assert_eq!(pattern(&word("'a[1]*'b?")), Some("a[[]1][*]b?".to_owned()));
        for text in ["'a[1].txt'", "\"*\"", "a\\*", "plain"] {
            assert_eq!(pattern(&word(text)), None, "{text}");
        }
        assert_eq!(plain(&word("'a[1].txt'")), "a[1].txt");
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_read_back(word in "[^\0]{1,30}") {
            let first = "get ".to_owned() + &quote(&word);
            let read = split(&first).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(plain(&read[0][1]), word);
            prop_assert_eq!(pattern(&read[0][1]), None, "a quoted word is no pattern");
        }
    }
}
