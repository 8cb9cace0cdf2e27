//! The commands of `ftpserver ctl`, as a running server carries them out.
//!
//! No worker and no registration of a slave waits for a command. A command that reads files, or asks slave processes, has a
//! thread of its own, so that a file system that hangs delays no other command. Commands about sessions and bans are also
//! sent to the slave processes, and the answers are joined.
//!
//! Not here: the connection (`balancer/request`), and who may connect (`balancer/handover`).

mod bans;
mod end;
mod handed_state;
mod output;
mod reloading;
mod scope;
mod sessions;
mod state;
mod successor;
mod users;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::balancer::control_client::{ADOPT_BANS, PART, SEPARATOR, SESSIONS};
use crate::balancer::request::{Answer, Request};
use crate::balancer::takeover::{STATE, TAKE_OVER};
use crate::events::Event;
use crate::net::listener::Shutdown;
use crate::units::network;

use end::stop;
pub(crate) use handed_state::adopt as adopt_state;
use output::{Cell, Form, row};
pub(crate) use scope::Controls;
use scope::Scope;
use sessions::Kicked;

/// Maximum number of commands that wait for a thread, and of threads that carry out one each.
const REQUESTS_MAX: usize = 16;

/// The answer to a command for which there is no thread.
const TOO_MANY: &str = "too many commands wait; try again.";

/// The commands that read files, also in a slave process.
const SLOW: [&str; 3] = ["reload", "quota", "recount"];

/// The commands, for a message about an unknown one.
const COMMANDS: &str = "status, who, top, kick, ban, bans, unban, reload, reopen, drain, resume, stop, limit, \
    quota, recount, verbose, certificates, ready";

/// The words that may stand before a command.
const FORMS: [&str; 3] = [PART, "text", "json"];

/// Interval at which the thread looks whether the server has stopped.
const STOP_CHECK: Duration = Duration::from_secs(1);

/// Returns the queue of commands.
pub(crate) fn queue() -> (Sender<Request>, Receiver<Request>) {
    bounded(REQUESTS_MAX)
}

impl Controls {
    /// Starts the thread that receives commands until `stop` is rung. It is not joined at the end, because a thread of a
    /// command may read a file that hangs.
    ///
    /// # Errors
    /// The kernel's error, if there is no thread.
    pub(crate) fn start(self, requests: Receiver<Request>, stop: Shutdown) -> std::io::Result<()> {
        let controls = Arc::new(self);
        let run = move || {
            while !stop.is_triggered() {
                match requests.recv_timeout(STOP_CHECK) {
                    Ok(request) if controls.may_wait(&request) => controls.serve_apart(request),
                    Ok(request) => controls.serve(request),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(run).map(drop)
    }

    /// Returns whether a command may wait for a file, for slave processes, or for the administrator to read the answer. A
    /// slave process carries out the others one after the other, in the order in which its master has sent them.
    fn may_wait(&self, request: &Request) -> bool {
        let command = request.command.split(SEPARATOR).find(|word| !FORMS.contains(word));
        !self.is_slave() || command.is_some_and(|command| SLOW.contains(&command))
    }

    /// Carries out a command on a thread of its own.
    fn serve_apart(self: &Arc<Self>, request: Request) {
        // The thread that receives commands is the only one that starts another.
        if Arc::strong_count(&self.waiting) > REQUESTS_MAX {
            return request.reply(&Err(TOO_MANY.to_owned()));
        }
        let (controls, place) = (Arc::clone(self), Arc::clone(&self.waiting));
        let run = move || {
            controls.serve(request);
            drop(place);
        };
        // Without a thread, the connection is closed, which the administrator sees.
        let _started = std::thread::Builder::new().name("command".to_owned()).spawn(run);
    }

    fn serve(self: &Arc<Self>, request: Request) {
        if request.command.split(SEPARATOR).nth(1) == Some(TAKE_OVER) {
            return self.hand_over(request);
        }
        let answer = self.carry_out(&request.command);
        let mut words = request.command.split(SEPARATOR);
        let form = words.next().unwrap_or_default();
        let command: Vec<&str> = words.collect();
        // Commands of a master are logged there.
        if !(form == PART && self.is_slave()) && changes(&command) {
            let (command, done) = (command.join(" "), answer.is_ok());
            self.service.events.server(&Event::Admin { command: &command, by: request.by, done });
        }
        let answer = answer.map(|text| if form == "json" { in_json(text) } else { text });
        request.reply(&answer);
    }

    /// Returns whether this is a slave process, whose master sends the commands.
    fn is_slave(&self) -> bool {
        self.acceptors.is_none()
    }

    fn carry_out(self: &Arc<Self>, line: &str) -> Answer {
        let mut words: Vec<&str> = line.split(SEPARATOR).collect();
        // SECURITY: a master is not asked for a part, which is not logged.
        let is_part = self.is_slave() && words.first() == Some(&PART);
        if is_part {
            words.remove(0);
        }
        let form = match words.first() {
            Some(&"json") => Form::Json,
            _ => Form::Text,
        };
        let Some((command, arguments)) = words.get(1..).and_then(|words| words.split_first())
        else {
            return Err(format!("no command given; use {COMMANDS}."));
        };
        let scope = Scope { controls: self, line, form, is_part, now: (self.clock)() };
        match (*command, arguments) {
            ("status", []) => Ok(scope.status()),
            ("ready", []) => scope.ready(),
            ("certificates", []) => Ok(scope.certificates()),
            ("who", []) => Ok(scope.who()),
            ("top", []) => Ok(scope.top()),
            ("kick", ["user", name]) => scope.kick(&Kicked::User(name)),
            ("kick", ["address", text]) => {
                let network = network(text).map_err(|clause| clause + ".")?;
                scope.kick(&Kicked::Network(network))
            }
            ("kick", [session]) => scope.kick(&Kicked::Session(session)),
            ("kick", _) => {
                Err("use kick SESSION, kick user NAME or kick address NETWORK.".to_owned())
            }
            ("ban", [network]) => scope.ban(network, None),
            ("ban", [network, time]) => scope.ban(network, Some(time)),
            ("ban", _) => Err("use ban NETWORK or ban NETWORK TIME, such as 10m or 2h.".to_owned()),
            ("bans", []) => Ok(scope.bans()),
            // SECURITY: to a successor alone, which has the descriptors of this server by now.
            (STATE, []) if self.handing_over.load(Ordering::Acquire) => Ok(scope.handed_state()),
            ("unban", ["user", name]) => scope.unban_user(name),
            ("unban", [network]) => scope.unban(network),
            ("unban", _) => Err("use unban NETWORK or unban user NAME.".to_owned()),
            ("reload", []) => self.reload(),
            ("reopen", []) => {
                self.live.log().reopen();
                if let Some(registry) = &self.registry {
                    registry.send_to_slaves(b"reopen");
                }
                Ok("the files of the log are open again\n".to_owned())
            }
            ("drain", number) => scope.set_draining(number, true),
            ("resume", number) => scope.set_draining(number, false),
            ("stop", []) => stop(),
            (ADOPT_BANS, bans) if is_part => scope.adopt_bans(bans),
            (SESSIONS, []) if is_part => Ok(self.service.scoreboard.records(scope.now)),
            ("quota", []) => scope.quota(None),
            ("quota", [user]) => scope.quota(Some(user)),
            ("recount", [user]) => scope.recount(user),
            ("limit", ["user", user, arguments @ ..]) => scope.limit_user(user, arguments),
            ("limit", arguments) => scope.limit(arguments),
            ("verbose", []) => scope.limit(&["log-level"]),
            ("verbose", [switch @ ("on" | "off")]) => {
                scope.limit(&["log-level", if *switch == "on" { "verbose" } else { "normal" }])
            }
            _ => Err(format!("unknown command '{command}', or wrong arguments; use {COMMANDS}.")),
        }
    }
}

/// Returns an answer that is a sentence as JSON.
fn in_json(text: String) -> String {
    if text.starts_with(['[', '{']) {
        return text;
    }
    format!(
        "{}\n",
        row(Form::Json, &["done", "message"], &[Cell::Bool(true), Cell::text(text.trim_end())])
    )
}

/// Returns whether a command changes anything, so that it is logged.
fn changes(command: &[&str]) -> bool {
    match command {
        [] | ["limit" | "verbose"] | ["limit", _] | ["limit", "user", _] => false,
        [first, ..] => !["status", "who", "top", "bans", "quota", "certificates", "ready", STATE]
            .contains(first),
    }
}
