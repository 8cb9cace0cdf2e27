//! The format of wu-ftpd's transfer log, which statistics programs read: the transfers of files, and the deletions. Times
//! are local, as those programs expect.

use std::fmt::Write;
use std::sync::OnceLock;

use jiff::tz::TimeZone;

use crate::events::{Change, Direction, Event, Record};

/// Returns the time zone of the machine, or that of TZ. Its first call reads files, so it must precede the sandbox.
pub(super) fn local_zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(TimeZone::system)
}

/// Returns the line of a transfer or a deletion; none for another event.
pub(super) fn line(record: &Record<'_>) -> Option<String> {
    let who = record.who?;
    let (seconds, bytes, path, is_text, direction, is_complete) = match record.event {
        Event::Transfer(transfer) => {
            let direction = match transfer.direction {
                Direction::Upload => 'i',
                Direction::Download => 'o',
                Direction::Listing => return None,
            };
            let seconds = transfer.took.as_secs_f64().ceil();
            let is_complete = transfer.outcome.is_complete();
            (seconds, transfer.bytes, &transfer.path, transfer.is_text, direction, is_complete)
        }
        Event::Changed(Change::Deleted(path)) => (0.0, 0, path, false, 'd', true),
        _ => return None,
    };
    let time = record.time.to_zoned(local_zone().clone()).strftime("%a %b %e %H:%M:%S %Y");
    let (kind, end) = (if is_text { 'a' } else { 'b' }, if is_complete { 'c' } else { 'i' });
    let user = who.user.unwrap_or(b"-");
    let is_anonymous =
        [b"anonymous".as_slice(), b"ftp"].iter().any(|name| user.eq_ignore_ascii_case(name));
    let access = if is_anonymous { 'a' } else { 'r' };
    let mut text = format!("{time} {seconds:.0} {} {bytes} ", who.peer.ip());
    word(&mut text, path.as_bytes());
    // Writing to a String cannot fail.
    let _written = write!(text, " {kind} _ {direction} {access} ");
    word(&mut text, user);
    let _written = writeln!(text, " ftp 0 * {end}");
    Some(text)
}

/// Writes a name without spaces and control characters, which would begin another column or line.
fn word(text: &mut String, bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    text.extend(
        name.chars().map(
            |letter| {
                if letter.is_whitespace() || letter.is_control() { '_' } else { letter }
            },
        ),
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::events::{Direction, Outcome, ServerId, SessionId, TransferEvent, Who};
    use crate::ftp::VirtualPath;

    #[test]
    fn a_line_has_the_eighteen_words_that_statistics_programs_expect() {
        let transfer = TransferEvent {
            verb: "STOR",
            direction: Direction::Upload,
            path: VirtualPath::root().join(b"in/a b\n.txt").unwrap(),
            bytes: 5,
            took: Duration::from_millis(7),
            outcome: Outcome::CutOff,
            reply: None,
            is_text: false,
        };
        let who = Who {
            session: SessionId { server: ServerId::of_now(), slave: None, number: 1 },
            peer: "192.0.2.7:5".parse().unwrap(),
            user: Some(b"alice"),
            host: None,
            tls: None,
            cipher: None,
        };
        let time: Timestamp = "2026-11-25T19:04:52Z".parse().unwrap();
        let line_of = |event: &Event<'_>| line(&Record { time, who: Some(&who), event });
        let line = line_of(&Event::Transfer(&transfer)).unwrap();
        let local = time.to_zoned(local_zone().clone()).strftime("%a %b %e %H:%M:%S %Y");
        let expected = format!("{local} 1 192.0.2.7 5 /in/a_b_.txt b _ i r alice ftp 0 * i\n");
        assert_eq!(line, expected);
        assert_eq!(line.split_ascii_whitespace().count(), 18);
        assert_eq!(line_of(&Event::Connect), None);
        let listing = TransferEvent { verb: "LIST", direction: Direction::Listing, ..transfer };
        assert_eq!(line_of(&Event::Transfer(&listing)), None);
    }
}
