//! The progress of a transfer of several files: one line that moves, on terminals only, and the sum at the end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use crate::client::mirror::{MirrorAction, MirrorEvent, MirrorReport};

use super::columns::shorten;
use super::messages::Messages;
use super::output::terminal_columns;
use super::progress::{left, rate, seconds};

/// Maximum number of times per second that the line is redrawn.
const DRAWS_PER_SECOND: u8 = 8;

/// The line during the comparison, and during the transfer.
const COMPARING: &str = "{wide_msg}";
const MOVING: &str = "{line}";

/// The line: the number of files, the bytes, the rate, and the time left.
#[derive(Debug)]
pub(super) struct TreeBar {
    bar: ProgressBar,
    name: &'static str,
    /// Number of files, and of those that are done.
    files: Arc<(AtomicUsize, AtomicUsize)>,
    begun: Instant,
    quiet: bool,
    messages: Messages,
}

impl TreeBar {
    pub(super) fn new(name: &'static str, quiet: bool, messages: &Messages) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a person watches: the clock is theirs")]
        let begun = Instant::now();
        let target = if !quiet && messages.may_draw() {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style(COMPARING));
        Self { bar, name, files: Arc::default(), begun, quiet, messages: messages.clone() }
    }

    /// Shows an event of a mirror.
    pub(super) fn event(&self, event: &MirrorEvent<'_>) {
        match event {
            MirrorEvent::Scanned(items) => self.found(*items, "compared"),
            MirrorEvent::Begun { files, bytes } => self.begin(*files, *bytes),
            MirrorEvent::Moved(bytes) => self.moved(*bytes),
            MirrorEvent::Done(MirrorAction::Transfer { .. }) => self.file_done(),
            MirrorEvent::Done(_) | MirrorEvent::Failed(_) | MirrorEvent::FileEnded { .. } => {}
            MirrorEvent::Note(text) => self.note(text),
        }
    }

    /// Shows the number of items found so far.
    pub(super) fn found(&self, items: usize, verb: &str) {
        self.bar.set_message(format!("{}: {items} items {verb}", self.name));
        self.bar.tick();
    }

    /// Begins to show the transfer of files with this number of bytes.
    pub(super) fn begin(&self, files: usize, bytes: u64) {
        self.files.0.store(files, Ordering::Relaxed);
        let files = Arc::clone(&self.files);
        let line = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let done = files.1.load(Ordering::Relaxed);
            let state = TreeState {
                files: (done, files.0.load(Ordering::Relaxed)),
                bytes: (state.pos(), state.len().unwrap_or_default()),
                bytes_per_second: state.per_sec(),
                left: state.eta(),
            };
            // Writing to a bar's text cannot fail.
            let _written = out.write_str(&state.line(terminal_columns()));
        };
        self.bar.set_length(bytes);
        self.bar.set_style(style(MOVING).with_key("line", line));
        self.bar.reset_eta();
    }

    /// Counts one more file.
    pub(super) fn file_done(&self) {
        self.files.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows the number of bytes so far.
    pub(super) fn moved(&self, bytes: u64) {
        if self.messages.is_kept() {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.bar.set_position(bytes);
        self.messages.moved(bytes, self.bar.length().unwrap_or_default());
    }

    /// Prints a note above the line.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| self.messages.print(text));
        }
    }

    /// Removes the line, and returns the time since its beginning.
    pub(super) fn clear(&self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}

fn style(template: &str) -> ProgressStyle {
    // Invariant: the templates are constants that a test parses.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// State of a transfer of several files.
#[derive(Debug)]
struct TreeState {
    /// Number of files that are done, and of all.
    files: (usize, usize),
    /// Number of bytes so far, and of all.
    bytes: (u64, u64),
    bytes_per_second: f64,
    left: Duration,
}

impl TreeState {
    /// Returns a line such as `12 of 2000  40%  11.5 MiB / 28.6 MiB  3.8 MiB/s  0:04`. A narrow terminal gets less of it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    fn line(&self, columns: usize) -> String {
        let (bytes, total) = self.bytes;
        let percent = u128::from(bytes) * 100 / u128::from(total.max(1));
        let rate = format!("{}/s", HumanBytes(self.bytes_per_second as u64));
        let count = format!("{} of {}", self.files.0, self.files.1);
        let percent = format!("{:>3}%", if total == 0 { 0 } else { percent.min(100) });
        let (moved, time) = (HumanBytes(bytes).to_string(), left(self.left));
        let of_all = format!("{moved} / {}", HumanBytes(total));
        let lines = [
            [count.as_str(), &percent, &of_all, &rate, &time].join("  "),
            [count.as_str(), &percent, &moved, &rate, &time].join("  "),
            [count.as_str(), &percent, &rate, &time].join(" "),
            [count.as_str(), &percent, &rate].join(" "),
            [count.as_str(), &percent].join(" "),
        ];
        // A terminal wraps a line that fills its last column.
        let fits = |line: &&String| line.width() < columns;
        lines.iter().find(fits).cloned().unwrap_or_else(|| shorten(&count, columns))
    }
}

/// Numbers of a transfer of several files.
#[derive(Debug, Default)]
pub(super) struct TreeSum {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) removed: usize,
    pub(super) unchanged: usize,
    /// Number of local files that differ and were kept.
    pub(super) kept: usize,
    pub(super) failed: usize,
}

impl TreeSum {
    /// Returns the numbers of a mirror.
    pub(super) fn of(report: &MirrorReport) -> Self {
        Self {
            files: report.transferred,
            bytes: report.bytes,
            removed: report.removed,
            unchanged: report.unchanged,
            kept: 0,
            failed: report.errors.len(),
        }
    }

    /// Returns the sum, such as `3 files, 1.00 MiB transferred in 0.1 s, 10.0 MiB/s; 12 unchanged`.
    pub(super) fn text(&self, took: Duration) -> String {
        let plural = if self.files == 1 { "" } else { "s" };
        let (bytes, rate) = (HumanBytes(self.bytes), rate(self.bytes, took));
        let time =
            if self.files == 0 { String::new() } else { format!(" in {}{rate}", seconds(took)) };
        let mut text = format!("{} file{plural}, {bytes} transferred{time}", self.files);
        let others = [
            (self.removed, "removed"),
            (self.unchanged, "unchanged"),
            (self.kept, "kept"),
            (self.failed, "not done"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            // Writing to a string cannot fail.
            let _written = write!(text, "; {count} {what}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_well_formed() {
        for template in [COMPARING, MOVING] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn the_line_fits_every_terminal_and_keeps_the_number_of_files() {
        let large = TreeState {
            files: (99_999, 100_000),
            bytes: (1_023 << 30, 1_023 << 40),
            bytes_per_second: 1023.0 * 1024.0 * 1024.0,
            left: Duration::from_secs(359_999),
        };
        for columns in 1..200 {
            let line = large.line(columns);
            assert!(line.width() <= columns, "{columns}: {line}");
        }
        assert!(large.line(40).starts_with("99999 of 100000"), "{}", large.line(40));
        let small = TreeState {
            files: (12, 2000),
            bytes: (4 << 20, 10 << 20),
            bytes_per_second: 1024.0 * 1024.0,
            left: Duration::from_secs(6),
        };
        assert_eq!(small.line(100), "12 of 2000   40%  4.00 MiB / 10.00 MiB  1.00 MiB/s  0:06");
        assert_eq!(small.line(40), "12 of 2000  40% 1.00 MiB/s 0:06");
    }

    #[test]
    fn the_sum_has_what_there_is() {
        let sum = TreeSum { files: 1, bytes: 1024, unchanged: 2, failed: 1, ..TreeSum::default() };
        let text = sum.text(Duration::from_secs(1));
        assert_eq!(
            text,
            "1 file, 1.00 KiB transferred in 1.0 s, 1.00 KiB/s; 2 unchanged; 1 not done"
        );
        assert_eq!(TreeSum::default().text(Duration::ZERO), "0 files, 0 B transferred");
    }
}
