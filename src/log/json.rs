//! The JSON format: one flat object a line (RFC 8259). Numbers are numbers, and a field that is unknown is absent.

use std::fmt::Write;

use crate::events::{Record, Value};

/// Returns the line of an event.
pub(super) fn line(record: &Record<'_>) -> String {
    let Record { time, who, event } = record;
    let mut text = format!(
        "{{\"time\":\"{time:.3}\",\"level\":\"{}\",\"event\":\"{}\"",
        event.severity(),
        event.name()
    );
    if let Some(who) = who {
        who.fields(&mut |name, value| field(&mut text, name, &value));
    }
    event.fields(&mut |name, value| field(&mut text, name, &value));
    text.push_str("}\n");
    text
}

fn field(text: &mut String, name: &str, value: &Value<'_>) {
    // Writing to a String cannot fail.
    let _written = match value {
        Value::Word(word) | Value::Text(word) => string(text, name, word.as_bytes()),
        Value::File(bytes) | Value::Client(bytes) => string(text, name, bytes),
        Value::Number(number) => write!(text, ",\"{name}\":{number}"),
        Value::Signed(number) => write!(text, ",\"{name}\":{number}"),
        Value::Flag(flag) => write!(text, ",\"{name}\":{flag}"),
        Value::Seconds(time) => write!(text, ",\"{name}\":{:.3}", time.as_secs_f64()),
        Value::Time(time) => write!(text, ",\"{name}\":\"{time}\""),
        Value::Endpoint(address) => {
            let (ip, port) = (address.ip(), address.port());
            write!(text, ",\"{name}\":\"{address}\",\"{name}_ip\":\"{ip}\",\"{name}_port\":{port}")
        }
        Value::Address(address) => write!(text, ",\"{name}\":\"{address}\""),
        Value::Mode(mode) => write!(text, ",\"{name}\":\"{mode:04o}\""),
    };
}

/// Writes a string. Bytes that are not UTF-8 become U+FFFD, and a second field has all bytes in hexadecimal.
fn string(text: &mut String, name: &str, bytes: &[u8]) -> std::fmt::Result {
    let lossy = String::from_utf8_lossy(bytes);
    write!(text, ",\"{name}\":")?;
    escape(text, &lossy)?;
    if lossy.as_bytes() != bytes {
        write!(text, ",\"{name}_hex\":\"")?;
        bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))?;
        text.push('"');
    }
    Ok(())
}

/// Writes a string of JSON, without control characters and line separators.
pub(crate) fn escape(text: &mut String, letters: &str) -> std::fmt::Result {
    text.push('"');
    for letter in letters.chars() {
        match letter {
            '"' | '\\' => write!(text, "\\{letter}")?,
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                write!(text, "\\u{:04x}", u32::from(letter))?;
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::events::{Event, ServerId, SessionId, Who};

    #[test]
    fn a_line_is_one_object_and_no_name_breaks_out_of_its_string() {
        let who = Who {
            session: SessionId { server: ServerId::of_now(), slave: Some(2), number: 7 },
            peer: "[2001:db8::7]:57876".parse().unwrap(),
            user: Some(b"al\"ice\n"),
            host: None,
            tls: Some("1.3"),
            cipher: None,
        };
        let change = crate::events::Change::Deleted(
            crate::ftp::VirtualPath::root().join(b"a\xff\\b").unwrap(),
        );
        let record = Record {
            time: Timestamp::UNIX_EPOCH,
            who: Some(&who),
            event: &Event::Changed(&change),
        };
        let text = line(&record);
        let session = who.session;
        assert_eq!(
            text,
            format!(
                "{{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"event\":\"deleted\",\"slave\":2,\
                 \"session\":\"{session}\",\"peer\":\"[2001:db8::7]:57876\",\"peer_ip\":\"2001:db8::7\",\
                 \"peer_port\":57876,\"user\":\"al\\\"ice\\u000a\",\"tls\":\"1.3\",\"path\":\"/a\u{fffd}\\\\b\",\
                 \"path_hex\":\"2f61ff5c62\"}}\n"
            )
        );
    }
}
