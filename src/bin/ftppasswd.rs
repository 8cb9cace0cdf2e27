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

/// Adds, changes or deletes a user in the users file of ftpserver (--users). Reads the password from the terminal, twice, or
/// from standard input. Settings that are not given stay unchanged; a new user has all permissions and no limits.
#[derive(FromArgs)]
struct Arguments {
    /// root directory of the user, which must exist (default: --root of the server)
    #[argh(option, arg_name = "dir")]
    home: Option<PathBuf>,

    /// allow only listing and downloading; the same as --may list,read
    #[argh(switch)]
    read_only: bool,

    /// permissions: all, or some of list,read,write,append,delete,rename,mkdir,chmod (default for a new user: all)
    #[argh(option, arg_name = "words")]
    may: Option<String>,

    /// maximum number of bytes in the home, such as 500M or 10G
    #[argh(option, arg_name = "size")]
    quota: Option<String>,

    /// maximum number of files in the home
    #[argh(option, arg_name = "n")]
    files: Option<String>,

    /// maximum download rate in bytes per second, such as 500K
    #[argh(option, arg_name = "rate")]
    down: Option<String>,

    /// maximum upload rate in bytes per second, such as 500K
    #[argh(option, arg_name = "rate")]
    up: Option<String>,

    /// maximum number of concurrent sessions
    #[argh(option, arg_name = "n")]
    sessions: Option<String>,

    /// networks from which the user may connect, such as 10.0.0.0/8,192.0.2.7
    #[argh(option, arg_name = "networks")]
    from: Option<String>,

    /// remove this setting: home, quota, files, down, up, sessions or from; may be given several times
    #[argh(option, arg_name = "setting")]
    unset: Vec<String>,

    /// change settings without changing the password
    #[argh(switch)]
    keep_password: bool,

    /// delete the user
    #[argh(switch)]
    delete: bool,

    /// users file
    #[argh(positional)]
    file: PathBuf,

    /// name of the user
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
        return Err(format!("a user name must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if arguments.user.contains(['\r', '\n', '\0']) {
        return Err("a user name must not contain line ends or NUL".to_owned());
    }
    if arguments.read_only && arguments.may.is_some() {
        return Err("--read-only and --may cannot be used together".to_owned());
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
            _ => return Err(format!("--unset: unknown setting '{name}'")),
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
    if found.is_dir() { Ok(found) } else { Err(format!("--home: {shown} is not a directory")) }
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
    format!("no user {user} in {}", arguments.file.display())
}

/// Reads the new password: twice from a terminal, or the first line of standard input.
fn ask() -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = |error: io::Error| format!("cannot read the password: {error}");
    let mut password = Zeroizing::new(Vec::new());
    if io::stdin().is_terminal() {
        let prompt = |text| rpassword::prompt_password(text).map(Zeroizing::new).map_err(wrong);
        let first = prompt("New password: ")?;
        if *prompt("Retype new password: ")? != *first {
            return Err("the passwords do not match; nothing was changed".to_owned());
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
