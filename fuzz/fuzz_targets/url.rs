//! The target on the client's command line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::internal::client::url::Target;

fuzz_target!(|text: &str| {
    let _ = Target::parse(text);
});
