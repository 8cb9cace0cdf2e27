//! Appends to a complete file: it has its old length or its new one, whenever the server dies.
//!
//! While data arrives, only the new bytes are written, to a separate file, the *tail*. At the end:
//!
//! 1. The tail is renamed to `.poolftpd-append.NAME`. If that name is taken, another append is written: one at a time.
//! 2. A footer with the place of the bytes in the file is written behind them; tail and footer are flushed.
//! 3. The tail is renamed to `.poolftpd-redo.NAME`, and the directory is flushed. From here on the append takes place,
//!    now or, if the server dies, by [`recover`].
//! 4. The bytes are copied to their place in the file, the file is flushed, and the tail is removed.
//!
//! The cost is writing the appended bytes twice, whatever the size of the file. File systems that can share blocks
//! between files do not need this module.
//!
//! Invariant: a redo file changes nothing if `NAME` is another file or has grown beyond the end of the append. The
//! append was then carried out before, and later bytes stay.
//!
//! On a file system without locks, [`in_progress`] lists the files that this process writes. A file of another process
//! counts as left by a crash when it has not changed for [`LEFT_AFTER_SECONDS`]. If that process was only slow, both write
//! the same bytes to the same place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cap_std::fs::Dir;
use jiff::Timestamp;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::copy;
use super::in_progress::{self, Claim};
use super::record::identity;
use super::state::{Committed, Go, Upload};
use super::target::{has_no_locks, is_called};
use crate::storage::durability::{Durability, flush_directory, open_directory};
use crate::storage::quota::Quota;
use crate::storage::stat::{Identity, modified, size};
use crate::sys::{rename_new, reserve};

/// The maximum number of tries for a name that other appends also use.
const TRIES_MAX: u32 = 1000;

/// The time after which a file counts as left by a crash, if the file system has no locks and another process wrote it.
const LEFT_AFTER_SECONDS: i64 = 60;

/// The number of bytes that are copied and flushed at a time, so that a session sees the progress of a long append.
const PIECE_BYTES: usize = 64 * 1024 * 1024;

/// The maximum length of a footer, in bytes.
const FOOTER_BYTES_MAX: u64 = 512;

/// The end of each footer.
const MAGIC: &str = "poolftpd-append";

/// The place of a tail's bytes in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Footer {
    /// The offset of the first byte in the file.
    base: u64,
    /// The number of bytes.
    count: u64,
    /// The identity of the file: see [`identity`].
    file: String,
    /// The name of the file, which is in this directory.
    name: Vec<u8>,
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let Self { base, count, file, name } = self;
        let text = format!("\n{base} {count} {} {MAGIC} {file}\n", name.len());
        [name, text.as_bytes()].concat()
    }

    /// Reads the footer of a redo file. No client can have written it, because only this module gives files that name.
    fn read(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(FOOTER_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or_default()];
        file.read_exact_at(&mut bytes, start)?;
        Ok(Self::parse(&bytes, length))
    }

    fn parse(end: &[u8], length: u64) -> Option<Self> {
        let end = end.strip_suffix(b"\n")?;
        let line = end.iter().rposition(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(end.get(line + 1..)?).ok()?;
        let (numbers, file) = text.split_once(MAGIC)?;
        let (mut words, file) = (numbers.split(' '), file.strip_prefix(' ')?.to_owned());
        let mut number = || words.next()?.parse::<u64>().ok();
        let (base, count, name_length) = (number()?, number()?, number()?);
        let name_start = line.checked_sub(usize::try_from(name_length).ok()?)?;
        let name = end.get(name_start..line)?.to_vec();
        let footer = Self { base, count, file, name };
        (length == count + footer.encode().len() as u64).then_some(footer)
    }
}

/// Appends the data that has arrived to the file, by the steps above.
pub(super) fn commit(mut upload: Upload, go: impl FnOnce() -> Go) -> io::Result<Committed<Upload>> {
    upload.cut_behind()?;
    if upload.terms.durability == Durability::Flushed {
        upload.file.sync_data()?;
    }
    match go() {
        Go::On => {}
        Go::Ask => return Ok(Committed::Asked(Box::new(upload))),
        Go::Stop => return Ok(Committed::Stopped { kept: upload.settle() }),
    }
    if upload.position == upload.base && upload.at_end {
        upload.remove_own();
        upload.settled = true;
        return Ok(Committed::Stored);
    }
    let _claim = in_progress::claim(&upload.file)?;
    enter(&mut upload)?;
    // The file stays open, so that no other file gets its inode.
    let file = upload.target.open_standing(OFlags::WRONLY)?;
    let footer = arm(&mut upload, &file)?;
    let target = &upload.target;
    let _names = target.lock_names();
    if !target.is_called(&target.name, &file)? {
        return Err(Errno::BUSY.into());
    }
    let before = file.metadata()?.len();
    if let Err(error) = apply(&upload.file, &footer, &file, upload.terms.durability, &upload.steps)
    {
        let is_own = target.is_called(&upload.written_as, &upload.file)?;
        if is_own && footer.base >= before && file.set_len(before).is_ok() {
            // The file has its old content again; the redo file is removed.
            return Err(error);
        }
        // The replaced bytes are gone. The redo file stays, and is carried out before the file is used again.
        upload.settled = true;
        upload.reservation.keep_part();
        return Err(error);
    }
    upload.settled = true;
    if target.is_called(&upload.written_as, &upload.file)? {
        let _removed =
            rustix::fs::unlinkat(&target.directory, &upload.written_as, AtFlags::empty());
    }
    upload.reservation.keep_tail(before.saturating_sub(footer.base));
    Ok(Committed::Stored)
}

/// Step 1: waits until no other append is being written to the file.
fn enter(upload: &mut Upload) -> io::Result<()> {
    let target = &upload.target;
    let (entrance, redo) = (target.append_name(), target.redo_name());
    for _ in 0..TRIES_MAX {
        match rename_new(
            (target.directory.as_fd(), &upload.written_as),
            (target.directory.as_fd(), &entrance),
        ) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A tail that no server writes never reached step 3, so it is void.
                if let Some(left) = wait_for(&target.directory, &entrance)? {
                    target.uncount(left.file.metadata()?.len(), 1);
                    rustix::fs::unlinkat(&target.directory, &entrance, AtFlags::empty())?;
                }
            }
            entered => {
                entered?;
                upload.written_as = entrance;
                return recover(&target.directory, &redo, target.quota.as_ref());
            }
        }
    }
    Err(Errno::BUSY.into())
}

/// Waits until no upload writes a file with this name; returns the file if it is a leftover. Until the file is dropped,
/// no other upload gets it, except on a file system without locks another process.
///
/// # Errors
/// [`Errno::BUSY`] when another process may still be writing the file.
fn wait_for(directory: &Dir, name: &OsStr) -> io::Result<Option<Leftover>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let locked = flock(&file, FlockOperation::LockExclusive);
    let claim = match locked {
        Ok(()) => None,
        Err(error) if has_no_locks(error) => Some(in_progress::claim(&file)?),
        Err(error) => return Err(error.into()),
    };
    if !is_called(directory, name, &file)? {
        return Ok(None);
    }
    if claim.is_some() {
        let (second, _) = modified(&rustix::fs::fstat(&file)?);
        if Timestamp::now().as_second() - second < LEFT_AFTER_SECONDS {
            return Err(Errno::BUSY.into());
        }
    }
    Ok(Some(Leftover { file, _claim: claim }))
}

/// A file that an append left, and its lock.
struct Leftover {
    file: File,
    _claim: Option<Claim>,
}

/// Steps 2 and 3: writes the footer, and renames the tail to the redo name.
fn arm(upload: &mut Upload, file: &File) -> io::Result<Footer> {
    let count = upload.position - upload.base;
    let target = &upload.target;
    let stands = rustix::fs::fstat(file)?;
    let is_unchanged = upload.replaces.as_ref().map(Identity::of) == Some(Identity::of(&stands));
    let base = if upload.at_end {
        // At the end, after all that was appended meanwhile.
        size(&stands)
    } else if is_unchanged {
        upload.base
    } else {
        return Err(Errno::BUSY.into());
    };
    // Reserves the space, so that a full disk is noticed before the file is changed.
    let reserved = reserve(file, base, count.max(1));
    if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) = reserved {
        return Err(error.into());
    }
    let name = target.name.as_bytes().to_vec();
    let footer = Footer { base, count, file: identity(file)?, name };
    upload.file.write_all_at(&footer.encode(), count)?;
    let redo = target.redo_name();
    let is_flushed = upload.terms.durability == Durability::Flushed;
    if is_flushed {
        upload.file.sync_data()?;
    }
    rustix::fs::renameat(&target.directory, &upload.written_as, &target.directory, &redo)?;
    upload.written_as = redo;
    if is_flushed {
        flush_directory(target.open_directory()?.as_ref())?;
    }
    Ok(footer)
}

/// Step 4: copies the bytes into the file, a piece at a time, and counts the pieces. It may be repeated.
fn apply(
    tail: &File,
    footer: &Footer,
    file: &File,
    durability: Durability,
    steps: &AtomicU64,
) -> io::Result<()> {
    if file.metadata()?.len() > footer.base {
        file.set_len(footer.base)?;
    }
    let never = AtomicBool::new(false);
    for start in (0..footer.count).step_by(PIECE_BYTES) {
        let end = footer.count.min(start + PIECE_BYTES as u64);
        copy::copy(tail, start..end, file, footer.base + start, &never)?;
        if end < footer.count && durability == Durability::Flushed {
            file.sync_data()?;
        }
        steps.fetch_add(1, Ordering::Release);
    }
    if durability == Durability::Flushed {
        file.sync_all()?;
    }
    Ok(())
}

/// Carries out an append that was being written when a server died, and removes its redo file. Waits if the append is
/// being written now.
pub(in crate::storage) fn recover(
    directory: &Dir,
    redo: &OsStr,
    quota: Option<&Quota>,
) -> io::Result<()> {
    let Some(leftover) = wait_for(directory, redo)? else { return Ok(()) };
    let tail = &leftover.file;
    let _names = quota.map(Quota::lock_names);
    let mut grown = 0;
    if let Some(footer) = Footer::read(tail)? {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = OsStr::from_bytes(&footer.name);
        let end = footer.base + footer.count;
        if let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()).map(File::from)
            && identity(&file)? == footer.file
            && (footer.base..=end).contains(&file.metadata()?.len())
        {
            grown = end - file.metadata()?.len();
            apply(tail, &footer, &file, Durability::Flushed, &AtomicU64::default())?;
        }
    }
    let length = tail.metadata()?.len();
    if is_called(directory, redo, tail)? {
        rustix::fs::unlinkat(directory, redo, AtFlags::empty())?;
    }
    if let Some(quota) = quota {
        quota.give_back(length, 1);
        quota.add(grown);
    }
    flush_directory(open_directory(directory)?.as_ref())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
mod tests {
    use super::*;

    #[test]
    fn a_footer_is_read_back_and_nothing_else_is_taken_for_one() {
        let file = tempfile::tempfile().unwrap();
        let own = identity(&file).unwrap();
        let footer =
            Footer { base: 7, count: 5, file: own.clone(), name: b"a \n\xFF name".to_vec() };
        file.write_all_at(b"bytes", 0).unwrap();
        assert_eq!(Footer::read(&file).unwrap(), None);
        file.write_all_at(&footer.encode(), 5).unwrap();
        assert_eq!(Footer::read(&file).unwrap(), Some(footer.clone()));
        let longest = Footer { name: vec![b'x'; 255], base: u64::MAX - 9, ..footer };
        assert!(longest.encode().len() as u64 <= FOOTER_BYTES_MAX);
        file.set_len(5).unwrap();
        file.write_all_at(&longest.encode(), 5).unwrap();
        assert_eq!(Footer::read(&file).unwrap(), Some(longest));
        file.write_all_at(b"!", 6 + file.metadata().unwrap().len()).unwrap();
        assert_eq!(Footer::read(&file).unwrap(), None);
    }

    /// Recovers an append to a file with this content. Returns the content and the names afterwards.
    fn recovered(found: &str, tail: &str, base: u64, is_same: bool) -> (String, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("log"), found).unwrap();
        let file = File::open(path("log")).unwrap();
        let file = if is_same { identity(&file).unwrap() } else { "another".to_owned() };
        let footer = Footer { base, count: tail.len() as u64, file, name: b"log".to_vec() };
        std::fs::write(path(".poolftpd-redo.log"), [tail.as_bytes(), &footer.encode()].concat())
            .unwrap();
        let root = crate::storage::Root::open(directory.path()).unwrap();
        root.sweep(Timestamp::UNIX_EPOCH, || true).unwrap();
        let names = std::fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        (std::fs::read_to_string(path("log")).unwrap(), names)
    }

    #[test]
    fn an_append_that_the_server_died_in_is_carried_out_once() {
        for (found, is_same, expected) in [
            ("0123", true, "012345"),
            ("01234", true, "012345"),
            ("0123\0\0", true, "012345"),
            ("012345", true, "012345"),
            // More bytes were appended since.
            ("0123456", true, "0123456"),
            // Another file, or this file truncated.
            ("0123", false, "0123"),
            ("012", true, "012"),
        ] {
            let (content, names) = recovered(found, "45", 4, is_same);
            assert_eq!((content.as_str(), names), (expected, vec!["log".to_owned()]), "{found}");
        }
    }
}
