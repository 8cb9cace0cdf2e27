//! A file that is read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::task::Poll;

use super::memory::MemoryReader;

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
pub struct Reader(FileSource);

#[derive(Debug)]
enum FileSource {
    Local {
        file: File,
        size: u64,
        /// The bytes read last, for callers that need them in the process.
        buffer: Vec<u8>,
    },
    Memory(MemoryReader),
}

impl Reader {
    pub(super) fn local(file: File, size: u64) -> Self {
        Self(FileSource::Local { file, size, buffer: Vec::new() })
    }

    pub(super) fn memory(reader: MemoryReader) -> Self {
        Self(FileSource::Memory(reader))
    }

    /// Returns the size in bytes; of a partial upload, the number of bytes that count.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            FileSource::Local { size, .. } => *size,
            FileSource::Memory(reader) => reader.size(),
        }
    }

    /// Returns true if [`Reader::bytes`] never has to wait.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        matches!(self.0, FileSource::Local { .. })
    }

    /// Returns the next bytes from an offset on, or the file that has them; at most `bytes_max`.
    pub fn next(&mut self, offset: u64, bytes_max: usize) -> io::Result<Chunk<'_>> {
        match &mut self.0 {
            FileSource::Local { file, .. } => {
                let file: &File = file;
                Ok(Chunk::File(file.as_fd()))
            }
            FileSource::Memory(reader) => Ok(delivered(reader.next(offset, bytes_max)?)),
        }
    }

    /// Returns the next bytes from an offset on, at most `bytes_max`. Never returns [`Chunk::File`].
    pub fn bytes(&mut self, offset: u64, bytes_max: usize) -> io::Result<Chunk<'_>> {
        let bytes = match &mut self.0 {
            FileSource::Local { file, buffer, .. } => {
                buffer.resize(bytes_max, 0);
                let count = file.read_at(buffer, offset)?;
                Poll::Ready(buffer.get(..count).unwrap_or_default())
            }
            FileSource::Memory(reader) => reader.next(offset, bytes_max)?,
        };
        Ok(delivered(bytes))
    }

    /// Returns the descriptor that becomes readable when the bytes are there that the last call asked for.
    #[must_use]
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            FileSource::Local { .. } => None,
            FileSource::Memory(reader) => reader.awaited(),
        }
    }
}

/// Returns the chunk of bytes that were delivered, if they were.
fn delivered(bytes: Poll<&[u8]>) -> Chunk<'_> {
    match bytes {
        Poll::Pending => Chunk::Wait,
        Poll::Ready([]) => Chunk::End,
        Poll::Ready(bytes) => Chunk::Bytes(bytes),
    }
}
