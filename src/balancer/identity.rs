//! The identity of a running server, as it answers the question `where` on its registration socket.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

/// The identity of a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The address at which it listens.
    pub address: SocketAddr,
    /// The process ID.
    pub process: u32,
    /// True if a successor has taken its place, so that it only finishes its sessions.
    pub is_leaving: bool,
    /// The program file that it runs.
    pub program: Option<Program>,
}

/// A program file, by its device and inode numbers. A new version has others, because packages replace the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program(u64, u64);

/// The program of this process, also after the file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

const LEAVING: &str = "leaving";
const SERVING: &str = "serving";

impl Program {
    /// Returns the program that this process runs; `None` if the system does not show it.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let found = std::fs::metadata(OWN_PROGRAM).ok()?;
        Some(Self(found.dev(), found.ino()))
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_leaving { LEAVING } else { SERVING };
        write!(formatter, "{} {} {state}", self.address, self.process)?;
        match self.program {
            Some(Program(device, inode)) => write!(formatter, " {device} {inode}"),
            None => Ok(()),
        }
    }
}

impl ServerIdentity {
    /// Reads what a server has answered; `None` if it is not an identity.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (address, process) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let is_leaving = words.next()? == LEAVING;
        let mut number = || words.next()?.parse().ok();
        let program = number().zip(number()).map(|(device, inode)| Program(device, inode));
        Some(Self { address, process, is_leaving, program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back() {
        let address = SocketAddr::from(([127, 0, 0, 1], 21));
        for (is_leaving, program) in
            [(false, Program::of_this_process()), (true, None), (false, Some(Program(7, 9)))]
        {
            let identity = ServerIdentity { address, process: 42, is_leaving, program };
            assert_eq!(ServerIdentity::read(&identity.to_string()), Some(identity));
        }
        assert_eq!(ServerIdentity::read("127.0.0.1:21"), None);
    }
}
