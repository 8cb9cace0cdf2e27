//! The helper process that opens certificates and keys for a server that has given up root.
//!
//! A renewed key often belongs to root and is readable by root alone. The helper starts before the server gives up root,
//! and keeps the right to read. It receives the number of a file, opens the file that the settings name, and passes the
//! descriptor. Directory descriptors that the server keeps would not do: to open a file of root, a process needs the right
//! at that moment.
//!
//! SECURITY: the server sends a number and never a path. The helper refuses a path of which others than root can change an
//! entry: the server's user could make it a link to any file of root.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::geteuid;

use crate::balancer::handover::Channel;
use crate::net::tls::Opener;
use crate::sandbox::keep_reading_only;
use crate::settings::{Config, ConfigError};
use crate::sys::{unix_pair, wait_any};
use crate::units::reason;

/// The command of the helper.
pub const OPEN_KEYS: &str = "open-keys";

/// The maximum time for the helper to open a file.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of links in a path, as in the kernel.
const LINKS_MAX: u32 = 40;

/// The mode bits by which others than the owner can write.
const OTHERS_WRITE: u32 = 0o022;

/// The mode bit of a directory in which only its owner can change an entry.
const STICKY: u32 = 0o1000;

/// The words of an answer: the descriptor is with it, an error number, or a reason.
const OPENED: &str = "opened";
const ERROR: &str = "error";
const REFUSED: &str = "refused";

/// The helper process of a server. It ends when this is dropped.
#[derive(Debug)]
struct KeyOpener {
    /// The files, in the order of their numbers.
    files: Vec<PathBuf>,
    channel: Mutex<Channel>,
    /// The number of the next request, which a late answer does not have.
    next: AtomicU64,
    _child: Child,
}

/// Starts the helper if the server gives up root and has certificates. Must precede the sandbox.
///
/// # Errors
/// One sentence for the person at the terminal.
pub fn start(config: &Config) -> Result<Option<Opener>, ConfigError> {
    let hosts = config.virtual_hosts.iter().filter_map(|host| host.key.as_ref());
    let keys = config.tls.keys.iter().chain(hosts);
    let files = keys.flat_map(|key| [&key.certificate, &key.key]);
    let mut files: Vec<PathBuf> = files.chain(&config.tls.client_authorities).cloned().collect();
    files.dedup();
    if files.is_empty() || config.user.is_none() || !geteuid().is_root() {
        return Ok(None);
    }
    let opener = KeyOpener::start(files).map_err(|error| {
        ConfigError(format!("cannot start the helper for certificates: {}.", reason(&error)))
    })?;
    Ok(Some(Box::new(move |path| opener.open(path).or_else(|why| open_here(path, why)))))
}

/// Opens a file with the rights of this process. Of two failures, the helper's own text is more exact.
#[expect(clippy::disallowed_methods, reason = "the administrator names this file, no client")]
fn open_here(path: &Path, why: io::Error) -> io::Result<File> {
    File::open(path).map_err(|error| if why.kind() == io::ErrorKind::Other { why } else { error })
}

impl KeyOpener {
    fn start(files: Vec<PathBuf>) -> io::Result<Self> {
        let (ours, theirs) = unix_pair(SocketType::SEQPACKET)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(OPEN_KEYS).args(&files).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let child = command.spawn()?;
        let channel = Mutex::new(Channel::from_descriptor(ours));
        Ok(Self { files, channel, next: AtomicU64::new(0), _child: child })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let number = self.files.iter().position(|file| file == path);
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        let request = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let channel = self.channel.lock();
        channel.send(format!("{request} {number}").as_bytes(), &[])?;
        loop {
            wait(&channel, Some(OPEN_TIMEOUT))?;
            let (answer, descriptors) = channel.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let mut words = answer.splitn(3, ' ');
            if words.next() != Some(&request) {
                continue;
            }
            return match (words.next(), words.next(), descriptors.into_iter().next()) {
                (Some(OPENED), _, Some(file)) => Ok(file.into()),
                (Some(ERROR), Some(number), _) => {
                    Err(io::Error::from_raw_os_error(number.parse().unwrap_or_default()))
                }
                (Some(REFUSED), Some(why), _) => Err(io::Error::other(why.to_owned())),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}

/// Opens the files that the server at this connection requests by their numbers, until the connection is closed.
///
/// # Errors
/// Returns the system's error.
pub fn run(files: &[PathBuf], connection: OwnedFd) -> io::Result<()> {
    keep_reading_only()?;
    let channel = Channel::from_descriptor(connection);
    loop {
        wait(&channel, None)?;
        let message = match channel.receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            message => message?,
        };
        let Some((message, _)) = message else { return Ok(()) };
        let message = String::from_utf8_lossy(&message).into_owned();
        let Some((request, number)) = message.split_once(' ') else { continue };
        let file = number.parse().ok().and_then(|number: usize| files.get(number));
        let opened = file.map_or_else(|| Err(io::ErrorKind::NotFound.into()), |path| open(path));
        match opened {
            Ok(file) => channel.send(format!("{request} {OPENED}").as_bytes(), &[file.as_fd()])?,
            Err(error) => {
                let what = match error.raw_os_error() {
                    Some(number) => format!("{request} {ERROR} {number}"),
                    None => format!("{request} {REFUSED} {error}"),
                };
                channel.send(what.as_bytes(), &[])?;
            }
        }
    }
}

fn wait(channel: &Channel, timeout: Option<Duration>) -> io::Result<()> {
    let is_ready = wait_any(&[channel.as_fd()], timeout)?.contains(&true);
    // Without a timeout, a signal may have ended the wait.
    if is_ready || timeout.is_none() { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Opens a regular file that only root can have put at this path.
fn open(path: &Path) -> io::Result<File> {
    let real = resolve(path)?;
    if !real.symlink_metadata()?.file_type().is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(&real, flags, Mode::empty())?.into())
}

/// Resolves a path as the kernel does. Refuses it if others than root can change an entry on the way.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut left: Vec<OsString> = parts(&std::path::absolute(path)?);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let found = next.symlink_metadata()?;
        check(&at, &found)?;
        if !found.file_type().is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    Ok(at)
}

/// Returns the names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

/// Checks that only root can change this entry of a directory.
fn check(directory: &Path, entry: &fs::Metadata) -> io::Result<()> {
    let found = directory.metadata()?;
    let is_shared = found.mode() & OTHERS_WRITE != 0;
    let is_kept = found.mode() & STICKY != 0 && entry.uid() == 0;
    if found.uid() == 0 && (!is_shared || is_kept) {
        return Ok(());
    }
    let place = directory.display();
    Err(io::Error::other(format!(
        "others than root can change {place}, so it is not opened as root"
    )))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// Returns the content of the file at this path, or the reason why it is not opened.
    fn read(path: &Path) -> Result<String, String> {
        let mut text = String::new();
        let mut file = open(path).map_err(|error| error.to_string())?;
        file.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn only_a_path_that_root_alone_can_change_is_opened() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["live", "archive", "open", "alien"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("archive/key1"), "one").unwrap();
        symlink("../archive/key1", path("live/key")).unwrap();
        assert_eq!(read(&path("live/key")).unwrap(), "one");
        assert_eq!(read(&path("live/../archive/key1")).unwrap(), "one");
        // A link in a directory that others can write, and a way through one.
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
        symlink(path("archive/key1"), path("open/key")).unwrap();
        symlink(path("open/key"), path("live/through")).unwrap();
        chown(path("alien"), Some(65534), None).unwrap();
        fs::write(path("alien/key"), "x").unwrap();
        for name in ["open/key", "live/through", "alien/key"] {
            let why = read(&path(name)).unwrap_err();
            assert!(why.starts_with("others than root can change "), "{name}: {why}");
        }
        symlink("loop", path("live/loop")).unwrap();
        assert!(read(&path("live/loop")).is_err());
        assert!(read(&path("live/none")).is_err());
        assert_eq!(read(&path("live")).unwrap_err(), "it is no regular file");
    }
}
