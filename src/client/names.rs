//! Names of remote and local files: as arguments of commands, in messages, and on the local disk.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ftp::command::PathName;
use crate::ftp::listing::{Kind as EntryKind, Listed};
use crate::ftp::path::Escaped;

use super::error::{ClientError, ErrorKind};

/// Returns the path that a download gets: the target of a symbolic link, and never a directory, device or pipe.
pub(super) fn destination(local: &Path) -> Result<PathBuf, ClientError> {
    match fs::metadata(local) {
        Ok(found) if found.is_file() => {
            local.canonicalize().map_err(|error| ClientError::local(local, &error))
        }
        Ok(_) => Err(ClientError::new(
            ErrorKind::Local,
            format!("{}: not a regular file", shown_path(local)),
        )),
        Err(_) => Ok(local.to_owned()),
    }
}

/// Escapes a local path for printing, because a server may have chosen its name.
pub(super) fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}

/// Returns the last name of a remote path as a local file name.
///
/// SECURITY: a server chooses these names; none may lead out of the local directory.
pub(super) fn local_name(path: &[u8]) -> Result<&OsStr, ClientError> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match path.rsplit(|byte| *byte == b'/').next().unwrap_or_default() {
        b"" | b"." | b".." => {
            Err(ClientError::usage(format!("{} is not a name for a local file", shown(path))))
        }
        name if name.contains(&b'\0') => Err(ClientError::usage("a name must not contain NUL")),
        name => Ok(OsStr::from_bytes(name)),
    }
}

/// Returns true for the entry of a directory.
pub(super) fn is_directory(entry: &Listed) -> bool {
    entry.kind == Some(EntryKind::Directory)
}

/// Returns the path of a directory without its last slash, but `/` as it is.
pub(super) fn without_slash(directory: &[u8]) -> &[u8] {
    match directory {
        [shorter @ .., b'/'] if !shorter.is_empty() => without_slash(shorter),
        directory => directory,
    }
}

/// Appends a name to the path of a directory.
#[must_use]
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory if directory.ends_with(b"/") => [directory, name].concat(),
        directory => [directory, b"/", name].concat(),
    }
}

/// Returns a path as the argument of a command.
pub(super) fn name(path: &[u8]) -> Result<PathName, ClientError> {
    if path.is_empty() {
        Err(ClientError::usage("missing name"))
    } else {
        Ok(PathName(path.to_vec()))
    }
}

/// Begins a message about a command and its path.
pub(super) fn about(what: &str, path: &[u8]) -> String {
    format!("{what} {}", shown(path)).trim_end().to_owned()
}

/// Escapes a remote name for printing.
pub(super) fn shown(path: &[u8]) -> String {
    Escaped(path).to_string()
}

/// Returns the lines of a listing without their line ends; empty lines are left out.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_server_leads_out_of_the_local_directory() {
        assert_eq!(local_name(b"a/b c").unwrap(), "b c");
        assert_eq!(local_name(b"../../etc/passwd").unwrap(), "passwd");
        assert_eq!(local_name(b"dir/").unwrap(), "dir");
        for path in [b"..".as_slice(), b"a/..", b"/", b".", b"a\0b", b""] {
            assert!(local_name(path).is_err(), "{path:?}");
        }
    }
}
