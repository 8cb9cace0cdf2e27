//! `ftppasswd`: edits the users file of `ftpserver`.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;
use poolftpd::cli;
use poolftpd::ftp::path::Escaped;
use poolftpd::storage::password;
use poolftpd::storage::users::{User, UserSettings, Users};
use poolftpd::units;
use zeroize::Zeroizing;

const PROGRAM: &str = "ftppasswd";

/// Maximum number of bytes of a name; the server's log shows such a name in full.
const NAME_BYTES_MAX: usize = 255;

/// Adds a user to the file of ftpserver --users, changes or removes one. The password is read from the terminal, twice, or
/// from standard input. What is not said stays as it is.
#[derive(FromArgs)]
struct Arguments {
    /// the user's root, a directory that exists (default: the --root of the server)
    #[argh(option, arg_name = "dir")]
    home: Option<PathBuf>,

    /// the user may only list and fetch: the same as --may list,read
    #[argh(switch)]
    read_only: bool,

    /// what the user may do: all, or some of list,read,write,append,delete,rename,mkdir,chmod
    #[argh(option, arg_name = "words")]
    may: Option<String>,

    /// the most bytes that the home may hold, such as 500M or 10G
    #[argh(option, arg_name = "size")]
    quota: Option<String>,

    /// the most files that the home may hold
    #[argh(option, arg_name = "n")]
    files: Option<String>,

    /// the most bytes a second that the user fetches
    #[argh(option, arg_name = "rate")]
    down: Option<String>,

    /// the most bytes a second that the user stores
    #[argh(option, arg_name = "rate")]
    up: Option<String>,

    /// sessions at a time
    #[argh(option, arg_name = "n")]
    sessions: Option<String>,

    /// where the user may come from, such as 10.0.0.0/8,192.0.2.7
    #[argh(option, arg_name = "networks")]
    from: Option<String>,

    /// no limit of this kind any more: home, quota, files, down, up, sessions or from
    #[argh(option, arg_name = "setting")]
    unset: Vec<String>,

    /// change settings, and leave the password as it is
    #[argh(switch)]
    keep_password: bool,

    /// remove the user
    #[argh(switch)]
    delete: bool,

    /// the file
    #[argh(positional)]
    file: PathBuf,

    /// the user
    #[argh(positional)]
    user: String,
}

fn main() -> ExitCode {
    let arguments: Arguments = match cli::arguments(PROGRAM) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    if let Err(what) = check(&arguments) {
        return cli::usage(PROGRAM, &what);
    }
    let outcome = if arguments.delete { delete(&arguments) } else { set(&arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            cli::complain(PROGRAM, &what);
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments) -> Result<(), String> {
    if arguments.user.is_empty() || arguments.user.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    if arguments.user.contains(['\r', '\n', '\0']) {
        return Err("FTP has no way to say a name with a line end in it".to_owned());
    }
    if arguments.read_only && arguments.may.is_some() {
        return Err("--read-only and --may exclude each other".to_owned());
    }
    // Invalid settings are reported before the password is read.
    change(arguments, &mut UserSettings::default())
}

/// Applies the settings of the command line.
fn change(arguments: &Arguments, settings: &mut UserSettings) -> Result<(), String> {
    for name in &arguments.unset {
        match name.as_str() {
            "home" => settings.home = None,
            "quota" => settings.quota = None,
            "files" => settings.files = None,
            "down" => settings.down = None,
            "up" => settings.up = None,
            "sessions" => settings.sessions = None,
            "from" => settings.from = Vec::new(),
            _ => return Err(format!("there is no setting '{name}' to unset")),
        }
    }
    if let Some(home) = &arguments.home {
        settings.home = Some(directory(home)?);
    }
    let read_only = arguments.read_only.then(|| "list,read".to_owned());
    for (name, value) in [
        ("may", &arguments.may),
        ("may", &read_only),
        ("quota", &arguments.quota),
        ("files", &arguments.files),
        ("down", &arguments.down),
        ("up", &arguments.up),
        ("sessions", &arguments.sessions),
        ("from", &arguments.from),
    ] {
        if let Some(value) = value {
            settings.set(&format!("{name}={value}")).map_err(|what| format!("--{name}: {what}"))?;
        }
    }
    Ok(())
}

fn directory(home: &Path) -> Result<PathBuf, String> {
    let shown = home.display();
    let found = home
        .canonicalize()
        .map_err(|error| format!("--home: {shown}: {}", units::reason(&error)))?;
    if found.is_dir() { Ok(found) } else { Err(format!("--home: {shown} is no directory")) }
}

fn set(arguments: &Arguments) -> Result<(), String> {
    let name = arguments.user.as_bytes();
    let hash = if arguments.keep_password { None } else { Some(password::hash(&ask()?)?) };
    Users::update(&arguments.file, |users| {
        let known = users.0.remove(name);
        let mut settings =
            known.as_ref().map_or_else(UserSettings::default, |user| user.settings.clone());
        change(arguments, &mut settings)?;
        let hash =
            hash.or_else(|| known.map(|user| user.hash)).ok_or_else(|| no_such(arguments))?;
        users.0.insert(name.to_vec(), User { hash, settings });
        Ok(())
    })
}

fn delete(arguments: &Arguments) -> Result<(), String> {
    Users::update(&arguments.file, |users| {
        users.0.remove(arguments.user.as_bytes()).map(drop).ok_or_else(|| no_such(arguments))
    })
}

fn no_such(arguments: &Arguments) -> String {
    let user = Escaped(arguments.user.as_bytes());
    format!("there is no user {user} in {}", arguments.file.display())
}

/// Reads the new password: twice from a terminal, or the first line of standard input.
fn ask() -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = |error: io::Error| format!("cannot read the password: {error}");
    let mut password = Zeroizing::new(Vec::new());
    if io::stdin().is_terminal() {
        let prompt = |text| rpassword::prompt_password(text).map(Zeroizing::new).map_err(wrong);
        let first = prompt("New password: ")?;
        if *prompt("The same again: ")? != *first {
            return Err("these were two different passwords; nothing has changed".to_owned());
        }
        password.extend_from_slice(first.as_bytes());
    } else {
        io::stdin().lock().read_until(b'\n', &mut password).map_err(wrong)?;
        while password.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            password.pop();
        }
    }
    if password.is_empty() { Err("a password must not be empty".to_owned()) } else { Ok(password) }
}
