//! The progress bar, on terminals only, and the line that is printed for a finished file.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::client::progress::Progress;

use super::columns::shorten;
use super::messages::Messages;
use super::output::terminal_columns;

/// Maximum number of times per second that a bar is redrawn.
const DRAWS_PER_SECOND: u8 = 8;

/// Cells that a progress line needs besides the name, by the width of the terminal.
const fn cells_without_name(columns: usize) -> usize {
    match columns {
        100.. => 84,
        80.. => 70,
        70.. => 58,
        _ => 26,
    }
}

/// Minimum number of cells for the name.
const NAME_CELLS_MIN: usize = 8;

/// Progress of the transfer of one file.
#[derive(Debug)]
pub(super) struct TransferBar {
    bar: ProgressBar,
    name: String,
    begun: Instant,
    /// Offset in the file at which the transfer began, in bytes.
    started_at: Option<u64>,
    quiet: bool,
    messages: Messages,
}

impl TransferBar {
    pub(super) fn new(name: &str, quiet: bool, messages: &Messages) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a person watches: the clock is theirs")]
        let begun = Instant::now();
        let shows = !quiet && messages.may_draw();
        let columns = terminal_columns();
        let target = if shows {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target)
            .with_message(shorten(name, name_cells(columns)));
        let (name, messages) = (name.to_owned(), messages.clone());
        Self { bar, name, begun, started_at: None, quiet, messages }
    }

    /// Removes the bar and prints one line: name, size, time and rate. Returns the time.
    pub(super) fn finish(self, bytes: u64, into: &str) -> Duration {
        self.bar.finish_and_clear();
        let took = self.begun.elapsed();
        if !self.quiet {
            let before = self.started_at.unwrap_or_default().min(bytes);
            let resumed = if before > 0 {
                format!(", resumed at {}", HumanBytes(before))
            } else {
                String::new()
            };
            let text = format!(
                "{}: {} in {}{}{resumed} {into}",
                self.name,
                HumanBytes(bytes),
                seconds(took),
                rate(bytes - before, took)
            );
            self.messages.print(&text);
        }
        took
    }

    pub(super) fn give_up(self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for TransferBar {
    fn progress(&mut self, bytes: u64, total: Option<u64>) {
        if self.started_at.is_none() {
            self.started_at = Some(bytes);
            self.bar.set_style(style(total.is_some(), terminal_columns()));
            self.bar.set_position(bytes);
            // Bytes that existed before do not count for the rate.
            self.bar.reset_eta();
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        if self.messages.is_kept() {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.messages.moved(bytes, total.unwrap_or_default());
        self.bar.set_position(bytes);
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| self.messages.print(&format!("{}: {text}", self.name)));
        }
    }
}

/// Builds a bar such as `big.bin   40% ━━━━━━━━━╸   11.5 / 28.6 MiB   3.8 MiB/s   0:04`. A narrow terminal gets less of it.
fn style(has_total: bool, columns: usize) -> ProgressStyle {
    let template = match (has_total, columns) {
        (true, 100..) => {
            "{msg}  {percent:>3}% {bar:24}  {binary_bytes} / {binary_total_bytes}  {binary_bytes_per_sec}  {left}"
        }
        (true, 80..) => {
            "{msg}  {percent:>3}% {bar:10}  {binary_bytes} / {binary_total_bytes}  {binary_bytes_per_sec}  {left}"
        }
        (true, 70..) => {
            "{msg}  {percent:>3}%  {binary_bytes} / {binary_total_bytes}  {binary_bytes_per_sec}  {left}"
        }
        (true, _) => "{msg} {percent:>3}% {binary_bytes_per_sec} {left}",
        (false, 60..) => "{msg}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}",
        (false, _) => "{msg} {binary_bytes}",
    };
    let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // Writing to a bar's text cannot fail.
        let _written = out.write_str(&left(state.eta()));
    };
    // Invariant: both templates are constants that a test parses.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
        .progress_chars("━╸ ")
}

/// Returns the number of cells for the name.
fn name_cells(columns: usize) -> usize {
    columns.saturating_sub(cells_without_name(columns)).max(NAME_CELLS_MIN)
}

/// Returns the time left, such as `0:04`.
pub(super) fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Returns a time, such as `0.1 s`.
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// Returns the rate, such as `, 1.00 MiB/s`; nothing for a time that is too short.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a figure for people"
)]
pub(super) fn rate(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if bytes == 0 || seconds < 0.001 {
        String::new()
    } else {
        format!(", {}/s", HumanBytes((bytes as f64 / seconds) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_well_formed() {
        for has_total in [true, false] {
            for columns in [40, 60, 80, 200] {
                let bar = ProgressBar::hidden().with_style(style(has_total, columns));
                bar.set_position(1);
            }
        }
        assert_eq!(rate(1024 * 1024, Duration::from_secs(1)), ", 1.00 MiB/s");
        assert_eq!(rate(0, Duration::from_secs(1)), "");
    }
}
