//! A line of a client, to a command and back: whatever is read can be written and is then read as the same.
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
        // What is left out on the way (an account's name, a size) is left out the second time as well.
        assert_eq!(again.map(|again| again.encode()), Some(command.encode()));
    }
});
