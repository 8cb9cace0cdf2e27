//! What is served, and to whom: the tree beneath a root, and the accounts that may see it.
//!
//! Real paths stay in this room: the others name a place by its [`VirtualPath`](crate::ftp::VirtualPath). Depends on
//! `ftp`. Not here: sockets, replies, the clock.

pub mod account;
mod flusher;
mod hidden;
mod leftovers;
mod place;
mod root;
mod upload;

pub use account::{Account, Accounts, Permissions};
pub use flusher::{Flusher, Flushing};
pub use root::{Directory, Found, Root};
pub use upload::{Committed, Durability, Start, Unable, Upload};
