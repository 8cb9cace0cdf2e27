//! Programs of others: looks whether they are installed, and runs them with a deadline.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// Reports that this test, or a part of it, cannot run here, and why.
pub(crate) fn skip(reason: &str) {
    report_skipped(thread::current().name().unwrap_or("a test"), reason);
}

/// Reports this for a test by name. `cargo xtask check` counts and prints the lines of this file.
pub(crate) fn report_skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = env::var_os("SKIPPED_TESTS") {
        let line = format!("{test}: {reason}\n");
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
    }
}

/// One of the cases of a test.
pub(crate) struct Case {
    pub(crate) title: String,
    /// What this machine lacks for the case.
    pub(crate) missing: Option<&'static str>,
    pub(crate) play: Box<dyn FnOnce() -> Result<(), String>>,
}

/// Plays each case, and fails with all that failed. A case that misses something is named as skipped.
pub(crate) fn run_each(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for Case { title, missing, play } in cases {
        if let Some(reason) = missing {
            report_skipped(&title, reason);
        } else if let Err(error) = play() {
            failed.push(format!("{title}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Returns `true` in a process that runs only this test. Otherwise runs the test in such a process, fails if it fails,
/// and returns `false`.
pub(crate) fn in_own_process() -> bool {
    const ALONE: &str = "TEST_IN_OWN_PROCESS";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let name = thread::current().name().unwrap().to_owned();
    let program = env::current_exe().unwrap();
    let arguments = [&name, "--exact", "--nocapture", "--test-threads=1"];
    let status = Command::new(program).args(arguments).env(ALONE, "1").status().unwrap();
    assert!(status.success(), "{name}: {status}");
    false
}

/// Returns whether this machine has IPv6, at least for its loopback address.
pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Returns whether this test has root's rights.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns whether this process may mount file systems in a namespace of its own: root may, unless a container has taken
/// away the capability.
pub(crate) fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "true"]);
    command.output().is_ok_and(|done| done.status.success())
}

/// The directory where `.ci/run` unpacks servers that cannot be installed side by side.
pub(crate) fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers")
}

/// Finds the program of this name on the PATH, or among the unpacked servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let unpacked = ["usr/sbin", "usr/bin"].map(|place| unpacked().join(place));
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(unpacked)
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// Runs a script of sh for at most one minute; returns its output, or why it failed.
pub(crate) fn run_script(
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
