//! The report of `--json`: one object for each file, and one for the session, each in a line of standard output.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::error::ClientError;

/// A report, shared by all jobs of a session.
#[derive(Debug, Clone)]
pub struct JsonReport(Arc<ReportState>);

#[derive(Debug)]
struct ReportState {
    begun: Instant,
    sums: Mutex<ReportSums>,
}

#[derive(Debug, Default)]
struct ReportSums {
    files: u64,
    bytes: u64,
    skipped: u64,
    failed: u64,
}

/// The end of the transfer of one file.
#[derive(Debug)]
pub(super) struct FileReport<'a> {
    pub(super) local: &'a Path,
    pub(super) remote: &'a [u8],
    pub(super) result: FileResult<'a>,
}

/// Result of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum FileResult<'a> {
    Done {
        bytes: u64,
        took: Duration,
    },
    /// The local file is the same.
    Unchanged,
    /// The local file differs, and stays.
    Kept,
    Failed(&'a ClientError),
}

impl Default for JsonReport {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the time of the session is reported")]
        let begun = Instant::now();
        Self(Arc::new(ReportState { begun, sums: Mutex::default() }))
    }
}

impl JsonReport {
    /// Prints the object of a file.
    pub(super) fn file(&self, file: &FileReport<'_>) {
        let name = file.remote.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mut sums = self.0.sums.lock();
        let (result, bytes, seconds, error) = match file.result {
            FileResult::Done { bytes, took } => {
                sums.files += 1;
                sums.bytes += bytes;
                ("ok", bytes, rounded(took), Value::Null)
            }
            FileResult::Unchanged => {
                sums.skipped += 1;
                ("unchanged", 0, 0.0, Value::Null)
            }
            FileResult::Kept => {
                sums.skipped += 1;
                ("kept", 0, 0.0, Value::Null)
            }
            FileResult::Failed(error) => {
                sums.failed += 1;
                ("failed", 0, 0.0, Value::String(error.to_string()))
            }
        };
        let mut object = json!({
            "type": "file",
            "name": String::from_utf8_lossy(name),
            "local": file.local.to_string_lossy(),
            "remote": String::from_utf8_lossy(file.remote),
            "bytes": bytes,
            "seconds": seconds,
            "result": result,
        });
        if let (Value::Object(fields), Value::String(_)) = (&mut object, &error) {
            fields.insert("error".to_owned(), error);
        }
        print(&object);
    }

    /// Prints the object of the session, with its exit status.
    pub fn summary(&self, status: u8) {
        let sums = self.0.sums.lock();
        print(&json!({
            "type": "summary",
            "status": status,
            "files": sums.files,
            "bytes": sums.bytes,
            "skipped": sums.skipped,
            "failed": sums.failed,
            "seconds": rounded(self.0.begun.elapsed()),
        }));
    }
}

/// Returns seconds, to the microsecond.
fn rounded(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e6
}

/// Prints an object as one line.
fn print(object: &Value) {
    // A reader that is gone wants no more.
    let _written = writeln!(io::stdout(), "{object}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_count_each_result() {
        let report = JsonReport::default();
        let error = ClientError::usage("no");
        for result in [
            FileResult::Done { bytes: 5, took: Duration::from_millis(1) },
            FileResult::Done { bytes: 6, took: Duration::ZERO },
            FileResult::Unchanged,
            FileResult::Failed(&error),
        ] {
            report.file(&FileReport { local: Path::new("a"), remote: b"d/a", result });
        }
        let sums = report.0.sums.lock();
        assert_eq!((sums.files, sums.bytes, sums.skipped, sums.failed), (2, 11, 1, 1));
    }
}
