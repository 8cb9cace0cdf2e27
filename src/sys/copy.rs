//! Copies inside the kernel: sendfile, splice, `copy_file_range`, reflink.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, ioctl_ficlone, memfd_create};
use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Sends bytes of a file from `offset` on, which advances; returns their number. There is no flag against waiting.
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: &mut u64,
    bytes_max: usize,
) -> rustix::io::Result<usize> {
    rustix::fs::sendfile(socket, file, Some(offset), bytes_max)
}

/// A pipe through which the kernel moves pages from a socket to a file.
#[derive(Debug)]
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    bytes_max: usize,
}

impl Pipe {
    /// Creates a pipe of this size, or of the size that the system allows.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A system that refuses (fs.pipe-user-pages-soft) leaves the pipe smaller, which only means more calls.
        let _larger = fcntl_setpipe_size(&into, bytes);
        let bytes_max = fcntl_getpipe_size(&into)?;
        Ok(Self { out, into, bytes_max })
    }

    /// Moves available bytes of a socket into the pipe; returns their number, 0 at the end. Waits if there are none.
    pub(crate) fn fill(&self, socket: &TcpStream, bytes_max: usize) -> rustix::io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        splice(socket, None, &self.into, None, bytes_max.min(self.bytes_max), flags)
    }

    /// Returns the end that bytes are taken from.
    pub(crate) fn out(&self) -> BorrowedFd<'_> {
        self.out.as_fd()
    }
}

/// Moves bytes of a pipe into a file at `offset`, which advances; returns their number.
pub(crate) fn drain_to_file(
    pipe: BorrowedFd<'_>,
    file: &File,
    offset: &mut u64,
    bytes_max: usize,
) -> rustix::io::Result<usize> {
    splice(pipe, None, file, Some(offset), bytes_max, SpliceFlags::MOVE)
}

/// Copies bytes from one file to another; returns their number, or `None` if these file systems cannot.
pub(crate) fn copy_range(
    from: &File,
    mut offset: u64,
    to: &File,
    mut at: u64,
    bytes_max: usize,
) -> io::Result<Option<usize>> {
    match rustix::fs::copy_file_range(from, Some(&mut offset), to, Some(&mut at), bytes_max) {
        Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::BADF) => Ok(None),
        copied => Ok(Some(copied?)),
    }
}

/// Makes an empty file share all blocks of another (reflink); returns false if the file system cannot.
pub(crate) fn share_blocks(from: &File, to: &File) -> bool {
    ioctl_ficlone(to, from).is_ok()
}

/// Creates a file in memory, without a name.
pub(crate) fn memory_file(label: &str) -> io::Result<File> {
    Ok(memfd_create(label, MemfdFlags::CLOEXEC)?.into())
}
