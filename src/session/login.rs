//! Who the client is: USER, PASS, ACCT, HOST, REIN.

use std::time::Instant;

use crate::ftp::command::{Password, PathName};
use crate::ftp::path::PathTooLong;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::log::Event;
use crate::storage::{Account, Accounts, Permissions, Root};

use super::refusal::Refusal;
use super::{Parameters, Session};

/// Who the client is.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// Nobody we know.
    #[default]
    Stranger,
    /// USER was said, PASS was not.
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

/// Somebody who has logged in, and where they are. Whatever touches the tree is a method of this: a stranger has none.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) account: Account,
    pub(super) directory: VirtualPath,
}

impl Member {
    pub(super) fn permissions(&self) -> Permissions {
        self.account.permissions()
    }

    pub(super) fn root(&self) -> &Root {
        self.account.root()
    }

    /// Where a pathname leads from the current directory.
    pub(super) fn resolve(&self, path: &PathName) -> Result<VirtualPath, PathTooLong> {
        self.directory.join(&path.0)
    }

    /// The same, or the current directory when there is none.
    pub(super) fn resolve_or_here(
        &self,
        path: Option<&PathName>,
    ) -> Result<VirtualPath, PathTooLong> {
        path.map_or_else(|| Ok(self.directory.clone()), |path| self.resolve(path))
    }
}

impl Session {
    pub(super) fn user(&mut self, name: Vec<u8>, now: Instant) -> Reply {
        // The same words whether or not there is such a user.
        let text = if Accounts::is_anonymous(&name) {
            "Give your e-mail address as password."
        } else {
            "Password required."
        };
        self.become_stranger(now);
        self.login = Login::Named(name);
        Reply::new(Code::NEED_PASSWORD, text)
    }

    pub(super) fn password(
        &mut self,
        password: &Password,
        now: Instant,
    ) -> Result<Option<Reply>, Refusal> {
        let name = match std::mem::take(&mut self.login) {
            Login::Named(name) => name,
            other => {
                self.login = other;
                return Err(Refusal::OutOfSequence("Say USER first."));
            }
        };
        if let Some(account) = self.service.accounts.verify(&name, password) {
            self.log(&Event::Login { user: &name });
            self.login =
                Login::Member(Box::new(Member { account, directory: VirtualPath::root() }));
            return Ok(Some(Reply::new(Code::LOGGED_IN, "Logged in.")));
        }
        self.log(&Event::LoginFailed { user: &name });
        self.failures += 1;
        if self.failures >= self.service.limits.login_failures_max {
            self.reply(&Refusal::LoginIncorrect.reply());
            self.dismiss("Too many failed logins; closing.", now);
            return Ok(None);
        }
        Err(Refusal::LoginIncorrect)
    }

    pub(super) fn account(&self) -> Result<Reply, Refusal> {
        match self.login {
            Login::Member(_) => Ok(Reply::new(Code::SUPERFLUOUS, "No account is needed.")),
            _ => Err(Refusal::OutOfSequence("Say USER and PASS first.")),
        }
    }

    /// HOST comes before USER (RFC 7151 §3.1); every name is this server.
    pub(super) fn host(&self) -> Result<Reply, Refusal> {
        match self.login {
            Login::Stranger => Ok(Reply::new(Code::READY, self.service.greeting())),
            _ => Err(Refusal::OutOfSequence("HOST comes before USER.")),
        }
    }

    pub(super) fn reinitialize(&mut self, now: Instant) {
        self.become_stranger(now);
        self.parameters = Parameters::default();
        self.route = None;
    }

    /// A member who gives that up has the time of a new client to log in; a stranger's time goes on.
    fn become_stranger(&mut self, now: Instant) {
        if matches!(std::mem::take(&mut self.login), Login::Member(_)) {
            self.stranger_since = now;
        }
    }
}
