//! The log, an observer of events: several outputs, each with its format, its events and a thread of its own that
//! writes, so that no worker waits for one and no output waits for another.

mod filter;
mod format;
mod journal;
mod json;
mod level;
mod output;
mod printer;
mod probes;
mod text;
mod xferlog;

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::events::{Event, Observer, Record, Severity};

pub use filter::Filter;
pub use format::Format;
pub(crate) use json::escape;
pub use level::Level;
pub use output::{Output, Target};
use printer::Queue;
use probes::{Hidden, Probes};

/// Maximum time to write the last lines at the end.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// The log that receives events.
#[derive(Debug)]
pub struct Log {
    level: AtomicU8,
    sinks: Vec<Sink>,
    probes: Mutex<Probes>,
}

/// One output that is open.
#[derive(Debug)]
struct Sink {
    format: Format,
    filter: Filter,
    level: Option<Level>,
    queue: Queue,
}

/// The threads that write; they end when the last [`Log`] is dropped.
#[derive(Debug)]
pub struct Writer(Vec<Receiver<Infallible>>);

/// Reads the time zone of the format xferlog. Must precede the sandbox, in which its files cannot be read.
pub fn read_time_zone() {
    xferlog::local_zone();
}

impl Log {
    /// Starts a log of text lines to `out`.
    ///
    /// # Errors
    /// The kernel's error, if there is no thread.
    pub fn start(level: Level, out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (queue, ended) = Queue::start(Format::Text, Box::new(out), None)?;
        let (format, filter) = (Format::Text, Filter::default());
        let sinks = vec![Sink { format, filter, level: None, queue }];
        Ok(Self::of(level, sinks, vec![ended]))
    }

    /// Opens the outputs.
    ///
    /// # Errors
    /// One sentence that names the output.
    pub fn open(level: Level, outputs: &[Output]) -> Result<(Self, Writer), String> {
        let (mut sinks, mut threads) = (Vec::new(), Vec::new());
        for output in outputs {
            let (format, out) = output.open()?;
            let file = output.file().map(ToOwned::to_owned);
            let (queue, ended) = Queue::start(format, out, file)
                .map_err(|error| format!("cannot start: {}", crate::units::reason(&error)))?;
            sinks.push(Sink { format, filter: output.filter.clone(), level: output.level, queue });
            threads.push(ended);
        }
        Ok(Self::of(level, sinks, threads))
    }

    fn of(level: Level, sinks: Vec<Sink>, threads: Vec<Receiver<Infallible>>) -> (Self, Writer) {
        (
            Self { level: AtomicU8::new(level as u8), sinks, probes: Mutex::default() },
            Writer(threads),
        )
    }

    /// Sets the amount that is logged from now on.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Opens the files again, after they were moved.
    pub fn reopen(&self) {
        self.sinks.iter().for_each(|sink| sink.queue.reopen());
    }

    /// Returns the number of lines that were lost since the start.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        let lost = |sink: &Sink| sink.queue.state.lost_in_all.load(Ordering::Relaxed);
        self.sinks.iter().map(lost).sum()
    }

    /// Logs an event of the server, before there is a stream of events.
    pub fn server(&self, event: &Event<'_>) {
        if self.wants(event.severity()) {
            self.observe(&Record { time: Timestamp::now(), who: None, event });
        }
    }

    fn includes(&self, sink: &Sink, severity: Severity) -> bool {
        let level =
            sink.level.map_or_else(|| self.level.load(Ordering::Relaxed), |level| level as u8);
        Level::including(severity) as u8 <= level
    }

    fn pass(&self, record: &Record<'_>) {
        let severity = record.event.severity();
        for sink in &self.sinks {
            if self.includes(sink, severity)
                && sink.filter.admits(record.event)
                && let Some(bytes) = sink.format.bytes(record)
            {
                sink.queue.push(bytes);
            }
        }
    }

    fn pass_hidden(&self, time: Timestamp, hidden: Vec<Hidden>) {
        for Hidden { address, count } in hidden {
            self.pass(&Record { time, who: None, event: &Event::Probes { address, count } });
        }
    }
}

impl Observer for Log {
    fn wants(&self, severity: Severity) -> bool {
        self.sinks.iter().any(|sink| self.includes(sink, severity))
    }

    fn observe(&self, record: &Record<'_>) {
        if !Probes::counts(record.event) {
            return self.pass(record);
        }
        let (hidden, admitted) = {
            let mut probes = self.probes.lock();
            (probes.end_window(record.time, false), probes.admits(record))
        };
        self.pass_hidden(record.time, hidden);
        if admitted {
            self.pass(record);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let now = Timestamp::now();
        let hidden = self.probes.lock().end_window(now, true);
        self.pass_hidden(now, hidden);
    }
}

impl Drop for Writer {
    /// Waits until everything is written, at most `LAST_LINES_TIMEOUT`.
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ended = thread.recv_timeout(LAST_LINES_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use printer::WAITING_BYTES_MAX;

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
        let state = &log.sinks[0].queue.state;
        assert!(state.waiting.load(Ordering::Acquire) <= WAITING_BYTES_MAX);
        assert!(log.lines_lost() > 10_000);
        drop((log, open));
    }
}
