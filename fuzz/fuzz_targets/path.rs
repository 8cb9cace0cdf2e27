//! Paths of clients: every one stays below the root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::VirtualPath;

fuzz_target!(|names: Vec<&[u8]>| {
    let mut path = VirtualPath::root();
    for name in names {
        if let Ok(joined) = path.join(name) {
            path = joined;
        }
        assert!(path.beneath_root().split(|byte| *byte == b'/').all(|part| part != b".." && part != b"."));
    }
});
