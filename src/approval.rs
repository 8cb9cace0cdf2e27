//! The client of the program that allows or refuses uploads before they get their names.
//!
//! One connection for each upload: a line of JSON about it, its content, and the end of the stream. The answer is one line
//! of JSON: `{"allow":true}`, `{"allow":false,"reason":"…"}` or `{"error":"…"}`. The program may answer before it has read
//! the content.

use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::scan::Finding;
use crate::sockets::Connection;

/// Number of bytes that are sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Maximum number of bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Maximum number of characters of a reason.
const REASON_CHARACTERS_MAX: usize = 200;

/// The program that is asked.
#[derive(Debug)]
pub struct Approver {
    socket: PathBuf,
    timeout: Duration,
}

impl Approver {
    /// Creates the client of the program at a Unix socket. `timeout` is the maximum time for one upload.
    #[must_use]
    pub fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self { socket, timeout }
    }

    /// Returns the maximum time for one upload.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks about an upload: `about` is a line of JSON. Must run on a thread that may wait.
    ///
    /// # Errors
    /// When the content cannot be read, or the program does not answer in time, or reports an error.
    pub fn ask(&self, about: &str, content: &mut impl Read) -> io::Result<Finding> {
        let wrong = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.socket.display()))
        };
        let mut connection = Connection::unix(&self.socket, self.timeout).map_err(wrong)?;
        let sent = send(&mut connection, about, content);
        let mut answer = Vec::new();
        let read = connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        match (sent, read) {
            (Err(error), _) | (_, Err(error)) if answer.is_empty() => Err(wrong(error)),
            _ => parse(&answer).map_err(wrong),
        }
    }
}

fn send(connection: &mut Connection, about: &str, content: &mut impl Read) -> io::Result<()> {
    connection.write_all(format!("{about}\n").as_bytes())?;
    io::copy(&mut BufReader::with_capacity(CHUNK_BYTES, content), connection)?;
    connection.end_data()
}

fn parse(answer: &[u8]) -> io::Result<Finding> {
    let unclear = || io::Error::other("the answer is not {\"allow\":true} or {\"allow\":false}");
    let answer: Value = serde_json::from_slice(answer).map_err(|_| unclear())?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    match answer.get("allow").and_then(Value::as_bool) {
        Some(true) => Ok(Finding::Clean),
        Some(false) => Ok(Finding::Refused(shown(text("reason").unwrap_or_default()))),
        None => Err(text("error").map_or_else(unclear, |why| io::Error::other(shown(why)))),
    }
}

/// Returns the first line of a reason, as far as it can stand in a reply.
fn shown(reason: &str) -> String {
    let line = reason.trim().lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(REASON_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_allows_refuses_with_a_reason_or_is_an_error() {
        assert_eq!(parse(b"{\"allow\":true}\n").unwrap(), Finding::Clean);
        let refused = parse(b"{\"allow\":false,\"reason\":\"no\\r\\n226 yes\"}").unwrap();
        assert_eq!(refused, Finding::Refused("no".to_owned()));
        assert_eq!(parse(b"{\"allow\":false}").unwrap(), Finding::Refused(String::new()));
        assert_eq!(parse(b"{\"error\":\"down\"}").unwrap_err().to_string(), "down");
        for unclear in [&b""[..], b"yes", b"{}", b"{\"allow\":1}", b"\xff"] {
            assert!(parse(unclear).is_err());
        }
    }
}
