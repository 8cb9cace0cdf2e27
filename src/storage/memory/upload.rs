//! An upload to a tree in memory. Its file is chosen by the table in the README of `upload`.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::nodes::{Bytes, Node, Nodes, Partial};
use crate::storage::upload::{Committed, Go, Owner, Start, UploadError};

/// The kind of an upload, which decides what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The partial: it is kept if it is cut off.
    Kept,
    /// A new file beside the partial of another upload, or the extension of a file: it is dropped if it is cut off.
    Dropped,
    /// The extension of a file at its end, whatever other appends finish meanwhile.
    Appended { at: u64 },
}

/// An upload to a tree in memory.
#[derive(Debug)]
pub(in crate::storage) struct MemoryUpload {
    nodes: Arc<Mutex<Nodes>>,
    key: Vec<u8>,
    content: Bytes,
    part: Part,
    /// The bytes that the partial had before, as long as no byte has arrived.
    before: Option<Vec<u8>>,
    /// The length at which the upload begins.
    start: u64,
    /// The identity of the file that it replaces.
    replaces: Option<u64>,
    is_settled: bool,
}

/// Begins an upload.
pub(super) fn begin(
    shared: &Arc<Mutex<Nodes>>,
    key: Vec<u8>,
    start: Start,
    owner: Owner,
) -> Result<MemoryUpload, UploadError> {
    let mut nodes = shared.lock();
    let file = nodes.file(&key)?.cloned();
    let stands = file.as_ref().map(|node| node.identity);
    let old = file.as_ref().and_then(|node| node.content.clone());
    let partial = nodes.partials.get(&key).filter(|partial| partial.over == stands);
    let is_busy = partial.is_some_and(|partial| partial.is_busy);
    let kept = partial.map(|partial| (partial.content.lock().clone(), partial.owner));
    let is_own = |kept: &(Vec<u8>, Owner)| kept.1 == owner;
    let beyond = |offset: u64, bytes: &[u8]| offset > bytes.len() as u64;
    let (part, base, offset) = match (start, kept, old) {
        (Start::Overwrite | Start::At(0), kept, _) => {
            let part = if is_busy { Part::Dropped } else { Part::Kept };
            (part, kept.filter(|_| !is_busy).map(|(bytes, _)| bytes).unwrap_or_default(), 0)
        }
        (Start::At(offset), Some(kept), Some(old)) if old.len() as u64 == offset => {
            if is_own(&kept) {
                return Err(UploadError::Interrupted);
            }
            (Part::Dropped, old.to_vec(), offset)
        }
        (Start::At(offset), Some((bytes, _)), _) => {
            if beyond(offset, &bytes) {
                return Err(UploadError::BeyondEnd);
            }
            (if is_busy { Part::Dropped } else { Part::Kept }, bytes, offset)
        }
        (Start::At(offset), None, Some(old)) if !beyond(offset, &old) => {
            (Part::Dropped, old.to_vec(), offset)
        }
        (Start::At(_), None, _) => return Err(UploadError::BeyondEnd),
        (Start::End, Some(kept), Some(_)) if is_own(&kept) => return Err(UploadError::Interrupted),
        (Start::End, _, Some(old)) => {
            let at = old.len() as u64;
            (Part::Appended { at }, old.to_vec(), at)
        }
        (Start::End, Some(_), None) if is_busy => return Err(UploadError::Busy),
        (Start::End, Some((bytes, _)), None) => {
            let end = bytes.len() as u64;
            (Part::Kept, bytes, end)
        }
        (Start::End, None, None) => (Part::Kept, Vec::new(), 0),
    };
    let (before, content) = (Some(base.clone()), Arc::new(Mutex::new(base)));
    if part == Part::Kept {
        let content = Arc::clone(&content);
        let partial = Partial { content, owner, over: stands, is_busy: true };
        nodes.partials.insert(key.clone(), partial);
    }
    drop(nodes);
    let (nodes, replaces) = (Arc::clone(shared), stands);
    Ok(MemoryUpload {
        nodes,
        key,
        content,
        part,
        before,
        start: offset,
        replaces,
        is_settled: false,
    })
}

impl MemoryUpload {
    /// Returns the length at which the upload begins.
    pub(in crate::storage) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the length so far.
    pub(in crate::storage) fn length(&self) -> u64 {
        self.content.lock().len() as u64
    }

    /// Adds the next bytes.
    pub(in crate::storage) fn append(&mut self, bytes: &[u8]) {
        let mut content = self.content.lock();
        if self.before.take().is_some() {
            content.truncate(usize::try_from(self.start).unwrap_or(usize::MAX));
        }
        content.extend_from_slice(bytes);
    }

    /// Gives the file its final name, if `go` agrees.
    pub(in crate::storage) fn commit(
        mut self,
        go: impl FnOnce() -> Go,
    ) -> io::Result<Committed<Self>> {
        self.append(&[]);
        match go() {
            Go::On => {}
            Go::Ask => return Ok(Committed::Asked(Box::new(self))),
            Go::Stop => return Ok(Committed::Stopped { kept: self.settle() }),
        }
        let mut nodes = self.nodes.lock();
        let mut content = self.content.lock().clone();
        let stands = nodes.file(&self.key)?.cloned();
        let is_changed = stands.as_ref().map(|node| node.identity) != self.replaces;
        match self.part {
            Part::Appended { at } => {
                let added = content.split_off(usize::try_from(at).unwrap_or_default());
                let old = stands.and_then(|node| node.content).ok_or(Errno::BUSY)?;
                content = [old.as_slice(), &added].concat();
            }
            Part::Dropped if is_changed && self.start > 0 => return Err(Errno::BUSY.into()),
            Part::Kept | Part::Dropped => {
                nodes.partials.remove(&self.key);
            }
        }
        nodes.store(&self.key, content)?;
        drop(nodes);
        self.is_settled = true;
        Ok(Committed::Stored)
    }

    /// Removes the file, so that nothing is kept.
    pub(in crate::storage) fn discard(mut self) {
        self.before = None;
        self.content.lock().clear();
        self.settle_now();
    }

    /// Ends an incomplete upload; returns the number of bytes that are kept to resume from.
    pub(in crate::storage) fn settle(mut self) -> u64 {
        self.settle_now()
    }

    fn settle_now(&mut self) -> u64 {
        self.is_settled = true;
        if self.part != Part::Kept {
            return 0;
        }
        if let Some(before) = self.before.take() {
            *self.content.lock() = before;
        }
        let mut nodes = self.nodes.lock();
        let stands = nodes.file(&self.key).ok().flatten().map(|node: &Node| node.identity);
        let kept = self.content.lock().len() as u64;
        if kept == 0 || stands != self.replaces {
            nodes.partials.remove(&self.key);
            return 0;
        }
        if let Some(partial) = nodes.partials.get_mut(&self.key) {
            partial.is_busy = false;
        }
        kept
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle_now();
        }
    }
}
