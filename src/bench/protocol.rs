//! The dialogue of one client with the server, without I/O: login, settings, and then one task after the other.
//!
//! It is put together from the dialogues that `ftpclient` uses, too.

use std::collections::VecDeque;

use crate::ftp::command::{Mode, Password, Type};
use crate::ftp::dialogue::{
    Authentication, Begin, Dialogue, Exchange, Finish, Login, Opening, Passive, Refused, Stage,
    Step,
};
use crate::ftp::{Command, Reply};

use super::target::ClientSettings;

/// Purpose of a client: it decides the commands after the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The client leaves after the login.
    Visit,
    /// Commands without data.
    Commands,
    /// Transfers, in image type, and in block mode where that is set.
    Transfer,
}

/// Action that follows a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send this command.
    Send(Command),
    /// Wait for the next reply.
    Wait,
    /// Connect to this port for data, then request the transfer.
    Connect(u16),
    /// The server has confirmed one of the requested transfers.
    Confirmed,
    /// The login, or the command, is done.
    Done,
}

/// The state of the dialogue.
#[derive(Debug)]
pub(super) struct Protocol {
    state: State,
    /// Dialogues that follow the current one.
    queue: VecDeque<State>,
    /// EPSV is in use. Cleared for good once the server needs PASV.
    is_extended: bool,
}

#[derive(Debug)]
enum State {
    Opening(Opening),
    Login(Login),
    Exchange(Exchange),
    Passive(Passive),
    Transfers(Transfers),
    Ready,
}

/// Requested transfers, whose replies come in order.
#[derive(Debug)]
struct Transfers {
    begin: Begin,
    is_begun: bool,
    /// Number of transfers without final reply.
    outstanding: usize,
}

impl Protocol {
    /// Creates the dialogue of a new connection, whose greeting is to come.
    pub(super) fn new(settings: &ClientSettings, purpose: Purpose) -> Self {
        let password = Password(settings.password.as_bytes().to_vec().into());
        let login = Login::new(&settings.user, password, false);
        let mut queue = VecDeque::from([State::Login(login)]);
        let setting = |command| State::Exchange(Exchange::new(command));
        if purpose == Purpose::Transfer {
            queue.push_back(setting(Command::Type(Type::Image)));
            queue.extend(settings.block.then(|| setting(Command::Mode(Mode::Block))));
        }
        let state = State::Opening(Opening::new(Authentication::Skip));
        Self { state, queue, is_extended: true }
    }

    /// Begins a command without data, and returns the first action.
    pub(super) fn ask(&mut self, command: Command) -> Action {
        self.begin(State::Exchange(Exchange::new(command)))
    }

    /// Begins to request a data connection, and returns the first action.
    pub(super) fn open_data(&mut self) -> Action {
        self.begin(State::Passive(Passive::new(self.is_extended)))
    }

    /// Expects the replies to `count` more transfers, which are requested by equal commands.
    pub(super) fn expect(&mut self, command: Command, count: usize) {
        match &mut self.state {
            State::Transfers(transfers) => transfers.outstanding += count,
            state => {
                let begin = Begin::new(command, 0);
                *state = State::Transfers(Transfers { begin, is_begun: false, outstanding: count });
            }
        }
    }

    /// Returns the action that follows a reply.
    pub(super) fn reply(&mut self, reply: Reply) -> Result<Action, Refused> {
        let action = match &mut self.state {
            State::Opening(opening) => action(opening.reply(reply)?),
            State::Login(login) => action(login.reply(reply)?),
            State::Exchange(exchange) => action(exchange.reply(reply)?),
            State::Passive(passive) => {
                let step = passive.reply(reply)?;
                self.is_extended = passive.is_extended();
                match step {
                    Step::Done(port) => Some(Action::Connect(port)),
                    step => action(step),
                }
            }
            State::Transfers(transfers) => Some(transfers.reply(reply)?),
            State::Ready => return Err(Refused { stage: Stage::Command, reply }),
        };
        Ok(action.unwrap_or_else(|| {
            let next = self.queue.pop_front().unwrap_or(State::Ready);
            self.begin(next)
        }))
    }

    fn begin(&mut self, state: State) -> Action {
        self.state = state;
        let first = match &mut self.state {
            State::Opening(opening) => action(opening.start()),
            State::Login(login) => action(login.start()),
            State::Exchange(exchange) => action(exchange.start()),
            State::Passive(passive) => action(passive.start()),
            State::Transfers(_) | State::Ready => None,
        };
        first.unwrap_or(Action::Done)
    }
}

impl Transfers {
    fn reply(&mut self, reply: Reply) -> Result<Action, Refused> {
        if self.outstanding == 0 {
            return Err(Refused { stage: Stage::Command, reply });
        }
        if !self.is_begun {
            // Without an offset, the start of a transfer has no step but the last one.
            if let Step::Done(Some(reply)) = self.begin.reply(reply)? {
                return Err(Refused { stage: Stage::Command, reply });
            }
            self.is_begun = true;
            return Ok(Action::Wait);
        }
        Ok(match Finish.reply(reply)? {
            Step::Done(_) => {
                self.is_begun = false;
                self.outstanding -= 1;
                Action::Confirmed
            }
            Step::Send(_) | Step::Receive => Action::Wait,
        })
    }
}

/// Returns the action of a step; `None` if the dialogue is complete.
fn action<T>(step: Step<T>) -> Option<Action> {
    match step {
        Step::Send(command) => Some(Action::Send(command)),
        Step::Receive => Some(Action::Wait),
        Step::Done(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Code;
    use crate::ftp::command::PathName;

    /// Passes replies, and returns the commands that were sent and the last action.
    fn run(protocol: &mut Protocol, replies: &[(u16, &str)]) -> (Vec<String>, Action) {
        let mut sent = Vec::new();
        let mut last = Action::Wait;
        for (code, text) in replies {
            last = protocol.reply(Reply::new(Code(*code), *text)).unwrap();
            if let Action::Send(command) = &last {
                sent.push(String::from_utf8(command.encode()).unwrap());
            }
        }
        (sent, last)
    }

    fn client(block: bool, purpose: Purpose) -> Protocol {
        let (user, password) = ("anna".to_owned(), "secret".to_owned());
        Protocol::new(&ClientSettings { user, password, block, ahead: 0 }, purpose)
    }

    #[test]
    fn a_purpose_decides_the_commands_after_the_login() {
        let replies = [(220, "ready"), (331, "?"), (230, "in"), (200, ""), (200, "")];
        let cases = [
            (false, Purpose::Commands, 3, vec!["USER anna", "PASS secret"]),
            (false, Purpose::Transfer, 4, vec!["USER anna", "PASS secret", "TYPE I"]),
            (true, Purpose::Transfer, 5, vec!["USER anna", "PASS secret", "TYPE I", "MODE B"]),
        ];
        for (block, purpose, count, sent) in cases {
            let mut protocol = client(block, purpose);
            let (commands, last) = run(&mut protocol, &replies[..count]);
            assert_eq!(commands, sent);
            assert_eq!(last, Action::Done);
        }
    }

    #[test]
    fn pasv_is_used_for_good_once_epsv_is_refused() {
        let mut protocol = client(false, Purpose::Transfer);
        run(&mut protocol, &[(220, ""), (230, ""), (200, "")]);
        assert!(matches!(protocol.open_data(), Action::Send(Command::ExtendedPassive(_))));
        let (sent, last) = run(&mut protocol, &[(500, "unknown"), (227, "(127,0,0,1,7,208)")]);
        assert_eq!((sent, last), (vec!["PASV".to_owned()], Action::Connect(2000)));
        assert_eq!(protocol.open_data(), Action::Send(Command::Passive));
    }

    #[test]
    fn each_requested_transfer_is_confirmed_once() {
        let mut protocol = client(false, Purpose::Transfer);
        run(&mut protocol, &[(220, ""), (230, ""), (200, "")]);
        protocol.expect(Command::Retrieve(PathName(b"a".to_vec())), 2);
        let mut confirmed = 0;
        for code in [150, 110, 226, 150, 226] {
            let action = protocol.reply(Reply::new(Code(code), "")).unwrap();
            confirmed += u32::from(action == Action::Confirmed);
        }
        assert_eq!(confirmed, 2);
        assert!(protocol.reply(Reply::new(Code(226), "")).is_err(), "one too many");
        protocol.expect(Command::Retrieve(PathName(b"a".to_vec())), 1);
        assert!(protocol.reply(Reply::new(Code(550), "gone")).is_err());
    }
}
