//! One client's session, from the greeting to the last reply, as a task of the pool.
//!
//! A session is owned by one worker at a time, so nothing here is locked. Three rules keep its state correct. Every
//! command first takes the state that the previous command left (`pending`). Every step takes the activity out,
//! advances it, and enters the next one. Only `Session::enter` stores an activity.
//!
//! Depends on `net`, `storage`, `ftp`, and on `pool` for the types of a task. Not here: threads, listeners.

mod calling;
mod deadlines;
mod digest;
mod files;
mod incoming;
mod inform;
mod listing;
mod login;
mod negotiate;
mod opening;
mod patience;
mod recursion;
mod refusal;
mod security;
mod service;
mod throttle;
mod transfer;
mod turns;
mod upload;
mod waiting;
mod work;

use std::fmt;
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::ftp::command::{Command, Range, Setting, Site};
use crate::ftp::line::Line;
use crate::ftp::verb::{Access, Pending as Kept, Verb, When, is_http_request};
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Level, Who};
use crate::net::connection_limits::Permit;
use crate::net::control::{ControlConnection, Disconnect};

use calling::Calling;
use digest::Digesting;
use inform::StatusListing;
use login::{LoggingIn, Login, Member};
use negotiate::{Parameters, Route, Spare};
use opening::Connecting;
use refusal::Refusal;
pub use security::Security;
use security::TlsState;
use service::Metered;
pub use service::{Meter, Service};
use transfer::{AfterTransfer, Transfer};
use upload::Finishing;
use waiting::Waiting;

/// The reason sent to a client that sends more commands in a second than allowed.
const TOO_MUCH: &str = "Too many commands in a second; closing.";

/// Maximum time for the client to receive the last replies.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// State that one command leaves for the next. Commands that prepare a transfer preserve it until the transfer; all
/// others clear it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Pending {
    /// REST: offset in bytes at which the next transfer starts.
    restart: u64,
    /// RANG: range of bytes that the next command covers.
    range: Option<Range>,
    /// ALLO: size of the next upload in bytes.
    allocated: Option<u64>,
    /// RNFR: path to rename.
    rename: Option<VirtualPath>,
}

/// The current activity of a session.
#[derive(Debug, Default)]
enum Activity {
    /// Waits for commands.
    #[default]
    Commands,
    /// A password is being checked, a home is being opened, or the reply to a failed login is being delayed.
    LoggingIn(Box<LoggingIn>),
    /// A transfer command was accepted; its data connection is not open yet.
    Connecting(Box<Connecting>),
    /// Data is being transferred.
    Transfer(Box<Transfer>),
    /// The data of an upload has ended; the file gets its final name, or is kept as a partial.
    Finishing(Box<Finishing>),
    /// A file system call is pending or running.
    Calling(Box<Calling>),
    /// A command runs on another thread.
    Waiting(Box<Waiting>),
    /// HASH, XCRC or a similar command computes a checksum.
    Digesting(Box<Digesting>),
    /// STAT sends a listing over the control connection.
    Status(Box<StatusListing>),
    /// The last reply is being sent.
    Farewell { until: Instant },
}

impl Activity {
    fn name(&self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::LoggingIn(_) => "logging in",
            Self::Connecting(_) => "connecting",
            Self::Transfer(_) => "transfer",
            Self::Finishing(_) => "finishing",
            Self::Calling(_) => "calling",
            Self::Waiting(_) => "waiting",
            Self::Digesting(_) => "digesting",
            Self::Status(_) => "status",
            Self::Farewell { .. } => "farewell",
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Progress was made, and more may be possible at once.
    More,
    /// More remains to be done, as bulk work.
    Bulk,
    /// A file system call comes next; the turn continues when it has returned.
    Call,
    /// No progress is possible until a descriptor is ready.
    Wait,
    /// The session is over.
    Over,
}

/// One client's session, from the greeting to the last reply.
pub struct Session {
    who: Who,
    service: Arc<Service>,
    control: ControlConnection,
    login: Login,
    tls: TlsState,
    /// The host that HOST selected.
    host: Option<String>,
    parameters: Parameters,
    route: Option<Route>,
    spare: Option<Spare>,
    pending: Pending,
    activity: Activity,
    connected_at: Instant,
    /// Start of the time without a login.
    logged_out_since: Instant,
    /// Number of failed logins, whatever their user names.
    failures: u8,
    /// Time of the last activity: a command, the end of a transfer, or a step of a long command.
    last_activity: Instant,
    flow: Flow,
    /// Remainder of a turn that a file system call interrupted: number of the next step, and bytes left to move.
    turn_left: Option<(u32, usize)>,
    /// Path and length of the last upload that ended in order but was judged to be cut off.
    short_upload: Option<(VirtualPath, u64)>,
    _permit: Permit,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("who", &self.who)
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Begins a session on an accepted connection, and sends the greeting.
    ///
    /// # Errors
    /// If the socket is already broken, or TLS cannot begin.
    pub fn greet(
        service: Arc<Service>,
        stream: TcpStream,
        peer: std::net::SocketAddr,
        permit: Permit,
        now: Instant,
    ) -> std::io::Result<Self> {
        let mut control = ControlConnection::new(stream, peer)?;
        let tls = TlsState::at_once(&service, &mut control, now)?;
        control.reply(&Reply::new(Code::READY, service.greeting()));
        // Sent here, not in the first turn, because every client waits for the greeting. The first turn detects a
        // client that is already gone.
        let _sent = control.flush(now);
        let who = Who {
            session: service.sessions.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            slave: service.slave,
        };
        service.log.session(who, &Event::Connect);
        Ok(Self {
            who,
            service,
            control,
            login: Login::default(),
            tls,
            host: None,
            parameters: Parameters::default(),
            route: None,
            spare: None,
            pending: Pending::default(),
            activity: Activity::Commands,
            connected_at: now,
            logged_out_since: now,
            failures: 0,
            last_activity: now,
            flow: Flow::new(now),
            turn_left: None,
            short_upload: None,
            _permit: permit,
        })
    }

    /// Enters an activity. No other function stores one.
    fn enter(&mut self, activity: Activity) {
        self.activity = activity;
    }

    fn next_command(&mut self, now: Instant) -> Result<Step, Disconnect> {
        if self.service.stopping.load(Ordering::Acquire) {
            self.dismiss("The server is stopping.", now);
            return Ok(Step::More);
        }
        if self.control.is_congested() {
            return Ok(Step::Wait);
        }
        let line = match self.control.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(Step::Wait),
            // The client has sent everything, and may still read the replies.
            Err(Disconnect::Closed) if !self.control.is_flushed() => {
                self.enter(Activity::Farewell { until: now + FAREWELL_TIMEOUT });
                return Ok(Step::More);
            }
            Err(disconnect) => return Err(disconnect),
        };
        self.last_activity = now;
        if !self.flow.admits(self.service.limits.commands_per_second_max, now) {
            self.dismiss(TOO_MUCH, now);
            return Ok(Step::More);
        }
        self.serve(&line, now);
        if let Line::Complete(mut line) = line {
            // The line may contain a password.
            line.zeroize();
        }
        Ok(Step::More)
    }

    /// Executes a command line and queues its reply.
    fn serve(&mut self, line: &Line, now: Instant) {
        let answer = match line {
            Line::Complete(line) => {
                if self.service.log.keeps(Level::Verbose) {
                    self.log(&Event::Command { line });
                }
                self.execute(line, now)
            }
            Line::TooLong => Err(Refusal::LineTooLong),
        };
        match answer {
            Ok(Some(reply)) => self.reply(&reply),
            Ok(None) => {}
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Checks login and permission, then dispatches the command. Returns `None` if the handler queues its own replies.
    fn execute(&mut self, line: &[u8], now: Instant) -> Result<Option<Reply>, Refusal> {
        let pending = mem::take(&mut self.pending);
        if is_http_request(line) {
            // SECURITY: a web page may have made its reader's browser send the lines that follow.
            self.dismiss("This is FTP, not HTTP.", now);
            return Ok(None);
        }
        let (verb, argument) = Verb::split(line)?;
        if verb.access == Access::Member && self.member().is_err() {
            return Err(Refusal::NotLoggedIn);
        }
        let command = verb.parse(argument)?;
        if let Some(permission) = verb.may.or_else(|| command.permission())
            && !self.member()?.permissions().allow(permission)
        {
            return Err(Refusal::NotPermitted);
        }
        self.dispatch(command, verb, &pending, now)
    }

    #[rustfmt::skip]
    #[allow(clippy::too_many_lines, reason = "one line a command: the compiler tells who forgot a verb")]
    fn dispatch(&mut self, command: Command, verb: &'static Verb, pending: &Pending, now: Instant) -> Result<Option<Reply>, Refusal> {
        // OPTS HASH belongs between RANG and HASH; the other settings of OPTS are of no transfer.
        if verb.pending == Kept::Keeps || matches!(command, Command::Set(Setting::Hash(_))) {
            self.pending.clone_from(pending);
        }
        match command {
            Command::User(name)               => self.user(name, now).map(Some),
            Command::Password(password)       => self.password(password, now).map(|()| None),
            Command::Account                  => self.account().map(Some),
            Command::Authenticate(mechanism)  => self.authenticate(mechanism, now).map(|()| None),
            Command::ProtectionBuffer         => self.protection_buffer().map(Some),
            Command::Protect(level)           => self.protect(level).map(Some),
            Command::ClearCommandChannel      => self.clear_command_channel().map(Some),
            Command::Host(name)               => self.host(&name).map(Some),
            Command::Reinitialize             => { self.reinitialize(now); Ok(Some(Reply::new(Code::READY, "Ready for a new user."))) }
            Command::Quit                     => { self.quit(now); Ok(None) }
            Command::ChangeDirectory(path)    => { let directory = self.member()?.resolve(&path)?;
                                                   self.change_directory(directory, now).map(|()| None) }
            Command::ChangeToParent           => { let directory = self.member()?.directory.parent();
                                                   self.change_directory(directory, now).map(|()| None) }
            Command::PrintDirectory           => Ok(Some(self.member()?.print_directory())),
            Command::Type(representation)     => Ok(Some(self.parameters.set_type(representation))),
            Command::Structure                => Ok(Some(Reply::new(Code::OK, "Structure set to F."))),
            Command::Mode(mode)               => Ok(Some(self.set_mode(mode))),
            Command::Port(address)            => self.port(address, now).map(Some),
            Command::ExtendedPort(address)    => self.extended_port(address, now).map(Some),
            Command::Passive                  => self.passive(now).map(Some),
            Command::ExtendedPassive(wanted)  => self.extended_passive(wanted, now).map(Some),
            Command::Restart(offset)          => self.restart(offset).map(Some),
            Command::Range(range)             => { self.pending.range = range;
                                                   Ok(Some(Reply::new(Code::PENDING, "Range noted."))) }
            Command::Hash(path)               => self.hash(path, pending, now).map(|()| None),
            Command::Checksum { algorithm, path, from, to } => self.checksum(algorithm, path, from, to, now).map(|()| None),
            Command::Available(path)          => self.look(now, move |member| member.available(path.as_ref())),
            Command::Retrieve(path)           => self.retrieve(&path, verb, pending, now).map(|()| None),
            Command::Store(path)              => self.store(&path, verb, pending, now).map(|()| None),
            Command::StoreUnique(path)        => self.store_unique(path.as_ref(), verb, pending, now).map(|()| None),
            Command::Append(path)             => self.append(&path, verb, pending, now).map(|()| None),
            Command::Allocate(size)           => { self.pending.allocated = Some(size);
                                                   Ok(Some(Reply::new(Code::OK, "No allocation is necessary."))) }
            Command::Delete(path)             => self.change(path, now, Member::delete),
            Command::RenameFrom(path)         => self.rename_from(path, now).map(|()| None),
            Command::RenameTo(path)           => { let from = pending.rename.clone();
                                                   self.change(path, now, move |member, path| member.rename_to(path, from.as_ref())) }
            Command::MakeDirectory(path)      => self.change(path, now, Member::make_directory),
            Command::RemoveDirectory(path)    => self.change(path, now, Member::remove_directory),
            Command::List(selection)          => self.list(selection, listing::Format::Long, verb, now).map(|()| None),
            Command::NameList(selection)      => self.list(selection, listing::Format::Names, verb, now).map(|()| None),
            Command::MachineListDirectory(at) => self.machine_list_directory(at, verb, now).map(|()| None),
            Command::MachineList(path)        => { let facts = self.parameters.facts;
                                                   self.look(now, move |member| member.machine_list(path.as_ref(), facts)) }
            Command::Status(None)             => Ok(Some(self.status(now))),
            Command::Status(Some(selection))  => self.status_of(selection, now).map(|()| None),
            Command::Size(path)               => { let chosen = self.parameters.chosen_type;
                                                   self.look(now, move |member| member.size(&path, chosen)) }
            Command::ModificationTime(path)   => self.modification_time(path, now),
            Command::SetModificationTime { time, path } => self.change(path, now, move |member, path| member.set_modification_time(time, path)),
            Command::Features                 => Ok(Some(self.features())),
            Command::Set(Setting::Utf8)       => Ok(Some(Reply::new(Code::OK, "Names are UTF-8."))),
            Command::Set(Setting::Facts(names)) => Ok(Some(self.parameters.select_facts(&names))),
            Command::Set(Setting::Hash(name)) => self.select_hash(name.as_deref()).map(Some),
            Command::System                   => Ok(Some(Reply::new(Code::SYSTEM, "UNIX Type: L8"))),
            Command::Help(verb)               => Ok(Some(inform::help(verb.as_deref()))),
            Command::Noop                     => Ok(Some(Reply::new(Code::OK, "Done."))),
            Command::Abort                    => { self.route = None; Ok(Some(Reply::new(Code::NO_TRANSFER, "No transfer to abort."))) },
            Command::Language(tag)            => inform::language(tag.as_deref()).map(Some),
            Command::Site(Site::ChangeMode { mode, path }) => self.change(path, now, move |member, path| member.change_mode(mode, path)),
            Command::Site(Site::SetTime { time, path })    => self.change(path, now, move |member, path| member.site_set_time(time, path)),
            Command::Site(Site::Help)         => Ok(Some(Reply::new(Code::HELP, "SITE CHMOD mode path, UTIME time path, HELP"))),
            Command::ClientName               => Ok(Some(Reply::new(Code::OK, "Noted."))),
        }
    }

    /// Reads commands during a transfer: serves ABOR, STAT, QUIT and NOOP, and holds the first other line until its
    /// end.
    fn poll_commands(
        &mut self,
        then: &mut AfterTransfer,
        status: impl Fn() -> Reply,
        now: Instant,
    ) -> Result<Polled, Disconnect> {
        while self.control.is_open()
            && *then == AfterTransfer::Commands
            && !self.control.is_congested()
        {
            let line = match self.control.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(Disconnect::Closed) => return Ok(Polled::PeerClosed),
                Err(disconnect) => return Err(disconnect),
            };
            self.last_activity = now;
            if let Line::Complete(text) = &line {
                if !Verb::split(text).is_ok_and(|(verb, _)| verb.when == When::Always) {
                    self.control.hold(line);
                    break;
                }
                self.log(&Event::Command { line: text });
            }
            let command = line.complete().map(Command::parse);
            match command {
                Some(Ok(Command::Abort)) => return Ok(Polled::Abort),
                Some(Ok(Command::Quit)) => *then = AfterTransfer::Farewell,
                // ABOR and QUIT, which end a transfer, do not count against the limit.
                _ if !self.flow.admits(self.service.limits.commands_per_second_max, now) => {
                    *then = AfterTransfer::Dismissal;
                    return Ok(Polled::TooMuch);
                }
                None => self.refuse(&Refusal::LineTooLong),
                Some(Ok(Command::Status(None))) => self.reply(&status()),
                Some(Ok(Command::Status(Some(_)))) => self.refuse(&Refusal::OutOfSequence(
                    "STAT of a path waits for the transfer to end.",
                )),
                _ => self.reply(&Reply::new(Code::OK, "Done.")),
            }
        }
        Ok(Polled::Nothing)
    }

    fn quit(&mut self, now: Instant) {
        self.farewell(&Reply::new(Code::CLOSING, "Goodbye."), now);
    }

    /// Closes the session with a 421 reply.
    fn dismiss(&mut self, reason: &str, now: Instant) {
        self.farewell(&Reply::new(Code::SERVICE_NOT_AVAILABLE, reason), now);
    }

    /// Queues the last reply, and enters the farewell.
    fn farewell(&mut self, reply: &Reply, now: Instant) {
        self.reply(reply);
        self.enter(Activity::Farewell { until: now + FAREWELL_TIMEOUT });
    }

    fn say_farewell(&mut self, until: Instant, now: Instant) -> Step {
        if self.control.is_flushed() {
            self.control.close();
            self.log_disconnect("farewell", now);
            return Step::Over;
        }
        self.enter(Activity::Farewell { until });
        Step::Wait
    }

    fn reply(&mut self, reply: &Reply) {
        if self.service.log.keeps(Level::Verbose) {
            self.log(&Event::Reply { line: reply.to_string().as_bytes() });
        }
        self.control.reply(reply);
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if let Some(error) = refusal.trouble() {
            self.log(&Event::Trouble { what: "a command could not be carried out", error });
        }
        self.reply(&refusal.reply());
    }

    fn log_disconnect(&self, why: &str, now: Instant) {
        self.log(&Event::Disconnect {
            why,
            seconds: now.duration_since(self.connected_at).as_secs(),
        });
    }

    fn log(&self, event: &Event<'_>) {
        self.service.log.session(self.who, event);
    }

    fn member(&self) -> Result<&Member, Refusal> {
        self.login.member().ok_or(Refusal::NotLoggedIn)
    }

    fn member_mut(&mut self) -> Result<&mut Member, Refusal> {
        self.login.member_mut().ok_or(Refusal::NotLoggedIn)
    }
}

/// Number of commands received in the current second.
#[derive(Debug)]
struct Flow {
    since: Instant,
    count: u32,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one more command; returns whether it is within the limit.
    fn admits(&mut self, most: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

/// The result of reading the control connection during a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polled {
    Nothing,
    Abort,
    /// The client has closed its side.
    PeerClosed,
    /// The client has sent more commands in a second than allowed.
    TooMuch,
}
