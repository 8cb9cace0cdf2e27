//! `/metrics`: the counters and gauges in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use super::counters::{Counters, Waits, head};
use super::snapshot::Snapshot;
use crate::storage::PlaceHealth;

/// Returns all metrics.
pub(super) fn metrics(snapshot: &Snapshot, counters: &Counters, waits: &Waits) -> String {
    let mut text = String::new();
    let facts = &snapshot.facts;
    let mut single = |name: &str, kind: &str, help: &str, value: u64| {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    };
    let (pool, count) = (&facts.pool, |number: usize| number as u64);
    for (name, kind, help, value) in [
        ("poolftpd_clients", "gauge", "Connected clients.", count(facts.clients)),
        ("poolftpd_clients_limit", "gauge", "Maximum number of clients.", count(facts.clients_max)),
        ("poolftpd_sessions_total", "counter", "Sessions that have begun.", facts.sessions_begun),
        ("poolftpd_transfers_in_progress", "gauge", "Transfers in progress.", facts.transfers),
        (
            "poolftpd_banned_addresses",
            "gauge",
            "Addresses that are locked out.",
            count(facts.bans.iter().filter(|ban| ban.user.is_none()).count()),
        ),
        ("poolftpd_workers", "gauge", "Worker threads.", count(pool.workers)),
        (
            "poolftpd_workers_busy",
            "gauge",
            "Worker threads with a turn under way.",
            count(pool.busy),
        ),
        (
            "poolftpd_sessions_parked",
            "gauge",
            "Sessions that wait for an event.",
            count(pool.parked),
        ),
        (
            "poolftpd_stalls_total",
            "counter",
            "Turns that were held and whose worker was replaced.",
            pool.stalls,
        ),
        (
            "poolftpd_log_lines_lost_total",
            "counter",
            "Lines that the log could not take.",
            facts.log_lines_lost,
        ),
    ] {
        single(name, kind, help, value);
    }
    let name = "poolftpd_build_info";
    head(&mut text, name, "gauge", "The version of the server.");
    let _ = writeln!(text, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    let name = "poolftpd_transfer_bytes_total";
    head(&mut text, name, "counter", "Bytes over data connections.");
    let _ = writeln!(text, "{name}{{direction=\"in\"}} {}", facts.bytes_in);
    let _ = writeln!(text, "{name}{{direction=\"out\"}} {}", facts.bytes_out);
    write_turns(&mut text, snapshot);
    waits.write(&mut text);
    counters.write(&mut text);
    write_lists(&mut text, snapshot);
    write_process(&mut text);
    text
}

/// Writes the metrics with one sample for each class of turns.
fn write_turns(text: &mut String, snapshot: &Snapshot) {
    let pool = &snapshot.facts.pool;
    for (name, kind, help, interactive, bulk) in [
        (
            "poolftpd_turns_total",
            "counter",
            "Turns that have begun.",
            pool.turns_interactive,
            pool.turns_bulk,
        ),
        (
            "poolftpd_turns_waiting",
            "gauge",
            "Turns that wait in the ready queue.",
            pool.waiting_interactive as u64,
            pool.waiting_bulk as u64,
        ),
    ] {
        head(text, name, kind, help);
        let _ = writeln!(text, "{name}{{class=\"interactive\"}} {interactive}");
        let _ = writeln!(text, "{name}{{class=\"bulk\"}} {bulk}");
    }
}

/// Writes the metrics with one sample for each slave and certificate.
fn write_lists(text: &mut String, snapshot: &Snapshot) {
    let facts = &snapshot.facts;
    let slaves: Vec<_> = facts.slaves.iter().filter_map(|load| Some((load.slave?, load))).collect();
    if !slaves.is_empty() {
        head(text, "poolftpd_slave_sessions", "gauge", "Sessions of each slave.");
        for (number, load) in &slaves {
            let _ =
                writeln!(text, "poolftpd_slave_sessions{{slave=\"{number}\"}} {}", load.sessions);
        }
        head(text, "poolftpd_slave_draining", "gauge", "1 for a slave that takes no new clients.");
        for (number, load) in &slaves {
            let draining = u8::from(load.draining);
            let _ = writeln!(text, "poolftpd_slave_draining{{slave=\"{number}\"}} {draining}");
        }
    }
    if !facts.roots.is_empty() {
        head(text, "poolftpd_root_up", "gauge", "1 for a root or mount that can be served.");
        for root in &facts.roots {
            let up = u8::from(root.problem.is_none());
            let _ = writeln!(text, "poolftpd_root_up{{{}}} {up}", directory(root));
        }
        let name = "poolftpd_root_free_bytes";
        head(text, name, "gauge", "Free bytes on the file system of each root and mount.");
        for (root, free) in facts.roots.iter().filter_map(|root| Some((root, root.free?))) {
            let _ = writeln!(text, "{name}{{{}}} {free}", directory(root));
        }
    }
    if !facts.certificates.is_empty() {
        let name = "poolftpd_certificate_not_after_timestamp_seconds";
        head(text, name, "gauge", "End of each certificate.");
        for (file, until) in &facts.certificates {
            let _ = writeln!(text, "{name}{{file=\"{}\"}} {}", label(file), until.as_second());
        }
    }
}

/// Returns the label for the directory of a root.
fn directory(root: &PlaceHealth) -> String {
    format!("directory=\"{}\"", label(&root.directory.to_string_lossy()))
}

/// Returns a value of a label, without its quotes.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes the usual metrics of a process, from `/proc/self`.
fn write_process(text: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap_or_default()).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let page = rustix::param::page_size() as u64;
    #[expect(clippy::cast_precision_loss, reason = "seconds with a fraction")]
    let cpu = (field(14) + field(15)) as f64 / ticks as f64;
    head(text, "process_cpu_seconds_total", "counter", "Processor time of the process.");
    let _ = writeln!(text, "process_cpu_seconds_total {cpu}");
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    let limit =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory.", field(24) * page),
        ("process_virtual_memory_bytes", "Virtual memory.", field(23)),
        ("process_threads", "Threads.", field(20)),
        ("process_open_fds", "Open descriptors.", open),
        ("process_max_fds", "Maximum number of open descriptors.", limit),
    ] {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {value}");
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use jiff::Timestamp;

    use super::super::snapshot::Facts;
    use super::*;
    use crate::balancer::Load;

    /// Returns the names in the first column of the table of metrics.
    fn documented() -> BTreeSet<String> {
        let page = include_str!("../../docs/monitoring.md");
        let rows = page.lines().filter(|line| line.starts_with("| `poolftpd_"));
        let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`'));
        let names = names.filter(|word| word.starts_with("poolftpd_"));
        names.map(|word| word.split('{').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn the_page_names_every_metric_that_is_served_and_no_other() {
        let root = PlaceHealth { directory: "/srv".into(), problem: None, free: Some(1) };
        let slave = Load {
            slave: Some(1),
            process: None,
            sessions: 0,
            transfers: 0,
            bytes: 0,
            draining: false,
        };
        let facts = Facts {
            slaves: vec![slave],
            roots: vec![root],
            certificates: vec![("own.pem".to_owned(), Timestamp::UNIX_EPOCH)],
            ..Facts::default()
        };
        let snapshot = Snapshot::first(facts, Instant::now());
        let text = metrics(&snapshot, &Counters::default(), &Waits::default());
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        let served: BTreeSet<_> =
            names.filter(|name| !name.starts_with("process_")).map(str::to_owned).collect();
        assert_eq!(served, documented());
    }
}
