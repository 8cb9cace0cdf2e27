//! The thread of one output: writes what is queued, and counts what cannot be written.

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;

use crate::events::{Event, Record};

use super::format::Format;
use super::output::append;

/// Maximum number of lines that wait for a slow output. Further lines are lost, and counted.
const LINES_MAX: usize = 8192;

/// Maximum number of bytes in the lines that wait.
pub(super) const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Number of bytes in the lines that wait at which they are written.
const BATCH_BYTES: usize = 64 * 1024;

/// Pause after a write, in which lines gather.
const PAUSE: Duration = Duration::from_millis(1);

/// State that the logging threads share with the writing thread.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Number of bytes in the lines that wait.
    pub(super) waiting: AtomicUsize,
    /// Number of lines that were lost and have not been reported.
    pub(super) lost: AtomicU64,
    /// Number of lines lost since the start.
    pub(super) lost_in_all: AtomicU64,
    /// True until the file has been opened again.
    reopens: AtomicBool,
}

impl State {
    /// Counts a line that is lost.
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.lost_in_all.fetch_add(1, Ordering::Relaxed);
    }
}

/// The queue of one output.
#[derive(Debug)]
pub(super) struct Queue {
    lines: Sender<Vec<u8>>,
    pub(super) state: Arc<State>,
}

impl Queue {
    /// Starts the thread that writes to `out`; the receiver disconnects when it has ended. `file` is opened again on
    /// request.
    pub(super) fn start(
        format: Format,
        out: Box<dyn Write + Send>,
        file: Option<PathBuf>,
    ) -> io::Result<(Self, Receiver<Infallible>)> {
        let (lines, receiver): (_, Receiver<Vec<u8>>) = bounded(LINES_MAX);
        let (alive, ended) = bounded(0);
        let state: Arc<State> = Arc::default();
        let mut printer = Printer { format, out, file, state: Arc::clone(&state), torn: false };
        let write = move || {
            // Dropped when the thread ends, which `Writer` waits for.
            let _alive: Sender<Infallible> = alive;
            while let Ok(line) = receiver.recv() {
                printer.reopen();
                printer.print(&batch(line, &receiver, format));
                // A sender need not wake this thread for the lines that follow soon.
                std::thread::park_timeout(PAUSE);
            }
            printer.report_lost();
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((Self { lines, state }, ended))
    }

    /// Queues a line, or counts it as lost if the queue is full.
    pub(super) fn push(&self, line: Vec<u8>) {
        let bytes = line.len();
        let waiting = self.state.waiting.fetch_add(bytes, Ordering::AcqRel);
        if waiting.saturating_add(bytes) > WAITING_BYTES_MAX || self.lines.try_send(line).is_err() {
            self.state.waiting.fetch_sub(bytes, Ordering::AcqRel);
            self.state.lose();
        }
    }

    /// Opens the file again, before the next line.
    pub(super) fn reopen(&self) {
        self.state.reopens.store(true, Ordering::Release);
        // An empty line wakes the thread. If the queue is full, the thread is awake.
        let _woken = self.lines.try_send(Vec::new());
    }
}

/// Joins a line with those that wait behind it, if the format has lines: one write for all costs the processor less.
fn batch(mut lines: Vec<u8>, receiver: &Receiver<Vec<u8>>, format: Format) -> Vec<u8> {
    while format.has_lines() && lines.len() < BATCH_BYTES {
        let Ok(line) = receiver.try_recv() else { break };
        lines.extend_from_slice(&line);
    }
    lines
}

/// Writes lines, and counts those that cannot be written.
struct Printer {
    format: Format,
    out: Box<dyn Write + Send>,
    file: Option<PathBuf>,
    state: Arc<State>,
    /// True if the last line was written only in part.
    torn: bool,
}

impl Printer {
    /// Opens the file again, if that was requested. If it cannot be opened, the open one stays in use.
    fn reopen(&mut self) {
        if !self.state.reopens.swap(false, Ordering::AcqRel) {
            return;
        }
        let Some(path) = &self.file else { return };
        match append(path) {
            Ok(file) => {
                self.out = Box::new(file);
                self.torn = false;
            }
            Err(error) => {
                let message = "cannot open the log file again";
                self.report(&Event::Error { message, error: &error });
            }
        }
    }

    /// Writes one line, or several.
    fn print(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let rest = if self.report_lost() { self.write(lines) } else { lines };
        self.state.waiting.fetch_sub(lines.len(), Ordering::AcqRel);
        // A full disk or a closed standard error cannot be reported anywhere.
        let count = if self.format.has_lines() {
            rest.split(|byte| *byte == b'\n').count() - 1
        } else {
            usize::from(!rest.is_empty())
        };
        (0..count).for_each(|_| self.state.lose());
    }

    /// Reports the lines that were lost; returns `false` if the report cannot be written.
    fn report_lost(&mut self) -> bool {
        let lost = self.state.lost.load(Ordering::Acquire);
        if lost == 0 {
            return true;
        }
        let written = self.report(&Event::LogLinesLost { count: lost });
        if written {
            self.state.lost.fetch_sub(lost, Ordering::AcqRel);
        }
        written
    }

    /// Writes an event of the log itself.
    fn report(&mut self, event: &Event<'_>) -> bool {
        let record = Record { time: Timestamp::now(), who: None, event };
        let Some(line) = self.format.bytes(&record) else { return true };
        let end = if self.torn && self.format.has_lines() { b"\n".as_slice() } else { b"" };
        self.write(&[end, &line].concat()).is_empty()
    }

    /// Returns the bytes that could not be written.
    fn write<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        let all = bytes;
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    let written = all.get(..all.len() - bytes.len()).unwrap_or_default();
                    self.torn = written.last().map_or(self.torn, |last| *last != b'\n');
                    return bytes;
                }
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            }
        }
        self.torn = false;
        bytes
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

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_reported_when_it_does() {
        let disk = Disk { taken: Arc::default(), room: Arc::new(10.into()) };
        let mut printer = Printer {
            format: Format::Text,
            out: Box::new(disk.clone()),
            file: None,
            state: Arc::default(),
            torn: false,
        };
        for _ in 0..3 {
            printer.print(b"a line of more than ten bytes\n");
        }
        disk.room.store(usize::MAX, Ordering::Release);
        printer.print(b"the next\n");
        printer.print(b"and one\n");
        let text = String::from_utf8(disk.taken.lock().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            matches!(lines.as_slice(), ["a line of ", lost, "the next", "and one"]
                if lost.ends_with(" level=warn event=log-lines-lost count=3")),
            "{text}"
        );
    }
}
