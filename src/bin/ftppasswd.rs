//! `ftppasswd`: edits the users file of `ftpserver`.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;
use jiff::Timestamp;
use poolftpd::ftp::path::Escaped;
use poolftpd::internal::cli;
use poolftpd::internal::storage::import::{Format, Import};
use poolftpd::internal::storage::users::{User, UserSettings, Users, encode};
use poolftpd::internal::storage::{list, password};
use poolftpd::internal::units;
use zeroize::Zeroizing;

const PROGRAM: &str = "ftppasswd";

/// The name of a file that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Maximum number of bytes of a name; the server's log shows such a name in full.
const NAME_BYTES_MAX: usize = 255;

/// Adds, changes, deletes, lists or imports users in the users file of ftpserver (--users). Reads the password of a user from
/// the terminal, twice, or from standard input. Settings that are not given stay unchanged; a new user has all permissions and
/// no limits.
#[derive(FromArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Arguments {
    /// root directory of the user, which must exist (default: --root of the server)
    #[argh(option, arg_name = "dir")]
    home: Option<PathBuf>,

    /// allow only listing and downloading; the same as --may list,read
    #[argh(switch)]
    read_only: bool,

    /// permissions: all, none, or some of list,read,create,write,append,delete,rename,mkdir,chmod (default for a new user: all)
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

    /// group that the user belongs to
    #[argh(option, arg_name = "name")]
    group: Option<String>,

    /// mode bits that new files and directories of the user do not get, such as 027
    #[argh(option, arg_name = "bits")]
    umask: Option<String>,

    /// last day (UTC) on which the user may log in, such as 2027-01-31
    #[argh(option, arg_name = "date")]
    expires: Option<String>,

    /// client certificate of the user: sha256:HEX or CN=NAME; may be given several times
    #[argh(option, arg_name = "id")]
    certificate: Vec<String>,

    /// both: password and certificate are needed (default); certificate: the certificate replaces the password
    #[argh(option, arg_name = "what")]
    login: Option<String>,

    /// note about the user
    #[argh(option, arg_name = "text")]
    comment: Option<String>,

    /// refuse logins of the user; the password stays
    #[argh(switch)]
    disable: bool,

    /// allow logins of the user again
    #[argh(switch)]
    enable: bool,

    /// remove this setting: home, quota, files, down, up, sessions, from, group, umask, expires, certificate or comment; may be
    /// given several times
    #[argh(option, arg_name = "setting")]
    unset: Vec<String>,

    /// change settings without changing the password
    #[argh(switch)]
    keep_password: bool,

    /// delete the user
    #[argh(switch)]
    delete: bool,

    /// list all users
    #[argh(switch)]
    list: bool,

    /// with --list: as JSON
    #[argh(switch)]
    json: bool,

    /// add the users of another file, or of standard input: passwd (also shadow), htpasswd or csv
    #[argh(option, arg_name = "format file")]
    import: Option<String>,

    /// users file
    #[argh(positional)]
    file: PathBuf,

    /// name of the user
    #[argh(positional)]
    user: Option<String>,
}

/// The separator of format and file, which are two words of the command line and one value of `--import`.
const IMPORT_SEPARATOR: char = '\0';

/// Joins the words after `--import`, its format and its file, to one value. Without a file, standard input is read.
fn join_import(mut words: Vec<String>) -> Vec<String> {
    let options = words.iter().position(|word| word == "--").unwrap_or(words.len());
    for index in 0..options {
        let Some(word) = words.get(index).cloned() else { break };
        let format = word.strip_prefix("--import=").map(str::to_owned);
        let behind = index + if format.is_some() { 1 } else { 2 };
        let Some(format) =
            format.or_else(|| words.get(index + 1).filter(|_| word == "--import").cloned())
        else {
            continue;
        };
        let file = words.get(behind).filter(|file| !file.starts_with("--")).cloned();
        let end = behind + usize::from(file.is_some());
        let file = file.unwrap_or_else(|| STANDARD_INPUT.to_owned());
        let joined = format!("{format}{IMPORT_SEPARATOR}{file}");
        words.splice(index..end, ["--import".to_owned(), joined]);
        break;
    }
    words
}

/// Maximum number of bytes that are read of a file to import.
const IMPORT_BYTES_MAX: u64 = 64 << 20;

fn main() -> ExitCode {
    run().unwrap_or_else(|status| status)
}

fn run() -> Result<ExitCode, ExitCode> {
    let words = join_import(cli::words(PROGRAM, 1)?);
    let arguments: Arguments = cli::parsed(PROGRAM, &words, None)?;
    let task = task(&arguments).map_err(|what| cli::usage(PROGRAM, &what))?;
    let file = &arguments.file;
    let outcome = match task {
        Task::List => list(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Import(format, from) => import(file, format, from),
        Task::Delete(user) => delete(file, user).map(|()| ExitCode::SUCCESS),
        Task::Set(user) => set(&arguments, user).map(|()| ExitCode::SUCCESS),
    };
    outcome.map_err(|what| {
        cli::complain(PROGRAM, &what);
        ExitCode::FAILURE
    })
}

/// The task that the command line names.
enum Task<'a> {
    List,
    Import(Format, &'a str),
    Delete(&'a str),
    Set(&'a str),
}

/// Returns the task, after a check of all arguments.
fn task(arguments: &Arguments) -> Result<Task<'_>, String> {
    if arguments.list || arguments.import.is_some() {
        if arguments.user.is_some() || (arguments.list && arguments.import.is_some()) {
            return Err(
                "--list and --import are for all users; name only the users file".to_owned()
            );
        }
        if arguments.json && !arguments.list {
            return Err("--json needs --list".to_owned());
        }
        let Some((format, from)) =
            arguments.import.as_ref().and_then(|import| import.split_once(IMPORT_SEPARATOR))
        else {
            return Ok(Task::List);
        };
        let format = format.parse().map_err(|what: String| format!("--import: {what}"))?;
        return Ok(Task::Import(format, from));
    }
    if arguments.json {
        return Err("--json needs --list".to_owned());
    }
    let user = arguments.user.as_deref().ok_or("name a user after the users file")?;
    check(arguments, user)?;
    Ok(if arguments.delete { Task::Delete(user) } else { Task::Set(user) })
}

fn check(arguments: &Arguments, user: &str) -> Result<(), String> {
    if user.is_empty() || user.len() > NAME_BYTES_MAX {
        return Err(format!("a user name must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if user.contains(['\r', '\n', '\0']) {
        return Err("a user name must not contain line ends or NUL".to_owned());
    }
    if arguments.read_only && arguments.may.is_some() {
        return Err("--read-only and --may cannot be used together".to_owned());
    }
    if arguments.disable && arguments.enable {
        return Err("--disable and --enable cannot be used together".to_owned());
    }
    // Invalid settings are reported before the password is read.
    change(arguments, &mut UserSettings::default())
}

fn list(arguments: &Arguments) -> Result<(), String> {
    let users = Users::read(&arguments.file)?;
    let list = if arguments.json { list::json } else { list::table };
    cli::print(&list(&users, Timestamp::now()));
    Ok(())
}

/// Imports users. Returns failure if some were not imported, after a line for each.
fn import(file: &Path, format: Format, from: &str) -> Result<ExitCode, String> {
    let mut text = Zeroizing::new(Vec::new());
    let read = if from == STANDARD_INPUT {
        io::stdin().lock().take(IMPORT_BYTES_MAX).read_to_end(&mut text)
    } else {
        OpenOptions::new()
            .read(true)
            .open(from)
            .and_then(|file| file.take(IMPORT_BYTES_MAX).read_to_end(&mut text))
    };
    read.map_err(|error| format!("{from}: {}", units::reason(&error)))?;
    let text = std::str::from_utf8(&text).map_err(|_| format!("{from}: not UTF-8"))?;
    let import = Import::read(format, text).map_err(|what| format!("{from}, {what}"))?;
    let outcome = Users::update(file, |users| import.store(users))?;
    outcome
        .skipped
        .iter()
        .for_each(|skipped| cli::complain(PROGRAM, &format!("{from}, {skipped}")));
    cli::print(&format!("{outcome}\n"));
    Ok(if outcome.skipped.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
            "group" => settings.group = None,
            "umask" => settings.umask = None,
            "expires" => settings.expires = None,
            "certificate" => (settings.certificates, settings.by_certificate) = (Vec::new(), false),
            "comment" => settings.comment = None,
            _ => return Err(format!("--unset: unknown setting '{name}'")),
        }
    }
    if let Some(home) = &arguments.home {
        settings.home = Some(directory(home)?);
    }
    let read_only = arguments.read_only.then(|| "list,read".to_owned());
    let encoded = |text: &Option<String>| text.as_ref().map(|text| encode(text.as_bytes()));
    for (name, value) in [
        ("may", &arguments.may),
        ("may", &read_only),
        ("quota", &arguments.quota),
        ("files", &arguments.files),
        ("down", &arguments.down),
        ("up", &arguments.up),
        ("sessions", &arguments.sessions),
        ("from", &arguments.from),
        ("group", &encoded(&arguments.group)),
        ("umask", &arguments.umask),
        ("expires", &arguments.expires),
        ("comment", &encoded(&arguments.comment)),
        ("login", &arguments.login),
    ] {
        if let Some(value) = value {
            settings.set(&format!("{name}={value}")).map_err(|what| format!("--{name}: {what}"))?;
        }
    }
    for id in &arguments.certificate {
        let word = id.strip_prefix("CN=").map(|name| format!("CN={}", encode(name.as_bytes())));
        let word = format!("certificate={}", word.as_ref().unwrap_or(id));
        settings.set(&word).map_err(|what| format!("--certificate: {what}"))?;
    }
    settings.disabled = (settings.disabled || arguments.disable) && !arguments.enable;
    Ok(())
}

fn directory(home: &Path) -> Result<PathBuf, String> {
    let shown = home.display();
    let found = home
        .canonicalize()
        .map_err(|error| format!("--home: {shown}: {}", units::reason(&error)))?;
    if found.is_dir() { Ok(found) } else { Err(format!("--home: {shown} is not a directory")) }
}

fn set(arguments: &Arguments, user: &str) -> Result<(), String> {
    let (file, name) = (&arguments.file, user.as_bytes());
    let keeps = arguments.keep_password || arguments.disable || arguments.enable;
    let hash = if keeps { None } else { Some(password::hash(&ask()?)?) };
    Users::update(file, |users| {
        let known = users.0.remove(name);
        let mut settings =
            known.as_ref().map_or_else(UserSettings::default, |user| user.settings.clone());
        change(arguments, &mut settings)?;
        settings.check()?;
        let hash =
            hash.or_else(|| known.map(|user| user.hash)).ok_or_else(|| no_such(file, user))?;
        users.0.insert(name.to_vec(), User { hash, settings });
        Ok(())
    })
}

fn delete(file: &Path, user: &str) -> Result<(), String> {
    Users::update(file, |users| {
        users.0.remove(user.as_bytes()).map(drop).ok_or_else(|| no_such(file, user))
    })
}

fn no_such(file: &Path, user: &str) -> String {
    format!("no user {} in {}", Escaped(user.as_bytes()), file.display())
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
