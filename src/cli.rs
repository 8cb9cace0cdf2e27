//! The command lines of the programs: argh, with `--name=value`, `--version`, and exit status 2 for a usage error.

use std::io::Write;
use std::process::ExitCode;

use argh::TopLevelCommand;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ftp::path::Escaped;

/// The exit status for an invalid command line.
pub const USAGE: u8 = 2;

/// Parses the command line of the program of this name.
///
/// # Errors
/// The exit status, if nothing is left to do: help or version was printed, or an argument is wrong and one sentence
/// about it was written to standard error.
pub fn arguments<T: TopLevelCommand>(program: &str) -> Result<T, ExitCode> {
    arguments_behind(program, 1)
}

/// Parses the command line after its first `skipped` words.
///
/// # Errors
/// As [`arguments`].
pub fn arguments_behind<T: TopLevelCommand>(program: &str, skipped: usize) -> Result<T, ExitCode> {
    parsed(program, &words(program, skipped)?, None)
}

/// Returns the command line after its first `skipped` words.
///
/// # Errors
/// The exit status, if a word is not UTF-8.
pub fn words(program: &str, skipped: usize) -> Result<Vec<String>, ExitCode> {
    let text = |word: std::ffi::OsString| {
        word.into_string()
            .map_err(|word| usage(program, &format!("'{}' is not UTF-8", word.display())))
    };
    std::env::args_os().skip(skipped).map(text).collect()
}

/// Parses words, and prints `help` for `--help`, if it is given.
///
/// # Errors
/// As [`arguments`].
pub fn parsed<T: TopLevelCommand>(
    program: &str,
    words: &[String],
    help: Option<&str>,
) -> Result<T, ExitCode> {
    parse(program, words).map_err(|early| match early {
        Early::Print(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Early::Help(text) => {
            print(help.unwrap_or(&text));
            ExitCode::SUCCESS
        }
        Early::Wrong(text) => usage(program, &text),
    })
}

/// Writes one line to standard error, and returns the exit status of a usage error.
#[must_use]
pub fn usage(program: &str, what: &str) -> ExitCode {
    complain(program, &format!("{what}. Try '{program} --help'."));
    ExitCode::from(USAGE)
}

/// Writes one line to standard error, after the name of the program.
pub fn complain(program: &str, what: &str) {
    // A closed standard error cannot be reported anywhere.
    let _written = writeln!(std::io::stderr(), "{program}: {what}");
}

/// Writes text to standard output; a reader that is gone is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Reports each panic, which ends one session or thread, in one line on standard error.
pub fn log_panics(program: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.to_string();
        complain(
            program,
            &format!("level=error event=panic message=\"{}\"", Escaped(message.as_bytes())),
        );
    }));
}

/// Raises the limit of descriptors as far as the system allows: each client needs one, each transfer two more.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, clients above the limit are refused when they connect.
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[derive(Debug, PartialEq, Eq)]
enum Early {
    Print(String),
    Help(String),
    Wrong(String),
}

fn parse<T: TopLevelCommand>(program: &str, words: &[String]) -> Result<T, Early> {
    let words = split_values(words);
    if words.iter().take_while(|word| *word != "--").any(|word| word == "--version") {
        return Err(Early::Print(format!("{program} (poolftpd) {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    T::from_args(&[program], &words).map_err(|exit| match exit.status {
        Ok(()) => Early::Help(exit.output),
        Err(()) => Early::Wrong(one_line(&exit.output)),
    })
}

/// Splits `--name=value` into two words, as argh expects them.
fn split_values(words: &[String]) -> Vec<String> {
    let mut split = Vec::new();
    let mut options = true;
    for word in words {
        options &= word != "--";
        match word.split_once('=') {
            Some((name, value)) if options && name.starts_with("--") => {
                split.extend([name.to_owned(), value.to_owned()]);
            }
            _ => split.push(word.clone()),
        }
    }
    split
}

/// Returns argh's message, which may have several lines, as the beginning of a sentence.
fn one_line(output: &str) -> String {
    let lines =
        output.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Run "));
    let text = lines.collect::<Vec<_>>().join(" ");
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program.
    #[derive(argh::FromArgs, Debug, PartialEq)]
    struct Arguments {
        /// a port
        #[argh(option, default = "2121")]
        port: u16,
        /// a switch
        #[argh(switch)]
        write: bool,
        /// hosts
        #[argh(positional)]
        hosts: Vec<String>,
    }

    fn read(line: &str) -> Result<Arguments, Early> {
        let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        parse("program", &words)
    }

    #[test]
    fn values_stand_behind_a_space_or_an_equals_sign() {
        let expected = Arguments { port: 21, write: true, hosts: vec!["a=b".to_owned()] };
        assert_eq!(read("--port 21 --write a=b"), Ok(expected));
        assert_eq!(read("--port=21").unwrap().port, 21);
        assert_eq!(read("-- --x=y").unwrap().hosts, ["--x=y"]);
    }

    #[test]
    fn help_and_version_are_printed_and_a_mistake_is_one_line() {
        assert!(
            matches!(read("--version"), Err(Early::Print(text)) if text.starts_with("program (poolftpd) "))
        );
        assert!(matches!(read("--help"), Err(Early::Help(text)) if text.contains("--port")));
        for line in ["--nonsense", "--port x", "--port", "--port 99999"] {
            assert!(
                matches!(read(line), Err(Early::Wrong(text)) if !text.contains('\n') && !text.is_empty()),
                "{line}"
            );
        }
    }
}
