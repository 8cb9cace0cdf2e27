//! The reason why a file cannot be read, with the remedy.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User, geteuid};

use super::error::reason;

/// Returns the reason and the remedy for a file that this process may not read: its owner, and the user who runs here.
#[must_use]
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    let why = reason(error);
    if error.kind() != io::ErrorKind::PermissionDenied {
        return why;
    }
    let name = |uid: Uid| {
        let found = User::from_uid(uid).ok().flatten();
        found.map_or_else(|| uid.to_string(), |user| user.name)
    };
    let here = name(geteuid());
    match fs::metadata(path) {
        Ok(found) if found.uid() == geteuid().as_raw() => format!(
            "{why}: it belongs to {here}, the user of the server, but is not readable; try chmod u+r {}",
            path.display()
        ),
        Ok(found) => format!(
            "{why}: it belongs to {}, and the server runs as {here}; try chown {here} {}",
            name(Uid::from_raw(found.uid())),
            path.display()
        ),
        Err(_) => {
            format!("{why}: the server runs as {here}, which cannot enter a parent directory")
        }
    }
}
