//! Addresses of PORT and EPRT: a parsed address is written, and parsed to the same address again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::address::{extended_port, parse_extended_port, parse_host_port};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_host_port(bytes);
    if let Ok(address) = parse_extended_port(bytes) {
        assert_eq!(parse_extended_port(extended_port(address).as_bytes()), Ok(address));
    }
});
