//! The text format: one line an event, `key=value`. Names and lines of clients are escaped, so no client can forge a
//! line.

use std::fmt::{self, Write};

use crate::events::{Record, Value};
use crate::ftp::path::Escaped;

/// Number of bytes that are logged of a long name or line, at its beginning and at its end.
const HEAD_BYTES: usize = 256;
const TAIL_BYTES: usize = 128;

/// Returns the line of an event.
pub(super) fn line(record: &Record<'_>) -> String {
    format!("{:.3} {}\n", record.time, without_time(record))
}

/// Returns the line of an event without its time, for outputs that have a time of their own.
pub(super) fn without_time(record: &Record<'_>) -> String {
    let Record { who, event, .. } = record;
    let mut text = format!("level={}", event.severity());
    if let Some(who) = who {
        who.fields(&mut |name, value| {
            // Only programs use these.
            if name != "cipher" {
                field(&mut text, name, &value);
            }
        });
    }
    field(&mut text, "event", &Value::Word(event.name()));
    event.fields(&mut |name, value| field(&mut text, name, &value));
    text
}

fn field(text: &mut String, name: &str, value: &Value<'_>) {
    // Writing to a String cannot fail.
    let _written = match value {
        Value::Word(word) if !word.contains(' ') => write!(text, " {name}={word}"),
        Value::Word(word) | Value::Text(word) => {
            write!(text, " {name}=\"{}\"", Escaped(word.as_bytes()))
        }
        Value::File(path) => write!(text, " {name}=\"{}\"", Escaped(path)),
        Value::Client(bytes) => write!(text, " {name}=\"{}\"", Shortened(bytes)),
        Value::Number(number) => write!(text, " {name}={number}"),
        Value::Signed(number) => write!(text, " {name}={number}"),
        Value::Flag(flag) => write!(text, " {name}={flag}"),
        Value::Seconds(time) if time.subsec_nanos() == 0 => {
            write!(text, " {name}={}", time.as_secs())
        }
        Value::Seconds(time) => write!(text, " {name}={:.3}", time.as_secs_f64()),
        Value::Time(time) => write!(text, " {name}={time}"),
        Value::Endpoint(address) => write!(text, " {name}={address}"),
        Value::Address(address) => write!(text, " {name}={address}"),
        Value::Mode(mode) => write!(text, " {name}={mode:04o}"),
    };
}

/// A name or line of a client, cut in the middle if it is long. The end stays, because it identifies the file.
struct Shortened<'a>(&'a [u8]);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let ends = bytes.len().checked_sub(TAIL_BYTES).filter(|tail| *tail > HEAD_BYTES);
        match ends.and_then(|tail| Some((bytes.get(..HEAD_BYTES)?, bytes.get(tail..)?))) {
            None => Escaped(bytes).fmt(formatter),
            Some((head, tail)) => write!(formatter, "{}...{}", Escaped(head), Escaped(tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::events::{Event, LoginFailure};

    fn text(event: &Event<'_>) -> String {
        line(&Record { time: Timestamp::UNIX_EPOCH, who: None, event })
    }

    #[test]
    fn no_name_forges_a_line_and_no_password_is_told() {
        let forged = Event::LoginFailed {
            user: b"x\"\r\n2026 event=login",
            reason: "login incorrect",
            cause: LoginFailure::Incorrect,
        };
        assert_eq!(
            text(&forged),
            "1970-01-01T00:00:00.000Z level=info event=login-failed user=\"x\\\"\\u{d}\\u{a}2026 event=login\" \
             reason=\"login incorrect\" cause=incorrect\n"
        );
        for line in [
            "PASS secret",
            "pass secret",
            "  PASS secret",
            "PASSsecret",
            "acct secret",
            "SITE PSWD old secret",
            "site  pswd secret",
        ] {
            assert!(!text(&Event::Command { line: line.as_bytes() }).contains("secret"), "{line}");
        }
    }

    #[test]
    fn a_long_name_is_cut_in_the_middle() {
        let name = [b"head".as_slice(), &[b'x'; 4000], b"tail"].concat();
        let line = text(&Event::Login { user: &name });
        assert!(
            line.len() < 500 && line.contains("\"head") && line.ends_with("tail\"\n"),
            "{line}"
        );
        assert!(line.contains("x...x"), "{line}");
        let whole = vec![b'x'; HEAD_BYTES + TAIL_BYTES];
        assert!(!text(&Event::Login { user: &whole }).contains("..."));
    }
}
