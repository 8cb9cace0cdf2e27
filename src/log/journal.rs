//! The native protocol of the systemd journal, and messages of syslog: one datagram an event.

use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::events::{Record, Severity, Value};

use super::text;

/// The socket of the journal.
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// The socket of syslog.
pub(super) const SYSLOG: &str = "/dev/log";

/// The facility `ftp` of syslog (RFC 5424 §6.2.1).
const FACILITY: u8 = 11;

/// The name of this program in the journal and in syslog.
const IDENTIFIER: &str = "ftpserver";

/// Returns the number of a severity in syslog and in the journal (RFC 5424 §6.2.1).
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Error => 3,
        Severity::Warn => 4,
        Severity::Info => 6,
        Severity::Debug => 7,
    }
}

/// Returns the datagram of an event in the journal's native protocol.
pub(super) fn message(record: &Record<'_>) -> Vec<u8> {
    let Record { who, event, .. } = record;
    let mut datagram = Vec::new();
    entry(&mut datagram, "MESSAGE", text::without_time(record).as_bytes());
    entry(&mut datagram, "PRIORITY", priority(event.severity()).to_string().as_bytes());
    entry(&mut datagram, "SYSLOG_FACILITY", FACILITY.to_string().as_bytes());
    entry(&mut datagram, "SYSLOG_IDENTIFIER", IDENTIFIER.as_bytes());
    entry(&mut datagram, "FTP_EVENT", event.name().as_bytes());
    let mut add = |name: &'static str, value: Value<'_>| {
        let name = format!("FTP_{}", name.to_ascii_uppercase());
        entry(&mut datagram, &name, &bytes(&value));
    };
    if let Some(who) = who {
        who.fields(&mut add);
    }
    event.fields(&mut add);
    datagram
}

/// Writes one field: `NAME=value`, or with the length in front if the value has more than one line.
fn entry(datagram: &mut Vec<u8>, name: &str, value: &[u8]) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

fn bytes(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Word(text) | Value::Text(text) => text.as_bytes().to_vec(),
        Value::File(bytes) | Value::Client(bytes) => bytes.to_vec(),
        Value::Number(number) => number.to_string().into_bytes(),
        Value::Signed(number) => number.to_string().into_bytes(),
        Value::Flag(flag) => flag.to_string().into_bytes(),
        Value::Seconds(time) => format!("{:.3}", time.as_secs_f64()).into_bytes(),
        Value::Time(time) => time.to_string().into_bytes(),
        Value::Endpoint(address) => address.to_string().into_bytes(),
        Value::Address(address) => address.to_string().into_bytes(),
        Value::Mode(mode) => format!("{mode:04o}").into_bytes(),
    }
}

/// Returns the datagram of an event for syslog (RFC 3164, as local programs send it).
pub(super) fn syslog(record: &Record<'_>) -> Vec<u8> {
    let number = FACILITY * 8 + priority(record.event.severity());
    let mut line = format!("<{number}>{IDENTIFIER}[{}]: ", std::process::id());
    // Writing to a String cannot fail.
    let _written = line.write_str(&text::without_time(record));
    line.into_bytes()
}

/// A socket that each write sends one datagram to. It is connected again when its service has restarted.
#[derive(Debug)]
pub(super) struct Datagrams {
    path: &'static str,
    socket: UnixDatagram,
}

impl Datagrams {
    /// Connects to the socket of a service.
    pub(super) fn connect(path: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(Path::new(path))?;
        Ok(Self { path, socket })
    }
}

impl io::Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if let Ok(count) = self.socket.send(datagram) {
            return Ok(count);
        }
        *self = Self::connect(self.path)?;
        self.socket.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::events::Event;

    #[test]
    fn a_value_of_several_lines_has_its_length_in_front() {
        let event = Event::Login { user: b"a\nPRIORITY=0" };
        let datagram = message(&Record { time: Timestamp::UNIX_EPOCH, who: None, event: &event });
        let lines: Vec<&[u8]> = datagram.split(|byte| *byte == b'\n').collect();
        assert!(lines.contains(&b"PRIORITY=6".as_slice()));
        assert!(lines.contains(&b"FTP_EVENT=login".as_slice()));
        let field = b"FTP_USER\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";
        assert!(datagram.windows(field.len()).any(|window| window == field));
        let line = String::from_utf8(syslog(&Record {
            time: Timestamp::UNIX_EPOCH,
            who: None,
            event: &event,
        }));
        let line = line.unwrap();
        assert!(line.starts_with("<94>ftpserver[") && !line.contains('\n'), "{line}");
    }
}
