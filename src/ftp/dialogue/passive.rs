//! Passive data connections: EPSV (RFC 2428), and PASV where EPSV does not work.

use super::step::{Dialogue, Refused, Stage, Step};
use crate::ftp::address::{parse_extended_passive, parse_passive_port};
use crate::ftp::command::Command;
use crate::ftp::command::ExtendedPassive;
use crate::ftp::reply::{Code, Reply};

/// A request for the port of a data connection.
#[derive(Debug)]
pub struct Passive {
    /// EPSV is in use, not PASV.
    is_extended: bool,
}

impl Passive {
    /// Creates a request, by EPSV if `is_extended`, else by PASV.
    #[must_use]
    pub fn new(is_extended: bool) -> Self {
        Self { is_extended }
    }

    /// Returns true if EPSV is in use. After a fallback it is not, and further requests should begin with PASV.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.is_extended
    }

    /// Returns the command in use.
    #[must_use]
    pub fn command(&self) -> Command {
        if self.is_extended {
            Command::ExtendedPassive(ExtendedPassive::Any)
        } else {
            Command::Passive
        }
    }

    /// Returns the next step after a connection to the port has failed; `None` if there is nothing else to try.
    pub fn fall_back(&mut self) -> Option<Step<u16>> {
        // PASV knows IPv4 only, but the port is all that is taken from its reply.
        std::mem::take(&mut self.is_extended).then_some(Step::Send(Command::Passive))
    }
}

impl Dialogue for Passive {
    type Outcome = u16;

    fn start(&mut self) -> Step<u16> {
        Step::Send(self.command())
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<u16>, Refused> {
        let text = reply.text();
        let port = match reply.code {
            Code::EXTENDED_PASSIVE if self.is_extended => parse_extended_passive(&text),
            Code::PASSIVE if !self.is_extended => parse_passive_port(&text),
            _ => None,
        };
        match port {
            Some(port) => Ok(Step::Done(port)),
            None => self.fall_back().ok_or_else(|| Refused::at(Stage::Passive, reply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{Transcript, resume, run};
    use super::*;

    const EPSV: (u16, &str) = (229, "Entering (|||2000|)");
    const PASV: (u16, &str) = (227, "Entering (10,0,0,1,7,208)");

    #[test]
    fn pasv_follows_where_epsv_is_refused() {
        assert_eq!(run(Passive::new(true), &[EPSV]), Transcript::new(&["EPSV"], Ok(2000)));
        let both = Transcript::new(&["EPSV", "PASV"], Ok(2000));
        for refusal in [(500, "unknown"), (229, "no port"), (425, "no")] {
            assert_eq!(run(Passive::new(true), &[refusal, PASV]), both);
        }
        let refused = Transcript::new(&["EPSV", "PASV"], Err((Stage::Passive, 501)));
        assert_eq!(run(Passive::new(true), &[(500, "unknown"), (501, "no")]), refused);
    }

    #[test]
    fn pasv_follows_where_no_connection_to_the_port_of_epsv_is_made() {
        let mut passive = Passive::new(true);
        let first = passive.start();
        assert_eq!(resume(&mut passive, first, &[EPSV]).end, Ok(2000));
        let next = passive.fall_back().unwrap();
        assert_eq!(resume(&mut passive, next, &[PASV]), Transcript::new(&["PASV"], Ok(2000)));
        assert!(!passive.is_extended() && passive.fall_back().is_none());
        let refused = Transcript::new(&["PASV"], Err((Stage::Passive, 500)));
        assert_eq!(run(Passive::new(false), &[(500, "no")]), refused);
    }
}
