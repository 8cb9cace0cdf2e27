//! Runs a command, and sends a request, for the hooks and the checks.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::sys::{Interest, exit_of, wait};

use super::signature::{HEADER, Key};

/// The name of the helper in its messages.
pub(super) const PROGRAM: &str = "ftpserver hooks";

/// Returns a program with a clean environment: the fields of an event in variables.
pub(super) fn command(program: &Path, fields: &Value) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    for (name, value) in fields.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        command.env(format!("POOLFTPD_{}", name.to_ascii_uppercase()), value);
    }
    command
}

/// Sends JSON to a URL, with its signature if there is a key. Statuses of errors are responses, too.
pub(super) fn post(
    url: &str,
    text: &str,
    timeout: Duration,
    key: Option<&Key>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("poolftpd");
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(key) = key {
        request = request.header(HEADER, key.sign(text.as_bytes()));
    }
    request.send(text)
}

/// Waits for the end of a process; returns false if it is still running after the time.
pub(super) fn has_ended(child: &Child, timeout: Duration) -> io::Result<bool> {
    wait(exit_of(child)?.as_fd(), Interest::Readable, timeout)
}
