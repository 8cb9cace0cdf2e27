//! The log, an observer of events: one line per event, written by a separate thread so that no worker waits for it.

mod level;
mod text;

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;

use crate::events::{Event, Observer, Record, Severity};

pub use level::Level;

/// Maximum number of lines that wait for a slow standard error. Further lines are lost, and counted.
const LINES_MAX: usize = 8192;

/// Maximum number of bytes in the lines that wait.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Maximum time to write the last lines at the end.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// The log that receives events.
#[derive(Debug)]
pub struct Log {
    level: AtomicU8,
    lines: Sender<String>,
    state: Arc<State>,
}

/// State that the logging threads share with the writing thread.
#[derive(Debug, Default)]
struct State {
    /// Number of bytes in the lines that wait.
    waiting: AtomicUsize,
    /// Number of lines that were lost and have not been reported.
    lost: AtomicU64,
}

/// The thread that writes; it ends when the last [`Log`] is dropped.
#[derive(Debug)]
pub struct Writer(Receiver<Infallible>);

impl Log {
    /// Starts the thread that writes to `out`.
    pub fn start(level: Level, out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (lines, receiver): (_, Receiver<String>) = bounded(LINES_MAX);
        let (alive, ended) = bounded(0);
        let state: Arc<State> = Arc::default();
        let mut printer = Printer { out, state: Arc::clone(&state), torn: false };
        let write = move || {
            // Dropped when the thread ends, which `Writer` waits for.
            let _alive: Sender<Infallible> = alive;
            for line in receiver {
                printer.print(&line);
            }
            printer.report_lost();
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((Self { level: AtomicU8::new(level as u8), lines, state }, Writer(ended)))
    }

    /// Sets the amount that is logged from now on.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Logs an event of the server, before there is a stream of events.
    pub fn server(&self, event: &Event<'_>) {
        if self.wants(event.severity()) {
            self.observe(&Record { time: Timestamp::now(), who: None, event });
        }
    }
}

impl Observer for Log {
    fn wants(&self, severity: Severity) -> bool {
        Level::including(severity) as u8 <= self.level.load(Ordering::Relaxed)
    }

    fn observe(&self, record: &Record<'_>) {
        let line = text::line(record);
        let bytes = line.len();
        let waiting = self.state.waiting.fetch_add(bytes, Ordering::AcqRel);
        if waiting.saturating_add(bytes) > WAITING_BYTES_MAX || self.lines.try_send(line).is_err() {
            self.state.waiting.fetch_sub(bytes, Ordering::AcqRel);
            self.state.lost.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Writes lines, and counts those that cannot be written.
struct Printer<W> {
    out: W,
    state: Arc<State>,
    /// True if the last line was written only in part.
    torn: bool,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, line: &str) {
        let written = self.report_lost() && self.write(line.as_bytes());
        self.state.waiting.fetch_sub(line.len(), Ordering::AcqRel);
        if !written {
            // A full disk or a closed standard error cannot be reported anywhere.
            self.state.lost.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Reports the lines that were lost; returns `false` if the report cannot be written.
    fn report_lost(&mut self) -> bool {
        let lost = self.state.lost.load(Ordering::Acquire);
        if lost == 0 {
            return true;
        }
        let end = if self.torn { "\n" } else { "" };
        let time = Timestamp::now();
        let line =
            format!("{end}{time:.3} level={} event=log-lines-lost count={lost}\n", Severity::Warn);
        let written = self.write(line.as_bytes());
        if written {
            self.state.lost.fetch_sub(lost, Ordering::AcqRel);
        }
        written
    }

    fn write(&mut self, mut bytes: &[u8]) -> bool {
        let begun = bytes.len();
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.torn |= bytes.len() < begun;
                    return false;
                }
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            }
        }
        self.torn = false;
        true
    }
}

impl Drop for Writer {
    /// Waits until everything is written, at most `LAST_LINES_TIMEOUT`.
    fn drop(&mut self) {
        let _ended = self.0.recv_timeout(LAST_LINES_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes some bytes of a line, and is then full until it gets more room.
    #[derive(Clone)]
    struct Disk {
        taken: Arc<parking_lot::Mutex<Vec<u8>>>,
        room: Arc<AtomicUsize>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room.load(Ordering::Acquire));
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(count, Ordering::AcqRel);
            self.taken.lock().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(room: usize) -> Disk {
        Disk { taken: Arc::default(), room: Arc::new(room.into()) }
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_reported_when_it_does() {
        let disk = disk(10);
        let mut printer = Printer { out: disk.clone(), state: Arc::default(), torn: false };
        for _ in 0..3 {
            printer.print("a line of more than ten bytes\n");
        }
        disk.room.store(usize::MAX, Ordering::Release);
        printer.print("the next\n");
        printer.print("and one\n");
        let text = String::from_utf8(disk.taken.lock().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            matches!(lines.as_slice(), ["a line of ", lost, "the next", "and one"]
                if lost.ends_with(" level=warn event=log-lines-lost count=3")),
            "{text}"
        );
    }

    /// A reader that takes nothing until the gate is opened.
    struct Gate(Receiver<()>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_take_bounded_memory_and_those_beyond_are_counted() {
        let (open, gate) = bounded(0);
        let (log, _writer) = Log::start(Level::Verbose, Gate(gate)).unwrap();
        let line = vec![b'\x1b'; 8000];
        for _ in 0..20_000 {
            log.server(&Event::Command { line: &line });
        }
        assert!(log.state.waiting.load(Ordering::Acquire) <= WAITING_BYTES_MAX);
        assert!(log.state.lost.load(Ordering::Acquire) > 10_000);
        drop((log, open));
    }
}
