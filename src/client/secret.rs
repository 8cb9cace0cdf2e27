//! Passwords that do not come from the command line, and those that do: these are hidden from the process list.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::url::Target;

/// The variable with the password of a user that was given without one.
pub const PASSWORD_VARIABLE: &str = "FTPCLIENT_PASSWORD";

/// The option that names a descriptor.
const OPTION: &str = "--password-fd";

/// Maximum length of a password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Runs the program again without the password of its command line, which goes through a pipe instead. Does nothing
/// without such a password.
///
/// # Errors
/// When the program cannot be run again. It can continue, with a password that other users of the machine may see.
pub fn hide_password() -> io::Result<()> {
    let words: Vec<OsString> = env::args_os().collect();
    let Some((words, password)) = without_password(&words) else { return Ok(()) };
    let program = env::current_exe()?;
    let (read, write) = rustix::pipe::pipe()?;
    // A pipe takes this many bytes without a reader.
    File::from(write).write_all(password.as_bytes())?;
    let mut command = Command::new(program);
    if let Some((name, words)) = words.split_first() {
        command.arg0(name).args([OPTION, &read.as_raw_fd().to_string()]).args(words);
    }
    Err(command.exec())
}

/// Returns the command line without its password, and the password.
fn without_password(words: &[OsString]) -> Option<(Vec<OsString>, String)> {
    let is_option = |word: &OsStr, name: &str| {
        word.to_str().is_some_and(|word| word == name || word.starts_with(&format!("{name}=")))
    };
    // A descriptor that the user has named keeps its meaning.
    if words.iter().any(|word| is_option(word, OPTION)) {
        return None;
    }
    let (mut of_user, mut of_url) = (None, None);
    let (mut kept, mut before) = (Vec::new(), OsStr::new(""));
    for word in words {
        let text = word.to_str().unwrap_or_default();
        let is_user = before == "-u" || before == "--user" || text.starts_with("--user=");
        let is_url = before != "-c" && before != "--commands" && text.contains("://");
        match text.split_once(':') {
            Some((user, password)) if is_user => {
                of_user = Some(password.to_owned());
                kept.push(user.into());
            }
            Some(_) if is_url && let Some((url, password)) = url_without_password(text) => {
                of_url = Some(password);
                kept.push(url.into());
            }
            _ => kept.push(word.clone()),
        }
        before = word;
    }
    let password = of_url.or(of_user)?;
    (password.len() as u64 <= PASSWORD_BYTES_MAX).then_some((kept, password))
}

/// Returns a URL without its password, and the password, decoded.
fn url_without_password(text: &str) -> Option<(String, String)> {
    let password = Target::parse(text).ok()?.password?;
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (login, _) = authority.rsplit_once('@')?;
    let (user, _) = login.split_once(':')?;
    Some((format!("{scheme}://{user}{}", rest.get(login.len()..)?), password))
}

/// Reads a password, which is the first line, from an open descriptor of this process.
///
/// # Errors
/// When the descriptor is not open or not readable, or when the password is not UTF-8.
pub fn read_descriptor(descriptor: u32) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "a descriptor that the user has named")]
    let file = File::open(format!("/proc/self/fd/{descriptor}"))?;
    let mut file = file.take(PASSWORD_BYTES_MAX);
    let (mut line, mut byte) = (Vec::new(), [0]);
    // One byte at a time: what follows the line may be a script.
    while file.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(words: &[&str]) -> Option<(Vec<String>, String)> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let text = |word: OsString| word.into_string().unwrap();
        without_password(&words)
            .map(|(words, password)| (words.into_iter().map(text).collect(), password))
    }

    #[test]
    fn the_password_leaves_the_command_line() {
        let check = |words: &[&str], kept: &[&str], password: &str| {
            let kept = kept.iter().map(ToString::to_string).collect();
            assert_eq!(hidden(words), Some((kept, password.to_owned())), "{words:?}");
        };
        check(&["x", "-u", "anna:a:b", "h"], &["x", "-u", "anna", "h"], "a:b");
        check(&["x", "--user=anna:", "h"], &["x", "--user=anna", "h"], "");
        let url = "ftp://anna:p%40ss@h:21/a:b";
        check(&["x", url], &["x", "ftp://anna@h:21/a:b"], "p@ss");
        for words in [
            ["x", "-u", "anna", "h:21"].as_slice(),
            &["x", "ftp://anna@h/"],
            &["x", "-c", "open ftp://a:b@c", "h"],
            &["x", "--password-fd", "3", "-u", "a:b", "h"],
        ] {
            assert_eq!(hidden(words), None, "{words:?}");
        }
    }
}
