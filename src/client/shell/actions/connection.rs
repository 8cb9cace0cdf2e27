//! Actions on the connection and its settings.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use crate::client::connection::Client;
use crate::client::error::ClientError;
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::state::Shell;
use crate::ftp::command::Type;

pub(in crate::client::shell) static BYE: ShellCommand =
    ShellCommand::new("bye", bye, "close the connection and exit").aliases(&["exit", "quit"]);

fn bye(_: &mut Shell, _: &Given) -> Done {
    Ok(Flow::Leave)
}

pub(in crate::client::shell) static OPEN: ShellCommand =
    ShellCommand::new("open", open, "connect to another server")
        .aliases(&["ftp"])
        .words(1, 2, Names::Bookmark, "HOST|URL|BOOKMARK [PORT]")
        .example("open ftp.example.net 21");

fn open(shell: &mut Shell, given: &Given) -> Done {
    let port = given.text(1)?.map(|port| {
        port.parse().map_err(|_| ClientError::usage(format!("'{port}' is not a port")))
    });
    let target = given.text(0)?.unwrap_or_default();
    let port = port.transpose()?;
    shell.disconnect();
    shell.open(target, port)?;
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static CLOSE: ShellCommand =
    ShellCommand::new("close", close, "close the connection").aliases(&["disconnect"]);

fn close(shell: &mut Shell, _: &Given) -> Done {
    shell.connection()?;
    shell.disconnect();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static USER: ShellCommand =
    ShellCommand::new("user", user, "log in as another user")
        .words(1, 2, Names::Other, "NAME [PASSWORD]")
        .example("user alice");

fn user(shell: &mut Shell, given: &Given) -> Done {
    let (name, password) = (given.text(0)?.unwrap_or_default(), given.text(1)?);
    let password = match password {
        Some(password) => password.to_owned(),
        None => shell.ask_password(name)?,
    };
    shell.connection()?.login(name, &password)?;
    shell.leave_login_to_the_user();
    shell.note(&format!("Logged in as {name}."));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static STATUS: ShellCommand =
    ShellCommand::new("status", status, "print the state of the connection");

fn status(shell: &mut Shell, _: &Given) -> Done {
    let connected = match shell.client.as_ref().and_then(Client::peer) {
        Some(peer) => format!("Connected to {} ({peer}).\n", shell.place),
        None => "Not connected.\n".to_owned(),
    };
    let way = if shell.options.active { "active mode" } else { "passive mode" };
    let kind = match shell.representation {
        Type::Ascii => "ascii",
        Type::Image => "binary",
    };
    let local = shell.local.display();
    shell.print(&format!("{connected}Data: {way}. Type: {kind}. Local directory: {local}\n"));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static ACTIVE: ShellCommand =
    ShellCommand::new("active", active, "use active mode: the server opens data connections");

fn active(shell: &mut Shell, _: &Given) -> Done {
    shell.set_active(true);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static PASSIVE: ShellCommand = ShellCommand::new(
    "passive",
    passive,
    "use passive mode: the client opens data connections (default)",
);

fn passive(shell: &mut Shell, _: &Given) -> Done {
    shell.set_active(false);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static ASCII: ShellCommand =
    ShellCommand::new("ascii", ascii, "transfer text, converting line ends");

fn ascii(shell: &mut Shell, _: &Given) -> Done {
    shell.representation = Type::Ascii;
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static BINARY: ShellCommand =
    ShellCommand::new("binary", binary, "transfer files unchanged (default)");

fn binary(shell: &mut Shell, _: &Given) -> Done {
    shell.representation = Type::Image;
    Ok(Flow::Continue)
}
