//! A file system in memory that loses, in a power cut, all that was not flushed.
//!
//! It promises no more than POSIX does. `fsync` of a file keeps its bytes, and `fsync` of a directory keeps its names.
//! All else may be lost or kept, in any combination: a size may be kept without its bytes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;
use tempfile::TempDir;

/// The kernel asks for attributes and names each time.
const NOT_CACHED: Duration = Duration::ZERO;

/// What a power cut does to that which was not flushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// A file keeps its size, and zeros stand in place of its bytes.
    pub(crate) zeros: bool,
    /// The directories are as at their last flush; otherwise as at the cut.
    pub(crate) names: bool,
}

pub(crate) const LOSSES: [Loss; 4] = [
    Loss { zeros: false, names: false },
    Loss { zeros: false, names: true },
    Loss { zeros: true, names: false },
    Loss { zeros: true, names: true },
];

#[derive(Debug, Clone)]
struct Content {
    bytes: Vec<u8>,
    names: BTreeMap<OsString, u64>,
    mode: u32,
    modified: SystemTime,
}

#[derive(Debug, Clone)]
struct Node {
    kind: FileType,
    now: Content,
    flushed: Content,
}

impl Node {
    fn new(kind: FileType, mode: u32) -> Self {
        let modified = SystemTime::now();
        let now = Content { bytes: Vec::new(), names: BTreeMap::new(), mode, modified };
        Self { kind, flushed: now.clone(), now }
    }

    fn attributes(&self, number: u64) -> FileAttr {
        let Content { bytes, mode, modified, .. } = &self.now;
        FileAttr {
            ino: INodeNo(number),
            size: bytes.len() as u64,
            blocks: bytes.len().div_ceil(512) as u64,
            atime: *modified,
            mtime: *modified,
            ctime: *modified,
            crtime: *modified,
            kind: self.kind,
            perm: u16::try_from(mode & 0o7777).unwrap(),
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn cut(&self, loss: Loss) -> Self {
        let mut left = self.flushed.clone();
        if loss.zeros {
            left.bytes.resize(left.bytes.len().max(self.now.bytes.len()), 0);
        }
        if !loss.names {
            left.names.clone_from(&self.now.names);
        }
        Self { kind: self.kind, flushed: left.clone(), now: left }
    }
}

/// The content of the file system. No node is ever removed: it may still be open.
#[derive(Debug, Clone)]
pub(crate) struct State(BTreeMap<u64, Node>);

type Answer<T> = Result<T, Errno>;

impl State {
    /// Returns what a power cut now would leave.
    pub(crate) fn cut(&self, loss: Loss) -> Self {
        Self(self.0.iter().map(|(number, node)| (*number, node.cut(loss))).collect())
    }

    fn node(&mut self, number: INodeNo) -> Answer<&mut Node> {
        self.0.get_mut(&number.0).ok_or(Errno::ENOENT)
    }

    fn find(&mut self, parent: INodeNo, name: &OsStr) -> Answer<u64> {
        self.node(parent)?.now.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn look(&mut self, parent: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        let number = self.find(parent, name)?;
        Ok(self.node(INodeNo(number))?.attributes(number))
    }

    fn create(&mut self, parent: INodeNo, name: &OsStr, node: Node) -> Answer<FileAttr> {
        let number = self.0.keys().max().copied().unwrap_or_default() + 1;
        let names = &mut self.node(parent)?.now.names;
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_owned(), number);
        let attributes = node.attributes(number);
        self.0.insert(number, node);
        Ok(attributes)
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Answer<()> {
        let number = self.find(parent, name)?;
        if !self.node(INodeNo(number))?.now.names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.node(parent)?.now.names.remove(name);
        Ok(())
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Answer<()> {
        let number = self.find(from.0, from.1)?;
        self.node(from.0)?.now.names.remove(from.1);
        self.node(to.0)?.now.names.insert(to.1.to_owned(), number);
        Ok(())
    }
}

/// The file system, and its states before each change.
#[derive(Debug)]
struct Shared {
    state: State,
    /// The states since [`Forgetful::record`].
    recorded: Option<Vec<State>>,
}

#[derive(Debug, Clone)]
struct Served(Arc<Mutex<Shared>>);

impl Served {
    /// Makes a change, and records the state before it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        let mut shared = self.0.lock();
        let before = shared.recorded.is_some().then(|| shared.state.clone());
        if let (Some(recorded), Some(before)) = (&mut shared.recorded, before) {
            recorded.push(before);
        }
        change(&mut shared.state)
    }

    fn look<T>(&self, look: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        look(&mut self.0.lock().state)
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Forgetful {
    served: Served,
    folder: TempDir,
    session: Option<BackgroundSession>,
}

impl Forgetful {
    /// Mounts an empty file system; returns `None` where that is not possible.
    pub(crate) fn empty() -> Option<Self> {
        let root = Node::new(FileType::Directory, 0o755);
        Self::mount(State(BTreeMap::from([(INodeNo::ROOT.0, root)])))
    }

    /// Mounts a file system with this content; returns `None` where that is not possible.
    pub(crate) fn mount(state: State) -> Option<Self> {
        let served = Served(Arc::new(Mutex::new(Shared { state, recorded: None })));
        let folder = tempfile::tempdir().unwrap();
        let session = fuser::spawn_mount(served.clone(), folder.path(), &Config::default()).ok()?;
        Some(Self { served, folder, session: Some(session) })
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> State {
        self.served.0.lock().state.clone()
    }

    /// Records the state before each change from now on.
    pub(crate) fn record(&self) {
        self.served.0.lock().recorded = Some(Vec::new());
    }

    /// Returns the states that were recorded, and the state now.
    pub(crate) fn recorded(&self) -> Vec<State> {
        let mut shared = self.served.0.lock();
        let mut states = shared.recorded.take().unwrap_or_default();
        states.push(shared.state.clone());
        states
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        // A server that still ends may keep the mount busy; the kernel then detaches it when that server closes it.
        let _unmounted = self.session.take().map(BackgroundSession::umount_and_join);
    }
}

/// Replies to a request, or reports its error.
macro_rules! answer {
    ($reply:ident, $answer:expr, $done:expr) => {
        match $answer {
            Ok(value) => $done($reply, value),
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.look(|state| state.look(parent, name)), entry);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.look(|state| Ok(state.node(number)?.attributes(number.0)));
        answer!(reply, found, |reply: ReplyAttr, found| reply.attr(&NOT_CACHED, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.change(|state| {
            let node = state.node(number)?;
            node.now.mode = mode.unwrap_or(node.now.mode);
            if let Some(size) = size {
                node.now.bytes.resize(usize::try_from(size).unwrap(), 0);
            }
            match modified {
                Some(TimeOrNow::SpecificTime(time)) => node.now.modified = time,
                Some(TimeOrNow::Now) => node.now.modified = SystemTime::now(),
                None => {}
            }
            Ok(node.attributes(number.0))
        });
        answer!(reply, set, |reply: ReplyAttr, found| reply.attr(&NOT_CACHED, &found));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let node = Node::new(FileType::Directory, mode & !umask);
        answer!(reply, self.change(|state| state.create(parent, name, node)), entry);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let node = Node::new(FileType::RegularFile, mode & !umask);
        let created = self.change(|state| state.create(parent, name, node));
        let done = |reply: ReplyCreate, found: FileAttr| {
            let (generation, handle) = (Generation(0), FileHandle(0));
            reply.created(&NOT_CACHED, &found, generation, handle, FopenFlags::empty());
        };
        answer!(reply, created, done);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.change(|state| state.remove(parent, name)), done);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.change(|state| state.remove(parent, name)), done);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.change(|state| {
            if flags.contains(RenameFlags::RENAME_NOREPLACE) && state.find(to, new).is_ok() {
                return Err(Errno::EEXIST);
            }
            state.rename((parent, name), (to, new))
        });
        answer!(reply, renamed, done);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let found = self.look(|state| {
            let bytes = &state.node(number)?.now.bytes;
            let start = bytes.len().min(usize::try_from(offset).unwrap());
            let end = bytes.len().min(start + size as usize);
            Ok(bytes[start..end].to_vec())
        });
        answer!(reply, found, |reply: ReplyData, found: Vec<u8>| reply.data(&found));
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.change(|state| {
            let now = &mut state.node(number)?.now;
            let start = usize::try_from(offset).unwrap();
            let end = start + data.len();
            now.bytes.resize(now.bytes.len().max(end), 0);
            now.bytes[start..end].copy_from_slice(data);
            now.modified = SystemTime::now();
            Ok(u32::try_from(data.len()).unwrap())
        });
        answer!(reply, written, ReplyWrite::written);
    }

    fn fsync(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let flushed = self.change(|state| {
            let node = state.node(number)?;
            node.flushed.bytes.clone_from(&node.now.bytes);
            if !data_only {
                node.flushed.clone_from(&node.now);
            }
            Ok(())
        });
        answer!(reply, flushed, done);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = self.change(|state| {
            let node = state.node(number)?;
            node.flushed.clone_from(&node.now);
            Ok(())
        });
        answer!(reply, flushed, done);
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let found = self.look(|state| {
            // In the order of numbers, so that a name that is removed meanwhile moves no other.
            let names = state.node(number)?.now.names.clone();
            let mut found = Vec::new();
            for (name, inode) in names {
                found.push((inode, state.node(INodeNo(inode))?.kind, name));
            }
            found.sort_by_key(|(inode, ..)| *inode);
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        for (inode, kind, name) in found.into_iter().filter(|(inode, ..)| *inode > offset) {
            if reply.add(INodeNo(inode), inode, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn entry(reply: ReplyEntry, found: FileAttr) {
    reply.entry(&NOT_CACHED, &found, Generation(0));
}

fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}
