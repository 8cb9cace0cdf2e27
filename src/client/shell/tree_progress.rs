//! The progress of a copy of a tree: one line that moves, on terminals only.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::mirror::{MirrorAction, MirrorEvent, MirrorReport};

/// Maximum number of times per second that the line is redrawn.
const DRAWS_PER_SECOND: u8 = 8;

/// The line during the comparison, and during the transfer. Both fit 40 columns.
const COMPARING: &str = "{wide_msg}";
const MOVING: &str = "{msg} {percent:>3}% {binary_bytes} {binary_bytes_per_sec} {eta}";

/// The line: the number of files, the bytes, the rate, and the time left.
#[derive(Debug)]
pub(super) struct TreeBar {
    bar: ProgressBar,
    name: &'static str,
    files: usize,
    done: usize,
    quiet: bool,
}

impl TreeBar {
    pub(super) fn new(name: &'static str, quiet: bool) -> Self {
        let shows = !quiet && io::stderr().is_terminal();
        let target = if shows {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style(COMPARING));
        Self { bar, name, files: 0, done: 0, quiet }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: &MirrorEvent<'_>) {
        match event {
            MirrorEvent::Scanned(items) => {
                self.bar.set_message(format!("{}: {items} items compared", self.name));
                self.bar.tick();
            }
            MirrorEvent::Begun { files, bytes } => self.begin(*files, *bytes),
            MirrorEvent::Moved(bytes) => self.moved(*bytes),
            MirrorEvent::Done(MirrorAction::Transfer { .. }) => self.file_done(),
            MirrorEvent::Done(_) | MirrorEvent::Failed(_) => {}
            MirrorEvent::Note(text) => self.note(text),
        }
    }

    /// Begins to show the transfer of files with this number of bytes.
    pub(super) fn begin(&mut self, files: usize, bytes: u64) {
        self.files = files;
        self.bar.set_length(bytes);
        self.bar.set_style(style(MOVING));
        self.bar.reset_eta();
        self.show_files();
    }

    /// Counts one more file.
    pub(super) fn file_done(&mut self) {
        self.done += 1;
        self.show_files();
    }

    /// Shows the number of bytes so far.
    pub(super) fn moved(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    fn show_files(&self) {
        self.bar.set_message(format!("{} of {}", self.done, self.files));
    }

    /// Prints a note above the line.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            // A failed write to standard error cannot be reported anywhere.
            self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
        }
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // Invariant: the templates are constants that a test parses.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Returns the sum of a copy, such as `3 files, 1.00 MiB transferred; 12 unchanged`.
pub(super) fn summary(report: &MirrorReport) -> String {
    let plural = if report.transferred == 1 { "" } else { "s" };
    let bytes = HumanBytes(report.bytes);
    let mut text = format!("{} file{plural}, {bytes} transferred", report.transferred);
    let others = [
        (report.removed, "removed"),
        (report.unchanged, "unchanged"),
        (report.errors.len(), "not done"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        // Writing to a string cannot fail.
        let _written = write!(text, "; {count} {what}");
    }
    text
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
}
