//! Lines of listings, as any server may send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::listing::{parse_facts, parse_list};

fuzz_target!(|line: &[u8]| {
    let now = jiff::Timestamp::from_second(1_795_000_000).unwrap_or_default();
    let _ = (parse_facts(line), parse_list(line, now));
});
