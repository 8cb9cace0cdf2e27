//! The hand-over of the listening sockets to a new process, as `ftpserver take-over` requests it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acceptors::Acceptors;
use crate::balancer::request::Request;
use crate::balancer::takeover::{Successor, TAKE_OVER};
use crate::events::Event;

use super::end::leave;
use super::scope::Controls;

impl Controls {
    /// Sends the listening sockets to the process that requests them, and waits on another thread until it serves. Then
    /// requests the end of this process.
    pub(super) fn hand_over(&self, request: Request) {
        let by = request.by;
        let started = match self.begin() {
            Ok(acceptors) => self.offer(acceptors, request).inspect_err(|_| {
                // The connection is closed, so the new process does not start.
                self.handing_over.store(false, Ordering::Release);
            }),
            Err(why) => {
                request.reply(&Err(why.to_owned()));
                Err(io::ErrorKind::Other.into())
            }
        };
        if started.is_err() {
            self.service.events.server(&Event::Admin { command: TAKE_OVER, by, done: false });
        }
    }

    /// Begins a hand-over, which only one process can have at a time.
    fn begin(&self) -> Result<&Acceptors, &'static str> {
        let Some(acceptors) = &self.acceptors else {
            return Err("a slave process has no listeners of the server.");
        };
        if self.service.is_stopping() {
            return Err("it stops.");
        }
        if self.handing_over.swap(true, Ordering::AcqRel) {
            return Err("another process is taking its place.");
        }
        Ok(acceptors)
    }

    fn offer(&self, acceptors: &Acceptors, request: Request) -> io::Result<()> {
        let (by, watchdog) = (request.by, self.live.watchdog());
        let successor =
            acceptors.with_sockets(|sockets| Successor::offer(request, sockets, watchdog))?;
        let (live, events) = (Arc::clone(&self.live), Arc::clone(&self.service.events));
        let (handing_over, clock) = (Arc::clone(&self.handing_over), self.clock);
        let wait = move || match successor.wait(clock) {
            Ok(()) => {
                live.replace_by(successor);
                let done = leave().is_ok();
                events.server(&Event::Admin { command: TAKE_OVER, by, done });
            }
            Err(why) => {
                handing_over.store(false, Ordering::Release);
                let message = "the new server has not started; this one continues";
                events.server(&Event::Warning { message, reason: why });
            }
        };
        std::thread::Builder::new().name("successor".to_owned()).spawn(wait).map(drop)
    }
}
