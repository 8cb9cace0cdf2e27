//! An upload that is whole so far: its content is scanned, and the program of `--check-socket` allows or refuses it.

use std::io;
use std::task::Poll;
use std::time::Instant;

use crate::events::{Denial, Event, Outcome};
use crate::ftp::{Code, Reply};
use crate::net::client_of;
use crate::net::control::Disconnect;
use crate::pool::{Class, Job, Watch};
use crate::scan::Finding;
use crate::session::activity::{Activity, Listens, Next};
use crate::session::context::Context;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::{AfterTransfer, TransferRecord};
use crate::storage::{ClientState, Content};

use super::ending::{DecideAgain, Ending, finish};
use super::keeping::keep;
use super::polling::{Polled, poll};
use super::waiting::call;

/// An upload that was judged to be whole: its content is being scanned.
#[derive(Debug)]
struct Scanning {
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    job: Job<Finding>,
    until: Instant,
    decide_again: DecideAgain,
}

/// Scans the content of the file, and asks whether it is allowed. Then the upload is judged again, because the client
/// may have sent ABOR meanwhile.
pub(super) fn scan(
    cx: &Context,
    record: TransferRecord,
    mut receiver: Box<FileReceiver>,
    decide_again: DecideAgain,
) -> Next {
    let until = cx.now + cx.service.limits.stall_timeout;
    let work = move || {
        let content = receiver.content();
        (receiver, content)
    };
    call(cx, until, None, work, move |cx, (receiver, content), _| {
        Ok(begin(cx, record, receiver, content, decide_again))
    })
}

fn begin(
    cx: &Context,
    record: TransferRecord,
    receiver: Box<FileReceiver>,
    content: io::Result<Content>,
    decide_again: DecideAgain,
) -> Next {
    let (scanner, approver) = (cx.service.scanner.clone(), cx.service.approver.clone());
    let from = client_of(cx.control.peer().ip());
    let about = record.stored(cx, None).line("check");
    let run = |mut content: Content| {
        let inspect = move || {
            if let Some(scanner) = scanner {
                match scanner.scan(&mut content.try_clone()?)? {
                    Finding::Clean => {}
                    found => return Ok(found),
                }
            }
            approver.map_or(Ok(Finding::Clean), |approver| approver.ask(&about, &mut content))
        };
        cx.service
            .scanners
            .try_run(from, inspect)
            .unwrap_or_else(|| Err(io::Error::other("too many files wait for the scanner")))
    };
    match content.and_then(run) {
        Ok(job) => {
            // Two times: files that wait before this one, and this one.
            let until = cx.now + cx.service.check_time() * 2;
            Next::go(Scanning { record, receiver, job, until, decide_again })
        }
        Err(error) => unscanned(cx, record, *receiver, &error),
    }
}

/// Ends an upload that could not be scanned. It is kept, so that the client can complete it later.
fn unscanned(
    cx: &Context,
    record: TransferRecord,
    receiver: FileReceiver,
    error: &io::Error,
) -> Next {
    cx.log(&Event::Error { message: "cannot check an upload", error });
    let reply = Reply::new(Code::LOCAL_ERROR, "The file cannot be checked now; try again later.");
    keep(cx, record, receiver, Ending::Failed(reply, Outcome::Failed))
}

/// Removes an infected upload, and then replies.
fn refuse_infected(
    cx: &mut Context,
    record: TransferRecord,
    receiver: FileReceiver,
    signature: &str,
) -> Next {
    cx.log(&Event::Infected { path: &record.path, signature });
    let text = format!("Refused: the file is infected with {}.", signature.escape_debug());
    refuse(cx, record, receiver, text)
}

/// Removes an upload that is not allowed, and then replies.
fn refuse_unwanted(
    cx: &mut Context,
    record: TransferRecord,
    receiver: FileReceiver,
    reason: &str,
) -> Next {
    let text = if reason.is_empty() { "Refused: the file is not allowed." } else { reason };
    let (verb, path) = (record.verb.name, Some(&record.path));
    cx.log(&Event::Denied(Denial { verb, path, reply: Code::UNAVAILABLE.0, reason: text }));
    refuse(cx, record, receiver, text.to_owned())
}

fn refuse(cx: &mut Context, record: TransferRecord, receiver: FileReceiver, text: String) -> Next {
    cx.data.route = None;
    let reply = Reply::new(Code::UNAVAILABLE, text);
    let until = cx.now + cx.service.limits.stall_timeout;
    call(
        cx,
        until,
        None,
        move || receiver.discard(),
        move |cx, removed, _| {
            if let Err(error) = &removed {
                cx.log(&Event::Error { message: "cannot remove a refused upload", error });
            }
            Ok(finish(cx, record, &reply, Outcome::Failed))
        },
    )
}

/// Returns the reply to STAT while an upload is being scanned.
fn scanning() -> Reply {
    Reply::new(Code::STATUS, "Scanning the received data.")
}

impl Activity for Scanning {
    fn name(&self) -> &'static str {
        "scanning"
    }

    fn advance(mut self: Box<Self>, cx: &mut Context, _: &mut usize) -> Result<Next, Disconnect> {
        let (polled, found) = (poll(cx, &mut self.record.then, scanning), self.job.outcome());
        if polled.is_err() {
            // The outcome of the upload must still be logged, but no more commands are read.
            self.record.then = AfterTransfer::Farewell;
        }
        let aborted = matches!(polled, Ok(Polled::Abort));
        if !aborted && found.is_pending() {
            return Ok(Next::Wait(self));
        }
        let Self { record, mut receiver, decide_again, .. } = *self;
        Ok(match found {
            _ if aborted => decide_again(cx, record, receiver, ClientState::Aborted),
            Poll::Ready(Ok(Finding::Clean)) => {
                receiver.scanned = true;
                decide_again(cx, record, receiver, ClientState::Present)
            }
            Poll::Ready(Ok(Finding::Infected(signature))) => {
                refuse_infected(cx, record, *receiver, &signature)
            }
            Poll::Ready(Ok(Finding::Refused(reason))) => {
                refuse_unwanted(cx, record, *receiver, &reason)
            }
            Poll::Ready(Err(error)) => unscanned(cx, record, *receiver, &error),
            Poll::Pending => unscanned(cx, record, *receiver, &io::ErrorKind::Interrupted.into()),
        })
    }

    fn deadline(&self, _: &Context) -> Instant {
        self.until
    }

    fn expire(self: Box<Self>, cx: &mut Context) -> Result<Next, Disconnect> {
        let Self { record, receiver, .. } = *self;
        Ok(unscanned(cx, record, *receiver, &io::ErrorKind::TimedOut.into()))
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.readable(self.job.descriptor(), Class::Interactive);
    }

    fn listens(&self, cx: &Context) -> Listens {
        Listens::during_transfer(self.record.then, &cx.control)
    }
}
