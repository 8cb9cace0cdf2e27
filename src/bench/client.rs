//! One client of a load: its dialogue, and the data that it moves.
//!
//! A client gets a [`Task`] and is driven by readiness until the task is done. A small file has arrived completely when
//! the 226 comes, so its data connection is read then and never watched. Less work for the client leaves more for the
//! server.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::ftp::command::{PathName, Selection};
use crate::ftp::{Command, Reply};
use crate::sys::Interest;

use super::control::{Control, Received};
use super::data::Data;
use super::failure::Failure;
use super::protocol::{Action, Protocol, Purpose};
use super::target::{Target, watched};

/// The next task of a client.
#[derive(Debug, Clone)]
pub(super) enum Task<'a> {
    Noop,
    Quit,
    Fetch {
        path: &'a str,
        rate: Option<u64>,
    },
    Store {
        path: String,
        source: BorrowedFd<'a>,
        size: u64,
    },
    /// Lists a directory: by MLSD if `exact`, else by LIST.
    List {
        exact: bool,
        directory: &'a str,
    },
}

impl Task<'_> {
    /// Returns the command of the task.
    fn command(&self) -> Command {
        let name = |path: &str| PathName(path.as_bytes().to_vec());
        match self {
            Self::Noop => Command::Noop,
            Self::Quit => Command::Quit,
            Self::Fetch { path, .. } => Command::Retrieve(name(path)),
            Self::Store { path, .. } => Command::Store(name(path)),
            Self::List { exact, directory } => {
                let path = Some(name(directory)).filter(|path| !path.0.is_empty());
                if *exact {
                    Command::MachineListDirectory(path)
                } else {
                    Command::List(Selection { path, ..Selection::default() })
                }
            }
        }
    }

    /// Returns true if the task needs a data connection.
    fn moves_data(&self) -> bool {
        !matches!(self, Self::Noop | Self::Quit)
    }

    fn is_slow(&self) -> bool {
        matches!(self, Self::Fetch { rate: Some(_), .. })
    }
}

/// One client of a load.
#[derive(Debug)]
pub(super) struct Client<'a> {
    number: usize,
    control: Control,
    protocol: Protocol,
    task: Option<Task<'a>>,
    /// Set while the task moves data.
    is_transferring: bool,
    data: Option<Data>,
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

impl<'a> Client<'a> {
    /// Starts to connect and to log in.
    pub(super) fn connect(
        target: &Target,
        number: usize,
        purpose: Purpose,
        now: Instant,
    ) -> Result<Self, Failure> {
        let control = target.connect(target.server.port(), number)?;
        if target.settings.ahead > 0 {
            // The next lines must leave before the last ones are acknowledged.
            sockopt::set_tcp_nodelay(&control, true)?;
        }
        target.watch(&control, watched(number, false), Interest::Readable)?;
        Ok(Self {
            number,
            control: Control::new(control),
            protocol: Protocol::new(&target.settings, purpose),
            task: None,
            is_transferring: false,
            data: None,
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
        debug_assert!(!self.is_transferring, "one task at a time");
        self.begun = self.asked.front().copied().unwrap_or(now);
        let (command, moves_data) = (task.command(), task.moves_data());
        self.task = Some(task);
        if moves_data && self.data.is_some() {
            // In block mode the data connection of the previous task is still open.
            return self.transfer(target, command, now);
        }
        let action =
            if moves_data { self.protocol.open_data() } else { self.protocol.ask(command) };
        self.act(target, action).map(drop)
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
    pub(super) fn receive(&mut self, target: &mut Target) -> Result<bool, Failure> {
        match self.control.receive()? {
            Received::Bytes => {}
            Received::Nothing => return Ok(false),
            Received::End if matches!(self.task, Some(Task::Quit)) => return Ok(true),
            Received::End => return Err(Failure::Nonsense("the server closed the connection")),
        }
        let mut done = false;
        while let Some(reply) = self.control.next_reply()? {
            done = self.answer(target, reply)?;
        }
        if !done {
            done = self.look(target)?;
        }
        Ok(done)
    }

    fn answer(&mut self, target: &Target, reply: Reply) -> Result<bool, Failure> {
        let action = self.protocol.reply(reply)?;
        self.act(target, action)
    }

    /// Carries out an action; returns `true` when the task or the login is done.
    fn act(&mut self, target: &Target, action: Action) -> Result<bool, Failure> {
        match action {
            Action::Send(command) => {
                self.send(&command, 1)?;
                Ok(false)
            }
            Action::Wait => Ok(false),
            Action::Connect(port) => {
                let socket = target.connect(port, self.number)?;
                self.data = Some(Data::new(socket, target.settings.block));
                if let Some(command) = self.task.as_ref().map(Task::command) {
                    self.transfer(target, command, self.begun)?;
                }
                Ok(false)
            }
            Action::Confirmed => {
                self.confirmed += 1;
                Ok(false)
            }
            Action::Done => Ok(true),
        }
    }

    /// Sends a command `count` times, in one write.
    fn send(&self, command: &Command, count: usize) -> Result<(), Failure> {
        let line = [command.encode().as_slice(), b"\r\n"].concat();
        self.control.send(&line.repeat(count))
    }

    /// Requests the transfer of the task, and in block mode the next ones ahead.
    fn transfer(&mut self, target: &Target, command: Command, now: Instant) -> Result<(), Failure> {
        self.is_transferring = true;
        let most = target.settings.ahead + 1;
        if self.asked.len() > most / 2 {
            // Waits until half of them have arrived, so that many requests leave together.
            return Ok(());
        }
        let count = most - self.asked.len();
        self.asked.extend(std::iter::repeat_n(now, count));
        self.send(&command, count)?;
        self.protocol.expect(command, count);
        Ok(())
    }

    /// Moves data, and returns `true` if the transfer is complete.
    pub(super) fn look(&mut self, target: &mut Target) -> Result<bool, Failure> {
        if !self.is_transferring {
            return Ok(false);
        }
        if !self.is_slow() {
            self.move_data(target, usize::MAX)?;
        }
        self.conclude(target)
    }

    /// Reads at most `bytes_max` bytes for a slow reader; returns `true` if the transfer is complete.
    pub(super) fn sip(&mut self, target: &mut Target, bytes_max: usize) -> Result<bool, Failure> {
        self.move_data(target, bytes_max)?;
        self.conclude(target)
    }

    fn is_slow(&self) -> bool {
        self.task.as_ref().is_some_and(Task::is_slow)
    }

    fn conclude(&mut self, target: &Target) -> Result<bool, Failure> {
        let is_slow = self.is_slow();
        let Some(data) = &mut self.data else { return Ok(false) };
        if self.confirmed == 0 || data.whole.is_empty() {
            if let Some(socket) = data.socket.as_ref().filter(|_| !data.watched && !is_slow) {
                let flags = match self.task {
                    Some(Task::Store { .. }) => Interest::Writable,
                    _ => Interest::Readable,
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
        if !target.settings.block {
            self.data = None;
        }
        self.is_transferring = false;
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
        let _sent = self.send(&Command::Quit, 1);
    }
}
