//! Listings, as any server may send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::listing::{read_facts, read_list};

fuzz_target!(|text: &[u8]| {
    let now = jiff::Timestamp::from_second(1_795_000_000).unwrap_or_default();
    let _ = (read_facts(text), read_list(text, now));
});
