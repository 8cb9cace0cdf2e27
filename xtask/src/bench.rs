//! `cargo xtask bench [BASE]`: two versions of the server, pair by pair in one run.
//!
//! The machine's noise meets both sides of a pair, so only their ratio counts, and its spread shows how much it is worth.
//! Allocations are exact. Not here: other servers (`stress/compare.sh`), and any judgement: no ratio is a failure.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{Outcome, at_root, cargo, root, run, target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The pairs of runs per load, unless `--rounds` is given.
const ROUNDS: usize = 7;

/// The seconds of one run.
const SECONDS: &str = "1";

/// The entries of the directory that is listed.
const ENTRIES: usize = 1000;

/// The name, and the words for ftpbench.
const LOADS: [(&str, &[&str]); 12] = [
    ("RETR 64 MiB, 1 session", &["-l", "download", "-n", "1", "-s", "64M"]),
    ("RETR 64 MiB, 4 sessions", &["-l", "download", "-n", "4", "-s", "64M"]),
    ("STOR 64 MiB, 1 session", &["-l", "upload", "-n", "1", "-s", "64M"]),
    ("STOR 64 MiB, 4 sessions", &["-l", "upload", "-n", "4", "-s", "64M"]),
    ("RETR 1 KiB, 1 session", &["-l", "small", "-n", "1", "-s", "1K"]),
    ("RETR 1 KiB, 16 sessions", &["-l", "small", "-n", "16", "-s", "1K"]),
    ("login, 1 client", &["-l", "login", "-n", "1"]),
    ("login, 16 clients", &["-l", "login", "-n", "16"]),
    ("LIST of 1,000 entries", &["-l", "list", "-n", "1", "--directory", "/listed"]),
    ("MLSD of 1,000 entries", &["-l", "mlsd", "-n", "1", "--directory", "/listed"]),
    ("NOOP beside 4 downloads", &["-l", "interactive", "-s", "64M"]),
    ("100 sessions get 1 MiB", &["-l", "burst", "-n", "100", "-s", "1M"]),
];

/// The words after `cargo xtask bench`.
struct Arguments {
    base: String,
    rounds: usize,
    /// Only loads whose name contains this text are run.
    pattern: String,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut found = Self { base: "HEAD".to_owned(), rounds: ROUNDS, pattern: String::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => found.rounds = value()?.parse()?,
                "--only" => found.pattern = value()?,
                _ if word.starts_with('-') => return Err(format!("unknown option: {word}").into()),
                _ => found.base = word,
            }
        }
        Ok(found)
    }
}

/// Compares the work tree with a commit, and prints a table of ratios.
pub(crate) fn bench(words: impl Iterator<Item = String>) -> Outcome {
    let arguments = Arguments::parse(words)?;
    let base = Version::of_commit(&arguments.base)?;
    let new = Version::of_work_tree()?;
    println!(
        "the work tree against {}; {} pairs of {SECONDS} s each",
        arguments.base, arguments.rounds
    );
    println!(
        "ratios are new/base: median [least to most]; more is better for the rate, less for the rest\n"
    );
    println!("| load | rate | CPU per task | p99 | system calls per task |");
    println!("| --- | --- | --- | --- | --- |");
    for (name, words) in LOADS.iter().filter(|(name, _)| name.contains(&arguments.pattern)) {
        let pairs = pairs(&base, &new, words, arguments.rounds)?;
        let calls = [base.calls(&new.programs, words)?, new.calls(&new.programs, words)?];
        println!("| {name} | {} | {calls} |", Ratios(&pairs), calls = calls_text(calls));
    }
    println!("\nallocations, base and new:");
    allocations(&base, &new)
}

/// A built version of the project.
struct Version {
    source: PathBuf,
    build: PathBuf,
    programs: PathBuf,
}

impl Version {
    fn of_work_tree() -> Result<Self> {
        Self::built(root(), target())
    }

    /// Builds a commit in a work tree of its own, which the next comparison uses again.
    fn of_commit(commit: &str) -> Result<Self> {
        let source = target().join("bench/source");
        let git = || at_root(Command::new("git"));
        if source.join(".git").exists() {
            run(git()
                .arg("-C")
                .arg(&source)
                .args(["checkout", "--quiet", "--detach"])
                .arg(hash(commit)?))?;
        } else {
            run(git().args(["worktree", "prune"]))?;
            run(git()
                .args(["worktree", "add", "--quiet", "--detach"])
                .arg(&source)
                .arg(hash(commit)?))?;
        }
        Self::built(source, target().join("bench/build"))
    }

    fn built(source: PathBuf, build: PathBuf) -> Result<Self> {
        println!("building {}", source.display());
        let programs = ["build", "--release", "--quiet", "--bin", "ftpserver", "--bin", "ftpbench"];
        run(cargo(&programs).current_dir(&source).env("CARGO_TARGET_DIR", &build))?;
        let programs = build.join("release");
        Ok(Self { source, build, programs })
    }

    /// Returns what the benchmark of allocations prints.
    fn allocations(&self) -> Result<String> {
        let words = ["bench", "--quiet", "--bench", "allocations"];
        let done = cargo(&words)
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.build)
            .stderr(Stdio::inherit())
            .output()?;
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Puts a load to a new server of this version, and returns the first row of the result.
    fn measure(&self, tools: &Path, words: &[&str]) -> Result<Value> {
        let server = Server::start(&self.programs)?;
        server.measure(tools, words)
    }

    /// Counts the system calls per task. Returns `None` where strace is not installed.
    fn calls(&self, tools: &Path, words: &[&str]) -> Result<Option<f64>> {
        let server = Server::start(&self.programs)?;
        let Some(tracer) = Tracer::start(server.child.id(), &server.folder)? else {
            return Ok(None);
        };
        let row = server.measure(tools, words)?;
        let tasks = row["done"].as_f64().ok_or("no tasks were counted")?;
        Ok(Some(tracer.count()? / tasks))
    }
}

/// Returns the full hash, because a name such as HEAD means another commit in the other work tree.
fn hash(commit: &str) -> Result<String> {
    let name = format!("{commit}^{{commit}}");
    let done =
        at_root(Command::new("git")).args(["rev-parse", "--verify", "--quiet", &name]).output()?;
    if !done.status.success() {
        return Err(format!("{commit} is no commit").into());
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// A server with a directory in memory. Dropping it ends the server and removes the directory.
struct Server {
    child: Child,
    port: String,
    folder: PathBuf,
}

impl Server {
    fn start(programs: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = folder.join(format!("poolftpd-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("listed"))?;
        for number in 0..ENTRIES {
            fs::write(folder.join(format!("listed/file-{number:04}.txt")), "")?;
        }
        let mut child = Command::new(programs.join("ftpserver"))
            .args(["--write", "--no-fsync", "--bind", "127.0.0.1", "--port", "0", "--workers", "4"])
            .args(["--quiet", "--max-clients", "20000", "--max-per-ip", "20000", "--root"])
            .arg(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().unwrap_or_default().to_owned();
        Ok(Self { child, port, folder })
    }

    fn measure(&self, tools: &Path, words: &[&str]) -> Result<Value> {
        let done = Command::new(tools.join("ftpbench"))
            .args(["--json", "-t", SECONDS, "--pid", &self.child.id().to_string()])
            .args(words)
            .args(["127.0.0.1", &self.port])
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(done.stdout)?;
        Ok(serde_json::from_str(text.lines().next().ok_or("ftpbench printed no result")?)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// strace, which counts the calls of a process.
struct Tracer {
    child: Child,
    counts: PathBuf,
}

impl Tracer {
    fn start(process: u32, folder: &Path) -> Result<Option<Self>> {
        let counts = folder.join("calls");
        let spawned = Command::new("strace")
            .args(["-f", "-c", "-p", &process.to_string(), "-o"])
            .arg(&counts)
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return Ok(None) };
        let mut attached = String::new();
        BufReader::new(child.stderr.take().ok_or("no standard error")?).read_line(&mut attached)?;
        if attached.contains("attached") { Ok(Some(Self { child, counts })) } else { Ok(None) }
    }

    /// Ends the trace, and returns the number of calls.
    fn count(mut self) -> Result<f64> {
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let _ended = self.child.wait()?;
        let text = fs::read_to_string(&self.counts)?;
        // Share of the time, seconds, microseconds a call, calls, errors if there are any, name.
        let total = text.lines().rev().find(|line| line.ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3));
        Ok(calls.ok_or("strace counted nothing")?.parse()?)
    }
}

/// Measures both versions once a round, and begins each round with the other one.
fn pairs(base: &Version, new: &Version, words: &[&str], rounds: usize) -> Result<Vec<[Value; 2]>> {
    let tools = &new.programs;
    let pair = |round| {
        if round % 2 == 0 {
            let first = base.measure(tools, words)?;
            Ok([first, new.measure(tools, words)?])
        } else {
            let first = new.measure(tools, words)?;
            Ok([base.measure(tools, words)?, first])
        }
    };
    (0..rounds).map(pair).collect()
}

/// The ratios of all pairs, as cells of a table.
struct Ratios<'p>(&'p [[Value; 2]]);

impl Ratios<'_> {
    /// Formats the median, the least and the most of a figure's ratios.
    fn cell(&self, figure: impl Fn(&Value) -> Option<f64>) -> String {
        let ratio = |[base, new]: &[Value; 2]| Some(figure(new)? / figure(base)?);
        let mut ratios: Vec<f64> =
            self.0.iter().filter_map(ratio).filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        match (ratios.get(ratios.len() / 2), ratios.first(), ratios.last()) {
            (Some(median), Some(least), Some(most)) => {
                format!("{median:.2} [{least:.2} to {most:.2}]")
            }
            _ => "-".to_owned(),
        }
    }
}

impl std::fmt::Display for Ratios<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = self.cell(|row| Some(work(row)? / row["seconds"].as_f64()?));
        let cpu = self.cell(|row| Some(row["server_cpu"].as_f64()? / work(row)?));
        write!(f, "{rate} | {cpu} | {}", self.cell(|row| row["p99"].as_f64()))
    }
}

/// Returns the bytes that were moved, or the number of tasks where no bytes are counted. A long file that is not finished
/// when the time ends counts as far as it came.
fn work(row: &Value) -> Option<f64> {
    row["bytes"].as_f64().filter(|bytes| *bytes > 0.0).or_else(|| row["done"].as_f64())
}

fn calls_text([base, new]: [Option<f64>; 2]) -> String {
    match (base, new) {
        (Some(base), Some(new)) => format!("{base:.1} to {new:.1}"),
        _ => "strace is not installed".to_owned(),
    }
}

/// Prints each line of the benchmark of allocations, and the base's line where it differs.
fn allocations(base: &Version, new: &Version) -> Outcome {
    let (base, new) = (base.allocations()?, new.allocations()?);
    for (index, line) in new.lines().enumerate() {
        match base.lines().nth(index) {
            Some(before) if before != line => println!("  base {before}\n  new  {line}"),
            _ => println!("  both {line}"),
        }
    }
    Ok(())
}
