//! Comparison of a local file with a remote one, by a checksum where the server computes any.
//!
//! A file that was just transferred is checked against faults of the way, for which CRC-32 is enough. A large one uses
//! it where HASH offers it: SHA-256 takes longer than the transfer on a fast link. Every other comparison uses the
//! strong algorithm that the server prefers, because the bytes may be chosen by somebody else.
//!
//! A transfer adds its bytes to the checksum as they move, if that takes little time. Otherwise, the file is read again
//! while the server computes its own checksum.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::ftp::checksum::{Algorithm, Checksum};
use crate::ftp::command::{Command, PathName, Range, Setting};
use crate::ftp::{Code, Reply};

use super::connection::Client;
use super::error::ClientError;
use super::link::Link;
use super::names::name;
use super::transfer::SLOWEST_BYTES_PER_SECOND;

/// Size in bytes from which a transferred file is checked by the fastest algorithm. Below it, the round trip that chooses
/// the algorithm takes longer than the hash.
const LARGE_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Maximum size of a file whose checksum is asked for before the end of its transfer, in bytes. The server may compute it
/// in vain.
const AHEAD_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Maximum number of bytes of a local file to read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Same,
    Different,
    /// The server computes no checksum for this file.
    Unknown,
}

impl Client {
    /// Returns true if a checksum of the server proves that a local file has the bytes of a remote one.
    pub(super) fn is_same(&mut self, path: &[u8], local: &Path) -> Result<bool, ClientError> {
        let failed = |error: io::Error| ClientError::local(local, &error);
        #[expect(clippy::disallowed_methods, reason = "the user's own file, named by the user")]
        let file = File::open(local).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let compared = self.link()?.compare(path, &file, local, length, Whole::Yes)?;
        Ok(compared == Comparison::Same)
    }
}

/// Purpose of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To find out whether two files are the same.
    Identify,
    /// To find faults of a transfer.
    Verify,
}

/// The bytes of a local file that are compared.
struct Content<'a> {
    file: &'a File,
    local: &'a Path,
    /// Number of bytes, from the beginning.
    count: u64,
    /// Checksum of these bytes, if it is known.
    checksum: Option<Checksum>,
}

impl Link {
    /// Compares a file that was just transferred with the remote file. `known` is the checksum of its bytes, if the
    /// transfer has computed it.
    pub(super) fn verify(
        &mut self,
        path: &[u8],
        file: &File,
        local: &Path,
        count: u64,
        known: Option<Checksum>,
    ) -> Result<Comparison, ClientError> {
        let content = Content { file, local, count, checksum: known };
        self.compare_for(Purpose::Verify, path, content, Whole::Yes)
    }

    /// Returns the checksum to which a transfer of `count` bytes should add them as they move. Returns `None` if the file
    /// should be read again instead.
    pub(super) fn checksum_on_the_way(&self, count: u64) -> Option<Checksum> {
        let algorithm = match self.features.hash {
            Some(_) => self.wanted_hash(Purpose::Verify, count)?,
            None => *self.features.checksums.first()?,
        };
        let is_fast = algorithm == Algorithm::Crc32 || count < LARGE_BYTES_MIN;
        is_fast.then(|| Checksum::new(algorithm))
    }

    /// Compares the first `count` bytes of a local file with those of a remote one.
    pub(super) fn compare(
        &mut self,
        path: &[u8],
        file: &File,
        local: &Path,
        count: u64,
        whole: Whole,
    ) -> Result<Comparison, ClientError> {
        let content = Content { file, local, count, checksum: None };
        self.compare_for(Purpose::Identify, path, content, whole)
    }

    fn compare_for(
        &mut self,
        purpose: Purpose,
        path: &[u8],
        content: Content<'_>,
        whole: Whole,
    ) -> Result<Comparison, ClientError> {
        let Content { file, local, count, checksum } = content;
        let command = self.checksum_command(purpose, path, count, whole)?;
        let Some((algorithm, command)) = command else {
            return Ok(Comparison::Unknown);
        };
        // Both sides hash in parallel.
        self.send(&command.encode())?;
        let ours = match checksum.filter(|known| known.algorithm() == algorithm) {
            Some(known) => Ok(known.finish()),
            None => sum_up(file, count, algorithm, || self.settings.interrupt.check())
                .map_err(|error| error.at(local)),
        };
        if self.settings.interrupt.is_set() {
            self.abort()?;
            return Err(ClientError::interrupted());
        }
        let patience = Duration::from_secs(count / SLOWEST_BYTES_PER_SECOND);
        let reply = self.with_patience(patience, Self::reply)?;
        let Some(theirs) = checksum_in(&reply, algorithm).filter(|_| reply.code.is_completion())
        else {
            return Ok(Comparison::Unknown);
        };
        let same = ours?.eq_ignore_ascii_case(&theirs);
        Ok(if same { Comparison::Same } else { Comparison::Different })
    }

    /// Returns the command that makes the server hash the first `count` bytes, or `None` if it has none.
    fn checksum_command(
        &mut self,
        purpose: Purpose,
        path: &[u8],
        count: u64,
        whole: Whole,
    ) -> Result<Option<(Algorithm, Command)>, ClientError> {
        let path = name(path)?;
        if self.features.hash.is_some() {
            if purpose == Purpose::Verify {
                self.foresee(&self.commands_to_verify(&path, count))?;
            }
            let Some(algorithm) = self.choose_hash(purpose, count)? else { return Ok(None) };
            if whole == Whole::No && !(self.features.ranges && count > 0) {
                return Ok(None);
            }
            if whole == Whole::No {
                let range = Range { first: 0, last: count - 1 };
                if !self.ask(&Command::Range(Some(range)))?.code.is_intermediate() {
                    return Ok(None);
                }
            }
            return Ok(Some((algorithm, Command::Hash(path))));
        }
        // Servers do not agree on the meaning of the offsets in these commands, so only whole files are compared.
        let algorithm = self.features.checksums.first().copied().filter(|_| whole == Whole::Yes);
        Ok(algorithm
            .map(|algorithm| (algorithm, Command::Checksum { algorithm, path, from: 0, to: None })))
    }
}

impl Link {
    /// Returns the algorithm of HASH, after a change if another one fits better.
    fn choose_hash(
        &mut self,
        purpose: Purpose,
        count: u64,
    ) -> Result<Option<Algorithm>, ClientError> {
        let current = self.current_hash();
        let wanted = self.wanted_hash(purpose, count);
        let Some(algorithm) = wanted.filter(|_| wanted != current) else { return Ok(current) };
        let choice = hash_choice(algorithm);
        if self.ask(&choice)?.code.is_completion() {
            self.parameters.hash = wanted;
            return Ok(wanted);
        }
        self.features.hash_crc32 = false;
        Ok(current.filter(|_| purpose == Purpose::Verify))
    }

    /// Returns the algorithm that HASH uses now.
    fn current_hash(&self) -> Option<Algorithm> {
        self.parameters.hash.or(self.features.hash)
    }

    /// Returns the algorithm of HASH that fits best.
    fn wanted_hash(&self, purpose: Purpose, count: u64) -> Option<Algorithm> {
        match purpose {
            Purpose::Verify if count < LARGE_BYTES_MIN => self.current_hash(),
            Purpose::Verify if self.features.hash_crc32 => Some(Algorithm::Crc32),
            _ => self.features.hash,
        }
    }

    /// Returns the commands for the checksum of a file that is being transferred; none if they cannot be predicted.
    pub(super) fn commands_to_verify(&self, path: &PathName, count: u64) -> Vec<Command> {
        let wanted = self.wanted_hash(Purpose::Verify, count);
        let is_foreseeable = self.features.hash.is_some() && count <= AHEAD_BYTES_MAX;
        let Some(algorithm) = wanted.filter(|_| is_foreseeable) else {
            return Vec::new();
        };
        let choice = (wanted != self.current_hash()).then(|| hash_choice(algorithm));
        choice.into_iter().chain([Command::Hash(path.clone())]).collect()
    }
}

/// Returns the command that chooses an algorithm.
fn hash_choice(algorithm: Algorithm) -> Command {
    Command::Set(Setting::Hash(Some(algorithm.name().to_owned())))
}

/// Extent of a comparison: `Yes` if the remote file has no more bytes than are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
}

/// Reason why a local file was not hashed.
enum Unsummed {
    Io(io::Error),
    Stopped(ClientError),
}

impl Unsummed {
    fn at(self, local: &Path) -> ClientError {
        match self {
            Self::Io(error) => ClientError::local(local, &error),
            Self::Stopped(error) => error,
        }
    }
}

fn sum_up(
    file: &File,
    count: u64,
    algorithm: Algorithm,
    go_on: impl Fn() -> Result<(), ClientError>,
) -> Result<String, Unsummed> {
    let (mut checksum, mut offset) = (Checksum::new(algorithm), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    while offset < count {
        go_on().map_err(Unsummed::Stopped)?;
        let left = usize::try_from(count - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let room = chunk.get_mut(..left).unwrap_or_default();
        let got = file.read_at(room, offset).map_err(Unsummed::Io)?;
        if got == 0 {
            return Err(Unsummed::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        checksum.update(room.get(..got).unwrap_or_default());
        offset += got as u64;
    }
    Ok(checksum.finish())
}

/// Finds the checksum in a reply: `213 SHA-256 0-9 abc… name` from HASH, `250 abc…` from the other commands.
fn checksum_in(reply: &Reply, algorithm: Algorithm) -> Option<String> {
    let text = reply.text();
    let digits = Checksum::new(algorithm).finish().len();
    let is_sum =
        |word: &&str| word.len() == digits && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = text.split_ascii_whitespace();
    let found = if reply.code == Code::FILE_STATUS {
        // If the algorithm is not the one in FEAT, somebody has chosen another.
        words.next().filter(|name| Algorithm::named(name) == Some(algorithm))?;
        words.nth(1).filter(is_sum)
    } else {
        words.find(is_sum)
    };
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_found_in_replies_of_every_kind() {
        let found =
            |code, text: &str, algorithm| checksum_in(&Reply::new(Code(code), text), algorithm);
        let sum = "900150983cd24fb0d6963f7d28e17f72";
        let hash = format!("MD5 0-9 {sum} a b");
        assert_eq!(found(213, &hash, Algorithm::Md5), Some(sum.to_owned()));
        assert_eq!(found(213, &hash, Algorithm::Sha256), None);
        assert_eq!(found(250, "352441C2", Algorithm::Crc32), Some("352441C2".to_owned()));
        assert_eq!(found(250, "XCRC 352441C2", Algorithm::Crc32), Some("352441C2".to_owned()));
        assert_eq!(found(250, "20240131.csv 20240131 done", Algorithm::Md5), None);
    }
}
