//! Received blocks give the same data, markers and end wherever they are split; encoded data is decoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::block::{Decoder, Item, encode, encode_end};

/// Data, markers, and true if the end came.
type Read = (Vec<u8>, Vec<Vec<u8>>, bool);

fn read(chunks: &[&[u8]]) -> Option<Read> {
    let (mut decoder, mut data, mut markers) = (Decoder::default(), Vec::new(), Vec::new());
    for chunk in chunks {
        let mut bytes = *chunk;
        while let Some(item) = decoder.next(&mut bytes).ok()? {
            match item {
                Item::Data(piece) => data.extend_from_slice(piece),
                Item::Marker(marker) => markers.push(marker),
                Item::End => {}
            }
        }
        assert!(bytes.is_empty() || decoder.has_ended());
    }
    Some((data, markers, decoder.has_ended()))
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (head, tail) = input;
    let whole = [head, tail].concat();
    assert_eq!(read(&[head, tail]), read(&[&whole]));
    let mut wire = Vec::new();
    encode(&whole, &mut wire);
    encode_end(&mut wire);
    assert_eq!(read(&[&wire]), Some((whole, Vec::new(), true)));
});
