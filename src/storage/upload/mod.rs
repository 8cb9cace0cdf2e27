//! Uploads: each is written to a hidden file, which is renamed to its final name when the upload is complete.
//!
//! The tables in `README.md` in this folder show which file an upload continues, what becomes of it, and what ALLO
//! proves.
//!
//! Not here: sockets, replies.

mod append;
mod begin;
mod commit;
mod content;
mod copy;
mod in_progress;
mod judge;
mod keep;
mod prepare;
mod record;
mod running;
mod state;
mod target;

pub(super) use append::recover;
pub use content::Content;
pub use judge::{ABORTED, ClientState, Completeness, DataEnd, Signs, VANISHED, judge};
pub use record::Owner;
pub(super) use state::{CancelOnDrop, Terms, Upload};
pub use state::{Committed, Go, Start, UploadError};
pub(super) use target::{Lock, UploadTarget};

#[cfg(test)]
mod tests;
