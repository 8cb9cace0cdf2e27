//! Block mode (RFC 959 §3.4.2): data travels in blocks with a header of three bytes. So the end of a file is not the
//! end of the connection, which stays open for the next transfer.
//!
//! A header is a descriptor and a count of the bytes that follow, high byte first. A restart marker has a block of its
//! own; in this server it is the number of bytes before it, in decimal digits.

/// The maximum number of bytes in one block.
pub const BLOCK_BYTES_MAX: usize = 0xFFFF;
/// The size of a header in bytes: descriptor and count.
pub const HEADER_BYTES: usize = 3;
/// The maximum length of a restart marker that is accepted, in bytes.
const MARKER_BYTES_MAX: usize = 255;

/// The end of the data block is the end of a record; this has no meaning in file structure.
const END_OF_RECORD: u8 = 128;
/// The end of the data block is the end of the file.
const END_OF_FILE: u8 = 64;
/// The block is a restart marker.
const MARKER: u8 = 16;

/// The position of a block: the last of its file or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    #[expect(missing_docs, reason = "the name says it")]
    Yes,
    #[expect(missing_docs, reason = "the name says it")]
    No,
}

/// Returns the header of a data block; its count is at most [`BLOCK_BYTES_MAX`].
#[must_use]
pub fn header(count: usize, last: Last) -> [u8; HEADER_BYTES] {
    let [high, low] = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
    [if last == Last::Yes { END_OF_FILE } else { 0 }, high, low]
}

/// Appends bytes in as many blocks as they need.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK_BYTES_MAX) {
        out.extend_from_slice(&header(block.len(), Last::No));
        out.extend_from_slice(block);
    }
}

/// Appends the end of the file: an empty block with the flag for it.
pub fn encode_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&header(0, Last::Yes));
}

/// Appends a restart marker: the number of bytes before it.
pub fn encode_marker(offset: u64, out: &mut Vec<u8>) {
    let digits = offset.to_string();
    let [_, high, low] = header(digits.len(), Last::No);
    out.extend_from_slice(&[MARKER, high, low]);
    out.extend_from_slice(digits.as_bytes());
}

/// One item of a sequence of blocks.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes of the file.
    Data(&'a [u8]),
    /// A restart marker.
    Marker(Vec<u8>),
    /// The end of the file.
    End,
}

/// The error for an invalid block: an unknown descriptor, data that its sender marks as suspect, or an overlong marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A decoder that reads blocks, in pieces of any size, up to the end of one file.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES],
    /// The number of header bytes received so far.
    have: usize,
    /// The number of bytes of the block that are still to come.
    left: usize,
    marker: Vec<u8>,
    ended: bool,
}

impl Decoder {
    /// Returns the number of bytes that may be received without taking any of the next file; 0 at the end.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.ended {
            0
        } else if self.have < HEADER_BYTES {
            HEADER_BYTES - self.have
        } else {
            // After a block that is not the last, another header follows.
            self.left + if self.is(END_OF_FILE) { 0 } else { HEADER_BYTES }
        }
    }

    /// Returns `true` if the end of the file was received.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes the next item off the front of `bytes`; returns `None` when they are used up.
    ///
    /// # Errors
    /// [`Malformed`]; the bytes after it have no meaning.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Item<'a>>, Malformed> {
        while !self.ended {
            if self.have < HEADER_BYTES {
                let Some((byte, rest)) = bytes.split_first() else { return Ok(None) };
                *bytes = rest;
                if let Some(place) = self.header.get_mut(self.have) {
                    *place = *byte;
                }
                self.have += 1;
                if self.have == HEADER_BYTES {
                    self.begin_block()?;
                }
            } else if self.left > 0 {
                let (taken, rest) = bytes.split_at(self.left.min(bytes.len()));
                if taken.is_empty() {
                    return Ok(None);
                }
                *bytes = rest;
                self.left -= taken.len();
                if !self.is(MARKER) {
                    return Ok(Some(Item::Data(taken)));
                }
                self.marker.extend_from_slice(taken);
            } else {
                let marker = self.is(MARKER).then(|| std::mem::take(&mut self.marker));
                if self.is(END_OF_FILE) && marker.is_none() {
                    self.ended = true;
                    return Ok(Some(Item::End));
                }
                if let Some(marker) = marker {
                    // The other flags of its descriptor then apply to an empty block after it.
                    if let Some(descriptor) = self.header.first_mut() {
                        *descriptor &= !MARKER;
                    }
                    return Ok(Some(Item::Marker(marker)));
                }
                self.have = 0;
            }
        }
        Ok(None)
    }

    fn begin_block(&mut self) -> Result<(), Malformed> {
        let [descriptor, high, low] = self.header;
        self.left = usize::from(u16::from_be_bytes([high, low]));
        let known = descriptor & !(END_OF_RECORD | END_OF_FILE | MARKER) == 0;
        if known && (!self.is(MARKER) || self.left <= MARKER_BYTES_MAX) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn is(&self, flag: u8) -> bool {
        self.header[0] & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes bytes that arrive in pieces of these lengths, repeatedly.
    fn read(
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> Result<(Vec<u8>, Vec<String>, Decoder), Malformed> {
        let (mut decoder, mut data, mut markers) = (Decoder::default(), Vec::new(), Vec::new());
        for piece in pieces.iter().cycle() {
            let count = (*piece).max(1).min(decoder.wanted()).min(bytes.len());
            if count == 0 {
                break;
            }
            let (mut now, rest) = bytes.split_at(count);
            bytes = rest;
            while let Some(item) = decoder.next(&mut now)? {
                match item {
                    Item::Data(piece) => data.extend_from_slice(piece),
                    Item::Marker(marker) => {
                        markers.push(String::from_utf8_lossy(&marker).into_owned());
                    }
                    Item::End => assert!(bytes.is_empty(), "it took of the next file"),
                }
            }
        }
        Ok((data, markers, decoder))
    }

    #[test]
    fn data_markers_and_the_end_are_told_apart() {
        let mut bytes = Vec::new();
        encode(b"abc", &mut bytes);
        encode_marker(3, &mut bytes);
        bytes.extend_from_slice(&[END_OF_RECORD, 0, 1, b'd']);
        bytes.extend_from_slice(&[0, 0, 0]);
        let whole = [&bytes[..], &[END_OF_FILE, 0, 1, b'e']].concat();
        for pieces in [[1], [2], [3], [100]] {
            let (data, markers, decoder) = read(&whole, &pieces).unwrap();
            assert_eq!((data.as_slice(), markers), (b"abcde".as_slice(), vec!["3".to_owned()]));
            assert!(decoder.has_ended());
            let (_, _, cut) = read(&bytes, &pieces).unwrap();
            assert!(!cut.has_ended());
        }
        assert_eq!(read(&[MARKER | END_OF_FILE, 0, 1, b'7'], &[1]).unwrap().1, ["7"]);
        for malformed in [&[1, 0, 0][..], &[32, 0, 0], &[MARKER, 1, 0]] {
            assert!(read(malformed, &[3]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_into_blocks_comes_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..200_000),
            cuts in proptest::collection::vec(1_usize..100_000, 1..5),
            pieces in proptest::collection::vec(0_usize..70_000, 1..5),
        ) {
            let (mut wire, mut rest, mut offset) = (Vec::new(), bytes.as_slice(), 0);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                encode(now, &mut wire);
                offset += now.len() as u64;
                encode_marker(offset, &mut wire);
                rest = later;
            }
            encode_end(&mut wire);
            let (data, markers, decoder) = read(&wire, &pieces).unwrap();
            prop_assert!(decoder.has_ended());
            prop_assert_eq!(markers.last().map_or(0, |last| last.parse::<usize>().unwrap()), bytes.len());
            prop_assert!(data == bytes);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, pieces in proptest::collection::vec(0_usize..9, 1..5)) {
            let _read = read(&bytes, &pieces);
        }
    }
}
