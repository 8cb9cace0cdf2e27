//! Lines of the control connection: splits received bytes into lines, and removes Telnet commands (RFC 959 §5.3).
//!
//! A line ends with LF; a CR before it belongs to the end. A line longer than [`LINE_BYTES_MAX`] is skipped, not kept,
//! and reported once.

use zeroize::Zeroize;

/// The maximum length of a line in bytes, without its end: about twice a verb and the longest path that Linux allows.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

const IAC: u8 = 0xFF;
/// WILL, WONT, DO, DONT: each followed by one option byte.
const OPTION_COMMANDS: std::ops::RangeInclusive<u8> = 251..=254;
/// SE, the lowest command without option. Among these are IP, and the DM of the Synch that clients send before ABOR.
const PLAIN_FIRST: u8 = 240;

/// One line of the received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end and without Telnet commands.
    Complete(Vec<u8>),
    /// A line that was too long; its bytes are dropped.
    TooLong,
}

impl Line {
    /// Returns the bytes of a line that was not too long.
    #[must_use]
    pub fn complete(&self) -> Option<&[u8]> {
        match self {
            Self::Complete(line) => Some(line),
            Self::TooLong => None,
        }
    }
}

/// The kinds of incomplete lines, for sessions that must not miss an ABOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Only Telnet commands, which clients send before ABOR (RFC 959 §4.1.3).
    Interrupt,
    /// The beginning of ABOR.
    Abort,
    /// Nothing, or the beginning of another line.
    Other,
}

/// The command that ends a transfer.
pub const ABOR: &[u8] = b"ABOR";

/// The received bytes that are not taken as lines yet.
#[derive(Debug, Default)]
pub struct LineBuffer {
    received: Vec<u8>,
    /// The number of received bytes that were taken; they are wiped already.
    taken: usize,
    /// True while a line over the limit is being received: its bytes are dropped until its end.
    skipping: bool,
}

impl LineBuffer {
    /// Adds received bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.received.drain(..self.taken);
        self.taken = 0;
        self.received.extend_from_slice(bytes);
        if !self.received.contains(&b'\n') && self.received.len() > LINE_BYTES_MAX {
            self.received.clear();
            self.skipping = true;
        }
    }

    /// Takes the next complete line out.
    pub fn next_line(&mut self) -> Option<Line> {
        let waiting = self.received.get_mut(self.taken..).unwrap_or_default();
        let end = waiting.iter().position(|byte| *byte == b'\n')?;
        let line = waiting.get_mut(..end).unwrap_or_default();
        self.taken += end + 1;
        let too_long = std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX;
        let text = strip_telnet(line.strip_suffix(b"\r").unwrap_or(line));
        // The bytes may hold a password; the caller is responsible for the returned copy.
        line.zeroize();
        if self.taken == self.received.len() {
            // An idle connection keeps no buffer.
            (self.received, self.taken) = (Vec::new(), 0);
        }
        Some(if too_long { Line::TooLong } else { Line::Complete(text) })
    }

    /// Returns `true` if one of the complete lines is this command, in any case of letters.
    #[must_use]
    pub fn contains(&self, command: &[u8]) -> bool {
        let waiting = self.received.get(self.taken..).unwrap_or_default();
        waiting.split_inclusive(|byte| *byte == b'\n').any(|line| {
            let mut text = line.strip_suffix(b"\n").map(strip_telnet).unwrap_or_default();
            let is_command = text.trim_ascii().eq_ignore_ascii_case(command);
            // The line may have a password.
            text.zeroize();
            is_command
        })
    }

    /// Returns whether the incomplete line may become an ABOR, or follows a Telnet interrupt.
    #[must_use]
    pub fn unfinished(&self) -> Unfinished {
        let waiting = self.received.get(self.taken..).unwrap_or_default();
        let waiting = waiting.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = strip_telnet(waiting).to_ascii_uppercase();
        let text = text.trim_ascii();
        if text.is_empty() && waiting.iter().any(|byte| *byte >= PLAIN_FIRST) {
            Unfinished::Interrupt
        } else if !text.is_empty() && (ABOR.starts_with(text) || text == ABOR) {
            Unfinished::Abort
        } else {
            Unfinished::Other
        }
    }

    /// Returns the number of bytes that are left here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len() - self.taken
    }

    /// Returns `true` if no byte is left here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == self.received.len()
    }
}

/// Appends text with each 0xFF doubled, as Telnet requires.
pub fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        out.push(byte);
        if byte == IAC {
            out.push(IAC);
        }
    }
}

/// Removes Telnet commands from the front of a line, and one byte of each doubled 0xFF.
///
/// Inside a line, 0xFF is part of a name: many clients send names in other encodings without doubling it.
fn strip_telnet(line: &[u8]) -> Vec<u8> {
    let mut rest = line;
    loop {
        rest = match rest {
            [IAC, command, _option, rest @ ..] if OPTION_COMMANDS.contains(command) => rest,
            // Any byte of a Synch may be sent as urgent data, out of order or alone; no verb begins with such a byte.
            [PLAIN_FIRST..=IAC, rest @ ..] => rest,
            _ => break,
        };
    }
    let mut text = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        text.push(byte);
        if byte == IAC {
            bytes.next_if_eq(&IAC);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Line> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.extend(chunk);
            lines.extend(std::iter::from_fn(|| buffer.next_line()));
        }
        lines
    }

    fn complete(text: &[u8]) -> Line {
        Line::Complete(text.to_vec())
    }

    #[test]
    fn lines_are_cut_at_lf_however_they_arrive() {
        assert_eq!(lines(&[b"NO", b"OP\r", b"\nPWD\nQ"]), [complete(b"NOOP"), complete(b"PWD")]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_reported_once() {
        let long = vec![b'a'; 3000];
        let got = lines(&[&long, &long, &long, &long, b"end\r\nNOOP\r\n"]);
        assert_eq!(got, [Line::TooLong, complete(b"NOOP")]);
        let whole = [vec![b'a'; LINE_BYTES_MAX + 1], b"\nNOOP\n".to_vec()].concat();
        assert_eq!(lines(&[&whole]), [Line::TooLong, complete(b"NOOP")]);
    }

    #[test]
    fn telnet_commands_before_a_line_are_taken_off() {
        assert_eq!(lines(&[b"\xFF\xF4\xFF\xF2ABOR\r\n"]), [complete(b"ABOR")]);
        assert_eq!(lines(&[b"\xFF\xF4\xFFABOR\r\n"]), [complete(b"ABOR")]);
        assert_eq!(lines(&[b"\xF4\xFFabor\r\n"]), [complete(b"abor")]);
        assert_eq!(lines(&[b"\xFF\xFD\x06NOOP\r\n"]), [complete(b"NOOP")]);
    }

    #[test]
    fn ff_in_a_name_is_kept_doubled_or_not() {
        assert_eq!(
            lines(&[b"DELE \xFF\xFFa\n", b"DELE \xFF\xFEa\n"]),
            [complete(b"DELE \xFFa"), complete(b"DELE \xFF\xFEa")]
        );
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_lines(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0xFF), any::<u8>()], 0..200), cut in 0_usize..200) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(lines(&[head, tail]), lines(&[&bytes]));
        }
    }
}
