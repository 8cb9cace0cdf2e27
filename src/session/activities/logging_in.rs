//! A login whose PASS has not been answered: the password is checked and the home opened by other threads, or the reply
//! to a failed login is delayed.
//!
//! [`LoginAttempt::end`] alone ends a login.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::events::{Event, LoginFailure};
use crate::ftp::command::Password;
use crate::ftp::path::Escaped;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::net::client_of;
use crate::net::control::Disconnect;
use crate::net::tls::{Tls, common_name, pin_of};
use crate::pool::{Class, Job, Watch};
use crate::scoreboard::ClientFacts;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::identity::Login;
use crate::session::member::Member;
use crate::session::refusal::Refusal;
use crate::session::throttle::{Attempt, LockedOut, Lockout, Target};
use crate::storage::users::ClientCertificate;
use crate::storage::{
    Account, Accounts, Admission, Credentials, Denied, Pending, Tree, Verdict, Verification,
};

use super::closing::dismiss;
use super::waiting::wait_for_end;

/// Maximum time to check a password and open the home, including the wait for other logins.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The reason for the log if the user is locked out.
const USER_LOCKED_OUT: &str = "user locked out";

/// A login that waits.
#[derive(Debug)]
struct LoggingIn {
    login: LoginAttempt,
    stage: Stage,
    until: Instant,
}

#[derive(Debug)]
enum Stage {
    /// The password is being checked.
    Checking(Job<Result<Admission, Denied>>),
    /// The password was right, and the home is being opened.
    Opening(Job<Verdict>),
    /// The login failed, and its reply is delayed to slow down guessing.
    Failed,
}

/// A login that PASS has begun.
#[derive(Debug)]
struct LoginAttempt {
    name: Vec<u8>,
    /// The attempt that the throttle counts; none for anonymous where it is served, since it accepts any password.
    attempt: Option<Attempt>,
    /// The time of PASS.
    begun: Instant,
}

/// The end of a login.
#[derive(Debug)]
enum End {
    /// The client is logged in.
    Admitted(Account),
    /// The password was wrong, or the user is locked out; the client does not learn which. It counts as a failure.
    Incorrect(&'static str),
    /// Too many logins have failed from this address.
    AddressLockedOut { remaining: Duration },
    /// The client cannot be logged in, with this reason for the log.
    Denied(String, LoginFailure, Refusal),
    /// The login was not decided.
    Undecided(Refusal),
}

/// Begins a login with PASS.
pub(in crate::session) fn begin(cx: &mut Context, name: Vec<u8>, password: Password) -> Next {
    cx.identity.logs_in = true;
    cx.identity.served_host = cx.service.hosts.named(host(cx).as_deref()).map(Into::into);
    let attempt = attempt(cx, &name, &password);
    let login = LoginAttempt { name, attempt, begun: cx.now };
    if let Some(end) = login.lockout(cx) {
        return login.end(cx, end);
    }
    let from = cx.control.peer().ip();
    if !cx.service.admits_login(from, cx.now) {
        return login.end(cx, End::Undecided(Refusal::TooManyLogins));
    }
    let (tls, now) = (cx.control.tls(), Timestamp::now());
    let (certificate, tls) = (tls.and_then(certificate), tls.is_some());
    let credentials = Credentials { name: &login.name, password, from, certificate, tls, now };
    let checkers = &cx.service.checkers;
    let (pool, check) = match accounts(cx).verify(credentials) {
        Verification::Now(verdict) => return login.end(cx, verdict.into()),
        Verification::Open(open) => return login.open_tree(cx, open),
        Verification::Later(check) => (&checkers.hashes, check),
        Verification::Elsewhere(check) => (&checkers.authenticator, check),
    };
    match pool.try_run(client_of(from), || Ok(check())) {
        Some(Ok(check)) => {
            let until = cx.now + CHECK_TIMEOUT;
            Next::go(LoggingIn { login, stage: Stage::Checking(check), until })
        }
        Some(Err(_)) | None => login.end(cx, End::Undecided(Refusal::TooManyLogins)),
    }
}

/// Returns the certificate that the client has sent.
fn certificate(tls: &Tls) -> Option<ClientCertificate> {
    let certificate = tls.client_certificate()?;
    let (fingerprint, common_name) = (pin_of(certificate), common_name(certificate));
    Some(ClientCertificate { fingerprint, common_name })
}

/// Describes the login for the throttle.
fn attempt(cx: &Context, name: &[u8], password: &Password) -> Option<Attempt> {
    let accounts = accounts(cx);
    let target = match (accounts.knows(name), Accounts::is_anonymous(name)) {
        (true, _) => Target::Known,
        (false, true) if accounts.serve_anonymous() => return None,
        (false, true) => Target::Anonymous,
        (false, false) => Target::Invented,
    };
    let host = cx.service.hosts.named(host(cx).as_deref());
    let from = cx.control.peer().ip();
    Some(cx.service.throttle.attempt(host, name, &password.0, from, target))
}

/// Returns the accounts of the host that the client asked for.
pub(in crate::session) fn accounts(cx: &Context) -> &Accounts {
    cx.service.hosts.accounts(host(cx).as_deref())
}

/// Returns the host that the client asked for: with HOST, else with the server name of its TLS handshake.
fn host(cx: &Context) -> Option<String> {
    let named = || cx.control.tls()?.server_name().and_then(|name| cx.service.hosts.find(name));
    cx.identity.host.clone().or_else(named)
}

impl LoginAttempt {
    /// Returns the end of a login that is locked out, whatever its password.
    fn lockout(&self, cx: &Context) -> Option<End> {
        let attempt = self.attempt.as_ref()?;
        match cx.service.throttle.check(attempt, &cx.service.limits, cx.now) {
            Ok(()) => None,
            Err(LockedOut::Address { remaining }) => Some(End::AddressLockedOut { remaining }),
            Err(LockedOut::User) => Some(End::Incorrect(USER_LOCKED_OUT)),
        }
    }

    /// Ends the login: logs it, counts it, and answers PASS, now or later.
    fn end(self, cx: &mut Context, end: End) -> Next {
        let end = match end {
            // Failures during the check count: see `LoginThrottle::check`.
            End::Admitted(account) => self.lockout(cx).unwrap_or(End::Admitted(account)),
            end => end,
        };
        let user = &self.name;
        match end {
            End::Admitted(account) => {
                cx.log(&Event::Login { user });
                self.admit(cx, account);
                cx.reply(&Reply::new(Code::LOGGED_IN, "Logged in."));
                Next::Commands
            }
            End::Incorrect(why) => {
                let is_locked_out = why == USER_LOCKED_OUT;
                let cause =
                    if is_locked_out { LoginFailure::LockedOut } else { LoginFailure::Incorrect };
                cx.log(&Event::LoginFailed { user, reason: why, cause });
                self.fail(cx)
            }
            End::AddressLockedOut { remaining } => {
                let (reason, cause) = ("address locked out", LoginFailure::LockedOut);
                cx.log(&Event::LoginFailed { user, reason, cause });
                let minutes = remaining.as_secs().div_ceil(60);
                let text = format!(
                    "Too many failed logins from your address; try again in {minutes} minutes."
                );
                dismiss(cx, &text)
            }
            End::Denied(why, cause, refusal) => {
                cx.log(&Event::LoginFailed { user, reason: &why, cause });
                cx.refuse(&refusal);
                Next::Commands
            }
            End::Undecided(refusal) => {
                let (reason, cause) = ("not decided", LoginFailure::Overloaded);
                cx.log(&Event::LoginFailed { user, reason, cause });
                cx.refuse(&refusal);
                Next::Commands
            }
        }
    }

    fn admit(&self, cx: &mut Context, account: Account) {
        let attempt = self.attempt.as_ref();
        // Shares the TLS sessions of this connection with the other connections of its account.
        if let Some(scope) = &cx.tls.scope {
            // Anonymous has two user names.
            let name = if attempt.is_none() { b"anonymous" } else { self.name.as_slice() };
            scope.log_in(cx.service.hosts.named(host(cx).as_deref()), name.to_vec());
        }
        if let Some(attempt) = attempt {
            cx.service.throttle.succeeded(attempt, cx.now);
        }
        let tree = Tree::new(account.store(), cx.service.disks(), cx.service.durability);
        let member = Member { account, directory: VirtualPath::root(), tree };
        cx.identity.login = Login::Member(Box::new(member));
        let user: Arc<[u8]> = self.name.as_slice().into();
        let host = cx.identity.served_host.clone();
        let tls = cx.control.tls().and_then(Tls::version);
        cx.presence.set_client(Some(ClientFacts { user: Arc::clone(&user), host, tls }));
        cx.identity.user = Some(user);
    }

    /// Counts a failure. The delay of the reply counts from PASS, whatever time the check took, so that its timing does
    /// not reveal what was wrong.
    fn fail(self, cx: &mut Context) -> Next {
        cx.identity.failures = cx.identity.failures.saturating_add(1);
        let (throttle, limits) = (&cx.service.throttle, &cx.service.limits);
        let failed = self.attempt.as_ref().map(|attempt| throttle.failed(attempt, limits, cx.now));
        if let Some(Lockout { target, failures }) = failed.and_then(|failed| failed.begins) {
            let duration = limits.lockout;
            cx.log(&Event::Banned { target, user: &self.name, failures, duration });
        }
        let until = self.begun + failed.map_or(limits.login_delay, |failed| failed.delay);
        if until > cx.now {
            return Next::go(LoggingIn { login: self, stage: Stage::Failed, until });
        }
        refuse(cx)
    }

    /// Opens the tree of a user who needs no password, in a call that may hang.
    fn open_tree(self, cx: &Context, open: impl FnOnce() -> Verdict + Send + 'static) -> Next {
        let until = cx.now + CHECK_TIMEOUT;
        let start = move || Pending::Done(Ok(open()));
        wait_for_end(cx, until, start, move |cx, verdict| {
            let end = verdict.map_or_else(|_| End::not_opened(), End::from);
            self.end(cx, end)
        })
    }

    /// Opens the home after a correct password. Its disk may hang, so the thread that opens it serves no other home.
    fn open_home(self, cx: &mut Context, admission: Admission, until: Instant) -> Next {
        match cx.service.openers.try_run(admission.home(), || Ok(admission.open())) {
            Some(Ok(verdict)) => {
                Next::go(LoggingIn { login: self, stage: Stage::Opening(verdict), until })
            }
            Some(Err(error)) => self.end(cx, error.into()),
            None => self.end(cx, End::Undecided(Refusal::TooManyLogins)),
        }
    }
}

/// Sends the reply to a failed login, and closes the session after the last one allowed.
fn refuse(cx: &mut Context) -> Next {
    cx.refuse(&Refusal::LoginIncorrect);
    if cx.identity.failures >= cx.service.limits.login_failures_max {
        return dismiss(cx, "Too many failed logins; closing.");
    }
    Next::Commands
}

impl End {
    /// Returns the end of a login whose home or root did not open in time.
    fn not_opened() -> Self {
        let why = "the home was not opened in time: its file system hangs, or there are too many files to count";
        let error = io::Error::new(ErrorKind::TimedOut, why);
        Self::Denied(why.to_owned(), LoginFailure::NoHome, Refusal::NoHome(error))
    }
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        verdict.map_or_else(Self::from, Self::Admitted)
    }
}

impl From<Denied> for End {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Incorrect => Self::Incorrect("login incorrect"),
            Denied::Closed(why) => Self::Incorrect(why),
            Denied::NoHome(error) => {
                let why = format!("cannot open the home: {error}");
                Self::Denied(why, LoginFailure::NoHome, Refusal::NoHome(error))
            }
            Denied::OutOfMemory => {
                let (why, cause) = ("out of memory".to_owned(), LoginFailure::Overloaded);
                Self::Denied(why, cause, Refusal::OutOfMemory)
            }
            Denied::Unverified(why) => {
                let why = Escaped(why.as_bytes()).to_string();
                Self::Denied(why, LoginFailure::Unverified, Refusal::Unverified)
            }
            Denied::TooManySessions => {
                let (why, cause) = ("too many sessions".to_owned(), LoginFailure::TooManySessions);
                Self::Denied(why, cause, Refusal::TooManySessions)
            }
        }
    }
}

/// The work of another thread could not be done.
impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        // A client with fewer waiting logins has taken its place.
        let is_displaced = error.kind() == ErrorKind::ResourceBusy;
        Self::Undecided(if is_displaced { Refusal::TooManyLogins } else { Refusal::Storage(error) })
    }
}

impl Activity for LoggingIn {
    fn name(&self) -> &'static str {
        "logging in"
    }

    fn advance(self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let end = match &self.stage {
            Stage::Checking(check) => match check.outcome() {
                Poll::Ready(Ok(Ok(admission))) => {
                    return Ok(self.login.open_home(cx, admission, self.until));
                }
                Poll::Ready(Ok(Err(denied))) => denied.into(),
                Poll::Ready(Err(error)) => error.into(),
                Poll::Pending => return Ok(Next::Wait(self)),
            },
            Stage::Opening(verdict) => match verdict.outcome() {
                Poll::Ready(Ok(verdict)) => verdict.into(),
                Poll::Ready(Err(error)) => error.into(),
                Poll::Pending => return Ok(Next::Wait(self)),
            },
            // The deadline ends this wait.
            Stage::Failed => return Ok(Next::Wait(self)),
        };
        Ok(self.login.end(cx, end))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    /// Sends the delayed reply, or gives up the password check or the opening of the home.
    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let end = match &self.stage {
            Stage::Failed => return Ok(refuse(cx)),
            Stage::Checking(_) => End::Undecided(Refusal::TooManyLogins),
            Stage::Opening(_) => End::not_opened(),
        };
        Ok(self.login.end(cx, end))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.stage {
            Stage::Checking(check) => watch.readable(check.descriptor(), Class::Interactive),
            Stage::Opening(verdict) => watch.readable(verdict.descriptor(), Class::Interactive),
            Stage::Failed => {}
        }
    }

    fn listens(&self, _: &Context) -> Listens {
        Listens::Nothing
    }
}
