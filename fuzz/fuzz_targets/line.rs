//! Received bytes give the same lines wherever they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::line::LineBuffer;

fuzz_target!(|input: (&[u8], &[u8])| {
    let lines = |chunks: &[&[u8]]| {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.extend(chunk);
            lines.extend(std::iter::from_fn(|| buffer.next_line()));
        }
        lines
    };
    let (head, tail) = input;
    if head.len() + tail.len() < 4096 {
        assert_eq!(lines(&[head, tail]), lines(&[&[head, tail].concat()]));
    }
});
