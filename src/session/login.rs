//! The identity of the client: USER, PASS, ACCT, HOST, REIN.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::ftp::command::{Password, PathName};
use crate::ftp::path::PathTooLong;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::Event;
use crate::net::client_of;
use crate::pool::{Class, Job, Watch};
use crate::storage::{
    Account, Accounts, Admission, Denied, Durability, Permissions, Root, Verdict, Verification,
};

use super::refusal::Refusal;
use super::throttle::{Attempt, LockedOut, Target};
use super::{Activity, Session, Step};

/// Maximum time to check a password and open the home, including the wait for other logins.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A requested login: the user name, and the attempt that the guard counts.
#[derive(Debug)]
pub(super) struct Asked {
    name: Vec<u8>,
    attempt: Option<Attempt>,
}

/// A password check that runs on another thread.
type Check = Job<Result<Admission, Denied>>;

/// A login whose PASS has not been answered.
#[derive(Debug)]
pub(super) enum LoggingIn {
    /// The password is being checked.
    Checking { login: Asked, check: Check, begun: Instant, until: Instant },
    /// The password was right, and the home is being opened.
    Opening { login: Asked, verdict: Job<Verdict>, begun: Instant, until: Instant },
    /// The login failed, and its reply is delayed to slow down guessing.
    Refused { until: Instant },
}

impl LoggingIn {
    pub(super) fn until(&self) -> Instant {
        match self {
            Self::Checking { until, .. }
            | Self::Opening { until, .. }
            | Self::Refused { until } => *until,
        }
    }

    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match self {
            Self::Checking { check, .. } => {
                watch.readable(check.descriptor(), Class::Interactive);
            }
            Self::Opening { verdict, .. } => {
                watch.readable(verdict.descriptor(), Class::Interactive);
            }
            Self::Refused { .. } => {}
        }
    }
}

/// The login state of a client.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// Not logged in.
    #[default]
    Stranger,
    /// USER was received, PASS was not.
    Named(Vec<u8>),
    /// Logged in.
    Member(Box<Member>),
}

impl Login {
    pub(super) fn member(&self) -> Option<&Member> {
        if let Self::Member(member) = self { Some(member) } else { None }
    }

    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        if let Self::Member(member) = self { Some(member) } else { None }
    }
}

/// A user who has logged in, with the current directory. Every access to the tree is a method of this type, so that a
/// client without a login has none.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) account: Account,
    pub(super) directory: VirtualPath,
    /// When a change is acknowledged: once it is cached, or once it is flushed.
    pub(super) durability: Durability,
}

impl Member {
    pub(super) fn permissions(&self) -> Permissions {
        self.account.permissions()
    }

    pub(super) fn root(&self) -> &Root {
        self.account.root()
    }

    /// Resolves a pathname against the current directory. A leading `~` means the home, which is the root, unless the
    /// current directory has an entry `~`.
    pub(super) fn resolve(&self, path: &PathName) -> Result<VirtualPath, PathTooLong> {
        match path.0.strip_prefix(b"~") {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
                if self.root().look(&self.directory.join(b"~")?).is_ok() {
                    self.directory.join(&path.0)
                } else {
                    VirtualPath::root().join(rest)
                }
            }
            _ => self.directory.join(&path.0),
        }
    }

    /// Resolves a pathname; returns the current directory if there is none.
    pub(super) fn resolve_or_here(
        &self,
        path: Option<&PathName>,
    ) -> Result<VirtualPath, PathTooLong> {
        path.map_or_else(|| Ok(self.directory.clone()), |path| self.resolve(path))
    }
}

impl Session {
    pub(super) fn user(&mut self, name: Vec<u8>, now: Instant) -> Result<Reply, Refusal> {
        self.check_login_security()?;
        // The text does not reveal which users exist.
        let text = if self.accounts().serve_anonymous() && Accounts::is_anonymous(&name) {
            "Send your e-mail address as password."
        } else {
            "Password required."
        };
        self.become_stranger(now);
        self.login = Login::Named(name);
        Ok(Reply::new(Code::NEED_PASSWORD, text))
    }

    pub(super) fn password(&mut self, password: Password, now: Instant) -> Result<(), Refusal> {
        let name = match std::mem::take(&mut self.login) {
            Login::Named(name) => name,
            other => {
                self.login = other;
                return Err(Refusal::OutOfSequence("Send USER first."));
            }
        };
        let attempt = self.attempt(&name, &password);
        if attempt.as_ref().is_some_and(|attempt| self.is_locked_out(&name, attempt, now)) {
            return Ok(());
        }
        let login = Asked { name, attempt };
        let (service, from) = (&self.service, self.control.peer().ip());
        match self.accounts().verify(&login.name, password, from) {
            Verification::Now(verdict) => self.conclude_login(&login, verdict, now, now),
            Verification::Later(check) => {
                let checked = service.checkers.try_run(client_of(from), || Ok(check()));
                let Some(Ok(check)) = checked else { return Err(Refusal::TooManyLogins) };
                let until = now + CHECK_TIMEOUT;
                let checking = LoggingIn::Checking { login, check, begun: now, until };
                self.enter(Activity::LoggingIn(Box::new(checking)));
            }
        }
        Ok(())
    }

    /// Describes the login for the guard. Returns `None` for anonymous where it is served, since it accepts any
    /// password.
    fn attempt(&self, name: &[u8], password: &Password) -> Option<Attempt> {
        let accounts = self.accounts();
        let target = match (accounts.knows(name), Accounts::is_anonymous(name)) {
            (true, _) => Target::Known,
            (false, true) if accounts.serve_anonymous() => return None,
            (false, true) => Target::Anonymous,
            (false, false) => Target::Invented,
        };
        let host = self.service.hosts.named(self.host_asked_for().as_deref());
        let from = self.control.peer().ip();
        Some(self.service.throttle.attempt(host, name, &password.0, from, target))
    }

    pub(super) fn await_login(&mut self, logging_in: LoggingIn, now: Instant) -> Step {
        match logging_in {
            LoggingIn::Checking { login, check, begun, until } => match check.outcome() {
                Some(Ok(Ok(admission))) => self.open_home(login, admission, begun, until),
                Some(Ok(Err(denied))) => {
                    self.conclude_login(&login, Err(denied), begun, now);
                    Step::More
                }
                Some(Err(error)) => self.give_up_login(error),
                None => {
                    let checking = LoggingIn::Checking { login, check, begun, until };
                    self.enter(Activity::LoggingIn(Box::new(checking)));
                    Step::Wait
                }
            },
            LoggingIn::Opening { login, verdict, begun, until } => match verdict.outcome() {
                Some(Ok(verdict)) => {
                    self.conclude_login(&login, verdict, begun, now);
                    Step::More
                }
                Some(Err(error)) => self.give_up_login(error),
                None => {
                    let opening = LoggingIn::Opening { login, verdict, begun, until };
                    self.enter(Activity::LoggingIn(Box::new(opening)));
                    Step::Wait
                }
            },
            // The deadline ends this wait.
            LoggingIn::Refused { until } => {
                self.enter(Activity::LoggingIn(Box::new(LoggingIn::Refused { until })));
                Step::Wait
            }
        }
    }

    /// Opens the home after a correct password. Its disk may hang, so the thread that opens it serves no other home.
    fn open_home(
        &mut self,
        login: Asked,
        admission: Admission,
        begun: Instant,
        until: Instant,
    ) -> Step {
        let opened = self.service.openers.try_run(admission.home(), || Ok(admission.open()));
        match opened {
            Some(Ok(verdict)) => {
                let opening = LoggingIn::Opening { login, verdict, begun, until };
                self.enter(Activity::LoggingIn(Box::new(opening)));
            }
            Some(Err(error)) => return self.give_up_login(error),
            None => {
                self.refuse(&Refusal::TooManyLogins);
                self.enter(Activity::Commands);
            }
        }
        Step::More
    }

    /// Ends a login whose work could not be done at all.
    fn give_up_login(&mut self, error: io::Error) -> Step {
        // A client with fewer waiting logins has taken its place.
        let is_displaced = error.kind() == ErrorKind::ResourceBusy;
        let refusal = if is_displaced { Refusal::TooManyLogins } else { Refusal::Storage(error) };
        self.refuse(&refusal);
        self.enter(Activity::Commands);
        Step::More
    }

    /// Returns whether this login is refused without checking the password; if so, answers it.
    fn is_locked_out(&mut self, name: &[u8], attempt: &Attempt, now: Instant) -> bool {
        let service = &self.service;
        match service.throttle.check(attempt, &service.limits, now) {
            Ok(()) => false,
            Err(LockedOut::Address { remaining }) => {
                self.log(&Event::LoginFailed { user: name, why: "address locked out" });
                let minutes = remaining.as_secs().div_ceil(60);
                let text = format!(
                    "Too many failed logins from your address; try again in {minutes} minutes."
                );
                self.dismiss(&text, now);
                true
            }
            Err(LockedOut::User) => {
                self.fail_login(name, Some(attempt), "user locked out", now, now);
                true
            }
        }
    }

    fn conclude_login(&mut self, login: &Asked, verdict: Verdict, begun: Instant, now: Instant) {
        self.enter(Activity::Commands);
        let Asked { name, attempt } = login;
        let attempt = attempt.as_ref();
        match verdict {
            // Failures during the check count: see `LoginThrottle::check`.
            Ok(_) if attempt.is_some_and(|attempt| self.is_locked_out(name, attempt, now)) => {}
            Ok(account) => {
                self.log(&Event::Login { user: name });
                self.share_sessions(name, attempt.is_none());
                if let Some(attempt) = attempt {
                    self.service.throttle.succeeded(attempt, now);
                }
                let directory = VirtualPath::root();
                let durability = self.service.durability;
                self.login = Login::Member(Box::new(Member { account, directory, durability }));
                self.reply(&Reply::new(Code::LOGGED_IN, "Logged in."));
            }
            Err(Denied::Incorrect) => self.fail_login(name, attempt, "login incorrect", begun, now),
            Err(Denied::NoHome(error)) => {
                let why = format!("cannot open the home: {error}");
                self.log(&Event::LoginFailed { user: name, why: &why });
                self.refuse(&Refusal::NoHome(error));
            }
            Err(Denied::OutOfMemory) => {
                self.log(&Event::LoginFailed { user: name, why: "out of memory" });
                self.refuse(&Refusal::OutOfMemory);
            }
            Err(Denied::TooManySessions) => {
                self.log(&Event::LoginFailed { user: name, why: "too many sessions" });
                self.refuse(&Refusal::TooManySessions);
            }
        }
    }

    /// Shares the TLS sessions of this connection with the other connections of its account.
    fn share_sessions(&self, name: &[u8], is_anonymous: bool) {
        let Some(scope) = &self.tls.scope else { return };
        let host = self.service.hosts.named(self.host_asked_for().as_deref());
        // Anonymous has two user names.
        let name = if is_anonymous { b"anonymous" } else { name };
        scope.log_in(host, name.to_vec());
    }

    /// Fails a login. The delay of the reply counts from PASS, whatever time the check took, so that its timing does
    /// not reveal what was wrong.
    fn fail_login(
        &mut self,
        name: &[u8],
        attempt: Option<&Attempt>,
        why: &'static str,
        begun: Instant,
        now: Instant,
    ) {
        self.log(&Event::LoginFailed { user: name, why });
        self.failures = self.failures.saturating_add(1);
        let service = &self.service;
        let delay = attempt.map(|attempt| service.throttle.failed(attempt, &service.limits, now));
        let until = begun + delay.unwrap_or(service.limits.login_delay);
        if until > now {
            self.enter(Activity::LoggingIn(Box::new(LoggingIn::Refused { until })));
        } else {
            self.refuse_login(now);
        }
    }

    /// Ends a login at its deadline: sends the delayed reply, or gives up the password check or the opening of the
    /// home.
    pub(super) fn end_login(&mut self, logging_in: &LoggingIn, now: Instant) {
        match logging_in {
            LoggingIn::Refused { .. } => self.refuse_login(now),
            LoggingIn::Checking { .. } => {
                self.enter(Activity::Commands);
                self.refuse(&Refusal::TooManyLogins);
            }
            LoggingIn::Opening { login, .. } => {
                self.enter(Activity::Commands);
                let why = "the home was not opened in time: its file system hangs, or there are too many files to count";
                self.log(&Event::LoginFailed { user: &login.name, why });
                self.refuse(&Refusal::NoHome(io::Error::new(ErrorKind::TimedOut, why)));
            }
        }
    }

    fn refuse_login(&mut self, now: Instant) {
        self.enter(Activity::Commands);
        self.refuse(&Refusal::LoginIncorrect);
        if self.failures >= self.service.limits.login_failures_max {
            self.dismiss("Too many failed logins; closing.", now);
        }
    }

    pub(super) fn account(&self) -> Result<Reply, Refusal> {
        match self.login {
            Login::Member(_) => Ok(Reply::new(Code::SUPERFLUOUS, "No account is needed.")),
            _ => Err(Refusal::OutOfSequence("Send USER and PASS first.")),
        }
    }

    /// HOST: selects a host. It must come before USER (RFC 7151 §3.1).
    pub(super) fn host(&mut self, name: &str) -> Result<Reply, Refusal> {
        if !matches!(self.login, Login::Stranger) {
            return Err(Refusal::OutOfSequence("Send HOST before USER."));
        }
        self.host = Some(self.service.hosts.find(name).ok_or(Refusal::UnknownHost)?);
        Ok(Reply::new(Code::READY, self.service.greeting()))
    }

    /// Returns the accounts of the host that the client asked for.
    fn accounts(&self) -> &Accounts {
        self.service.hosts.accounts(self.host_asked_for().as_deref())
    }

    /// Returns the host that the client asked for: with HOST, else with the server name of its TLS handshake.
    fn host_asked_for(&self) -> Option<String> {
        let named =
            || self.control.tls()?.server_name().and_then(|name| self.service.hosts.find(name));
        self.host.clone().or_else(named)
    }

    pub(super) fn reinitialize(&mut self, now: Instant) {
        self.become_stranger(now);
        self.host = None;
        self.forget_protection();
    }

    /// Logs the client out. A member gets the login time of a new client; the login time of others continues.
    fn become_stranger(&mut self, now: Instant) {
        if matches!(std::mem::take(&mut self.login), Login::Member(_)) {
            self.logged_out_since = now;
            if let Some(scope) = &self.tls.scope {
                scope.log_out();
            }
        }
    }
}
