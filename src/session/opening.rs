//! Commands that need a data connection, such as RETR, STOR and LIST: each creates an [`TransferRequest`], replies 150 and waits
//! for its connection ([`Connecting`]). `transfer` then moves the data.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::ftp::command::{Mode, PathName, Selection, Type};
use crate::ftp::listing::Entry;
use crate::ftp::verb::Verb;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::{Event, Outcome};
use crate::net::control::Disconnect;
use crate::net::data::{Failure, Opening, Protection};
use crate::net::passive::PassiveListener;
use crate::pool::{Class, Watch};

use super::listing::{Format, Lister};
use super::negotiate::Route;
use super::refusal::Refusal;
use super::transfer::{AfterTransfer, INTERACTIVE_BYTES, TransferRequest, aborted};
use super::upload::Ending;
use super::work::{Outgoing, Text, Work};
use super::{Activity, Pending, Polled, Session, Step};

/// Time left to the client after another host has connected to its passive port.
///
/// SECURITY: a compromise. Refusing the transfer at the first stranger would let anybody who finds the port end it.
/// Waiting for the usual time would leave a client with two addresses, the usual reason, without a reply for half a
/// minute. A client connects before its command or right after it, so one second suffices for most. Further strangers
/// do not shorten the time.
const STRANGER_GRACE: Duration = Duration::from_secs(1);

/// Time left for the data connection after the client has closed its side of the control connection. The data
/// connection may still arrive, and some clients close their side as soon as they have sent everything.
const PEER_CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Time left to another control connection to log in, after a data connection has resumed its TLS session.
const OTHER_LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// An order that waits for its data connection.
#[derive(Debug)]
pub(super) struct Connecting {
    opening: Opening,
    protection: Option<Protection>,
    pub(super) request: TransferRequest,
    work: Work,
    pub(super) until: Instant,
    /// The address of another host that connected to the passive port.
    stranger: Option<IpAddr>,
    /// The client has closed its side of the control connection.
    peer_closed: bool,
}

impl Connecting {
    /// Returns whether the session still has to notice that the client closes its side.
    pub(super) fn watches_peer_close(&self) -> bool {
        !self.peer_closed
    }

    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.opening {
            Opening::Passive(listener) => watch.readable(listener.descriptor(), Class::Interactive),
            Opening::Active(stream) => watch.writable(stream.as_fd(), Class::Interactive),
            Opening::Securing(connection) => match connection.awaited_login() {
                Some(login) => watch.readable(login, Class::Interactive),
                None if connection.wants_to_send() => {
                    watch.writable(connection.descriptor(), Class::Interactive);
                }
                None => watch.readable(connection.descriptor(), Class::Interactive),
            },
        }
    }
}

impl Session {
    pub(super) fn retrieve(
        &mut self,
        path: &PathName,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?;
        let path = member.resolve(path)?;
        let (root, wanted, pending) = (member.account.shared_root(), path.clone(), pending.clone());
        self.ask(
            now,
            move || root.read(&wanted),
            move |session, opened, now| {
                session.send(opened?, path, verb, &pending, now).map(|()| None)
            },
        );
        Ok(())
    }

    /// Sends a file that has been opened.
    fn send(
        &mut self,
        (file, entry): (File, Entry),
        path: VirtualPath,
        verb: &'static Verb,
        pending: &Pending,
        now: Instant,
    ) -> Result<(), Refusal> {
        let (offset, end) = match pending.range {
            Some(_) if self.parameters.representation == Type::Ascii => {
                return Err(Refusal::Marker("RANG requires TYPE I."));
            }
            Some(range) => (range.first, range.last.saturating_add(1)),
            None => (self.marker(pending)?, entry.size),
        };
        if offset > entry.size {
            return Err(Refusal::Marker("REST is beyond the end of the file."));
        }
        let end = end.min(entry.size);
        // Clients read the size for their progress bars from this text.
        let about = match self.parameters.representation {
            Type::Image => format!(" ({} bytes).", end - offset),
            Type::Ascii => ".".to_owned(),
        };
        let mode = self.parameters.mode;
        let work = match self.parameters.representation {
            Type::Image => Work::Send(Outgoing::new(file, offset, end, mode)),
            Type::Ascii => Work::SendText(Text::of_file(file, end, mode)),
        };
        self.begin(work, path, verb, &about, now)
    }

    pub(super) fn list(
        &mut self,
        selection: Selection,
        format: Format,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        let format = match format {
            Format::Names if selection.long => Format::Long,
            format => format,
        };
        let member = self.member()?;
        let path = member.resolve_or_here(selection.path.as_ref())?;
        let member = member.clone();
        let open = move || Lister::open(&member, &selection, format);
        self.send_list(open, path, verb, now);
        Ok(())
    }

    fn send_list(
        &mut self,
        open: impl FnOnce() -> Result<Lister, Refusal> + Send + 'static,
        path: VirtualPath,
        verb: &'static Verb,
        now: Instant,
    ) {
        self.ask(now, open, move |session, lister, now| {
            let work = Work::SendText(Text::of_list(lister?, session.parameters.mode));
            session.begin(work, path, verb, ".", now).map(|()| None)
        });
    }

    pub(super) fn machine_list_directory(
        &mut self,
        path: Option<PathName>,
        verb: &'static Verb,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member()?;
        let at = member.resolve_or_here(path.as_ref())?;
        let (member, facts) = (member.clone(), self.parameters.facts);
        let open = move || Lister::open_directory(&member, path, facts);
        self.send_list(open, at, verb, now);
        Ok(())
    }

    /// Returns the offset in bytes that REST set for this transfer.
    pub(super) fn marker(&self, pending: &Pending) -> Result<u64, Refusal> {
        match pending.restart {
            1.. if self.parameters.representation == Type::Ascii => {
                Err(Refusal::Marker("REST requires TYPE I."))
            }
            offset => Ok(offset),
        }
    }

    pub(super) fn begin(
        &mut self,
        work: Work,
        path: VirtualPath,
        verb: &'static Verb,
        about: &str,
        now: Instant,
    ) -> Result<(), Refusal> {
        let kind = match self.parameters.representation {
            Type::Ascii => "ASCII",
            Type::Image => "BINARY",
        };
        let text = [
            b"Opening ",
            kind.as_bytes(),
            b" mode data connection for ",
            path.as_bytes(),
            about.as_bytes(),
        ]
        .concat();
        self.begin_with(work, path, verb, text, now)
    }

    /// Takes the route, replies 150 and waits for the data connection; in block mode, replies 125 and continues on the
    /// connection that is open.
    pub(super) fn begin_with(
        &mut self,
        work: Work,
        path: VirtualPath,
        verb: &'static Verb,
        text: Vec<u8>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.check_route()?;
        let request = TransferRequest { verb, path, begun: now, then: AfterTransfer::Commands };
        let opening = match self.route.take().ok_or(Refusal::NoRoute)? {
            Route::Open { connection } => {
                self.reply(&Reply::new(Code::DATA_CONNECTION_OPEN, text));
                self.transfer(connection, request, work, now);
                return Ok(());
            }
            Route::Passive { listener, .. } => Ok(Opening::Passive(listener)),
            Route::Active { to, .. } => Opening::connect(self.control.local(), to),
        };
        self.reply(&Reply::new(Code::OPENING_DATA_CONNECTION, text));
        if !work.fits(INTERACTIVE_BYTES as u64) {
            // For a large file the client receives the 150 before the data, for a small file together with the 226. A
            // broken connection is detected at the next flush.
            let _sent = self.control.flush(now);
        }
        let until = now + self.service.limits.data_connect_timeout;
        let protection = self.protection(work.direction());
        match opening {
            Ok(opening) => {
                self.enter(Activity::Connecting(Box::new(Connecting {
                    opening,
                    protection,
                    request,
                    work,
                    until,
                    stranger: None,
                    peer_closed: false,
                })));
            }
            Err(error) => {
                let ending = Ending::Failed(cannot_connect(&error), Outcome::Failed);
                self.end_work(request, work, 0, ending, now);
            }
        }
        Ok(())
    }

    pub(super) fn await_data_connection(
        &mut self,
        connecting: Connecting,
        now: Instant,
    ) -> Result<Step, Disconnect> {
        let Connecting { opening, protection, mut request, work, .. } = connecting;
        let Connecting { mut until, mut stranger, peer_closed, .. } = connecting;
        let waiting = || Reply::new(Code::STATUS, "Waiting for the data connection.");
        match self.poll_commands(&mut request.then, waiting, now)? {
            Polled::PeerClosed if work.ends_with_the_control_connection() => {
                return Err(Disconnect::Closed);
            }
            Polled::PeerClosed | Polled::Nothing => {}
            Polled::TooMuch => {
                let ending = Ending::Failed(aborted(), Outcome::CutOff);
                self.end_work(request, work, 0, ending, now);
                return Ok(Step::More);
            }
            Polled::Abort => {
                self.end_work(request, work, 0, Ending::Aborted, now);
                return Ok(Step::More);
            }
        }
        let peer_closed = peer_closed || self.has_peer_closed(&request);
        if peer_closed {
            until = until.min(now + PEER_CLOSE_GRACE);
        }
        let awaits_login = is_awaiting_login(&opening);
        let mut spare = None;
        let opened = opening.advance(protection.as_ref(), &mut spare);
        if let Some(from) = spare.as_mut().and_then(PassiveListener::take_stranger) {
            self.log_stranger(from);
        }
        self.keep_listener(spare, now);
        match opened {
            Ok(Ok(connection)) => {
                if self.parameters.mode == Mode::Block {
                    // Fails on a broken connection, which is detected when data moves.
                    let _set = connection.hold_nothing_back();
                }
                self.transfer(connection, request, work, now);
                Ok(Step::More)
            }
            Ok(Err(mut opening)) => {
                if let Some(from) = opening.take_stranger() {
                    if stranger.is_none() {
                        self.log_stranger(from);
                        until = until.min(now + STRANGER_GRACE);
                    }
                    stranger = Some(from.ip());
                }
                if !awaits_login && is_awaiting_login(&opening) {
                    until = until.min(now + OTHER_LOGIN_TIMEOUT);
                }
                self.enter(Activity::Connecting(Box::new(Connecting {
                    opening,
                    protection,
                    request,
                    work,
                    until,
                    stranger,
                    peer_closed,
                })));
                Ok(Step::Wait)
            }
            Err(failure) => {
                let ending = Ending::Failed(self.failure_reply(&failure), Outcome::Failed);
                self.end_work(request, work, 0, ending, now);
                Ok(Step::More)
            }
        }
    }

    fn failure_reply(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::Connect(error) => cannot_connect(error),
            Failure::Handshake(error) => self.handshake_failed(error),
            Failure::Stranger => self.not_resumed(),
        }
    }

    /// Returns whether the client has closed its side, if its commands are no longer read: after a line that waits for
    /// the transfer, after QUIT, or after the end of its input.
    fn has_peer_closed(&self, request: &TransferRequest) -> bool {
        let reads_commands = self.control.is_open() && request.then == AfterTransfer::Commands;
        !reads_commands && self.control.has_ended()
    }

    /// Ends an order whose data connection did not arrive in time.
    pub(super) fn give_up_opening(&mut self, awaiting: Connecting, now: Instant) {
        let Connecting { opening, mut request, work, stranger, peer_closed, .. } = awaiting;
        let awaited_login = is_awaiting_login(&opening);
        drop(opening);
        let seconds = self.service.limits.data_connect_timeout.as_secs();
        let own = self.control.peer().ip();
        let text = match stranger {
            None => format!("No data connection within {seconds} seconds."),
            Some(from) => format!(
                "Data connection from {from} refused: the control connection comes from {own}."
            ),
        };
        let reply = if awaited_login {
            self.not_resumed()
        } else {
            Reply::new(Code::DATA_CONNECTION_FAILED, text)
        };
        if peer_closed {
            // Lines that the client sent before it left are not answered either.
            request.then = AfterTransfer::Farewell;
        }
        self.end_work(request, work, 0, Ending::Failed(reply, Outcome::Failed), now);
    }

    fn log_stranger(&self, from: SocketAddr) {
        let own = self.control.peer().ip();
        let why = format!(
            "the control connection comes from {own}; use --data-from for clients with several addresses"
        );
        self.log(&Event::DataRefused { from: Some(from), why: &why });
    }

    fn handshake_failed(&self, error: &io::Error) -> Reply {
        self.log(&Event::Trouble { what: "the TLS handshake of a data connection failed", error });
        Reply::new(Code::UNSUPPORTED_PROTOCOL, "The TLS handshake on the data connection failed.")
    }

    /// Returns the reply if the data connection did not resume a TLS session: the negotiation was unacceptable (RFC
    /// 4217 §10).
    fn not_resumed(&self) -> Reply {
        let why = "no TLS session of this account was resumed; use --tls-max 1.2 for clients with OpenSSL, or --no-tls-reuse \
                   for clients that cannot resume";
        self.log(&Event::DataRefused { from: None, why });
        let text = "The data connection did not resume the TLS session of the control connection; the administrator can \
                    allow this with --no-tls-reuse, or help some clients with --tls-max 1.2.";
        Reply::new(Code::UNSUPPORTED_PROTOCOL, text)
    }
}

/// Returns whether the data connection has arrived, but its owner is known only when another control connection has
/// logged in.
fn is_awaiting_login(opening: &Opening) -> bool {
    matches!(opening, Opening::Securing(connection) if connection.awaited_login().is_some())
}

fn cannot_connect(error: &io::Error) -> Reply {
    let why =
        if error.kind() == io::ErrorKind::ConnectionRefused { "refused" } else { "not possible" };
    Reply::new(Code::DATA_CONNECTION_FAILED, format!("Data connection {why}."))
}
