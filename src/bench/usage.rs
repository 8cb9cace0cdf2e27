//! Costs of a load: processor time of this process, and processor time and memory of the server's processes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// Resource usage at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processor time of this process so far.
    pub(super) own: Duration,
    /// Processor time of the server's processes, including ended ones, in steps of the kernel's tick, 10 ms.
    pub(super) server: Option<Duration>,
    pub(super) memory: Memory,
}

/// Memory of the server's processes, and their number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Their proportional set size, in KiB.
    pub(super) resident: u64,
    /// Kernel objects, page tables and kernel stacks of the whole system, in KiB. They belong to both ends of each
    /// connection, where both are on this machine.
    pub(super) kernel: u64,
    pub(super) processes: u64,
    pub(super) threads: u64,
}

impl Memory {
    /// Returns the memory that was added since `before`; processes and threads are the current numbers.
    pub(super) fn less(&self, before: &Self) -> Self {
        Self {
            resident: self.resident.saturating_sub(before.resident),
            kernel: self.kernel.saturating_sub(before.kernel),
            ..*self
        }
    }
}

impl Usage {
    /// Measures this process, and the server's process with all its descendants.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` cannot be read.
    pub(super) fn of(process: Option<u32>) -> io::Result<Self> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::try_from(time).unwrap_or_default();
        let Some(process) = process else { return Ok(Self { own, ..Self::default() }) };
        let family = family(process)?;
        let server = family.iter().map(|found| found.time).sum();
        let memory = Memory {
            resident: family.iter().map(|found| resident(found.id)).sum(),
            kernel: kernel(),
            processes: family.len() as u64,
            threads: family.iter().map(|found| found.threads).sum(),
        };
        Ok(Self { own, server: Some(server), memory })
    }

    /// Returns the processor time used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |now: Duration, then: Duration| now.saturating_sub(then);
        let server = self.server.zip(before.server).map(|(now, then)| less(now, then));
        Self { own: less(self.own, before.own), server, memory: self.memory }
    }
}

struct Process {
    id: u32,
    /// Processor time, including that of children that it has waited for.
    time: Duration,
    threads: u64,
}

/// Returns a process and all its descendants.
fn family(first: u32) -> io::Result<Vec<Process>> {
    #[allow(clippy::disallowed_methods, reason = "the kernel's own files")]
    let ids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    let mut found = Vec::new();
    for id in ids {
        // A process that has ended meanwhile is counted by its parent.
        let Some((parent, process)) = process(id) else { continue };
        if id == first {
            found.push(process);
        } else {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut next = 0;
    while let Some(id) = found.get(next).map(|process| process.id) {
        found.append(&mut children.remove(&id).unwrap_or_default());
        next += 1;
    }
    if found.is_empty() { Err(io::Error::other(format!("no process {first}"))) } else { Ok(found) }
}

/// Returns a process and the ID of its parent (`proc_pid_stat(5)`).
fn process(id: u32) -> Option<(u32, Process)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let field = |number: usize| fields.get(number - 4).copied();
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    let time = Duration::from_secs(ticks) / u32::try_from(clock_ticks_per_second()).ok()?;
    Some((u32::try_from(field(4)?).ok()?, Process { id, time, threads: field(20)? }))
}

fn resident(id: u32) -> u64 {
    kibibytes(&format!("/proc/{id}/smaps_rollup"), &["Pss:"])
}

fn kernel() -> u64 {
    let others = kibibytes("/proc/meminfo", &["PageTables:", "KernelStack:"]);
    others + slabs().unwrap_or_else(|| kibibytes("/proc/meminfo", &["Slab:"]))
}

/// Returns the size of the kernel objects in use, in KiB (`slabinfo(5)`, for root only). Whole slabs are not counted:
/// clients that have left leave half-empty slabs, and the next clients would seem to need none of their own.
fn slabs() -> Option<u64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let bytes_of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let objects = fields.next()?.parse::<u64>().ok()?;
        Some(objects * fields.nth(1)?.parse::<u64>().ok()?)
    };
    Some(text.lines().filter_map(bytes_of_line).sum::<u64>() / 1024)
}

/// Sums these lines of a kernel file, in KiB; a file that cannot be read counts as 0.
fn kibibytes(file: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let wanted = words.next().is_some_and(|name| names.contains(&name));
        words.next().filter(|_| wanted)?.parse::<u64>().ok()
    };
    text.lines().filter_map(of_line).sum()
}
