//! A server for one test, in its own temporary root and on a port of its own, gone at the end.

pub(crate) mod browser;
pub(crate) mod dice;
pub(crate) mod forgetful;
pub(crate) mod outside;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod secure;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use poolftpd::Server;
use poolftpd::internal::log::{Level, Log, Writer};
use poolftpd::internal::settings::Config;
use poolftpd::internal::startup::{Inherited, Startup};
use poolftpd::internal::storage::MemoryTree;
use tempfile::TempDir;

/// Maximum time for anything here: a wait that reaches it is a failure, not a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until the condition is true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Sends a command of `ftpserver ctl` to the server at this address; returns whether it was carried out, and the answer.
pub(crate) fn ctl(address: SocketAddr, words: &[&str]) -> (bool, String) {
    let (port, bind) = (address.port().to_string(), address.ip().to_string());
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
        .args(["ctl", "--port", &port, "--bind", &bind])
        .args(words)
        .output()
        .unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// The log of a server.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Waits for a line that contains all of these words.
    pub(crate) fn expect(&self, words: &[&str]) {
        let is_there =
            || self.text().lines().any(|line| words.iter().all(|word| line.contains(word)));
        let deadline = Instant::now() + PATIENCE;
        while !is_there() {
            assert!(Instant::now() < deadline, "{words:?} is not in:\n{}", self.text());
            std::thread::yield_now();
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) server: Option<Server>,
    pub(crate) root: TempDir,
    pub(crate) log: Captured,
    _writer: Writer,
}

impl TestServer {
    /// Serves an empty directory on 127.0.0.1.
    pub(crate) fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(adjust, |startup, _| startup)
    }

    /// Serves a tree in memory on 127.0.0.1.
    pub(crate) fn start_in_memory(tree: MemoryTree, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(adjust, |startup, config| startup.serving(tree, config))
    }

    fn start_with(
        adjust: impl FnOnce(&mut Config),
        change: impl FnOnce(Startup, &Config) -> Startup,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path().to_owned());
        config.bind = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
        config.level = Level::Quiet;
        adjust(&mut config);
        let captured = Captured::default();
        let (log, writer) = Log::start(config.level, captured.clone()).unwrap();
        let startup = Startup::open(&config, Inherited::default()).unwrap();
        let server = Server::serve(&config, change(startup, &config), log).unwrap();
        Self { server: Some(server), root, log: captured, _writer: writer }
    }

    /// Serves an empty directory that anonymous may write.
    pub(crate) fn writable() -> Self {
        Self::start(|config| config.write = true)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().listeners()[0].address
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

/// Returns bytes without a pattern, equal each time.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
