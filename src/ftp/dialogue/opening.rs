//! The opening of a connection: the greeting, and AUTH TLS (RFC 4217 §4).

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::command::Command;
use crate::ftp::command::Mechanism;
use crate::ftp::reply::{Code, Reply};

/// Use of AUTH TLS after the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// AUTH is not sent.
    Skip,
    /// The connection continues without TLS if the server refuses AUTH.
    Try,
    /// The dialogue ends if the server refuses AUTH.
    Require,
}

/// State of a connection after its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The next command follows.
    Ready,
    /// The TLS handshake of the control connection follows.
    Handshake,
}

/// The greeting, and AUTH TLS where it is wanted.
#[derive(Debug)]
pub struct Opening {
    authentication: Authentication,
    is_greeted: bool,
    is_answered_oddly: bool,
}

impl Opening {
    /// Creates a dialogue that waits for the greeting.
    #[must_use]
    pub fn new(authentication: Authentication) -> Self {
        Self { authentication, is_greeted: false, is_answered_oddly: false }
    }

    /// Returns true if the server answered AUTH with a success that is not 234. Such servers do not know TLS, or begin
    /// it nevertheless.
    #[must_use]
    pub fn is_answered_oddly(&self) -> bool {
        self.is_answered_oddly
    }
}

impl Dialogue for Opening {
    type Outcome = Opened;

    fn start(&mut self) -> Step<Opened> {
        Step::Receive
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Opened>, Refused> {
        if self.is_greeted {
            self.is_answered_oddly =
                reply.code.is_completion() && reply.code != Code::SECURITY_EXCHANGED;
            return match self.authentication {
                _ if reply.code == Code::SECURITY_EXCHANGED => Ok(Step::Done(Opened::Handshake)),
                Authentication::Require => Err(Refused::at(Stage::Authentication, reply)),
                Authentication::Skip | Authentication::Try => Ok(Step::Done(Opened::Ready)),
            };
        }
        if reply.code.is_preliminary() {
            // 120: the server will be ready in a moment.
            return Ok(Step::Receive);
        }
        if !reply.code.is_completion() {
            return Err(Refused::at(Stage::Greeting, reply));
        }
        self.is_greeted = true;
        Ok(match self.authentication {
            Authentication::Skip => Step::Done(Opened::Ready),
            Authentication::Try | Authentication::Require => {
                Step::Send(Command::Authenticate(Mechanism::Tls))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{Transcript, run};
    use super::*;

    #[test]
    fn a_server_may_announce_a_delay_before_its_greeting() {
        let opening = Opening::new(Authentication::Skip);
        let transcript = run(opening, &[(120, "soon"), (220, "ready")]);
        assert_eq!(transcript, Transcript::new(&[], Ok(Opened::Ready)));
    }

    #[test]
    fn a_server_may_refuse_a_connection() {
        let transcript = run(Opening::new(Authentication::Try), &[(530, "full")]);
        assert_eq!(transcript, Transcript::new(&[], Err((Stage::Greeting, 530))));
    }

    #[test]
    fn tls_begins_after_234_and_is_optional_unless_required() {
        let auth =
            |authentication, code| run(Opening::new(authentication), &[(220, "ready"), (code, "")]);
        let sent = ["AUTH TLS"];
        for authentication in [Authentication::Try, Authentication::Require] {
            let expected = Transcript::new(&sent, Ok(Opened::Handshake));
            assert_eq!(auth(authentication, 234), expected);
        }
        let plain = Transcript::new(&sent, Ok(Opened::Ready));
        assert_eq!(auth(Authentication::Try, 502), plain);
        let refused = Transcript::new(&sent, Err((Stage::Authentication, 502)));
        assert_eq!(auth(Authentication::Require, 502), refused);
    }
}
