//! Replies: a code and a text of one or more lines (RFC 959 §4.2), written and read.

use std::fmt;

use super::line::append_escaped;
use super::path::unquote;

/// A reply code, named by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

#[expect(missing_docs, reason = "each name says it")]
#[rustfmt::skip]
impl Code {
    pub const MARKER: Self = Self(110);
    pub const DATA_CONNECTION_OPEN: Self = Self(125);
    pub const OPENING_DATA_CONNECTION: Self = Self(150);
    pub const OK: Self = Self(200);
    pub const SUPERFLUOUS: Self = Self(202);
    pub const STATUS: Self = Self(211);
    pub const FILE_STATUS: Self = Self(213);
    pub const HELP: Self = Self(214);
    pub const SYSTEM: Self = Self(215);
    pub const READY: Self = Self(220);
    pub const CLOSING: Self = Self(221);
    pub const NO_TRANSFER: Self = Self(225);
    pub const TRANSFER_COMPLETE: Self = Self(226);
    pub const PASSIVE: Self = Self(227);
    pub const EXTENDED_PASSIVE: Self = Self(229);
    pub const LOGGED_IN: Self = Self(230);
    pub const FILE_ACTION_DONE: Self = Self(250);
    pub const PATHNAME: Self = Self(257);
    pub const SECURITY_EXCHANGED: Self = Self(234);
    pub const NEED_PASSWORD: Self = Self(331);
    pub const PENDING: Self = Self(350);
    pub const SERVICE_NOT_AVAILABLE: Self = Self(421);
    pub const DATA_CONNECTION_FAILED: Self = Self(425);
    pub const TRANSFER_ABORTED: Self = Self(426);
    pub const BUSY: Self = Self(450);
    pub const LOCAL_ERROR: Self = Self(451);
    pub const NO_SPACE: Self = Self(452);
    pub const EXCEEDED: Self = Self(552);
    pub const UNKNOWN_COMMAND: Self = Self(500);
    pub const BAD_ARGUMENT: Self = Self(501);
    pub const NOT_IMPLEMENTED: Self = Self(502);
    pub const BAD_SEQUENCE: Self = Self(503);
    pub const NOT_IMPLEMENTED_FOR_ARGUMENT: Self = Self(504);
    pub const PROTECTION_NEEDED: Self = Self(521);
    pub const UNSUPPORTED_PROTOCOL: Self = Self(522);
    pub const NOT_LOGGED_IN: Self = Self(530);
    pub const DENIED_BY_POLICY: Self = Self(534);
    pub const LEVEL_NOT_SUPPORTED: Self = Self(536);
    pub const UNAVAILABLE: Self = Self(550);
    pub const BAD_NAME: Self = Self(553);
    pub const BAD_MARKER: Self = Self(554);
}

impl Code {
    /// Returns `true` for 1yz: another reply follows.
    #[must_use]
    pub fn is_preliminary(self) -> bool {
        self.0 / 100 == 1
    }

    /// Returns `true` for 2yz: the command is done.
    #[must_use]
    pub fn is_completion(self) -> bool {
        self.0 / 100 == 2
    }

    /// Returns `true` for 4yz: failed for now; the command may succeed later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.0 / 100 == 4
    }

    /// Returns `true` for 3yz: accepted so far; the next command decides.
    #[must_use]
    pub fn is_intermediate(self) -> bool {
        self.0 / 100 == 3
    }

    fn digits(self) -> [u8; 3] {
        [100, 10, 1].map(|place| b'0' + u8::try_from(self.0 / place % 10).unwrap_or_default())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:03}", self.0)
    }
}

/// A reply: its code and the lines of its text, which are bytes because names in them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code.
    pub code: Code,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Creates a reply of one line.
    pub fn new(code: Code, text: impl Into<Vec<u8>>) -> Self {
        Self { code, lines: vec![text.into()] }
    }

    /// Creates a reply of several lines; the first and the last carry the code.
    #[must_use]
    pub fn multiline(code: Code, lines: Vec<Vec<u8>>) -> Self {
        debug_assert!(!lines.is_empty(), "a reply has a text");
        Self { code, lines }
    }

    /// Creates a 257 reply: the path in quotes, with quotes in it doubled (RFC 959 appendix II), followed by a remark.
    #[must_use]
    pub fn pathname(path: &[u8], remark: &str) -> Self {
        let mut text = vec![b'"'];
        for &byte in path {
            text.push(byte);
            if byte == b'"' {
                text.push(b'"');
            }
        }
        text.push(b'"');
        text.extend_from_slice(remark.as_bytes());
        Self::new(Code::PATHNAME, text)
    }

    /// Returns the quoted path of a 257 reply.
    #[must_use]
    pub fn quoted_path(&self) -> Option<Vec<u8>> {
        let text = self.lines.first()?;
        unquote(text).map(|(path, _)| path)
    }

    /// Returns the path of a 257 reply, also from a server that omits the double quotes.
    #[must_use]
    pub fn path(&self) -> Option<Vec<u8>> {
        self.quoted_path().or_else(|| unquoted_path(self.lines.first()?).map(<[u8]>::to_vec))
    }

    /// Returns the lines of the text, without codes.
    #[must_use]
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// Returns the text of the last line, which is the one that people read.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.lines.last().map(Vec::as_slice).unwrap_or_default())
            .into_owned()
    }

    /// Appends the encoded reply.
    ///
    /// CR, LF and NUL in a text become `?`, so that a name cannot end a line. Inner lines begin with a space, so that
    /// none can be taken for the last line (RFC 959 §4.2).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        out.reserve(self.lines.iter().map(|line| line.len() + b"123-\r\n".len()).sum());
        for (number, line) in self.lines.iter().enumerate() {
            if number == last || number == 0 {
                out.extend_from_slice(&self.code.digits());
            }
            out.push(if number == 0 && number != last { b'-' } else { b' ' });
            encode_text(line, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends text for a control connection: line ends in it become `?`, Telnet's 0xFF is doubled.
pub fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.split_inclusive(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        match chunk {
            [kept @ .., b'\r' | b'\n' | b'\0'] => {
                append_escaped(out, kept);
                out.push(b'?');
            }
            kept => append_escaped(out, kept),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code, self.text())
    }
}

/// The error for a line that is not part of a reply, or that makes the reply too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoReply;

/// A reader that joins received lines into replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The reply of several lines that is being received.
    open: Option<Reply>,
    /// The number of its bytes so far, including line ends.
    bytes: usize,
}

impl ReplyReader {
    /// The maximum size of one reply in bytes of text; a longer reply is rejected.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// Returns true if lines of an incomplete reply have come.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.open.is_some()
    }

    /// Adds the next line; returns `Some` when it completes a reply.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, NoReply> {
        let (code, separator, text) = split_code(line)
            .map_or((None, b' ', line), |(code, separator, text)| (Some(code), separator, text));
        match (self.open.take(), code) {
            (None, None) => Err(NoReply),
            (None, Some(code)) => {
                let reply = Reply::new(code, text);
                if separator == b'-' {
                    self.bytes = line.len();
                    self.open = Some(reply);
                    Ok(None)
                } else {
                    Ok(Some(reply))
                }
            }
            (Some(mut reply), code) => {
                let last = code == Some(reply.code) && separator == b' ';
                // Some servers put the code before inner lines, too; it is not part of the text.
                let inner = if code == Some(reply.code) { text } else { line };
                reply
                    .lines
                    .push(inner.strip_prefix(b" ").filter(|_| !last).unwrap_or(inner).to_vec());
                if last {
                    return Ok(Some(reply));
                }
                self.bytes += line.len() + 2;
                if self.bytes > Self::BYTES_MAX {
                    return Err(NoReply);
                }
                self.open = Some(reply);
                Ok(None)
            }
        }
    }
}

/// Returns the path in a text such as `/a is current directory` or `Current directory is /a`.
fn unquoted_path(text: &[u8]) -> Option<&[u8]> {
    const BEHIND: [&str; 9] = [
        " is current",
        " is the current",
        " is your current",
        " is working",
        " is the working",
        " is your working",
        " is cwd",
        " (current",
        " (cwd",
    ];
    let lower = text.to_ascii_lowercase();
    let find = |words: &str| lower.windows(words.len()).position(|at| at == words.as_bytes());
    let end = BEHIND.into_iter().filter_map(find).min().unwrap_or(text.len());
    let behind = |words: &str| find(words).map(|at| at + words.len());
    let start = match text.first()? {
        b'/' => 0,
        _ => find(" /").map(|at| at + 1).or_else(|| behind("directory is ")).unwrap_or(0),
    };
    let path = text.get(start..end)?.trim_ascii();
    let inner = path.strip_prefix(b"'").and_then(|path| path.strip_suffix(b"'"));
    let is_path = path.iter().any(|byte| matches!(byte, b'/' | b'\\'))
        || path.windows(2).any(|pair| pair == b":[");
    is_path.then_some(inner.unwrap_or(path))
}

/// Splits `123 text` or `123-text`; a code alone counts as the first form.
fn split_code(line: &[u8]) -> Option<(Code, u8, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let code =
        super::address::decimal(digits).filter(|code| (100..700).contains(code)).map(Code)?;
    match rest {
        [] => Some((code, b' ', rest)),
        [separator @ (b' ' | b'-'), text @ ..] => Some((code, *separator, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ftp::line::{Line, LineBuffer};

    fn encoded(reply: &Reply) -> Vec<u8> {
        let mut out = Vec::new();
        reply.encode(&mut out);
        out
    }

    fn read(bytes: &[u8]) -> Option<Reply> {
        let (mut buffer, mut reader) = (LineBuffer::default(), ReplyReader::default());
        buffer.extend(bytes);
        while let Some(Line::Complete(line)) = buffer.next_line() {
            if let Some(reply) = reader.line(&line).ok()? {
                return buffer.is_empty().then_some(reply);
            }
        }
        None
    }

    #[test]
    fn several_lines_are_written_so_that_no_inner_one_looks_like_the_last() {
        let reply = Reply::multiline(
            Code(211),
            vec![b"Features:".to_vec(), b"211 End".to_vec(), b"End".to_vec()],
        );
        assert_eq!(encoded(&reply), b"211-Features:\r\n 211 End\r\n211 End\r\n");
        assert_eq!(read(&encoded(&reply)), Some(reply));
    }

    #[test]
    fn a_path_is_quoted_and_cannot_end_its_line() {
        let reply = Reply::pathname(b"/a \"b\"\r\n226 x", " created.");
        assert_eq!(encoded(&reply), b"257 \"/a \"\"b\"\"??226 x\" created.\r\n");
        assert_eq!(Reply::pathname(b"/a \"b\"", "").quoted_path(), Some(b"/a \"b\"".to_vec()));
    }

    #[test]
    fn a_path_without_quotes_is_found_among_the_words() {
        for (text, path) in [
            ("/", "/"),
            ("/a b", "/a b"),
            ("/a b is current directory.", "/a b"),
            ("/this is mine is your current working directory", "/this is mine"),
            ("/a is cwd", "/a"),
            ("/a (current directory)", "/a"),
            ("Current directory is /a b", "/a b"),
            ("Working directory: /a", "/a"),
            ("You are in /a", "/a"),
            ("'/a b' is the current directory", "/a b"),
            ("C:\\x is current directory", "C:\\x"),
            ("DISK$USER:[A.B] is current directory", "DISK$USER:[A.B]"),
        ] {
            let reply = Reply::new(Code::PATHNAME, text);
            assert_eq!(reply.path(), Some(path.as_bytes().to_vec()), "{text}");
        }
        for text in ["", "ok", "is current directory", "Done. All well."] {
            assert_eq!(Reply::new(Code::PATHNAME, text).path(), None, "{text}");
        }
        assert_eq!(Reply::pathname(b"/a is cwd", " is it").path(), Some(b"/a is cwd".to_vec()));
    }

    #[test]
    fn servers_of_other_habits_are_understood() {
        let proftpd = read(b"211-Features:\r\n211-MDTM\r\n211 End\r\n").unwrap();
        assert_eq!(proftpd.lines()[1], b"MDTM");
        assert_eq!(read(b"220\r\n").unwrap().code, Code(220));
        assert_eq!(read(b"220-hello\r\n331 no end\r\n220 end\r\n").unwrap().lines().len(), 3);
        for bytes in ["hello\r\n", "99 x\r\n", "2200 x\r\n", "\r\n"] {
            assert_eq!(read(bytes.as_bytes()), None, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(code in 100_u16..600, lines in proptest::collection::vec("[^\r\n\0]{0,40}", 1..5)) {
            let reply = Reply::multiline(Code(code), lines.into_iter().map(String::into_bytes).collect());
            prop_assert_eq!(read(&encoded(&reply)), Some(reply));
        }

        #[test]
        fn no_bytes_panic_and_a_quoted_path_comes_back(bytes: Vec<u8>) {
            let _read = read(&bytes);
            prop_assert_eq!(Reply::pathname(&bytes, " x").quoted_path(), Some(bytes));
        }
    }
}
