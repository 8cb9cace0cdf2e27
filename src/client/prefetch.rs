//! Requests for many small files, sent ahead so that no file waits for a round trip.

use std::path::PathBuf;

use crate::ftp::command::{Command, Type};

use super::connection::Client;
use super::metadata::RemoteMetadata;
use super::names::{destination, name};
use super::part::Part;

/// Maximum size of a file that is requested ahead, in bytes. With a larger file the round trip is a small part of the
/// time.
const SMALL_BYTES_MAX: u64 = 256 * 1024;

/// A file that is about to be fetched, with its local path.
#[derive(Debug)]
#[expect(missing_docs, reason = "each name says it")]
pub struct FileRequest {
    pub path: Vec<u8>,
    pub local: PathBuf,
    /// Size and time from a listing.
    pub known: Option<RemoteMetadata>,
}

impl Client {
    /// Sends ahead the commands that [`Client::fetch`] will send for these files, in this order.
    ///
    /// Does nothing where these commands cannot be predicted: before the first file has come in block mode, in a type
    /// other than image, without HASH on the server, and for files that are large or partly fetched. Also does nothing
    /// with a rate limit.
    pub fn pipeline(
        &mut self,
        requests: impl IntoIterator<Item = FileRequest>,
        representation: Type,
    ) {
        // The download finds a lost connection and handles it.
        if let (Type::Image, Ok(link)) = (representation, self.link())
            && link.features.hash.is_some()
        {
            link.pipeline(Type::Image, requests.into_iter().map_while(|file| lines_of(&file)));
        }
    }

    /// Sends ahead the commands that [`Client::read_dir`] will send for these directories, in this order. Does nothing
    /// without MLSD, and before the first listing has come in block mode.
    pub(super) fn pipeline_listings(&mut self, paths: impl IntoIterator<Item = Vec<u8>>) {
        if let Ok(link) = self.link()
            && link.features.machine_listing
        {
            let line = |path: Vec<u8>| {
                Some(vec![Command::MachineListDirectory(Some(name(&path).ok()?)).encode()])
            };
            link.pipeline(Type::Ascii, paths.into_iter().map_while(line));
        }
    }
}

/// Returns the commands that a download of this file will send, if they can be predicted.
fn lines_of(file: &FileRequest) -> Option<Vec<Vec<u8>>> {
    let is_small = file.known?.size? <= SMALL_BYTES_MAX;
    if !is_small || Part::is_there(&destination(&file.local).ok()?) {
        return None;
    }
    let path = name(&file.path).ok()?;
    Some(vec![Command::Retrieve(path.clone()).encode(), Command::Hash(path).encode()])
}
