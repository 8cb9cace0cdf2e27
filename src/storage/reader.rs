//! A file that is read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use cap_std::fs::Metadata;

/// The next bytes of a file.
#[derive(Debug)]
pub enum Chunk<'r> {
    /// A file of this machine that has them: the kernel can send them to a socket.
    File(BorrowedFd<'r>),
    /// Bytes, at least one.
    Bytes(&'r [u8]),
    /// None yet: [`Reader::awaited`] becomes readable when there are.
    Wait,
    /// The file has ended: it is shorter than when it was opened.
    End,
}

/// A regular file, open for reading. Its size is fixed when it is opened.
///
/// Its position belongs to the caller: the kernel advances it while it sends.
#[derive(Debug)]
pub struct Reader {
    file: File,
    size: u64,
    /// The bytes read last, for callers that need them in the process.
    buffer: Vec<u8>,
}

impl Reader {
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { file, size, buffer: Vec::new() }
    }

    /// Returns the size in bytes; of a partial upload, the number of bytes that count.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        Metadata::from_file(&self.file)
    }

    /// Returns true if [`Reader::bytes`] never has to wait.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        true
    }

    /// Returns the next bytes from an offset on, or the file that has them; at most `bytes_max`.
    pub fn next(&mut self, _offset: u64, _bytes_max: usize) -> io::Result<Chunk<'_>> {
        Ok(Chunk::File(self.file.as_fd()))
    }

    /// Returns the next bytes from an offset on, at most `bytes_max`. Never returns [`Chunk::File`].
    pub fn bytes(&mut self, offset: u64, bytes_max: usize) -> io::Result<Chunk<'_>> {
        self.buffer.resize(bytes_max, 0);
        let count = self.file.read_at(&mut self.buffer, offset)?;
        Ok(match self.buffer.get(..count) {
            Some(bytes) if count > 0 => Chunk::Bytes(bytes),
            _ => Chunk::End,
        })
    }

    /// Returns the descriptor that becomes readable when the bytes are there that the last call asked for.
    #[must_use]
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
