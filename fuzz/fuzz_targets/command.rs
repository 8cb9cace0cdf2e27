//! Lines of clients: every parsed command can be encoded, and is then parsed to the same command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolftpd::ftp::Command;
use poolftpd::ftp::line::{Line, LineBuffer};

fuzz_target!(|line: &[u8]| {
    let Ok(command) = Command::parse(line) else { return };
    let mut buffer = LineBuffer::default();
    buffer.extend(&command.encode());
    buffer.extend(b"\r\n");
    if let Some(Line::Complete(line)) = buffer.next_line() {
        let again = Command::parse(&line).ok();
        // Parts that the first encoding leaves out (an account's name, a size) are left out again.
        assert_eq!(again.map(|again| again.encode()), Some(command.encode()));
    }
});
