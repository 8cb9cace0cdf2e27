//! Pipelining for many small files: the next commands are sent ahead, so that no file waits for a round trip.
//!
//! In block mode every file has its own end, all files use one data connection, and the server answers the lines in
//! order. So the commands for the next files can be sent while the current file arrives. Nothing else changes: the code
//! that sends a command finds that it was sent already, and reads its reply.
//!
//! Any other course (a file that is to be resumed, a server that refuses, Ctrl-C) ends in [`Client::drain`]: the
//! replies to superfluous commands are read and dropped, without their data.

use std::path::PathBuf;

use crate::ftp::command::{Command, Mode, Type};

use super::files::{destination, name};
use super::part::Part;
use super::{Client, RemoteMetadata};

/// Maximum number of bytes of commands sent ahead. Any socket buffers this much, so that the two ends never both wait
/// for the other to read.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// Maximum number of lines sent ahead, two per file. With [`SMALL_BYTES_MAX`] it limits the data that a server hashes
/// in vain to 8 MiB, if the files are not wanted after all.
const AHEAD_LINES_MAX: usize = 64;

/// Maximum size of a file that is requested ahead, in bytes. With a larger file the round trip is a small part of the
/// time.
const SMALL_BYTES_MAX: u64 = 256 * 1024;

/// Maximum number of times per connection that files requested ahead may turn out not to be wanted. Each time costs a
/// data connection and all data under way.
const WASTED_MAX: u32 = 3;

/// A file that is about to be fetched, with its local path.
#[derive(Debug)]
#[allow(missing_docs, reason = "each name says it")]
pub struct FileRequest {
    pub path: Vec<u8>,
    pub local: PathBuf,
    /// Size and time from a listing.
    pub known: Option<RemoteMetadata>,
}

impl Client {
    /// Sends ahead the commands that [`Client::download`] will send for these files, in this order.
    ///
    /// Does nothing where these commands cannot be predicted: before the first file has come in block mode, in a type
    /// other than image, without HASH on the server, and for files that are large or partly fetched. Also does nothing
    /// with a rate limit.
    pub fn pipeline(
        &mut self,
        requests: impl IntoIterator<Item = FileRequest>,
        representation: Type,
    ) {
        let foreseeable = self.framing() == Mode::Block
            && self.open_data.is_some()
            && (representation, self.representation) == (Type::Image, Some(Type::Image))
            && self.features.hash.is_some()
            && self.wasted < WASTED_MAX
            // With a limit, the server would finish its replies long before they are read, and take the session for
            // idle.
            && self.options.limit.is_none();
        let (mut count, mut bytes) = self.connection.pipelined();
        // Waits until half of the lines are answered, so that many lines leave together.
        if !foreseeable || count > AHEAD_LINES_MAX / 2 || bytes > AHEAD_BYTES_MAX / 2 {
            return;
        }
        let mut lines = Vec::new();
        for file in requests {
            let Some(said) = lines_of(&file) else { break };
            if said.iter().all(|line| self.connection.is_pipelined(line)) {
                continue;
            }
            count += said.len();
            bytes += said.iter().map(Vec::len).sum::<usize>();
            if count > AHEAD_LINES_MAX || bytes > AHEAD_BYTES_MAX {
                break;
            }
            lines.extend(said);
        }
        // The download finds a lost connection and handles it.
        let _said = self.connection.send_pipelined(lines);
    }

    /// Prepares for sending `line`: counts other lines sent ahead as owed, so that their replies are read and dropped.
    /// A file that is no longer wanted costs the data connection, so that its bytes cannot arrive.
    pub(super) fn drain(&mut self, line: &[u8]) {
        if !self.connection.skip_pipelined(line, |said| !moves_data(said)) {
            self.open_data = None;
            self.wasted += 1;
            self.connection.skip_pipelined(line, |_| true);
        }
    }
}

/// Returns the commands that a download of this file will send, if they can be predicted.
fn lines_of(file: &FileRequest) -> Option<[Vec<u8>; 2]> {
    let is_small = file.known?.size? <= SMALL_BYTES_MAX;
    if !is_small || Part::is_there(&destination(&file.local).ok()?) {
        return None;
    }
    let path = name(&file.path).ok()?;
    Some([Command::Retrieve(path.clone()).encode(), Command::Hash(path).encode()])
}

fn moves_data(line: &[u8]) -> bool {
    line.starts_with(b"RETR ")
}
