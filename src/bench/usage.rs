//! What a load costs: this process' own processor time, and what the server's processes take.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// At one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processor time of this process so far.
    pub(super) own: Duration,
    /// That of the server's processes, those that have ended as well; in steps of the kernel's tick, 10 ms.
    pub(super) server: Option<Duration>,
    pub(super) memory: Memory,
}

/// What the server's processes hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Their proportional set size, in KiB.
    pub(super) resident: u64,
    /// The whole system's objects, page tables and stacks in the kernel, in KiB: both ends of each connection, where both
    /// are on this machine.
    pub(super) kernel: u64,
    pub(super) processes: u64,
    pub(super) threads: u64,
}

impl Memory {
    /// What came since; of processes and threads, how many there are.
    pub(super) fn less(&self, before: &Self) -> Self {
        Self {
            resident: self.resident.saturating_sub(before.resident),
            kernel: self.kernel.saturating_sub(before.kernel),
            ..*self
        }
    }
}

impl Usage {
    /// Looks at this process and at that of the server, and all that it has started.
    ///
    /// # Errors
    /// When there is no such process.
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

    /// Processor time that has been used since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |now: Duration, then: Duration| now.saturating_sub(then);
        let server = self.server.zip(before.server).map(|(now, then)| less(now, then));
        Self { own: less(self.own, before.own), server, memory: self.memory }
    }
}

struct Process {
    id: u32,
    /// With that of its children that it has waited for.
    time: Duration,
    threads: u64,
}

/// A process and all that it has started, and those theirs.
fn family(first: u32) -> io::Result<Vec<Process>> {
    #[allow(clippy::disallowed_methods, reason = "the kernel's own files")]
    let ids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    let mut found = Vec::new();
    for id in ids {
        // One that has ended meanwhile is counted by its parent.
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
    if found.is_empty() {
        Err(io::Error::other(format!("there is no process {first}")))
    } else {
        Ok(found)
    }
}

/// A process and its parent (`proc_pid_stat(5)`).
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

/// The objects that are in use (`slabinfo(5)`, for root alone). A crowd that has left leaves slabs half empty for the next,
/// which would seem to need none of its own.
fn slabs() -> Option<u64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let bytes_of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let objects = fields.next()?.parse::<u64>().ok()?;
        Some(objects * fields.nth(1)?.parse::<u64>().ok()?)
    };
    Some(text.lines().filter_map(bytes_of_line).sum::<u64>() / 1024)
}

/// The sum of these lines of a file of the kernel's; nothing of one that cannot be read.
fn kibibytes(file: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let wanted = words.next().is_some_and(|name| names.contains(&name));
        words.next().filter(|_| wanted)?.parse::<u64>().ok()
    };
    text.lines().filter_map(of_line).sum()
}
