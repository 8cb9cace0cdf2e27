//! Benchmarks for any FTP server, as `ftpbench` runs them: the loads, and their measurement.
//!
//! One thread and one epoll set drive all clients of a load, thousands of them, so that the figures show the server and
//! not this program. Only clients that send commands beside downloads have a second thread. Data is received without a
//! copy (`MSG_TRUNC`) and sent by sendfile, and small files are fetched without a round through epoll. Each figure
//! stands beside the processor time of this program. Every byte is counted and every reply checked. Files are compared
//! by their checksum: the file to fetch before the measurement, an uploaded file after it.

mod client;
mod control;
mod data;
mod error;
mod failure;
mod load;
mod protocol;
mod report;
mod runner;
mod target;
mod usage;

pub use error::BenchError;
pub use load::Load;
pub use report::Report;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::client::{Client, Interrupt, Options, TlsMode};
use crate::sys::memory_file;
use load::{Group, Routine};
use report::Row;
use runner::Runner;
use target::{ClientSettings, Target};
use usage::Usage;

/// Name of the file that is stored for fetching.
const FILE_NAME: &str = "ftpbench.bin";

/// Settings of a measurement.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The user that logs in.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// Number of clients; `None` for the default of the load.
    pub sessions: Option<usize>,
    /// Size of the file in bytes; `None` for the default of the load.
    pub size: Option<u64>,
    /// Duration of the measurement of each load.
    pub time: Duration,
    /// Existing file on the server to fetch, instead of one that is stored for the measurement.
    pub path: Option<String>,
    /// Directory in which files are stored, and which is listed; ends with a slash.
    pub directory: String,
    /// Uses block mode, except for uploads.
    pub block: bool,
    /// Number of small files that each client requests ahead, in block mode.
    pub ahead: usize,
    /// Process ID of the server on this machine, for measuring its processor time and memory.
    pub process: Option<u32>,
    /// Ends a measurement early: transfers under way are finished, and stored files are removed.
    pub interrupt: Interrupt,
}

/// Measures one load.
///
/// # Errors
/// When the server cannot be reached, refuses the login, or does not have or accept the file; or when a file comes back
/// with other bytes.
pub fn measure(
    settings: &Settings,
    load: Load,
    progress: &dyn Fn(&str),
) -> Result<Report, BenchError> {
    let mut bench = Bench::new(settings, load)?;
    progress("preparing");
    let measured = bench.prepare().and_then(|()| bench.run(progress));
    progress("cleaning up");
    let compared = bench.clean_up(measured.is_ok());
    let report = measured?;
    compared.map(|()| report)
}

/// One load that is being measured.
struct Bench<'a> {
    settings: &'a Settings,
    load: Load,
    helper: Client,
    target: Target,
    /// The local file that is stored, and its CRC-32.
    source: Option<(File, u32)>,
    /// Stored files that are to be removed.
    stored: Vec<String>,
}

impl<'a> Bench<'a> {
    fn new(settings: &'a Settings, load: Load) -> Result<Self, BenchError> {
        let options = Options {
            tls: TlsMode::Off,
            retries: 0,
            interrupt: Interrupt::default(),
            ..Options::default()
        };
        let mut helper = Client::connect(&settings.host, settings.port, &options)?;
        helper.login(&settings.user, &settings.password)?;
        let lost = || BenchError::Wrong("the connection is lost".to_owned());
        let peer = helper.peer().ok_or_else(lost)?;
        let server = SocketAddr::new(canonical(peer), settings.port);
        let login = ClientSettings {
            user: settings.user.clone(),
            password: settings.password.clone(),
            block: settings.block && !load.stores(),
            ahead: if load == Load::Small { settings.ahead } else { 0 },
        };
        let target = Target::new(server, login, settings.interrupt.clone())?;
        Ok(Self { settings, load, helper, target, source: None, stored: Vec::new() })
    }

    fn sessions(&self) -> usize {
        self.settings.sessions.unwrap_or_else(|| self.load.sessions())
    }

    fn size(&self) -> u64 {
        self.settings.size.unwrap_or_else(|| self.load.size())
    }

    fn in_directory(&self, name: &str) -> String {
        format!("{}{name}", self.settings.directory)
    }

    /// Stores the file to be fetched, unless the user named one, and makes the file to be stored.
    fn prepare(&mut self) -> Result<(), BenchError> {
        if self.load.stores() {
            self.source = Some(pattern(self.size())?);
        }
        if !self.load.fetches() {
            return Ok(());
        }
        if let Some(path) = &self.settings.path {
            self.target.file_size = self.helper.size(path.as_bytes())?;
            return Ok(());
        }
        let (path, size) = (self.in_directory(FILE_NAME), self.size());
        let (file, checksum) = pattern(size)?;
        self.stored.push(path.clone());
        // Uploads use stream mode.
        let block = std::mem::take(&mut self.target.settings.block);
        let stored = Runner::new(&mut self.target).store_once(&path, &file, size);
        self.target.settings.block = block;
        stored.map_err(|error| match error {
            BenchError::Interrupted => error,
            why => BenchError::Wrong(format!(
                "cannot upload a file to download ({why}); allow {} to write, or give an existing file with --path",
                self.settings.user
            )),
        })?;
        self.target.file_size = size;
        self.compare(&path, checksum)
    }

    /// Fetches a whole file, and compares its checksum.
    fn compare(&mut self, path: &str, expected: u32) -> Result<(), BenchError> {
        let mut sum = Sum(crc32fast::Hasher::new());
        self.helper.read(path.as_bytes(), &mut sum)?;
        if sum.0.finalize() == expected {
            Ok(())
        } else {
            Err(BenchError::Wrong(format!("{path} differs after upload and download")))
        }
    }

    fn run(&mut self, progress: &dyn Fn(&str)) -> Result<Report, BenchError> {
        let Settings { directory, time, process, .. } = self.settings;
        let (sessions, size) = (self.sessions(), self.size());
        if self.load.stores() {
            self.stored.extend((0..sessions).map(|number| runner::numbered(directory, number)));
        }
        let path = self.settings.path.clone().unwrap_or_else(|| self.in_directory(FILE_NAME));
        let source = self.source.as_ref().map(|(file, _)| file);
        let groups = load::groups(self.load, sessions, &path, directory, source, size);
        let before = Usage::of(*process)?;
        let (rows, used) = match self.load {
            Load::Burst => {
                Runner::new(&mut self.target).bursts(&groups, *time, *process, progress)?
            }
            Load::Idle => Runner::new(&mut self.target).idle(&groups, *time, *process, progress)?,
            Load::Crowd => {
                Runner::new(&mut self.target).crowd(&groups, *time, *process, progress)?
            }
            _ => together(&mut self.target, groups.clone(), *time, *process, progress)?,
        };
        let memory = used.memory.less(&before.memory);
        let clients = groups.iter().map(|group| group.clients).sum();
        Ok(Report::new(self.load, clients, rows, used, memory))
    }

    /// Compares an uploaded file, and removes all stored files.
    fn clean_up(&mut self, compare: bool) -> Result<(), BenchError> {
        let mut outcome = Ok(());
        let stores = self.load == Load::Upload;
        if let (true, true, Some((_, checksum)), Some(path)) =
            (compare, stores, &self.source, self.stored.first().cloned())
        {
            outcome = self.compare(&path, *checksum);
        }
        for path in std::mem::take(&mut self.stored) {
            // A server may allow storing but not removing; its administrator sees the names. After an interrupt some
            // files may be missing.
            let _removed = self.helper.remove_file(path.as_bytes());
        }
        outcome
    }
}

/// Runs all groups at once, repeatedly. Clients that send commands have their own thread, so that their times show the
/// server and not the downloads of this program.
fn together(
    target: &mut Target,
    groups: Vec<Group<'_>>,
    time: Duration,
    process: Option<u32>,
    progress: &dyn Fn(&str),
) -> Result<(Vec<Row>, Usage), BenchError> {
    let talks = |group: &Group<'_>| matches!(group.routine, Routine::Noop { .. });
    let (talkers, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(talks);
    let mut wires_apart = target.again()?;
    let mut runner = Runner::new(target);
    runner.gather(&others, progress)?;
    progress("measuring");
    std::thread::scope(|scope| {
        let apart = scope.spawn(|| {
            let mut runner = Runner::new(&mut wires_apart);
            runner.gather(&talkers, &|_| ())?;
            let time = if talkers.is_empty() { Duration::ZERO } else { time };
            runner.during(&talkers, time, None, &|| true)
        });
        let measured = runner.during(&others, time, process, &|| apart.is_finished());
        let ended = || BenchError::Wrong("a thread of this program has ended".to_owned());
        let (mut rows, _) = apart.join().map_err(|_| ended())??;
        let (of_others, used) = measured?;
        rows.extend(of_others);
        Ok((rows, used))
    })
}

impl fmt::Debug for Bench<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bench").field("load", &self.load).finish_non_exhaustive()
    }
}

struct Sum(crc32fast::Hasher);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a file in memory whose bytes do not repeat, and returns it with its CRC-32.
fn pattern(size: u64) -> io::Result<(File, u32)> {
    let mut file = memory_file("ftpbench")?;
    let mut sum = crc32fast::Hasher::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut left = size;
    let mut block = Vec::new();
    while left > 0 {
        block.clear();
        for _ in 0..8192 {
            // Xorshift (Marsaglia 2003): fast, and no two blocks are equal.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        sum.update(&block);
        file.write_all(&block)?;
        left -= block.len() as u64;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((file, sum.finalize()))
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
