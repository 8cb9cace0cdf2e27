//! Results of a measurement, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use super::load::Load;
use super::usage::{Memory, Usage};

/// Results of one group of clients.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) clients: usize,
    /// Time from the first task to the end of the measurement.
    pub(super) time: Duration,
    pub(super) bytes: u64,
    /// Duration of each task.
    pub(super) took: Vec<Duration>,
    /// Ratio of the largest share of a client to the smallest, for tasks that take all the time, such as downloads
    /// without end.
    pub(super) spread: Option<f64>,
    pub(super) failed: u64,
    /// Reason of the first failure.
    pub(super) failure: Option<String>,
}

impl Row {
    /// Returns the time within which the fraction `part` of all tasks was done.
    fn percentile(&self, part: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = (last as f64 * part).ceil() as usize;
        self.took.get(place).copied().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    fn per_second(&self, number: u64) -> f64 {
        number as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Results of a load.
#[derive(Debug)]
pub struct Report {
    load: Load,
    clients: usize,
    rows: Vec<Row>,
    used: Usage,
    memory: Memory,
}

impl Report {
    pub(super) fn new(
        load: Load,
        clients: usize,
        mut rows: Vec<Row>,
        used: Usage,
        memory: Memory,
    ) -> Self {
        for row in &mut rows {
            row.took.sort_unstable();
        }
        Self { load, clients, rows, used, memory }
    }

    /// Returns true if no task failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.failed == 0)
    }

    /// Returns the reason of the first failure, if there is one.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.rows.iter().find_map(|row| row.failure.as_deref())
    }

    /// Returns the heading of the table.
    #[must_use]
    pub fn head() -> String {
        format!(
            "{:<26} {:>7} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8} {:>8}",
            "load",
            "clients",
            "MB/s",
            "done/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "spread",
            "failed",
            "own CPU",
            "server"
        )
    }

    /// Returns the lines of the table for this load.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let name = if self.rows.len() == 1 {
                format!("{} ({})", self.load.name(), row.name)
            } else {
                format!("{}: {}", self.load.name(), row.name)
            };
            let milliseconds = |part| row.percentile(part).as_secs_f64() * 1e3;
            let spread = row.spread.map_or_else(|| "-".to_owned(), |spread| format!("{spread:.2}"));
            let server = self.used.server.map_or_else(|| "-".to_owned(), seconds);
            // Writing to a string does not fail.
            let _written = writeln!(
                out,
                "{name:<26} {:>7} {:>10.1} {:>10.1} {:>9.3} {:>9.3} {:>9.3} {spread:>7} {:>7} {:>8} {server:>8}",
                row.clients,
                row.per_second(row.bytes) / 1e6,
                row.per_second(row.took.len() as u64),
                milliseconds(0.5),
                milliseconds(0.99),
                milliseconds(1.0),
                row.failed,
                seconds(self.used.own),
            );
        }
        if self.load == Load::Idle && self.used.server.is_some() {
            let _written = writeln!(out, "{}", self.memory_line());
        }
        out
    }

    /// Formats the memory per session, for a load with a known process of the server.
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    fn memory_line(&self) -> String {
        let each = |kibibytes: u64| kibibytes as f64 / self.clients.max(1) as f64;
        format!(
            "  per session: {:.2} KiB in the server, {:.2} KiB in the kernel for both ends; {} threads, {} processes",
            each(self.memory.resident),
            each(self.memory.kernel),
            self.memory.threads,
            self.memory.processes,
        )
    }

    /// Returns one line of JSON per row; times are in seconds.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let number = |time: Option<Duration>| {
                time.map_or_else(|| "null".to_owned(), |time| time.as_secs_f64().to_string())
            };
            let _written = writeln!(
                out,
                "{{\"load\":\"{}\",\"what\":\"{}\",\"clients\":{},\"seconds\":{},\"bytes\":{},\"done\":{},\"failed\":{},\
                 \"p50\":{},\"p99\":{},\"max\":{},\"spread\":{},\"own_cpu\":{},\"server_cpu\":{},\
                 \"server_kib\":{},\"kernel_kib\":{},\"threads\":{},\"processes\":{}}}",
                self.load.name(),
                row.name,
                row.clients,
                row.time.as_secs_f64(),
                row.bytes,
                row.took.len(),
                row.failed,
                row.percentile(0.5).as_secs_f64(),
                row.percentile(0.99).as_secs_f64(),
                row.percentile(1.0).as_secs_f64(),
                row.spread.map_or_else(|| "null".to_owned(), |spread| spread.to_string()),
                number(Some(self.used.own)),
                number(self.used.server),
                self.memory.resident,
                self.memory.kernel,
                self.memory.threads,
                self.memory.processes,
            );
        }
        out
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}
