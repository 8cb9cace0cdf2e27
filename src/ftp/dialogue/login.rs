//! The login, and the protection of data connections after it.

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::command::Command;
use crate::ftp::command::{Password, ProtectionLevel};
use crate::ftp::reply::{Code, Reply};

/// 332: the server wants an account.
const NEED_ACCOUNT: Code = Code(332);

/// USER, PASS and ACCT as the server demands them; over TLS, PBSZ and PROT, so that data goes over TLS, too.
#[derive(Debug)]
pub struct Login {
    user: Vec<u8>,
    password: Password,
    protects_data: bool,
    awaits: Awaits,
}

/// Command whose reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    User,
    Password,
    Account,
    BufferSize,
    Protection,
}

impl Login {
    /// Creates the login of a user; `protects_data` asks for TLS on data connections after it.
    #[must_use]
    pub fn new(user: &str, password: Password, protects_data: bool) -> Self {
        Self { user: user.as_bytes().to_vec(), password, protects_data, awaits: Awaits::User }
    }

    fn send(&mut self, command: Command, awaits: Awaits) -> Step<()> {
        self.awaits = awaits;
        Step::Send(command)
    }
}

impl Dialogue for Login {
    type Outcome = ();

    fn start(&mut self) -> Step<()> {
        Step::Send(Command::User(self.user.clone()))
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<()>, Refused> {
        Ok(match self.awaits {
            Awaits::User if reply.code == Code::NEED_PASSWORD => {
                self.send(Command::Password(self.password.clone()), Awaits::Password)
            }
            Awaits::User | Awaits::Password if reply.code == NEED_ACCOUNT => {
                self.send(Command::Account, Awaits::Account)
            }
            Awaits::User | Awaits::Password | Awaits::Account => {
                if !reply.code.is_completion() {
                    return Err(Refused::at(Stage::Login, reply));
                }
                if !self.protects_data {
                    return Ok(Step::Done(()));
                }
                self.send(Command::ProtectionBuffer, Awaits::BufferSize)
            }
            // The reply to PROT decides.
            Awaits::BufferSize => {
                self.send(Command::Protect(ProtectionLevel::Private), Awaits::Protection)
            }
            Awaits::Protection if reply.code.is_completion() => Step::Done(()),
            Awaits::Protection => return Err(Refused::at(Stage::Protection, reply)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{Transcript, run};
    use super::*;

    fn anna(password: &str, protects_data: bool) -> Login {
        Login::new("anna", Password(password.as_bytes().to_vec().into()), protects_data)
    }

    #[test]
    fn a_server_asks_for_as_much_as_it_needs() {
        let login = |replies| run(anna("secret", false), replies);
        let (user, password, account) = ("USER anna", "PASS secret", "ACCT none");
        assert_eq!(login(&[(230, "in")]), Transcript::new(&[user], Ok(())));
        assert_eq!(login(&[(331, "?"), (202, "")]), Transcript::new(&[user, password], Ok(())));
        let all = login(&[(331, "?"), (332, "?"), (230, "in")]);
        assert_eq!(all, Transcript::new(&[user, password, account], Ok(())));
    }

    #[test]
    fn a_refusal_ends_the_login() {
        let login = |replies| run(anna("secret", true), replies);
        let refused = |sent: &[&str], code| Transcript::new(sent, Err((Stage::Login, code)));
        assert_eq!(login(&[(530, "no")]), refused(&["USER anna"], 530));
        let both = refused(&["USER anna", "PASS secret"], 530);
        assert_eq!(login(&[(331, "?"), (530, "no")]), both);
    }

    #[test]
    fn data_is_protected_after_the_login() {
        let login = |code| run(anna("", true), &[(230, "in"), (503, "not needed"), (code, "")]);
        let sent = ["USER anna", "PBSZ 0", "PROT P"];
        assert_eq!(login(200), Transcript::new(&sent, Ok(())));
        assert_eq!(login(536), Transcript::new(&sent, Err((Stage::Protection, 536))));
    }
}
