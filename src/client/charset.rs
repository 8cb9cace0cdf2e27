//! Character sets of servers whose names are not UTF-8.

use encoding_rs::Encoding;

/// A character set of a server. All names are UTF-8 inside of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// Finds a character set by a name such as `latin1`, `cp1251` or `shift_jis`. UTF-8 is `Some(None)`.
    ///
    /// Returns `None` for an unknown name, and for a set in which the commands of FTP would be other bytes.
    #[must_use]
    pub fn named(name: &str) -> Option<Option<Self>> {
        let name = name.trim().to_ascii_lowercase();
        // Names that this standard does not have, but people use.
        let label = name.strip_prefix("cp125").map(|number| format!("windows-125{number}"));
        let found = Encoding::for_label(label.as_deref().unwrap_or(&name).as_bytes())?;
        if found == encoding_rs::UTF_8 {
            return Some(None);
        }
        found.is_ascii_compatible().then_some(Some(Self(found)))
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Encodes a command line; 0xFF is doubled, as Telnet requires. A line that is not UTF-8 stays unchanged.
    ///
    /// Returns `None` if the set does not have a letter of the line.
    pub(super) fn encode(self, line: &[u8]) -> Option<Vec<u8>> {
        let Ok(text) = str::from_utf8(line) else { return Some(line.to_vec()) };
        let (bytes, _, lacks_letters) = self.0.encode(text);
        let double = |byte: &u8| std::iter::repeat_n(*byte, if *byte == 0xFF { 2 } else { 1 });
        (!lacks_letters).then(|| bytes.iter().flat_map(double).collect())
    }

    /// Decodes what the server has sent to UTF-8.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<u8> {
        self.0.decode_without_bom_handling(bytes).0.into_owned().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charset(name: &str) -> Charset {
        Charset::named(name).unwrap().unwrap()
    }

    #[test]
    fn names_are_converted_both_ways() {
        for (name, text, bytes) in [
            ("latin1", "é", b"\xe9".as_slice()),
            ("ISO-8859-1", "é", b"\xe9"),
            ("iso-8859-15", "€", b"\xa4"),
            ("cp1251", "Привет", b"\xcf\xf0\xe8\xe2\xe5\xf2"),
            ("koi8-r", "да", b"\xc4\xc1"),
            ("shift_jis", "表", b"\x95\\"),
            ("gbk", "中", b"\xd6\xd0"),
        ] {
            let set = charset(name);
            assert_eq!(set.encode(text.as_bytes()).unwrap(), bytes, "{name}");
            assert_eq!(set.decode(bytes), text.as_bytes(), "{name}");
        }
        assert_eq!(charset("latin1").encode("ÿ".as_bytes()).unwrap(), b"\xff\xff");
        assert_eq!(charset("latin1").encode("中".as_bytes()), None);
        assert_eq!(charset("cp1251").encode(b"raw\xe9").unwrap(), b"raw\xe9");
    }

    #[test]
    fn utf_8_needs_no_conversion_and_unknown_names_are_refused() {
        assert_eq!(Charset::named("UTF-8"), Some(None));
        assert_eq!(Charset::named("utf8"), Some(None));
        for name in ["", "klingon", "utf-16", "iso-2022-jp"] {
            assert_eq!(Charset::named(name), None, "{name}");
        }
    }
}
