//! Other people's programs: whether they are here, and running them with a deadline.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test program uses its own part of this"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where `.ci/run` unpacks servers that cannot be installed side by side.
pub fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers")
}

/// The program of this name on the PATH, or among the unpacked.
pub fn find(program: &str) -> Option<PathBuf> {
    let unpacked = ["usr/sbin", "usr/bin"].map(|place| unpacked().join(place));
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(unpacked)
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// Runs a script of sh, a minute at most, and returns what it said, or why it failed.
pub fn run_script(
    script: &str,
    folder: &Path,
    variables: &[(&str, &str)],
) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["60", "sh", "-eu", "-c", script]).current_dir(folder).stdin(Stdio::null());
    // Nobody's own settings: ~/.netrc, ~/.lftprc, ~/.ncftp.
    command.env("HOME", folder).env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(said) } else { Err(format!("{status}\n{said}")) }
}
