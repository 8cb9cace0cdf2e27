//! The content that a file will have after an upload, read before it gets its name.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use super::state::{Role, Upload};
use crate::storage::stat::size;

/// The content of a file, from its beginning to its end. It has descriptors of its own.
#[derive(Debug)]
pub struct Content {
    /// The pieces in reverse order: the file, the offset of the next byte in it, and the number of bytes left.
    pieces: Vec<(File, u64, u64)>,
}

impl Content {
    /// Returns the same content, from the same place on.
    pub fn try_clone(&self) -> io::Result<Self> {
        let piece =
            |(file, offset, left): &(File, u64, u64)| Ok((file.try_clone()?, *offset, *left));
        let pieces: io::Result<_> = self.pieces.iter().map(piece).collect();
        Ok(Self { pieces: pieces? })
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((file, offset, left)) = self.pieces.last_mut() {
            let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            match if part.is_empty() { 0 } else { file.read_at(part, *offset)? } {
                0 if *left > 0 && wanted > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 if *left > 0 => return Ok(0),
                0 => drop(self.pieces.pop()),
                count => {
                    (*offset, *left) = (*offset + count as u64, *left - count as u64);
                    return Ok(count);
                }
            }
        }
        Ok(0)
    }
}

impl Upload {
    /// Returns the content that the file will have. An append is bound to the content that the file has now: if the file
    /// changes before the commit, the commit fails.
    pub(in crate::storage) fn content(&mut self) -> io::Result<Content> {
        let mut pieces = vec![(self.file.try_clone()?, 0, self.position - self.base)];
        if self.role == Role::Tail {
            let old = self.target.open_standing(OFlags::RDONLY)?;
            let found = rustix::fs::fstat(&old)?;
            if self.at_end {
                self.position = size(&found) + (self.position - self.base);
                (self.base, self.at_end) = (size(&found), false);
                self.replaces = Some(found);
            }
            pieces.push((old, 0, self.base));
        }
        Ok(Content { pieces })
    }

    /// Removes the file of an upload that must not be kept.
    pub(in crate::storage) fn discard(mut self) -> io::Result<()> {
        self.settled = true;
        if self.target.is_called(&self.written_as, &self.file)? {
            self.remove_own();
        }
        Ok(())
    }
}
