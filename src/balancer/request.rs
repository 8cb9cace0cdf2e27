//! One command of an administrator to a running server, and the answer, which may take several messages.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::handover::Channel;
use crate::sys::{self, Interest};

/// Maximum time for sending an answer to a process that does not read, and for waiting for the next part of one.
const PART_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of bytes of text in one message.
const PART_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of bytes of a whole answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The first byte of a message: more parts follow, or this is the last part of an answer, or of a refusal.
const MORE: u8 = b'+';
const DONE: u8 = b'.';
pub(super) const FAILED: u8 = b'!';

/// A command, and the connection that waits for the answer.
#[derive(Debug)]
pub struct Request {
    channel: Channel,
    /// The command.
    pub command: String,
    /// The user ID of the process that sent it, as the kernel reports it.
    pub by: Option<u32>,
}

/// The answer to a command; an error is one sentence.
pub type Answer = Result<String, String>;

impl Request {
    /// Creates the request of a process that waits for the answer at this connection.
    #[must_use]
    pub fn new(channel: Channel, command: String) -> Self {
        let by = channel.peer_user().ok();
        Self { channel, command, by }
    }

    /// Returns the connection, for an answer of another kind.
    pub(super) fn into_channel(self) -> Channel {
        self.channel
    }

    /// Sends the answer. A process that does not read it in time loses the rest.
    pub fn reply(self, answer: &Answer) {
        let (text, last) = match answer {
            Ok(text) => (text, DONE),
            Err(why) => (why, FAILED),
        };
        let mut parts = text.as_bytes().chunks(PART_BYTES_MAX).peekable();
        if parts.peek().is_none() {
            let _sent = send(&self.channel, &[last], &[]);
            return;
        }
        while let Some(part) = parts.next() {
            let mut message = vec![if parts.peek().is_some() { MORE } else { last }];
            message.extend_from_slice(part);
            if send(&self.channel, &message, &[]).is_err() {
                return;
            }
        }
    }
}

/// Sends a message with descriptors, and waits for room.
pub(super) fn send(
    channel: &Channel,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    loop {
        match channel.send(message, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(channel, Interest::Writable, PART_TIMEOUT)?;
            }
            sent => return sent,
        }
    }
}

/// Receives an answer until `until`.
///
/// # Errors
/// The sentence of the server, or one about the connection.
pub fn receive_answer(
    channel: &Channel,
    until: Instant,
    clock: impl Fn() -> Instant,
) -> Result<String, String> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => "the server does not respond.".to_owned(),
        _ => format!("the server closed the connection: {error}."),
    };
    let mut text = Vec::new();
    loop {
        let left = until.saturating_duration_since(clock());
        wait(channel, Interest::Readable, left).map_err(gone)?;
        let message = channel.receive().map_err(gone)?;
        let (message, _) = message.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))?;
        let Some((kind, part)) = message.split_first() else { continue };
        text.extend_from_slice(part);
        if text.len() > ANSWER_BYTES_MAX {
            return Err("the answer is too long.".to_owned());
        }
        let whole = || String::from_utf8_lossy(&text).into_owned();
        match *kind {
            MORE => {}
            DONE => return Ok(whole()),
            _ => return Err(whole()),
        }
    }
}

pub(super) fn wait(channel: &Channel, interest: Interest, timeout: Duration) -> io::Result<()> {
    let ready = sys::wait(channel.as_fd(), interest, timeout)?;
    if ready { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    fn asked(answer: &Answer) -> Answer {
        let (ours, theirs) = Channel::pair().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || receive_answer(&ours, until, Instant::now));
            Request::new(theirs, "who".to_owned()).reply(answer);
            reader.join().unwrap()
        })
    }

    #[test]
    fn an_answer_of_any_length_arrives_whole() {
        for length in [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 40 * PART_BYTES_MAX] {
            let answer = Ok("x".repeat(length));
            assert!(asked(&answer) == answer, "{length}");
        }
    }

    #[test]
    fn a_refusal_is_an_error() {
        let answer = Err("no such slave: 3.".to_owned());
        assert_eq!(asked(&answer), answer);
    }
}
