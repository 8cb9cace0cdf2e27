//! Actions on the connection and its settings.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use crate::client::connection::Client;
use crate::client::error::{ClientError, ErrorKind};
use crate::client::names::shown;
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::state::Shell;
use crate::ftp::command::Type;

pub(in crate::client::shell) fn bye(_: &mut Shell, _: &[&str]) -> Done {
    Ok(Flow::Leave)
}

pub(in crate::client::shell) fn open(shell: &mut Shell, words: &[&str]) -> Done {
    let (target, port) = match words {
        [target, port] => (
            target,
            Some(port.parse().map_err(|_| ClientError::usage(format!("'{port}' is not a port")))?),
        ),
        [target, ..] => (target, None),
        [] => return Err(ClientError::usage("usage: open HOST|URL [PORT]")),
    };
    shell.disconnect();
    shell.open(target, port)?;
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn close(shell: &mut Shell, _: &[&str]) -> Done {
    shell.client()?;
    shell.disconnect();
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn user(shell: &mut Shell, words: &[&str]) -> Done {
    let (name, password) = (words.first().copied().unwrap_or_default(), words.get(1).copied());
    let password = match password {
        Some(password) => password.to_owned(),
        None => shell.ask_password(name)?,
    };
    shell.client()?.login(name, &password)?;
    shell.note(&format!("Logged in as {name}."));
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn quote(shell: &mut Shell, words: &[&str]) -> Done {
    let reply = shell.client()?.quote(&words.join(" "))?;
    let lines: Vec<String> =
        reply.lines().iter().map(|line| format!("{} {}", reply.code, shown(line))).collect();
    let text = lines.join("\n") + "\n";
    shell.print(&text);
    if reply.code.0 < 400 {
        Ok(Flow::Continue)
    } else {
        Err(ClientError::refused(ErrorKind::Refused, "quote", reply))
    }
}

pub(in crate::client::shell) fn status(shell: &mut Shell, _: &[&str]) -> Done {
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

pub(in crate::client::shell) fn active(shell: &mut Shell, _: &[&str]) -> Done {
    shell.set_active(true);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn passive(shell: &mut Shell, _: &[&str]) -> Done {
    shell.set_active(false);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn ascii(shell: &mut Shell, _: &[&str]) -> Done {
    shell.representation = Type::Ascii;
    Ok(Flow::Continue)
}

pub(in crate::client::shell) fn binary(shell: &mut Shell, _: &[&str]) -> Done {
    shell.representation = Type::Image;
    Ok(Flow::Continue)
}
