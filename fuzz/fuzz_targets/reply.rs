//! Lines of servers: each gives a reply or none, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::address::{parse_extended_passive, parse_passive_port};
use poolftpd::ftp::reply::ReplyReader;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = ReplyReader::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Some(reply)) = reader.line(line) {
            let _ = (reply.quoted_path(), reply.to_string());
            let _ = (parse_passive_port(&reply.text()), parse_extended_passive(&reply.text()));
        }
    }
});
