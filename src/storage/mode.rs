//! The mode of a file, changed without opening the file: the open of a FIFO waits for its other end, and a file whose
//! mode allows nothing cannot be opened.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Sets the mode of a file or directory. A link is followed within the root.
///
/// # Errors
/// Operation not permitted for FIFOs, sockets and devices, which are not the server's to change.
pub(super) fn set_mode(root: &Dir, path: &Path, mode: u32) -> io::Result<()> {
    let open = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        root.open_with(path, OpenOptions::new().read(true).custom_flags(flags))
    };
    let named = open(OFlags::PATH)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&named)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Err(Errno::PERM.into());
    }
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::chmod(format!("/proc/self/fd/{}", named.as_raw_fd()), mode) {
        // There is no /proc here.
        Err(Errno::NOENT) => Ok(rustix::fs::fchmod(&open(OFlags::NONBLOCK)?, mode)?),
        changed => Ok(changed?),
    }
}
