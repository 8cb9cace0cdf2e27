//! Copies the bytes that precede those of a client. The blocks are shared with the source if the file system supports
//! that; otherwise the bytes are copied, without the holes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::sys::copy_range;

/// The maximum number of bytes that one call copies. A copy can be cancelled between two calls.
const CALL_BYTES: u64 = 16 * 1024 * 1024;

/// The buffer size in bytes for file systems that cannot copy by themselves.
const BUFFER_BYTES: usize = 256 * 1024;

/// Copies a range of a file to the offset `at` of another file. Holes stay holes.
///
/// # Errors
/// Interrupted when the copy was cancelled, busy when the source has become shorter meanwhile.
pub(super) fn copy(
    from: &File,
    range: std::ops::Range<u64>,
    to: &File,
    at: u64,
    cancelled: &AtomicBool,
) -> io::Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        let (start, end) = next_data(from, offset, range.end)?;
        offset = start;
        while offset < end {
            if cancelled.load(Ordering::Acquire) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let left = usize::try_from((end - offset).min(CALL_BYTES)).unwrap_or(usize::MAX);
            let copied = copy_some(from, offset, to, at + (offset - range.start), left)?;
            if copied == 0 {
                return Err(Errno::BUSY.into());
            }
            offset += copied as u64;
        }
        offset = offset.max(end);
    }
    let length = at + (range.end - range.start);
    if to.metadata()?.len() < length {
        // The range ends in a hole.
        to.set_len(length)?;
    }
    Ok(())
}

/// Returns the next range of data at or after an offset and before `limit`; an empty range at the limit if there is
/// none.
fn next_data(file: &File, offset: u64, limit: u64) -> io::Result<(u64, u64)> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start.min(limit),
        // A hole until the end.
        Err(Errno::NXIO) if file.metadata()?.len() >= limit => return Ok((limit, limit)),
        Err(Errno::NXIO) => return Err(Errno::BUSY.into()),
        // The file system does not report holes.
        Err(_) => return Ok((offset, limit)),
    };
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(limit).min(limit);
    Ok((start, end.max(start)))
}

fn copy_some(from: &File, offset: u64, to: &File, at: u64, count: usize) -> io::Result<usize> {
    if let Some(copied) = copy_range(from, offset, to, at, count)? {
        return Ok(copied);
    }
    let mut bytes = vec![0; count.min(BUFFER_BYTES)];
    let got = from.read_at(&mut bytes, offset)?;
    to.write_all_at(bytes.get(..got).unwrap_or_default(), at)?;
    Ok(got)
}

/// Writes all bytes at the file's own offset, and reports each number of written bytes to `wrote`.
pub(super) fn write_all(mut to: &File, bytes: &[u8], mut wrote: impl FnMut(u64)) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        wrote(count as u64);
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_keeps_its_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = 64 * 1024 * 1024;
        from.set_len(size).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", size / 2).unwrap();
        let never = AtomicBool::new(false);
        copy(&from, 0..size, &to, 0, &never).unwrap();
        let read = |at, count| {
            let mut bytes = vec![0; count];
            to.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        assert_eq!(to.metadata().unwrap().len(), size);
        assert_eq!((read(0, 5), read(size / 2, 6)), (b"begin".to_vec(), b"middle".to_vec()));
        // Checked only if the temporary directory supports holes.
        if from.metadata().unwrap().blocks() < 1000 {
            assert!(to.metadata().unwrap().blocks() < 1000);
        }
        let error = copy(&from, 0..size, &to, 0, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(copy(&from, 0..size + 1, &to, 0, &never).is_err());
    }

    #[test]
    fn a_range_lands_where_it_is_told() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(b"0123456789", 0).unwrap();
        to.write_all_at(b"abc", 0).unwrap();
        copy(&from, 2..6, &to, 3, &AtomicBool::new(false)).unwrap();
        let mut bytes = [0; 7];
        to.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"abc2345");
    }
}
