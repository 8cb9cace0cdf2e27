//! TYPE A: lines end with CRLF on the wire and with LF in a file (RFC 959 §3.1.1.1), for any division into chunks.

/// The conversion from file to wire: inserts a CR before each LF that has none.
#[derive(Debug, Default)]
pub struct ToWire {
    after_cr: bool,
}

impl ToWire {
    /// Appends the next chunk of a file to `out` in the form of the wire.
    pub fn convert(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 16);
        for &byte in chunk {
            if byte == b'\n' && !self.after_cr {
                out.push(b'\r');
            }
            out.push(byte);
            self.after_cr = byte == b'\r';
        }
    }
}

/// The conversion from wire to file: removes the CR of each CRLF.
#[derive(Debug, Default)]
pub struct FromWire {
    /// True if the last byte was a CR that is held back until the next byte.
    held_cr: bool,
}

impl FromWire {
    /// Appends the next received chunk to `out` in the form of a file.
    pub fn convert(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + 1);
        for &byte in chunk {
            if self.held_cr && byte != b'\n' {
                out.push(b'\r');
            }
            self.held_cr = byte == b'\r';
            if !self.held_cr {
                out.push(byte);
            }
        }
    }

    /// Appends a CR that was held back, when the transfer ends.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to_wire(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut converter, mut out) = (ToWire::default(), Vec::new());
        for chunk in chunks {
            converter.convert(chunk, &mut out);
        }
        out
    }

    fn from_wire(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut converter, mut out) = (FromWire::default(), Vec::new());
        for chunk in chunks {
            converter.convert(chunk, &mut out);
        }
        converter.finish(&mut out);
        out
    }

    #[test]
    fn line_ends_are_converted_over_chunk_borders() {
        assert_eq!(to_wire(&[b"a\nb\r", b"\nc\n"]), b"a\r\nb\r\nc\r\n");
        assert_eq!(from_wire(&[b"a\r", b"\nb\r", b"c\r\r\nd\r"]), b"a\nb\rc\r\nd\r");
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..100)
    }

    proptest! {
        #[test]
        fn a_file_without_cr_comes_back_through_any_cut(mut bytes in text(), first in 0_usize..100, second in 0_usize..200) {
            bytes.retain(|byte| *byte != b'\r');
            let (head, tail) = bytes.split_at(first.min(bytes.len()));
            let wire = to_wire(&[head, tail]);
            let (head, tail) = wire.split_at(second.min(wire.len()));
            prop_assert_eq!(from_wire(&[head, tail]), bytes);
        }

        #[test]
        fn a_cut_changes_nothing(bytes in text(), cut in 0_usize..100) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(to_wire(&[head, tail]), to_wire(&[&bytes]));
            prop_assert_eq!(from_wire(&[head, tail]), from_wire(&[&bytes]));
        }
    }
}
