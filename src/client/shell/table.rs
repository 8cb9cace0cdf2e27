//! The table of commands, and `help`, which reads it.
//!
//! A new command is one row here, and one file in [`super::actions`] with its description and its function.

use std::ffi::OsString;
use std::fmt::Write;

use crate::client::error::ClientError;

use super::actions::{
    change, classic, connection, jobs, listing, local, mirror, remote, settings, transfers, view,
};
use super::command::{Names, ShellCommand};
use super::flow::{Done, Flow};
use super::given::{Flag, Given, Parsed};
use super::state::Shell;

/// All commands, in the order of their names.
pub(super) static COMMANDS: &[&ShellCommand] = &[
    &local::LOCAL_SHELL,
    &connection::ACTIVE,
    &connection::ASCII,
    &connection::BINARY,
    &settings::BOOKMARK,
    &connection::BYE,
    &view::CAT,
    &remote::CD,
    &remote::CDUP,
    &change::CHMOD,
    &connection::CLOSE,
    &listing::DIR,
    &listing::DU,
    &view::EDIT,
    &listing::FIND,
    &transfers::GET,
    &HELP,
    &jobs::JOBS,
    &jobs::KILL,
    &local::LCD,
    &local::LLS,
    &local::LPWD,
    &listing::LS,
    &transfers::MGET,
    &mirror::MIRROR,
    &change::MKDIR,
    &remote::MODTIME,
    &view::MORE,
    &transfers::MPUT,
    &change::MV,
    &connection::OPEN,
    &connection::PASSIVE,
    &transfers::PGET,
    &classic::PROMPT,
    &transfers::PUT,
    &remote::PWD,
    &jobs::QUEUE,
    &classic::QUOTE,
    &transfers::REGET,
    &change::RENAME,
    &transfers::REPUT,
    &change::RM,
    &change::RMDIR,
    &settings::SET,
    &classic::SITE,
    &remote::SIZE,
    &connection::STATUS,
    &classic::SYSTEM,
    &classic::TYPE,
    &connection::USER,
    &jobs::WAIT,
];

const EVERYTHING: Flag = Flag::long("all", "describe all commands with options and examples");

static HELP: ShellCommand = ShellCommand::new(
    "help",
    help,
    "list the commands, or describe one with options and an example",
)
.aliases(&["?"])
.words(0, 1, Names::Command, "[COMMAND]")
.flags(&[EVERYTHING])
.example("help get");

fn help(shell: &mut Shell, given: &Given) -> Done {
    let text = match given.text(0)? {
        Some(word) => describe(find(word)?),
        None if given.has(&EVERYTHING) => {
            COMMANDS.iter().map(|command| describe(command)).collect::<Vec<_>>().join("\n")
        }
        None => list(),
    };
    shell.print(&text);
    Ok(Flow::Continue)
}

/// Returns the names of all commands, with aliases, in order.
pub(super) fn names() -> Vec<(&'static str, &'static ShellCommand)> {
    let mut names: Vec<_> = COMMANDS
        .iter()
        .flat_map(|command| {
            std::iter::once(command.name)
                .chain(command.aliases.iter().copied())
                .map(move |name| (name, *command))
        })
        .collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    names
}

/// Lists all commands, each in one line.
fn list() -> String {
    let line = |(name, command): (&str, &ShellCommand)| {
        let head = format!("{name} {}", command.usage);
        if name == command.name {
            format!("{head:<28}  {}\n", command.help)
        } else {
            format!("{name:<28}  same as {}\n", command.name)
        }
    };
    names().into_iter().map(line).collect()
}

/// Describes a command with its options and an example.
pub(super) fn describe(command: &ShellCommand) -> String {
    let mut text = format!("{}\n  {}\n", command.syntax(command.name), command.help);
    for flag in command.flags {
        let _written = writeln!(text, "  {:<24}  {}", flag.syntax(), flag.help);
    }
    if !command.aliases.is_empty() {
        let _written = writeln!(text, "  Also: {}", command.aliases.join(", "));
    }
    let _written = writeln!(text, "  Example: {}", command.example);
    text
}

/// Returns the command with this name, or the only command whose name begins with it.
///
/// # Errors
/// [`super::super::error::ErrorKind::Usage`], with the names that were perhaps meant.
pub(super) fn find(word: &str) -> Result<&'static ShellCommand, ClientError> {
    if let Some(exact) = COMMANDS.iter().find(|command| command.is_called(word)) {
        return Ok(exact);
    }
    let names = names_with_effect();
    let mut matches = names.iter().filter(|(name, _)| name.starts_with(word)).peekable();
    let Some((_, first)) = matches.peek() else {
        return Err(ClientError::usage(unknown(word)));
    };
    let found: Vec<&str> = matches.clone().map(|(name, _)| *name).collect();
    if matches.all(|(_, command)| std::ptr::eq(*command, *first)) {
        Ok(first)
    } else {
        Err(ClientError::usage(format!("{word}: ambiguous command: {}", found.join(", "))))
    }
}

/// Returns the names that may be abbreviated: a word that has no effect is written in full.
fn names_with_effect() -> Vec<(&'static str, &'static ShellCommand)> {
    let mut names = names();
    names.retain(|(_, command)| !std::ptr::eq(*command, &raw const classic::PROMPT));
    names
}

/// Describes an unknown command, with the most similar name.
fn unknown(word: &str) -> String {
    let similar = |(name, _): &(&'static str, &ShellCommand)| {
        let distance = strsim::damerau_levenshtein(word, name);
        (distance <= 2 && distance < name.len()).then_some((distance, *name))
    };
    match names_with_effect().iter().filter_map(similar).min() {
        Some((_, name)) => format!("{word}: no such command. Did you mean '{name}'?"),
        None => format!("{word}: no such command. Try 'help'."),
    }
}

/// Finds a command by its name, and parses its words; returns `None` if its description was printed (`--help`).
pub(super) fn parse(
    shell: &mut Shell,
    name: &str,
    words: Vec<OsString>,
) -> Result<Option<(&'static ShellCommand, Given)>, ClientError> {
    let command = find(name)?;
    match command.parse(words)? {
        Parsed::Call(given) => Ok(Some((command, given))),
        Parsed::Help => {
            shell.print(&describe(command));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_command_is_found_by_its_name_or_a_beginning_of_its_own() {
        let found = |word| find(word).map(|command| command.name).ok();
        assert_eq!(found("get"), Some("get"));
        assert_eq!(found("g"), Some("get"));
        assert_eq!(found("bi"), Some("binary"));
        assert_eq!(found("?"), Some("help"));
        assert_eq!(found("ls"), Some("ls"));
        assert_eq!(found("quit"), Some("bye"));
        assert_eq!(found("p"), None);
        assert_eq!(found("zmodem"), None);
    }

    #[test]
    fn a_mistyped_command_is_guessed() {
        assert!(unknown("gte").ends_with("Did you mean 'get'?"));
        assert!(unknown("mkdri").ends_with("Did you mean 'mkdir'?"));
        assert!(unknown("zmodem").ends_with("Try 'help'."));
    }

    #[test]
    fn the_table_is_in_order_and_no_name_stands_twice() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        let names = names();
        let different: BTreeSet<&str> = names.iter().map(|(name, _)| *name).collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn each_example_is_a_call_of_its_command() {
        for command in COMMANDS {
            let words = super::super::words::split(command.example.as_bytes()).unwrap();
            let (name, words) = words[0].words.split_first().unwrap();
            assert!(command.is_called(name.to_str().unwrap()), "{}", command.example);
            assert!(command.parse(words.to_vec()).is_ok(), "{}", command.example);
        }
    }

    #[test]
    fn an_unknown_option_is_a_usage_error_of_every_command_and_two_hyphens_end_options() {
        // These take the words of another command, of the server or of the system.
        let other = ["!", "quote", "queue", "site"];
        for command in COMMANDS.iter().filter(|command| !other.contains(&command.name)) {
            let parse = |word: &str| command.parse(vec![word.into()]);
            assert!(parse("--no-such-option").is_err(), "{}", command.name);
            if let Ok(Parsed::Call(given)) =
                command.parse(vec!["--".into(), "-x".into(), "-y".into()])
            {
                assert_eq!(given.words(), ["-x", "-y"]);
            }
        }
    }
}
