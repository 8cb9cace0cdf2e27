//! Programs of others: looks whether they are installed, and runs them with a deadline.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "each test program uses its own part of this"
)]

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use libtest_mimic::{Failed, Trial};

/// Reports that this test, or a part of it, cannot run here, and why.
pub fn skip(reason: &str) {
    report_skipped(thread::current().name().unwrap_or("a test"), reason);
}

/// Reports this for a test by name. `cargo xtask check` counts and prints the lines of this file.
pub fn report_skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = env::var_os("SKIPPED_TESTS") {
        let line = format!("{test}: {reason}\n");
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
    }
}

/// Creates a test of a program that lists its own; a test that misses something is ignored, and named as skipped.
pub fn trial(
    title: String,
    missing: Option<&str>,
    play: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match missing {
        None => Trial::test(title, play),
        Some(reason) => {
            // Reported only by the run itself, not by a listing of names.
            if !env::args().any(|word| word == "--list") {
                report_skipped(&title, reason);
            }
            Trial::test(format!("{title}: SKIPPED, {reason}"), play).with_ignored_flag(true)
        }
    }
}

/// Returns whether this machine has IPv6, at least for its loopback address.
pub fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Returns whether this test has root's rights.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory where `.ci/run` unpacks servers that cannot be installed side by side.
pub fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers")
}

/// Finds the program of this name on the PATH, or among the unpacked servers.
pub fn find(program: &str) -> Option<PathBuf> {
    let unpacked = ["usr/sbin", "usr/bin"].map(|place| unpacked().join(place));
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(unpacked)
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// Runs a script of sh for at most one minute; returns its output, or why it failed.
pub fn run_script(
    script: &str,
    folder: &Path,
    variables: &[(&str, &str)],
) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["60", "sh", "-eu", "-c", script]).current_dir(folder).stdin(Stdio::null());
    // No settings of a user apply: ~/.netrc, ~/.lftprc, ~/.ncftp.
    command.env("HOME", folder).env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(said) } else { Err(format!("{status}\n{said}")) }
}
