//! Words of classic FTP clients, which old scripts use.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::shown;
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::state::Shell;
use crate::ftp::command::Type;

pub(in crate::client::shell) static PROMPT: ShellCommand =
    ShellCommand::new("prompt", no_effect, "accepted for old scripts, without effect")
        .aliases(&[
            "bell", "case", "cr", "debug", "form", "glob", "hash", "mode", "preserve", "runique",
            "sendport", "struct", "sunique", "tick", "trace", "verbose",
        ])
        .words(0, 1, Names::Other, "[on|off]");

fn no_effect(shell: &mut Shell, _: &Given) -> Done {
    shell.note("Accepted for old scripts: this word has no effect here.");
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static SITE: ShellCommand =
    ShellCommand::new("site", site, "send a SITE command to the server unchanged")
        .words(1, ANY, Names::Other, "WORD...")
        .raw()
        .example("site HELP");

fn site(shell: &mut Shell, given: &Given) -> Done {
    let words: Vec<&[u8]> = given.words().iter().map(|word| word.as_encoded_bytes()).collect();
    send(shell, &[b"SITE ".as_slice(), &words.join(b" ".as_slice())].concat())
}

pub(in crate::client::shell) static SYSTEM: ShellCommand =
    ShellCommand::new("system", system, "print the system of the server");

fn system(shell: &mut Shell, _: &Given) -> Done {
    send(shell, b"SYST")
}

/// Sends a line unchanged and prints the reply.
fn send(shell: &mut Shell, line: &[u8]) -> Done {
    let reply = shell.client()?.quote(line)?;
    let lines: Vec<String> =
        reply.lines().iter().map(|line| format!("{} {}\n", reply.code, shown(line))).collect();
    shell.print(&lines.concat());
    if reply.code.0 < 400 {
        Ok(Flow::Continue)
    } else {
        Err(ClientError::refused(ErrorKind::Refused, "quote", reply))
    }
}

pub(in crate::client::shell) static QUOTE: ShellCommand =
    ShellCommand::new("quote", quote, "send a command line to the server unchanged")
        .aliases(&["literal"])
        .words(1, ANY, Names::Other, "WORD...")
        .raw()
        .example("quote SITE HELP");

fn quote(shell: &mut Shell, given: &Given) -> Done {
    let words: Vec<&[u8]> = given.words().iter().map(|word| word.as_encoded_bytes()).collect();
    // A script may log in with this.
    let verb = words.first().map(|verb| verb.to_ascii_uppercase()).unwrap_or_default();
    if matches!(verb.as_slice(), b"USER" | b"PASS" | b"ACCT") {
        shell.leave_login_to_the_user();
    }
    send(shell, &words.join(b" ".as_slice()))
}

pub(in crate::client::shell) static TYPE: ShellCommand =
    ShellCommand::new("type", set_type, "select the transfer type, or print it")
        .words(0, 1, Names::Other, "[ascii|binary]")
        .example("type binary");

fn set_type(shell: &mut Shell, given: &Given) -> Done {
    match given.text(0)? {
        Some("ascii" | "a") => shell.representation = Type::Ascii,
        Some("binary" | "image" | "i") => shell.representation = Type::Image,
        Some(other) => {
            return Err(ClientError::usage(format!("'{other}' is not ascii or binary")));
        }
        None => shell.print(match shell.representation {
            Type::Ascii => "ascii\n",
            Type::Image => "binary\n",
        }),
    }
    Ok(Flow::Continue)
}
