//! A transfer command was accepted, and its data connection is not open yet.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::events::{Event, Outcome};
use crate::ftp::command::{Mode, Type};
use crate::ftp::{Code, Reply};
use crate::net::control::Disconnect;
use crate::net::data::{Failure, Opened, Opening, Protection};
use crate::net::passive::PassiveListener;
use crate::pool::{Class, Watch};
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::record::{AfterTransfer, TransferRecord};
use crate::session::data::{INTERACTIVE_BYTES, TransferData};
use crate::session::parameters::Route;
use crate::session::refusal::Refusal;

use super::ending::{Ending, aborted};
use super::keeping::end;
use super::polling::{Polled, poll};
use super::transferring;

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

/// A transfer that waits for its data connection.
#[derive(Debug)]
struct Connecting {
    opening: Opening,
    protection: Option<Protection>,
    record: TransferRecord,
    data: TransferData,
    until: Instant,
    /// The address of another host that connected to the passive port.
    stranger: Option<IpAddr>,
    /// The client has closed its side of the control connection.
    peer_closed: bool,
}

/// Begins a transfer with the usual 150; `about` ends its text.
pub(in crate::session) fn begin(
    cx: &mut Context,
    data: TransferData,
    record: TransferRecord,
    about: &str,
) -> Result<Next, Refusal> {
    let kind = match cx.data.parameters.representation {
        Type::Ascii => "ASCII",
        Type::Image => "BINARY",
    };
    let text = [
        b"Opening ",
        kind.as_bytes(),
        b" mode data connection for ",
        record.path.as_bytes(),
        about.as_bytes(),
    ]
    .concat();
    begin_with(cx, data, record, text)
}

/// Takes the route, replies 150 with this text and waits for the data connection; in block mode, replies 125 and
/// continues on the connection that is open.
pub(in crate::session) fn begin_with(
    cx: &mut Context,
    data: TransferData,
    record: TransferRecord,
    text: Vec<u8>,
) -> Result<Next, Refusal> {
    cx.check_route()?;
    let opening = match cx.data.route.take().ok_or(Refusal::NoRoute)? {
        Route::Open { connection } => {
            cx.reply(&Reply::new(Code::DATA_CONNECTION_OPEN, text));
            return Ok(transferring::begin(cx, connection, record, data));
        }
        Route::Passive { listener, .. } => Ok(Opening::Passive(listener)),
        Route::Active { to, .. } => {
            let opening = Opening::connect(cx.control.local(), to);
            if let Ok(Opening::Active(socket)) = &opening {
                cx.check_share(socket)?;
            }
            opening
        }
    };
    cx.reply(&Reply::new(Code::OPENING_DATA_CONNECTION, text));
    if !data.fits(INTERACTIVE_BYTES as u64) {
        // For a large file the client receives the 150 before the data, for a small file together with the 226. A
        // broken connection is detected at the next flush.
        let _sent = cx.control.flush(cx.now);
    }
    Ok(match opening {
        Ok(opening) => Next::go(Connecting {
            opening,
            protection: cx.protection(data.direction()),
            record,
            data,
            until: cx.now + cx.service.limits.data_connect_timeout,
            stranger: None,
            peer_closed: false,
        }),
        Err(error) => {
            end(cx, record, data, Ending::Failed(cannot_connect(&error), Outcome::Failed))
        }
    })
}

impl Activity for Connecting {
    fn name(&self) -> &'static str {
        "connecting"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let waiting = || Reply::new(Code::STATUS, "Waiting for the data connection.");
        match poll(cx, &mut self.record.then, waiting)? {
            Polled::PeerClosed if self.data.ends_with_the_control_connection() => {
                return Err(Disconnect::Closed);
            }
            Polled::PeerClosed | Polled::Nothing => {}
            Polled::TooMuch => {
                return Ok(self.end(cx, Ending::Failed(aborted(), Outcome::CutOff)));
            }
            Polled::Abort => return Ok(self.end(cx, Ending::Aborted)),
        }
        if self.peer_closed || self.has_peer_closed(cx) {
            self.peer_closed = true;
            self.until = self.until.min(cx.now + PEER_CLOSE_GRACE);
        }
        Ok(self.open(cx))
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    /// Ends a transfer whose data connection did not arrive in time.
    fn expire(mut self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let seconds = cx.service.limits.data_connect_timeout.as_secs();
        let own = cx.control.peer().ip();
        let text = match self.stranger {
            None => format!("No data connection within {seconds} seconds."),
            Some(from) => format!(
                "Data connection from {from} refused: the control connection comes from {own}."
            ),
        };
        let reply = if is_awaiting_login(&self.opening) {
            not_resumed(cx)
        } else {
            Reply::new(Code::DATA_CONNECTION_FAILED, text)
        };
        if self.peer_closed {
            // Lines that the client sent before it left are not answered either.
            self.record.then = AfterTransfer::Farewell;
        }
        Ok(self.end(cx, Ending::Failed(reply, Outcome::Failed)))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
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

    fn listens(&self, cx: &Context) -> Listens {
        match Listens::during_transfer(self.record.then, &cx.control) {
            // A close that is known must not be noticed again.
            Listens::Nothing if !self.peer_closed => Listens::Close,
            listens => listens,
        }
    }
}

impl Connecting {
    /// Opens the data connection, if it has arrived and is secured.
    fn open(mut self: Box<Self>, cx: &mut Context) -> Next {
        let awaited_login = is_awaiting_login(&self.opening);
        let mut spare = None;
        let opened = self.opening.advance(self.protection.as_ref(), &mut spare);
        if let Some(from) = spare.as_mut().and_then(PassiveListener::take_stranger) {
            log_stranger(cx, from);
        }
        // If ports are scarce, the port closes at once.
        if let Some(listener) = spare.filter(|_| !cx.service.passive_ports.are_scarce()) {
            cx.data.keep_spare(listener, cx.now);
        }
        match opened {
            Ok(Opened::Ready(connection)) => {
                if cx.data.parameters.mode == Mode::Block {
                    // Fails on a broken connection, which is detected when data moves.
                    let _set = connection.hold_nothing_back();
                }
                transferring::begin(cx, connection, self.record, self.data)
            }
            Ok(Opened::Pending(mut opening)) => {
                if let Some(from) = opening.take_stranger() {
                    if self.stranger.is_none() {
                        log_stranger(cx, from);
                        self.until = self.until.min(cx.now + STRANGER_GRACE);
                    }
                    self.stranger = Some(from.ip());
                }
                if !awaited_login && is_awaiting_login(&opening) {
                    self.until = self.until.min(cx.now + OTHER_LOGIN_TIMEOUT);
                }
                self.opening = opening;
                Next::Wait(self)
            }
            Err(failure) => {
                let ending = Ending::Failed(failure_reply(cx, &failure), Outcome::Failed);
                end(cx, self.record, self.data, ending)
            }
        }
    }

    /// Ends the transfer before it has begun.
    fn end(self, cx: &mut Context, ending: Ending) -> Next {
        let Self { opening, record, data, .. } = self;
        drop(opening);
        end(cx, record, data, ending)
    }

    /// Returns whether the client has closed its side, if its commands are no longer read: after a line that waits for
    /// the transfer, after QUIT, or after the end of its input.
    fn has_peer_closed(&self, cx: &Context) -> bool {
        let listens = Listens::during_transfer(self.record.then, &cx.control);
        listens == Listens::Nothing && cx.control.has_ended()
    }
}

fn failure_reply(cx: &Context, failure: &Failure) -> Reply {
    match failure {
        Failure::Connect(error) => cannot_connect(error),
        Failure::Handshake(error) => handshake_failed(cx, error),
        Failure::Stranger => not_resumed(cx),
    }
}

fn log_stranger(cx: &Context, from: SocketAddr) {
    let own = cx.control.peer().ip();
    let why = format!(
        "the control connection comes from {own}; use --data-from for clients with several addresses"
    );
    cx.log(&Event::DataRefused { from: Some(from), reason: &why });
}

fn handshake_failed(cx: &Context, error: &io::Error) -> Reply {
    cx.log(&Event::Error { message: "the TLS handshake of a data connection failed", error });
    Reply::new(Code::UNSUPPORTED_PROTOCOL, "The TLS handshake on the data connection failed.")
}

/// Returns the reply if the data connection did not resume a TLS session: the negotiation was unacceptable (RFC
/// 4217 §10).
fn not_resumed(cx: &Context) -> Reply {
    let why = "no TLS session of this account was resumed; use --tls-max 1.2 for clients with OpenSSL, or --no-tls-reuse \
               for clients that cannot resume";
    cx.log(&Event::DataRefused { from: None, reason: why });
    let text = "The data connection did not resume the TLS session of the control connection; the administrator can \
                allow this with --no-tls-reuse, or help some clients with --tls-max 1.2.";
    Reply::new(Code::UNSUPPORTED_PROTOCOL, text)
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
