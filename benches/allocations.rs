//! Number and size of the allocations for one command, one small file, one login and one listing.
//!
//! `cargo bench --bench allocations` prints one line for each. The server runs in this process; its client allocates
//! nothing.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measure on a terminal, in a directory of its own"
)]

use std::alloc::System;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use poolftpd::Server;
use poolftpd::internal::log::{Level, Log};
use poolftpd::internal::settings::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNT: u16 = 200;
const ENTRIES: u16 = 1000;

fn main() -> io::Result<()> {
    let root = tempfile::tempdir()?;
    std::fs::write(root.path().join("file"), [7; 1024])?;
    std::fs::create_dir(root.path().join("directory"))?;
    let mut config = Config::new(root.path().to_owned());
    (config.bind, config.level) = (Some(Ipv4Addr::LOCALHOST.into()), Level::Quiet);
    config.write = true;
    let (log, _writer) = Log::start(config.level, io::sink())?;
    let server = Server::start(&config, log).unwrap();
    let address = server.listeners()[0].address;

    let mut client = Client::log_in(address)?;
    client.ask(b"TYPE I\r\n")?;
    measure("NOOP", COUNT, || client.ask(b"NOOP\r\n"))?;
    measure("CWD and PWD", COUNT, || {
        client.ask(b"CWD /directory\r\n")?;
        client.ask(b"PWD\r\n")
    })?;
    client.ask(b"CWD /\r\n")?;
    measure("SIZE", COUNT, || client.ask(b"SIZE file\r\n"))?;
    measure("a file of 1 KiB fetched: EPSV, RETR", COUNT, || client.fetch(b"RETR file\r\n"))?;
    measure("a file of 1 KiB stored: EPSV, STOR", COUNT, || client.store(b"STOR other\r\n"))?;
    measure("connect, log in, leave", COUNT, || Client::log_in(address)?.ask(b"QUIT\r\n"))?;
    // Created only now, because the server walks through all existing files when it starts.
    for number in 0..ENTRIES {
        std::fs::write(root.path().join(format!("directory/file-{number:04}.txt")), "")?;
    }
    measure("1,000 entries by MLSD", COUNT / 10, || client.fetch(b"MLSD directory\r\n"))?;
    measure("1,000 entries by LIST", COUNT / 10, || client.fetch(b"LIST directory\r\n"))
}

/// Prints the average number of allocations and of their bytes per call. Reallocations of a growing buffer count, too.
fn measure(what: &str, count: u16, mut once: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    // The first call makes allocations that are kept; they are not part of the cost of each call.
    once()?;
    let region = Region::new(ALLOCATOR);
    for _ in 0..count {
        once()?;
    }
    let change = region.change();
    let each = |sum: usize| sum as f64 / f64::from(count);
    println!(
        "{what:<40} {:>7.1} allocations {:>9.0} bytes",
        each(change.allocations + change.reallocations),
        each(change.bytes_allocated)
    );
    Ok(())
}

/// A client with a fixed buffer.
struct Client {
    control: TcpStream,
    buffer: [u8; 4096],
}

impl Client {
    fn log_in(address: SocketAddr) -> io::Result<Self> {
        let control = TcpStream::connect(address)?;
        control.set_nodelay(true)?;
        control.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut client = Self { control, buffer: [0; 4096] };
        client.reply()?;
        client.ask(b"USER anonymous\r\n")?;
        client.ask(b"PASS x\r\n")?;
        Ok(client)
    }

    /// Sends one command and receives its reply.
    fn ask(&mut self, line: &[u8]) -> io::Result<()> {
        self.control.write_all(line)?;
        self.reply().map(drop)
    }

    /// Receives until a final reply is complete; skips preliminary replies.
    fn reply(&mut self) -> io::Result<&[u8]> {
        let mut filled = 0;
        loop {
            let count = self.control.read(&mut self.buffer[filled..])?;
            filled += count;
            let received = &self.buffer[..filled];
            let mut lines = received.split_inclusive(|byte| *byte == b'\n');
            let ended = lines.any(|line| matches!(line, [b'2'..=b'5', _, _, b' ', .., b'\n']));
            match (ended, count) {
                (true, _) => return Ok(&self.buffer[..filled]),
                (false, 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (false, _) => {}
            }
        }
    }

    fn open(&mut self, line: &[u8]) -> io::Result<TcpStream> {
        self.control.write_all(b"EPSV\r\n")?;
        let digits = self.reply()?.iter().skip(3).filter(|byte| byte.is_ascii_digit());
        let port = digits.fold(0, |port, digit| port * 10 + u16::from(digit - b'0'));
        let data = TcpStream::connect((IpAddr::from(Ipv4Addr::LOCALHOST), port))?;
        self.control.write_all(line)?;
        Ok(data)
    }

    fn fetch(&mut self, line: &[u8]) -> io::Result<()> {
        let mut data = self.open(line)?;
        while data.read(&mut self.buffer)? > 0 {}
        self.reply().map(drop)
    }

    fn store(&mut self, line: &[u8]) -> io::Result<()> {
        let mut data = self.open(line)?;
        data.write_all(&[7; 1024])?;
        drop(data);
        self.reply().map(drop)
    }
}
