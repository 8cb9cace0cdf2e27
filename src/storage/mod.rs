//! What is served, and to whom: the tree beneath a root, and the accounts that may see it.
//!
//! Real paths stay in this room: the others name a place by its [`VirtualPath`](crate::ftp::VirtualPath). Depends on
//! `ftp`. Not here: sockets, replies, the clock.

pub mod account;
mod crew;
mod hidden;
mod hosts;
mod leftovers;
pub mod password;
mod place;
mod quota;
mod root;
mod upload;
pub mod users;

pub use account::{Account, Accounts, Denied, Pace, Permissions, Verdict, Verification};
pub use crew::{Crew, Errand};
pub use hosts::Hosts;
pub use root::{Directory, Root};
pub use upload::{Committed, Durability, Start, Unable, Upload};
