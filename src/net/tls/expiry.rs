//! Fields of a certificate, read from its DER form: the end of its validity, and the common name of its subject.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of a certificate's version, which comes first unless the version is 1.
const VERSION: u8 = 0xA0;

/// The object identifier of a common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// The tags of the texts in UTF-8, ASCII letters and ASCII: 12, 19 and 22.
const UTF8_TEXTS: [u8; 3] = [0x0C, 0x13, 0x16];

/// Returns the common name of the subject of a certificate, if there is exactly one (RFC 5280 §4.1.2.6).
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    // The subject is behind the validity.
    let (_, _, rest) = element(from_validity(certificate)?)?;
    let (_, mut names, _) = element(rest)?;
    let mut found = None;
    while !names.is_empty() {
        let (_, mut set, rest) = element(names)?;
        names = rest;
        while !set.is_empty() {
            let (_, attribute, others) = element(set)?;
            set = others;
            let (_, kind, value) = element(attribute)?;
            if kind != COMMON_NAME {
                continue;
            }
            let (tag, text, _) = element(value)?;
            let text = std::str::from_utf8(text).ok().filter(|_| UTF8_TEXTS.contains(&tag))?;
            // SECURITY: with two names, it would be undefined which one counts.
            if found.replace(text.to_owned()).is_some() {
                return None;
            }
        }
    }
    found
}

/// Returns the fields of a certificate from its validity on.
fn from_validity(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    if tag == VERSION {
        fields = rest;
    }
    // Skips serial number, algorithm and issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    Some(fields)
}

/// Returns the time from which a certificate is no longer valid (RFC 5280 §4.1.2.5).
#[must_use]
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (tag, validity, _) = element(from_validity(certificate)?)?;
    let (_, _, rest) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, text, _) = element(rest)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match (tag, text.get(..2)?.parse::<u8>().ok()?) {
        (UTC_TIME, 50..) => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        (GENERALIZED_TIME, _) => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Takes one element from the front; returns its tag, its content, and the bytes behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
        if digits.len() > size_of::<u32>() {
            return None;
        }
        let length = digits.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 2, 3);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_either_form_of_time() {
        for year in [1999, 2049, 2050, 4096] {
            let expected: Timestamp = format!("{year}-02-03T00:00:00Z").parse().unwrap();
            assert_eq!(not_after(&made(year)), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0..400_usize) {
            let _end = not_after(&bytes);
            let mut broken = made(2049);
            let at = at % broken.len();
            broken.truncate(at);
            let _end = not_after(&broken);
        }
    }
}
