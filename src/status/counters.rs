//! The counters of events, an observer. All of them are relaxed atomics: an event adds to a few, and waits for none.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::events::{
    BannedTarget, Change, Direction, Event, LoginFailure, Observer, Outcome, Record, Refused,
    Severity,
};

/// The upper bounds of the buckets for the time of a transfer, in seconds.
const TRANSFER_BOUNDS: [f64; 8] = [0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0];

/// The upper bounds of the buckets for the wait in the ready queue, in seconds.
const WAIT_BOUNDS: [f64; 8] = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0];

/// A histogram of times.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; 8],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn add(&self, bounds: &[f64; 8], time: Duration) {
        let seconds = time.as_secs_f64();
        for (bucket, _) in self.buckets.iter().zip(bounds).filter(|(_, bound)| seconds <= **bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or_default();
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, labels: &str, bounds: &[f64; 8]) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let count = load(&self.count);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels},le=\"{bound}\"}} {}",
                load(bucket).min(count)
            );
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds")]
        let sum = load(&self.micros) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// The wait of a task in the ready queue, by class.
#[derive(Debug, Default)]
pub(super) struct Waits {
    interactive: Histogram,
    bulk: Histogram,
}

impl Waits {
    pub(super) fn add(&self, is_bulk: bool, time: Duration) {
        let histogram = if is_bulk { &self.bulk } else { &self.interactive };
        histogram.add(&WAIT_BOUNDS, time);
    }

    pub(super) fn write(&self, text: &mut String) {
        let name = "poolftpd_queue_wait_seconds";
        let help = "Time that a turn waits in the ready queue, measured once a second.";
        head(text, name, "histogram", help);
        self.interactive.write(text, name, "class=\"interactive\"", &WAIT_BOUNDS);
        self.bulk.write(text, name, "class=\"bulk\"", &WAIT_BOUNDS);
    }
}

/// Writes the description of a metric.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

const DIRECTIONS: [(Direction, &str); 3] = [
    (Direction::Upload, "upload"),
    (Direction::Download, "download"),
    (Direction::Listing, "listing"),
];

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Complete, "complete"),
    (Outcome::AssumedComplete, "assumed-complete"),
    (Outcome::Aborted, "aborted"),
    (Outcome::CutOff, "cut-off"),
    (Outcome::Failed, "failed"),
];

const FAILURES: [LoginFailure; 6] = [
    LoginFailure::Incorrect,
    LoginFailure::LockedOut,
    LoginFailure::NoHome,
    LoginFailure::TooManySessions,
    LoginFailure::Overloaded,
    LoginFailure::Unverified,
];

const REFUSALS: [Refused; 7] = [
    Refused::Clients,
    Refused::Address,
    Refused::Descriptors,
    Refused::Frequency,
    Refused::NoSlave,
    Refused::Banned,
    Refused::ProxyHeader,
];

const CHANGES: [&str; 6] =
    ["deleted", "renamed", "directory-made", "directory-removed", "mode-set", "time-set"];

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    probes: AtomicU64,
    logins: AtomicU64,
    failures: [AtomicU64; 6],
    bans: [AtomicU64; 2],
    refusals: [AtomicU64; REFUSALS.len()],
    data_refused: AtomicU64,
    transfers: [[AtomicU64; 5]; 3],
    transfer_times: [Histogram; 3],
    changes: [AtomicU64; 6],
    denials: AtomicU64,
    errors: AtomicU64,
    /// Failed reloads, and the time of the last good one in seconds since 1970.
    reload_failed: AtomicU64,
    reloaded_at: AtomicI64,
}

/// Adds one to the counter that stands where a value stands in its list.
fn count<T: PartialEq>(counters: &[AtomicU64], list: impl Iterator<Item = T>, value: &T) {
    let mut found = counters.iter().zip(list).filter(|(_, item)| item == value);
    if let Some((counter, _)) = found.next() {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Observer for Counters {
    fn wants(&self, severity: Severity) -> bool {
        severity < Severity::Debug
    }

    fn observe(&self, record: &Record<'_>) {
        match record.event {
            Event::Probe { .. } => one_more(&self.probes),
            Event::Login { .. } => one_more(&self.logins),
            Event::LoginFailed { cause, .. } => count(&self.failures, FAILURES.into_iter(), cause),
            Event::Banned { target, .. } => {
                let [addresses, users] = &self.bans;
                let is_user = *target == BannedTarget::User;
                one_more(if is_user { users } else { addresses });
            }
            Event::Refused { cause, .. } => count(&self.refusals, REFUSALS.into_iter(), cause),
            Event::DataRefused { .. } => one_more(&self.data_refused),
            Event::Transfer(transfer) => {
                let mut directions =
                    DIRECTIONS.iter().zip(&self.transfers).zip(&self.transfer_times);
                let found =
                    directions.find(|(((direction, _), _), _)| *direction == transfer.direction);
                if let Some(((_, counters), times)) = found {
                    let outcomes = OUTCOMES.iter().map(|(outcome, _)| *outcome);
                    count(counters, outcomes, &transfer.outcome);
                    times.add(&TRANSFER_BOUNDS, transfer.took);
                }
            }
            Event::Changed(change) => {
                count(&self.changes, CHANGES.into_iter(), &Change::name(change));
            }
            Event::Denied(_) => one_more(&self.denials),
            Event::Error { .. } => one_more(&self.errors),
            Event::NotReloaded { .. } => self.reload_failed.store(1, Ordering::Relaxed),
            Event::Reloaded { .. } => {
                self.reload_failed.store(0, Ordering::Relaxed);
                self.reloaded_at.store(record.time.as_second(), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Counters {
    /// Writes all counters in the text format of Prometheus.
    pub(super) fn write(&self, text: &mut String) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let single = |text: &mut String, name: &str, help: &str, value: &AtomicU64| {
            head(text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", load(value));
        };
        single(
            text,
            "poolftpd_probes_total",
            "Clients that have gone without a command.",
            &self.probes,
        );
        let name = "poolftpd_logins_total";
        head(text, name, "counter", "Login attempts, by result.");
        let _ = writeln!(text, "{name}{{result=\"ok\"}} {}", load(&self.logins));
        for (cause, counter) in FAILURES.iter().zip(&self.failures) {
            let _ = writeln!(text, "{name}{{result=\"{}\"}} {}", cause.name(), load(counter));
        }
        let name = "poolftpd_bans_total";
        head(text, name, "counter", "Lockouts that have begun.");
        for (kind, counter) in ["address", "user"].iter().zip(&self.bans) {
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {}", load(counter));
        }
        let name = "poolftpd_connections_refused_total";
        head(text, name, "counter", "Connections that were refused, by reason.");
        for (cause, counter) in REFUSALS.iter().zip(&self.refusals) {
            let _ = writeln!(text, "{name}{{reason=\"{}\"}} {}", cause.name(), load(counter));
        }
        let (name, help) =
            ("poolftpd_data_connections_refused_total", "Data connections that were refused.");
        single(text, name, help, &self.data_refused);
        self.write_transfers(text);
        let name = "poolftpd_changes_total";
        head(text, name, "counter", "Changes of files and directories, by kind.");
        for (kind, counter) in CHANGES.iter().zip(&self.changes) {
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {}", load(counter));
        }
        let help = "Commands that a permission, a rule or a limit has refused.";
        single(text, "poolftpd_denials_total", help, &self.denials);
        single(text, "poolftpd_errors_total", "Events of the level error.", &self.errors);
        let name = "poolftpd_config_last_reload_successful";
        head(text, name, "gauge", "1 unless the last reload failed.");
        let _ = writeln!(text, "{name} {}", u8::from(load(&self.reload_failed) == 0));
        let name = "poolftpd_config_last_reload_success_timestamp_seconds";
        head(text, name, "gauge", "Time of the last successful reload; 0 if there was none.");
        let _ = writeln!(text, "{name} {}", self.reloaded_at.load(Ordering::Relaxed));
    }

    fn write_transfers(&self, text: &mut String) {
        let name = "poolftpd_transfers_total";
        head(text, name, "counter", "Transfers that have ended, by direction and outcome.");
        for ((_, direction), counters) in DIRECTIONS.iter().zip(&self.transfers) {
            for ((_, outcome), counter) in OUTCOMES.iter().zip(counters) {
                let value = counter.load(Ordering::Relaxed);
                let _ = writeln!(
                    text,
                    "{name}{{direction=\"{direction}\",outcome=\"{outcome}\"}} {value}"
                );
            }
        }
        let name = "poolftpd_transfer_duration_seconds";
        head(text, name, "histogram", "Time from the begin to the end of a transfer.");
        for ((_, direction), times) in DIRECTIONS.iter().zip(&self.transfer_times) {
            times.write(text, name, &format!("direction=\"{direction}\""), &TRANSFER_BOUNDS);
        }
    }
}
