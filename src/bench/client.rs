//! One client of a load: its dialogue, and the data that it moves.
//!
//! A client gets a [`Task`] and is driven by readiness until the task is done. A small file has arrived completely when
//! the 226 comes, so its data connection is read then and never watched. Less work for the client leaves more for the
//! server.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::client::Interrupt;
use crate::ftp::address::{parse_extended_passive, parse_passive_port};
use crate::ftp::block::{Decoder, Item};
use crate::ftp::line::{Line, LineBuffer};
use crate::ftp::reply::ReplyReader;
use crate::ftp::{Code, Reply};

/// Maximum number of bytes to receive at once. In stream mode nothing is copied (`MSG_TRUNC`), so the pages of the
/// buffer are never allocated.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of receives or sends in a row on one data connection, before others have their turn.
const ROUNDS_MAX: u32 = 8;
/// Maximum number of clients that connect from one address: fewer than the kernel has ports for.
const CLIENTS_PER_ADDRESS: usize = 20_000;

/// User, password and transfer settings of the clients.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) block: bool,
    /// Number of files that are requested ahead of the current one, in block mode.
    pub(super) ahead: usize,
}

/// Resources that the clients share.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) epoll: OwnedFd,
    server: SocketAddr,
    login: Login,
    /// Size of the file that is fetched, in bytes.
    pub(super) file_size: u64,
    buffer: Vec<u8>,
    pub(super) interrupt: Interrupt,
}

impl Target {
    pub(super) fn new(
        server: SocketAddr,
        login: Login,
        interrupt: Interrupt,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, server, login, file_size: 0, buffer: vec![0; RECEIVE_BYTES], interrupt })
    }

    /// Makes equal resources for other clients, which are driven by another loop.
    pub(super) fn again(&self) -> Result<Self, Errno> {
        let other = Self::new(self.server, self.login.clone(), self.interrupt.clone())?;
        Ok(Self { file_size: self.file_size, ..other })
    }

    /// Starts to connect. On loopback, many clients need several source addresses to have enough free ports.
    fn connect(&self, port: u16, number: usize) -> Result<OwnedFd, Errno> {
        let mut to = self.server;
        to.set_port(port);
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let step = u8::try_from(number / CLIENTS_PER_ADDRESS).unwrap_or(u8::MAX);
        if step > 0 && to.ip().is_loopback() && to.is_ipv4() {
            let from = SocketAddr::from((Ipv4Addr::new(127, 0, 1, step), 0));
            rustix::net::bind(&socket, &from)?;
        }
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, socket: &OwnedFd, watched: u64, flags: epoll::EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(watched), flags)
    }
}

/// Encodes the number of a client and the kind of its socket as the data of an event.
pub(super) fn watched(number: usize, data: bool) -> u64 {
    (number as u64) << 1 | u64::from(data)
}

/// The next task of a client.
#[derive(Debug, Clone)]
pub(super) enum Task<'a> {
    Noop,
    Quit,
    Fetch { path: &'a str, rate: Option<u64> },
    Store { path: String, source: BorrowedFd<'a>, size: u64 },
    List { verb: &'static str, directory: &'a str },
}

/// Reason why a client cannot continue.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server sent this reply.
    Refused(Reply),
    /// The connection broke.
    Broken(Errno),
    /// The server did something unexpected.
    Nonsense(&'static str),
    /// The number of bytes is not the expected one.
    Bytes { came: u64, expected: u64 },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reply) => reply.fmt(formatter),
            Self::Broken(error) => {
                formatter.write_str(&crate::units::reason(&std::io::Error::from(*error)))
            }
            Self::Nonsense(what) => formatter.write_str(what),
            Self::Bytes { came, expected } => {
                write!(
                    formatter,
                    "received {came} bytes of {expected}, although the server reported success"
                )
            }
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Broken(error)
    }
}

/// Purpose of a client: it decides the commands after the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The client leaves after the login.
    Visit,
    /// Commands without data.
    Talk,
    /// Transfers, in image type, and in block mode where that is set.
    Transfer,
}

/// State of a client's dialogue: the reply that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Greeting,
    User,
    Password,
    Type,
    Mode,
    Route,
    Transfer,
    Noop,
    Farewell,
    /// No reply is expected.
    Ready,
}

/// One client of a load.
#[derive(Debug)]
pub(super) struct Client<'a> {
    number: usize,
    purpose: Purpose,
    control: OwnedFd,
    lines: LineBuffer,
    replies: ReplyReader,
    step: Step,
    task: Option<Task<'a>>,
    data: Option<Data>,
    /// Set if the client uses PASV, because the server does not support EPSV.
    passive: bool,
    /// Time of the request of each unfinished transfer: one, or in block mode several.
    asked: VecDeque<Instant>,
    /// Number of these transfers that the server has confirmed.
    confirmed: usize,
    connected: Instant,
    begun: Instant,
    /// Total number of data bytes moved.
    pub(super) bytes: u64,
    /// Length of the listings in bytes: all must be equally long.
    list_bytes: Option<u64>,
}

/// A data connection.
#[derive(Debug)]
struct Data {
    socket: Option<OwnedFd>,
    /// Number of bytes of the current transfer moved so far.
    moved: u64,
    /// Size in bytes of each transfer whose last byte has passed.
    whole: VecDeque<u64>,
    /// The decoder, in block mode.
    blocks: Option<Decoder>,
    watched: bool,
}

impl<'a> Client<'a> {
    /// Starts to connect and to log in.
    pub(super) fn connect(
        target: &Target,
        number: usize,
        purpose: Purpose,
        now: Instant,
    ) -> Result<Self, Failure> {
        let control = target.connect(target.server.port(), number)?;
        if target.login.ahead > 0 {
            // The next lines must leave before the last ones are acknowledged.
            sockopt::set_tcp_nodelay(&control, true)?;
        }
        target.watch(&control, watched(number, false), epoll::EventFlags::IN)?;
        Ok(Self {
            number,
            purpose,
            control,
            lines: LineBuffer::default(),
            replies: ReplyReader::default(),
            step: Step::Greeting,
            task: None,
            data: None,
            passive: false,
            asked: VecDeque::new(),
            confirmed: 0,
            connected: now,
            begun: now,
            bytes: 0,
            list_bytes: None,
        })
    }

    /// Starts a task; the client must be ready.
    pub(super) fn begin(
        &mut self,
        target: &Target,
        task: Task<'a>,
        now: Instant,
    ) -> Result<(), Failure> {
        debug_assert!(self.step == Step::Ready, "one task at a time");
        self.begun = self.asked.front().copied().unwrap_or(now);
        let next = match &task {
            Task::Noop => ("NOOP".to_owned(), Step::Noop),
            Task::Quit => ("QUIT".to_owned(), Step::Farewell),
            // In block mode the data connection of the previous task is still open.
            _ if self.data.is_some() => {
                self.task = Some(task);
                return self.transfer(target, now);
            }
            _ if self.passive => ("PASV".to_owned(), Step::Route),
            _ => ("EPSV".to_owned(), Step::Route),
        };
        self.task = Some(task);
        self.say(&next.0, next.1)
    }

    /// Returns true if data of the started task may have arrived already, so that no event will wake the client.
    pub(super) fn is_ahead(&self) -> bool {
        self.asked.len() > 1
    }

    /// Returns the last task that was started.
    pub(super) fn last(&self) -> Option<&Task<'a>> {
        self.task.as_ref()
    }

    /// Returns the duration of the last task.
    pub(super) fn took(&self, now: Instant) -> Duration {
        now.duration_since(self.begun)
    }

    /// Returns the time since the client began to connect.
    pub(super) fn here(&self, now: Instant) -> Duration {
        now.duration_since(self.connected)
    }

    /// Reads the control connection and handles the replies; returns `true` when the task or the login is done.
    pub(super) fn hear(&mut self, target: &mut Target) -> Result<bool, Failure> {
        let mut bytes = [0; 4096];
        match rustix::net::recv(&self.control, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) if self.step == Step::Farewell => return Ok(true),
            Ok((0, _)) => return Err(Failure::Nonsense("the server closed the connection")),
            Ok((count, _)) => self.lines.extend(bytes.get(..count).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut done = false;
        while let Some(line) = self.lines.next_line() {
            let Line::Complete(line) = line else {
                return Err(Failure::Nonsense("the server sent a line that is too long"));
            };
            let reply = self.replies.line(&line);
            let reply = reply.map_err(|_| Failure::Nonsense("the server sent an invalid reply"))?;
            if let Some(reply) = reply {
                done = self.answer(target, reply)?;
            }
        }
        if self.step == Step::Transfer && !done {
            done = self.look(target)?;
        }
        Ok(done)
    }

    fn answer(&mut self, target: &Target, reply: Reply) -> Result<bool, Failure> {
        let code = reply.code;
        let expect = |fits: bool| if fits { Ok(()) } else { Err(Failure::Refused(reply.clone())) };
        match self.step {
            Step::Greeting | Step::Transfer if code.is_preliminary() => Ok(false),
            Step::Greeting => {
                expect(code.is_completion())?;
                self.say(&format!("USER {}", target.login.user), Step::User)?;
                Ok(false)
            }
            Step::User | Step::Password if code.is_completion() => {
                if self.purpose == Purpose::Transfer {
                    self.say("TYPE I", Step::Type)?;
                    return Ok(false);
                }
                self.step = Step::Ready;
                Ok(true)
            }
            Step::User => {
                expect(code.is_intermediate())?;
                self.say(&format!("PASS {}", target.login.password), Step::Password)?;
                Ok(false)
            }
            Step::Type if target.login.block => {
                expect(code.is_completion())?;
                self.say("MODE B", Step::Mode)?;
                Ok(false)
            }
            Step::Type | Step::Mode | Step::Noop | Step::Farewell => {
                expect(code.is_completion())?;
                self.step = Step::Ready;
                Ok(true)
            }
            Step::Route => self.open_data(target, &reply).map(|()| false),
            Step::Transfer => {
                expect(code.is_completion())?;
                self.confirmed += 1;
                Ok(false)
            }
            // The reply to a transfer requested ahead, after the end of the measurement.
            Step::Ready if !self.asked.is_empty() => Ok(false),
            Step::Password | Step::Ready => Err(Failure::Refused(reply)),
        }
    }

    fn say(&mut self, line: &str, next: Step) -> Result<(), Failure> {
        self.step = next;
        let line = format!("{line}\r\n");
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.control, line.as_bytes(), flags)? {
            sent if sent == line.len() => Ok(()),
            _ => Err(Failure::Nonsense("the server does not read its commands")),
        }
    }

    fn open_data(&mut self, target: &Target, reply: &Reply) -> Result<(), Failure> {
        if !self.passive && reply.code.0 / 100 == 5 {
            self.passive = true;
            return self.say("PASV", Step::Route);
        }
        let text = reply.text();
        let port = match reply.code {
            Code::EXTENDED_PASSIVE => parse_extended_passive(&text),
            Code::PASSIVE => parse_passive_port(&text),
            _ => return Err(Failure::Refused(reply.clone())),
        };
        let port = port.ok_or(Failure::Nonsense("the server sent no port"))?;
        let socket = target.connect(port, self.number)?;
        let blocks = target.login.block.then(Decoder::default);
        let (socket, whole) = (Some(socket), VecDeque::new());
        self.data = Some(Data { socket, moved: 0, whole, blocks, watched: false });
        self.transfer(target, self.begun)
    }

    fn transfer(&mut self, target: &Target, now: Instant) -> Result<(), Failure> {
        let line = match &self.task {
            Some(Task::Fetch { path, .. }) => format!("RETR {path}"),
            Some(Task::Store { path, .. }) => format!("STOR {path}"),
            Some(Task::List { verb, directory }) => format!("{verb} {directory}"),
            Some(Task::Noop | Task::Quit) | None => return Ok(()),
        };
        self.step = Step::Transfer;
        let most = target.login.ahead + 1;
        if self.asked.len() > most / 2 {
            // Waits until half of them have arrived, so that many requests leave together.
            return Ok(());
        }
        let count = most - self.asked.len();
        self.asked.extend(std::iter::repeat_n(now, count));
        self.say(&vec![line; count].join("\r\n"), Step::Transfer)
    }

    /// Moves data, and returns `true` if the transfer is complete.
    pub(super) fn look(&mut self, target: &mut Target) -> Result<bool, Failure> {
        if self.step != Step::Transfer {
            return Ok(false);
        }
        let is_slow = matches!(self.task, Some(Task::Fetch { rate: Some(_), .. }));
        if !is_slow {
            self.move_data(target, usize::MAX)?;
        }
        self.conclude(target)
    }

    /// Reads at most `bytes_max` bytes for a slow reader; returns `true` if the transfer is complete.
    pub(super) fn sip(&mut self, target: &mut Target, bytes_max: usize) -> Result<bool, Failure> {
        self.move_data(target, bytes_max)?;
        self.conclude(target)
    }

    fn conclude(&mut self, target: &Target) -> Result<bool, Failure> {
        let Some(data) = &mut self.data else { return Ok(false) };
        if self.confirmed == 0 || data.whole.is_empty() {
            let is_slow = matches!(self.task, Some(Task::Fetch { rate: Some(_), .. }));
            if let Some(socket) = data.socket.as_ref().filter(|_| !data.watched && !is_slow) {
                let flags = match self.task {
                    Some(Task::Store { .. }) => epoll::EventFlags::OUT,
                    _ => epoll::EventFlags::IN,
                };
                target.watch(socket, watched(self.number, true), flags)?;
                data.watched = true;
            }
            return Ok(false);
        }
        self.confirmed -= 1;
        self.asked.pop_front();
        let came = data.whole.pop_front().unwrap_or_default();
        let list_bytes = self.list_bytes.unwrap_or(came);
        let expected = match &self.task {
            Some(Task::Fetch { .. }) => target.file_size,
            Some(Task::Store { size, .. }) => *size,
            _ => list_bytes,
        };
        self.list_bytes = Some(expected);
        if came != expected {
            return Err(Failure::Bytes { came, expected });
        }
        if !target.login.block {
            self.data = None;
        }
        self.step = Step::Ready;
        Ok(true)
    }

    fn move_data(&mut self, target: &mut Target, bytes_max: usize) -> Result<(), Failure> {
        let Some(data) = self.data.as_mut().filter(|data| data.whole.is_empty()) else {
            return Ok(());
        };
        self.bytes += match &self.task {
            Some(Task::Store { source, size, .. }) => data.send(*source, *size)?,
            _ => data.receive(&mut target.buffer, bytes_max)?,
        };
        if !data.whole.is_empty() && data.blocks.is_none() {
            // The close ends an upload; a download has ended already.
            data.socket = None;
        }
        Ok(())
    }
}

impl Drop for Client<'_> {
    /// Sends QUIT. Some servers keep the process of a client that disappears without it for a while, and the next
    /// measurement would include that process.
    fn drop(&mut self) {
        if matches!(self.task, Some(Task::Quit)) {
            return;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _said = rustix::net::send(&self.control, b"QUIT\r\n", flags);
    }
}

impl Data {
    /// Receives the data that has arrived, and returns the number of bytes.
    fn receive(&mut self, buffer: &mut [u8], bytes_max: usize) -> Result<u64, Failure> {
        let mut bytes = 0;
        for _ in 0..ROUNDS_MAX {
            let moved = match &mut self.blocks {
                Some(_) => self.receive_blocks(buffer)?,
                None => self.discard(buffer, bytes_max)?,
            };
            bytes += moved;
            if !self.whole.is_empty() || moved == 0 || bytes_max < usize::MAX {
                break;
            }
        }
        Ok(bytes)
    }

    fn discard(&mut self, buffer: &mut [u8], bytes_max: usize) -> Result<u64, Failure> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let room = buffer.len().min(bytes_max);
        let room = buffer.get_mut(..room).unwrap_or_default();
        match rustix::net::recv(socket, room, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, 0)) => self.whole.push_back(self.moved),
            Ok((_, count)) => {
                self.moved += count as u64;
                return Ok(count as u64);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(0)
    }

    /// Receives blocks, which may contain several files requested ahead.
    fn receive_blocks(&mut self, buffer: &mut [u8]) -> Result<u64, Failure> {
        let (Some(socket), Some(blocks)) = (&self.socket, &mut self.blocks) else { return Ok(0) };
        let count = match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                return Err(Failure::Nonsense("the data connection was closed within a block"));
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let (mut bytes, mut of_files) = (buffer.get(..count).unwrap_or_default(), 0);
        loop {
            match blocks.next(&mut bytes) {
                Ok(Some(Item::Data(part))) => {
                    self.moved += part.len() as u64;
                    of_files += part.len() as u64;
                }
                Ok(Some(Item::Marker(_))) => {}
                Ok(Some(Item::End)) => {
                    self.whole.push_back(std::mem::take(&mut self.moved));
                    *blocks = Decoder::default();
                }
                Ok(None) => return Ok(of_files),
                Err(_) => return Err(Failure::Nonsense("the server sent an invalid block")),
            }
        }
    }

    /// Sends as much as the socket takes now, and returns the number of bytes.
    fn send(&mut self, source: BorrowedFd<'_>, size: u64) -> Result<u64, Failure> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let before = self.moved;
        for _ in 0..ROUNDS_MAX {
            let left = usize::try_from(size - self.moved).unwrap_or(usize::MAX);
            if left == 0 {
                self.whole.push_back(self.moved);
                break;
            }
            let mut offset = self.moved;
            match rustix::fs::sendfile(socket.as_fd(), source, Some(&mut offset), left) {
                Ok(count) => self.moved += count as u64,
                // The socket is still connecting, or its buffer is full.
                Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.moved - before)
    }
}
