//! Actions on the settings of the shell and on bookmarks.

use crate::client::charset::Charset;
use crate::client::error::ClientError;
use crate::client::names::shown;
use crate::client::shell::clobber_rule::Clobber;
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::profile::{Bookmark, bookmarks, write_bookmarks};
use crate::client::shell::state::Shell;
use crate::ftp::command::Type;

/// A setting of the shell.
struct Setting {
    name: &'static str,
    values: &'static str,
    get: fn(&Shell) -> &'static str,
    /// Returns false for a value that the setting does not have.
    set: fn(&mut Shell, &str) -> bool,
}

static SETTINGS: &[Setting] = &[
    Setting {
        name: "charset",
        values: "UTF-8, latin1, cp1251, ...",
        get: charset,
        set: set_charset,
    },
    Setting { name: "clobber", values: "ask, on or off", get: clobber, set: set_clobber },
    Setting { name: "mode", values: "passive or active", get: mode, set: set_mode },
    Setting { name: "type", values: "binary or ascii", get: kind, set: set_kind },
    Setting { name: "quiet", values: "on or off", get: quiet, set: set_quiet },
];

pub(in crate::client::shell) static SET: ShellCommand =
    ShellCommand::new("set", set, "print the settings, or change one")
        .words(0, 2, Names::Setting, "[NAME [VALUE]]")
        .example("set clobber on");

/// Returns the names of all settings, for completion.
pub(in crate::client::shell) fn setting_names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

fn set(shell: &mut Shell, given: &Given) -> Done {
    let Some(name) = given.text(0)? else {
        let line = |setting: &Setting| {
            format!("{:<10}{:<10}({})\n", setting.name, (setting.get)(shell), setting.values)
        };
        let text: Vec<String> = SETTINGS.iter().map(line).collect();
        shell.print(&text.concat());
        return Ok(Flow::Continue);
    };
    let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let names: Vec<&str> = setting_names().collect();
        ClientError::usage(format!("'{name}' is not a setting; these are: {}", names.join(", ")))
    })?;
    match given.text(1)? {
        None => shell.print(&format!("{}\n", (setting.get)(shell))),
        Some(value) if (setting.set)(shell, value) => {}
        Some(value) => {
            let what = format!("{name} cannot be '{value}'; it is {}", setting.values);
            return Err(ClientError::usage(what));
        }
    }
    Ok(Flow::Continue)
}

fn charset(shell: &Shell) -> &'static str {
    shell.options.charset.map_or("UTF-8", Charset::name)
}

fn set_charset(shell: &mut Shell, value: &str) -> bool {
    let Some(charset) = Charset::named(value) else { return false };
    shell.options.charset = charset;
    if let Some(client) = &mut shell.client {
        client.set_charset(charset);
    }
    shell.forget_names();
    true
}

fn clobber(shell: &Shell) -> &'static str {
    match shell.clobber {
        Clobber::Ask => "ask",
        Clobber::Replace => "on",
        Clobber::Keep => "off",
    }
}

fn set_clobber(shell: &mut Shell, value: &str) -> bool {
    shell.clobber = match value {
        "ask" => Clobber::Ask,
        "on" | "yes" | "true" => Clobber::Replace,
        "off" | "no" | "false" => Clobber::Keep,
        _ => return false,
    };
    true
}

fn mode(shell: &Shell) -> &'static str {
    if shell.options.active { "active" } else { "passive" }
}

fn set_mode(shell: &mut Shell, value: &str) -> bool {
    let is_known = matches!(value, "active" | "passive");
    if is_known {
        shell.set_active(value == "active");
    }
    is_known
}

fn kind(shell: &Shell) -> &'static str {
    match shell.representation {
        Type::Ascii => "ascii",
        Type::Image => "binary",
    }
}

fn set_kind(shell: &mut Shell, value: &str) -> bool {
    shell.representation = match value {
        "ascii" => Type::Ascii,
        "binary" => Type::Image,
        _ => return false,
    };
    true
}

fn quiet(shell: &Shell) -> &'static str {
    if shell.settings.quiet { "on" } else { "off" }
}

fn set_quiet(shell: &mut Shell, value: &str) -> bool {
    let is_known = matches!(value, "on" | "off");
    if is_known {
        shell.settings.quiet = value == "on";
    }
    is_known
}

const DELETE: Flag = Flag::short('d', "delete the bookmark").or("delete");

pub(in crate::client::shell) static BOOKMARK: ShellCommand =
    ShellCommand::new("bookmark", bookmark, "print the bookmarks, or add one for 'open'")
        .words(0, 3, Names::Bookmark, "[list | [add] NAME [URL] | del NAME]")
        .flags(&[DELETE])
        .example("bookmark music ftp://ftp.example.net/pub/music/");

/// Lists, adds or deletes bookmarks. The first word may be one of the subcommands of lftp.
fn bookmark(shell: &mut Shell, given: &Given) -> Done {
    let mut all = bookmarks();
    let (word, deletes) = match given.text(0)? {
        None | Some("list") => (None, false),
        Some("add") => (Some(1), false),
        Some("del" | "delete") => (Some(1), true),
        Some(_) => (Some(0), given.has(&DELETE)),
    };
    let Some(word) = word else {
        let line = |bookmark: &Bookmark| format!("{:<20}{}\n", bookmark.name, bookmark.url);
        shell.print(&all.iter().map(line).collect::<Vec<_>>().concat());
        return Ok(Flow::Continue);
    };
    let (Some(name), true) = (given.text(word)?, given.words().len() <= word + 2) else {
        return Err(ClientError::usage("usage: bookmark [list | [add] NAME [URL] | del NAME]"));
    };
    if name.is_empty() || name.contains(|letter: char| letter.is_control() || letter == '/') {
        return Err(ClientError::usage(format!("'{}' is not a name", shown(name.as_bytes()))));
    }
    let before = all.len();
    all.retain(|bookmark| bookmark.name != name);
    if deletes {
        if all.len() == before {
            return Err(ClientError::usage(format!("no bookmark '{name}'")));
        }
    } else {
        let url = match given.text(word + 1)? {
            Some(url) => url.to_owned(),
            None => shell.url()?,
        };
        if url.contains(char::is_control) {
            return Err(ClientError::usage("a URL has no control characters"));
        }
        all.push(Bookmark { name: name.to_owned(), url });
        all.sort_by(|one, other| one.name.cmp(&other.name));
    }
    write_bookmarks(&all)?;
    Ok(Flow::Continue)
}
