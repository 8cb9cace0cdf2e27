//! Many small files: what will be asked next is said before its time, so that no file waits for the way there and back.
//!
//! In block mode every file has an end of its own and all go over one data connection, and the server answers one line
//! after the other. So the commands of the files that come next can be on their way while this one arrives. Nothing else
//! changes: who says a command finds that it was said already, and reads its reply.
//!
//! Whatever goes otherwise than it was foreseen (a file that is to be resumed, a server that refuses, Ctrl-C) ends in
//! [`Client::catch_up`]: what was said too much is answered and read away, without its data.

use std::path::PathBuf;

use crate::ftp::command::{Command, Mode, Type};

use super::files::{destination, name};
use super::part::Part;
use super::{Client, Known};

/// How many bytes of commands are said ahead: no more than any socket takes at once, so that never both ends wait for the
/// other to read.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// How many lines are, two a file. With [`SMALL_BYTES_MAX`] it bounds what a server sums up in vain, 8 MiB, should the files
/// not be wanted after all.
const AHEAD_LINES_MAX: usize = 64;

/// The largest file that is asked for ahead, in bytes: of a larger one the way there and back is a small part.
const SMALL_BYTES_MAX: u64 = 256 * 1024;

/// How often files that were asked for ahead may turn out not to be wanted, on one connection: each time costs a data
/// connection, and all that was under way.
const WASTED_MAX: u32 = 3;

/// A file that is about to be fetched, into this place.
#[derive(Debug)]
#[allow(missing_docs, reason = "each name says it")]
pub struct Coming {
    pub path: Vec<u8>,
    pub local: PathBuf,
    /// What a listing has told of it.
    pub known: Option<Known>,
}

impl Client {
    /// Says ahead what [`Client::download`] will say of these files, in this order. Does nothing where that cannot be
    /// known: before the first file has come in block mode, in another type than image, of a server that makes no checksums
    /// (HASH), of files that are large or that a part is there of; nor with a limit of the rate.
    pub fn ask_ahead(&mut self, coming: impl IntoIterator<Item = Coming>, representation: Type) {
        let foreseeable = self.framing() == Mode::Block
            && self.open_data.is_some()
            && (representation, self.representation) == (Type::Image, Some(Type::Image))
            && self.features.hash.is_some()
            && self.wasted < WASTED_MAX
            // Else the server would have answered all long before it is read, and take us for idle.
            && self.options.limit.is_none();
        let (mut count, mut bytes) = self.connection.ahead();
        // Not before half of it is answered: so many lines leave together.
        if !foreseeable || count > AHEAD_LINES_MAX / 2 || bytes > AHEAD_BYTES_MAX / 2 {
            return;
        }
        let mut lines = Vec::new();
        for file in coming {
            let Some(said) = lines_of(&file) else { break };
            if said.iter().all(|line| self.connection.is_ahead(line)) {
                continue;
            }
            count += said.len();
            bytes += said.iter().map(Vec::len).sum::<usize>();
            if count > AHEAD_LINES_MAX || bytes > AHEAD_BYTES_MAX {
                break;
            }
            lines.extend(said);
        }
        // A connection that is lost shows in the download, which knows what to do.
        let _said = self.connection.send_ahead(lines);
    }

    /// Before a line is said: what was said ahead instead is counted as owed, so that its replies are read away. With a
    /// file that nobody waits for any more goes the data connection: its bytes must have nowhere to go.
    pub(super) fn catch_up(&mut self, line: &[u8]) {
        if !self.connection.skip_ahead(line, |said| !moves_data(said)) {
            self.open_data = None;
            self.wasted += 1;
            self.connection.skip_ahead(line, |_| true);
        }
    }
}

/// What is said of a file, if that is known before.
fn lines_of(file: &Coming) -> Option<[Vec<u8>; 2]> {
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
