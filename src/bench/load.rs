//! The loads: their groups of clients, and what each client does.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::time::Duration;

/// Rate of a slow reader, in bytes per second.
pub(super) const SLOW_RATE: u64 = 10 * 1024;
const SLOW_READERS: usize = 50;
const INTERACTIVE_CLIENTS: usize = 20;
/// Pause of an interactive client between two commands.
const THINKING: Duration = Duration::from_millis(20);

const MIB: u64 = 1024 * 1024;

/// A load that `ftpbench` can measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Large files are fetched.
    Download,
    /// Large files are stored.
    Upload,
    /// Many small files are fetched.
    Small,
    /// Clients connect, log in and leave.
    Login,
    /// Many clients at once connect, fetch a file and leave.
    Burst,
    /// Many clients are logged in and do nothing.
    Idle,
    /// Many clients are logged in, and some of them send commands.
    Crowd,
    /// Interactive clients beside downloads.
    Interactive,
    /// Interactive clients beside downloads and slow readers.
    Mix,
    /// A directory is listed as people read it (LIST).
    List,
    /// A directory is listed as programs read it (MLSD).
    MachineList,
}

impl Load {
    /// All loads.
    pub const ALL: [Self; 11] = [
        Self::Download,
        Self::Upload,
        Self::Small,
        Self::Login,
        Self::Burst,
        Self::Idle,
        Self::Crowd,
        Self::Interactive,
        Self::Mix,
        Self::List,
        Self::MachineList,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Small => "small",
            Self::Login => "login",
            Self::Burst => "burst",
            Self::Idle => "idle",
            Self::Crowd => "crowd",
            Self::Interactive => "interactive",
            Self::Mix => "mix",
            Self::List => "list",
            Self::MachineList => "mlsd",
        }
    }

    /// Returns the default number of clients; in loads with several kinds of clients, the number of downloads.
    #[must_use]
    pub fn sessions(self) -> usize {
        match self {
            Self::Download | Self::Upload | Self::Interactive | Self::Mix => 4,
            Self::Small | Self::Login => 16,
            Self::Burst => 100,
            Self::Idle | Self::Crowd => 1000,
            Self::List | Self::MachineList => 1,
        }
    }

    /// Returns the default size of the file in bytes.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Download | Self::Upload | Self::Interactive | Self::Mix => 256 * MIB,
            Self::Small => 1024,
            Self::Burst => MIB,
            Self::Login | Self::Idle | Self::Crowd | Self::List | Self::MachineList => 0,
        }
    }

    pub(super) fn fetches(self) -> bool {
        !self.stores() && self.size() > 0
    }

    pub(super) fn stores(self) -> bool {
        self == Self::Upload
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|load| load.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|load| load.name()).collect();
            format!("unknown load '{name}'; use {}", names.join(", "))
        })
    }
}

/// The work that a client repeats.
#[derive(Debug, Clone, Copy)]
pub(super) enum Routine<'a> {
    /// Connects, logs in and leaves.
    Visit,
    /// Fetches a file; a slow reader does it at `rate` bytes per second.
    Fetch { path: &'a str, rate: Option<u64> },
    /// Stores a file under this path, or, if `numbered`, under a numbered name in this directory.
    Store { path: &'a str, numbered: bool, source: BorrowedFd<'a>, size: u64 },
    /// Lists a directory: by MLSD if `exact`, else by LIST.
    List { exact: bool, directory: &'a str },
    /// Sends NOOP, with this pause after each reply.
    Noop { every: Duration },
    /// Does nothing.
    Rest,
}

/// A group of clients with one routine.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    pub(super) name: &'static str,
    pub(super) clients: usize,
    pub(super) routine: Routine<'a>,
}

/// Returns the groups of clients in a load of `sessions` sessions.
pub(super) fn groups<'a>(
    load: Load,
    sessions: usize,
    path: &'a str,
    directory: &'a str,
    source: Option<&'a File>,
    size: u64,
) -> Vec<Group<'a>> {
    let fetch = Routine::Fetch { path, rate: None };
    let slow = Routine::Fetch { path, rate: Some(SLOW_RATE) };
    let store = source.map_or(Routine::Rest, |file| {
        let source = file.as_fd();
        Routine::Store { path: directory, numbered: true, source, size }
    });
    let group = |name, clients, routine| Group { name, clients, routine };
    let noop = group("commands", INTERACTIVE_CLIENTS, Routine::Noop { every: THINKING });
    let list = |verb, exact| group(verb, sessions, Routine::List { exact, directory });
    match load {
        Load::Download => vec![group("RETR", sessions, fetch)],
        Load::Upload => vec![group("STOR", sessions, store)],
        Load::Small => vec![group("files", sessions, fetch)],
        Load::Login => vec![group("logins", sessions, Routine::Visit)],
        Load::Burst => vec![group("clients", sessions, fetch)],
        Load::Idle | Load::Crowd => vec![group("NOOP", sessions, Routine::Rest)],
        Load::Interactive => vec![noop, group("RETR", sessions, fetch)],
        Load::Mix => {
            vec![noop, group("RETR", sessions, fetch), group("slow readers", SLOW_READERS, slow)]
        }
        Load::List => vec![list("LIST", false)],
        Load::MachineList => vec![list("MLSD", true)],
    }
}
