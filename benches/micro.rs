//! The cost of the smallest steps: parsing a command, writing a reply, a line of a listing, a hand-over in the pool.
//!
//! `cargo bench --bench micro` prints one line for each, the fastest of several runs.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measure of time on a terminal"
)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use poolftpd::ftp::command::Command;
use poolftpd::ftp::line::LineBuffer;
use poolftpd::ftp::listing::{Entry, Facts, Kind};
use poolftpd::ftp::time::Days;
use poolftpd::ftp::{Code, Reply};
use poolftpd::internal::pool::{Class, Pool, Task, Turn, Watch};

const RUNS: u32 = 7;

/// Prints the time of one of `count` rounds.
fn measure(what: &str, count: u32, mut rounds: impl FnMut(u32)) {
    let took = |_| {
        let begun = Instant::now();
        rounds(count);
        begun.elapsed()
    };
    let fastest = (0..RUNS).map(took).min().unwrap_or_default();
    println!("{what:<52} {:>9.1} ns", fastest.as_secs_f64() * 1e9 / f64::from(count));
}

fn main() {
    measure("a line is cut and read as a command", 100_000, |count| {
        let mut lines = LineBuffer::default();
        for _ in 0..count {
            lines.extend(black_box(b"RETR some/path/to/a-file.txt\r\n"));
            if let Some(poolftpd::ftp::line::Line::Complete(line)) = lines.next_line() {
                let _command = black_box(Command::parse(&line));
            }
        }
    });
    measure("a reply is written", 100_000, |count| {
        let mut out = Vec::new();
        for _ in 0..count {
            out.clear();
            Reply::new(Code::OK, black_box("Type set to I.")).encode(&mut out);
        }
    });
    let entry = Entry {
        name: b"some-file-000123.txt".to_vec(),
        kind: Kind::File,
        size: 123_456_789,
        modified: Timestamp::UNIX_EPOCH,
        mode: 0o644,
        links: 1,
        identity: (2049, 1_234_567),
        owner: 0,
        group: 0,
        link: None,
    };
    measure("an entry as LIST writes it", 100_000, |count| {
        let (mut out, mut days, now) = (Vec::new(), Days::default(), Timestamp::UNIX_EPOCH);
        for _ in 0..count {
            out.clear();
            black_box(&entry).list_line(now, &mut days, &mut out);
        }
    });
    measure("an entry as MLSD writes it", 100_000, |count| {
        let (mut out, mut days) = (Vec::new(), Days::default());
        for _ in 0..count {
            out.clear();
            let entry = black_box(&entry);
            entry.facts(Facts::default(), "adfrw", &entry.name, &mut days, &mut out);
        }
    });
    for workers in [1, 2, 4] {
        measure(
            &format!("a turn by way of the ready queue, {workers} workers"),
            100_000,
            |count| {
                hand_over(workers, count);
            },
        );
    }
}

/// A task that takes a number of turns through the ready queue, and then reports its end.
struct Round(u32, Sender<()>);

impl Task for Round {
    fn turn(&mut self, _: Instant, _: Class) -> Turn {
        if self.0 == 0 {
            // Fails if the measurement was given up.
            let _sent = self.1.send(());
            return Turn::Done;
        }
        self.0 -= 1;
        Turn::Again(Class::Interactive)
    }

    fn watch<'a>(&'a self, _: &mut Watch<'a>) {}
}

fn hand_over(workers: usize, turns: u32) {
    let pool = Pool::start("bench", NonZeroUsize::new(workers).unwrap()).unwrap();
    let (done, all) = channel();
    for _ in 0..8 {
        pool.admit(Box::new(Round(turns / 8, done.clone())));
    }
    for _ in 0..8 {
        all.recv_timeout(Duration::from_mins(1)).unwrap();
    }
}
